use async_trait::async_trait;
use time::OffsetDateTime;

use crate::types::{IdempotencyKey, PaymentRef, RedirectUri, Secret, UserId};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How something is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sale {
    /// It is paid once.
    Once,
    /// It is paid each period.
    Subscription,
}

/// What somebody is to pay on a page of the provider.
#[derive(Debug, Clone, Copy)]
pub struct Checkout<'a> {
    /// Who.
    pub user: UserId,
    /// Who that is at the provider.
    pub customer: &'a PaymentRef,
    /// Once or each period.
    pub sale: Sale,
    /// The name in the catalogue.
    pub item: &'a str,
    /// Its price at the provider.
    pub price: &'a str,
    /// Where the browser goes when it is paid.
    pub success_url: &'a RedirectUri,
    /// Where the browser goes when it is not.
    pub cancel_url: &'a RedirectUri,
}

/// A page of the provider that takes a payment.
#[derive(Debug, Clone)]
pub struct CheckoutPage {
    /// The session that it belongs to.
    pub session: PaymentRef,
    /// Where the browser goes.
    pub url: String,
}

/// What a client needs to leave a payment method with the provider.
#[derive(Debug, Clone)]
pub struct PaymentSetup {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// For the client of that user alone.
    pub client_secret: Secret<String>,
}

/// What a customer can pay with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentMethod {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// As the provider spells it: `card`, `sepa_debit`.
    pub kind: String,
    /// What is known of it, if it is a card.
    pub card: Option<Card>,
    /// Whether invoices are paid with it unless a subscription has another one.
    pub is_default: bool,
}

/// What may be shown of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// As the provider spells it: `visa`.
    pub brand: String,
    /// The end of its number.
    pub last4: String,
    /// 1 to 12.
    pub exp_month: i64,
    /// With the century.
    pub exp_year: i64,
}

/// A subscription that is to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewSubscription<'a> {
    /// Whose.
    pub user: UserId,
    /// Who that is at the provider.
    pub customer: &'a PaymentRef,
    /// The name of the plan in the catalogue.
    pub item: &'a str,
    /// Its price at the provider.
    pub price: &'a str,
    /// What pays it, at once. Without one it waits for a payment, which a client makes with [`SubscriptionState::client_secret`].
    pub payment_method: Option<&'a PaymentRef>,
}

/// A subscription as the provider has it now.
#[derive(Debug, Clone)]
pub struct SubscriptionState {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// As the provider spells it: `active`, `incomplete`, `canceled`.
    pub status: String,
    /// The provider's name for the place in it that has the price.
    pub line: String,
    /// Its price at the provider.
    pub price: String,
    /// UTC.
    pub created_at: OffsetDateTime,
    /// When the period began that is paid, or is being paid; UTC.
    pub period_start: Option<OffsetDateTime>,
    /// When that period ends; UTC.
    pub period_end: Option<OffsetDateTime>,
    /// When it ends or ended, if that is settled; UTC.
    pub cancel_at: Option<OffsetDateTime>,
    /// For the client that makes its first payment, while that is due.
    pub client_secret: Option<Secret<String>>,
    /// Its newest invoice.
    pub latest_invoice: Option<PaymentRef>,
    /// What changes it when the period ends, if anything does.
    pub schedule: Option<PaymentRef>,
}

impl SubscriptionState {
    /// Whether it is over: it never lives again.
    pub fn has_ended(&self) -> bool {
        matches!(&*self.status, "canceled" | "incomplete_expired")
    }

    /// Whether its first payment is still due: it has not begun.
    pub fn is_incomplete(&self) -> bool {
        self.status == "incomplete"
    }
}

/// For how long a provider can tell its events again.
pub const EVENTS_KEPT: time::Duration = time::Duration::days(30);

/// What a provider is to tell again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retelling<'a> {
    /// Its events of some kinds, for as long as it [keeps](EVENTS_KEPT) them.
    Events(&'a [&'a str]),
    /// What was paid of subscriptions, however long ago, as if it was an event of now. Its name is that of the purchase.
    PaidInvoices,
    /// What was sold on pages, however long ago, as if it was an event of now. Its name is that of the purchase.
    PaidSessions,
}

/// A page of what a provider tells again, the newest first.
#[derive(Debug, Clone, Default)]
pub struct Retold {
    /// Each as the body of a delivery has it, in JSON.
    pub bodies: Vec<Vec<u8>>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<PaymentRef>,
}

/// How a purchase stands with the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurchaseState {
    /// It is paid, or was, if it was given back since.
    Paid,
    /// The provider knows none of that name.
    Unknown,
    /// It is not paid.
    Unpaid,
}

