use std::error::Error as StdError;

use time::Duration;

use crate::{
    ports::{StoreError, Unique},
    types::Invalid,
};

/// What a caller can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The password that should prove the account's owner is wrong.
    #[error("the current password is wrong")]
    CurrentPasswordInvalid,
    /// The address of the account has not been proven.
    #[error("the e-mail address is not verified")]
    EmailNotVerified,
    /// Another account has the address.
    #[error("the e-mail address belongs to another account")]
    EmailTaken,
    /// A bug or a broken dependency; the source says which.
    #[error("something failed inside")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
    /// Fields that are not what they should be.
    #[error("{} field(s) are not valid", .0.len())]
    Invalid(Vec<InvalidField>),
    /// Name and password do not open an account; which of the two is never said.
    #[error("username or password is wrong")]
    InvalidCredentials,
    /// The token is malformed, forged, used, revoked or of another kind.
    #[error("the token is not valid")]
    InvalidToken,
    /// Password hashing has a full queue. The same call may pass later.
    #[error("too much is asked at once")]
    Overloaded,
    /// The account has no password: only a login of a moment ago proves its owner.
    #[error("a fresh login is required")]
    ReauthenticationRequired,
    /// No live session of this user has the id.
    #[error("there is no such session")]
    SessionNotFound,
    /// More mails were asked for than anybody is sent. The same call may pass after that time.
    #[error("too many mails were asked for")]
    Throttled(Duration),
    /// The token was good once.
    #[error("the token has expired")]
    TokenExpired,
    /// A refresh token came back after its successor was in use: the session is over.
    #[error("the refresh token was used before")]
    TokenReused,
    /// The store cannot be reached. The same call may pass later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// The name or the address is taken.
    #[error("the {} is taken", .0.as_str())]
    UserExists(Unique),
    /// No account has this id or address.
    #[error("there is no such user")]
    UserNotFound,
}

/// One field that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// As the client named it.
    pub field: String,
    /// Why.
    pub reason: Invalid,
}

impl InvalidField {
    /// A reason for one field.
    pub fn new(field: impl Into<String>, reason: Invalid) -> Self {
        Self {
            field: field.into(),
            reason,
        }
    }
}

impl Error {
    /// One field that is not valid.
    pub fn invalid(field: impl Into<String>, reason: Invalid) -> Self {
        Self::Invalid(vec![InvalidField::new(field, reason)])
    }

    /// Stable and `snake_case`: what clients compare.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CurrentPasswordInvalid => "current_password_invalid",
            Self::EmailNotVerified => "email_not_verified",
            Self::EmailTaken => "email_taken",
            Self::Internal(_) => "internal",
            Self::Invalid(_) => "validation_failed",
            Self::InvalidCredentials => "invalid_credentials",
            Self::InvalidToken => "invalid_token",
            Self::Overloaded => "overloaded",
            Self::ReauthenticationRequired => "reauthentication_required",
            Self::SessionNotFound => "session_not_found",
            Self::Throttled(_) => "rate_limited",
            Self::TokenExpired => "token_expired",
            Self::TokenReused => "token_reused",
            Self::Unavailable(_) => "unavailable",
            Self::UserExists(_) => "user_exists",
            Self::UserNotFound => "user_not_found",
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Backend(source) => Self::Internal(source),
            StoreError::Taken(unique) => Self::UserExists(unique),
            StoreError::Unavailable(source) => Self::Unavailable(source),
        }
    }
}
