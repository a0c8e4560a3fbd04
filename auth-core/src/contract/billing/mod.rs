//! What the payment provider tells: [`BillingStore`].

mod at_once;
mod customers;
mod events;
mod given_back;
mod periods;
mod purchases;
mod reconcile;
mod subscriptions;

use std::{fmt, sync::Arc};

use time::Duration;

pub use self::{
    at_once::{
        an_end_that_answer_and_event_tell_at_once_is_mailed_once,
        of_a_purchase_and_its_refund_at_once_both_count, of_deliveries_at_once_one_has_its_effect,
        uses_at_once_with_a_refund_never_overdraw,
    },
    customers::{
        a_checkout_of_a_subscription_links_it, a_customer_is_kept_once,
        a_customer_that_is_gone_is_replaced_once,
    },
    events::{
        a_reference_of_the_host_stops_no_event, an_event_is_kept_with_what_became_of_it,
        an_event_that_came_to_nothing_is_applied_when_it_comes_again,
        every_order_of_events_leads_to_one_state, what_an_event_moves_is_told_in_the_ledger,
    },
    given_back::{
        a_dispute_takes_the_rest_and_a_won_one_gives_it_again, a_late_link_finds_its_refund,
        a_part_of_a_price_takes_back_its_part, a_refund_takes_back_its_share_in_any_order,
        a_won_dispute_settles_debt_before_it_gives, disputes_of_one_payment_stand_apart,
        refunds_never_take_more_than_was_granted,
        what_the_balance_cannot_give_is_debt_that_the_next_purchase_settles,
    },
    periods::{
        a_period_grants_no_more_than_its_dearest_plan,
        a_period_that_a_change_began_counts_with_the_one_it_cut_short,
        what_was_refunded_may_be_granted_again_in_its_period,
    },
    purchases::{
        a_customer_of_another_user_pays_for_nobody,
        a_purchase_is_granted_once_whatever_tells_of_it, a_purchase_of_nobody_grants_nothing,
    },
    reconcile::{
        purchases_are_read_in_order, what_has_come_to_an_end_is_found, what_is_tried_leaves_nothing,
    },
    subscriptions::{
        a_failed_payment_is_told, a_subscription_is_as_its_newest_event_says,
        a_subscription_of_a_deleted_user_is_abandoned, a_wish_for_a_subscription_is_passed_once,
        an_end_names_the_plan_that_it_is_of, an_end_of_a_subscription_is_told_once,
        an_end_that_an_answer_tells_is_told_once,
    },
};

use super::{
    CreditStores, Stores,
    credits::{assert_sound, credits},
    fixtures::{at, registered},
};
use crate::{
    ports::{BillingStore, Booking, CreditStore, OsRandom, Store},
    types::{
        Amount, Dispute, EntryId, EntryIds, EntryKind, EventOutcome, KeptDispute, Letter, MailId,
        PaidPart, Payer, PaymentEvent, PaymentFact, PaymentRef, Price, Purchase, Subscription,
        SubscriptionChange, SubscriptionEnd, Term, User,
    },
};

/// [`CreditStores`], and two handles on what the provider told, in the same data.
#[derive(Clone)]
pub struct BillingStores {
    /// For accounts and their ledger.
    pub credits: CreditStores,
    /// A handle.
    pub first: Arc<dyn BillingStore>,
    /// Another one, as a second replica has it.
    pub second: Arc<dyn BillingStore>,
}

impl fmt::Debug for BillingStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BillingStores").finish_non_exhaustive()
    }
}

impl BillingStores {
    /// Over both handles.
    pub fn of<S: Store + BillingStore + Clone>(first: S, second: S) -> Self {
        Self {
            credits: CreditStores::of(first.clone(), second.clone()),
            first: Arc::new(first),
            second: Arc::new(second),
        }
    }

    const fn accounts(&self) -> &Stores {
        &self.credits.accounts
    }

    async fn registered(&self, name: &str) -> User {
        registered(&*self.accounts().first, name).await
    }

    async fn apply(&self, event: PaymentEvent) -> EventOutcome {
        let processed = self.first.apply_payment_event(event).await.unwrap();
        assert!(!processed.is_replay);
        processed.outcome
    }

    /// The balance, what is owed, and that the ledger is sound.
    async fn books(&self, user: &User) -> (String, String) {
        assert_sound(&*self.credits.first).await;
        let balance = self.credits.first.balance(user.id).await.unwrap();
        let debt = self.second.debt(user.id).await.unwrap();
        let balance = balance.expect("the account is there").balance;
        (balance.to_string(), debt.to_string())
    }

    /// What somebody should look at, in the order of the names.
    async fn alarms(&self) -> Vec<String> {
        let events = self.second.alarming_events(at(0), 1000).await.unwrap();
        let mut alarms: Vec<_> = events
            .iter()
            .map(|event| format!("{} {}", event.id, event.outcome.as_str()))
            .collect();
        alarms.sort();
        alarms
    }

