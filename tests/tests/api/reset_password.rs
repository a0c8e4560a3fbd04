use auth_core::{time::Duration, types::Client};
use auth_tests::{App, PASSWORD, Person, SECRET, StoreKind, at_once, forge};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    a_mailed_token_sets_a_new_password
    a_request_says_nothing_of_what_exists
    one_mail_a_minute_and_five_an_hour
    requests_at_once_mail_one_link
    a_used_token_is_refused
    a_token_lives_an_hour
    a_tampered_token_is_refused
    a_token_of_another_kind_is_refused
    a_foreign_token_is_refused
    nothing_is_reset_without_the_mailed_token
    a_weak_password_does_not_use_up_the_token
    of_redemptions_at_once_one_is_done
    every_session_and_every_mailed_token_ends
    a_squatted_account_is_its_owners_after_a_reset
    a_disabled_account_is_not_reset
    a_token_does_not_outlive_a_changed_address
}

const NEW: &str = "another long passphrase";

fn request(app: &App, email: &str) -> auth_tests::Call {
    app.post("/auth/password-reset-request", json!({"email": email}))
}

fn reset(app: &App, token: &str, password: &str) -> auth_tests::Call {
    app.post(
        "/update-password",
        json!({"token": token, "new_password": password}),
    )
}

fn login(app: &App, name: &str, password: &str) -> auth_tests::Call {
    app.post(
        "/auth/login",
        json!({"username": name, "password": password}),
    )
}

async fn a_mailed_token_sets_a_new_password(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let answer = request(&app, "ADA@Example.org").await;
    assert!(answer.ok(200)["message"].is_string());
    let mails = app.mails_to("ada@example.org").await;
    let mail = mails.last().unwrap();
    assert_eq!(mail.template, "password_reset");
    assert!(
        mail.link()
            .starts_with("https://app.example.org/update-password?token=")
    );

    let answer = reset(&app, mail.token(), NEW).await;
    let json = answer.ok(200);
    assert_eq!(json.as_object().unwrap().len(), 1, "no session: {json}");
    assert!(json["message"].is_string());
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "password_reset", "password_changed"]);
    login(&app, "ada", PASSWORD)
        .await
        .refused(401, "invalid_credentials");
    login(&app, "ada", NEW).await.ok(200);
    let log = app.audit(ada.id).await;
    assert_eq!(
        log[2..],
        [
            "password_reset_requested",
            "password_reset",
            "login_failed",
            "login_succeeded"
        ]
    );
}

async fn a_request_says_nothing_of_what_exists(store: StoreKind) {
    for protection in [false, true] {
        let app = App::with(store, |auth| auth.enumeration_protection(protection)).await;
        let body = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
        let answer = app.post("/auth/register", body).await;
        assert!(answer.status < 300);
        let mut seen = Vec::new();
        for email in [
            "ada@example.org",
            "ada@example.org", // throttled by now
            "nobody@example.org",
            "somebody@no-such-domain.example",
        ] {
            let answer = request(&app, email).header("x-request-id", "same").await;
            answer.ok(200);
            seen.push((answer.bytes.clone(), answer.headers.clone()));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{seen:?}");
        // The welcome mail and one link.
        assert_eq!(app.deliver().await, 2);
    }
}

async fn one_mail_a_minute_and_five_an_hour(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    let count = async || {
        let mails = app.mails_to("ada@example.org").await;
        mails
            .iter()
            .filter(|mail| mail.template == "password_reset")
            .count()
    };
    // In any letter case: it is one address.
    for email in ["ada@example.org", "Ada@example.org", "ADA@EXAMPLE.ORG"] {
        request(&app, email).await.ok(200);
    }
    assert_eq!(count().await, 1);
    app.clock.advance(Duration::seconds(58));
    request(&app, "ada@example.org").await.ok(200);
    assert_eq!(count().await, 1);
    for expected in [2, 3, 4, 5, 5, 5] {
        app.clock.advance(Duration::seconds(61));
        request(&app, "ada@example.org").await.ok(200);
        assert_eq!(count().await, expected);
    }
    // A success in between does not open the way for more.
    let token = app.mailbox.last_to("ada@example.org").token().to_owned();
    reset(&app, &token, NEW).await.ok(200);
    app.clock.advance(Duration::seconds(61));
    request(&app, "ada@example.org").await.ok(200);
    assert_eq!(count().await, 5);
    // The first one falls out of the hour.
    app.clock.advance(Duration::minutes(53));
    request(&app, "ada@example.org").await.ok(200);
    assert_eq!(count().await, 6);
}

async fn requests_at_once_mail_one_link(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    for answer in at_once((0..8).map(|_| request(&app, "ada@example.org"))).await {
        answer.ok(200);
    }
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "password_reset"]);
}

