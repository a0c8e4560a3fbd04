use crate::{
    auth::Auth,
    error::Error,
    ports::StoreError,
    types::{AccountKey, AuditEvent, Client, Email, NewAccount, Password, User, UserId, Username},
};

/// An account that an operator makes.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Unique without regard to case.
    pub username: Username,
    /// Unique without regard to case.
    pub email: Email,
    /// Must not contain the two above.
    pub password: Password,
    /// With administrator rights.
    pub is_admin: bool,
    /// The operator vouches for the address.
    pub is_verified: bool,
}

impl Auth {
    /// Makes an account without a session and without a mail.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the password contains the name or the address; [`Error::UserExists`], also with enumeration protection;
    /// [`Error::Overloaded`].
    ///
    /// # Security
    /// The caller decides who may do this, and whether the address is its owner's; no endpoint does.
    pub async fn create_user(&self, new: NewUser, client: &Client) -> Result<User, Error> {
        new.password
            .check_owner(&new.username, &new.email)
            .map_err(|reason| Error::invalid("password", reason))?;
        let hash = self.shared.passwords.hash(new.password).await?;
        let now = self.now();
        let user = User {
            id: UserId::generate(now, self.random()),
            username: new.username,
            email: new.email,
            is_verified: new.is_verified,
            is_admin: new.is_admin,
            is_disabled: false,
            has_password: true,
            providers: Vec::new(),
            locale: self.locale(client),
            created_at: now,
            updated_at: now,
        };
        let mut record = self.record(AuditEvent::Registered, Some(user.id), None, client, now);
        if user.is_admin {
            let granted = self.record(AuditEvent::AdminGranted, Some(user.id), None, client, now);
            record.audit.extend(granted.audit);
        }
        let account = NewAccount {
            user: user.clone(),
            password: Some(hash),
            session: None,
            token: None,
            identity: None,
        };
        match self.store.register(account, record).await {
            Ok(()) => Ok(user),
            Err(StoreError::Taken(unique)) => Err(Error::UserExists(unique)),
            Err(error) => Err(error.into()),
        }
    }

    /// Switches an account off, which ends its sessions on every replica at once, or on again. Doing it twice is no error.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    ///
    /// # Security
    /// The caller decides who may do this; no endpoint does.
    pub async fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        client: &Client,
    ) -> Result<(), Error> {
        let now = self.now();
        let event = if disabled {
            AuditEvent::AccountDisabled
        } else {
            AuditEvent::AccountEnabled
        };
        let record = self.record(event, Some(user), None, client, now);
        let changed = self.store.set_disabled(user, disabled, now, record).await?;
        self.changed_or_known(user, changed).await
    }

    /// Gives or takes administrator rights; access tokens that are out say the old thing until they expire. Doing it twice is no error.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    ///
    /// # Security
    /// The caller decides who may do this; no endpoint does.
    pub async fn set_admin(&self, user: UserId, admin: bool, client: &Client) -> Result<(), Error> {
        let now = self.now();
        let event = if admin {
            AuditEvent::AdminGranted
        } else {
            AuditEvent::AdminRevoked
        };
        let record = self.record(event, Some(user), None, client, now);
        let changed = self.store.set_admin(user, admin, now, record).await?;
        self.changed_or_known(user, changed).await
    }

    async fn changed_or_known(&self, user: UserId, changed: bool) -> Result<(), Error> {
        if changed || self.store.account(&AccountKey::Id(user)).await?.is_some() {
            Ok(())
        } else {
            Err(Error::UserNotFound)
        }
    }
}
