use auth_core::ports::{Mailer, MailerError, OutgoingMail};
use auth_tests::{API_KEY, App, Client, OPERATOR, StoreKind, signing_keys};
use auth_tower::{AuthRouter, Class};
use serde_json::json;

auth_tests::on_each_store! {
    a_test_mail_goes_to_the_operator_alone
    every_mail_is_rendered_in_every_language
    diagnostics_are_open_only_where_the_host_says_so
    a_test_mail_that_does_not_leave_is_told_with_the_request_and_no_cause
}

const PATHS: [&str; 2] = ["/auth/test-email", "/auth/verify-email-templates"];

async fn a_test_mail_goes_to_the_operator_alone(store: StoreKind) {
    let app = App::on(store).await;
    let test_email = async |query: &str| {
        app.get(&format!("/auth/test-email{query}"))
            .header("x-api-key", API_KEY)
            .await
    };
    let answer = test_email("").await;
    let expected = json!({"message": "The mail was handed over.", "to": OPERATOR});
    assert_eq!(*answer.ok(200), expected);
    let mails = app.mailbox.all();
    assert_eq!(mails.len(), 1);
    assert_eq!(
        (mails[0].to.as_str(), mails[0].template),
        (OPERATOR, "test")
    );

    // Whatever a request asks for, nobody else is mailed; and HEAD mails nobody.
    test_email("?to=eve@example.org").await.ok(200);
    app.call("HEAD", "/auth/test-email")
        .header("x-api-key", API_KEY)
        .await
        .ok(200);
    assert!(app.mailbox.to("eve@example.org").is_empty());
    assert_eq!(app.mailbox.to(OPERATOR).len(), 2);
    assert_eq!(app.mailbox.all().len(), 2);
}

async fn every_mail_is_rendered_in_every_language(store: StoreKind) {
    let app = App::on(store).await;
    let answer = app
        .get("/auth/verify-email-templates")
        .header("x-api-key", API_KEY)
        .await;
    let reports = answer.ok(200)["templates"].as_array().unwrap().clone();
    assert!(
        reports
            .iter()
            .all(|report| report["ok"] == true && report.get("error").is_none())
    );
    for locale in ["en", "de", "it"] {
        let names: Vec<_> = reports
            .iter()
            .filter(|report| report["locale"] == locale)
            .map(|report| report["name"].as_str().unwrap())
            .collect();
        for name in ["welcome", "password_reset", "payment_failed", "test"] {
            assert!(names.contains(&name), "{name} in {locale}");
        }
    }
    assert!(app.mailbox.all().is_empty());
}

async fn diagnostics_are_open_only_where_the_host_says_so(store: StoreKind) {
    let app = App::on(store).await;
    let open = app.router().diagnostics_unprotected();
    let class_of = |router: &AuthRouter, path: &str| {
        router
            .routes()
            .find(|route| route.path == path)
            .map(|route| route.class)
    };
    let client = Client::of(open.clone().into_service());
    for path in PATHS {
        assert_eq!(class_of(&app.router(), path), Some(Class::Diagnostic));
        assert_eq!(class_of(&open, path), Some(Class::Public));
        app.get(path).await.refused(401, "invalid_api_key");
        client.get(path).await.ok(200);
    }
    // Nothing else is opened by it.
    let path = "/auth/users/by-email/ada@example.org";
    client.get(path).await.refused(401, "invalid_api_key");
}

/// A mailer whose server says too much.
struct Talkative;

#[async_trait::async_trait]
impl Mailer for Talkative {
    async fn send(&self, _: &OutgoingMail) -> Result<(), MailerError> {
        Err(MailerError::Temporary("451 relay7.internal is full".into()))
    }
}

async fn a_test_mail_that_does_not_leave_is_told_with_the_request_and_no_cause(store: StoreKind) {
    let app = App::on(store).await;
    let links = auth_core::Links::to("https://app.example.org").unwrap();
    let broken = app
        .replica(signing_keys(), |auth| auth.mailer(Talkative, links))
        .await;
    let answer = broken
        .get("/auth/test-email")
        .header("x-api-key", API_KEY)
        .header("x-request-id", "find-me")
        .await;
    answer.refused(500, "mail_failed");
    assert_eq!(answer.json["request_id"], "find-me");
    assert!(!answer.json.to_string().contains("relay7"));
}
