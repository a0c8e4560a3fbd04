//! Sign-in by a provider, over a provider that can be scripted.

mod callback;
mod exchange;
mod id_token;
mod link;
mod malformed;
mod start;
mod trouble;
mod unlink;

use auth_tests::{Answer, App, Browser, Person, StoreKind, provider::Provider};
use serde_json::{Value, json};

/// An app that has Google and another provider, which are two.
struct World {
    app: App,
    google: Provider,
    acme: Provider,
}

impl World {
    async fn on(store: StoreKind) -> Self {
        let (app, google, acme) = App::with_providers(store).await;
        Self { app, google, acme }
    }

    fn browser(&self) -> Browser {
        Browser::of(&self.app)
    }

    /// Signs in with Google, in a browser of its own.
    async fn sign_in(&self, claims: Value) -> Answer {
        self.browser().sign_in("google", &self.google, claims).await
    }

    /// Somebody whose account came from Google.
    async fn arrived(&self, subject: &str) -> Person {
        let answer = self.sign_in(claims(subject)).await;
        Person::of(answer.ok(200), "")
    }
}

/// What Google says of somebody at `example.org`, which is not Google's.
fn claims(subject: &str) -> Value {
    json!({"sub": subject, "email": format!("{subject}@example.org"), "email_verified": true})
}

/// As [`claims`], for an address that Google decides about.
fn hosted(subject: &str) -> Value {
    let mut claims = claims(subject);
    claims["hd"] = json!("example.org");
    claims
}