impl PurchaseState {
    /// Stable and `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Unknown => "unknown",
            Self::Unpaid => "unpaid",
        }
    }
}

/// Sells at a payment provider. What is paid there, the provider tells by its events: nothing here moves credits.
///
/// # Rules
/// 1. Calls under one key have one effect, also when they come at once, for as long as the provider remembers keys, which is at least a day. Under a
///    key that was used for something else nothing happens: [`PaymentProviderError::Conflict`].
/// 2. What is made carries the user and the name of the item, so that the provider's events tell whose it is.
/// 3. Every call ends within a bounded time, whatever the provider does.
/// 4. Nothing secret is in an error, and no words of the provider, which may name a person.
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Makes a user known to the provider, by id alone.
    ///
    /// # Errors
    /// [`PaymentProviderError`], as for every method below.
    async fn create_customer(
        &self,
        user: UserId,
        key: &IdempotencyKey,
    ) -> Result<PaymentRef, PaymentProviderError>;

    /// Makes a page that takes a payment.
    async fn create_checkout(
        &self,
        checkout: &Checkout<'_>,
        key: &IdempotencyKey,
    ) -> Result<CheckoutPage, PaymentProviderError>;

    /// Lets a client leave a payment method for later payments, at which nobody is present.
    async fn create_setup(
        &self,
        user: UserId,
        customer: &PaymentRef,
        key: &IdempotencyKey,
    ) -> Result<PaymentSetup, PaymentProviderError>;

    /// What a customer can pay with: the newest hundred at the most.
    async fn payment_methods(
        &self,
        customer: &PaymentRef,
    ) -> Result<Vec<PaymentMethod>, PaymentProviderError>;

    /// The subscriptions of a customer, those that have ended too: the newest hundred at the most, the newest first.
    async fn subscriptions_of(
        &self,
        customer: &PaymentRef,
    ) -> Result<Vec<SubscriptionState>, PaymentProviderError>;

    /// A subscription; `None` when there is none of that name.
    async fn subscription(
        &self,
        id: &PaymentRef,
    ) -> Result<Option<SubscriptionState>, PaymentProviderError>;

    /// Begins a subscription.
    async fn create_subscription(
        &self,
        new: &NewSubscription<'_>,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError>;

    /// Changes to another price at once, for the whole of the current period: the difference of both prices is charged, and until it is paid the
    /// subscription stays as it is.
    async fn change_now(
        &self,
        subscription: &SubscriptionState,
        price: &str,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError>;

    /// Changes to another price when the current period ends, in place of what should change it then by now.
    async fn change_at_period_end(
        &self,
        subscription: &SubscriptionState,
        price: &str,
        key: &IdempotencyKey,
    ) -> Result<(), PaymentProviderError>;

    /// Lets nothing change when the current period ends.
    async fn keep_price(
        &self,
        subscription: &SubscriptionState,
        key: &IdempotencyKey,
    ) -> Result<(), PaymentProviderError>;

    /// Lets a subscription end with the current period.
    async fn cancel_at_period_end(
        &self,
        subscription: &SubscriptionState,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError>;

    /// Ends a subscription now; `None` when there is none of that name, or none any more.
    async fn cancel_now(
        &self,
        id: &PaymentRef,
        key: &IdempotencyKey,
    ) -> Result<Option<SubscriptionState>, PaymentProviderError>;

    /// Tells again what was made at a time or after it: a hundred at the most, after what is named.
    async fn retell(
        &self,
        what: Retelling<'_>,
        since: OffsetDateTime,
        after: Option<&PaymentRef>,
    ) -> Result<Retold, PaymentProviderError>;

    /// How a purchase stands.
    async fn purchase(&self, id: &PaymentRef) -> Result<PurchaseState, PaymentProviderError>;
}

/// Why the provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaymentProviderError {
    /// The key was used for something else.
    #[error("the key was used for something else at the payment provider")]
    Conflict,
    /// The customer was deleted there.
    #[error("the payment provider does not know the customer any more")]
    CustomerGone,
    /// It failed, or answered something that no provider should answer. The same call under the same key may fail for as long as it is remembered.
    #[error("the payment provider failed")]
    Failed(#[source] BoxError),
    /// It says no: to a payment, or to what it was asked. The same call under the same key is refused for as long as it is remembered.
    #[error("the payment provider refuses")]
    Refused(#[source] BoxError),
    /// It cannot be reached, or is too slow or too busy. Whether anything was done is not known; the same call under the same key may pass later, and
    /// has one effect with this one.
    #[error("the payment provider is unavailable")]
    Unavailable(#[source] BoxError),
}
