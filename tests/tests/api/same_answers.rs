//! A client cannot tell what is under the endpoints: one long script has the same answers on every kind of store, byte by byte.
//!
//! Clock and randomness are the same too, so ids, times and tokens are compared like everything else.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use auth_core::{ports::Random, time::Duration};
use auth_tests::{Answer, App, Call, Fault, PASSWORD, Person, StoreKind, path_of};
use auth_tower::routes;
use serde_json::{Value, json};

/// What a script must have seen, or it says less than it seems to.
const CODES: [&str; 21] = [
    "current_password_invalid",
    "email_not_verified",
    "email_taken",
    "internal",
    "invalid_api_key",
    "invalid_credentials",
    "invalid_token",
    "malformed_json",
    "method_not_allowed",
    "missing_token",
    "not_found",
    "payload_too_large",
    "rate_limited",
    "session_not_found",
    "token_expired",
    "token_reused",
    "unavailable",
    "unsupported_media_type",
    "user_exists",
    "user_not_found",
    "validation_failed",
];

const NEW_PASSWORD: &str = "another long passphrase";

/// The same bits in each run, and never the same twice in one.
#[derive(Default)]
struct Counted(AtomicU64);

impl Random for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            // Spread over all bytes: some ids take only a few of them.
            let bits = count.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&bits.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// An app, and all that it said so far.
struct Script {
    app: App,
    said: Vec<String>,
    codes: BTreeSet<String>,
}

impl Script {
    async fn ask(&mut self, call: Call) -> Answer {
        let id = format!("request-{}", self.said.len());
        let answer = call.header("x-request-id", id).await;
        let mut headers: Vec<String> = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.sort();
        self.said.push(format!(
            "{}\n{}\n{}\n\n{}",
            answer.what(),
            answer.status,
            headers.join("\n"),
            answer.text()
        ));
        self.codes.insert(answer.code().to_owned());
        answer
    }

    async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.ask(self.app.post(path, body)).await
    }

    async fn logged_in(&mut self, name: &str, password: &str) -> Person {
        let body = json!({"username": name, "password": password});
        let answer = self.post("/auth/login", body).await;
        Person::of(answer.ok(200), password)
    }

    /// A token that arrived by mail, with the whole mail among what was said.
    async fn mailed(&mut self, address: &str) -> String {
        self.app.deliver().await;
        let mail = self.app.mailbox.last_to(address);
        let text = format!(
            "{}\n{}\n{}\n{}",
            mail.to, mail.subject, mail.text, mail.html
        );
        self.said.push(text);
        mail.token().to_owned()
    }
}

/// Registration, verification, logins and what there is to see.
async fn an_account_begins(script: &mut Script) -> Person {
    let register = |name: &str, email: &str, password: &str| json!({"username": name, "email": email, "password": password});
    let new = register("ada", "ada@Example.org", PASSWORD);
    let answer = script.post("/auth/register", new).await;
    let ada = Person::of(answer.ok(201), PASSWORD);
    for (name, email, password) in [
        ("ADA", "other@example.org", PASSWORD),
        ("other", "ada@example.org", PASSWORD),
        ("o", "no address", "short"),
    ] {
        let body = register(name, email, password);
        script.post("/auth/register", body).await.is_problem();
    }
    script.ask(script.app.get("/auth/me").by(&ada)).await;
    let resend = json!({"email": "ada@example.org"});
    script
        .post("/auth/resend-verification", resend.clone())
        .await;
    script.app.clock.advance(Duration::minutes(2));
    script.post("/auth/resend-verification", resend).await;
    let unknown = json!({"email": "nobody@example.org"});
    script.post("/auth/resend-verification", unknown).await;
    let token = script.mailed("ada@example.org").await;
    let link = format!("/auth/verify-email?token={token}");
    script.ask(script.app.call("HEAD", &link)).await;
    let verify = json!({"token": token});
    script.post("/auth/verify-email", verify).await.ok(200);
    script.ask(script.app.get(&link)).await;
    let tampered = json!({"token": format!("{token}x")});
    script.post("/auth/verify-email", tampered).await;
    script
        .ask(script.app.get("/auth/me").by(&ada))
        .await
        .ok(200);

    for (name, password) in [("ada", "a wrong password"), ("nobody", PASSWORD)] {
        let body = json!({"username": name, "password": password});
        script.post("/auth/login", body).await;
    }
    let form = script.app.call("POST", "/auth/login");
    let form = form.form("username=ADA%40example.org&password=correct+horse+battery+staple");
    let form = form.header("user-agent", "Browser/1.0 (of a script)");
    script.ask(form.from("192.0.2.7")).await.ok(200);
    script
        .ask(script.app.get("/auth/sessions").by(&ada))
        .await
        .ok(200);
    ada
}

