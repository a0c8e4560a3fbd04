use crate::{
    auth::{Auth, Tokens},
    error::Error,
    passwords::Verdict,
    types::{Account, AccountKey, AuditEvent, Client, Password, PasswordAttempt, PasswordHash},
};

/// A name and a password.
#[derive(Debug, Clone)]
pub struct Login {
    /// A username or an e-mail address, as it was typed.
    pub name: String,
    /// As it was typed.
    pub password: PasswordAttempt,
}

impl Auth {
    /// Trades a name and a password for a session.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] when either does not match, the account has no password, it is disabled, or, with enumeration protection,
    /// its address was never proven: the same answer after the same time, so nobody learns which accounts exist. [`Error::TooManyAttempts`], for a name that
    /// no account has, too. [`Error::Overloaded`].
    pub async fn login(&self, cmd: Login, client: &Client) -> Result<Tokens, Error> {
        let account = match AccountKey::login_name(&cmd.name) {
            Some(key) => self.store.account(&key).await?,
            None => None,
        };
        let user_id = account.as_ref().map(|account| account.user.id);
        let mut attempt = self.attempt_by_name(&cmd.name, user_id, client);
        self.may_check_named(&mut attempt).await?;
        // Hash even when there is nothing to compare with, or the time tells which names exist.
        let stored = account
            .as_ref()
            .filter(|_| attempt.is_looked_at)
            .and_then(|account| account.password.clone());
        // A full queue ends it here for everybody alike: nothing was compared or told, so it is no attempt, and counted by the queue alone.
        let verdict = self
            .shared
            .passwords
            .verify(cmd.password.clone(), stored)
            .await?;

        let now = self.now();
        let account = account.filter(|Account { user, .. }| {
            // Whoever registers in secret must not learn by a login whether it made an account.
            let is_open = user.is_verified || !self.enumeration_protection();
            verdict != Verdict::Mismatch && is_open && !user.is_disabled
        });
        let is_right = self.settle_named(&attempt, account.is_some()).await?;
        let Some(account) = account.filter(|_| is_right) else {
            self.store
                .append(self.record(AuditEvent::LoginFailed, user_id, None, client, now))
                .await?;
            return Err(Error::InvalidCredentials);
        };
        let rehash = match verdict {
            Verdict::Outdated => self.rehash(&cmd.password).await?,
            _ => None,
        };
        let (session, refresh) = self.new_session(account.user.id, client, now);
        let record = self.record(
            AuditEvent::LoginSucceeded,
            user_id,
            Some(session.session.id),
            client,
            now,
        );
        // The version refuses a password that was changed since it was compared.
        if !self
            .store
            .open_session(session.clone(), account.version, rehash, record)
            .await?
        {
            let record = self.record(AuditEvent::LoginFailed, user_id, None, client, now);
            self.store.append(record).await?;
            return Err(Error::InvalidCredentials);
        }
        self.tokens(account.user, &session.session, Some(refresh), now)
    }

    /// The password under the stronger settings of today; `None` when there is no room for it now, or it would be refused as a new one.
    async fn rehash(&self, attempt: &PasswordAttempt) -> Result<Option<PasswordHash>, Error> {
        match self.shared.passwords.hash(Password::proven(attempt)).await {
            Ok(hash) => Ok(Some(hash)),
            Err(Error::Overloaded) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
