use std::collections::BTreeSet;

use auth_core::ports::BillingStore;
use auth_tests::{
    App, StoreKind, at_once,
    stripe::event,
    stripe_api::{Layout, PERIOD, StripeApi, Trouble, declined},
};
use serde_json::json;

use super::{
    SUBSCRIPTIONS, call, cancel, change, rfc3339, subscribe, subscribed, told_paid, with_card, word,
};

auth_tests::on_each_store! {
    a_subscription_is_begun_and_paid_at_once
    a_subscription_waits_for_its_first_payment
    of_subscriptions_asked_for_at_once_one_begins
    of_two_plans_asked_for_at_once_one_begins
    a_subscription_that_lives_is_not_begun_again
    a_refused_payment_is_told_and_may_be_tried_again
    a_subscription_that_was_cancelled_at_once_is_followed_by_another_one
}

async fn a_subscription_is_begun_and_paid_at_once(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    let form = &stripe.asked(SUBSCRIPTIONS)[0].form;
    assert_eq!(
        form["metadata"],
        json!({"user_id": ada.id.to_string(), "item": "basic"})
    );
    assert_eq!(form["payment_behavior"], "allow_incomplete");
    let kept = app.store.subscriptions(ada.id).await.unwrap();
    assert_eq!(kept[0].id.as_str(), subscription);
    assert_eq!(
        (kept[0].item.as_deref(), &*kept[0].status),
        (Some("basic"), "active")
    );
    assert_eq!(
        told_paid(&app, &stripe, &ada, &subscription).await,
        "120.00"
    );
    stripe.judge();
}

async fn a_subscription_waits_for_its_first_payment(store: StoreKind) {
    for layout in [Layout::Older, Layout::Newer] {
        let app = App::on(store).await;
        let stripe = StripeApi::laid_out(app.clock.clone(), layout).await;
        let app = app.sold_by(&stripe);
        let ada = app.verified("ada").await;
        let begun = subscribe(&app, &ada, "basic").await;
        let id = word(&begun, "subscription_id");
        assert_eq!(word(&begun, "status"), "incomplete");
        let end = rfc3339(app.seconds() + PERIOD);
        assert_eq!(word(&begun, "current_period_end"), end);
        let secret = &begun.ok(200)["client_secret"];
        assert_eq!(secret.is_string(), layout == Layout::Newer, "{secret}");
        let form = &stripe.asked(SUBSCRIPTIONS)[0].form;
        assert_eq!(form["payment_behavior"], "default_incomplete");

        // Whoever asks again before it is paid gets it again; for another plan it is replaced.
        let again = subscribe(&app, &ada, "basic").await;
        assert_eq!(word(&again, "subscription_id"), id);
        assert_eq!(&again.ok(200)["client_secret"], secret);
        let other = subscribe(&app, &ada, "professional").await;
        let other = word(&other, "subscription_id");
        assert_ne!(other, id);
        assert_eq!(stripe.living(), std::slice::from_ref(&other));
        change(&app, &ada, "basic")
            .await
            .refused(409, "not_subscribed");
        cancel(&app, &ada).await.refused(404, "not_subscribed");
        stripe.pay(&other);
        subscribe(&app, &ada, "professional")
            .await
            .refused(409, "already_subscribed");
        assert_eq!(word(&cancel(&app, &ada).await, "subscription_id"), other);
        stripe.judge();
    }
}

async fn of_subscriptions_asked_for_at_once_one_begins(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let other = app.selling_replica(&stripe).await;
    let (ada, card) = with_card(&app, &stripe, "ada").await;
    let calls = (0..12).map(|i| {
        let app = if i % 2 == 0 { &app } else { &other };
        let body = json!({"plan": "basic", "payment_method_id": card});
        call(app, "create-subscription", &ada, body)
    });
    let mut begun = BTreeSet::new();
    for answer in at_once(calls).await {
        if answer.status == 200 {
            begun.insert(word(&answer, "subscription_id"));
        } else {
            answer.refused(409, "already_subscribed");
        }
    }
    assert_eq!(begun.len(), 1);
    assert_eq!(stripe.living(), Vec::from_iter(begun));
}

