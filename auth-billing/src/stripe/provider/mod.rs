//! Calls to Stripe, made with async-stripe: its requests, its client, and none of its types for answers, which know one version of the API alone.

mod answers;
mod client;

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use auth_core::{
    ports::{
        Checkout, CheckoutPage, NewSubscription, PaymentMethod, PaymentProvider,
        PaymentProviderError, PaymentSetup, PurchaseState, Retelling, Retold, Sale,
        SubscriptionState,
    },
    time::OffsetDateTime,
    types::{IdempotencyKey, PaymentRef, Secret, UserId},
};
use stripe_billing::{
    InvoiceStatus, SubscriptionScheduleEndBehavior,
    invoice::{ListInvoice, RetrieveInvoice},
    subscription::{
        CancelSubscription, CreateSubscription, CreateSubscriptionItems,
        CreateSubscriptionPaymentBehavior, CreateSubscriptionPaymentSettings,
        CreateSubscriptionPaymentSettingsSaveDefaultPaymentMethod, ListSubscription,
        ListSubscriptionStatus, RetrieveSubscription, UpdateSubscription, UpdateSubscriptionItems,
        UpdateSubscriptionPaymentBehavior, UpdateSubscriptionProrationBehavior,
    },
    subscription_schedule::{
        CreateSubscriptionSchedule, ReleaseSubscriptionSchedule, UpdateSubscriptionSchedule,
        UpdateSubscriptionSchedulePhases, UpdateSubscriptionSchedulePhasesEndDate,
        UpdateSubscriptionSchedulePhasesItems, UpdateSubscriptionSchedulePhasesProrationBehavior,
        UpdateSubscriptionSchedulePhasesStartDate, UpdateSubscriptionScheduleProrationBehavior,
    },
};
use stripe_checkout::{
    CheckoutSessionMode,
    checkout_session::{
        CreateCheckoutSession, CreateCheckoutSessionLineItems,
        CreateCheckoutSessionPaymentIntentData, CreateCheckoutSessionSubscriptionData,
        ListCheckoutSession, RetrieveCheckoutSession,
    },
};
use stripe_core::{
    customer::{CreateCustomer, ListPaymentMethodsCustomer, RetrieveCustomer},
    event::ListEvent,
    setup_intent::{CreateSetupIntent, CreateSetupIntentUsage},
};
use stripe_types::RangeQueryTs;

use self::client::{Client, Refusal};
use super::Mode;

/// The most things that Stripe lists at once.
const PAGE: i64 = 100;

/// Stripe, over HTTPS.
///
/// A call takes at most 10 seconds a try, and is tried again, at most twice and under the same key, while the connection fails or Stripe says that it is
/// too busy or in trouble. Connections are verified against the roots that come with this crate.
#[derive(Debug, Clone)]
pub struct StripeProvider {
    client: Client,
    mode: Mode,
}

/// Why there is no [`StripeProvider`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StripeProviderError {
    /// The address is no origin that a secret key may be sent to.
    #[error("must be an https address without a path, or http on this machine")]
    ApiBase,
    /// It is none of Stripe's secret or restricted keys.
    #[error("must be a key of Stripe: sk_live_…, sk_test_…, rk_live_… or rk_test_…")]
    Key,
}

impl StripeProvider {
    /// With a secret or restricted key.
    ///
    /// # Errors
    /// [`StripeProviderError::Key`].
    pub fn new(key: &Secret<String>) -> Result<Self, StripeProviderError> {
        let mode = Mode::of_key(key.expose()).ok_or(StripeProviderError::Key)?;
        Ok(Self {
            client: Client::new(key)?,
            mode,
        })
    }

    /// At another address than Stripe's own: for tests, or a proxy.
    ///
    /// # Errors
    /// [`StripeProviderError::ApiBase`].
    ///
    /// # Security
    /// Whoever is there gets the key. Without TLS it leaves this machine in no case.
    pub fn at(mut self, base: &str) -> Result<Self, StripeProviderError> {
        self.client = self.client.at(base)?;
        Ok(self)
    }