    async fn letters(&self) -> Vec<Letter> {
        let store = &*self.accounts().first;
        let lease = Duration::minutes(10);
        let claimed = store.claim_mails(at(5000), lease, 100).await.unwrap();
        let mut mails: Vec<_> = claimed.mails.into_iter().map(|claim| claim.mail).collect();
        mails.sort_by_key(|mail| (mail.created_at, mail.id));
        mails.into_iter().map(|mail| mail.letter).collect()
    }
}

fn reference(raw: &str) -> PaymentRef {
    PaymentRef::parse(raw).unwrap()
}

fn event(id: &str, fact: PaymentFact) -> PaymentEvent {
    let entry = || EntryId::generate(at(0), &OsRandom);
    PaymentEvent {
        id: reference(id),
        kind: "a.kind".to_owned(),
        created_at: at(90),
        received_at: at(100),
        fact,
        request_id: Some("request-1".to_owned()),
        entries: EntryIds {
            gives: entry(),
            settles: entry(),
            takes: entry(),
        },
        mail: Some(MailId::generate(at(0), &OsRandom)),
    }
}

fn payer(user: &User) -> Payer {
    Payer {
        user: Some(user.id),
        customer: None,
        subscription: None,
    }
}

fn price() -> Price {
    Price {
        amount: "9.00".to_owned(),
        currency: "EUR".to_owned(),
    }
}

/// A pack of 100 credits, paid by `pi_{id}`.
pub fn pack(user: &User, id: &str) -> Purchase {
    Purchase {
        id: reference(id),
        payer: payer(user),
        kind: EntryKind::OneTimePurchase,
        item: "pack".to_owned(),
        credits: Amount::new(credits("100")).unwrap(),
        payments: vec![part(&format!("pi_{id}"), 900)],
        total: 900,
        paid: 900,
        price: price(),
        term: None,
        old_item: None,
        has_more: false,
    }
}

fn part(payment: &str, amount: u64) -> PaidPart {
    PaidPart {
        payment: reference(payment),
        amount,
    }
}

/// A period of `sub_1` from one time to another one, or the rest of it, of a plan that grants `worth` in a whole one; it grants `more`.
fn period(user: &User, id: &str, (start, end): (i64, i64), worth: &str, more: &str) -> Purchase {
    let is_whole = worth == more;
    Purchase {
        kind: if is_whole {
            EntryKind::PlanRenewal
        } else {
            EntryKind::PlanUpgrade
        },
        credits: Amount::new(credits(more)).unwrap(),
        term: Some(Term {
            subscription: reference("sub_1"),
            start: at(start),
            end: at(end),
            worth: credits(worth),
        }),
        old_item: (!is_whole).then(|| "basic".to_owned()),
        ..pack(user, id)
    }
}

/// An event that says so.
pub fn paid(id: &str, purchase: Purchase) -> PaymentEvent {
    event(id, PaymentFact::Paid(purchase))
}

/// An event that says how much of the 900 of a payment was given back.
pub fn refunded(id: &str, payment: &str, refunded: u64) -> PaymentEvent {
    let payment = reference(payment);
    let fact = PaymentFact::Refunded {
        payment,
        amount: 900,
        refunded,
    };
    event(id, fact)
}

/// By the one dispute of a payment.
fn disputed(id: &str, payment: &str, state: Dispute) -> PaymentEvent {
    disputed_by(id, &format!("dp_{payment}"), payment, state)
}

fn disputed_by(id: &str, dispute: &str, payment: &str, state: Dispute) -> PaymentEvent {
    let dispute = KeptDispute {
        id: reference(dispute),
        payment: reference(payment),
        state,
    };
    event(id, PaymentFact::Disputed(dispute))
}

fn link(id: &str, purchase: &str, part: PaidPart) -> PaymentEvent {
    let fact = PaymentFact::PaidBy {
        purchase: reference(purchase),
        part,
    };
    event(id, fact)
}

fn subscription(id: &str, status: &str, told: i64, rank: i16) -> Subscription {
    Subscription {
        id: reference(id),
        user: None,
        item: Some("basic".to_owned()),
        status: status.to_owned(),
        period_end: Some(at(3000)),
        cancel_at: None,
        told: (at(told), rank),
    }
}

fn told(id: &str, user: &User, subscription: Subscription) -> PaymentEvent {
    let change = SubscriptionChange {
        payer: payer(user),
        subscription,
    };
    event(id, PaymentFact::Subscription(change))
}

/// As an answer says it, a second later.
fn ended(id: &str, second: i64) -> SubscriptionEnd {
    SubscriptionEnd {
        id: reference(id),
        item: None,
        at: at(second),
        received_at: at(second + 1),
        mail: Some(MailId::generate(at(0), &OsRandom)),
    }
}

async fn book(store: &dyn CreditStore, entry: crate::types::Entry) {
    let booking = store.book(entry).await.unwrap();
    assert!(matches!(booking, Booking::Done(_)), "{booking:?}");
}

fn is(balance: &str, debt: &str) -> (String, String) {
    (balance.to_owned(), debt.to_owned())
}

fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in orders(count - 1) {
        for place in 0..count {
            let mut order = shorter.clone();
            order.insert(place, count - 1);
            all.push(order);
        }
    }
    all
}
