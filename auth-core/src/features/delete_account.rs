use time::Duration;

use crate::{
    auth::Auth,
    error::Error,
    ports::Authenticated,
    types::{
        Account, AccountKey, AuditEvent, Client, Invalid, Letter, PasswordAttempt, QueuedMail,
    },
};

/// What counts as a fresh login for an account without a password (ASVS 7.5.3).
const FRESH: Duration = Duration::minutes(5);

impl Auth {
    /// Deletes the account: its sessions, tokens and unsent mails go, its name and address become free.
    ///
    /// # Errors
    /// Where a password is set: [`Error::Invalid`] without one, [`Error::CurrentPasswordInvalid`] with a wrong one, [`Error::TooManyAttempts`].
    /// Where none is set: [`Error::ReauthenticationRequired`] when the session is older than five minutes.
    /// [`Error::InvalidToken`] when the session has ended meanwhile.
    pub async fn delete_account(
        &self,
        who: &Authenticated,
        password: Option<PasswordAttempt>,
        client: &Client,
    ) -> Result<(), Error> {
        let account = self.prove_owner(who, password, client).await?;
        let user = account.user;
        let now = self.now();
        let mut record = self.record(
            AuditEvent::AccountDeleted,
            Some(user.id),
            Some(who.session.id),
            client,
            now,
        );
        let letter = Letter::AccountDeleted {
            username: user.username.to_string(),
        };
        record.mails.extend(
            self.mail(&user, &user.email, letter, now)
                .map(|mail| QueuedMail {
                    // It must outlive the account.
                    user_id: None,
                    ..mail
                }),
        );
        if !self
            .store
            .delete_account(user.id, account.version, who.session.id, now, record)
            .await?
        {
            return Err(Error::InvalidToken);
        }
        self.shared.mail_queued.notify_one();
        Ok(())
    }

    /// The account of whoever is logged in, if they have just shown that they own it: by the password, or where there is none, by a fresh login.
    pub(super) async fn prove_owner(
        &self,
        who: &Authenticated,
        password: Option<PasswordAttempt>,
        client: &Client,
    ) -> Result<Account, Error> {
        match (who.user.has_password, password) {
            (true, Some(attempt)) => self.prove_password(who.user.id, attempt, client).await,
            (true, None) => Err(Error::invalid(
                "password",
                Invalid::new("required", "This field is required."),
            )),
            (false, _) if self.now() - who.session.created_at >= FRESH => {
                Err(Error::ReauthenticationRequired)
            }
            (false, _) => self
                .store
                .account(&AccountKey::Id(who.user.id))
                .await?
                .ok_or(Error::InvalidToken),
        }
    }
}
