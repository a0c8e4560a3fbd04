use time::OffsetDateTime;

use crate::{
    auth::{Auth, Tokens},
    error::Error,
    passwords::Verdict,
    ports::{Authenticated, PasswordChange},
    types::{
        Account, AccountKey, AuditEvent, Client, Letter, Password, PasswordAttempt, QueuedMail,
        Session, SessionId, User, UserId,
    },
};

/// A new password for the old one.
#[derive(Debug, Clone)]
pub struct ChangePassword {
    /// Proves the owner (ASVS 6.2.3).
    pub current: PasswordAttempt,
    /// Must not contain the owner's name or address.
    pub new: Password,
}

impl Auth {
    /// Changes the password: every other session ends, and this one gets new tokens.
    ///
    /// # Errors
    /// [`Error::CurrentPasswordInvalid`]; [`Error::Invalid`] when the new password contains the name or the address; [`Error::Overloaded`];
    /// [`Error::TooManyAttempts`].
    pub async fn change_password(
        &self,
        who: &Authenticated,
        cmd: ChangePassword,
        client: &Client,
    ) -> Result<Tokens, Error> {
        let Authenticated { user, session } = who;
        cmd.new
            .check_owner(&user.username, &user.email)
            .map_err(|reason| Error::invalid("new_password", reason))?;
        let account = self.prove_password(user.id, cmd.current, client).await?;
        let password = self.shared.passwords.hash(cmd.new).await?;

        let now = self.now();
        // Another id, or whoever copied an access token of this session could go on with it (ASVS 7.2.4).
        let successor = Session {
            id: SessionId::generate(now, self.random()),
            ..session.clone()
        };
        let refresh = self.refresh_token(successor.expires_at, now);
        let mut record = self.record(
            AuditEvent::PasswordChanged,
            Some(user.id),
            Some(session.id),
            client,
            now,
        );
        record.mails.extend(self.password_changed(user, now));
        let change = PasswordChange {
            user: user.id,
            seen: account.version,
            password,
            keep: session.id,
            successor: successor.id,
            refresh: refresh.digest(),
            now,
        };
        if !self.store.change_password(change, record).await? {
            // The password or the session changed while this one was compared.
            return Err(Error::InvalidToken);
        }
        self.shared.mail_queued.notify_one();
        self.tokens(
            User {
                updated_at: now,
                ..account.user
            },
            &successor,
            Some(refresh),
            now,
        )
    }

    /// The account, if the password is its.
    pub(super) async fn prove_password(
        &self,
        user: UserId,
        password: PasswordAttempt,
        client: &Client,
    ) -> Result<Account, Error> {
        let attempt = self.attempt(user, client);
        self.may_check(&attempt).await?;
        let account = self
            .store
            .account(&AccountKey::Id(user))
            .await?
            .ok_or(Error::InvalidToken)?;
        let stored = account.password.clone();
        let verdict = self.shared.passwords.verify(password, stored).await?;
        let is_right = verdict != Verdict::Mismatch;
        self.settle(&attempt, is_right).await?;
        is_right
            .then_some(account)
            .ok_or(Error::CurrentPasswordInvalid)
    }

    pub(super) fn password_changed(&self, user: &User, now: OffsetDateTime) -> Option<QueuedMail> {
        self.mail(
            user,
            &user.email,
            Letter::PasswordChanged {
                username: user.username.to_string(),
            },
            now,
        )
    }
}
