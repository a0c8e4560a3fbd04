//! How events are kept, and where they lead.

use super::{BillingStores, book, disputed, event, is, link, orders, pack, paid, part, refunded};
use crate::{
    contract::{
        credits::{add, assert_sound, credits, spend},
        fixtures::at,
    },
    ports::History,
    types::{
        Dispute, Entry, EntryKind, EventOutcome, PaymentEvent, PaymentFact, Purchase, ReferenceId,
        User,
    },
};

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
        let entry = Entry {
            kind,
            reference: ReferenceId::parse(reference).ok(),
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
