use auth_billing::check_ledger;
use auth_core::ports::{BillingStore, CreditStore, History};
use auth_tests::{
    App, Fault, PASSWORD, StoreKind, at_once, signing_keys,
    stripe::{CATALOGUE, event},
};
use serde_json::{Value, json};

use super::{
    alarms, balance, charge, deliver, movements, newer_invoice, older_invoice, processed, session,
};

auth_tests::on_each_store! {
    what_is_signed_and_strange_is_no_failure_of_ours
    what_an_event_moves_names_its_request
    twenty_deliveries_at_once_have_one_effect
    what_is_not_ours_is_kept_and_grants_nothing
    an_event_that_lacks_what_it_should_have_is_kept
    an_event_that_came_to_nothing_is_applied_when_it_is_sent_again
    a_failed_store_makes_stripe_try_again
    the_end_of_an_account_leaves_its_purchases_without_effect
}

async fn twenty_deliveries_at_once_have_one_effect(store: StoreKind) {
    let app = App::on(store).await;
    let other = app.replica(signing_keys(), |auth| auth).await;
    let ada = app.registered("ada").await;
    let paid = event(
        "evt_1",
        "checkout.session.completed",
        app.seconds(),
        &session(&ada, "cs_1"),
    );
    let calls = (0..20).map(|number| {
        let app = if number % 2 == 0 { &app } else { &other };
        app.delivery(&paid)
    });
    for answer in at_once(calls).await {
        assert!(processed(&answer, "evt_1"));
    }
    assert_eq!(balance(&app, &ada).await, "100.00");
    assert_eq!(movements(&app, &ada).await.len(), 1);
    assert_eq!(
        app.templates_to(&ada.email).await,
        ["welcome", "credit_purchase"]
    );
}

async fn what_is_not_ours_is_kept_and_grants_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let good = session(&ada, "cs_1");
    let with = |member: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(member).unwrap() = value;
        changed
    };
    let nobody = "0197f1f0-0000-7000-8000-000000000000";
    let completed = "checkout.session.completed";
    for (id, object, outcome) in [
        ("evt_a", with("/metadata", json!({})), "unknown_user"),
        ("evt_b", with("/metadata", Value::Null), "unknown_user"),
        (
            "evt_c",
            with("/metadata/user_id", json!(nobody)),
            "unknown_user",
        ),
        // A buyer can write this into the address of a payment link.
        (
            "evt_d",
            with("/client_reference_id", json!(nobody)),
            "unknown_user",
        ),
        (
            "evt_e",
            with("/metadata/item", json!("large")),
            "unknown_item",
        ),
        (
            "evt_f",
            with("/metadata/item", json!("basic")),
            "unknown_item",
        ),
        ("evt_g", with("/metadata/item", json!(7)), "unknown_item"),
    ] {
        assert!(!deliver(&app, id, completed, &object).await, "{id}");
        // Visible, and once.
        assert!(!deliver(&app, id, completed, &object).await, "{id}");
        let known = alarms(&app).await;
        assert!(known.contains(&(id.to_owned(), outcome)), "{id}: {known:?}");
    }
    let mut foreign = older_invoice(&ada, "in_1", "subscription_create");
    foreign["lines"]["data"][0]["price"]["id"] = json!("price_of_another_product");
    assert!(!deliver(&app, "evt_h", "invoice.paid", &foreign).await);

    let mut live = event("evt_i", completed, app.seconds(), &good);
    live["livemode"] = json!(true);
    assert!(!processed(&app.delivery(&live).await, "evt_i"));
    live["id"] = json!("evt_j");
    live.as_object_mut().unwrap().remove("livemode");
    assert!(!processed(&app.delivery(&live).await, "evt_j"));
    let mut connected = event("evt_k", completed, app.seconds(), &good);
    connected["account"] = json!("acct_1");
    assert!(!processed(&app.delivery(&connected).await, "evt_k"));
    assert!(!deliver(&app, "evt_l", "product.created", &json!({"id": "prod_1"})).await);

    let known = alarms(&app).await;
    let expected = [
        ("evt_h", "unknown_item"),
        ("evt_i", "other_mode"),
        ("evt_j", "other_mode"),
        ("evt_k", "other_account"),
    ];
    assert_eq!(known.len(), 7 + expected.len(), "{known:?}");
    for (id, outcome) in expected {
        assert!(known.contains(&(id.to_owned(), outcome)), "{known:?}");
    }
    assert_eq!(balance(&app, &ada).await, "0.00");
    assert!(CATALOGUE.contains("small"));
}

async fn an_event_that_lacks_what_it_should_have_is_kept(store: StoreKind) {
    let app = App::on(store).await;
    let kinds = [
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice_payment.paid",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.closed",
    ];
    let shapes = [
        json!({}),
        json!({"id": 7, "mode": [], "payment_status": {}, "lines": "x", "items": 1, "status": null}),
        json!({"id": "x y", "mode": "payment", "payment_status": "paid", "billing_reason": "subscription_cycle"}),
        json!({"id": "x", "payment_intent": {"id": 1}, "amount": -1, "amount_refunded": 1e99, "status": "won"}),
    ];
    for kind in kinds {
        for (number, shape) in shapes.iter().enumerate() {
            let id = format!("evt_{kind}_{number}");
            assert!(!deliver(&app, &id, kind, shape).await, "{id}");
        }
    }
    let known = alarms(&app).await;
    assert_eq!(known.len(), kinds.len() * shapes.len(), "{known:?}");
}

