//! Sign-in with Google through the service, against a certified provider.

use std::collections::BTreeMap;

use auth_store_sqlite::sqlx;
use auth_tests::{
    Answer, Browser, PASSWORD, Person,
    certified::CertifiedProvider,
    process::{Home, Service},
};
use serde_json::json;

use crate::metrics::{numbers, told};

/// Nobody listens there: what the browser brings back, the tests bring to the service.
const CALLBACK: &str = "http://127.0.0.1:9/auth/oauth/google/callback";
const PAGE: &str = "http://127.0.0.1:9/welcome";

async fn world() -> (Home, Service, CertifiedProvider) {
    let google = CertifiedProvider::start(CALLBACK).await;
    let home = Home::new();
    let service = told(home.service().quick())
        .set("GOOGLE_ISSUER", google.issuer())
        .set("GOOGLE_CLIENT_ID", "google-client")
        .set("GOOGLE_CLIENT_SECRET", "google-secret")
        .set("GOOGLE_REDIRECT_URI", CALLBACK)
        .set("ALLOWED_REDIRECTS", PAGE)
        .start()
        .await;
    (home, service, google)
}

/// Begins a sign-in that ends at the page: where the browser is sent.
async fn start_for_page(service: &Service, browser: &mut Browser) -> String {
    let path = format!("/auth/oauth/google/login?redirect_to={PAGE}");
    let begun = browser.send(service.get(&path)).await;
    begun.ok(302);
    begun.header("location").to_owned()
}

fn state_of(there: &str) -> &str {
    let (_, state) = there.split_once("state=").unwrap();
    state.split('&').next().unwrap()
}

/// What the page was told.
#[track_caller]
fn told_page(answer: &Answer) -> BTreeMap<String, String> {
    answer.ok(302);
    let (page, query) = answer.header("location").split_once('?').unwrap();
    assert_eq!(page, PAGE);
    serde_urlencoded::from_str(query).unwrap()
}

