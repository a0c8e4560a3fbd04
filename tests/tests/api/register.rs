use std::collections::BTreeSet;

use auth_core::{ports::UserStore, types::AccountKey};
use auth_tests::{App, PASSWORD, Person, SECRET, StoreKind, at_once, email_of, forge};
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    a_registration_opens_a_session_and_mails_a_link
    an_access_token_says_what_rfc_9068_asks_for
    a_taken_username_is_refused_in_any_case
    a_taken_address_is_refused_in_any_case
    an_address_that_is_only_pending_elsewhere_is_free
    fields_that_break_the_rules_are_refused_together
    nobody_makes_himself_administrator
    odd_passwords_that_keep_the_rules_are_taken
    of_registrations_of_one_name_at_once_one_wins
    links_never_come_from_the_request
    an_accounts_address_is_kept_in_its_canonical_form
    with_enumeration_protection_every_registration_looks_the_same
    a_protected_registration_tells_the_owner_of_the_address
    mails_about_an_existing_account_are_throttled
}

fn registration(username: &str, email: &str, password: &str) -> Value {
    json!({"username": username, "email": email, "password": password})
}

async fn a_registration_opens_a_session_and_mails_a_link(store: StoreKind) {
    let app = App::on(store).await;
    let body = registration("Ada", "ada@example.org", PASSWORD);
    let answer = app.post("/auth/register", body).await;
    let json = answer.ok(201);

    let members: BTreeSet<_> = json.as_object().unwrap().keys().cloned().collect();
    let expected = [
        "access_token",
        "expires_in",
        "refresh_expires_in",
        "refresh_token",
        "token_type",
        "user",
    ];
    assert_eq!(members, expected.map(str::to_owned).into());
    assert_eq!(json["token_type"], "bearer");
    assert_eq!(json["expires_in"], 3600);
    assert_eq!(json["refresh_expires_in"], 14 * 24 * 3600);
    let person = Person::of(json, PASSWORD);
    assert_eq!(
        json["user"],
        json!({
            "id": person.id.to_string(),
            "username": "Ada",
            "email": "ada@example.org",
            "is_verified": false,
            "is_admin": false,
            "created_at": "2026-01-01T00:00:00.123457Z",
            "updated_at": "2026-01-01T00:00:00.123457Z",
            "sign_in_methods": ["password"],
        })
    );
    assert_eq!(person.id.as_uuid().get_version_num(), 7);
    // 256 bits in base64url.
    assert_eq!(person.refresh_token.len(), 43);

    let mails = app.mails_to("ada@example.org").await;
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].template, "welcome");
    let link = mails[0].link();
    assert!(
        link.starts_with("https://app.example.org/verify-email?token=ey"),
        "{link}"
    );
    assert_eq!(app.audit(person.id).await, ["registered"]);
    // The session is open; the address is not proven.
    let me = app.get("/auth/me").by(&person).await;
    me.refused(403, "email_not_verified");
}

async fn an_access_token_says_what_rfc_9068_asks_for(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let header = forge::header(&ada.access_token);
    assert_eq!(
        (&header["typ"], &header["alg"]),
        (&json!("at+jwt"), &json!("HS256"))
    );
    assert!(header["kid"].is_string(), "{header}");

    // Any library can check it with the bytes of the secret.
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_audience(&["auth-tower"]);
    validation.set_issuer(&["auth-tower"]);
    validation.validate_exp = false; // by the test's clock it is good
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let claims = decode::<Value>(&ada.access_token, &key, &validation);
    let mut claims = claims.unwrap().claims;

    let jti = claims["jti"].take();
    assert!(jti.as_str().unwrap().len() >= 22, "{jti}");
    assert_eq!(
        claims,
        json!({
            "iss": "auth-tower",
            "aud": "auth-tower",
            "sub": ada.id.to_string(),
            "sid": ada.session().to_string(),
            "jti": null,
            "iat": 1_767_225_600,
            "nbf": 1_767_225_600,
            "exp": 1_767_225_600 + 3600,
            "username": "ada",
            "is_admin": false,
            "email_verified": false,
        })
    );
    let again = app.logged_in(&ada).await;
    assert_ne!(forge::claims(&again.access_token)["jti"], jti);
    assert_ne!(again.session(), ada.session());
}

