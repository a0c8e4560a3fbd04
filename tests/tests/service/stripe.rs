//! Payments in the service as it runs: from the settings to the operator's list.

use auth_core::{time::OffsetDateTime, types::UserId};
use auth_tests::{
    Call, MovableClock, PASSWORD, Person, at_once, email_of,
    process::{Home, Service, eventually},
    stripe::{WEBHOOK_SECRET, event, signature},
    stripe_api::StripeApi,
};
use serde_json::{Value, json};

use crate::data::{Data, on_each_database};

on_each_database! {
    an_event_told_twenty_times_at_once_to_two_processes_has_one_effect
    a_deleted_account_leaves_its_entries_and_no_subscription_and_no_name
}

/// Nobody is there: what is to be cancelled stays so.
pub(crate) const NO_STRIPE: &str = "http://127.0.0.1:9";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_is_granted_and_what_is_not_ours_is_listed() {
    let home = Home::new();
    let service = home.service().quick().selling(NO_STRIPE).start().await;
    let body = json!({"username": "ada", "email": email_of("ada"), "password": PASSWORD});
    let answer = service.post("/auth/register", body).await;
    let ada = UserId::parse(answer.ok(201)["user"]["id"].as_str().unwrap()).unwrap();
    let list = || home.service().arg("stripe").arg("events").run();
    let ended = list().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "0 event(s) to look at, 0 subscription(s) without a user\n"
    );

    let paid = |item: &str| {
        json!({
            "id": format!("cs_{item}"),
            "mode": "payment",
            "payment_status": "paid",
            "metadata": {"user_id": ada.to_string(), "item": item},
        })
    };
    let nobody = "0197f1f0-0000-7000-8000-000000000000";
    let subscription = json!({
        "id": "sub_1",
        "status": "active",
        "metadata": {"user_id": nobody},
    });
    let completed = "checkout.session.completed";
    let created = "customer.subscription.created";
    for (id, kind, object, is_processed) in [
        ("evt_1", completed, paid("small"), true),
        ("evt_2", completed, paid("large"), false),
        ("evt_3", created, subscription, false),
    ] {
        assert_eq!(deliver(&service, id, kind, &object).await, is_processed);
    }
    let path = format!("/credits/balance?user_id={ada}");
    let answer = service.get(&path).by_service().await;
    assert_eq!(answer.ok(200)["balance"], "100.00");

    let ended = list().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let mut lines: Vec<_> = ended.stdout.lines().collect();
    assert!(
        lines[0].ends_with(" evt_3: customer.subscription.created (unknown_user)"),
        "{lines:?}"
    );
    assert!(
        lines[1].ends_with(" evt_2: checkout.session.completed (unknown_item)"),
        "{lines:?}"
    );
    let expected = [
        "subscription sub_1: its user is gone, and it still has to be cancelled",
        "2 event(s) to look at, 1 subscription(s) without a user",
    ];
    assert_eq!(lines.split_off(2), expected);

    let refund = json!({
        "id": "ch_1",
        "payment_intent": "pi_1",
        "amount": 900,
        "amount_refunded": 900,
    });
    let mut bought = paid("small");
    bought["id"] = json!("cs_2");
    bought["payment_intent"] = json!("pi_1");
    let used = json!({"user_id": ada.to_string(), "amount": "150.00"});
    for (id, kind, object) in [
        ("evt_4", completed, bought),
        ("evt_5", "charge.refunded", refund),
    ] {
        assert!(deliver(&service, id, kind, &object).await);
        if id == "evt_4" {
            let use_it = service.call("POST", "/credits/use").by_service();
            use_it.json(used.clone()).await.ok(200);
        }
    }
    let ended = home.service().arg("stripe").arg("debts").run().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        format!("{ada}: 50.00\n1 user(s) owe credits\n")
    );
    service.stop().await;
}

/// A delivery of an event of now.
fn delivery(service: &Service, id: &str, kind: &str, object: &Value) -> Call {
    let now = unix_seconds();
    let body = event(id, kind, now, object).to_string();
    let signature = signature(WEBHOOK_SECRET, now, body.as_bytes());
    let call = service.call("POST", "/stripe/webhook");
    call.header("stripe-signature", signature).raw(body)
}

/// Delivers an event of now; whether it had its effect.
pub(crate) async fn deliver(service: &Service, id: &str, kind: &str, object: &Value) -> bool {
    let answer = delivery(service, id, kind, object).await;
    answer.ok(200)["processed"].as_bool().unwrap()
}

async fn balance(service: &Service, user: UserId) -> String {
    let path = format!("/credits/balance?user_id={user}");
    let answer = service.get(&path).by_service().await;
    answer.ok(200)["balance"].as_str().unwrap().to_owned()
}

/// A pack that was paid.
fn purchase(user: UserId, session: &str) -> Value {
    json!({
        "id": session,
        "mode": "payment",
        "payment_status": "paid",
        "payment_intent": format!("pi_{session}"),
        "metadata": {"user_id": user.to_string(), "item": "small"},
        "amount_total": 900,
        "currency": "eur",
    })
}

#[allow(clippy::disallowed_methods)] // the service in its process has no other clock
pub(crate) fn unix_seconds() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_payments_are_not_configured() {
    let home = Home::new();
    let service = home.service().quick().start().await;
    let call = || service.call("POST", "/stripe/webhook").raw("{}");
    call().await.refused(401, "invalid_signature");
    let signature = signature("", unix_seconds(), b"{}");
    let signed = call().header("stripe-signature", signature);
    signed.await.refused(501, "payments_not_configured");
    service.stop().await;
}

