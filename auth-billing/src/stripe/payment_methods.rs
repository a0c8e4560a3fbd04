use auth_core::{
    Error,
    ports::{PaymentMethod, PaymentProviderError},
    types::UserId,
};

use crate::Billing;

impl Billing {
    /// What a user can pay with. Nobody is made known to the provider for it.
    ///
    /// # Errors
    /// [`Error::PaymentsNotConfigured`]; [`Error::UserNotFound`]; [`Error::PaymentProviderFailed`]; [`Error::PaymentProviderUnavailable`].
    ///
    /// # Security
    /// The caller decides who may do this.
    pub async fn payment_methods(&self, user: UserId) -> Result<Vec<PaymentMethod>, Error> {
        let provider = self.selling()?.port()?;
        let user = self.auth.user(user).await?.id;
        let Some(customer) = self.store.customer(user).await? else {
            return Ok(Vec::new());
        };
        match provider.payment_methods(&customer).await {
            Err(PaymentProviderError::CustomerGone) => Ok(Vec::new()),
            methods => Ok(methods?),
        }
    }
}
