//! Payments in the service as it runs: from the settings to the operator's list.

use auth_core::{time::OffsetDateTime, types::UserId};
use auth_tests::{
    API_KEY, PASSWORD, email_of,
    process::{Home, Launch, Service},
    stripe::{CATALOGUE, WEBHOOK_SECRET, event, signature},
};
use serde_json::{Value, json};

/// A service that believes what is signed.
pub(crate) fn selling(home: &Home) -> Launch {
    let catalogue = home.path().join("catalogue.toml");
    std::fs::write(&catalogue, CATALOGUE).unwrap();
    home.service()
        .quick()
        .set("INTERNAL_API_KEY", API_KEY)
        .set("STRIPE_SECRET_KEY", "sk_test_0123456789")
        // Nobody is there: what is to be cancelled stays so.
        .set("STRIPE_API_BASE", "http://127.0.0.1:9")
        .set("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .set("CATALOG_FILE", catalogue.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_is_granted_and_what_is_not_ours_is_listed() {
    let home = Home::new();
    let service = selling(&home).start().await;
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

/// Delivers an event of now; whether it had its effect.
pub(crate) async fn deliver(service: &Service, id: &str, kind: &str, object: &Value) -> bool {
    let now = unix_seconds();
    let body = event(id, kind, now, object).to_string();
    let signature = signature(WEBHOOK_SECRET, now, body.as_bytes());
    let call = service.call("POST", "/stripe/webhook");
    let answer = call.header("stripe-signature", signature).raw(body).await;
    answer.ok(200)["processed"].as_bool().unwrap()
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