/// As Stripe does that hears nothing and tells it again, while a load balancer takes turns.
async fn an_event_told_twenty_times_at_once_to_two_processes_has_one_effect(data: Data) {
    let start = || data.service().selling(NO_STRIPE).start();
    let (one, other) = tokio::join!(start(), start());
    let ada = one.registered("ada").await;
    for round in 0..3 {
        let paid = purchase(ada.id, &format!("cs_{round}"));
        let (id, kind) = (format!("evt_{round}"), "checkout.session.completed");
        let calls = (0..20).map(|n| {
            let service = if n % 2 == 0 { &one } else { &other };
            delivery(service, &id, kind, &paid)
        });
        for answer in at_once(calls).await {
            let told = json!({"received": true, "event_id": id, "processed": true});
            assert_eq!(answer.ok(200), &told);
        }
    }
    assert_eq!(balance(&other, ada.id).await, "300.00");
    // The refund of the last one, as often, among as many of its purchase.
    let refund =
        json!({"id": "ch_2", "payment_intent": "pi_cs_2", "amount": 900, "amount_refunded": 300});
    let paid = purchase(ada.id, "cs_2");
    let calls = (0..20).map(|n| {
        let service = if n % 4 < 2 { &one } else { &other };
        if n % 2 == 0 {
            delivery(service, "evt_2", "checkout.session.completed", &paid)
        } else {
            delivery(service, "evt_refund", "charge.refunded", &refund)
        }
    });
    for answer in at_once(calls).await {
        assert_eq!(answer.ok(200)["processed"], true);
    }
    assert_eq!(balance(&one, ada.id).await, "266.66");
    let path = format!("/credits/transactions?user_id={}", ada.id);
    let listed = one.get(&path).by_service().await;
    assert_eq!(listed.ok(200)["total_count"], 4);
    data.everything_is_sent().await;
    for service in [one, other] {
        service.stop().await;
    }
    let mails = data.home.mails_to(&ada.email);
    let told = mails.iter().filter(|it| it.template == "credit_purchase");
    assert_eq!(told.count(), 3);
}

/// Somebody with a card, a subscription that is paid, a pack, and entries that name them.
async fn customer(service: &Service, stripe: &StripeApi, name: &str) -> (Person, String) {
    let person = service.verified(name).await;
    let user = person.id.to_string();
    let call = |path: &str, mut body: Value| {
        body["user_id"] = json!(user);
        service.post(path, body).by_service()
    };
    let setup = call("/stripe/setup-intent", json!({})).await;
    let customer = setup.ok(200)["customer_id"].as_str().unwrap();
    let card = stripe.attach_card(customer, true);
    let body = json!({"plan": "basic", "payment_method_id": card});
    let begun = call("/stripe/create-subscription", body).await;
    let subscription = begun.ok(200)["subscription_id"].as_str().unwrap();
    assert_eq!(begun.ok(200)["status"], "active");
    let invoice = stripe.invoice_of(subscription);
    let kept = format!("evt_{subscription}");
    assert!(deliver(service, &kept, "invoice.paid", &invoice).await);
    let pack = purchase(person.id, &format!("cs_{subscription}"));
    let kept = format!("evt_cs_{subscription}");
    assert!(deliver(service, &kept, "checkout.session.completed", &pack).await);
    for (path, amount) in [("/credits/add", "10.00"), ("/credits/use", "29.99")] {
        let body = json!({"amount": amount, "description": format!("As {name} wished")});
        call(path, body).await.ok(200);
    }
    assert_eq!(balance(service, person.id).await, "200.01");
    (person, subscription.to_owned())
}

async fn a_deleted_account_leaves_its_entries_and_no_subscription_and_no_name(data: Data) {
    let stripe = StripeApi::start(MovableClock::default()).await;
    let start = || data.service().selling(stripe.address()).start();
    let service = start().await;
    let (ada, subscription) = customer(&service, &stripe, "ada-of-the-test").await;
    let (_, other) = customer(&service, &stripe, "bob-of-the-test").await;
    // They would be found.
    let names = ["ada-of-the-test", "Ada-of-the-test"];
    let mentions = async |name: &str| {
        let tables = data.everything().await;
        let naming = tables.into_iter().filter(|(_, rows)| rows.contains(name));
        naming.map(|(table, _)| table).collect::<Vec<_>>()
    };
    let found = mentions(names[0]).await;
    assert!(found.iter().any(|it| it == "credit_entries"), "{found:?}");

    let body = json!({"password": PASSWORD});
    let gone = service.delete("/auth/users/delete-account").json(body);
    gone.by(&ada).await.ok(200);
    // Whoever looks next ends it at Stripe, and here it is a process that has just started.
    let second = start().await;
    eventually("the end of the subscription", async || {
        (stripe.living() == [other.clone()]).then_some(())
    })
    .await;
    // Stripe tells of that, and of money of somebody who is gone.
    let ended = stripe.subscription(&subscription);
    let kind = "customer.subscription.deleted";
    delivery(&service, "evt_end", kind, &ended).await.ok(200);
    let path = format!("/credits/balance?user_id={}", ada.id);
    let answer = second.get(&path).by_service().await;
    answer.refused(404, "user_not_found");
    data.everything_is_sent().await;
    for service in [service, second] {
        let ended = service.stop().await;
        assert!(ended.status.success(), "{ended:?}");
    }

    let command = |arguments: &str| data.service().args(arguments).run();
    let verified = command("ledger verify").await;
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert_eq!(verified.stdout, "2 balance(s), 8 entries, 0 breach(es)\n");
    let listed = command("stripe events").await;
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    for name in names {
        assert_eq!(mentions(name).await, [""; 0], "{name}");
    }
    let found = mentions("bob-of-the-test").await;
    assert!(found.iter().any(|it| it == "credit_entries"), "{found:?}");
}
