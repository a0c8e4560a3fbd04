use auth_core::{
    Error,
    ports::{PaymentProvider, PaymentProviderError},
    types::{PaymentRef, UserId},
};

use super::keys;
use crate::Billing;

impl Billing {
    /// The customer that a user is at the provider, made if there is none: by many at once, one.
    pub(super) async fn customer_of(
        &self,
        provider: &dyn PaymentProvider,
        user: UserId,
    ) -> Result<PaymentRef, Error> {
        if let Some(customer) = self.store.customer(user).await? {
            return Ok(customer);
        }
        let key = keys::of_customer(user, None)?;
        let customer = provider.create_customer(user, &key).await?;
        let kept = self.store.keep_customer(user, customer).await?;
        kept.ok_or(Error::UserNotFound)
    }

    /// Asks something for the customer that a user is, who is made anew, once, if somebody has deleted them at the provider.
    pub(super) async fn for_customer<T, Call, Answer>(
        &self,
        provider: &dyn PaymentProvider,
        user: UserId,
        call: Call,
    ) -> Result<T, Error>
    where
        Call: Fn(PaymentRef) -> Answer + Send,
        Answer: Future<Output = Result<T, Asked>> + Send,
    {
        let customer = self.customer_of(provider, user).await?;
        match call(customer.clone()).await {
            Err(Asked::Provider(PaymentProviderError::CustomerGone)) => {}
            answer => return Ok(answer?),
        }
        let key = keys::of_customer(user, Some(&customer))?;
        let made = provider.create_customer(user, &key).await?;
        let kept = self.store.replace_customer(user, &customer, made).await?;
        Ok(call(kept.ok_or(Error::UserNotFound)?).await?)
    }
}

/// Why something was not done for a customer.
pub(super) enum Asked {
    Core(Error),
    Provider(PaymentProviderError),
}

impl From<Error> for Asked {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<PaymentProviderError> for Asked {
    fn from(error: PaymentProviderError) -> Self {
        Self::Provider(error)
    }
}

impl From<Asked> for Error {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Core(error) => error,
            Asked::Provider(error) => error.into(),
        }
    }
}
