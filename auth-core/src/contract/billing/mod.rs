//! What the payment provider tells: [`BillingStore`].

mod reconcile;

use std::{fmt, sync::Arc};

use time::Duration;

pub use self::reconcile::{
    purchases_are_read_in_order, what_has_come_to_an_end_is_found, what_is_tried_leaves_nothing,
};

use super::{
    CreditStores, Stores,
    credits::{add, assert_sound, credits, spend},
    fixtures::{at, email, queued, race_on, registered},
};
use crate::{
    ports::{BillingStore, Booking, CreditStore, History, OsRandom, Store},
    types::{
        Amount, Dispute, EntryId, EntryIds, EntryKind, EventOutcome, FailedPayment, KeptDispute,
        Letter, Link, MailId, PaidPart, Payer, PaymentEvent, PaymentFact, PaymentRef, Price,
        Purchase, Subscription, SubscriptionChange, Term, User, UserId,
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

async fn book(store: &dyn CreditStore, entry: crate::types::Entry) {
    let booking = store.book(entry).await.unwrap();
    assert!(matches!(booking, Booking::Done(_)), "{booking:?}");
}

fn is(balance: &str, debt: &str) -> (String, String) {
    (balance.to_owned(), debt.to_owned())
}

/// Under one event, and under two.
pub async fn a_purchase_is_granted_once_whatever_tells_of_it(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let first = paid("evt_1", pack(&ada, "cs_1"));
    assert_eq!(stores.apply(first.clone()).await, EventOutcome::Applied);
    let again = stores.second.apply_payment_event(first).await.unwrap();
    assert_eq!(
        (again.outcome, again.is_replay),
        (EventOutcome::Applied, true)
    );
    let other = paid("evt_2", pack(&ada, "cs_1"));
    assert_eq!(stores.apply(other).await, EventOutcome::Ignored);
    assert_eq!(stores.books(&ada).await, is("100.00", "0.00"));
    let letters = stores.letters().await;
    let expected = Letter::CreditPurchase {
        username: "ada".to_owned(),
        item: "pack".to_owned(),
        credits: "100.00".to_owned(),
        balance: "100.00".to_owned(),
        price: "9.00".to_owned(),
        currency: "EUR".to_owned(),
    };
    assert_eq!(letters, [expected]);
}

/// Also one that has no effect; the alarming ones are listed, the newest first, and are no replays when they come again.
pub async fn an_event_is_kept_with_what_became_of_it(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    for (id, outcome) in [
        ("evt_2", EventOutcome::Ignored),
        ("evt_3", EventOutcome::OtherMode),
        ("evt_4", EventOutcome::UnknownItem),
    ] {
        let noted = event(id, PaymentFact::Noted(outcome));
        assert_eq!(stores.apply(noted.clone()).await, outcome);
        let later = PaymentEvent {
            received_at: at(200),
            ..noted
        };
        let again = stores.second.apply_payment_event(later).await.unwrap();
        let is_replay = outcome == EventOutcome::Ignored;
        assert_eq!((again.outcome, again.is_replay), (outcome, is_replay));
    }
    let seen = stores.second.alarming_events(at(0), 10).await.unwrap();
    let seen: Vec<_> = seen
        .iter()
        .map(|event| (event.id.as_str(), event.outcome, event.received_at))
        .collect();
    let expected = [
        ("evt_4", EventOutcome::UnknownItem, at(100)),
        ("evt_3", EventOutcome::OtherMode, at(100)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        stores.first.alarming_events(at(0), 1).await.unwrap().len(),
        1
    );
    let later = stores.first.alarming_events(at(101), 10).await.unwrap();
    assert_eq!(later, []);
}

/// What it lacked is there by now: a mended catalogue, a user that became known.
pub async fn an_event_that_came_to_nothing_is_applied_when_it_comes_again(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let noted = event("evt_1", PaymentFact::Noted(EventOutcome::UnknownItem));
    assert_eq!(stores.apply(noted).await, EventOutcome::UnknownItem);
    let mended = paid("evt_1", pack(&ada, "cs_1"));
    for is_replay in [false, true] {
        let processed = stores.second.apply_payment_event(mended.clone()).await;
        let processed = processed.unwrap();
        let expected = (EventOutcome::Applied, is_replay);
        assert_eq!((processed.outcome, processed.is_replay), expected);
    }
    assert_eq!(stores.books(&ada).await, is("100.00", "0.00"));
    let left = stores.first.alarming_events(at(0), 10).await.unwrap();
    assert_eq!(left, []);
}

/// Neither to an unknown user nor to an unknown customer.
pub async fn a_purchase_of_nobody_grants_nothing(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let nobody = User {
        id: UserId::generate(at(0), &OsRandom),
        ..ada.clone()
    };
    let unnamed = Purchase {
        payer: Payer {
            user: None,
            customer: Some(reference("cus_1")),
            subscription: None,
        },
        ..pack(&ada, "cs_2")
    };
    for (id, purchase) in [("evt_1", pack(&nobody, "cs_1")), ("evt_2", unnamed)] {
        let outcome = stores.apply(paid(id, purchase)).await;
        assert_eq!(outcome, EventOutcome::UnknownUser);
    }
    assert_eq!(stores.books(&ada).await, is("0.00", "0.00"));
    assert_eq!(queued(&*stores.accounts().first).await, 0);
}

/// Where what we wrote and who pays disagree, nobody gets credits.
pub async fn a_customer_of_another_user_pays_for_nobody(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    let customer = reference("cus_bob");
    let kept = stores.first.keep_customer(bob.id, customer.clone()).await;
    assert_eq!(kept.unwrap(), Some(customer.clone()));
    let by = |user: Option<&User>, id: &str| Purchase {
        payer: Payer {
            user: user.map(|user| user.id),
            customer: Some(customer.clone()),
            subscription: None,
        },
        ..pack(&ada, id)
    };
    let crossed = stores.apply(paid("evt_1", by(Some(&ada), "cs_1"))).await;
    assert_eq!(crossed, EventOutcome::UnknownUser);
    let by_customer = stores.apply(paid("evt_2", by(None, "cs_2"))).await;
    assert_eq!(by_customer, EventOutcome::Applied);
    assert_eq!(stores.books(&ada).await, is("0.00", "0.00"));
    assert_eq!(stores.books(&bob).await, is("100.00", "0.00"));
}

/// After its purchase and before it, rounded up.
pub async fn a_refund_takes_back_its_share_in_any_order(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    let third = refunded("evt_2", "pi_cs_1", 300);
    assert_eq!(stores.apply(third).await, EventOutcome::Applied);
    assert_eq!(stores.books(&ada).await, is("66.66", "0.00"));

    let early = refunded("evt_3", "pi_cs_2", 300);
    assert_eq!(stores.apply(early).await, EventOutcome::UnknownPayment);
    assert_eq!(stores.alarms().await, ["evt_3 unknown_payment"]);
    stores.apply(paid("evt_4", pack(&bob, "cs_2"))).await;
    assert_eq!(stores.books(&bob).await, is("66.66", "0.00"));
    // Nobody has to look any more, and nothing happens when it is sent again.
    assert_eq!(stores.alarms().await, [""; 0]);
    let again = refunded("evt_3", "pi_cs_2", 300);
    let again = stores.second.apply_payment_event(again).await.unwrap();
    assert_eq!(
        (again.outcome, again.is_replay),
        (EventOutcome::Applied, true)
    );
}

/// Whatever the provider counts, and whatever comes late.
pub async fn refunds_never_take_more_than_was_granted(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    book(&*stores.credits.first, add(&ada, "50")).await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    for (id, sum, balance) in [
        ("evt_2", 1, "149.88"),
        ("evt_3", 899, "50.11"),
        // An older one comes late.
        ("evt_4", 450, "50.11"),
        ("evt_5", 900, "50.00"),
        ("evt_6", 5000, "50.00"),
    ] {
        stores.apply(refunded(id, "pi_cs_1", sum)).await;
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
    stores
        .apply(disputed("evt_7", "pi_cs_1", Dispute::Open))
        .await;
    assert_eq!(stores.books(&ada).await, is("50.00", "0.00"));
}

/// And an inquiry takes nothing.
pub async fn a_dispute_takes_the_rest_and_a_won_one_gives_it_again(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    stores.apply(refunded("evt_2", "pi_cs_1", 450)).await;
    for (id, dispute, balance) in [
        ("evt_3", Dispute::None, "50.00"),
        ("evt_4", Dispute::Open, "0.00"),
        ("evt_5", Dispute::Won, "50.00"),
        // What was told before comes late.
        ("evt_6", Dispute::Open, "50.00"),
        ("evt_7", Dispute::Lost, "0.00"),
    ] {
        stores.apply(disputed(id, "pi_cs_1", dispute)).await;
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
}

/// As far as it reaches, and once.
pub async fn what_the_balance_cannot_give_is_debt_that_the_next_purchase_settles(
    stores: BillingStores,
) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    book(&*stores.credits.first, spend(&ada, "70")).await;
    stores.apply(refunded("evt_2", "pi_cs_1", 900)).await;
    assert_eq!(stores.books(&ada).await, is("0.00", "70.00"));
    // What another service adds is not a purchase.
    book(&*stores.credits.first, add(&ada, "5")).await;
    assert_eq!(stores.books(&ada).await, is("5.00", "70.00"));
    stores.apply(paid("evt_3", pack(&ada, "cs_2"))).await;
    assert_eq!(stores.books(&ada).await, is("35.00", "0.00"));

    let bob = stores.registered("bob").await;
    for number in [3, 4] {
        let (purchase, spent) = (format!("cs_{number}"), spend(&bob, "100"));
        let id = format!("evt_paid_{number}");
        stores.apply(paid(&id, pack(&bob, &purchase))).await;
        book(&*stores.credits.first, spent).await;
    }
    for number in [3, 4] {
        let payment = format!("pi_cs_{number}");
        let id = format!("evt_refund_{number}");
        stores.apply(refunded(&id, &payment, 900)).await;
    }
    assert_eq!(stores.books(&bob).await, is("0.00", "200.00"));
    // A purchase settles no more than it grants.
    stores.apply(paid("evt_5", pack(&bob, "cs_5"))).await;
    assert_eq!(stores.books(&bob).await, is("0.00", "100.00"));
    // And none of it twice, when it is given back itself.
    stores.apply(refunded("evt_6", "pi_cs_5", 900)).await;
    assert_eq!(stores.books(&bob).await, is("0.00", "200.00"));
}

/// Nothing is given that is still owed.
pub async fn a_won_dispute_settles_debt_before_it_gives(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    book(&*stores.credits.first, spend(&ada, "70")).await;
    stores
        .apply(disputed("evt_2", "pi_cs_1", Dispute::Open))
        .await;
    assert_eq!(stores.books(&ada).await, is("0.00", "70.00"));
    stores
        .apply(disputed("evt_3", "pi_cs_1", Dispute::Won))
        .await;
    assert_eq!(stores.books(&ada).await, is("30.00", "0.00"));
}

/// A payment whose purchase is told last.
pub async fn a_late_link_finds_its_refund(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let link = |id| link(id, "in_1", part("pi_1", 900));
    let invoice = Purchase {
        payments: Vec::new(),
        ..pack(&ada, "in_1")
    };
    let refund = stores.apply(refunded("evt_1", "pi_1", 450)).await;
    assert_eq!(refund, EventOutcome::UnknownPayment);
    stores.apply(paid("evt_2", invoice)).await;
    assert_eq!(stores.books(&ada).await, is("100.00", "0.00"));
    assert_eq!(stores.alarms().await, ["evt_1 unknown_payment"]);
    assert_eq!(stores.apply(link("evt_3")).await, EventOutcome::Applied);
    assert_eq!(stores.books(&ada).await, is("50.00", "0.00"));
    stores.apply(link("evt_4")).await;
    assert_eq!(stores.books(&ada).await, is("50.00", "0.00"));
    assert_eq!(stores.alarms().await, [""; 0]);
}

/// Whatever the other parts do, and whichever is told first.
pub async fn a_part_of_a_price_takes_back_its_part(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    let invoice = |user: &User, id: &str, payments| Purchase {
        payments,
        ..pack(user, id)
    };
    let parts = vec![part("pi_1", 600), part("pi_2", 300)];
    stores
        .apply(paid("evt_1", invoice(&ada, "in_1", parts)))
        .await;
    let refund = |id: &str, payment: &str, amount, refunded| {
        let fact = PaymentFact::Refunded {
            payment: reference(payment),
            amount,
            refunded,
        };
        event(id, fact)
    };
    for (event, balance) in [
        (refund("evt_2", "pi_2", 300, 300), "66.66"),
        (disputed("evt_3", "pi_1", Dispute::Open), "0.00"),
        (disputed("evt_4", "pi_1", Dispute::Won), "66.66"),
        (refund("evt_5", "pi_1", 600, 300), "33.32"),
        (disputed("evt_6", "pi_2", Dispute::Open), "33.32"),
        (refund("evt_7", "pi_1", 600, 600), "0.00"),
    ] {
        let id = event.id.clone();
        assert_eq!(stores.apply(event).await, EventOutcome::Applied, "{id}");
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
    // As later versions of the provider's API tell it: the parts by events of their own.
    stores.apply(disputed("evt_8", "pi_3", Dispute::Lost)).await;
    stores.apply(link("evt_9", "in_2", part("pi_3", 300))).await;
    stores
        .apply(paid("evt_10", invoice(&bob, "in_2", Vec::new())))
        .await;
    assert_eq!(stores.books(&bob).await, is("66.66", "0.00"));
    stores
        .apply(link("evt_11", "in_2", part("pi_4", 600)))
        .await;
    assert_eq!(stores.books(&bob).await, is("66.66", "0.00"));
}

/// One that is won frees nothing that another one holds, in any order.
pub async fn disputes_of_one_payment_stand_apart(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    for (id, dispute, state, balance) in [
        ("evt_2", "dp_1", Dispute::Open, "0.00"),
        ("evt_3", "dp_2", Dispute::Open, "0.00"),
        ("evt_4", "dp_1", Dispute::Won, "0.00"),
        ("evt_5", "dp_2", Dispute::Won, "100.00"),
        // The second one was told to be open before it was won.
        ("evt_6", "dp_2", Dispute::Open, "100.00"),
        ("evt_7", "dp_3", Dispute::Open, "0.00"),
        ("evt_8", "dp_3", Dispute::Lost, "0.00"),
        ("evt_9", "dp_1", Dispute::Won, "0.00"),
    ] {
        stores
            .apply(disputed_by(id, dispute, "pi_cs_1", state))
            .await;
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
}

/// Down and up again in a period, in whatever order it is told: the difference is granted once.
pub async fn a_period_grants_no_more_than_its_dearest_plan(stores: BillingStores) {
    for (run, order) in orders(3).into_iter().enumerate() {
        let user = stores.registered(&format!("user-{run}")).await;
        let of_run = |purchase: Purchase| {
            let subscription = reference(&format!("sub_{run}"));
            let term = purchase.term.map(|term| Term {
                subscription,
                ..term
            });
            Purchase { term, ..purchase }
        };
        let invoices = [
            period(&user, &format!("in_{run}_basic"), (0, 30), "120", "120"),
            period(&user, &format!("in_{run}_up"), (1, 30), "500", "380"),
            // It is paid by what the way down gave back.
            Purchase {
                paid: 0,
                ..period(&user, &format!("in_{run}_again"), (3, 30), "500", "380")
            },
        ];
        for place in &order {
            let invoice = of_run(invoices[*place].clone());
            stores
                .apply(paid(&format!("evt_{}", invoice.id), invoice))
                .await;
        }
        assert_eq!(stores.books(&user).await, is("500.00", "0.00"), "{order:?}");
        // The next period is another one.
        let next = of_run(period(
            &user,
            &format!("in_{run}_next"),
            (30, 60),
            "500",
            "500",
        ));
        stores.apply(paid(&format!("evt_{run}_next"), next)).await;
        assert_eq!(
            stores.books(&user).await,
            is("1000.00", "0.00"),
            "{order:?}"
        );
    }
}

/// A change that begins a period of its own ends no sooner than the one before, which was granted.
pub async fn a_period_that_a_change_began_counts_with_the_one_it_cut_short(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    for (id, term, worth, more, outcome, balance) in [
        (
            "in_1",
            (0, 30),
            "120",
            "120",
            EventOutcome::Applied,
            "120.00",
        ),
        (
            "in_2",
            (1, 31),
            "500",
            "380",
            EventOutcome::Applied,
            "500.00",
        ),
        // Money came for it, and nobody knows for what.
        (
            "in_3",
            (3, 33),
            "500",
            "380",
            EventOutcome::Unaccounted,
            "500.00",
        ),
        // A dearer one grants what is left.
        (
            "in_4",
            (4, 34),
            "600",
            "480",
            EventOutcome::Partly,
            "600.00",
        ),
        (
            "in_5",
            (34, 64),
            "600",
            "600",
            EventOutcome::Applied,
            "1200.00",
        ),
    ] {
        let invoice = period(&ada, id, term, worth, more);
        let event = paid(&format!("evt_{id}"), invoice);
        assert_eq!(stores.apply(event).await, outcome, "{id}");
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
    assert_eq!(
        stores.alarms().await,
        ["evt_in_3 unaccounted", "evt_in_4 partly"]
    );
    // What was granted for a part is not granted again.
    let again = paid("evt_in_4", period(&ada, "in_4", (4, 34), "600", "480"));
    let again = stores.second.apply_payment_event(again).await.unwrap();
    assert_eq!(
        (again.outcome, again.is_replay),
        (EventOutcome::Partly, true)
    );
    assert_eq!(stores.books(&ada).await, is("1200.00", "0.00"));
}

/// But not for what is disputed, which may be won.
pub async fn what_was_refunded_may_be_granted_again_in_its_period(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let upgrade = |id: &str| period(&ada, id, (1, 30), "500", "380");
    let basic = period(&ada, "in_1", (0, 30), "120", "120");
    stores.apply(paid("evt_1", basic)).await;
    stores.apply(paid("evt_2", upgrade("in_2"))).await;
    stores
        .apply(disputed("evt_3", "pi_in_2", Dispute::Open))
        .await;
    let early = stores.apply(paid("evt_4", upgrade("in_3"))).await;
    assert_eq!(early, EventOutcome::Unaccounted);
    stores.apply(refunded("evt_5", "pi_in_2", 900)).await;
    assert_eq!(stores.books(&ada).await, is("120.00", "0.00"));
    // Sent again, it finds that the first upgrade is gone for good.
    stores.apply(paid("evt_4", upgrade("in_3"))).await;
    assert_eq!(stores.books(&ada).await, is("500.00", "0.00"));
    stores
        .apply(disputed("evt_6", "pi_in_2", Dispute::Won))
        .await;
    assert_eq!(stores.books(&ada).await, is("500.00", "0.00"));
}

/// With the request that brought it, and in words where it settles debt; the greatest debt is listed first.
pub async fn what_an_event_moves_is_told_in_the_ledger(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    for (user, id, spent) in [(&ada, "cs_1", "70"), (&bob, "cs_2", "80")] {
        stores
            .apply(paid(&format!("evt_{id}"), pack(user, id)))
            .await;
        book(&*stores.credits.first, spend(user, spent)).await;
        let event = refunded(&format!("evt_back_{id}"), &format!("pi_{id}"), 900);
        stores.apply(event).await;
    }
    let debts = stores.second.debts(10).await.unwrap();
    let expected = [(bob.id, credits("80")), (ada.id, credits("70"))];
    assert_eq!(debts, expected);
    assert_eq!(stores.first.debts(1).await.unwrap(), expected[..1]);
    // Paid, given back in part before, and owed: three entries.
    stores.apply(refunded("evt_3", "pi_cs_3", 90)).await;
    stores.apply(paid("evt_4", pack(&ada, "cs_3"))).await;
    assert_eq!(stores.books(&ada).await, is("20.00", "0.00"));
    assert_eq!(stores.first.debts(10).await.unwrap(), expected[..1]);
    let history = History {
        user_id: ada.id,
        before: None,
        limit: 3,
        kind: None,
    };
    let page = stores.credits.second.history(history).await.unwrap();
    let told: Vec<_> = page
        .expect("the account is there")
        .entries
        .into_iter()
        .map(|booked| {
            let entry = booked.entry;
            assert_eq!(entry.request_id.as_deref(), Some("request-1"));
            let reference = entry.reference.expect("it has one");
            let is_described = entry.description.is_some();
            (
                entry.kind,
                entry.amount.to_string(),
                reference.as_str().to_owned(),
                is_described,
            )
        })
        .collect();
    let row = |kind, amount: &str, reference: &str, is_described| {
        (kind, amount.to_owned(), reference.to_owned(), is_described)
    };
    let expected = [
        row(EntryKind::Adjustment, "70.00", "cs_3", true),
        row(EntryKind::Refund, "10.00", "evt_4", false),
        row(EntryKind::OneTimePurchase, "100.00", "cs_3", false),
    ];
    assert_eq!(told, expected);
}

/// A host's own entries may look like ours.
pub async fn a_reference_of_the_host_stops_no_event(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    for (kind, reference) in [
        (EntryKind::OneTimePurchase, "cs_1"),
        (EntryKind::Refund, "evt_2"),
    ] {
        let entry = crate::types::Entry {
            kind,
            reference: crate::types::ReferenceId::parse(reference).ok(),
            ..add(&ada, "1")
        };
        book(&*stores.credits.first, entry).await;
    }
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    assert_eq!(stores.books(&ada).await, is("102.00", "0.00"));
    stores.apply(refunded("evt_2", "pi_cs_1", 900)).await;
    assert_eq!(stores.books(&ada).await, is("2.00", "0.00"));
}

/// All 120 orders of five events, each delivered twice.
pub async fn every_order_of_events_leads_to_one_state(stores: BillingStores) {
    let events = |user: &User, run: usize| {
        let (purchase, payment) = (format!("in_{run}"), format!("pi_{run}"));
        let invoice = Purchase {
            payments: Vec::new(),
            ..pack(user, &purchase)
        };
        let linked = link(&format!("evt_{run}_link"), &purchase, part(&payment, 900));
        [
            paid(&format!("evt_{run}_paid"), invoice),
            linked,
            refunded(&format!("evt_{run}_refund"), &payment, 450),
            disputed(&format!("evt_{run}_open"), &payment, Dispute::Open),
            disputed(&format!("evt_{run}_won"), &payment, Dispute::Won),
        ]
    };
    for (run, order) in orders(5).into_iter().enumerate() {
        let user = stores.registered(&format!("user-{run}")).await;
        let events = events(&user, run);
        for place in order.iter().flat_map(|place| [place, place]) {
            let event = events[*place].clone();
            stores.first.apply_payment_event(event).await.unwrap();
        }
        let balance = stores.credits.first.balance(user.id).await.unwrap();
        let debt = stores.first.debt(user.id).await.unwrap();
        let got = (balance.unwrap().balance.to_string(), debt.to_string());
        assert_eq!(got, is("50.00", "0.00"), "{order:?}");
        assert_eq!(stores.alarms().await, [""; 0], "{order:?}");
    }
    assert_sound(&*stores.credits.first).await;
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

/// Over two handles: one grant, one mail, one answer.
pub async fn of_deliveries_at_once_one_has_its_effect(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let event = paid("evt_1", pack(&ada, "cs_1"));
    let handles = [&stores.first, &stores.second];
    let deliver = |_, store: Arc<dyn BillingStore>| {
        let event = event.clone();
        async move { store.apply_payment_event(event).await.unwrap() }
    };
    let processed = race_on(handles, deliver).await;
    let applied = processed
        .iter()
        .filter(|processed| !processed.is_replay)
        .count();
    assert_eq!(applied, 1);
    assert!(
        processed
            .iter()
            .all(|processed| processed.outcome == EventOutcome::Applied)
    );
    assert_eq!(stores.books(&ada).await, is("100.00", "0.00"));
    assert_eq!(queued(&*stores.accounts().first).await, 1);
}

/// Neither misses the other.
pub async fn of_a_purchase_and_its_refund_at_once_both_count(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let handles = [&stores.first, &stores.second];
    let deliver = |number: usize, store: Arc<dyn BillingStore>| {
        // Four purchases, and a refund of half of each.
        let run = number / 2;
        let event = if number.is_multiple_of(2) {
            paid(&format!("evt_paid_{run}"), pack(&ada, &format!("cs_{run}")))
        } else {
            let payment = format!("pi_cs_{run}");
            refunded(&format!("evt_refund_{run}"), &payment, 450)
        };
        async move { store.apply_payment_event(event).await.unwrap() }
    };
    race_on(handles, deliver).await;
    assert_eq!(stores.books(&ada).await, is("200.00", "0.00"));
}

/// What a refund does not get is owed to the hundredth.
pub async fn uses_at_once_with_a_refund_never_overdraw(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    let handles = [&stores.first, &stores.second];
    let call = |number: usize, store: Arc<dyn BillingStore>| {
        let (refund, spent) = (refunded("evt_2", "pi_cs_1", 900), spend(&ada, "20"));
        async move {
            if number == 0 {
                store.apply_payment_event(refund).await.unwrap();
                return 0;
            }
            match store.book(spent).await.unwrap() {
                Booking::Done(_) => 1,
                _ => 0,
            }
        }
    };
    let used: usize = race_on(handles, call).await.into_iter().sum();
    // What was used before the refund came is owed.
    let owed = format!("{}.00", used * 20);
    assert_eq!(stores.books(&ada).await, is("0.00", &owed));
}

/// In whatever order events come, and whatever a call kept before.
pub async fn a_subscription_is_as_its_newest_event_says(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let tell =
        |id: &str, status: &str, at, rank| told(id, &ada, subscription("sub_1", status, at, rank));
    let call = subscription("sub_1", "incomplete", 0, -1);
    let kept = stores.first.keep_subscription(ada.id, call.clone()).await;
    kept.unwrap();
    for (event, outcome, status) in [
        // Of one second: a change is newer than a creation.
        (
            tell("evt_2", "active", 10, 1),
            EventOutcome::Applied,
            Some("active"),
        ),
        (
            tell("evt_1", "incomplete", 10, 0),
            EventOutcome::Ignored,
            Some("active"),
        ),
        (
            tell("evt_4", "past_due", 30, 1),
            EventOutcome::Applied,
            Some("past_due"),
        ),
        (
            tell("evt_3", "active", 20, 1),
            EventOutcome::Ignored,
            Some("past_due"),
        ),
        // An end is final, even when a later change was told first.
        (
            tell("evt_5", "canceled", 25, 2),
            EventOutcome::Applied,
            None,
        ),
        (tell("evt_6", "active", 40, 1), EventOutcome::Ignored, None),
    ] {
        let id = event.id.clone();
        assert_eq!(stores.apply(event).await, outcome, "{id}");
        let living = stores.second.subscriptions(ada.id).await.unwrap();
        let living: Vec<_> = living.iter().map(|it| &*it.status).collect();
        assert_eq!(living, Vec::from_iter(status), "{id}");
    }
    stores.first.keep_subscription(ada.id, call).await.unwrap();
    assert_eq!(stores.first.subscriptions(ada.id).await.unwrap(), []);
}

/// When it is settled, and not again when it comes.
pub async fn an_end_of_a_subscription_is_told_once(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores
        .apply(told("evt_1", &ada, subscription("sub_1", "active", 10, 0)))
        .await;
    let ending = Subscription {
        cancel_at: Some(at(3000)),
        ..subscription("sub_1", "active", 20, 1)
    };
    stores.apply(told("evt_2", &ada, ending.clone())).await;
    let kept = stores.first.subscriptions(ada.id).await.unwrap();
    let expected = Subscription {
        user: Some(ada.id),
        ..ending
    };
    assert_eq!(kept, [expected]);
    let ended = subscription("sub_1", "canceled", 3000, 2);
    stores.apply(told("evt_3", &ada, ended)).await;
    // One that never began ends unheard.
    let expired = subscription("sub_2", "incomplete_expired", 50, 1);
    stores.apply(told("evt_4", &ada, expired)).await;
    let expected = Letter::SubscriptionCancelled {
        username: "ada".to_owned(),
        plan: "basic".to_owned(),
        ends_at: at(3000),
    };
    assert_eq!(stores.letters().await, [expected]);
}

/// From the deletion on, without a step of its own.
pub async fn a_subscription_of_a_deleted_user_is_abandoned(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    for (id, user, subscribed) in [
        ("evt_1", &ada, subscription("sub_1", "active", 10, 0)),
        ("evt_2", &ada, subscription("sub_2", "canceled", 10, 2)),
        ("evt_3", &bob, subscription("sub_3", "active", 10, 0)),
    ] {
        stores.apply(told(id, user, subscribed)).await;
    }
    stores.apply(paid("evt_4", pack(&ada, "cs_1"))).await;
    let abandoned = || async { stores.second.abandoned_subscriptions(10).await.unwrap() };
    assert_eq!(abandoned().await, []);
    stores.credits.delete(&ada).await;
    assert_eq!(abandoned().await, [reference("sub_1")]);
    // What comes afterwards moves nothing.
    for (event, outcome) in [
        (refunded("evt_5", "pi_cs_1", 900), EventOutcome::UnknownUser),
        (paid("evt_6", pack(&ada, "cs_2")), EventOutcome::UnknownUser),
        (
            told("evt_7", &ada, subscription("sub_4", "active", 20, 0)),
            EventOutcome::UnknownUser,
        ),
        (
            told("evt_8", &ada, subscription("sub_1", "canceled", 30, 2)),
            EventOutcome::Applied,
        ),
    ] {
        let id = event.id.clone();
        assert_eq!(stores.apply(event).await, outcome, "{id}");
    }
    assert_eq!(abandoned().await, [reference("sub_4")]);
    // Ended by a call, which its event tells later.
    for id in ["sub_4", "sub_4", "sub_9"] {
        let id = reference(id);
        let ended = stores.first.end_subscription(&id, at(25)).await;
        ended.unwrap();
    }
    assert_eq!(abandoned().await, []);
    let late = told("evt_9", &ada, subscription("sub_4", "canceled", 40, 2));
    assert_eq!(stores.apply(late).await, EventOutcome::Applied);
    assert_sound(&*stores.credits.first).await;
}

/// By a mail, and nothing moves.
pub async fn a_failed_payment_is_told(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let failed = FailedPayment {
        invoice: reference("in_1"),
        payer: payer(&ada),
        item: "basic".to_owned(),
        price: price(),
        retry_at: Some(at(900)),
        page: Some("https://pay.example.org/1".to_owned()),
    };
    let told = event("evt_1", PaymentFact::Failed(failed.clone()));
    assert_eq!(stores.apply(told).await, EventOutcome::Applied);
    let expected = Letter::PaymentFailed {
        username: "ada".to_owned(),
        plan: "basic".to_owned(),
        price: "9.00".to_owned(),
        currency: "EUR".to_owned(),
        retry_at: Some(at(900)),
        link: Some("https://pay.example.org/1".to_owned()),
    };
    assert_eq!(stores.letters().await, [expected]);
    assert_eq!(stores.books(&ada).await, is("0.00", "0.00"));
    assert_eq!(ada.email, email("ada"));
    // It went through since, and the failure comes late.
    stores.apply(paid("evt_2", pack(&ada, "in_1"))).await;
    let before = queued(&*stores.accounts().first).await;
    let late = event("evt_3", PaymentFact::Failed(failed));
    assert_eq!(stores.apply(late).await, EventOutcome::Ignored);
    assert_eq!(queued(&*stores.accounts().first).await, before);
}

/// Of many at once, the same for all.
pub async fn a_customer_is_kept_once(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    assert_eq!(stores.first.customer(ada.id).await.unwrap(), None);
    let handles = [&stores.first, &stores.second];
    let keep = |number: usize, store: Arc<dyn BillingStore>| {
        let customer = reference(&format!("cus_{number}"));
        async move { store.keep_customer(ada.id, customer).await.unwrap() }
    };
    let kept = race_on(handles, keep).await;
    assert!(kept.iter().all(|one| one.is_some() && *one == kept[0]));
    assert_eq!(stores.second.customer(ada.id).await.unwrap(), kept[0]);
    let nobody = UserId::generate(at(0), &OsRandom);
    let kept = stores.first.keep_customer(nobody, reference("cus_9")).await;
    assert_eq!(kept.unwrap(), None);
    // Whoever owes something, and was no customer yet, becomes one; of somebody else's customer nobody does.
    let bob = stores.registered("bob").await;
    stores.apply(paid("evt_1", pack(&bob, "cs_1"))).await;
    book(&*stores.credits.first, spend(&bob, "1")).await;
    stores.apply(refunded("evt_2", "pi_cs_1", 900)).await;
    let taken = kept_of(&stores, &ada).await;
    let kept = stores.first.keep_customer(bob.id, taken.clone()).await;
    assert_eq!(kept.unwrap(), None);
    let own = reference("cus_bob");
    for asked in [&own, &taken, &reference("cus_later")] {
        let kept = stores.second.keep_customer(bob.id, asked.clone()).await;
        assert_eq!(kept.unwrap(), Some(own.clone()));
    }
    assert_eq!(stores.books(&bob).await, is("0.00", "1.00"));
}

async fn kept_of(stores: &BillingStores, user: &User) -> PaymentRef {
    let kept = stores.first.customer(user.id).await.unwrap();
    kept.expect("the user is a customer")
}

/// By the user that we wrote on it: customer and subscription are theirs from then on, and nothing moves.
pub async fn a_checkout_of_a_subscription_links_it(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    let by = |user: Option<&User>, customer: &str, subscription: &str| Payer {
        user: user.map(|user| user.id),
        customer: Some(reference(customer)),
        subscription: Some(reference(subscription)),
    };
    let linked = |id: &str, payer: Payer| {
        let link = Link {
            payer,
            item: Some("basic".to_owned()),
            is_paid: true,
        };
        event(id, PaymentFact::Linked(link))
    };
    let unknown = linked("evt_1", by(None, "cus_1", "sub_1"));
    assert_eq!(stores.apply(unknown).await, EventOutcome::UnknownUser);
    let link = linked("evt_2", by(Some(&ada), "cus_1", "sub_1"));
    assert_eq!(stores.apply(link).await, EventOutcome::Applied);
    // Another checkout, which made another customer.
    let again = linked("evt_3", by(Some(&ada), "cus_2", "sub_2"));
    assert_eq!(stores.apply(again).await, EventOutcome::Applied);
    assert_eq!(kept_of(&stores, &ada).await, reference("cus_1"));
    let living = stores.second.subscriptions(ada.id).await.unwrap();
    let living: Vec<_> = living
        .iter()
        .map(|it| (it.id.as_str(), &*it.status))
        .collect();
    assert_eq!(living, [("sub_1", "active"), ("sub_2", "active")]);
    assert_eq!(stores.books(&ada).await, is("0.00", "0.00"));

    // What Stripe made by itself names no user.
    for (id, payer, outcome) in [
        ("evt_4", by(None, "cus_1", "sub_9"), EventOutcome::Applied),
        ("evt_5", by(None, "cus_2", "sub_2"), EventOutcome::Applied),
        (
            "evt_6",
            by(None, "cus_2", "sub_9"),
            EventOutcome::UnknownUser,
        ),
        // Nobody takes over what is another user's.
        (
            "evt_7",
            by(Some(&bob), "cus_1", "sub_9"),
            EventOutcome::UnknownUser,
        ),
        (
            "evt_8",
            by(Some(&bob), "cus_9", "sub_2"),
            EventOutcome::UnknownUser,
        ),
    ] {
        let purchase = Purchase {
            payer: payer.clone(),
            ..pack(&ada, &format!("in_{id}"))
        };
        assert_eq!(stores.apply(paid(id, purchase)).await, outcome, "{id}");
        if outcome == EventOutcome::UnknownUser && payer.user.is_some() {
            let link = linked(&format!("{id}_link"), payer);
            assert_eq!(stores.apply(link).await, outcome, "{id}");
        }
    }
    assert_eq!(stores.first.customer(bob.id).await.unwrap(), None);
    assert_eq!(stores.books(&ada).await, is("200.00", "0.00"));
    // The subscription's own events are newer, whenever they happened.
    stores
        .apply(told("evt_9", &ada, subscription("sub_1", "canceled", 1, 0)))
        .await;
    let living = stores.first.subscriptions(ada.id).await.unwrap();
    assert_eq!(living.len(), 1);
}

/// Of many at once, one; and only what is gone.
pub async fn a_customer_that_is_gone_is_replaced_once(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let gone = reference("cus_gone");
    let made = reference("cus_made");
    let unknown = stores.first.replace_customer(ada.id, &gone, made.clone());
    assert_eq!(unknown.await.unwrap(), None);
    let kept = stores.first.keep_customer(ada.id, gone.clone()).await;
    assert_eq!(kept.unwrap(), Some(gone.clone()));
    let handles = [&stores.first, &stores.second];
    let replace = |number: usize, store: Arc<dyn BillingStore>| {
        let (gone, customer) = (gone.clone(), reference(&format!("cus_{number}")));
        async move {
            let kept = store.replace_customer(ada.id, &gone, customer).await;
            kept.unwrap()
        }
    };
    let kept = race_on(handles, replace).await;
    assert!(kept.iter().all(|one| one.is_some() && *one == kept[0]));
    assert_ne!(kept[0], Some(gone.clone()));
    let late = stores.second.replace_customer(ada.id, &gone, made).await;
    assert_eq!(late.unwrap(), kept[0]);
    assert_eq!(stores.second.customer(ada.id).await.unwrap(), kept[0]);
}

/// Of many at once, once.
pub async fn a_wish_for_a_subscription_is_passed_once(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let handles = [&stores.first, &stores.second];
    for seen in 0..3 {
        let found = stores.second.subscription_wish(ada.id).await.unwrap();
        assert_eq!(found, seen);
        race_on(handles, |_, store: Arc<dyn BillingStore>| async move {
            let passed = store.pass_subscription_wish(ada.id, seen).await;
            passed.unwrap();
        })
        .await;
    }
    // Too late, and too early.
    for wrong in [1, 7] {
        let passed = stores.first.pass_subscription_wish(ada.id, wrong).await;
        passed.unwrap();
    }
    assert_eq!(stores.first.subscription_wish(ada.id).await.unwrap(), 3);
}
