//! How subscriptions are, and what their users are told.

use std::sync::Arc;

use super::{
    BillingStores, ended, event, is, pack, paid, payer, price, reference, refunded, subscription,
    told,
};
use crate::{
    contract::{
        credits::assert_sound,
        fixtures::{at, email, queued, race_on},
    },
    ports::BillingStore,
    types::{EventOutcome, FailedPayment, Letter, PaymentFact, Subscription, SubscriptionEnd},
};

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

/// The event that tells it later changes nothing, and one that was told before is no reason to think that it lives.
pub async fn an_end_that_an_answer_tells_is_told_once(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let settled = Subscription {
        cancel_at: Some(at(3000)),
        ..subscription("sub_2", "active", 20, 1)
    };
    for (id, begun) in [
        ("evt_1", subscription("sub_1", "active", 10, 0)),
        ("evt_2", settled),
    ] {
        stores.apply(told(id, &ada, begun)).await;
    }
    for id in ["sub_1", "sub_1", "sub_2", "sub_9"] {
        let end = stores.first.end_subscription(ended(id, 1000));
        end.await.unwrap();
    }
    assert_eq!(stores.second.subscriptions(ada.id).await.unwrap(), []);
    for (event, outcome) in [
        (
            told("evt_3", &ada, subscription("sub_1", "canceled", 1000, 2)),
            EventOutcome::Ignored,
        ),
        (
            told("evt_4", &ada, subscription("sub_1", "active", 1500, 1)),
            EventOutcome::Ignored,
        ),
        (
            told("evt_5", &ada, subscription("sub_2", "canceled", 1001, 2)),
            EventOutcome::Applied,
        ),
    ] {
        let id = event.id.clone();
        assert_eq!(stores.apply(event).await, outcome, "{id}");
    }
    assert_eq!(stores.second.subscriptions(ada.id).await.unwrap(), []);
    // Of the second one its user was told when it was settled.
    let mailed = |ends_at| Letter::SubscriptionCancelled {
        username: "ada".to_owned(),
        plan: "basic".to_owned(),
        ends_at,
    };
    assert_eq!(stores.letters().await, [mailed(at(3000)), mailed(at(1000))]);
}

/// The newest of its plans: as the event or the answer says, or else as it is known.
pub async fn an_end_names_the_plan_that_it_is_of(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let ids = ["sub_1", "sub_2", "sub_3"];
    for id in ids {
        let begun = told(
            &format!("evt_{id}"),
            &ada,
            subscription(id, "active", 10, 0),
        );
        assert_eq!(stores.apply(begun).await, EventOutcome::Applied);
    }
    let over = Subscription {
        item: Some("professional".to_owned()),
        ..subscription("sub_1", "canceled", 1000, 2)
    };
    let over = told("evt_over", &ada, over);
    assert_eq!(stores.apply(over).await, EventOutcome::Applied);
    for (id, item, second) in [("sub_2", Some("professional"), 2000), ("sub_3", None, 3000)] {
        let end = SubscriptionEnd {
            item: item.map(str::to_owned),
            ..ended(id, second)
        };
        stores.first.end_subscription(end).await.unwrap();
    }
    let mailed = [
        ("professional", 1000),
        ("professional", 2000),
        ("basic", 3000),
    ];
    let mailed = mailed.map(|(plan, second)| Letter::SubscriptionCancelled {
        username: "ada".to_owned(),
        plan: plan.to_owned(),
        ends_at: at(second),
    });
    assert_eq!(stores.letters().await, mailed);
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
        let end = stores.first.end_subscription(ended(id, 25));
        end.await.unwrap();
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
