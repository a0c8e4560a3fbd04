use std::collections::BTreeSet;

use auth_core::ports::BillingStore;
use auth_tests::{App, StoreKind, at_once};
use serde_json::json;

use super::{SETUPS, call, subscribe, word};

auth_tests::on_each_store! {
    a_customer_is_made_once_by_many_at_once
    a_customer_that_was_deleted_is_made_anew_once
    a_payment_method_is_left_and_listed
}

async fn a_customer_is_made_once_by_many_at_once(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let other = app.selling_replica(&stripe).await;
    let ada = app.verified("ada").await;
    let calls = (0..16).map(|i| {
        let app = if i % 2 == 0 { &app } else { &other };
        call(app, "setup-intent", &ada, json!({}))
    });
    let answers = at_once(calls).await;
    let customers: BTreeSet<_> = answers.iter().map(|it| word(it, "customer_id")).collect();
    let setups: BTreeSet<_> = answers
        .iter()
        .map(|it| word(it, "setup_intent_id"))
        .collect();
    assert_eq!((customers.len(), setups.len()), (1, 16));
    assert_eq!(stripe.customers(), 1);
    let kept = other.store.customer(ada.id).await.unwrap();
    assert_eq!(kept.unwrap().as_str(), customers.first().unwrap());
}

async fn a_customer_that_was_deleted_is_made_anew_once(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let setup = call(&app, "setup-intent", &ada, json!({})).await;
    let first = word(&setup, "customer_id");
    stripe.delete_customer(&first);
    let path = format!("/stripe/payment-methods?user_id={}", ada.id);
    let methods = app.get(&path).by_service().await;
    assert_eq!(methods.ok(200)["payment_methods"], json!([]));

    let answers = at_once((0..8).map(|_| call(&app, "setup-intent", &ada, json!({})))).await;
    let second: BTreeSet<_> = answers.iter().map(|it| word(it, "customer_id")).collect();
    assert_eq!(second.len(), 1);
    assert!(!second.contains(&first));
    assert_eq!(stripe.customers(), 2);
    // And once more within the day, for which Stripe remembers the key of the one before.
    stripe.delete_customer(second.first().unwrap());
    let third = subscribe(&app, &ada, "basic").await;
    assert_eq!(word(&third, "status"), "incomplete");
    assert_eq!(stripe.customers(), 3);
}

async fn a_payment_method_is_left_and_listed(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let path = format!("/stripe/payment-methods?user_id={}", ada.id);
    let list = || async { app.get(&path).by_service().await.ok(200)["payment_methods"].clone() };
    // A look makes nobody known to Stripe.
    assert_eq!(list().await, json!([]));
    assert_eq!(stripe.customers(), 0);

    let setup = call(&app, "setup-intent", &ada, json!({})).await;
    let intent = word(&setup, "setup_intent_id");
    assert_eq!(word(&setup, "client_secret"), format!("{intent}_secret_1"));
    let form = &stripe.asked(SETUPS)[0].form;
    assert_eq!(form["usage"], "off_session");
    assert_eq!(form["metadata"]["user_id"], ada.id.to_string());

    let customer = word(&setup, "customer_id");
    let (one, other) = (
        stripe.attach_card(&customer, true),
        stripe.attach_card(&customer, false),
    );
    let card = json!({"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2031});
    let method = |id: &str, is_default: bool| json!({"id": id, "type": "card", "card": card, "is_default": is_default});
    assert_eq!(
        list().await,
        json!([method(&other, false), method(&one, true)])
    );
    stripe.judge();
}