/// Goes the whole way as `subject`.
async fn sign_in(service: &Service, google: &CertifiedProvider, subject: &str) -> Answer {
    let mut browser = Browser::of(service);
    let there = browser.start("google").await;
    let query = google.sign_in(&there, subject).await;
    browser.come_back("google", &query).await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_link_and_unlink() {
    let (home, service, google) = world().await;
    let first = sign_in(&service, &google, "1001").await;
    let user = &first.ok(200)["user"];
    assert_eq!(user["email"], "1001@gmail.com");
    assert_eq!(user["is_verified"], true);
    assert_eq!(user["sign_in_methods"], json!(["google"]));
    let ada = Person::of(&first.json, "");
    let second = sign_in(&service, &google, "1001").await;
    let ada = Person {
        access_token: Person::of(second.ok(200), "").access_token,
        ..ada
    };
    assert_eq!(second.json["user"]["id"], ada.id.to_string());
    home.mail("google_linked", "1001@gmail.com").await;

    let unlink = service.post("/auth/unlink/google", json!({})).by(&ada);
    unlink.await.refused(409, "last_sign_in_method");
    let unverified = sign_in(&service, &google, "unverified1").await;
    unverified.refused(400, "email_not_verified");

    // A password by mail, and then the other way round.
    let body = json!({"email": "1001@gmail.com"});
    let reset = service.post("/auth/password-reset-request", body).await;
    reset.ok(200);
    let mail = home.mail("password_reset", "1001@gmail.com").await;
    let body = json!({"token": mail.token(), "new_password": PASSWORD});
    service.post("/update-password", body).await.ok(200);
    let body = json!({"username": "1001@gmail.com", "password": PASSWORD});
    let login = service.post("/auth/login", body).await;
    let ada = Person::of(login.ok(200), PASSWORD);
    let body = json!({"password": PASSWORD});
    let unlink = service.post("/auth/unlink/google", body).by(&ada).await;
    assert_eq!(
        unlink.ok(200)["user"]["sign_in_methods"],
        json!(["password"])
    );
    home.mail("google_unlinked", "1001@gmail.com").await;

    // Another account at Google, by the browser.
    let mut browser = Browser::of(&service);
    let there = browser.start_link("google", &ada).await;
    let query = google.sign_in(&there, "2002").await;
    let linked = browser.come_back("google", &query).await;
    let both = json!(["password", "google"]);
    assert_eq!(linked.ok(200)["user"]["sign_in_methods"], both);
    let third = sign_in(&service, &google, "2002").await;
    assert_eq!(third.ok(200)["user"]["id"], ada.id.to_string());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_gets_a_code_and_a_code_of_the_provider_works_once() {
    let (_home, service, google) = world().await;
    let mut browser = Browser::of(&service);
    let there = start_for_page(&service, &mut browser).await;
    let query = google.sign_in(&there, "3003").await;
    // Over http the cookie has no prefix that https would need.
    let cookies = browser.cookies.clone();
    assert!(cookies.contains_key("oauth"));
    let back = browser.come_back("google", &query).await;
    back.ok(302);
    let code = back.header("location").strip_prefix(PAGE).unwrap();
    let code = code.strip_prefix("?code=").unwrap();
    let body = json!({"code": code});
    let answer = service.post("/auth/oauth/exchange", body.clone()).await;
    assert_eq!(answer.ok(200)["user"]["email"], "3003@gmail.com");
    let again = service.post("/auth/oauth/exchange", body).await;
    again.refused(400, "invalid_code");

    browser.cookies = cookies;
    let again = browser.come_back("google", &query).await;
    again.refused(400, "invalid_state");
    // The code of before, in a sign-in of its own.
    let there = browser.start("google").await;
    let state = state_of(&there);
    let code = query
        .split('&')
        .find(|pair| pair.starts_with("code="))
        .unwrap();
    let issuer = serde_urlencoded::to_string([("iss", google.issuer())]).unwrap();
    let replay = format!("{code}&state={state}&{issuer}");
    let replay = browser.come_back("google", &replay).await;
    replay.refused(400, "invalid_code");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_a_sign_in_that_failed_and_nothing_that_a_terminal_obeys() {
    let (_home, service, _google) = world().await;
    let mut browser = Browser::of(&service);
    let there = browser.start("google").await;
    let state = state_of(&there);
    let words = format!("access_denied%1B%5B2J%0Aforged%20line{}", "x".repeat(3000));
    let query = format!("error={words}&state={state}");
    let answer = browser.come_back("google", &query).await;
    answer.refused(400, "provider_error");
    service.logged("a sign-in by a provider failed").await;
    let log = service.log();
    assert!(log.contains("provider_error") && log.contains("access_denied"));
    assert!(!log.contains(&"x".repeat(100)) && !log.contains(state));
    assert!(!log.lines().any(|line| line.starts_with("forged")));
    assert!(!log.contains('\u{1b}') && !log.contains("\u{1b}[2J"));
    service.stop().await;
}

/// To a page, a failure is a redirect like others.
#[tokio::test(flavor = "multi_thread")]
async fn browsers_that_come_back_are_counted_by_what_became_of_them() {
    let (_home, service, google) = world().await;
    sign_in(&service, &google, "1001").await.ok(200);

    let mut browser = Browser::of(&service);
    let there = start_for_page(&service, &mut browser).await;
    let denied = format!("error=access_denied&state={}", state_of(&there));
    let denied = browser.come_back("google", &denied).await;
    assert_eq!(told_page(&denied)["error"], "provider_error");

    // Nobody said no to that.
    for said in ["server_error", "temporarily_unavailable", "invalid_scope"] {
        let there = start_for_page(&service, &mut browser).await;
        let query = format!("error={said}&state={}", state_of(&there));
        let failed = browser.come_back("google", &query).await;
        assert_eq!(told_page(&failed)["error"], "provider_error");
    }

    for _ in 0..2 {
        let there = start_for_page(&service, &mut browser).await;
        let query = google.sign_in(&there, "unverified1").await;
        let unverified = browser.come_back("google", &query).await;
        assert_eq!(told_page(&unverified)["error"], "email_not_verified");
    }
    let forged = browser.come_back("google", "code=x&state=made-up").await;
    forged.refused(400, "invalid_state");

    let there = start_for_page(&service, &mut browser).await;
    let query = google.sign_in(&there, "1001").await;
    drop(google);
    let silent = browser.come_back("google", &query).await;
    assert_eq!(told_page(&silent)["error"], "provider_error");

    for (outcome, count) in [
        ("succeeded", 1.0),
        ("provider_refused", 1.0),
        ("provider_failed", 1.0),
        ("email_not_verified", 2.0),
        ("invalid_state", 1.0),
        ("provider_unavailable", 3.0),
        ("account_exists", 0.0),
    ] {
        let labels = [("provider", "google"), ("outcome", outcome)];
        numbers(&service, outcome, |numbers| {
            numbers.get("auth_oauth_callbacks_total", &labels) == Some(count)
        })
        .await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_a_page_is_an_error_in_the_log_under_the_id_that_the_page_was_told() {
    let (home, service, google) = world().await;
    let mut browser = Browser::of(&service);
    let there = start_for_page(&service, &mut browser).await;
    let query = google.sign_in(&there, "1001").await;
    sqlx::query("alter table auth_identities rename to auth_identities_gone")
        .execute(&mut home.database().await)
        .await
        .unwrap();
    let answer = browser.come_back("google", &query).await;
    let told = told_page(&answer);
    assert_eq!(told["error"], "internal");
    service.logged("a request failed").await;
    let log = service.log();
    let line = log.lines().find(|line| line.contains("a request failed"));
    let line = line.unwrap();
    assert!(line.contains(" ERROR "), "{line}");
    assert!(line.contains("auth_identities"), "{line}");
    assert!(line.contains(&told["request_id"]), "{line}");
    assert!(!answer.header("location").contains("auth_"), "{answer:?}");
    service.stop().await;
}
