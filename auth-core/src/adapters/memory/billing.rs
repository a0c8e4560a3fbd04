use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Data, MemoryStore};
use crate::{
    payments::{PaymentRows, apply, end_subscription},
    ports::{BillingStore, Booking, StoreError},
    types::{
        Credits, Entry, EventOutcome, KeptDispute, KeptEvent, KeptPayment, KeptPurchase,
        PaymentEvent, PaymentRef, Processed, QueuedMail, Record, Subscription, SubscriptionEnd,
        Term, User, UserId,
    },
};

/// What the payment provider told.
#[derive(Clone, Default)]
pub(super) struct Books {
    events: HashMap<PaymentRef, KeptEvent>,
    /// Events that wait for the purchase of a payment.
    waiting: HashMap<PaymentRef, Vec<PaymentRef>>,
    disputes: HashMap<PaymentRef, KeptDispute>,
    purchases: HashMap<PaymentRef, KeptPurchase>,
    payments: HashMap<PaymentRef, KeptPayment>,
    subscriptions: BTreeMap<PaymentRef, Subscription>,
    customers: HashMap<UserId, PaymentRef>,
    debts: HashMap<UserId, Credits>,
    wishes: HashMap<UserId, u32>,
}

/// A transaction is the time that the lock is held.
struct Rows<'a>(&'a mut Data);

#[async_trait]
impl PaymentRows for Rows<'_> {
    type Error = Infallible;

    async fn take_turn(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    async fn event(&mut self, id: &PaymentRef) -> Result<Option<EventOutcome>, Infallible> {
        Ok(self.0.billing.events.get(id).map(|event| event.outcome))
    }

    async fn put_event(
        &mut self,
        event: &PaymentEvent,
        outcome: EventOutcome,
    ) -> Result<(), Infallible> {
        let events = &mut self.0.billing.events;
        let kept = events.entry(event.id.clone()).or_insert_with(|| KeptEvent {
            id: event.id.clone(),
            kind: event.kind.clone(),
            outcome,
            received_at: event.received_at,
        });
        kept.outcome = outcome;
        if let (EventOutcome::UnknownPayment, Some(payment)) = (outcome, event.fact.payment()) {
            let waiting = self.0.billing.waiting.entry(payment.clone()).or_default();
            waiting.push(event.id.clone());
        }
        Ok(())
    }

    async fn settle_events(&mut self, payment: &PaymentRef) -> Result<(), Infallible> {
        let billing = &mut self.0.billing;
        for id in billing.waiting.remove(payment).into_iter().flatten() {
            if let Some(event) = billing.events.get_mut(&id) {
                event.outcome = EventOutcome::Applied;
            }
        }
        Ok(())
    }

    async fn user(&mut self, id: UserId) -> Result<Option<User>, Infallible> {
        let account = self.0.accounts.get(&id);
        Ok(account.map(|account| account.user.clone()))
    }

    async fn user_of_customer(
        &mut self,
        customer: &PaymentRef,
    ) -> Result<Option<UserId>, Infallible> {
        let mut customers = self.0.billing.customers.iter();
        Ok(customers
            .find(|(_, known)| *known == customer)
            .map(|(user, _)| *user))
    }

    async fn keep_customer(
        &mut self,
        user: UserId,
        customer: &PaymentRef,
    ) -> Result<Option<PaymentRef>, Infallible> {
        Ok(self.0.keep_customer(user, customer))
    }

    async fn purchase(&mut self, id: &PaymentRef) -> Result<Option<KeptPurchase>, Infallible> {
        Ok(self.0.billing.purchases.get(id).cloned())
    }

    async fn put_purchase(&mut self, purchase: &KeptPurchase) -> Result<(), Infallible> {
        let purchases = &mut self.0.billing.purchases;
        purchases.insert(purchase.id.clone(), purchase.clone());
        Ok(())
    }

    async fn terms(
        &mut self,
        subscription: &PaymentRef,
        start: OffsetDateTime,
        end: OffsetDateTime,
    ) -> Result<Vec<KeptPurchase>, Infallible> {
        let overlaps = |term: &Term| {
            term.subscription == *subscription && term.start < end && start < term.end
        };
        let purchases = self.0.billing.purchases.values();
        Ok(purchases
            .filter(|purchase| purchase.term.as_ref().is_some_and(overlaps))
            .cloned()
            .collect())
    }

    async fn payment(&mut self, id: &PaymentRef) -> Result<Option<KeptPayment>, Infallible> {
        Ok(self.0.billing.payments.get(id).cloned())
    }

    async fn payments_of(&mut self, purchase: &PaymentRef) -> Result<Vec<KeptPayment>, Infallible> {
        let payments = self.0.billing.payments.values();
        Ok(payments
            .filter(|payment| payment.purchase.as_ref() == Some(purchase))
            .cloned()
            .collect())
    }

    async fn put_payment(&mut self, payment: &KeptPayment) -> Result<(), Infallible> {
        let payments = &mut self.0.billing.payments;
        payments.insert(payment.id.clone(), payment.clone());
        Ok(())
    }

    async fn dispute(&mut self, id: &PaymentRef) -> Result<Option<KeptDispute>, Infallible> {
        Ok(self.0.billing.disputes.get(id).cloned())
    }

    async fn disputes_of(&mut self, payment: &PaymentRef) -> Result<Vec<KeptDispute>, Infallible> {
        let disputes = self.0.billing.disputes.values();
        Ok(disputes
            .filter(|dispute| dispute.payment == *payment)
            .cloned()
            .collect())
    }

    async fn put_dispute(&mut self, dispute: &KeptDispute) -> Result<(), Infallible> {
        let disputes = &mut self.0.billing.disputes;
        disputes.insert(dispute.id.clone(), dispute.clone());
        Ok(())
    }

    async fn debt(&mut self, user: UserId) -> Result<Credits, Infallible> {
        Ok(self.0.billing.debt(user))
    }

    async fn set_debt(&mut self, user: UserId, debt: Credits) -> Result<(), Infallible> {
        self.0.billing.debts.insert(user, debt);
        Ok(())
    }

    async fn subscription(&mut self, id: &PaymentRef) -> Result<Option<Subscription>, Infallible> {
        Ok(self.0.billing.subscriptions.get(id).cloned())
    }

    async fn put_subscription(&mut self, subscription: &Subscription) -> Result<(), Infallible> {
        let subscriptions = &mut self.0.billing.subscriptions;
        subscriptions.insert(subscription.id.clone(), subscription.clone());
        Ok(())
    }

    async fn hold_balance(&mut self, user: UserId) -> Result<Credits, Infallible> {
        Ok(self.0.ledger.balance(user))
    }

    async fn book(&mut self, entry: &Entry) -> Result<Booking, Infallible> {
        Ok(self.0.book(entry.clone()))
    }

    async fn queue_mail(&mut self, mail: &QueuedMail) -> Result<(), Infallible> {
        self.0.write(Record {
            mails: vec![mail.clone()],
            audit: Vec::new(),
        });
        Ok(())
    }
}