async fn a_taken_username_is_refused_in_any_case(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let before = app.state_of(&ada).await;
    for username in ["ada", "ADA", "aDa"] {
        let body = registration(username, "other@example.org", PASSWORD);
        let answer = app.post("/auth/register", body).await;
        answer.refused(409, "user_exists");
        assert_eq!(answer.faults(), [("username", "taken")]);
    }
    assert_eq!(app.state_of(&ada).await, before);
    assert!(app.mails_to("other@example.org").await.is_empty());
    let body = registration("other", "other@example.org", PASSWORD);
    app.post("/auth/register", body).await.ok(201);
}

async fn a_taken_address_is_refused_in_any_case(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await; // not verified, and taken all the same
    app.deliver().await;
    let before = app.state_of(&ada).await;
    for email in ["ada@example.org", "ADA@example.org", "ada@EXAMPLE.ORG"] {
        let body = registration("other", email, PASSWORD);
        let answer = app.post("/auth/register", body).await;
        answer.refused(409, "user_exists");
        assert_eq!(answer.faults(), [("email", "taken")]);
    }
    assert_eq!(app.state_of(&ada).await, before);
    assert_eq!(app.templates_to("ada@example.org").await, ["welcome"]);
    let body = registration("other", "jörg@example.org", PASSWORD);
    app.post("/auth/register", body).await.ok(201);
    // Letters beyond ASCII, and written as two code points.
    for email in ["JÖRG@example.org", "Jo\u{308}rg@example.org"] {
        let body = registration("third", email, PASSWORD);
        let answer = app.post("/auth/register", body).await;
        answer.refused(409, "user_exists");
        assert_eq!(answer.faults(), [("email", "taken")]);
    }
}

async fn an_address_that_is_only_pending_elsewhere_is_free(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (change, _) = app.email_change_tokens(&ada, "wanted@example.org").await;

    let body = registration("owner", "wanted@example.org", PASSWORD);
    app.post("/auth/register", body).await.ok(201);
    let link = app
        .post("/auth/verify-email", json!({"token": change}))
        .await;
    link.refused(409, "email_taken");
    let me = app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200)["email"], "ada@example.org");
}

async fn fields_that_break_the_rules_are_refused_together(store: StoreKind) {
    let app = App::on(store).await;
    let long = |c: &str, n: usize| c.repeat(n);
    let address = |local: usize| format!("{}@example.org", "a".repeat(local));
    for (field, value, code) in [
        ("username", String::new(), "invalid_length"),
        ("username", "ab".to_owned(), "invalid_length"),
        ("username", long("a", 33), "invalid_length"),
        ("username", "a b c".to_owned(), "invalid_characters"),
        (
            "username",
            "ada@example.org".to_owned(),
            "invalid_characters",
        ),
        ("username", "ad\u{430}m".to_owned(), "invalid_characters"),
        ("username", "ada\0".to_owned(), "invalid_characters"),
        (
            "username",
            "ada\r\nBcc: eve".to_owned(),
            "invalid_characters",
        ),
        ("email", String::new(), "invalid_email"),
        ("email", "ada".to_owned(), "invalid_email"),
        ("email", "ada@localhost".to_owned(), "invalid_email"),
        ("email", " ada@example.org".to_owned(), "invalid_email"),
        (
            "email",
            "ada@example.org\r\nBcc: eve@example.org".to_owned(),
            "invalid_email",
        ),
        ("email", "ada@a@example.org".to_owned(), "invalid_email"),
        ("email", "ada\0@example.org".to_owned(), "invalid_email"),
        (
            "email",
            "ad\u{200b}a@example.org".to_owned(),
            "invalid_email",
        ),
        ("email", "Ada <ada@example.org>".to_owned(), "invalid_email"),
        ("email", address(300), "invalid_email"),
        ("password", String::new(), "too_short"),
        ("password", "1234567".to_owned(), "too_short"),
        ("password", "äöüÄÖÜß".to_owned(), "too_short"),
        ("password", long("ż", 129), "too_long"),
        (
            "password",
            "with\0nul-in-it".to_owned(),
            "invalid_characters",
        ),
        ("password", "password123".to_owned(), "too_common"),
        ("password", "PASSWORD123".to_owned(), "too_common"),
        (
            "password",
            "it is Ada.L, me".to_owned(),
            "contains_identity",
        ),
        (
            "password",
            "my ADA@example.org!".to_owned(),
            "contains_identity",
        ),
    ] {
        let mut body = registration("ada.l", "ada@example.org", PASSWORD);
        body[field] = json!(value);
        let answer = app.post("/auth/register", body).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [(field, code)], "{value:?}");
        assert!(!answer.text().contains("my ADA"), "a value is told");
    }
    let answer = app
        .post("/auth/register", registration("a", "b", "c"))
        .await;
    let expected = [
        ("username", "invalid_length"),
        ("email", "invalid_email"),
        ("password", "too_short"),
    ];
    assert_eq!(answer.refused(422, "validation_failed").faults(), expected);

    // None of them made an account or a mail.
    assert_eq!(app.deliver().await, 0);
    let body = registration("ada.l", "ada@example.org", PASSWORD);
    app.post("/auth/register", body).await.ok(201);
}

