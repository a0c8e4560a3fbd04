use auth_core::{time::Duration, types::Client};
use auth_tests::{App, PASSWORD, SECRET, StoreKind, at_once, forge, signing_keys};
use serde_json::json;

auth_tests::on_each_store! {
    a_link_verifies_the_address
    a_link_may_be_opened_again
    looking_at_a_link_uses_nothing
    a_link_lives_a_day
    a_link_is_of_its_account_alone
    a_tampered_link_is_refused
    a_link_of_another_kind_is_refused
    a_link_of_another_service_is_refused
    a_link_dies_with_a_reset
    a_link_dies_with_its_account
    a_link_of_a_disabled_account_tells_nothing
    of_openings_at_once_one_verifies
}

fn verify(app: &App, token: &str) -> auth_tests::Call {
    app.post("/auth/verify-email", json!({"token": token}))
}

fn open(app: &App, token: &str) -> auth_tests::Call {
    app.get(&format!("/auth/verify-email?token={token}"))
}

async fn a_link_verifies_the_address(store: StoreKind) {
    let app = App::on(store).await;
    for by_link in [true, false] {
        let name = if by_link { "ada" } else { "eve" };
        let ada = app.registered(name).await;
        let token = app.mailed_token(&ada.email).await;
        let before = app.get("/auth/me").by(&ada).await;
        before.refused(403, "email_not_verified");
        assert_eq!(
            before.header("www-authenticate"),
            r#"Bearer error="insufficient_scope""#
        );
        let answer = if by_link {
            open(&app, &token)
        } else {
            verify(&app, &token)
        };
        let answer = answer.await;
        let json = answer.ok(200);
        let members: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(members, ["message", "status", "user"]);
        assert_eq!(json["status"], "verified");
        assert_eq!(json["user"]["id"], ada.id.to_string());
        assert_eq!(json["user"]["is_verified"], true);
        // The session that was open before is good for more now.
        app.get("/auth/me").by(&ada).await.ok(200);
        assert_eq!(app.audit(ada.id).await, ["registered", "email_verified"]);
        // It opens no session of its own.
        assert!(json.get("access_token").is_none());
    }
}

async fn a_link_may_be_opened_again(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let token = app.mailed_token("ada@example.org").await;
    verify(&app, &token).await.ok(200);
    let state = app.state_of(&ada).await;
    for answer in [open(&app, &token).await, verify(&app, &token).await] {
        let json = answer.ok(200);
        assert_eq!(json["status"], "already_verified");
        assert_eq!(json["user"]["username"], "ada");
    }
    assert_eq!(app.state_of(&ada).await, state);
    app.clock.advance(Duration::DAY);
    verify(&app, &token).await.refused(400, "token_expired");
}

async fn looking_at_a_link_uses_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let token = app.mailed_token("ada@example.org").await;
    let state = app.state_of(&ada).await;
    let path = format!("/auth/verify-email?token={token}");
    for method in ["HEAD", "OPTIONS"] {
        let answer = app.call(method, &path).await;
        assert!(answer.status < 300, "{answer:?}");
        assert!(answer.bytes.is_empty());
    }
    assert_eq!(app.state_of(&ada).await, state);
    assert_eq!(open(&app, &token).await.ok(200)["status"], "verified");
}

async fn a_link_lives_a_day(store: StoreKind) {
    let app = App::on(store).await;
    for (name, lived) in [
        ("ada", Duration::DAY - Duration::SECOND),
        ("eve", Duration::DAY),
    ] {
        let person = app.registered(name).await;
        let token = app.mailed_token(&person.email).await;
        app.clock.advance(lived);
        let state = app.state_of(&person).await;
        if name == "ada" {
            verify(&app, &token).await.ok(200);
        } else {
            verify(&app, &token).await.refused(400, "token_expired");
            open(&app, &token).await.refused(400, "token_expired");
            assert_eq!(app.state_of(&person).await, state);
        }
    }
}

async fn a_link_is_of_its_account_alone(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.registered("ada").await, app.registered("eve").await);
    let token = app.mailed_token("eve@example.org").await;
    // Whose session sends it does not matter.
    let answer = verify(&app, &token).by(&ada).await;
    assert_eq!(answer.ok(200)["user"]["id"], eve.id.to_string());
    app.get("/auth/me")
        .by(&ada)
        .await
        .refused(403, "email_not_verified");
    app.get("/auth/me").by(&eve).await.ok(200);
}