impl Data {
    fn keep_customer(&mut self, user: UserId, customer: &PaymentRef) -> Option<PaymentRef> {
        if !self.accounts.contains_key(&user) {
            return None;
        }
        let customers = &mut self.billing.customers;
        if !customers.contains_key(&user) && !customers.values().any(|known| known == customer) {
            customers.insert(user, customer.clone());
        }
        customers.get(&user).cloned()
    }
}

impl Books {
    fn debt(&self, user: UserId) -> Credits {
        self.debts.get(&user).copied().unwrap_or(Credits::ZERO)
    }

    fn live(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions
            .values()
            .filter(|subscription| !subscription.has_ended())
    }
}

/// Drives a future that waits for nothing, so that the lock is held across no await.
fn at_once<T>(future: impl Future<Output = Result<T, Infallible>>) -> Result<T, StoreError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(done)) => Ok(done),
        Poll::Pending => Err(StoreError::Backend("rows in memory do not wait".into())),
    }
}

fn first(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[async_trait]
impl BillingStore for MemoryStore {
    async fn apply_payment_event(&self, event: PaymentEvent) -> Result<Processed, StoreError> {
        let data = &mut *self.lock();
        at_once(apply(&mut Rows(data), &event))
    }

    async fn try_payment_event(&self, mut event: PaymentEvent) -> Result<Processed, StoreError> {
        // The queue of mails is not put back.
        event.mail = None;
        let data = &mut *self.lock();
        let (billing, ledger) = (data.billing.clone(), data.ledger.clone());
        let outcome = at_once(apply(&mut Rows(data), &event));
        (data.billing, data.ledger) = (billing, ledger);
        outcome
    }

    async fn settled_payments(&self, ids: &[PaymentRef]) -> Result<Vec<PaymentRef>, StoreError> {
        let billing = &self.lock().billing;
        let is_settled = |id: &&PaymentRef| {
            let event = billing.events.get(id);
            event.is_some_and(|event| event.outcome.is_final())
                || billing.purchases.contains_key(id)
        };
        Ok(ids.iter().filter(is_settled).cloned().collect())
    }

    async fn customer(&self, user: UserId) -> Result<Option<PaymentRef>, StoreError> {
        Ok(self.lock().billing.customers.get(&user).cloned())
    }

    async fn keep_customer(
        &self,
        user: UserId,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError> {
        Ok(self.lock().keep_customer(user, &customer))
    }

    async fn replace_customer(
        &self,
        user: UserId,
        gone: &PaymentRef,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError> {
        let data = &mut *self.lock();
        if !data.accounts.contains_key(&user) {
            return Ok(None);
        }
        let kept = data.billing.customers.get_mut(&user);
        Ok(kept.map(|kept| {
            if kept == gone {
                *kept = customer;
            }
            kept.clone()
        }))
    }

    async fn subscription_wish(&self, user: UserId) -> Result<u32, StoreError> {
        Ok(self.lock().billing.wishes.get(&user).copied().unwrap_or(0))
    }

    async fn pass_subscription_wish(&self, user: UserId, seen: u32) -> Result<(), StoreError> {
        let data = &mut *self.lock();
        let wish = data.billing.wishes.entry(user).or_default();
        if *wish == seen {
            *wish = wish.saturating_add(1);
        }
        Ok(())
    }

    async fn debt(&self, user: UserId) -> Result<Credits, StoreError> {
        Ok(self.lock().billing.debt(user))
    }

    async fn debts(&self, limit: u32) -> Result<Vec<(UserId, Credits)>, StoreError> {
        let data = self.lock();
        let debts = data.billing.debts.iter().map(|(user, debt)| (*user, *debt));
        let mut debts: Vec<_> = debts.filter(|(_, debt)| *debt > Credits::ZERO).collect();
        debts.sort_by(|one, other| (other.1, one.0).cmp(&(one.1, other.0)));
        debts.truncate(first(limit));
        Ok(debts)
    }

    async fn subscriptions(&self, user: UserId) -> Result<Vec<Subscription>, StoreError> {
        let data = self.lock();
        Ok(data
            .billing
            .live()
            .filter(|subscription| subscription.user == Some(user))
            .cloned()
            .collect())
    }

    async fn keep_subscription(
        &self,
        user: UserId,
        subscription: Subscription,
    ) -> Result<(), StoreError> {
        let data = &mut *self.lock();
        let kept = Subscription {
            user: Some(user),
            ..subscription
        };
        data.billing
            .subscriptions
            .entry(kept.id.clone())
            .or_insert(kept);
        Ok(())
    }

    async fn end_subscription(&self, end: SubscriptionEnd) -> Result<(), StoreError> {
        let data = &mut *self.lock();
        at_once(end_subscription(&mut Rows(data), &end))
    }

    async fn abandoned_subscriptions(&self, limit: u32) -> Result<Vec<PaymentRef>, StoreError> {
        let data = self.lock();
        let has_account = |user: &UserId| data.accounts.contains_key(user);
        Ok(data
            .billing
            .live()
            .filter(|subscription| !subscription.user.as_ref().is_some_and(has_account))
            .map(|subscription| subscription.id.clone())
            .take(first(limit))
            .collect())
    }

    async fn alarming_events(
        &self,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<KeptEvent>, StoreError> {
        let data = self.lock();
        let mut events: Vec<KeptEvent> = data
            .billing
            .events
            .values()
            .filter(|event| event.outcome.is_alarming() && event.received_at >= since)
            .cloned()
            .collect();
        events
            .sort_by(|one, other| (other.received_at, &other.id).cmp(&(one.received_at, &one.id)));
        events.truncate(first(limit));
        Ok(events)
    }

    async fn purchases(
        &self,
        since: OffsetDateTime,
        after: Option<(OffsetDateTime, PaymentRef)>,
        limit: u32,
    ) -> Result<Vec<KeptPurchase>, StoreError> {
        let data = self.lock();
        let place = |purchase: &KeptPurchase| (purchase.created_at, purchase.id.clone());
        let mut purchases: Vec<KeptPurchase> = data
            .billing
            .purchases
            .values()
            .filter(|purchase| purchase.created_at >= since)
            .filter(|purchase| after.as_ref().is_none_or(|after| *after < place(purchase)))
            .cloned()
            .collect();
        purchases.sort_by_key(place);
        purchases.truncate(first(limit));
        Ok(purchases)
    }
}
