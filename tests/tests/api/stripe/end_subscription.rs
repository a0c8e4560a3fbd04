use auth_billing::Abandoned;
use auth_core::{
    ports::{NewSubscription, PaymentProvider},
    time::Duration,
    types::{IdempotencyKey, PaymentRef},
};
use auth_tests::{
    App, StoreKind,
    stripe::event,
    stripe_api::{PERIOD, Trouble, declined},
};
use serde_json::json;

use super::{call, cancel, change, rfc3339, subscribed, word};

auth_tests::on_each_store! {
    a_subscription_ends_with_its_period_or_now
    an_end_whose_answer_was_lost_is_found
    an_end_is_mailed_with_the_plan_that_stripe_has
    a_subscription_that_a_host_sold_by_itself_is_found
    a_deleted_account_has_no_subscription_left
}

async fn a_subscription_ends_with_its_period_or_now(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    let end = rfc3339(app.seconds() + PERIOD);
    for _ in 0..2 {
        let told = json!({"subscription_id": subscription, "status": "active", "cancel_at": end});
        assert_eq!(cancel(&app, &ada).await.ok(200), &told);
    }
    app.clock.advance(Duration::hours(1));
    let now = call(
        &app,
        "cancel-subscription",
        &ada,
        json!({"at_period_end": false}),
    )
    .await;
    let told = json!({"subscription_id": subscription, "status": "canceled", "cancel_at": rfc3339(app.seconds())});
    assert_eq!(now.ok(200), &told);
    assert!(stripe.living().is_empty());
    cancel(&app, &ada).await.refused(404, "not_subscribed");
    change(&app, &ada, "professional")
        .await
        .refused(409, "not_subscribed");
    stripe.judge();
}

async fn an_end_whose_answer_was_lost_is_found(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let end = "DELETE /v1/subscriptions/{id}";
    let now = json!({"at_period_end": false});
    // The next try of the same call finds it.
    let (ada, first) = subscribed(&app, &stripe, "ada", "basic").await;
    stripe.trouble(end, Trouble::CutAfterwards);
    let ended = call(&app, "cancel-subscription", &ada, now.clone()).await;
    assert_eq!(word(&ended, "subscription_id"), first);
    assert_eq!(word(&ended, "status"), "canceled");
    // And where none of a call comes through, the next call.
    let (bob, second) = subscribed(&app, &stripe, "bob", "basic").await;
    (0..3).for_each(|_| stripe.trouble(end, Trouble::CutAfterwards));
    call(&app, "cancel-subscription", &bob, now.clone())
        .await
        .refused(503, "unavailable");
    call(&app, "cancel-subscription", &bob, now)
        .await
        .refused(404, "not_subscribed");
    for (user, ended) in [(&ada, first), (&bob, second)] {
        let card = stripe.subscription(&ended)["default_payment_method"].clone();
        let body = json!({"plan": "basic", "payment_method_id": card});
        let again = call(&app, "create-subscription", user, body).await;
        assert_ne!(word(&again, "subscription_id"), ended);
        let mails = app.templates_to(&user.email).await;
        assert_eq!(mails, ["welcome", "subscription_cancelled"]);
    }
    stripe.judge();
}

async fn an_end_is_mailed_with_the_plan_that_stripe_has(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, _) = subscribed(&app, &stripe, "ada", "basic").await;
    // No event tells that yet.
    word(&change(&app, &ada, "professional").await, "plan");
    let now = json!({"at_period_end": false});
    let ended = call(&app, "cancel-subscription", &ada, now).await;
    assert_eq!(word(&ended, "status"), "canceled");
    let mail = app.mails_to(&ada.email).await.pop().unwrap();
    assert_eq!(mail.template, "subscription_cancelled");
    assert!(mail.text.contains("professional"), "{}", mail.text);
}

async fn a_subscription_that_a_host_sold_by_itself_is_found(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let bob = app.verified("bob").await;
    // Of a customer that nobody here has made.
    let (provider, key) = (stripe.provider(), |key| IdempotencyKey::parse(key).unwrap());
    let customer = provider.create_customer(bob.id, &key("host-1")).await;
    let customer = customer.unwrap();
    let card = PaymentRef::parse(&stripe.attach_card(customer.as_str(), true)).unwrap();
    let new = NewSubscription {
        user: bob.id,
        customer: &customer,
        item: "basic",
        price: "price_basic",
        payment_method: Some(&card),
    };
    let begun = provider.create_subscription(&new, &key("host-2")).await;
    let subscription = begun.unwrap().id.to_string();
    cancel(&app, &bob).await.refused(404, "not_subscribed");
    let object = json!({"id": subscription, "status": "active", "metadata": {"user_id": bob.id.to_string()}});
    let told = event(
        "evt_1",
        "customer.subscription.updated",
        app.seconds() + 5,
        &object,
    );
    app.delivery(&told).await.ok(200);
    assert_eq!(
        word(&cancel(&app, &bob).await, "subscription_id"),
        subscription
    );
    // Of a name that Stripe does not know, nothing is found.
    let eve = app.verified("eve").await;
    let object = json!({"id": "sub_unknown", "status": "active", "metadata": {"user_id": eve.id.to_string()}});
    let told = event(
        "evt_2",
        "customer.subscription.created",
        app.seconds(),
        &object,
    );
    app.delivery(&told).await.ok(200);
    cancel(&app, &eve).await.refused(404, "not_subscribed");
    stripe.judge();
}

async fn a_deleted_account_has_no_subscription_left(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    let (_, other) = subscribed(&app, &stripe, "bob", "basic").await;
    let asked = stripe.journal().len();
    let body = json!({"password": ada.password});
    let gone = app.delete("/auth/users/delete-account").json(body);
    gone.by(&ada).await.ok(200);
    // The deletion waits for nobody, and no failure of Stripe's lets it be forgotten.
    assert_eq!(stripe.journal().len(), asked);
    let end = "DELETE /v1/subscriptions/{id}";
    let round = || async { app.billing.cancel_abandoned().await.unwrap() };
    for (trouble, tries) in [(Trouble::Busy, 3), (Trouble::Say(402, declined()), 1)] {
        (0..tries).for_each(|_| stripe.trouble(end, trouble.clone()));
        assert_eq!(round().await, Abandoned { ended: 0, left: 1 });
        assert_eq!(stripe.living(), [subscription.clone(), other.clone()]);
    }
    let second = app.selling_replica(&stripe).await;
    let (one, two) = tokio::join!(
        app.billing.cancel_abandoned(),
        second.billing.cancel_abandoned()
    );
    assert!(one.unwrap().ended + two.unwrap().ended >= 1);
    assert_eq!(stripe.living(), [other]);
    assert_eq!(round().await, Abandoned::default());

    // One that begins when its user is gone, on a page that was open: its event tells of it.
    let object =
        json!({"id": "sub_late", "status": "active", "metadata": {"user_id": ada.id.to_string()}});
    let late = event(
        "evt_late",
        "customer.subscription.created",
        app.seconds(),
        &object,
    );
    app.delivery(&late).await.ok(200);
    // Stripe does not know it any more.
    assert_eq!(round().await, Abandoned { ended: 1, left: 0 });
    assert_eq!(round().await, Abandoned::default());
    stripe.judge();
}