async fn of_two_plans_asked_for_at_once_one_begins(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let other = app.selling_replica(&stripe).await;
    let (ada, card) = with_card(&app, &stripe, "ada").await;
    let calls = (0..12).map(|i| {
        let (app, plan) = if i % 2 == 0 {
            (&app, "basic")
        } else {
            (&other, "professional")
        };
        call(
            app,
            "create-subscription",
            &ada,
            json!({"plan": plan, "payment_method_id": card}),
        )
    });
    let answers = at_once(calls).await;
    assert!(answers.iter().any(|it| it.status == 200));
    for answer in answers.iter().filter(|it| it.status != 200) {
        answer.refused(409, "already_subscribed");
    }
    assert_eq!(stripe.living().len(), 1);
}

async fn a_subscription_that_lives_is_not_begun_again(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    for plan in ["basic", "professional"] {
        subscribe(&app, &ada, plan)
            .await
            .refused(409, "already_subscribed");
    }
    // Known here alone: Stripe is not even asked.
    let asked = stripe.journal().len();
    subscribe(&app, &ada, "basic")
        .await
        .refused(409, "already_subscribed");
    assert_eq!(stripe.journal().len(), asked);
    // Known to Stripe alone, as while its event is on its way.
    let told = |status: &str, created: i64| {
        let object = json!({"id": subscription, "status": status, "metadata": {"user_id": ada.id.to_string()}});
        event(
            &format!("evt_{status}"),
            "customer.subscription.deleted",
            created,
            &object,
        )
    };
    app.delivery(&told("canceled", app.seconds())).await.ok(200);
    subscribe(&app, &ada, "basic")
        .await
        .refused(409, "already_subscribed");
    assert_eq!(stripe.living(), [subscription]);
}

async fn a_refused_payment_is_told_and_may_be_tried_again(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, card) = with_card(&app, &stripe, "ada").await;
    let pay = || {
        let body = json!({"plan": "basic", "payment_method_id": card});
        call(&app, "create-subscription", &ada, body)
    };
    stripe.trouble(SUBSCRIPTIONS, Trouble::Say(402, declined()));
    pay().await.refused(502, "payment_provider_error");
    assert_eq!(stripe.asked(SUBSCRIPTIONS).len(), 1);
    // Stripe keeps the refusal under its key for a day, and the next try is another wish.
    assert_eq!(word(&pay().await, "status"), "active");
    assert_eq!(stripe.living().len(), 1);

    // Nobody pays with the card of somebody else.
    let body = json!({"plan": "basic", "payment_method_id": card});
    let bob = app.verified("bob").await;
    call(&app, "create-subscription", &bob, body)
        .await
        .refused(502, "payment_provider_error");
}

/// Before any event tells that the first one has ended.
async fn a_subscription_that_was_cancelled_at_once_is_followed_by_another_one(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, first) = subscribed(&app, &stripe, "ada", "basic").await;
    let card = stripe.subscription(&first)["default_payment_method"].clone();
    let now = json!({"at_period_end": false});
    let ended = call(&app, "cancel-subscription", &ada, now).await;
    assert_eq!(word(&ended, "status"), "canceled");
    // The same wish within a day: under the key of the first one Stripe would show that again.
    let body = json!({"plan": "basic", "payment_method_id": card});
    let second = call(&app, "create-subscription", &ada, body).await;
    assert_eq!(word(&second, "status"), "active");
    let second = word(&second, "subscription_id");
    assert_ne!(second, first);
    assert_eq!(stripe.living(), [&*second]);

    for after in [0, 5] {
        let told = event(
            &format!("evt_{after}"),
            "customer.subscription.deleted",
            app.seconds() + after,
            &stripe.subscription(&first),
        );
        app.delivery(&told).await.ok(200);
    }
    let kept = app.store.subscriptions(ada.id).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(kept, [second]);
    let mails = app.templates_to(&ada.email).await;
    assert_eq!(mails, ["welcome", "subscription_cancelled"]);
    stripe.judge();
}
