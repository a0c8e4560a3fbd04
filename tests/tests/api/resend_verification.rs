use auth_core::{time::Duration, types::Client};
use auth_tests::{App, StoreKind, at_once};
use serde_json::json;

auth_tests::on_each_store! {
    another_link_is_mailed_after_a_minute
    every_link_that_was_mailed_works
    requests_at_once_mail_one_link
    who_needs_no_link_gets_none
    an_unknown_address_is_told
    with_enumeration_protection_nothing_is_told
}

fn resend(app: &App, email: &str) -> auth_tests::Call {
    app.post("/auth/resend-verification", json!({"email": email}))
}

async fn another_link_is_mailed_after_a_minute(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    // The welcome mail counts.
    for wait in [0, 58] {
        app.clock.advance(Duration::seconds(wait));
        let answer = resend(&app, "ada@example.org").await;
        assert!(answer.ok(200)["message"].is_string());
    }
    assert_eq!(app.templates_to("ada@example.org").await, ["welcome"]);
    app.clock.advance(Duration::seconds(2));
    resend(&app, "ADA@Example.org").await.ok(200);
    resend(&app, "ada@example.org").await.ok(200);
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "verify_email"]);
    let link = app.mailbox.last_to("ada@example.org");
    assert!(
        link.link()
            .starts_with("https://app.example.org/verify-email?token=")
    );
    let log = app.audit(ada.id).await;
    assert_eq!(log[0], "registered");
    assert_eq!(log[1..], ["verification_requested"; 4]);
}

async fn every_link_that_was_mailed_works(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let first = app.mailed_token("ada@example.org").await;
    app.clock.advance(Duration::minutes(2));
    resend(&app, "ada@example.org").await.ok(200);
    let second = app.mailed_token("ada@example.org").await;
    assert_ne!(first, second);
    for token in [&first, &second] {
        let answer = app
            .post("/auth/verify-email", json!({"token": token}))
            .await;
        answer.ok(200);
    }
    app.get("/auth/me").by(&ada).await.ok(200);
}

async fn requests_at_once_mail_one_link(store: StoreKind) {
    let app = App::on(store).await;
    app.registered("ada").await;
    app.clock.advance(Duration::minutes(2));
    for answer in at_once((0..8).map(|_| resend(&app, "ada@example.org"))).await {
        answer.ok(200);
    }
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "verify_email"]);
}

async fn who_needs_no_link_gets_none(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    let off = app.registered("off").await;
    app.deliver().await;
    let client = Client::default();
    app.auth.set_disabled(off.id, true, &client).await.unwrap();
    app.clock.advance(Duration::minutes(2));
    resend(&app, "ada@example.org").await.ok(200);
    resend(&app, "off@example.org")
        .await
        .refused(404, "user_not_found");
    assert_eq!(app.deliver().await, 0);
}

async fn an_unknown_address_is_told(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.email_change_tokens(&ada, "pending@example.org").await;
    for email in ["nobody@example.org", "pending@example.org"] {
        resend(&app, email).await.refused(404, "user_not_found");
    }
    assert_eq!(app.deliver().await, 0);
}

async fn with_enumeration_protection_nothing_is_told(store: StoreKind) {
    let app = App::with(store, |auth| auth.enumeration_protection(true)).await;
    let body =
        json!({"username": "ada", "email": "ada@example.org", "password": "correct horse battery"});
    app.post("/auth/register", body).await.ok(202);
    app.clock.advance(Duration::minutes(2));
    let mut seen = Vec::new();
    for email in ["ada@example.org", "ada@example.org", "nobody@example.org"] {
        let answer = resend(&app, email).header("x-request-id", "same").await;
        answer.ok(202);
        seen.push((answer.bytes.clone(), answer.headers.clone()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "verify_email"]);
    assert!(app.mails_to("nobody@example.org").await.is_empty());
}
