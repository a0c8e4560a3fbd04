use auth_core::{
    Error,
    ports::{Checkout, CheckoutPage, Sale},
    types::{Invalid, RedirectUri, UserId},
};

use super::{Once, keys};
use crate::Billing;

/// What is bought, by its name in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Credits, once.
    Pack(String),
    /// Credits each period.
    Plan(String),
}

/// A page of the provider that somebody is to pay on.
#[derive(Debug, Clone)]
pub struct CreateCheckout {
    /// Who gets the credits.
    pub user: UserId,
    /// What is bought.
    pub item: Item,
    /// Where the browser goes when it is paid: one of the host's allowed pages.
    pub success_url: RedirectUri,
    /// Where the browser goes when it is not: one of the host's allowed pages.
    pub cancel_url: RedirectUri,
    /// Names the attempt; without it, each call makes a page of its own.
    pub once: Option<Once>,
}

impl Billing {
    /// Makes a page of the provider that takes a payment. It grants nothing: the provider's events do, once it is paid.
    ///
    /// # Errors
    /// [`Error::PaymentsNotConfigured`]; [`Error::Invalid`] for a page that is not allowed; [`Error::UnknownPlan`]; [`Error::UserNotFound`];
    /// [`Error::AlreadySubscribed`] for a plan beside another; [`Error::IdempotencyConflict`] when `once` was used for something else;
    /// [`Error::PaymentProviderFailed`]; [`Error::PaymentProviderUnavailable`].
    ///
    /// # Security
    /// The caller decides who may do this.
    pub async fn create_checkout(&self, wish: CreateCheckout) -> Result<CheckoutPage, Error> {
        let stripe = self.selling()?;
        let provider = stripe.port()?;
        self.only_allowed(&wish)?;
        let (sale, item, price) = match &wish.item {
            Item::Pack(name) => {
                let pack = stripe.catalogue().pack(name).ok_or(Error::UnknownPlan)?;
                (Sale::Once, &*pack.name, &*pack.price_id)
            }
            Item::Plan(name) => {
                let plan = stripe.catalogue().plan(name).ok_or(Error::UnknownPlan)?;
                (Sale::Subscription, &*plan.name, &*plan.price_id)
            }
        };
        let user = self.auth.user(wish.user).await?.id;
        if sale == Sale::Subscription {
            self.only_without_subscription(user).await?;
        }
        let random = self.auth.random();
        self.for_customer(provider, user, |customer| {
            let wish = &wish;
            async move {
                let key = keys::of_wish("checkout", wish.once.as_ref(), &customer, random)?;
                let checkout = Checkout {
                    user,
                    customer: &customer,
                    sale,
                    item,
                    price,
                    success_url: &wish.success_url,
                    cancel_url: &wish.cancel_url,
                };
                Ok(provider.create_checkout(&checkout, &key).await?)
            }
        })
        .await
    }

    /// An open redirector would send people from the provider's page to anybody's.
    fn only_allowed(&self, wish: &CreateCheckout) -> Result<(), Error> {
        for (name, page) in [
            ("success_url", &wish.success_url),
            ("cancel_url", &wish.cancel_url),
        ] {
            if !self.auth.allows_redirect(page) {
                const NOT_ALLOWED: Invalid = Invalid::new(
                    "redirect_not_allowed",
                    "This is not one of the allowed addresses.",
                );
                return Err(Error::invalid(name, NOT_ALLOWED));
            }
        }
        Ok(())
    }
}
