//! A harness for tests of the whole: an [`App`] with its endpoints over a real store, people with accounts, a mailbox, and a clock that tests move.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use auth_tests::App;
//!
//! let app = App::start().await;
//! let ada = app.verified("ada").await;
//! let me = app.get("/auth/me").by(&ada).await;
//! assert_eq!(me.ok(200)["username"], "ada");
//! # }
//! ```
//!
//! - Requests go straight into the tower service: no ports, no waiting for time.
//! - [`Answer::ok`] and [`Answer::refused`] check what every answer promises, so each test checks it.
//! - [`on_each_store!`] runs a behaviour over every kind of store.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used
)] // test code: what cannot go on has failed

mod app;
mod browser;
pub mod certified;
mod client;
mod clock;
pub mod forge;
mod installed;
pub mod localstripe;
mod mailbox;
mod person;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod redis;
mod routes;
pub mod smtp;
mod store;
pub mod stripe;
pub mod stripe_api;
pub mod telemetry;

pub use app::{ALLOWED_PAGE, API_KEY, App, OPERATOR, OTHER_API_KEY, SECRET, signing_keys};
pub use browser::Browser;
pub use client::{Answer, Call, Client, at_once};
pub use clock::MovableClock;
pub use mailbox::{Mail, Mailbox};
pub use person::{PASSWORD, Person, email_of};
pub use routes::{path_of, takes_json};
pub use store::{Fault, Hold, StoreKind, TestStore};

/// Makes a `#[tokio::test]` of each behaviour over each kind of store; a behaviour is an async function that takes the [`StoreKind`].
///
/// A behaviour that is not listed is dead code, which the compiler tells.
#[macro_export]
macro_rules! on_each_store {
    ($($behaviour:ident)*) => {
        $crate::on_each_store!(@over memory: Memory $($behaviour)*);
        $crate::on_each_store!(@over postgres: Postgres $($behaviour)*);
        $crate::on_each_store!(@over sqlite: Sqlite $($behaviour)*);
    };
    (@over $module:ident: $kind:ident $($behaviour:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $behaviour() {
                    Box::pin(super::$behaviour($crate::StoreKind::$kind)).await;
                }
            )*
        }
    };
}
