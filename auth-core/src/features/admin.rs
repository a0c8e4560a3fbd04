use crate::{
    auth::Auth,
    error::Error,
    types::{AccountKey, AuditEvent, Client, UserId},
};

impl Auth {
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
