use std::error::Error as StdError;

use time::Duration;

use crate::{
    ports::{PaymentProviderError, StoreError, Unique},
    types::{Credits, Invalid},
};

/// What a caller can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another account has the address, and its owner has to log in and link.
    #[error("an account has the e-mail address already")]
    AccountExists,
    /// The user has a subscription that has not ended.
    #[error("there is a subscription already")]
    AlreadySubscribed,
    /// The password that should prove the account's owner is wrong.
    #[error("the current password is wrong")]
    CurrentPasswordInvalid,
    /// The address of the account has not been proven.
    #[error("the e-mail address is not verified")]
    EmailNotVerified,
    /// Another account has the address.
    #[error("the e-mail address belongs to another account")]
    EmailTaken,
    /// The idempotency key or the reference was used for something else.
    #[error("the idempotency key or the reference was used for something else")]
    IdempotencyConflict,
    /// The balance is less than what should be used.
    #[error("the balance does not suffice")]
    InsufficientCredits {
        /// What there is.
        balance: Credits,
    },
    /// Another account has the identity, or the account has another identity of the provider.
    #[error("the identity belongs elsewhere")]
    IdentityInUse,
    /// A bug or a broken dependency; the source says which.
    #[error("something failed inside")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
    /// Fields that are not what they should be.
    #[error("{} field(s) are not valid", .0.len())]
    Invalid(Vec<InvalidField>),
    /// The code is not ours, or was used, or is too old.
    #[error("the code is not valid")]
    InvalidCode,
    /// Name and password do not open an account; which of the two is never said.
    #[error("username or password is wrong")]
    InvalidCredentials,
    /// The ID token proves nobody, or was shown before.
    #[error("the ID token is not valid")]
    InvalidIdToken,
    /// The sign-in was not begun by this browser, or a while ago, or has ended already.
    #[error("the sign-in is not one that this browser began")]
    InvalidState,
    /// The token is malformed, forged, used, revoked or of another kind.
    #[error("the token is not valid")]
    InvalidToken,
    /// Without it nothing opens the account.
    #[error("it is the last way to sign in")]
    LastSignInMethod,
    /// A mail that was to leave at once did not.
    #[error("a mail could not be sent")]
    MailFailed(#[source] Box<dyn StdError + Send + Sync>),
    /// The account has no identity of the provider.
    #[error("the account is not linked to the provider")]
    NotLinked,
    /// The user has no subscription that has not ended.
    #[error("there is no subscription")]
    NotSubscribed,
    /// The host has no provider of that name.
    #[error("there is no such provider")]
    OAuthNotConfigured,
    /// Password hashing has a full queue. The same call may pass later.
    #[error("too much is asked at once")]
    Overloaded,
    /// The payment provider says no, to the payment or to what it was asked, or gave an answer that cannot be used.
    #[error("the payment provider did not do it")]
    PaymentProviderFailed(#[source] Box<dyn StdError + Send + Sync>),
    /// The payment provider cannot be reached, or is too slow or too busy. Another try may pass later, and has no second effect.
    #[error("the payment provider is unavailable")]
    PaymentProviderUnavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// The host takes no payments.
    #[error("payments are not configured")]
    PaymentsNotConfigured,
    /// The provider vouches for no address, and without one there is no account.
    #[error("the provider vouches for no e-mail address")]
    ProviderEmailNotVerified,
    /// The provider answered something that no provider should answer.
    #[error("the provider's answer cannot be understood")]
    ProviderFailed(#[source] Box<dyn StdError + Send + Sync>),
    /// The provider, or the person there, says no; or what it says is not to be believed.
    #[error("the provider vouches for nobody")]
    ProviderRefused(#[source] Box<dyn StdError + Send + Sync>),
    /// The provider cannot be reached, or says that it is in trouble. Another try may pass later.
    #[error("the provider is unavailable")]
    ProviderUnavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// The account has no password: only a login of a moment ago proves its owner.
    #[error("a fresh login is required")]
    ReauthenticationRequired,
    /// Not one of the addresses that a sign-in may end at.
    #[error("the address to return to is not allowed")]
    RedirectNotAllowed,
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
    /// Too many wrong passwords: no password of this account is checked for this client before that time is over, the right one neither.
    #[error("too many wrong passwords were sent")]
    TooManyAttempts(Duration),
    /// The store cannot be reached. The same call may pass later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// The catalogue has no plan or pack of that name.
    #[error("there is no such plan or pack")]
    UnknownPlan,
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
            Self::AccountExists => "account_exists",
            Self::AlreadySubscribed => "already_subscribed",
            Self::CurrentPasswordInvalid => "current_password_invalid",
            Self::EmailNotVerified | Self::ProviderEmailNotVerified => "email_not_verified",
            Self::EmailTaken => "email_taken",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::InsufficientCredits { .. } => "insufficient_credits",
            Self::IdentityInUse => "identity_in_use",
            Self::Internal(_) => "internal",
            Self::Invalid(_) => "validation_failed",
            Self::InvalidCode => "invalid_code",
            Self::InvalidCredentials => "invalid_credentials",
            Self::InvalidIdToken | Self::InvalidToken => "invalid_token",
            Self::InvalidState => "invalid_state",
            Self::LastSignInMethod => "last_sign_in_method",
            Self::MailFailed(_) => "mail_failed",
            Self::NotLinked => "not_linked",
            Self::NotSubscribed => "not_subscribed",
            Self::OAuthNotConfigured => "oauth_not_configured",
            Self::Overloaded => "overloaded",
            Self::PaymentProviderFailed(_) => "payment_provider_error",
            Self::PaymentsNotConfigured => "payments_not_configured",
            Self::ProviderFailed(_) | Self::ProviderRefused(_) | Self::ProviderUnavailable(_) => {
                "provider_error"
            }
            Self::ReauthenticationRequired => "reauthentication_required",
            Self::RedirectNotAllowed => "redirect_not_allowed",
            Self::SessionNotFound => "session_not_found",
            Self::Throttled(_) => "rate_limited",
            Self::TokenExpired => "token_expired",
            Self::TokenReused => "token_reused",
            Self::TooManyAttempts(_) => "too_many_attempts",
            Self::PaymentProviderUnavailable(_) | Self::Unavailable(_) => "unavailable",
            Self::UnknownPlan => "unknown_plan",
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

impl From<PaymentProviderError> for Error {
    fn from(error: PaymentProviderError) -> Self {
        match error {
            PaymentProviderError::Conflict => Self::IdempotencyConflict,
            PaymentProviderError::Unavailable(source) => Self::PaymentProviderUnavailable(source),
            PaymentProviderError::Failed(source) | PaymentProviderError::Refused(source) => {
                Self::PaymentProviderFailed(source)
            }
            PaymentProviderError::CustomerGone => Self::PaymentProviderFailed(Box::new(error)),
        }
    }
}
