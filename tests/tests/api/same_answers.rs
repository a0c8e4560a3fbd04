//! A client cannot tell what is under the endpoints: one long script has the same answers on every kind of store, byte by byte.
//!
//! Clock and randomness are the same too, so ids, times and tokens are compared like everything else.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use auth_core::{ports::Random, time::Duration, types::RedirectUri};
use auth_tests::{
    ALLOWED_PAGE, Answer, App, Call, Fault, PASSWORD, Person, StoreKind, path_of,
    stripe::event,
    stripe_api::{StripeApi, Trouble, declined},
};
use auth_tower::routes;
use serde_json::{Value, json};

/// What a script must have seen, or it says less than it seems to.
const CODES: [&str; 29] = [
    "already_subscribed",
    "current_password_invalid",
    "email_not_verified",
    "email_taken",
    "idempotency_conflict",
    "insufficient_credits",
    "internal",
    "invalid_api_key",
    "invalid_credentials",
    "invalid_signature",
    "invalid_token",
    "malformed_event",
    "malformed_json",
    "method_not_allowed",
    "missing_token",
    "not_found",
    "not_subscribed",
    "payload_too_large",
    "payment_provider_error",
    "rate_limited",
    "session_not_found",
    "token_expired",
    "token_reused",
    "unavailable",
    "unknown_plan",
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

/// Credits are added, used, asked for again, and looked at page by page.
async fn credits_move(script: &mut Script, ada: &Person) {
    let movement = |amount: &str, reference: Option<&str>| json!({"user_id": ada.id.to_string(), "amount": amount, "reference_id": reference, "description": "As agreed"});
    for (path, amount, reference, key) in [
        ("/credits/use", "1.00", None, "key-1"),
        ("/credits/add", "12.5", None, "key-1"),
        ("/credits/add", "12.50", None, "key-1"),
        ("/credits/add", "12.51", None, "key-1"),
        ("/credits/add", "0.01", Some("order-1"), "key-2"),
        ("/credits/add", "0.01", Some("order-1"), "key-3"),
        ("/credits/add", "0.02", Some("order-1"), "key-4"),
        ("/credits/use", "12.00", Some("order-1"), "key-5"),
        ("/credits/use", "12.00", None, "key-6"),
        ("/credits/use", "-1", None, "key-7"),
    ] {
        let mut body = movement(amount, reference);
        if reference.is_none() {
            body.as_object_mut().unwrap().remove("reference_id");
        }
        let call = script.app.post(path, body).header("idempotency-key", key);
        script.ask(call.by_service()).await;
    }
    let nobody = json!({"user_id": "0197f1f0-0000-7000-8000-000000000000", "amount": "1.00"});
    script
        .ask(script.app.post("/credits/add", nobody).by_service())
        .await;
    let mut query = "&limit=2".to_owned();
    for _ in 0..2 {
        let path = format!("/credits/transactions?user_id={}{query}", ada.id);
        let page = script.ask(script.app.get(&path).by_service()).await;
        if let Some(cursor) = page.ok(200)["next_cursor"].as_str() {
            query = format!("&limit=2&cursor={cursor}");
        }
    }
    for query in ["&type=credit_used", "&limit=201", "&cursor=x", "&type=x"] {
        let path = format!("/credits/transactions?user_id={}{query}", ada.id);
        script.ask(script.app.get(&path).by_service()).await;
    }
    let path = format!("/credits/balance?user_id={}", ada.id);
    script.ask(script.app.get(&path).by_service()).await.ok(200);
}

/// Something is bought, a subscription begins, changes and ends, and Stripe tells of it.
#[allow(clippy::too_many_lines)] // one script
async fn payments_are_made(script: &mut Script, stripe: &StripeApi, ada: &Person) {
    let user = ada.id.to_string();
    let call = |script: &Script, path: &str, mut body: Value| {
        body["user_id"] = json!(user);
        script.app.post(path, body).by_service()
    };
    let page = |item: &str, name: &str| json!({item: name, "success_url": ALLOWED_PAGE, "cancel_url": ALLOWED_PAGE});
    let methods = format!("/stripe/payment-methods?user_id={user}");
    for (path, body) in [
        ("/stripe/create-checkout-session", page("plan", "nothing")),
        ("/stripe/create-checkout-session", page("plan", "basic")),
        (
            "/stripe/create-checkout-session",
            page("credit_pack", "small"),
        ),
        (
            "/stripe/create-checkout-session",
            json!({"plan": "basic", "success_url": "https://example.com", "cancel_url": 1}),
        ),
        ("/stripe/change-subscription", json!({"plan": "basic"})),
        ("/stripe/cancel-subscription", json!({})),
        ("/stripe/create-subscription", json!({"plan": "basic"})),
        ("/stripe/create-subscription", json!({"plan": "basic"})),
    ] {
        let call = call(script, path, body);
        script.ask(call).await;
    }
    script.ask(script.app.get(&methods).by_service()).await;
    for (trouble, times) in [(Trouble::Busy, 3), (Trouble::Say(402, declined()), 1)] {
        (0..times).for_each(|_| stripe.trouble("POST /v1/setup_intents", trouble.clone()));
        let call = call(script, "/stripe/setup-intent", json!({}));
        script.ask(call).await;
    }
    for key in ["attempt-1", "attempt-1", "attempt-2"] {
        let call = call(script, "/stripe/setup-intent", json!({}));
        script
            .ask(call.header("idempotency-key", key))
            .await
            .ok(200);
    }
    let customer = stripe.asked("POST /v1/setup_intents").pop().unwrap();
    let card = stripe.attach_card(customer.form["customer"].as_str().unwrap(), true);
    script
        .ask(script.app.get(&methods).by_service())
        .await
        .ok(200);
    let body = json!({"plan": "professional", "payment_method_id": card});
    let asked = call(script, "/stripe/create-subscription", body);
    let begun = script.ask(asked).await;
    let subscription = begun.ok(200)["subscription_id"].as_str().unwrap();
    for (path, body) in [
        ("/stripe/create-subscription", json!({"plan": "basic"})),
        ("/stripe/change-subscription", json!({"plan": "basic"})),
        (
            "/stripe/change-subscription",
            json!({"plan": "professional"}),
        ),
        ("/stripe/cancel-subscription", json!({})),
    ] {
        let call = call(script, path, body);
        script.ask(call).await;
    }
    let paid = json!({
        "id": "cs_1", "mode": "payment", "payment_status": "paid", "payment_intent": "pi_1", "metadata": {"user_id": user, "item": "small"},
        "amount_total": 900, "currency": "eur",
    });
    let refund =
        json!({"id": "ch_1", "payment_intent": "pi_1", "amount": 900, "amount_refunded": 300});
    let strange = json!({"id": "cs_2", "mode": "payment", "payment_status": "paid", "metadata": {"user_id": user, "item": "x"}});
    let completed = "checkout.session.completed";
    let invoice = stripe.invoice_of(subscription);
    let ending = stripe.subscription(subscription);
    for (id, kind, object) in [
        ("evt_1", "charge.refunded", &refund),
        ("evt_2", completed, &paid),
        ("evt_2", completed, &paid),
        ("evt_3", completed, &strange),
        ("evt_4", "invoice.paid", &invoice),
        ("evt_5", "customer.subscription.updated", &ending),
    ] {
        let event = event(id, kind, script.app.seconds(), object);
        script.ask(script.app.delivery(&event)).await.ok(200);
    }
    let now = json!({"at_period_end": false});
    let now = call(script, "/stripe/cancel-subscription", now);
    script.ask(now).await.ok(200);
    let ended = stripe.subscription(subscription);
    let kind = "customer.subscription.deleted";
    let ended = event("evt_6", kind, script.app.seconds(), &ended);
    script.ask(script.app.delivery(&ended)).await.ok(200);
    script.ask(script.app.signed_delivery("{}")).await;
    let unsigned = script.app.call("POST", "/stripe/webhook").raw("{}");
    script.ask(unsigned).await;
    let path = format!("/credits/transactions?user_id={user}");
    script.ask(script.app.get(&path).by_service()).await.ok(200);
    script.app.deliver().await;
    for mail in script.app.mailbox.to(&ada.email) {
        script
            .said
            .push(format!("{}\n{}\n{}", mail.subject, mail.text, mail.html));
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
    let app = App::with(store, |auth| {
        auth.random(Counted::default())
            .allowed_redirects([RedirectUri::parse(ALLOWED_PAGE).unwrap()])
    })
    .await;
    let stripe = StripeApi::start(app.clock.clone()).await;
    let app = app.sold_by(&stripe);
    let mut script = Script {
        app,
        said: Vec::new(),
        codes: BTreeSet::new(),
    };
    let ada = an_account_begins(&mut script).await;
    sessions_come_and_go(&mut script, &ada).await;
    credits_move(&mut script, &ada).await;
    payments_are_made(&mut script, &stripe, &ada).await;
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