/// Refuses without a trace.
async fn is_refused(app: &App, ada: &Person, token: &str, code: &str) {
    let state = app.state_of(ada).await;
    let answer = reset(app, token, NEW).await;
    answer.refused(400, code);
    assert!(
        !answer.headers.contains_key("www-authenticate"),
        "{answer:?}"
    );
    assert_eq!(app.state_of(ada).await, state);
}

async fn a_used_token_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let token = app.reset_token("ada@example.org").await;
    reset(&app, &token, NEW).await.ok(200);
    is_refused(&app, &ada, &token, "invalid_token").await;
    app.clock.advance(Duration::HOUR);
    is_refused(&app, &ada, &token, "token_expired").await;
}

async fn a_token_lives_an_hour(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let token = app.reset_token("ada@example.org").await;
    app.clock.advance(Duration::HOUR);
    is_refused(&app, &ada, &token, "token_expired").await;
    let token = app.reset_token("ada@example.org").await;
    app.clock.advance(Duration::HOUR - Duration::SECOND);
    reset(&app, &token, NEW).await.ok(200);
}

async fn a_tampered_token_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.verified("eve").await);
    let token = app.reset_token("eve@example.org").await;
    let (header, claims) = (forge::header(&token), forge::claims(&token));
    let message = token.rsplit_once('.').unwrap().0;
    let set = |name: &str, value: Value| forge::set(&claims, name, value);
    for forged in [
        forge::with_claims(&token, &set("sub", json!(ada.id.to_string()))),
        forge::with_claims(&token, &set("exp", json!(4_000_000_000_i64))),
        forge::signed(&header, &set("sub", json!(ada.id.to_string())), SECRET),
        forge::signed(&header, &claims, SECRET),
        format!(
            "{}.",
            forge::message(&forge::set(&header, "alg", "none"), &claims)
        ),
        message.to_owned(),
        token[..token.len() - 2].to_owned(),
        token.to_uppercase(),
        claims["jti"].as_str().unwrap().to_owned(),
        String::new(),
    ] {
        is_refused(&app, &ada, &forged, "invalid_token").await;
        is_refused(&app, &eve, &forged, "invalid_token").await;
    }
    reset(&app, &token, NEW).await.ok(200);
    login(&app, "ada", PASSWORD).await.ok(200);
}

async fn a_token_of_another_kind_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let eve = app.registered("eve").await;
    let verification = app.mailed_token("eve@example.org").await;
    is_refused(&app, &eve, &verification, "invalid_token").await;
    let ada = app.verified("ada").await;
    let (change, cancel) = app.email_change_tokens(&ada, "new@example.org").await;
    for token in [&change, &cancel, &ada.access_token, &ada.refresh_token] {
        is_refused(&app, &ada, token, "invalid_token").await;
    }
    // They are unused.
    for (path, token) in [
        ("/auth/verify-email", &verification),
        ("/auth/verify-email", &change),
    ] {
        app.post(path, json!({"token": token})).await.ok(200);
    }
}

async fn a_foreign_token_is_refused(store: StoreKind) {
    let (app, other) = (App::on(store).await, App::on(store).await);
    let ada = app.verified("ada").await;
    other.verified("ada").await;
    let token = other.reset_token("ada@example.org").await;
    is_refused(&app, &ada, &token, "invalid_token").await;
    reset(&other, &token, NEW).await.ok(200);
}

async fn nothing_is_reset_without_the_mailed_token(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let token = app.reset_token("ada@example.org").await;
    let state = app.state_of(&ada).await;
    for body in [
        json!({"new_password": NEW}),
        json!({"token": null, "new_password": NEW}),
        json!({"token": [token], "new_password": NEW}),
        json!({"token": token, "new_password": NEW, "user_id": ada.id.to_string()}),
        json!({"email": "ada@example.org", "new_password": NEW}),
        json!({"user_id": ada.id.to_string(), "new_password": NEW}),
    ] {
        for call in [
            app.post("/update-password", body.clone()),
            app.post("/update-password", body.clone()).by(&ada),
        ] {
            call.await.refused(422, "validation_failed");
        }
    }
    let answer = app.get(&format!("/update-password?token={token}")).await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(app.state_of(&ada).await, state);
    login(&app, "ada", PASSWORD).await.ok(200);
}

async fn a_weak_password_does_not_use_up_the_token(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada.l").await;
    let token = app.reset_token("ada.l@example.org").await;
    let state = app.state_of(&ada).await;
    for (password, code) in [
        ("1234567", "too_short"),
        ("password123", "too_common"),
        ("I am Ada.L, really", "contains_identity"),
        ("write to ADA.L@example.org", "contains_identity"),
        ("with\0nul-inside", "invalid_characters"),
        (&"x".repeat(129), "too_long"),
    ] {
        let answer = reset(&app, &token, password).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [("new_password", code)]);
        assert!(!answer.text().contains(password), "{answer:?}");
    }
    assert_eq!(app.state_of(&ada).await, state);
    reset(&app, &token, NEW).await.ok(200);
    // Nobody learns whose a bad token is by the password.
    let answer = reset(&app, &token, "I am Ada.L, really").await;
    answer.refused(400, "invalid_token");
}

