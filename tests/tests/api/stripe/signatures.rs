use std::process::Command;

use auth_tests::{
    API_KEY, App, StoreKind,
    stripe::{OLD_WEBHOOK_SECRET, WEBHOOK_SECRET, event, python, said_by, signature},
};

use super::{alarms, balance, processed, session};

auth_tests::on_each_store! {
    what_stripes_sdk_signs_is_accepted
    what_is_not_signed_changes_nothing
    what_is_signed_and_no_event_is_malformed
}

/// Signs by Stripe's own SDK, and has it check what is signed by us.
fn by_the_sdk(secret: &str, at: i64, body: &str) -> String {
    const SCRIPT: &str = "
import sys, stripe
secret, at = sys.argv[1], int(sys.argv[2])
body = sys.stdin.read()
header = stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=at)
stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None)
stripe.WebhookSignature.verify_header(body, sys.argv[3], secret, tolerance=None)
print(header, end='')
";
    let ours = signature(secret, at, body.as_bytes());
    let mut sdk = Command::new(python());
    sdk.args(["-c", SCRIPT, secret, &at.to_string(), &ours]);
    said_by(&mut sdk, body)
}

async fn what_stripes_sdk_signs_is_accepted(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    for (id, secret) in [("cs_1", WEBHOOK_SECRET), ("cs_2", OLD_WEBHOOK_SECRET)] {
        let paid = session(&ada, id);
        let kind = "checkout.session.completed";
        let body = event(&format!("evt_{id}"), kind, app.seconds(), &paid);
        // As Stripe writes it: the bytes count, not the document.
        let body = serde_json::to_string_pretty(&body).unwrap();
        let header = by_the_sdk(secret, app.seconds(), &body);
        let deliver = |body: &str, header: &str| {
            app.call("POST", "/stripe/webhook")
                .header("stripe-signature", header)
                .raw(body.to_owned())
        };
        let compact = body.replace('\n', "");
        deliver(&compact, &header)
            .await
            .refused(401, "invalid_signature");
        let foreign = by_the_sdk("whsec_of_somebody_else", app.seconds(), &body);
        deliver(&body, &foreign)
            .await
            .refused(401, "invalid_signature");
        let old = by_the_sdk(secret, app.seconds() - 301, &body);
        deliver(&body, &old).await.refused(401, "invalid_signature");
        let relayed = deliver(&body, &header).header("x-api-key", API_KEY);
        assert!(processed(&relayed.await, &format!("evt_{id}")));
    }
    assert_eq!(balance(&app, &ada).await, "200.00");
}

async fn what_is_not_signed_changes_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    let now = app.seconds();
    let paid = session(&ada, "cs_1");
    let body = event("evt_1", "checkout.session.completed", now, &paid).to_string();
    let good = signature(WEBHOOK_SECRET, now, body.as_bytes());
    let call = || app.call("POST", "/stripe/webhook").raw(body.clone());
    let long = format!("{good},{}", "v0=x,".repeat(2000));
    for header in [
        "",
        "t=,v1=",
        "nonsense",
        &signature("", now, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now - 301, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now + 301, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now, b"{}"),
        &good.replace("v1=", "v0="),
        &long,
    ] {
        let answer = call().header("stripe-signature", header).await;
        answer.refused(401, "invalid_signature");
        assert_eq!(answer.header("www-authenticate"), "Signature");
    }
    call().await.refused(401, "invalid_signature");
    // A key of ours is not a signature of Stripe's, and a wrong one spoils a good signature.
    call().by_service().await.refused(401, "invalid_signature");
    let wrong = call()
        .header("stripe-signature", &good)
        .header("x-api-key", "x".repeat(40));
    wrong.await.refused(401, "invalid_api_key");
    let twice = call()
        .header("stripe-signature", &good)
        .header("stripe-signature", &good);
    twice.await.refused(401, "invalid_signature");
    let bytes = call().header("stripe-signature", b"t=1,v1=\xff".as_slice());
    bytes.await.refused(401, "invalid_signature");
    // Unsigned megabytes are not read.
    let large = app
        .call("POST", "/stripe/webhook")
        .header("stripe-signature", &good)
        .raw(vec![b' '; 512 * 1024 + 1]);
    large.await.refused(413, "payload_too_large");
    assert_eq!(balance(&app, &ada).await, "0.00");
    assert_eq!(app.state_of(&ada).await, state);
    assert_eq!(alarms(&app).await, []);
}

async fn what_is_signed_and_no_event_is_malformed(store: StoreKind) {
    let app = App::on(store).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"id": "evt_1"}"#,
        r#"{"id": 1, "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "", "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt 1", "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a b", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": "1", "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1e300, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 9223372036854775807, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": -1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": -377705116799, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 253402300800, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a\u0000", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1, "data": {"object": []}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1, "data": {}}"#,
        &deep,
    ] {
        let answer = app.signed_delivery(body).await;
        answer.refused(400, "malformed_event");
    }
    assert_eq!(alarms(&app).await, []);
}
