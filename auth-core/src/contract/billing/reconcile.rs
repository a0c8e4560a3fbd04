//! What a comparison with the payment provider asks.

use std::sync::Arc;

use super::{
    BillingStores, disputed, event, is, pack, paid, reference, refunded, subscription, told,
};
use crate::{
    contract::{credits::credits, fixtures::at},
    types::{Dispute, EntryKind, EventOutcome, KeptPurchase, PaymentEvent, PaymentFact},
};

/// It is answered as if it was applied, mails and all, and nothing of it is kept.
pub async fn what_is_tried_leaves_nothing(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let attempt = async |event: PaymentEvent| {
        let tried = stores.first.try_payment_event(event).await.unwrap();
        (tried.outcome, tried.is_replay)
    };
    let begun = subscription("sub_1", "active", 100, 0);
    for (event, outcome) in [
        (paid("evt_1", pack(&ada, "cs_1")), EventOutcome::Applied),
        (told("evt_2", &ada, begun), EventOutcome::Applied),
        (
            refunded("evt_3", "pi_cs_1", 900),
            EventOutcome::UnknownPayment,
        ),
    ] {
        for _ in 0..2 {
            assert_eq!(attempt(event.clone()).await, (outcome, false));
        }
    }
    assert_eq!(stores.books(&ada).await, is("0.00", "0.00"));
    assert_eq!(stores.letters().await, []);
    assert_eq!(stores.alarms().await, Vec::<String>::new());
    assert_eq!(stores.second.subscriptions(ada.id).await.unwrap(), []);
    assert_eq!(stores.second.purchases(at(0), None, 10).await.unwrap(), []);

    let bought = paid("evt_1", pack(&ada, "cs_1"));
    assert_eq!(stores.apply(bought.clone()).await, EventOutcome::Applied);
    assert_eq!(attempt(bought).await, (EventOutcome::Applied, true));
    let lost = disputed("evt_4", "pi_cs_1", Dispute::Lost);
    assert_eq!(attempt(lost).await, (EventOutcome::Applied, false));
    assert_eq!(stores.books(&ada).await, is("100.00", "0.00"));
}

/// Events by what became of them, whatever that is, and purchases.
pub async fn what_has_come_to_an_end_is_found(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let name = |outcome: &EventOutcome| reference(&format!("evt_{}", outcome.as_str()));
    for outcome in EventOutcome::ALL {
        let noted = event(name(outcome).as_str(), PaymentFact::Noted(*outcome));
        assert_eq!(stores.apply(noted).await, *outcome);
    }
    stores.apply(paid("evt_paid", pack(&ada, "cs_1"))).await;
    let others = ["evt_paid", "cs_1", "cs_2", "cs_1"].map(reference);
    let asked: Vec<_> = EventOutcome::ALL.iter().map(name).chain(others).collect();
    let mut settled = stores.second.settled_payments(&asked).await.unwrap();
    settled.sort();
    settled.dedup();
    let ended = EventOutcome::ALL.iter().filter(|it| it.is_final());
    let mut expected: Vec<_> = ended.map(name).collect();
    expected.extend(["cs_1", "evt_paid"].map(reference));
    expected.sort();
    assert_eq!(settled, expected);
    assert_eq!(stores.first.settled_payments(&[]).await.unwrap(), []);
    // What an operator sees is told by outcomes, too.
    let alarming = EventOutcome::ALL.iter().filter(|it| it.is_alarming());
    let mut expected: Vec<_> = alarming
        .map(|it| format!("{} {}", name(it), it.as_str()))
        .collect();
    expected.sort();
    assert_eq!(stores.alarms().await, expected);
}

/// By time and id, a page at a time.
pub async fn purchases_are_read_in_order(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    for (id, received) in [("cs_2", 200), ("cs_1", 200), ("cs_3", 100), ("cs_4", 300)] {
        let event = PaymentEvent {
            received_at: at(received),
            ..paid(&format!("evt_{id}"), pack(&ada, id))
        };
        stores.apply(event).await;
    }
    let ids = |since, after, limit| {
        let store = Arc::clone(&stores.second);
        async move {
            let found = store.purchases(at(since), after, limit).await.unwrap();
            found
                .iter()
                .map(|purchase| purchase.id.to_string())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(ids(0, None, 10).await, ["cs_3", "cs_1", "cs_2", "cs_4"]);
    assert_eq!(ids(150, None, 2).await, ["cs_1", "cs_2"]);
    let after = Some((at(200), reference("cs_1")));
    assert_eq!(ids(150, after, 10).await, ["cs_2", "cs_4"]);
    let found = stores.first.purchases(at(300), None, 10).await.unwrap();
    let expected = KeptPurchase {
        id: reference("cs_4"),
        user: ada.id,
        kind: EntryKind::OneTimePurchase,
        item: "pack".to_owned(),
        granted: credits("100"),
        taken: credits("0"),
        total: 900,
        term: None,
        created_at: at(300),
    };
    assert_eq!(found, [expected]);
}
