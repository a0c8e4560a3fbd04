use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{Digest, Email, PasswordHash, UserId};

/// What a mailed token may be used for; each has its own key and JWT `typ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// Sent to the old address; drops a change of address.
    CancelEmailChange,
    /// Sent to the new address; completes a change of address.
    ChangeEmail,
    /// Sent to the owner of an address that somebody tried to register with; sets a new password. Apart from [`ResetPassword`](Self::ResetPassword), so
    /// that whoever registers with other people's addresses does not use up the resets of their owners.
    ReclaimAccount,
    /// Sets a new password.
    ResetPassword,
    /// Proves the mailbox of a new account.
    VerifyEmail,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 5] = [
        Self::CancelEmailChange,
        Self::ChangeEmail,
        Self::ReclaimAccount,
        Self::ResetPassword,
        Self::VerifyEmail,
    ];

    /// For stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CancelEmailChange => "cancel_email_change",
            Self::ChangeEmail => "change_email",
            Self::ReclaimAccount => "reclaim_account",
            Self::ResetPassword => "reset_password",
            Self::VerifyEmail => "verify_email",
        }
    }
}

/// The row of a mailed token.
#[derive(Debug, Clone)]
pub struct NewMailedToken {
    /// Of the token's `jti`.
    pub digest: Digest,
    /// Whose.
    pub user_id: UserId,
    /// The one thing it can do.
    pub purpose: Purpose,
    /// The address it is about: the one it proves, or, for [`Purpose::CancelEmailChange`], the old one.
    pub email: Email,
    /// UTC.
    pub created_at: OffsetDateTime,
    /// UTC.
    pub expires_at: OffsetDateTime,
}

/// How often a user may be sent a token of one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// The least time between two.
    pub gap: Duration,
    /// The most within an hour.
    pub hourly: u32,
}

impl Throttle {
    /// When the next one may be sent, by the times of the last [`hourly`](Self::hourly) ones, the newest first; `None` when there was none.
    pub fn next(&self, sent: &[OffsetDateTime]) -> Option<OffsetDateTime> {
        let after_the_gap = sent.first()?.saturating_add(self.gap);
        let fills_the_hour = usize::try_from(self.hourly)
            .ok()
            .and_then(|hourly| sent.get(hourly.checked_sub(1)?));
        Some(fills_the_hour.map_or(after_the_gap, |at| {
            after_the_gap.max(at.saturating_add(Duration::HOUR))
        }))
    }
}

/// What redeeming a mailed token changes, in the same write that uses it up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// Drop the pending address and end every session.
    CancelEmailChange,
    /// Make the token's address the verified address, end every session, kill the other tokens.
    ChangeEmail,
    /// As [`ResetPassword`](Self::ResetPassword), by a token of [`Purpose::ReclaimAccount`].
    ReclaimAccount(PasswordHash),
    /// Set this password, count the address as verified, end every session, kill the other tokens. If the address was never proven before, every
    /// identity at a provider goes, too: whoever linked it is somebody else.
    ResetPassword(PasswordHash),
    /// Count the address as verified.
    VerifyEmail,
}

impl Change {
    /// The purpose that a token must have for this change.
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::CancelEmailChange => Purpose::CancelEmailChange,
            Self::ChangeEmail => Purpose::ChangeEmail,
            Self::ReclaimAccount(_) => Purpose::ReclaimAccount,
            Self::ResetPassword(_) => Purpose::ResetPassword,
            Self::VerifyEmail => Purpose::VerifyEmail,
        }
    }
}
