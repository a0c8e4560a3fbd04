//! auth-tower in an axum host: all account endpoints, and one guarded route of the host's own.

use auth_core::{Auth, SigningKeys};
use auth_store_sqlite::SqliteStore;
use auth_tower::{AuthRouter, VerifiedUser, require};
use axum::{Extension, Router, routing::get};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = SqliteStore::open("minimal-axum.db").await?;
    store.migrate().await?;
    let secret = std::fs::read("minimal-axum.key")?; // `openssl rand -out minimal-axum.key 48`
    let auth = Auth::builder(store, SigningKeys::parse(secret)?).build()?;

    let app = Router::new()
        .route(
            "/reports",
            get(reports).route_layer(require::verified(&auth)),
        )
        .layer(AuthRouter::new(&auth).into_layer());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

async fn reports(Extension(user): Extension<VerifiedUser>) -> String {
    format!("Reports of {}", user.user().username)
}