async fn of_redemptions_at_once_one_is_done(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let token = app.reset_token("ada@example.org").await;
    let passwords: Vec<_> = (0..6).map(|index| format!("{NEW} {index}")).collect();
    let calls = passwords
        .iter()
        .map(|password| reset(&app, &token, password));
    let answers = at_once(calls).await;
    let mut done = Vec::new();
    for (answer, password) in answers.iter().zip(&passwords) {
        if answer.status == 200 {
            done.push(password);
        } else {
            answer.refused(400, "invalid_token");
        }
    }
    assert_eq!(done.len(), 1);
    for password in &passwords {
        let answer = login(&app, "ada", password).await;
        assert_eq!(answer.status == 200, password == done[0]);
    }
    let log = app.audit(ada.id).await;
    let resets = log.iter().filter(|event| **event == "password_reset");
    assert_eq!(resets.count(), 1);
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "password_reset", "password_changed"]);
}

async fn every_session_and_every_mailed_token_ends(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let phone = app.logged_in(&ada).await;
    let first = app.reset_token("ada@example.org").await;
    app.clock.advance(Duration::minutes(2));
    let second = app.reset_token("ada@example.org").await;
    let (change, cancel) = app.email_change_tokens(&ada, "new@example.org").await;
    reset(&app, &second, NEW).await.ok(200);

    for person in [&ada, &phone] {
        app.get("/auth/me")
            .by(person)
            .await
            .refused(401, "invalid_token");
        let body = json!({"refresh_token": person.refresh_token});
        let answer = app.post("/auth/refresh", body).await;
        answer.refused(401, "invalid_token");
    }
    is_refused(&app, &ada, &first, "invalid_token").await;
    for (path, token) in [
        ("/auth/verify-email", change),
        ("/auth/cancel-email-change", cancel),
    ] {
        let answer = app.post(path, json!({"token": token})).await;
        answer.refused(400, "invalid_token");
    }
    let answer = login(&app, "ada", NEW).await;
    assert_eq!(answer.ok(200)["user"]["email"], "ada@example.org");
}

async fn a_squatted_account_is_its_owners_after_a_reset(store: StoreKind) {
    let app = App::on(store).await;
    // An attacker registers the address of somebody else, logs in everywhere, and waits.
    let attacker = app.registered("victim").await;
    let more = app.logged_in(&attacker).await;
    app.clock.advance(Duration::minutes(2));
    let body = json!({"email": "victim@example.org"});
    app.post("/auth/resend-verification", body).await.ok(200);

    // Its owner finds it taken, and resets the password.
    let token = app.reset_token("victim@example.org").await;
    reset(&app, &token, NEW).await.ok(200);
    let answer = login(&app, "victim@example.org", NEW).await;
    let owner = Person::of(answer.ok(200), NEW);
    assert_eq!(answer.json["user"]["is_verified"], true);
    app.get("/auth/me").by(&owner).await.ok(200);

    for person in [&attacker, &more] {
        app.get("/auth/me")
            .by(person)
            .await
            .refused(401, "invalid_token");
        let body = json!({"refresh_token": person.refresh_token});
        let answer = app.post("/auth/refresh", body).await;
        answer.refused(401, "invalid_token");
        let answer = app
            .post("/auth/refresh", json!({"token": person.access_token}))
            .await;
        answer.refused(401, "invalid_token");
    }
    login(&app, "victim", PASSWORD)
        .await
        .refused(401, "invalid_credentials");
    for mail in app.mails_to("victim@example.org").await {
        if matches!(mail.template, "welcome" | "verify_email") {
            let body = json!({"token": mail.token()});
            let answer = app.post("/auth/verify-email", body).await;
            answer.refused(400, "invalid_token");
        }
    }
}

async fn a_disabled_account_is_not_reset(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let token = app.reset_token("ada@example.org").await;
    let client = Client::default();
    app.auth.set_disabled(ada.id, true, &client).await.unwrap();
    is_refused(&app, &ada, &token, "invalid_token").await;
    app.clock.advance(Duration::minutes(2));
    request(&app, "ada@example.org").await.ok(200);
    assert_eq!(app.deliver().await, 0);
    app.auth.set_disabled(ada.id, false, &client).await.unwrap();
    is_refused(&app, &ada, &token, "invalid_token").await;
    login(&app, "ada", PASSWORD).await.ok(200);
}

async fn a_token_does_not_outlive_a_changed_address(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (change, _) = app.email_change_tokens(&ada, "new@example.org").await;
    let token = app.reset_token("ada@example.org").await;
    app.post("/auth/verify-email", json!({"token": change}))
        .await
        .ok(200);
    is_refused(&app, &ada, &token, "invalid_token").await;
    // Nor is a new one sent to the old address.
    app.clock.advance(Duration::minutes(2));
    request(&app, "ada@example.org").await.ok(200);
    assert_eq!(app.deliver().await, 0);
}
