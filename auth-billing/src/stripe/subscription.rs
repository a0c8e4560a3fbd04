use auth_core::{
    Error,
    ports::{NewSubscription, PaymentProvider, PaymentProviderError, SubscriptionState},
    time::OffsetDateTime,
    types::{MailId, PaymentRef, Secret, Subscription, SubscriptionEnd, UserId},
};

use super::keys;
use crate::{Billing, Catalogue, Plan};

/// A subscription that is to begin.
#[derive(Debug, Clone)]
pub struct CreateSubscription {
    /// Whose.
    pub user: UserId,
    /// The name of the plan in the catalogue.
    pub plan: String,
    /// What pays it, at once. Without one it waits for a payment, which a client makes with [`Subscribed::client_secret`].
    pub payment_method: Option<PaymentRef>,
}

/// A subscription, after what was asked.
#[derive(Debug, Clone)]
pub struct Subscribed {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// As the provider spells it: `active`, `incomplete`, `canceled`.
    pub status: String,
    /// The name of the plan that it has now; `None` when its price is not in the catalogue.
    pub plan: Option<String>,
    /// End of the period that is paid, or is being paid; UTC.
    pub period_end: Option<OffsetDateTime>,
    /// When it ends or ended, if that is settled; UTC.
    pub cancel_at: Option<OffsetDateTime>,
    /// For the client of that user alone, while a first payment is due.
    pub client_secret: Option<Secret<String>>,
}

impl Subscribed {
    fn of(state: SubscriptionState, catalogue: &Catalogue) -> Self {
        let plan = catalogue.plan_by_price(&state.price);
        Self {
            id: state.id,
            status: state.status,
            plan: plan.map(|plan| plan.name.clone()),
            period_end: state.period_end,
            cancel_at: state.cancel_at,
            client_secret: state.client_secret,
        }
    }
}

/// How often a subscription is begun under the next number, when the one before has had its answer.
const TRIES: u32 = 4;

impl Billing {
    /// Begins a subscription: of many who ask at once, one. One whose first payment is still due is given again to whoever asks for the same plan, and
    /// replaced for another one. It grants nothing: the provider's events do, once it is paid.
    ///
    /// # Errors
    /// [`Error::PaymentsNotConfigured`]; [`Error::UnknownPlan`]; [`Error::UserNotFound`]; [`Error::AlreadySubscribed`];
    /// [`Error::PaymentProviderFailed`], for a payment that is refused, too; [`Error::PaymentProviderUnavailable`].
    ///
    /// # Security
    /// The caller decides who may do this.
    pub async fn create_subscription(&self, wish: CreateSubscription) -> Result<Subscribed, Error> {
        let stripe = self.selling()?;
        let provider = stripe.port()?;
        let plan = stripe.catalogue().plan(&wish.plan);
        let plan = plan.ok_or(Error::UnknownPlan)?;
        let user = self.auth.user(wish.user).await?.id;
        self.only_without_subscription(user).await?;
        let begun = self
            .for_customer(provider, user, |customer| {
                let method = wish.payment_method.as_ref();
                async move {
                    let new = NewSubscription {
                        user,
                        customer: &customer,
                        item: &plan.name,
                        price: &plan.price_id,
                        payment_method: method,
                    };
                    self.begin(provider, &new).await
                }
            })
            .await?;
        let kept = Subscription {
            id: begun.id.clone(),
            user: Some(user),
            item: Some(plan.name.clone()),
            status: begun.status.clone(),
            period_end: begun.period_end,
            cancel_at: begun.cancel_at,
            // Below every event about it, which says more.
            told: (begun.created_at, -1),
        };
        self.store.keep_subscription(user, kept).await?;
        Ok(Subscribed::of(begun, stripe.catalogue()))
    }

