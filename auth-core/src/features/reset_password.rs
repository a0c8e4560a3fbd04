use time::{Duration, OffsetDateTime};

use super::evenly;
use crate::{
    auth::Auth,
    error::Error,
    ports::Redeemed,
    types::{
        AccountKey, AuditEvent, Change, Client, Digest, Email, Letter, Password, PendingToken,
        Purpose, Record, Secret, Throttle, User,
    },
};

const THROTTLE: Throttle = Throttle {
    gap: Duration::MINUTE,
    hourly: 5,
};

impl Auth {
    /// Mails a link that sets a new password, if the address has an account: at most one within a minute and five within an hour.
    ///
    /// The answer is the same whatever exists (ASVS 6.3.8).
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`].
    pub async fn request_password_reset(&self, email: Email, client: &Client) -> Result<(), Error> {
        evenly(self.request_reset(email, client)).await
    }

    async fn request_reset(&self, email: Email, client: &Client) -> Result<(), Error> {
        let owner = self
            .store
            .account(&AccountKey::Email(email))
            .await?
            .map(|account| account.user);
        let now = self.now();
        let record = self.record(
            AuditEvent::PasswordResetRequested,
            owner.as_ref().map(|user| user.id),
            None,
            client,
            now,
        );
        let purpose = Purpose::ResetPassword;
        self.mail_reset_link(owner, purpose, record, now, |username, token| {
            Letter::PasswordReset { username, token }
        })
        .await
    }

    /// Sets a new password by a mailed token, and ends every session and every other token. The mailbox is proven by it.
    ///
    /// # Errors
    /// [`Error::InvalidToken`]; [`Error::TokenExpired`]; [`Error::Invalid`] when the password contains its owner's name or address,
    /// which does not use up the token; [`Error::Overloaded`].
    pub async fn reset_password(
        &self,
        token: &Secret<String>,
        new: Password,
        client: &Client,
    ) -> Result<(), Error> {
        let now = self.now();
        let mailed = self.shared.keys.verify_mailed(
            token.expose(),
            &[Purpose::ReclaimAccount, Purpose::ResetPassword],
            now,
        )?;
        let digest = Digest::of(mailed.jti.expose());
        let user = self
            .store
            .pending_token(&digest, mailed.purpose, now)
            .await?
            .ok_or(Error::InvalidToken)?;
        new.check_owner(&user.username, &user.email)
            .map_err(|reason| Error::invalid("new_password", reason))?;
        let hash = self.shared.passwords.hash(new).await?;

        let now = self.now();
        let mut record = self.record(AuditEvent::PasswordReset, Some(user.id), None, client, now);
        record.mails.extend(self.password_changed(&user, now));
        let change = if mailed.purpose == Purpose::ReclaimAccount {
            Change::ReclaimAccount(hash)
        } else {
            Change::ResetPassword(hash)
        };
        match self
            .store
            .redeem(&digest, mailed.user_id, change, now, record)
            .await?
        {
            Redeemed::Done(_) => {
                // Or who forgot the old password could not log in with the new one.
                self.forget_attempts(&user, client).await;
                self.shared.mail_queued.notify_one();
                Ok(())
            }
            Redeemed::Expired => Err(Error::TokenExpired),
            Redeemed::Already(_) | Redeemed::Refused => Err(Error::InvalidToken),
        }
    }

    /// Mails a link that sets a new password, within the throttle of its purpose; nobody outside learns whether it did.
    pub(super) async fn mail_reset_link(
        &self,
        owner: Option<User>,
        purpose: Purpose,
        mut record: Record,
        now: OffsetDateTime,
        letter: impl FnOnce(String, PendingToken) -> Letter + Send,
    ) -> Result<(), Error> {
        let Some(user) = owner.filter(|user| !user.is_disabled) else {
            // A write all the same, or the time tells which addresses exist.
            return Ok(self.store.append(record).await?);
        };
        let (row, token) = self.mailed_token(user.id, &user.email, purpose, now);
        record.mails.extend(self.mail(
            &user,
            &user.email,
            letter(user.username.to_string(), token),
            now,
        ));
        self.store.issue_token(row, THROTTLE, record).await?;
        self.shared.mail_queued.notify_one();
        Ok(())
    }
}