async fn a_tampered_link_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.registered("ada").await, app.registered("eve").await);
    let token = app.mailed_token("eve@example.org").await;
    let state = (app.state_of(&ada).await, app.state_of(&eve).await);
    let (header, claims) = (forge::header(&token), forge::claims(&token));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let other_last = if signature.ends_with('A') { "E" } else { "A" };
    let changed = |name: &str, value: serde_json::Value| {
        forge::with_claims(&token, &forge::set(&claims, name, value))
    };
    for (name, forged) in [
        ("another user", changed("sub", json!(ada.id.to_string()))),
        ("longer life", changed("exp", json!(4_000_000_000_i64))),
        ("another id", changed("jti", json!("x"))),
        (
            "another purpose",
            changed("purpose", json!("reset_password")),
        ),
        ("no signature", format!("{message}.")),
        ("no third part", message.to_owned()),
        ("a cut one", token[..token.len() - 1].to_owned()),
        (
            "another last letter",
            format!("{}{other_last}", &token[..token.len() - 1]),
        ),
        ("padding", format!("{token}=")),
        ("another part", format!("{token}.{signature}")),
        // The key of access tokens is known to whoever checks them; it signs nothing else.
        (
            "the key of access tokens",
            forge::signed(&header, &claims, SECRET),
        ),
        ("no key", forge::signed(&header, &claims, "")),
        (
            "no algorithm",
            format!(
                "{}.",
                forge::message(&forge::set(&header, "alg", "none"), &claims)
            ),
        ),
        (
            "no algorithm, signed",
            format!(
                "{}.{signature}",
                forge::message(&forge::set(&header, "alg", "none"), &claims)
            ),
        ),
        ("an access token", eve.access_token.clone()),
        ("a refresh token", eve.refresh_token.clone()),
        ("the id alone", claims["jti"].as_str().unwrap().to_owned()),
    ] {
        let answer = verify(&app, &forged).await;
        answer.refused(400, "invalid_token");
        let answer = open(&app, &forged).await;
        answer.refused(400, "invalid_token");
        assert!(!answer.headers.contains_key("www-authenticate"), "{name}");
    }
    let after = (app.state_of(&ada).await, app.state_of(&eve).await);
    assert_eq!(after, state);
    verify(&app, &token).await.ok(200);
}

async fn a_link_of_another_kind_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let reset = app.reset_token("ada@example.org").await;
    let (_, cancel) = app.email_change_tokens(&ada, "new@example.org").await;
    let state = app.state_of(&ada).await;
    for token in [&reset, &cancel] {
        verify(&app, token).await.refused(400, "invalid_token");
        open(&app, token).await.refused(400, "invalid_token");
    }
    assert_eq!(app.state_of(&ada).await, state);
    // Both are unused.
    app.post("/auth/cancel-email-change", json!({"token": cancel}))
        .await
        .ok(200);
    let body = json!({"token": reset, "new_password": "another long passphrase"});
    app.post("/update-password", body).await.ok(200);
}

async fn a_link_of_another_service_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    app.registered("ada").await;
    let token = app.mailed_token("ada@example.org").await;
    // A good signature is not enough: another database never issued it.
    let other = App::on(store).await;
    other.registered("ada").await;
    verify(&other, &token).await.refused(400, "invalid_token");
    let issuer = app
        .replica(signing_keys(), |auth| auth.issuer("other"))
        .await;
    verify(&issuer, &token).await.refused(400, "invalid_token");
    verify(&app, &token).await.ok(200);
}

async fn a_link_dies_with_a_reset(store: StoreKind) {
    let app = App::on(store).await;
    app.registered("ada").await;
    let verification = app.mailed_token("ada@example.org").await;
    let reset = app.reset_token("ada@example.org").await;
    let body = json!({"token": reset, "new_password": "another long passphrase"});
    app.post("/update-password", body).await.ok(200);
    verify(&app, &verification)
        .await
        .refused(400, "invalid_token");
}

async fn a_link_dies_with_its_account(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let used = app.mailbox.last_to("ada@example.org").token().to_owned();
    let delete = app.delete("/auth/users/delete-account").by(&ada);
    delete.json(json!({"password": PASSWORD})).await.ok(200);
    verify(&app, &used).await.refused(400, "invalid_token");
    // Nor does it verify whoever has the address next.
    let next = app.registered("ada").await;
    verify(&app, &used).await.refused(400, "invalid_token");
    app.get("/auth/me")
        .by(&next)
        .await
        .refused(403, "email_not_verified");
}

async fn a_link_of_a_disabled_account_tells_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let client = Client::default();
    for is_used in [false, true] {
        let name = if is_used { "used" } else { "unused" };
        let off = app.registered(name).await;
        let token = app.mailed_token(&off.email).await;
        if is_used {
            verify(&app, &token).await.ok(200);
        }
        app.auth.set_disabled(off.id, true, &client).await.unwrap();
        let state = app.state_of(&off).await;
        verify(&app, &token).await.refused(400, "invalid_token");
        open(&app, &token).await.refused(400, "invalid_token");
        assert_eq!(app.state_of(&off).await, state);
    }
}

async fn of_openings_at_once_one_verifies(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let token = app.mailed_token("ada@example.org").await;
    let answers = at_once((0..6).map(|_| open(&app, &token))).await;
    let mut statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.ok(200)["status"].as_str().unwrap())
        .collect();
    statuses.sort_unstable();
    let mut expected = ["already_verified"; 6];
    expected[5] = "verified";
    assert_eq!(statuses, expected);
    assert_eq!(app.audit(ada.id).await, ["registered", "email_verified"]);
}
