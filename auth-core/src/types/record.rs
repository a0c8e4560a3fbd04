use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};

use super::{AuditId, Email, MailId, Purpose, SessionId, UserId};

/// What must be written with its cause, in the same commit: mails to send and entries of the audit log.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// For the outbox.
    pub mails: Vec<QueuedMail>,
    /// For the audit log.
    pub audit: Vec<AuditEntry>,
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct QueuedMail {
    /// Its Message-ID is made from it, so a receiver can tell a repeat.
    pub id: MailId,
    /// Whose; deleted with the account. `None` for what must still be sent after a deletion.
    pub user_id: Option<UserId>,
    /// The recipient.
    pub to: Email,
    /// The recipient's language.
    pub locale: String,
    /// What it says.
    pub letter: Letter,
    /// UTC.
    pub created_at: OffsetDateTime,
}

/// What a mail says; stored as JSON.
///
/// # Security
/// It holds tokens unsigned. The worker signs them when it sends, so a copy of the database opens no account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "template", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Letter {
    /// Somebody tried to register with an address that has an account.
    AccountExists {
        /// Of the existing account.
        username: String,
        /// [`Purpose::ReclaimAccount`].
        token: PendingToken,
    },
    /// The account is gone.
    AccountDeleted {
        /// Of the deleted account.
        username: String,
    },
    /// Credits were bought.
    CreditPurchase {
        /// Whose.
        username: String,
        /// What was bought, as the catalogue names it.
        item: String,
        /// Granted; a decimal such as `120.00`.
        credits: String,
        /// Of the account, the granted credits included; a decimal.
        balance: String,
        /// Paid; a decimal such as `9.00`.
        price: String,
        /// ISO 4217, such as `EUR`.
        currency: String,
    },
    /// To the old address: a change was asked for.
    EmailChangeNotice {
        /// Whose.
        username: String,
        /// The address that was asked for.
        new_email: String,
        /// [`Purpose::CancelEmailChange`].
        token: PendingToken,
    },
    /// To the new address: prove it.
    EmailChangeVerify {
        /// Whose.
        username: String,
        /// [`Purpose::ChangeEmail`].
        token: PendingToken,
    },
    /// Somebody can sign in through another provider now.
    GoogleLinked {
        /// Whose.
        username: String,
        /// The name that people know it by: `Google`.
        provider: String,
        /// Which account of the provider: the address that it tells.
        identity: String,
    },
    /// Nobody can sign in through that provider any more.
    GoogleUnlinked {
        /// Whose.
        username: String,
        /// The name that people know it by: `Google`.
        provider: String,
    },
    /// The password is another one now.
    PasswordChanged {
        /// Whose.
        username: String,
    },
    /// A new password can be set.
    PasswordReset {
        /// Whose.
        username: String,
        /// [`Purpose::ResetPassword`].
        token: PendingToken,
    },
    /// A payment of a subscription failed.
    PaymentFailed {
        /// Whose.
        username: String,
        /// Name of the plan, as the catalogue has it.
        plan: String,
        /// Owed; a decimal such as `9.00`.
        price: String,
        /// ISO 4217, such as `EUR`.
        currency: String,
        /// UTC; `None` when it is not tried again.
        #[serde(with = "rfc3339::option")]
        retry_at: Option<OffsetDateTime>,
        /// The payment provider's page that takes the payment, if there is one.
        link: Option<String>,
    },
    /// A subscription has a dearer plan, and the difference is paid.
    PlanUpgrade {
        /// Whose.
        username: String,
        /// Name of the plan before.
        old_plan: String,
        /// The plan now, and what the difference was.
        paid: PaidPeriod,
    },
    /// A subscription ends, or has ended.
    SubscriptionCancelled {
        /// Whose.
        username: String,
        /// Name of the plan, as the catalogue has it.
        plan: String,
        /// UTC.
        #[serde(with = "rfc3339")]
        ends_at: OffsetDateTime,
    },
    /// A later period of a subscription is paid.
    SubscriptionRenewed {
        /// Whose.
        username: String,
        /// What was paid, and for what.
        paid: PaidPeriod,
    },
    /// The first period of a subscription is paid.
    SubscriptionStarted {
        /// Whose.
        username: String,
        /// What was paid, and for what.
        paid: PaidPeriod,
    },
    /// To the operator: mails arrive.
    Test,
    /// Another verification link was asked for.
    VerifyEmail {
        /// Whose.
        username: String,
        /// [`Purpose::VerifyEmail`].
        token: PendingToken,
    },
    /// A new account.
    Welcome {
        /// Whose.
        username: String,
        /// [`Purpose::VerifyEmail`].
        token: PendingToken,
    },
}

