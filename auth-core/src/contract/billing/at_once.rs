//! What happens at once, over two handles.

use std::sync::Arc;

use super::{BillingStores, ended, is, pack, paid, refunded, subscription, told};
use crate::{
    contract::{
        credits::spend,
        fixtures::{queued, race_on},
    },
    ports::{BillingStore, Booking},
    types::EventOutcome,
};

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

/// An answer and the event of the same end: one mail.
pub async fn an_end_that_answer_and_event_tell_at_once_is_mailed_once(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let begun = told("evt_1", &ada, subscription("sub_1", "active", 10, 0));
    stores.apply(begun).await;
    let handles = [&stores.first, &stores.second];
    let end = |number: usize, store: Arc<dyn BillingStore>| {
        let over = subscription("sub_1", "canceled", 1001, 2);
        let event = told(&format!("evt_end_{number}"), &ada, over);
        async move {
            if number < 4 {
                store.end_subscription(ended("sub_1", 1000)).await.unwrap();
            } else {
                store.apply_payment_event(event).await.unwrap();
            }
        }
    };
    race_on(handles, end).await;
    assert_eq!(stores.second.subscriptions(ada.id).await.unwrap(), []);
    assert_eq!(queued(&*stores.accounts().first).await, 1);
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
