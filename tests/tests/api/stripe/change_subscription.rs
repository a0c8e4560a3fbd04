use auth_core::time::Duration;
use auth_tests::{App, StoreKind, at_once, stripe_api::PERIOD};
use serde_json::json;

use super::{UPDATE, cancel, change, subscribed, told_paid};

auth_tests::on_each_store! {
    a_dearer_plan_comes_at_once_for_its_whole_difference
    a_dearer_plan_waits_until_it_is_paid
    a_cheaper_plan_comes_when_the_period_ends
}

async fn a_dearer_plan_comes_at_once_for_its_whole_difference(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    assert_eq!(
        told_paid(&app, &stripe, &ada, &subscription).await,
        "120.00"
    );
    let began = app.seconds();
    // Late in the period, when a share of the difference would be a fraction of it.
    app.clock.advance(Duration::seconds(PERIOD - 1000));
    let answers = at_once((0..4).map(|_| change(&app, &ada, "professional"))).await;
    for answer in &answers {
        let told =
            json!({"subscription_id": subscription, "status": "active", "plan": "professional"});
        assert_eq!(answer.ok(200), &told);
    }
    let asked = stripe.asked(UPDATE);
    assert_eq!(asked[0].form["proration_date"], began.to_string());
    assert_eq!(asked[0].form["proration_behavior"], "always_invoice");
    let invoice = stripe.invoice_of(&subscription);
    assert_eq!(invoice["amount_paid"], 4900 - 1900);
    assert_eq!(
        told_paid(&app, &stripe, &ada, &subscription).await,
        "500.00"
    );
    // Once more, and nothing is charged or granted.
    change(&app, &ada, "professional").await.ok(200);
    assert_eq!(stripe.invoice_of(&subscription)["id"], invoice["id"]);
    stripe.judge();
}

async fn a_dearer_plan_waits_until_it_is_paid(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    stripe.decline(true);
    let waiting = change(&app, &ada, "professional").await;
    assert_eq!(waiting.ok(200)["plan"], "basic");
    assert_eq!(
        stripe.asked(UPDATE)[0].form["payment_behavior"],
        "pending_if_incomplete"
    );
    // With a better card it is tried again: not answered with what was kept.
    stripe.decline(false);
    let changed = change(&app, &ada, "professional").await;
    assert_eq!(changed.ok(200)["plan"], "professional");
    assert!(stripe.asked(UPDATE).iter().all(|it| !it.is_replay));
    assert_eq!(stripe.invoice_of(&subscription)["amount_paid"], 3000);
}

async fn a_cheaper_plan_comes_when_the_period_ends(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "professional").await;
    let began = app.seconds();
    app.clock.advance(Duration::days(3));
    for _ in 0..2 {
        let told = change(&app, &ada, "basic").await;
        assert_eq!(told.ok(200)["plan"], "professional");
    }
    let schedule = stripe.schedule_of(&subscription).unwrap();
    let phase = |place: usize, member: &str| schedule["phases"][place][member].clone();
    assert_eq!(schedule["end_behavior"], "release");
    assert_eq!(phase(0, "items")[0]["price"], "price_professional");
    assert_eq!(phase(1, "items")[0]["price"], "price_basic");
    assert_eq!(
        (phase(0, "start_date"), phase(0, "end_date")),
        (json!(began), json!(began + PERIOD))
    );
    assert_eq!(phase(1, "start_date"), began + PERIOD);
    assert_eq!(phase(1, "proration_behavior"), "none");
    // Nothing is charged, and the plan that it has may be kept after all.
    assert_eq!(
        stripe.invoice_of(&subscription)["billing_reason"],
        "subscription_create"
    );
    assert_eq!(
        change(&app, &ada, "professional").await.ok(200)["plan"],
        "professional"
    );
    assert_eq!(stripe.schedule_of(&subscription), None);
    assert_eq!(
        stripe.invoice_of(&subscription)["billing_reason"],
        "subscription_create"
    );
    // And be given up again, within the day.
    change(&app, &ada, "basic").await.ok(200);
    assert!(stripe.schedule_of(&subscription).is_some());
    // What is scheduled stands in the way of nothing.
    assert!(cancel(&app, &ada).await.ok(200)["cancel_at"].is_string());
    assert_eq!(stripe.schedule_of(&subscription), None);
    stripe.judge();
}
