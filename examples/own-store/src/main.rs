//! A host with a user table of its own, which every account of the mounted endpoints has a row in.
//!
//! ```sh
//! openssl rand -out own-store.key 48
//! DATABASE_URL=postgres://localhost/playground cargo run -p own-store
//! ```
//!
//! Register as the README shows, follow the printed link, and ask for `/card` with the access token. The store is in `members.rs`.

mod members;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use auth_core::{
    Auth, Links, SigningKeys,
    ports::{Mailer, MailerError, OutgoingMail},
};
use auth_store_postgres::PgStore;
use auth_tower::{AuthRouter, VerifiedUser, require};
use axum::{Extension, Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use crate::members::MemberStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    #[allow(clippy::disallowed_methods)] // the host's settings are the host's business
    let url =
        std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to a database to play with")?;
    let members = MemberStore::on(PgStore::pool_options().connect(&url).await?);
    members.migrate().await?;
    let keys = SigningKeys::parse(std::fs::read("own-store.key")?)?;
    let auth = Auth::builder(members.clone(), keys)
        .mailer(Terminal, Links::to("http://127.0.0.1:3000/auth")?)
        .build()?;
    let app = library(&auth, members);
    let serve = async { axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await };

    tokio::select! {
        served = serve => Ok(served?),
        () = auth.run_workers(std::future::pending()) => Ok(()),
    }
}

/// The endpoints, and a page of the host's own.
fn library(auth: &Auth, members: MemberStore) -> Router {
    Router::new()
        .route("/card", get(card).route_layer(require::verified(auth)))
        .with_state(members)
        .layer(AuthRouter::new(auth).into_layer())
}

async fn card(
    State(members): State<MemberStore>,
    Extension(who): Extension<VerifiedUser>,
) -> Result<String, StatusCode> {
    let member = members.member(who.user().id).await;
    match member.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)? {
        Some(member) => Ok(format!("{} has card {}", member.called, member.card_number)),
        None => Err(StatusCode::NOT_FOUND),
    }
}

/// For a first try, mails are printed.
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
