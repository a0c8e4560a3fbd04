use auth_core::{Error, ports::Balance, types::UserId};

use crate::Billing;

impl Billing {
    /// The balance of a user; zero for one who never had credits.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    pub async fn balance(&self, user: UserId) -> Result<Balance, Error> {
        self.store.balance(user).await?.ok_or(Error::UserNotFound)
    }
}