async fn an_event_that_came_to_nothing_is_applied_when_it_is_sent_again(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let completed = "checkout.session.completed";
    // What the catalogue does not have yet.
    let mut unknown = session(&ada, "cs_1");
    unknown["metadata"]["item"] = json!("tomorrows");
    assert!(!deliver(&app, "evt_1", completed, &unknown).await);
    assert_eq!(alarms(&app).await.len(), 1);
    for _ in 0..2 {
        assert!(deliver(&app, "evt_1", completed, &session(&ada, "cs_1")).await);
        assert_eq!(balance(&app, &ada).await, "100.00");
    }
    assert_eq!(alarms(&app).await, []);
}

/// Texts, times and amounts that a database would refuse, or a mail could not carry.
async fn what_is_signed_and_strange_is_no_failure_of_ours(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let texts = ["a\u{0}b", "\u{202e}", &"x".repeat(100_000)];
    let numbers = [i64::MIN, -62_167_219_201, i64::MAX];
    let strange: Vec<Value> = texts
        .iter()
        .map(|text| json!(text))
        .chain(numbers.map(|number| json!(number)))
        .collect();
    let subscription = json!({
        "id": "sub_1",
        "status": "active",
        "customer": "cus_1",
        "metadata": {"user_id": ada.id.to_string()},
        "cancel_at": 1_772_323_200,
        "items": {"data": [{"price": {"id": "price_basic"}, "current_period_end": 1_772_323_200}]},
    });
    let mut failed = newer_invoice(&ada, "in_1", "subscription_cycle");
    failed["hosted_invoice_url"] = json!("https://invoice.stripe.com/i/1");
    failed["next_payment_attempt"] = json!(1_772_323_200);
    let mut linked = session(&ada, "cs_2");
    linked["mode"] = json!("subscription");
    linked["subscription"] = json!("sub_2");
    let dispute = json!({"id": "dp_1", "status": "lost", "payment_intent": "pi_1"});
    let objects = [
        ("customer.subscription.updated", subscription),
        ("invoice.payment_failed", failed.clone()),
        ("invoice.paid", failed),
        ("checkout.session.completed", session(&ada, "cs_1")),
        ("checkout.session.completed", linked),
        ("charge.refunded", charge("pi_1", 300)),
        ("charge.dispute.closed", dispute),
    ];
    let mut number = 0;
    for (kind, object) in &objects {
        for place in leaves(object) {
            for value in &strange {
                let mut object = object.clone();
                *object.pointer_mut(&place).unwrap() = value.clone();
                number += 1;
                let id = format!("evt_{number}");
                let event = event(&id, kind, app.seconds(), &object);
                let answer = app.delivery(&event).await;
                assert_eq!(answer.status, 200, "{kind} {place} {value:.40}: {answer:?}");
            }
        }
    }
    // What came of it is read again.
    app.store.subscriptions(ada.id).await.unwrap();
    assert!(!alarms(&app).await.is_empty());
    assert!(!app.mails_to(&ada.email).await.is_empty());
    balance(&app, &ada).await;
}

/// The places of what is no object and no list.
fn leaves(value: &Value) -> Vec<String> {
    let inside = |name: String, value: &Value| {
        let inner = leaves(value);
        inner
            .into_iter()
            .map(move |place| format!("/{name}{place}"))
            .collect::<Vec<_>>()
    };
    match value {
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.flat_map(|(place, value)| inside(place.to_string(), value))
                .collect()
        }
        Value::Object(members) => {
            let members = members.iter();
            members
                .flat_map(|(name, value)| inside(name.clone(), value))
                .collect()
        }
        _ => vec![String::new()],
    }
}

async fn what_an_event_moves_names_its_request(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let paid = session(&ada, "cs_1");
    let paid = event("evt_1", "checkout.session.completed", app.seconds(), &paid);
    let delivery = app.delivery(&paid).header("x-request-id", "of-stripe-1");
    assert!(processed(&delivery.await, "evt_1"));
    let history = History {
        user_id: ada.id,
        before: None,
        limit: 10,
        kind: None,
    };
    let page = app.store.history(history).await.unwrap().unwrap();
    assert_eq!(page.entries.len(), 1);
    let entry = &page.entries[0].entry;
    assert_eq!(entry.request_id.as_deref(), Some("of-stripe-1"));
}

async fn a_failed_store_makes_stripe_try_again(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let paid = session(&ada, "cs_1");
    let paid = event("evt_1", "checkout.session.completed", app.seconds(), &paid);
    app.store.fail(Fault::Unavailable);
    app.delivery(&paid).await.refused(503, "unavailable");
    app.store.fail(Fault::Backend);
    app.delivery(&paid).await.refused(500, "internal");
    app.store.fail(None);
    assert!(processed(&app.delivery(&paid).await, "evt_1"));
    assert_eq!(balance(&app, &ada).await, "100.00");
}

async fn the_end_of_an_account_leaves_its_purchases_without_effect(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_1", completed, &session(&ada, "cs_1")).await);
    let body = json!({"password": PASSWORD});
    let delete = app.delete("/auth/users/delete-account").by(&ada);
    delete.json(body).await.ok(200);
    let refund = charge("pi_cs_1", 900);
    assert!(!deliver(&app, "evt_2", "charge.refunded", &refund).await);
    assert!(!deliver(&app, "evt_3", completed, &session(&ada, "cs_2")).await);
    let checked = check_ledger(&app.store, |breach| panic!("{breach}")).await;
    let checked = checked.unwrap();
    assert_eq!((checked.entries, checked.breaches), (1, 0));
    assert!(
        app.mails_to(&ada.email)
            .await
            .iter()
            .all(|mail| mail.template != "payment_failed")
    );
}