/// Refreshes, replays, logouts and revocations.
async fn sessions_come_and_go(script: &mut Script, ada: &Person) {
    let refresh = |token: &str| json!({"refresh_token": token});
    let answer = script
        .post("/auth/refresh", refresh(&ada.refresh_token))
        .await;
    let second = Person::of(answer.ok(200), PASSWORD);
    let trade = json!({"token": second.access_token});
    script.post("/auth/refresh", trade).await.ok(200);
    script.post("/auth/refresh", refresh("no such token")).await;
    script
        .post("/auth/refresh", refresh(&second.refresh_token))
        .await
        .ok(200);
    script
        .post("/auth/refresh", refresh(&ada.refresh_token))
        .await;

    let phone = script.logged_in("ada", PASSWORD).await;
    let tablet = script.logged_in("ada", PASSWORD).await;
    let path = format!("/auth/sessions/{}", tablet.session());
    for _ in 0..2 {
        script.ask(script.app.delete(&path).by(&phone)).await;
    }
    let others = script.app.call("POST", "/auth/logout?scope=others");
    script.ask(others.by(&phone)).await;
    let unknown = script.app.call("POST", "/auth/logout?scope=some");
    script.ask(unknown.by(&phone)).await;
    let logout = script.app.call("POST", "/auth/logout");
    script.ask(logout.by(&phone)).await;
    script.ask(script.app.get("/auth/me").by(&phone)).await;

    let laptop = script.logged_in("ada", PASSWORD).await;
    script.app.clock.advance(Duration::hours(2));
    script.ask(script.app.get("/auth/me").by(&laptop)).await;
    let revoke = json!({"token": laptop.refresh_token});
    script.post("/auth/revoke", revoke).await;
    script
        .post("/auth/refresh", refresh(&laptop.refresh_token))
        .await;
    script.post("/auth/revoke", json!({"token": "none"})).await;
}

/// Password and address change, and the mails about it are used, replaced, and too late.
async fn credentials_change(script: &mut Script) {
    let ada = script.logged_in("ada", PASSWORD).await;
    let eve = json!({"username": "eve", "email": "eve@example.org", "password": PASSWORD});
    script.post("/auth/register", eve).await.ok(201);

    let change =
        |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    for (current, new) in [
        ("wrong", NEW_PASSWORD),
        (PASSWORD, "short"),
        (PASSWORD, NEW_PASSWORD),
    ] {
        let call = script
            .app
            .put("/auth/users/change-password", change(current, new));
        script.ask(call.by(&ada)).await;
    }
    for address in ["ada@example.org", "nobody@example.org", "no address"] {
        let body = json!({"email": address});
        script.post("/auth/password-reset-request", body).await;
    }
    let token = script.mailed("ada@example.org").await;
    for password in ["short", PASSWORD, PASSWORD] {
        let body = json!({"token": token, "new_password": password});
        script.post("/update-password", body).await;
    }
    script.app.clock.advance(Duration::minutes(2));
    let again = json!({"email": "ada@example.org"});
    script.post("/auth/password-reset-request", again).await;
    let token = script.mailed("ada@example.org").await;
    script.app.clock.advance(Duration::hours(2));
    let late = json!({"token": token, "new_password": NEW_PASSWORD});
    script
        .post("/update-password", late)
        .await
        .refused(400, "token_expired");

    let ada = script.logged_in("ada", PASSWORD).await;
    for (email, password) in [
        ("new@example.org", "a wrong password"),
        ("eve@example.org", PASSWORD),
        ("no address", PASSWORD),
        ("new@example.org", PASSWORD),
        ("newer@example.org", PASSWORD),
    ] {
        let body = json!({"new_email": email, "current_password": password});
        let call = script.app.put("/auth/users/change-email", body);
        script.ask(call.by(&ada)).await;
    }
    let change = script.mailed("new@example.org").await;
    let cancel = script.mailed("ada@example.org").await;
    for (path, token) in [
        ("/auth/cancel-email-change", &change),
        ("/auth/verify-email", &change),
        ("/auth/cancel-email-change", &cancel),
        ("/auth/verify-email", &change),
    ] {
        script.post(path, json!({"token": token})).await;
    }
}