async fn nobody_makes_himself_administrator(store: StoreKind) {
    let app = App::on(store).await;
    for (field, value) in [
        ("is_admin", json!(true)),
        ("is_verified", json!(true)),
        ("id", json!("0197f1f0-0000-7000-8000-000000000000")),
        ("Username", json!("ada")),
    ] {
        let mut body = registration("ada", "ada@example.org", PASSWORD);
        body[field] = value;
        let answer = app.post("/auth/register", body).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [(field, "unknown_field")]);
    }
    let ada = app.registered("ada").await;
    assert_eq!(forge::claims(&ada.access_token)["is_admin"], false);
}

async fn odd_passwords_that_keep_the_rules_are_taken(store: StoreKind) {
    let app = App::on(store).await;
    for (index, password) in [
        "        ",
        " pad ded ",
        "tab\there",
        "'; drop table auth_users; --",
        "{{ 7 * 7 }} ${7*7}",
        "🔐🔑🗝️🔓🚪🏠🧱🪟",
        &"ż".repeat(128),
        &"long enough to be hashed whole, ".repeat(4),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{index}");
        let body = registration(&name, &email_of(&name), password);
        app.post("/auth/register", body).await.ok(201);
        let login = |password: &str| {
            app.post(
                "/auth/login",
                json!({"username": name, "password": password}),
            )
        };
        login(password).await.ok(200);
        login(&format!("{password} "))
            .await
            .refused(401, "invalid_credentials");
        let shorter: String = password.chars().skip(1).collect();
        login(&shorter).await.refused(401, "invalid_credentials");
    }
}

async fn of_registrations_of_one_name_at_once_one_wins(store: StoreKind) {
    let app = App::on(store).await;
    for (round, same) in ["username", "email"].into_iter().enumerate() {
        let answers = at_once((0..8).map(|index| {
            let name = format!("user{round}-{index}");
            let mut body = registration(&name, &email_of(&name), PASSWORD);
            body[same] = json!(match same {
                "username" => "wanted".to_owned(),
                _ => email_of("wanted"),
            });
            app.post("/auth/register", body)
        }))
        .await;
        let mut won = 0;
        for answer in &answers {
            if answer.status == 201 {
                won += 1;
                continue;
            }
            answer.refused(409, "user_exists");
            assert_eq!(answer.faults(), [(same, "taken")]);
        }
        assert_eq!(won, 1);
    }
    // One welcome mail to each who won.
    assert_eq!(app.deliver().await, 2);
}

async fn links_never_come_from_the_request(store: StoreKind) {
    let app = App::on(store).await;
    let forged = |call: auth_tests::Call| {
        call.header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "http")
            .header("forwarded", "host=evil.example")
            .header("x-original-url", "https://evil.example/")
            .header("referer", "https://evil.example/")
            .header("origin", "https://evil.example")
    };
    let body = registration("ada", "ada@example.org", PASSWORD);
    forged(app.post("/auth/register", body)).await.ok(201);
    let body = json!({"email": "ada@example.org"});
    forged(app.post("/auth/password-reset-request", body))
        .await
        .ok(200);
    let mails = app.mails_to("ada@example.org").await;
    assert_eq!(mails.len(), 2);
    for mail in mails {
        assert!(mail.link().starts_with("https://app.example.org/"));
        assert!(!mail.html.contains("evil") && !mail.text.contains("evil"));
    }
}

