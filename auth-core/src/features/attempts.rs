use time::Duration;

use crate::{
    auth::Auth,
    error::Error,
    ports::Attempt,
    types::{AccountKey, Client, Digest, Network, UserId},
};

impl Auth {
    /// A password that is tried on an account, by whatever name or door: all of them are counted as one.
    pub(super) fn attempt(&self, user: UserId, client: &Client) -> Attempt {
        self.attempt_of(Digest::of(user.as_uuid().as_bytes()), client)
    }

    /// A password that is tried on a name that no account has. Spelled otherwise, it is the same name.
    pub(super) fn attempt_on_nobody(&self, name: &str, client: &Client) -> Attempt {
        let name = match AccountKey::login_name(name) {
            Some(AccountKey::Email(email)) => email.key().to_owned(),
            Some(AccountKey::Username(username)) => username.key().to_owned(),
            _ => name.to_lowercase(),
        };
        self.attempt_of(Digest::of(format!("nobody {name}")), client)
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
        refuse(self.shared.attempts.wait(attempt).await)
    }

    /// Asked after a password was compared, before anybody is told what came of it.
    pub(super) async fn settle(&self, attempt: &Attempt, is_right: bool) -> Result<(), Error> {
        refuse(self.shared.attempts.settle(attempt, is_right).await)
    }
}

fn refuse(wait: Option<Duration>) -> Result<(), Error> {
    wait.map_or(Ok(()), |wait| Err(Error::TooManyAttempts(wait)))
}