/// What other services ask, and what was never meant to be asked.
async fn strangers_call(script: &mut Script, ada: &Person) {
    let by_id = format!("/auth/users/{}/email", ada.id);
    let by_email = "/auth/users/by-email/NEW%40example.org";
    for path in [by_id.as_str(), by_email, "/auth/users/x/email"] {
        script.ask(script.app.get(path).by_service()).await;
        script
            .ask(script.app.get(path).header("x-api-key", "no key"))
            .await;
    }
    let nobody = "/auth/users/by-email/nobody%40example.org";
    script.ask(script.app.get(nobody).by_service()).await;
    script.ask(script.app.get("/nothing/here")).await;
    let login = |script: &Script| script.app.call("POST", "/auth/login");
    script.ask(login(script).json("no object")).await;
    script.ask(login(script).raw("username=ada")).await;
    let json = login(script).header("content-type", "application/json");
    script.ask(json.raw(vec![b' '; 1 << 20])).await;
    for route in routes() {
        let path = path_of(&route);
        script
            .ask(script.app.call(route.method.as_str(), &path))
            .await;
        script.ask(script.app.call("PATCH", &path)).await;
        script
            .ask(script.app.post(&path, json!({"surprise": 1})))
            .await;
    }
}

/// The account goes.
async fn an_account_ends(script: &mut Script) {
    let body = json!({"username": "new@example.org", "password": PASSWORD});
    let answer = script.post("/auth/login", body).await;
    let ada = Person::of(answer.ok(200), PASSWORD);
    for fault in [Fault::Backend, Fault::Unavailable] {
        script.app.store.fail(fault);
        script.ask(script.app.get("/auth/me").by(&ada)).await;
        script.ask(script.app.get("/health/ready")).await;
    }
    script.app.store.fail(None);
    for password in ["a wrong password", PASSWORD, PASSWORD] {
        let call = script.app.delete("/auth/users/delete-account");
        let call = call.json(json!({"current_password": password}));
        script.ask(call.by(&ada)).await;
    }
    let body = json!({"username": "ada", "password": PASSWORD});
    script.post("/auth/login", body).await;
}

async fn told_by(store: StoreKind) -> Vec<String> {
    let app = App::with(store, |auth| auth.random(Counted::default())).await;
    let mut script = Script {
        app,
        said: Vec::new(),
        codes: BTreeSet::new(),
    };
    let ada = an_account_begins(&mut script).await;
    sessions_come_and_go(&mut script, &ada).await;
    credentials_change(&mut script).await;
    strangers_call(&mut script, &ada).await;
    an_account_ends(&mut script).await;
    for code in CODES {
        assert!(script.codes.contains(code), "nothing was {code}");
    }
    script.said
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_has_the_same_answers_byte_by_byte() {
    let memory = told_by(StoreKind::Memory).await;
    for store in [StoreKind::Postgres, StoreKind::Sqlite] {
        let told = told_by(store).await;
        assert_eq!(told.len(), memory.len());
        for (told, memory) in told.iter().zip(&memory) {
            assert_eq!(told, memory, "left: {store:?}, right: memory");
        }
    }
}