    /// How long a try may take; 10 seconds by default.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.client = self.client.timeout(limit);
        self
    }

    /// Whether its key moves real money.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    async fn retrieve(
        &self,
        id: &PaymentRef,
    ) -> Result<Option<SubscriptionState>, PaymentProviderError> {
        let request = RetrieveSubscription::new(id.as_str());
        match self.client.look(&request).await {
            Ok(answer) => answers::subscription(&answer).map(Some),
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// What the provider's events name a user by.
fn metadata(user: UserId, item: Option<&str>) -> HashMap<String, String> {
    let user = ("user_id".to_owned(), user.to_string());
    let item = item.map(|item| ("item".to_owned(), item.to_owned()));
    item.into_iter().chain([user]).collect()
}

/// Where the secret of a first payment stands: newer API versions have it on the invoice, and a period that costs nothing has a setup instead.
fn first_payment(prefix: &str) -> Vec<String> {
    ["latest_invoice.confirmation_secret", "pending_setup_intent"]
        .map(|place| format!("{prefix}{place}"))
        .into()
}

#[async_trait]
impl PaymentProvider for StripeProvider {
    async fn create_customer(
        &self,
        user: UserId,
        key: &IdempotencyKey,
    ) -> Result<PaymentRef, PaymentProviderError> {
        let request = CreateCustomer::new().metadata(metadata(user, None));
        answers::id(&self.client.call(&request, key).await?)
    }

    async fn create_checkout(
        &self,
        checkout: &Checkout<'_>,
        key: &IdempotencyKey,
    ) -> Result<CheckoutPage, PaymentProviderError> {
        let metadata = || metadata(checkout.user, Some(checkout.item));
        let mut line = CreateCheckoutSessionLineItems::new();
        line.price = Some(checkout.price.to_owned());
        line.quantity = Some(1);
        let request = CreateCheckoutSession::new()
            .customer(checkout.customer.as_str())
            .client_reference_id(checkout.user.to_string())
            .line_items([line])
            .metadata(metadata())
            .success_url(checkout.success_url.as_str())
            .cancel_url(checkout.cancel_url.as_str());
        let request = match checkout.sale {
            Sale::Once => {
                let mut paid = CreateCheckoutSessionPaymentIntentData::new();
                paid.metadata = Some(metadata());
                request
                    .mode(CheckoutSessionMode::Payment)
                    .payment_intent_data(paid)
            }
            Sale::Subscription => {
                let mut begun = CreateCheckoutSessionSubscriptionData::new();
                begun.metadata = Some(metadata());
                request
                    .mode(CheckoutSessionMode::Subscription)
                    .subscription_data(begun)
            }
        };
        answers::checkout_page(&self.client.call(&request, key).await?)
    }

    async fn create_setup(
        &self,
        user: UserId,
        customer: &PaymentRef,
        key: &IdempotencyKey,
    ) -> Result<PaymentSetup, PaymentProviderError> {
        let request = CreateSetupIntent::new()
            .customer(customer.as_str())
            .metadata(metadata(user, None))
            .usage(CreateSetupIntentUsage::OffSession);
        answers::setup(&self.client.call(&request, key).await?)
    }

    async fn payment_methods(
        &self,
        customer: &PaymentRef,
    ) -> Result<Vec<PaymentMethod>, PaymentProviderError> {
        let default = self
            .client
            .look(&RetrieveCustomer::new(customer.as_str()))
            .await?;
        let default = answers::default_payment_method(&default)?;
        let request = ListPaymentMethodsCustomer::new(customer.as_str()).limit(PAGE);
        answers::payment_methods(&self.client.look(&request).await?, default.as_ref())
    }

    async fn subscriptions_of(
        &self,
        customer: &PaymentRef,
    ) -> Result<Vec<SubscriptionState>, PaymentProviderError> {
        let request = ListSubscription::new()
            .customer(customer.as_str())
            .status(ListSubscriptionStatus::All)
            .limit(PAGE)
            .expand(first_payment("data."));
        answers::subscriptions(&self.client.look(&request).await?)
    }

    async fn subscription(
        &self,
        id: &PaymentRef,
    ) -> Result<Option<SubscriptionState>, PaymentProviderError> {
        self.retrieve(id).await
    }

    async fn create_subscription(
        &self,
        new: &NewSubscription<'_>,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError> {
        let mut line = CreateSubscriptionItems::new();
        line.price = Some(new.price.to_owned());
        let mut settings = CreateSubscriptionPaymentSettings::new();
        settings.save_default_payment_method =
            Some(CreateSubscriptionPaymentSettingsSaveDefaultPaymentMethod::OnSubscription);
        let request = CreateSubscription::new()
            .customer(new.customer.as_str())
            .items([line])
            .metadata(metadata(new.user, Some(new.item)))
            .payment_settings(settings)
            .expand(first_payment(""));
        let request = match new.payment_method {
            Some(method) => request
                .default_payment_method(method.as_str())
                .payment_behavior(CreateSubscriptionPaymentBehavior::AllowIncomplete),
            None => request.payment_behavior(CreateSubscriptionPaymentBehavior::DefaultIncomplete),
        };
        answers::subscription(&self.client.call(&request, key).await?)
    }

    async fn change_now(
        &self,
        subscription: &SubscriptionState,
        price: &str,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError> {
        let mut line = UpdateSubscriptionItems::new();
        line.id = Some(subscription.line.clone());
        line.price = Some(price.to_owned());
        let mut request = UpdateSubscription::new(subscription.id.as_str())
            .items([line])
            // A change that nobody pays does not happen.
            .payment_behavior(UpdateSubscriptionPaymentBehavior::PendingIfIncomplete)
            .proration_behavior(UpdateSubscriptionProrationBehavior::AlwaysInvoice);
        // The whole difference is granted, so it is paid as a whole, however late in the period.
        if let Some(start) = subscription.period_start {
            request = request.proration_date(start.unix_timestamp());
        }
        answers::subscription(&self.client.call(&request, key).await?)
    }

    async fn change_at_period_end(
        &self,
        subscription: &SubscriptionState,
        price: &str,
        key: &IdempotencyKey,
    ) -> Result<(), PaymentProviderError> {
        let (Some(start), Some(end)) = (subscription.period_start, subscription.period_end) else {
            return Err(answers::unusable());
        };
        let schedule = if let Some(schedule) = &subscription.schedule {
            schedule.clone()
        } else {
            let request =
                CreateSubscriptionSchedule::new().from_subscription(subscription.id.as_str());
            answers::id(&self.client.call(&request, key).await?)?
        };
        let phase = |price: &str, start: i64, end: i64| {
            let mut line = UpdateSubscriptionSchedulePhasesItems::new();
            line.price = Some(price.to_owned());
            line.quantity = Some(1);
            let mut phase = UpdateSubscriptionSchedulePhases::new([line]);
            phase.start_date = Some(UpdateSubscriptionSchedulePhasesStartDate::Timestamp(start));
            phase.end_date = Some(UpdateSubscriptionSchedulePhasesEndDate::Timestamp(end));
            phase.proration_behavior =
                Some(UpdateSubscriptionSchedulePhasesProrationBehavior::None);
            phase
        };
        let (start, end) = (start.unix_timestamp(), end.unix_timestamp());
        let request = UpdateSubscriptionSchedule::new(schedule.as_str())
            // A day of the new price is enough: with the end of its phases a schedule lets go, and the subscription goes on as it is then.
            .end_behavior(SubscriptionScheduleEndBehavior::Release)
            .phases([
                phase(&subscription.price, start, end),
                phase(price, end, end + 24 * 60 * 60),
            ])
            .proration_behavior(UpdateSubscriptionScheduleProrationBehavior::None);
        self.client
            .call(&request, &client::step(key, "phases"))
            .await?;
        Ok(())
    }

    async fn keep_price(
        &self,
        subscription: &SubscriptionState,
        key: &IdempotencyKey,
    ) -> Result<(), PaymentProviderError> {
        if let Some(schedule) = &subscription.schedule {
            let request = ReleaseSubscriptionSchedule::new(schedule.as_str());
            self.client.call(&request, key).await?;
        }
        Ok(())
    }

    async fn cancel_at_period_end(
        &self,
        subscription: &SubscriptionState,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError> {
        let request = UpdateSubscription::new(subscription.id.as_str()).cancel_at_period_end(true);
        answers::subscription(&self.client.call(&request, key).await?)
    }

    async fn cancel_now(
        &self,
        id: &PaymentRef,
        key: &IdempotencyKey,
    ) -> Result<Option<SubscriptionState>, PaymentProviderError> {
        let request = CancelSubscription::new(id.as_str());
        match self.client.call(&request, key).await {
            Ok(answer) => answers::subscription(&answer).map(Some),
            // It has ended before, or it never was.
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn retell(
        &self,
        what: Retelling<'_>,
        since: OffsetDateTime,
        after: Option<&PaymentRef>,
    ) -> Result<Retold, PaymentProviderError> {
        let created = RangeQueryTs::gte(since.unix_timestamp());
        match what {
            Retelling::Events(kinds) => {
                let kinds: Vec<String> = kinds.iter().map(|&kind| kind.to_owned()).collect();
                let mut request = ListEvent::new().created(created).types(kinds).limit(PAGE);
                if let Some(after) = after {
                    request = request.starting_after(after.as_str());
                }
                answers::retold(self.client.look(&request).await?)
            }
            Retelling::PaidInvoices => {
                let mut request = ListInvoice::new()
                    .created(created)
                    .status(InvoiceStatus::Paid)
                    .limit(PAGE);
                if let Some(after) = after {
                    request = request.starting_after(after.as_str());
                }
                let found = self.client.look(&request).await?;
                answers::retold_as("invoice.paid", found, since)
            }
            Retelling::PaidSessions => {
                // Not every version of the API can be told since when.
                let mut request = ListCheckoutSession::new().limit(PAGE);
                if let Some(after) = after {
                    request = request.starting_after(after.as_str());
                }
                let found = self.client.look(&request).await?;
                answers::retold_as("checkout.session.completed", found, since)
            }
        }
    }

    async fn purchase(&self, id: &PaymentRef) -> Result<PurchaseState, PaymentProviderError> {
        let name = id.as_str();
        // It becomes a part of an address.
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let (answer, place) = if is_plain && name.starts_with("in_") {
            let request = RetrieveInvoice::new(name);
            (self.client.look(&request).await, "/status")
        } else if is_plain && name.starts_with("cs_") {
            let request = RetrieveCheckoutSession::new(name);
            (self.client.look(&request).await, "/payment_status")
        } else {
            return Ok(PurchaseState::Unknown);
        };
        match answer {
            Ok(answer) => Ok(answers::purchase(&answer, place)),
            Err(refusal) if refusal.is_missing() => Ok(PurchaseState::Unknown),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

impl From<Refusal> for PaymentProviderError {
    fn from(refusal: Refusal) -> Self {
        refusal.told()
    }
}
