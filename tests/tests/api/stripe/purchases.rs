use auth_core::{ports::BillingStore, time::Duration};
use auth_tests::{App, StoreKind};
use serde_json::{Value, json};

use super::{alarms, balance, deliver, movements, newer_invoice, older_invoice, session};

auth_tests::on_each_store! {
    a_paid_pack_is_granted_and_mailed_once
    a_checkout_of_a_subscription_tells_whose_invoices_come
    an_unpaid_session_grants_when_it_is_paid
    a_subscription_is_paid_by_its_invoices_alone
}

async fn a_paid_pack_is_granted_and_mailed_once(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let paid = session(&ada, "cs_1");
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_1", completed, &paid).await);
    // Again, and hours later.
    assert!(deliver(&app, "evt_1", completed, &paid).await);
    app.clock.advance(Duration::hours(5));
    assert!(deliver(&app, "evt_1", completed, &paid).await);
    // The same session by another event.
    let later = "checkout.session.async_payment_succeeded";
    assert!(!deliver(&app, "evt_2", later, &paid).await);
    assert_eq!(balance(&app, &ada).await, "100.00");
    let expected = ["one_time_purchase", "credit", "100.00", "cs_1"].map(str::to_owned);
    assert_eq!(movements(&app, &ada).await, [expected]);
    let mail = app.mails_to(&ada.email).await.pop().unwrap();
    assert_eq!(mail.template, "credit_purchase");
    for part in ["small", "100.00", "9.00", "EUR"] {
        assert!(mail.text.contains(part), "{part}: {}", mail.text);
    }
    assert_eq!(
        app.templates_to(&ada.email).await,
        ["welcome", "credit_purchase"]
    );
    assert_eq!(alarms(&app).await, []);
}

async fn an_unpaid_session_grants_when_it_is_paid(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let mut paid = session(&ada, "cs_1");
    paid["payment_status"] = json!("unpaid");
    assert!(!deliver(&app, "evt_1", "checkout.session.completed", &paid).await);
    assert_eq!(balance(&app, &ada).await, "0.00");
    paid["payment_status"] = json!("paid");
    let later = "checkout.session.async_payment_succeeded";
    assert!(deliver(&app, "evt_2", later, &paid).await);
    assert_eq!(balance(&app, &ada).await, "100.00");
    // A voucher over the whole price.
    let mut free = session(&ada, "cs_2");
    free["payment_status"] = json!("no_payment_required");
    free["payment_intent"] = Value::Null;
    assert!(deliver(&app, "evt_3", "checkout.session.completed", &free).await);
    assert_eq!(balance(&app, &ada).await, "200.00");
    assert_eq!(alarms(&app).await, []);
}