    async fn begin(
        &self,
        provider: &dyn PaymentProvider,
        new: &NewSubscription<'_>,
    ) -> Result<SubscriptionState, super::customer::Asked> {
        for _ in 0..TRIES {
            // Before the look: who sees what another one has made meanwhile is at its number, or at a later one.
            let wish = self
                .store
                .subscription_wish(new.user)
                .await
                .map_err(Error::from)?;
            let known = provider.subscriptions_of(new.customer).await?;
            for other in known.iter().filter(|other| !other.has_ended()) {
                if !other.is_incomplete() {
                    return Err(Error::AlreadySubscribed.into());
                }
                if other.price == new.price {
                    return Ok(other.clone());
                }
                let key = keys::of_moment("replace", self.auth.random())?;
                provider.cancel_now(&other.id, &key).await?;
            }
            let key = keys::of_subscription(new.user, new.customer, wish)?;
            let begun = provider.create_subscription(new, &key).await;
            match begun {
                // What was there before is an answer of another day.
                Ok(begun) if known.iter().all(|other| other.id != begun.id) => return Ok(begun),
                Err(
                    error @ (PaymentProviderError::CustomerGone
                    | PaymentProviderError::Unavailable(_)),
                ) => {
                    return Err(error.into());
                }
                Ok(_) | Err(PaymentProviderError::Conflict) => {
                    self.pass(new.user, wish).await?;
                }
                // It would be refused again for a day, under this number.
                Err(error) => {
                    self.pass(new.user, wish).await?;
                    return Err(error.into());
                }
            }
        }
        // Others were faster each time.
        Err(Error::AlreadySubscribed.into())
    }

    async fn pass(&self, user: UserId, wish: u32) -> Result<(), Error> {
        Ok(self.store.pass_subscription_wish(user, wish).await?)
    }

    /// Changes the plan: one with more credits at once, when its difference is paid, and any other one when the current period ends. The plan that it has
    /// already is kept, whatever should have come.
    ///
    /// # Errors
    /// [`Error::PaymentsNotConfigured`]; [`Error::UnknownPlan`]; [`Error::UserNotFound`]; [`Error::NotSubscribed`];
    /// [`Error::PaymentProviderFailed`]; [`Error::PaymentProviderUnavailable`].
    ///
    /// # Security
    /// The caller decides who may do this.
    pub async fn change_subscription(&self, user: UserId, plan: &str) -> Result<Subscribed, Error> {
        let stripe = self.selling()?;
        let provider = stripe.port()?;
        let plan = stripe.catalogue().plan(plan).ok_or(Error::UnknownPlan)?;
        let user = self.auth.user(user).await?.id;
        let state = self.living(provider, user).await?;
        let random = self.auth.random();
        let is_more = |old: &Plan| plan.credits.credits() > old.credits.credits();
        let old = stripe.catalogue().plan_by_price(&state.price);
        let state = if state.price == plan.price_id {
            let key = keys::of_moment("keep", random)?;
            provider.keep_price(&state, &key).await?;
            state
        } else if old.is_some_and(is_more) {
            // While a schedule has it, nothing else changes it.
            let key = keys::of_moment("keep", random)?;
            provider.keep_price(&state, &key).await?;
            // From this state, once: a change that was not paid leaves another invoice, and may be tried again.
            let invoice = state.latest_invoice.as_ref().map_or("", PaymentRef::as_str);
            let start = state
                .period_start
                .map(|start| start.unix_timestamp().to_string());
            let parts = [
                state.id.as_str(),
                &*state.price,
                &*plan.price_id,
                invoice,
                start.as_deref().unwrap_or(""),
            ];
            let key = keys::of_change(&parts)?;
            provider.change_now(&state, &plan.price_id, &key).await?
        } else {
            let key = keys::of_moment("schedule", random)?;
            provider
                .change_at_period_end(&state, &plan.price_id, &key)
                .await?;
            state
        };
        Ok(Subscribed::of(state, stripe.catalogue()))
    }