/// A paid period of a subscription, as mails tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidPeriod {
    /// Name of the plan, as the catalogue has it.
    pub plan: String,
    /// What was granted for the payment; a decimal such as `120.00`.
    pub credits: String,
    /// Of the account, the granted credits included; a decimal.
    pub balance: String,
    /// What was paid; a decimal such as `9.00`.
    pub price: String,
    /// ISO 4217, such as `EUR`.
    pub currency: String,
    /// End of the paid period; UTC.
    #[serde(with = "rfc3339")]
    pub period_end: OffsetDateTime,
}

/// The claims of a mailed token before they are signed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingToken {
    /// 256 random bits, base64url; the store's row has its digest.
    pub jti: String,
    /// Whose.
    pub user_id: UserId,
    /// The one thing it can do.
    pub purpose: Purpose,
    /// Unix seconds.
    pub issued_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
}

impl Letter {
    /// The token that it carries, if any.
    pub(crate) const fn token(&self) -> Option<&PendingToken> {
        match self {
            Self::AccountExists { token, .. }
            | Self::EmailChangeNotice { token, .. }
            | Self::EmailChangeVerify { token, .. }
            | Self::PasswordReset { token, .. }
            | Self::VerifyEmail { token, .. }
            | Self::Welcome { token, .. } => Some(token),
            Self::AccountDeleted { .. }
            | Self::CreditPurchase { .. }
            | Self::GoogleLinked { .. }
            | Self::GoogleUnlinked { .. }
            | Self::PasswordChanged { .. }
            | Self::PaymentFailed { .. }
            | Self::PlanUpgrade { .. }
            | Self::SubscriptionCancelled { .. }
            | Self::SubscriptionRenewed { .. }
            | Self::SubscriptionStarted { .. }
            | Self::Test => None,
        }
    }
}

impl fmt::Debug for PendingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingToken")
            .field("purpose", &self.purpose)
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// An entry of the audit log: append-only, free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Orders entries of one moment.
    pub id: AuditId,
    /// UTC.
    pub at: OffsetDateTime,
    /// What happened.
    pub event: AuditEvent,
    /// To whom; `None` when no account is concerned.
    pub user_id: Option<UserId>,
    /// In which session.
    pub session_id: Option<SessionId>,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
}

macro_rules! audit_events {
    ($($(#[$doc:meta])* $variant:ident => $name:literal),* $(,)?) => {
        /// What can happen to an account.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum AuditEvent { $($(#[$doc])* $variant),* }

        impl AuditEvent {
            /// Stable and `snake_case`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// For stores; `None` for a name of a newer version.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

audit_events! {
    /// An administrator switched the account off.
    AccountDisabled => "account_disabled",
    /// An administrator switched the account on again.
    AccountEnabled => "account_enabled",
    /// The owner deleted the account.
    AccountDeleted => "account_deleted",
    /// Administrator rights were given.
    AdminGranted => "admin_granted",
    /// Administrator rights were taken.
    AdminRevoked => "admin_revoked",
    /// The old address stopped a change.
    EmailChangeCancelled => "email_change_cancelled",
    /// A change of address was asked for.
    EmailChangeRequested => "email_change_requested",
    /// The new address was proven and is in use.
    EmailChanged => "email_changed",
    /// The mailbox was proven.
    EmailVerified => "email_verified",
    /// An identity at a provider opens the account from now on.
    IdentityLinked => "identity_linked",
    /// An identity at a provider opens the account no more.
    IdentityUnlinked => "identity_unlinked",
    /// Wrong name or password, or a login by a provider that may not open the account.
    LoginFailed => "login_failed",
    /// A session was opened, by password or by a provider.
    LoginSucceeded => "login_succeeded",
    /// The owner changed the password.
    PasswordChanged => "password_changed",
    /// A reset mail was asked for, whether or not the address has an account.
    PasswordResetRequested => "password_reset_requested",
    /// A new password was set by a mailed token.
    PasswordReset => "password_reset",
    /// A rotated refresh token came back: the session was ended.
    RefreshTokenReused => "refresh_token_reused",
    /// A new account.
    Registered => "registered",
    /// A registration met a taken name or address.
    RegistrationRefused => "registration_refused",
    /// One session or several were ended.
    SessionsEnded => "sessions_ended",
    /// Another verification mail was asked for.
    VerificationRequested => "verification_requested",
}