async fn a_subscription_is_paid_by_its_invoices_alone(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let mut checkout = session(&ada, "cs_1");
    checkout["mode"] = json!("subscription");
    checkout["metadata"]["item"] = json!("basic");
    checkout["subscription"] = json!("sub_1");
    checkout["customer"] = json!("cus_1");
    assert!(deliver(&app, "evt_1", "checkout.session.completed", &checkout).await);
    assert_eq!(balance(&app, &ada).await, "0.00");

    let mut subscription = json!({
        "id": "sub_1",
        "object": "subscription",
        "status": "active",
        "customer": "cus_1",
        "metadata": {"user_id": ada.id.to_string(), "item": "basic"},
        "cancel_at_period_end": false,
        "cancel_at": null,
        "items": {"data": [{
            "id": "si_1",
            "price": {"id": "price_basic"},
            "current_period_end": app.seconds() + 86_400,
        }]},
    });
    assert!(
        deliver(
            &app,
            "evt_2",
            "customer.subscription.created",
            &subscription
        )
        .await
    );
    let first = older_invoice(&ada, "in_1", "subscription_create");
    assert!(deliver(&app, "evt_3", "invoice.paid", &first).await);
    let second = newer_invoice(&ada, "in_2", "subscription_cycle");
    assert!(deliver(&app, "evt_4", "invoice.paid", &second).await);
    assert!(deliver(&app, "evt_4", "invoice.paid", &second).await);
    assert!(!deliver(&app, "evt_5", "invoice.paid", &second).await);
    let mut by_hand = older_invoice(&ada, "in_3", "manual");
    by_hand["lines"]["data"][0]["price"]["id"] = json!("price_of_advice");
    assert!(!deliver(&app, "evt_6", "invoice.paid", &by_hand).await);
    let expected = [
        ["plan_purchase", "credit", "120.00", "in_1"].map(str::to_owned),
        ["plan_renewal", "credit", "120.00", "in_2"].map(str::to_owned),
    ];
    assert_eq!(movements(&app, &ada).await, expected);

    let mut failed = newer_invoice(&ada, "in_4", "subscription_cycle");
    failed["next_payment_attempt"] = json!(app.seconds() + 3600);
    failed["hosted_invoice_url"] = json!("https://invoice.stripe.com/i/1");
    assert!(deliver(&app, "evt_7", "invoice.payment_failed", &failed).await);
    subscription["cancel_at_period_end"] = json!(true);
    let updated = "customer.subscription.updated";
    assert!(deliver(&app, "evt_8", updated, &subscription).await);
    let known = app.store.subscriptions(ada.id).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].cancel_at, known[0].period_end);
    subscription["status"] = json!("canceled");
    let deleted = "customer.subscription.deleted";
    assert!(deliver(&app, "evt_9", deleted, &subscription).await);
    assert_eq!(app.store.subscriptions(ada.id).await.unwrap(), []);
    let expected = [
        "welcome",
        "subscription_started",
        "subscription_renewed",
        "payment_failed",
        "subscription_cancelled",
    ];
    assert_eq!(app.templates_to(&ada.email).await, expected);
    assert_eq!(balance(&app, &ada).await, "240.00");
    assert_eq!(alarms(&app).await, []);
}

/// A host may write the user on the session alone: what Stripe makes of it then names a customer and a subscription, and no user.
async fn a_checkout_of_a_subscription_tells_whose_invoices_come(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let eve = app.registered("eve").await;
    let mut checkout = session(&ada, "cs_1");
    checkout["mode"] = json!("subscription");
    checkout["metadata"]["item"] = json!("basic");
    checkout["customer"] = json!("cus_1");
    let completed = "checkout.session.completed";
    assert!(!deliver(&app, "evt_0", completed, &checkout).await);
    checkout["subscription"] = json!("sub_1");
    assert!(deliver(&app, "evt_1", completed, &checkout).await);
    let known = app.store.subscriptions(ada.id).await.unwrap();
    let known: Vec<_> = known
        .iter()
        .map(|it| (it.id.as_str(), &*it.status))
        .collect();
    assert_eq!(known, [("sub_1", "active")]);
    let unnamed = |mut invoice: Value| {
        for place in [
            "/subscription_details/metadata",
            "/parent/subscription_details/metadata",
            "/lines/data/0/metadata",
        ] {
            if let Some(metadata) = invoice.pointer_mut(place) {
                *metadata = json!({});
            }
        }
        invoice
    };
    let first = unnamed(older_invoice(&ada, "in_1", "subscription_create"));
    assert!(deliver(&app, "evt_2", "invoice.paid", &first).await);
    let mut second = unnamed(newer_invoice(&ada, "in_2", "subscription_cycle"));
    second["customer"] = json!("cus_of_another_checkout");
    assert!(deliver(&app, "evt_3", "invoice.paid", &second).await);
    // A checkout of Eve's that names Ada's customer or subscription takes nothing over.
    let mut taken = session(&eve, "cs_2");
    taken["mode"] = json!("subscription");
    for (id, customer, subscription) in [("evt_4", "cus_1", "sub_2"), ("evt_5", "cus_2", "sub_1")] {
        taken["customer"] = json!(customer);
        taken["subscription"] = json!(subscription);
        assert!(!deliver(&app, id, completed, &taken).await);
    }
    assert_eq!(app.store.subscriptions(eve.id).await.unwrap(), []);
    assert_eq!(app.store.customer(eve.id).await.unwrap(), None);
    assert_eq!(balance(&app, &ada).await, "240.00");
    let expected = [
        "evt_0 unreadable",
        "evt_4 unknown_user",
        "evt_5 unknown_user",
    ];
    let known: Vec<_> = alarms(&app)
        .await
        .iter()
        .map(|(id, it)| format!("{id} {it}"))
        .collect();
    assert_eq!(known, expected);
}
