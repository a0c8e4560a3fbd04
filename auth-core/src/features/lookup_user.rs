use crate::{
    auth::Auth,
    error::Error,
    types::{AccountKey, Email, User, UserId},
};

impl Auth {
    /// A user by id, for the host and for other services.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    pub async fn user(&self, id: UserId) -> Result<User, Error> {
        self.lookup(AccountKey::Id(id)).await
    }

    /// A user by address, without regard to case.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    pub async fn user_by_email(&self, email: &Email) -> Result<User, Error> {
        self.lookup(AccountKey::Email(email.clone())).await
    }

    async fn lookup(&self, key: AccountKey) -> Result<User, Error> {
        Ok(self
            .store
            .account(&key)
            .await?
            .ok_or(Error::UserNotFound)?
            .user)
    }
}
