use auth_core::{time::Duration, types::Client};
use auth_tests::{Person, StoreKind, at_once, signing_keys};
use serde_json::json;

use super::{World, claims};

auth_tests::on_each_store! {
    a_page_gets_a_code_and_trades_it_once
    of_exchanges_at_once_one_logs_in
    a_code_lives_one_minute
    a_code_of_an_account_that_changed_is_refused
    what_is_no_code_is_refused
    a_code_with_a_challenge_is_traded_by_its_page_alone
    a_verifier_without_a_challenge_is_refused
}

const PAGE: &str = "https://app.example.org/welcome";

impl World {
    /// A code for a page of the host, at the end of a sign-in.
    async fn code(&self, subject: &str) -> String {
        self.code_by(subject, "").await
    }

    /// As [`code`](Self::code), with more in the query of the login.
    async fn code_by(&self, subject: &str, more: &str) -> String {
        let mut browser = self.browser();
        let path = format!("/auth/oauth/google/login?mode=json&redirect_to={PAGE}{more}");
        let begun = browser.send(self.app.get(&path)).await;
        let there = begun.ok(200)["authorization_url"].as_str().unwrap();
        let query = self.google.agree(there, claims(subject));
        let answer = browser.come_back("google", &query).await;
        answer.ok(302);
        let (page, code) = answer.header("location").split_once("?code=").unwrap();
        assert_eq!(page, PAGE);
        code.to_owned()
    }
}

async fn a_page_gets_a_code_and_trades_it_once(store: StoreKind) {
    let world = World::on(store).await;
    let code = world.code("ada").await;
    // No token is in an address, and no session is open before somebody has one.
    assert!(!code.starts_with("ey"));
    let body = json!({"code": code});
    let answer = world.app.post("/auth/oauth/exchange", body.clone()).await;
    let ada = Person::of(answer.ok(200), "");
    assert_eq!(answer.json["user"]["sign_in_methods"], json!(["google"]));
    world.app.get("/auth/me").by(&ada).await.ok(200);
    let sessions = world.app.get("/auth/sessions").by(&ada).await;
    assert_eq!(sessions.ok(200)["sessions"].as_array().unwrap().len(), 1);

    let replica = world.app.replica(signing_keys(), |auth| auth).await;
    for app in [&world.app, &replica] {
        let again = app.post("/auth/oauth/exchange", body.clone()).await;
        again.refused(400, "invalid_code");
    }
}

async fn of_exchanges_at_once_one_logs_in(store: StoreKind) {
    let world = World::on(store).await;
    let replica = world.app.replica(signing_keys(), |auth| auth).await;
    let body = json!({"code": world.code("ada").await});
    let calls = (0..6).map(|number| {
        let app = if number % 2 == 0 {
            &world.app
        } else {
            &replica
        };
        app.post("/auth/oauth/exchange", body.clone())
    });
    let answers = at_once(calls).await;
    let mut opened = 0;
    for answer in &answers {
        if answer.status == 200 {
            opened += 1;
        } else {
            answer.refused(400, "invalid_code");
        }
    }
    assert_eq!(opened, 1, "{answers:?}");
}

async fn a_code_lives_one_minute(store: StoreKind) {
    let world = World::on(store).await;
    for (seconds, good) in [(58, true), (60, false)] {
        let body = json!({"code": world.code("ada").await});
        world.app.clock.advance(Duration::seconds(seconds));
        let answer = world.app.post("/auth/oauth/exchange", body).await;
        if good {
            answer.ok(200);
        } else {
            answer.refused(400, "invalid_code");
        }
    }
}

async fn a_code_of_an_account_that_changed_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.arrived("ada").await;
    let before = world.code("ada").await;
    let token = world.app.reset_token("ada@example.org").await;
    let body = json!({"token": token, "new_password": "another long passphrase"});
    world.app.post("/update-password", body).await.ok(200);
    let disabled = world.code("ada").await;
    let client = Client::default();
    let off = world.app.auth.set_disabled(ada.id, true, &client);
    off.await.unwrap();
    for code in [before, disabled] {
        let answer = world
            .app
            .post("/auth/oauth/exchange", json!({"code": code}));
        answer.await.refused(400, "invalid_code");
    }
}

async fn what_is_no_code_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    browser.start("google").await;
    let binding = browser.cookies["__Host-oauth"].clone();
    let good = world.code("ada").await;
    for code in [
        String::new(),
        "code".to_owned(),
        "ä".to_owned(),
        binding,
        good[1..].to_owned(),
        format!("{good}A"),
    ] {
        let answer = world
            .app
            .post("/auth/oauth/exchange", json!({"code": code}));
        answer.await.refused(400, "invalid_code");
    }
    let none = world.app.post("/auth/oauth/exchange", json!({})).await;
    none.refused(422, "validation_failed");
    let body = json!({"code": good});
    world.app.post("/auth/oauth/exchange", body).await.ok(200);
}

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The attacker's code in the victim's page, or the victim's in the attacker's.
async fn a_code_with_a_challenge_is_traded_by_its_page_alone(store: StoreKind) {
    let world = World::on(store).await;
    let code = world
        .code_by(
            "ada",
            &format!("&code_challenge={CHALLENGE}&code_challenge_method=S256"),
        )
        .await;
    for body in [
        json!({"code": code}),
        json!({"code": code, "code_verifier": ""}),
        json!({"code": code, "code_verifier": CHALLENGE}),
        json!({"code": code, "code_verifier": "a verifier of another page, of another sign-in"}),
    ] {
        let answer = world.app.post("/auth/oauth/exchange", body).await;
        answer.refused(400, "invalid_code");
    }
    let body = json!({"code": code, "code_verifier": VERIFIER});
    let exchange = || world.app.post("/auth/oauth/exchange", body.clone());
    exchange().await.ok(200);
    exchange().await.refused(400, "invalid_code");
    for challenge in ["", "plain", VERIFIER.get(1..).unwrap()] {
        let path = format!("/auth/oauth/google/login?code_challenge={challenge}");
        let answer = world.app.get(&path).await;
        answer.refused(422, "validation_failed");
        assert_eq!(
            answer.faults(),
            [("code_challenge", "invalid_code_challenge")]
        );
    }
    let plain = format!("code_challenge={CHALLENGE}&code_challenge_method=plain");
    let path = format!("/auth/oauth/google/login?{plain}");
    let answer = world.app.get(&path).await;
    answer.refused(422, "validation_failed");
    assert_eq!(
        answer.faults(),
        [("code_challenge_method", "invalid_code_challenge_method")]
    );
}

/// Somebody took the challenge of the page away (RFC 9700 §2.1.1).
async fn a_verifier_without_a_challenge_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let body = json!({"code": world.code("ada").await, "code_verifier": VERIFIER});
    let answer = world.app.post("/auth/oauth/exchange", body).await;
    answer.refused(400, "invalid_code");
}