async fn an_accounts_address_is_kept_in_its_canonical_form(store: StoreKind) {
    let app = App::on(store).await;
    let body = registration("ada", "Ada.L@BÜCHER.Example", PASSWORD);
    let answer = app.post("/auth/register", body).await;
    assert_eq!(
        answer.ok(201)["user"]["email"],
        "Ada.L@xn--bcher-kva.example"
    );
    let same = registration("other", "ada.l@xn--bcher-kva.example", PASSWORD);
    let answer = app.post("/auth/register", same).await;
    assert_eq!(
        answer.refused(409, "user_exists").faults(),
        [("email", "taken")]
    );
    let login = json!({"email": "ADA.l@bücher.example", "password": PASSWORD});
    app.post("/auth/login", login).await.ok(200);
}

async fn protected(store: StoreKind) -> App {
    App::with(store, |auth| auth.enumeration_protection(true)).await
}

async fn with_enumeration_protection_every_registration_looks_the_same(store: StoreKind) {
    let app = protected(store).await;
    let mut seen = Vec::new();
    for (username, email) in [
        ("ada", "ada@example.org"),
        ("ada", "new@example.org"),
        ("new", "ada@example.org"),
        ("ada", "ada@example.org"),
        ("other", "other@example.org"),
    ] {
        let answer = app
            .post("/auth/register", registration(username, email, PASSWORD))
            .header("x-request-id", "same")
            .await;
        let json = answer.ok(202);
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        assert!(json["message"].is_string());
        seen.push((answer.bytes.clone(), answer.headers.clone()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");

    // A login must not tell what the registration hid: the first of these made an account and the second did not.
    for username in ["ada", "new"] {
        let login = json!({"username": username, "password": PASSWORD});
        let answer = app.post("/auth/login", login).await;
        answer.refused(401, "invalid_credentials");
    }
    let mails = app.mails_to("ada@example.org").await;
    assert_eq!(mails[0].template, "welcome");
    let body = json!({"token": mails[0].token()});
    app.post("/auth/verify-email", body).await.ok(200);
    let login = json!({"username": "ada", "password": PASSWORD});
    let answer = app.post("/auth/login", login).await;
    let ada = Person::of(answer.ok(200), PASSWORD);
    // No session was open before this login.
    let sessions = app.get("/auth/sessions").by(&ada).await;
    assert_eq!(sessions.ok(200)["sessions"].as_array().unwrap().len(), 1);
    // What breaks the rules is still told: it says nothing of others.
    let answer = app
        .post("/auth/register", registration("a", "b", "c"))
        .await;
    answer.refused(422, "validation_failed");
}

async fn a_protected_registration_tells_the_owner_of_the_address(store: StoreKind) {
    let app = protected(store).await;
    app.post(
        "/auth/register",
        registration("ada", "ada@example.org", PASSWORD),
    )
    .await
    .ok(202);
    app.post(
        "/auth/register",
        registration("eve", "ADA@example.org", PASSWORD),
    )
    .await
    .ok(202);
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "account_exists"]);
    let key = AccountKey::login_name("eve").unwrap();
    assert!(app.store.account(&key).await.unwrap().is_none());
    let ada = AccountKey::login_name("ada").unwrap();
    let ada = app.store.account(&ada).await.unwrap().unwrap().user;
    assert_eq!(
        app.audit(ada.id).await,
        ["registered", "registration_refused"]
    );

    // The owner, who forgot, gets in by the link.
    let mail = app.mailbox.last_to("ada@example.org");
    assert!(mail.link().contains("/update-password?token="));
    let body = json!({"token": mail.token(), "new_password": "another long passphrase"});
    app.post("/update-password", body).await.ok(200);
    let login = json!({"username": "ada", "password": "another long passphrase"});
    app.post("/auth/login", login).await.ok(200);

    // A taken name alone tells nobody.
    app.post(
        "/auth/register",
        registration("ada", "new@example.org", PASSWORD),
    )
    .await
    .ok(202);
    assert!(app.mails_to("new@example.org").await.is_empty());
}

async fn mails_about_an_existing_account_are_throttled(store: StoreKind) {
    let app = protected(store).await;
    for _ in 0..4 {
        app.post(
            "/auth/register",
            registration("ada", "ada@example.org", PASSWORD),
        )
        .await
        .ok(202);
    }
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "account_exists"]);
    // Whoever registers with her address does not use up her resets.
    app.reset_token("ada@example.org").await;
}
