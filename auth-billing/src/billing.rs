use std::{fmt, sync::Arc};

use auth_core::{Auth, Error, ports::BillingStore};

use crate::{Stripe, meters::Meters};

/// Credits and payments over one store: what every host and router holds. Cheap to clone.
#[derive(Clone)]
pub struct Billing {
    pub(crate) auth: Auth,
    /// `None`: nobody here knows whether what was written is committed.
    pub(crate) meters: Option<Arc<Meters>>,
    pub(crate) store: Arc<dyn BillingStore>,
    pub(crate) stripe: Option<Stripe>,
}

impl Billing {
    /// Over the store that `auth` has its accounts in; time and random bits are those of `auth`.
    pub fn new(auth: &Auth, store: impl BillingStore) -> Self {
        Self {
            auth: auth.clone(),
            meters: Some(Arc::new(Meters::register())),
            store: Arc::new(store),
            stripe: None,
        }
    }

    /// Believes Stripe, and sells by it. Without it, all that is about payments answers that they are not configured.
    #[must_use]
    pub fn stripe(mut self, stripe: Stripe) -> Self {
        self.stripe = Some(stripe);
        self
    }

    /// What is sold here, and by whom.
    pub(crate) fn selling(&self) -> Result<&Stripe, Error> {
        self.stripe.as_ref().ok_or(Error::PaymentsNotConfigured)
    }

    /// The same over another handle on the data: usually a transaction of the host, as in [`Auth::within`], so that an account, its first credits and
    /// what the host writes are committed together or not at all.
    ///
    /// With the Postgres store:
    ///
    /// ```text
    /// let scope = PgScope::adopt(pool.begin().await?);
    /// let registration = auth.within(scope.clone()).register(cmd, &client).await?;
    /// billing.within(scope.clone()).add(welcome, &origin).await?;
    /// let mut tx = scope.release().await?;
    /// tx.commit().await?;
    /// ```
    ///
    /// A movement locks the balance until the host commits, and a key that is new is kept from others as long. No metric counts what is done here: whether
    /// it was done is known after the host's commit, and to the host.
    #[must_use]
    pub fn within(&self, store: impl BillingStore) -> Self {
        Self {
            auth: self.auth.clone(),
            meters: None,
            store: Arc::new(store),
            stripe: self.stripe.clone(),
        }
    }
}

impl fmt::Debug for Billing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Billing").finish_non_exhaustive()
    }
}
