use crate::{
    auth::Auth,
    error::Error,
    ports::{Redeemed, StoreError},
    types::{AuditEvent, Change, Client, Digest, Purpose, Secret, User},
};

/// What opening a verification link gave.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Whether this was the first time.
    pub status: VerifiedStatus,
    /// As they are now.
    pub user: User,
}

/// Whether a verification link was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifiedStatus {
    /// Before; its effect holds.
    AlreadyVerified,
    /// Just now.
    Verified,
}

impl Auth {
    /// Proves the mailbox of a new account, or completes a change of address, which ends every session.
    ///
    /// # Errors
    /// [`Error::InvalidToken`]; [`Error::TokenExpired`]; [`Error::EmailTaken`] when another account took the address meanwhile.
    pub async fn verify_email(
        &self,
        token: &Secret<String>,
        client: &Client,
    ) -> Result<Verified, Error> {
        let now = self.now();
        let mailed = self.shared.keys.verify_mailed(
            token.expose(),
            &[Purpose::VerifyEmail, Purpose::ChangeEmail],
            now,
        )?;
        let (change, event) = match mailed.purpose {
            Purpose::ChangeEmail => (Change::ChangeEmail, AuditEvent::EmailChanged),
            _ => (Change::VerifyEmail, AuditEvent::EmailVerified),
        };
        let record = self.record(event, Some(mailed.user_id), None, client, now);
        let redeemed = self
            .store
            .redeem(
                &Digest::of(mailed.jti.expose()),
                mailed.user_id,
                change,
                now,
                record,
            )
            .await;
        match redeemed {
            // Disabling kills unused tokens; a used one must not tell more than they do.
            Ok(Redeemed::Already(user)) if user.is_disabled => Err(Error::InvalidToken),
            Ok(Redeemed::Already(user)) => Ok(Verified {
                status: VerifiedStatus::AlreadyVerified,
                user: *user,
            }),
            Ok(Redeemed::Done(user)) => Ok(Verified {
                status: VerifiedStatus::Verified,
                user: *user,
            }),
            Ok(Redeemed::Expired) => Err(Error::TokenExpired),
            Ok(Redeemed::Refused) => Err(Error::InvalidToken),
            Err(StoreError::Taken(_)) => Err(Error::EmailTaken),
            Err(error) => Err(error.into()),
        }
    }
}
