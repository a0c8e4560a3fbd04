//! auth-tower in an axum host: all account endpoints, and one guarded route of the host's own.
//!
//! ```sh
//! openssl rand -out minimal-axum.key 48
//! cargo run -p minimal-axum
//! ```

use std::net::SocketAddr;

use async_trait::async_trait;
use auth_core::{
    Auth, Links, SigningKeys,
    ports::{Mailer, MailerError, OutgoingMail},
};
use auth_store_sqlite::SqliteStore;
use auth_tower::{AuthRouter, ClientIp, VerifiedUser, require};
use axum::{Extension, Router, extract::ConnectInfo, routing::get};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = SqliteStore::open("minimal-axum.db").await?;
    store.migrate().await?;
    let keys = SigningKeys::parse(std::fs::read("minimal-axum.key")?)?;
    let auth = Auth::builder(store, keys)
        .mailer(Terminal, Links::to("http://127.0.0.1:3000/auth")?)
        .build()?;

    let app = Router::new()
        .route(
            "/reports",
            get(reports).route_layer(require::verified(&auth)),
        )
        .layer(AuthRouter::new(&auth).client_ip(peer()).into_layer());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let serve = async { axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await };

    tokio::select! {
        served = serve => Ok(served?),
        () = auth.run_workers(std::future::pending()) => Ok(()),
    }
}

/// By the client's address requests are limited and sessions are named.
fn peer() -> ClientIp {
    ClientIp::from_fn(|parts| {
        let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(peer.ip())
    })
}

async fn reports(Extension(user): Extension<VerifiedUser>) -> String {
    format!("Reports of {}", user.user().username)
}

/// A host's own mailer: for a first try it prints what it should send. A link in it verifies the address.
struct Terminal;

#[async_trait]
impl Mailer for Terminal {
    #[allow(clippy::print_stdout)]
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        println!(
            "To: {}\nSubject: {}\n\n{}\n",
            mail.to, mail.subject, mail.text
        );
        Ok(())
    }
}
