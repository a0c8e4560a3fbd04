//! The shapes that more than one endpoint answers with.

use auth_core::{
    Tokens,
    time::OffsetDateTime,
    types::{User, UserId},
};
use serde::Serialize;

/// A sentence for people.
#[derive(Serialize)]
pub(crate) struct Message {
    message: &'static str,
}

impl Message {
    pub(crate) const fn new(message: &'static str) -> Self {
        Self { message }
    }
}

#[derive(Serialize)]
pub(crate) struct UserAnswer<'a> {
    id: UserId,
    username: &'a str,
    email: &'a str,
    is_verified: bool,
    is_admin: bool,
    #[serde(with = "auth_core::time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "auth_core::time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    sign_in_methods: Vec<String>,
}

impl<'a> From<&'a User> for UserAnswer<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id,
            username: user.username.as_str(),
            email: user.email.as_str(),
            is_verified: user.is_verified,
            is_admin: user.is_admin,
            created_at: user.created_at,
            updated_at: user.updated_at,
            sign_in_methods: user
                .sign_in_methods()
                .iter()
                .map(|method| method.as_str().to_owned())
                .collect(),
        }
    }
}

/// RFC 6749 §5.1, with the user.
#[derive(Serialize)]
pub(crate) struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    #[serde(flatten)]
    refresh: Option<RefreshAnswer<'a>>,
    user: UserAnswer<'a>,
}

#[derive(Serialize)]
struct RefreshAnswer<'a> {
    refresh_token: &'a str,
    refresh_expires_in: i64,
}

impl<'a> From<&'a Tokens> for TokenAnswer<'a> {
    fn from(tokens: &'a Tokens) -> Self {
        Self {
            access_token: tokens.access_token.expose(),
            token_type: "bearer",
            expires_in: tokens.expires_in.whole_seconds(),
            refresh: tokens.refresh.as_ref().map(|refresh| RefreshAnswer {
                refresh_token: refresh.token.expose(),
                refresh_expires_in: refresh.expires_in.whole_seconds(),
            }),
            user: UserAnswer::from(&tokens.user),
        }
    }
}
