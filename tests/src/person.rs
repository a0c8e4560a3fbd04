use auth_core::types::{SessionId, UserId};
use serde_json::Value;

use crate::forge;

/// What everybody chooses here.
pub const PASSWORD: &str = "correct horse battery staple";

/// Where mails to `name` arrive.
pub fn email_of(name: &str) -> String {
    format!("{name}@example.org")
}

/// Somebody with an account, and with the tokens of one session.
#[derive(Debug, Clone)]
pub struct Person {
    /// For look-ups in the store.
    pub id: UserId,
    /// As it was registered.
    pub username: String,
    /// As it was registered.
    pub email: String,
    /// As it was registered.
    pub password: String,
    /// Of this session.
    pub access_token: String,
    /// Of this session.
    pub refresh_token: String,
}

impl Person {
    /// From a token answer with a refresh token.
    #[track_caller]
    pub fn of(answer: &Value, password: &str) -> Self {
        let text = |value: &Value| {
            value
                .as_str()
                .unwrap_or_else(|| panic!("this is no token answer: {answer}"))
                .to_owned()
        };
        Self {
            id: UserId::parse(&text(&answer["user"]["id"])).unwrap(),
            username: text(&answer["user"]["username"]),
            email: text(&answer["user"]["email"]),
            password: password.to_owned(),
            access_token: text(&answer["access_token"]),
            refresh_token: text(&answer["refresh_token"]),
        }
    }

    /// `sid` of the access token.
    pub fn session(&self) -> SessionId {
        let claims = forge::claims(&self.access_token);
        SessionId::parse(claims["sid"].as_str().unwrap()).unwrap()
    }
}
