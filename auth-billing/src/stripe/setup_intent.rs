use auth_core::{
    Error,
    ports::PaymentSetup,
    types::{PaymentRef, UserId},
};

use super::{Once, keys};
use crate::Billing;

/// What a client needs to leave a payment method, and for whom.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Who the user is at the provider.
    pub customer: PaymentRef,
    /// What the client gets.
    pub intent: PaymentSetup,
}

impl Billing {
    /// Lets a client leave a payment method with the provider: its data never comes here.
    ///
    /// # Errors
    /// [`Error::PaymentsNotConfigured`]; [`Error::UserNotFound`]; [`Error::PaymentProviderFailed`]; [`Error::PaymentProviderUnavailable`].
    ///
    /// # Security
    /// The caller decides who may do this, and gives the secret to the client of that user alone.
    pub async fn create_setup_intent(
        &self,
        user: UserId,
        once: Option<&Once>,
    ) -> Result<Setup, Error> {
        let provider = self.selling()?.port()?;
        let user = self.auth.user(user).await?.id;
        let random = self.auth.random();
        self.for_customer(provider, user, |customer| async move {
            let key = keys::of_wish("setup", once, &customer, random)?;
            let intent = provider.create_setup(user, &customer, &key).await?;
            Ok(Setup { customer, intent })
        })
        .await
    }
}
