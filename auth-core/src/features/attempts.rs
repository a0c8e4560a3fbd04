use time::Duration;

use crate::{
    auth::Auth,
    error::Error,
    ports::Attempt,
    types::{AccountKey, Client, Digest, Network, User, UserId},
};

/// A password that is tried by a name. Two things are counted: the name, whether or not there is such an account, and the account, which has more than one
/// name and other doors. Only what the name had is ever told: that two names are over at once would tell that they are of one account.
pub(super) struct NamedAttempt {
    name: Attempt,
    account: Option<Attempt>,
    /// Whether the password may be compared. If not, whoever sent it is told that it is wrong.
    pub(super) is_looked_at: bool,
}

impl Auth {
    /// A password that is tried on an account, by whatever name or door: all of them are counted as one.
    pub(super) fn attempt(&self, user: UserId, client: &Client) -> Attempt {
        self.attempt_of(Digest::of(user.as_uuid().as_bytes()), client)
    }

    /// A password that is tried by a name. Spelled otherwise, it is the same name.
    pub(super) fn attempt_by_name(
        &self,
        name: &str,
        user: Option<UserId>,
        client: &Client,
    ) -> NamedAttempt {
        let name = match AccountKey::login_name(name) {
            Some(AccountKey::Email(email)) => email.key().to_owned(),
            Some(AccountKey::Username(username)) => username.key().to_owned(),
            _ => name.to_lowercase(),
        };
        NamedAttempt {
            name: self.attempt_of(Digest::of(format!("name {name}")), client),
            account: user.map(|user| self.attempt(user, client)),
            is_looked_at: true,
        }
    }

    fn attempt_of(&self, account: Digest, client: &Client) -> Attempt {
        Attempt {
            account,
            network: Network::of_neighbours(client.ip),
            now: self.now(),
        }
    }

    /// Asked before a password is compared.
    pub(super) async fn may_check(&self, attempt: &Attempt) -> Result<(), Error> {
        self.refuse(self.shared.attempts.wait(attempt).await)
    }

    /// Asked before a password that came with a name is compared: says whether it [may be](NamedAttempt::is_looked_at).
    pub(super) async fn may_check_named(&self, attempt: &mut NamedAttempt) -> Result<(), Error> {
        self.may_check(&attempt.name).await?;
        if let Some(account) = &attempt.account {
            attempt.is_looked_at = self.shared.attempts.wait(account).await.is_none();
        }
        Ok(())
    }

    /// Asked after a password was compared, before anybody is told what came of it.
    pub(super) async fn settle(&self, attempt: &Attempt, is_right: bool) -> Result<(), Error> {
        self.refuse(self.shared.attempts.settle(attempt, is_right).await)
    }

    /// As [`settle`](Self::settle); what comes back is what may be told of `is_right`.
    pub(super) async fn settle_named(
        &self,
        attempt: &NamedAttempt,
        is_right: bool,
    ) -> Result<bool, Error> {
        let wait = match &attempt.account {
            Some(account) => self.shared.attempts.settle(account, is_right).await,
            None => None,
        };
        let may_be_told = is_right && wait.is_none();
        self.settle(&attempt.name, may_be_told).await?;
        // After the name, which counts what it refuses. A wrong one is told for what it is.
        if !attempt.is_looked_at || is_right != may_be_told {
            self.shared.meters.attempts_refused.increment(1);
        }
        Ok(may_be_told)
    }

    /// Somebody proved to be the owner of an account in another way than by its password.
    pub(super) async fn forget_attempts(&self, user: &User, client: &Client) {
        let names = [user.username.as_str(), user.email.as_str()];
        let names = names.map(|name| self.attempt_by_name(name, None, client).name);
        for attempt in names.into_iter().chain([self.attempt(user.id, client)]) {
            self.shared.attempts.forget(&attempt).await;
        }
    }

    fn refuse(&self, wait: Option<Duration>) -> Result<(), Error> {
        let Some(wait) = wait else { return Ok(()) };
        self.shared.meters.attempts_refused.increment(1);
        Err(Error::TooManyAttempts(wait))
    }
}
