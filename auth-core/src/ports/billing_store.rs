use async_trait::async_trait;
use time::OffsetDateTime;

use super::{CreditStore, StoreError};
use crate::types::{
    Credits, KeptEvent, KeptPurchase, PaymentEvent, PaymentRef, Processed, Subscription,
    SubscriptionEnd, UserId,
};

/// What the payment provider told us, beside the ledger that it moves.
///
/// # Rules beside those of [`CreditStore`]
/// 1. An event is kept once, with what became of it, in the commit of its effect. Delivered again, also at the same time, it changes nothing, unless it came to
///    nothing before: [`EventOutcome::is_final`](crate::types::EventOutcome::is_final).
/// 2. Events are applied one after the other, by the steps of [`payments::apply`](crate::payments::apply), so that the order in which they come
///    changes nothing about where they lead.
/// 3. All of it outlives the account of its user. A subscription whose user is gone, and that has not ended, is
///    [abandoned](Self::abandoned_subscriptions) from the commit on that deleted the account.
///
/// The suite `billing` in `auth_core::contract` checks all of it.
#[async_trait]
pub trait BillingStore: CreditStore {
    /// Keeps an event and applies it, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for every method below.
    async fn apply_payment_event(&self, event: PaymentEvent) -> Result<Processed, StoreError>;

    /// What [`apply_payment_event`](Self::apply_payment_event) would answer now; nothing is kept.
    async fn try_payment_event(&self, event: PaymentEvent) -> Result<Processed, StoreError>;

    /// Of these names, those of events that have come to an end and those of purchases that were granted, in whatever order.
    async fn settled_payments(&self, ids: &[PaymentRef]) -> Result<Vec<PaymentRef>, StoreError>;

    /// The customer that a user is at the provider.
    async fn customer(&self, user: UserId) -> Result<Option<PaymentRef>, StoreError>;

    /// Keeps the customer that a user is at the provider, unless there is one, or the customer is another user's. What is kept now: of two at once, one. `None`
    /// without an account, and where nothing is kept.
    async fn keep_customer(
        &self,
        user: UserId,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError>;

    /// Keeps another customer in place of one that the provider does not know any more. What is kept now: of two at once, one. `None` without an account.
    async fn replace_customer(
        &self,
        user: UserId,
        gone: &PaymentRef,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError>;

    /// The number of the subscription that a user may begin next: those who begin one at once see the same, and are one to the provider by it.
    async fn subscription_wish(&self, user: UserId) -> Result<u32, StoreError>;

    /// The number that was seen has had its answer, which is not to be given again: the next one counts. Seen by two at once, it is passed once.
    async fn pass_subscription_wish(&self, user: UserId, seen: u32) -> Result<(), StoreError>;

    /// What a user owes out of payments that were given back after their credits were used.
    async fn debt(&self, user: UserId) -> Result<Credits, StoreError>;

    /// Who owes something, and how much: the greatest debts first.
    async fn debts(&self, limit: u32) -> Result<Vec<(UserId, Credits)>, StoreError>;

    /// The subscriptions of a user that have not ended.
    async fn subscriptions(&self, user: UserId) -> Result<Vec<Subscription>, StoreError>;

    /// Keeps what a call to the provider, and no event, says of a subscription; an event that says more stands.
    async fn keep_subscription(
        &self,
        user: UserId,
        subscription: Subscription,
    ) -> Result<(), StoreError>;

    /// Keeps that a subscription has ended, as a call to the provider says and an event has not told yet, by the steps of
    /// [`payments::end_subscription`](crate::payments::end_subscription).
    async fn end_subscription(&self, end: SubscriptionEnd) -> Result<(), StoreError>;

    /// Subscriptions that have not ended, of users who are gone.
    async fn abandoned_subscriptions(&self, limit: u32) -> Result<Vec<PaymentRef>, StoreError>;

    /// The newest events since a time that had no effect and should have had one, for an operator.
    async fn alarming_events(
        &self,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<KeptEvent>, StoreError>;

    /// Purchases that were granted at a time or after it, the oldest first, after one that was read before.
    async fn purchases(
        &self,
        since: OffsetDateTime,
        after: Option<(OffsetDateTime, PaymentRef)>,
        limit: u32,
    ) -> Result<Vec<KeptPurchase>, StoreError>;
}