    /// Cancels a subscription: with its period, or now. What was paid stays paid, and its credits stay.
    ///
    /// # Errors
    /// [`Error::PaymentsNotConfigured`]; [`Error::UserNotFound`]; [`Error::NotSubscribed`]; [`Error::PaymentProviderFailed`];
    /// [`Error::PaymentProviderUnavailable`].
    ///
    /// # Security
    /// The caller decides who may do this.
    pub async fn cancel_subscription(
        &self,
        user: UserId,
        at_period_end: bool,
    ) -> Result<Subscribed, Error> {
        let stripe = self.selling()?;
        let provider = stripe.port()?;
        let user = self.auth.user(user).await?.id;
        let state = self.living(provider, user).await?;
        let random = self.auth.random();
        let key = keys::of_moment("cancel", random)?;
        let ended = if at_period_end {
            let keep = keys::of_moment("keep", random)?;
            provider.keep_price(&state, &keep).await?;
            provider.cancel_at_period_end(&state, &key).await?
        } else {
            let ended = match provider.cancel_now(&state.id, &key).await? {
                Some(ended) => ended,
                // A try before this one may have ended it: of a DELETE no provider remembers the key.
                None => provider
                    .subscription(&state.id)
                    .await?
                    .filter(SubscriptionState::has_ended)
                    .ok_or(Error::NotSubscribed)?,
            };
            // Whoever cancelled may begin another one at once, and not when the event comes.
            if ended.has_ended()
                && let Err(error) = self.keep_end(&ended).await
            {
                tracing::warn!(
                    subscription = ended.id.as_str(),
                    error = crate::stripe::chain(&error),
                    "the end of a subscription is kept when its event comes"
                );
            }
            ended
        };
        Ok(Subscribed::of(ended, stripe.catalogue()))
    }

    /// Keeps the end of a subscription that the provider shows as one that has ended.
    async fn keep_end(&self, ended: &SubscriptionState) -> Result<(), Error> {
        let now = self.auth.now();
        let at = ended.cancel_at.map_or(now, |at| at.min(now));
        let plan = self.selling()?.catalogue().plan_by_price(&ended.price);
        let item = plan.map(|plan| plan.name.clone());
        self.has_ended(ended.id.clone(), item, at).await
    }

    /// Keeps an end that the provider has answered with, as its event would. The mail of it is queued with that.
    pub(super) async fn has_ended(
        &self,
        id: PaymentRef,
        item: Option<String>,
        at: OffsetDateTime,
    ) -> Result<(), Error> {
        let now = self.auth.now();
        let mail = self
            .auth
            .has_mailer()
            .then(|| MailId::generate(now, self.auth.random()));
        let end = SubscriptionEnd {
            id,
            item,
            at,
            received_at: now,
            mail,
        };
        self.store.end_subscription(end).await?;
        self.auth.mail_was_queued();
        Ok(())
    }

    /// As far as is known here: one that waits for its first payment is none.
    pub(super) async fn only_without_subscription(&self, user: UserId) -> Result<(), Error> {
        let known = self.store.subscriptions(user).await?;
        if known.iter().any(|it| it.status != "incomplete") {
            return Err(Error::AlreadySubscribed);
        }
        Ok(())
    }

    /// The newest subscription of a user that has begun and has not ended, as the provider has it now.
    async fn living(
        &self,
        provider: &dyn PaymentProvider,
        user: UserId,
    ) -> Result<SubscriptionState, Error> {
        let lives = |it: &SubscriptionState| !it.has_ended() && !it.is_incomplete();
        if let Some(customer) = self.store.customer(user).await? {
            let found = match provider.subscriptions_of(&customer).await {
                Err(PaymentProviderError::CustomerGone) => Vec::new(),
                found => found?,
            };
            if let Some(state) = found.into_iter().find(lives) {
                return Ok(state);
            }
        }
        // Of a checkout that the host made by itself, with a customer of its own.
        for known in self.store.subscriptions(user).await? {
            match provider.subscription(&known.id).await? {
                Some(state) if lives(&state) => return Ok(state),
                // Neither an answer nor an event has told that yet.
                Some(state) if state.has_ended() => self.keep_end(&state).await?,
                _ => {}
            }
        }
        Err(Error::NotSubscribed)
    }
}
