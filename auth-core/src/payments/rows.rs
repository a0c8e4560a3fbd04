use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    ports::Booking,
    types::{
        Credits, Entry, EventOutcome, KeptDispute, KeptPayment, KeptPurchase, PaymentEvent,
        PaymentRef, QueuedMail, Subscription, User, UserId,
    },
};

/// The rows of a store inside one transaction, for [`apply`](super::apply).
#[async_trait]
pub trait PaymentRows: Send {
    /// Why a row is not read or written.
    type Error: Send;

    /// Waits until no other transaction applies an event, and sees what they committed.
    async fn take_turn(&mut self) -> Result<(), Self::Error>;

    /// What became of an event that is kept.
    async fn event(&mut self, id: &PaymentRef) -> Result<Option<EventOutcome>, Self::Error>;

    /// Keeps an event, or replaces what became of it.
    async fn put_event(
        &mut self,
        event: &PaymentEvent,
        outcome: EventOutcome,
    ) -> Result<(), Self::Error>;

    /// Events of a payment that [waited](EventOutcome::UnknownPayment) for its purchase have had their effect by now.
    async fn settle_events(&mut self, payment: &PaymentRef) -> Result<(), Self::Error>;

    /// A user, who is not deleted before the transaction ends.
    async fn user(&mut self, id: UserId) -> Result<Option<User>, Self::Error>;

    /// Whose customer that is at the provider.
    async fn user_of_customer(
        &mut self,
        customer: &PaymentRef,
    ) -> Result<Option<UserId>, Self::Error>;

    /// As [`BillingStore::keep_customer`](crate::ports::BillingStore::keep_customer).
    async fn keep_customer(
        &mut self,
        user: UserId,
        customer: &PaymentRef,
    ) -> Result<Option<PaymentRef>, Self::Error>;

    /// A purchase.
    async fn purchase(&mut self, id: &PaymentRef) -> Result<Option<KeptPurchase>, Self::Error>;

    /// Keeps a purchase, or replaces how much of it is taken back.
    async fn put_purchase(&mut self, purchase: &KeptPurchase) -> Result<(), Self::Error>;

    /// What was paid for a subscription and a time that overlaps with the one from a `start` to an `end`.
    async fn terms(
        &mut self,
        subscription: &PaymentRef,
        start: OffsetDateTime,
        end: OffsetDateTime,
    ) -> Result<Vec<KeptPurchase>, Self::Error>;

    /// A payment.
    async fn payment(&mut self, id: &PaymentRef) -> Result<Option<KeptPayment>, Self::Error>;

    /// All that paid a purchase, in whatever order.
    async fn payments_of(&mut self, purchase: &PaymentRef)
    -> Result<Vec<KeptPayment>, Self::Error>;

    /// Keeps a payment, or replaces all of it.
    async fn put_payment(&mut self, payment: &KeptPayment) -> Result<(), Self::Error>;

    /// A dispute.
    async fn dispute(&mut self, id: &PaymentRef) -> Result<Option<KeptDispute>, Self::Error>;

    /// All disputes of a payment, in whatever order.
    async fn disputes_of(&mut self, payment: &PaymentRef) -> Result<Vec<KeptDispute>, Self::Error>;

    /// Keeps a dispute, or replaces all of it.
    async fn put_dispute(&mut self, dispute: &KeptDispute) -> Result<(), Self::Error>;

    /// What a user owes.
    async fn debt(&mut self, user: UserId) -> Result<Credits, Self::Error>;

    /// Replaces what a user owes.
    async fn set_debt(&mut self, user: UserId, debt: Credits) -> Result<(), Self::Error>;

    /// A subscription.
    async fn subscription(&mut self, id: &PaymentRef) -> Result<Option<Subscription>, Self::Error>;

    /// Keeps a subscription, or replaces all of it.
    async fn put_subscription(&mut self, subscription: &Subscription) -> Result<(), Self::Error>;

    /// The balance of a user, which nobody else moves before the transaction ends.
    async fn hold_balance(&mut self, user: UserId) -> Result<Credits, Self::Error>;

    /// As [`CreditStore::book`](crate::ports::CreditStore::book).
    async fn book(&mut self, entry: &Entry) -> Result<Booking, Self::Error>;

    /// Queues a mail.
    async fn queue_mail(&mut self, mail: &QueuedMail) -> Result<(), Self::Error>;
}
