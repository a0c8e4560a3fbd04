use time::Duration;

use super::evenly;
use crate::{
    auth::Auth,
    error::Error,
    types::{AccountKey, AuditEvent, Client, Email, Letter, Purpose, Throttle},
};

/// The welcome mail counts.
const THROTTLE: Throttle = Throttle {
    gap: Duration::MINUTE,
    hourly: 5,
};

impl Auth {
    /// Mails another verification link, unless one was sent within a minute, five were within an hour, or the address is verified.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], not with enumeration protection.
    pub async fn resend_verification(&self, email: Email, client: &Client) -> Result<(), Error> {
        evenly(self.resend(email, client)).await
    }

    async fn resend(&self, email: Email, client: &Client) -> Result<(), Error> {
        let account = self.store.account(&AccountKey::Email(email)).await?;
        let now = self.now();
        let user = account
            .map(|account| account.user)
            .filter(|user| !user.is_disabled);
        let record = self.record(
            AuditEvent::VerificationRequested,
            user.as_ref().map(|user| user.id),
            None,
            client,
            now,
        );
        match user {
            Some(user) if !user.is_verified => {
                let (row, token) =
                    self.mailed_token(user.id, &user.email, Purpose::VerifyEmail, now);
                let letter = Letter::VerifyEmail {
                    username: user.username.to_string(),
                    token,
                };
                let mut record = record;
                record
                    .mails
                    .extend(self.mail(&user, &user.email, letter, now));
                self.store.issue_token(row, THROTTLE, record).await?;
                self.shared.mail_queued.notify_one();
                Ok(())
            }
            user => {
                self.store.append(record).await?;
                if user.is_some() || self.enumeration_protection() {
                    Ok(())
                } else {
                    Err(Error::UserNotFound)
                }
            }
        }
    }
}
