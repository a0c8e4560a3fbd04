//! Who is which customer.

use std::sync::Arc;

use super::{BillingStores, book, event, is, pack, paid, reference, refunded, subscription, told};
use crate::{
    contract::{
        credits::spend,
        fixtures::{at, race_on},
    },
    ports::{BillingStore, OsRandom},
    types::{EventOutcome, Link, Payer, PaymentFact, PaymentRef, Purchase, User, UserId},
};

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
    // The provider makes one for many who ask at once, and each of them brings the same.
    for number in 0..8 {
        let user = stores.registered(&format!("user{number}")).await.id;
        let same = reference(&format!("cus_of_{number}"));
        let keep = |_, store: Arc<dyn BillingStore>| {
            let customer = same.clone();
            async move { store.keep_customer(user, customer).await.unwrap() }
        };
        let kept = race_on(handles, keep).await;
        assert!(kept.iter().all(|one| *one == Some(same.clone())));
    }
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
