use time::OffsetDateTime;

use super::evenly;
use crate::{
    auth::{Auth, Tokens},
    error::Error,
    ports::StoreError,
    types::{
        AccountKey, AuditEvent, Client, Email, Letter, NewAccount, Password, Purpose, Record, User,
        UserId, Username,
    },
};

/// A new account.
#[derive(Debug, Clone)]
pub struct Register {
    /// Unique without regard to case.
    pub username: Username,
    /// Unique without regard to case; proven by the mail that follows.
    pub email: Email,
    /// Must not contain the two above.
    pub password: Password,
}

/// What a registration gave.
#[derive(Debug, Clone)]
pub enum Registration {
    /// With enumeration protection: the rest is in the mail, if there is any.
    Accepted,
    /// The account and its first session.
    Opened(Box<Tokens>),
}

impl Auth {
    /// Makes an account, opens its first session and mails a verification link, in one commit.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the password contains the name or the address; [`Error::UserExists`], not with enumeration protection;
    /// [`Error::Overloaded`].
    pub async fn register(&self, cmd: Register, client: &Client) -> Result<Registration, Error> {
        cmd.password
            .check_owner(&cmd.username, &cmd.email)
            .map_err(|reason| Error::invalid("password", reason))?;
        let hash = self.shared.passwords.hash(cmd.password).await?;

        let now = self.now();
        let user = User {
            id: UserId::generate(now, self.random()),
            username: cmd.username,
            email: cmd.email,
            is_verified: false,
            is_admin: false,
            is_disabled: false,
            has_password: true,
            providers: Vec::new(),
            locale: self.locale(client),
            created_at: now,
            updated_at: now,
        };
        let (session, refresh) = self.new_session(user.id, client, now);
        let opened = (!self.enumeration_protection()).then(|| session.clone());
        let mut record = self.record(
            AuditEvent::Registered,
            Some(user.id),
            opened.as_ref().map(|new| new.session.id),
            client,
            now,
        );
        let token = self.has_mailer().then(|| {
            let (row, token) = self.mailed_token(user.id, &user.email, Purpose::VerifyEmail, now);
            let letter = Letter::Welcome {
                username: user.username.to_string(),
                token,
            };
            record
                .mails
                .extend(self.mail(&user, &user.email, letter, now));
            row
        });
        let account = NewAccount {
            user: user.clone(),
            password: Some(hash),
            session: opened,
            token,
            identity: None,
        };
        if self.enumeration_protection() {
            evenly(self.register_in_secret(account, record, client, now)).await?;
            return Ok(Registration::Accepted);
        }
        match self.store.register(account, record).await {
            Ok(()) => self.shared.mail_queued.notify_one(),
            Err(StoreError::Taken(unique)) => {
                self.store
                    .append(self.record(AuditEvent::RegistrationRefused, None, None, client, now))
                    .await?;
                return Err(Error::UserExists(unique));
            }
            Err(error) => return Err(error.into()),
        }
        self.tokens(user, &session.session, Some(refresh), now)
            .map(|tokens| Registration::Opened(Box::new(tokens)))
    }

    /// As the rest of [`register`](Self::register), and says nothing of what exists: the owner of a taken address learns it by mail.
    async fn register_in_secret(
        &self,
        account: NewAccount,
        record: Record,
        client: &Client,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let email = account.user.email.clone();
        match self.store.register(account, record).await {
            Ok(()) => {
                self.shared.mail_queued.notify_one();
                Ok(())
            }
            Err(StoreError::Taken(_)) => self.tell_owner(&email, client, now).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The owner of an address learns that somebody tried to register with it, and can set a new password if it was them.
    async fn tell_owner(
        &self,
        email: &Email,
        client: &Client,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let owner = self
            .store
            .account(&AccountKey::Email(email.clone()))
            .await?
            .map(|account| account.user);
        let record = self.record(
            AuditEvent::RegistrationRefused,
            owner.as_ref().map(|user| user.id),
            None,
            client,
            now,
        );
        let purpose = Purpose::ReclaimAccount;
        self.mail_reset_link(owner, purpose, record, now, |username, token| {
            Letter::AccountExists { username, token }
        })
        .await
    }
}
