//! Accounts, sessions and mailed tokens without a framework.

pub mod adapters;
#[cfg(feature = "testing")]
pub mod contract;
mod error;
pub mod ports;
pub mod types;

pub use error::{Error, InvalidField};
pub use time;
pub use uuid;
