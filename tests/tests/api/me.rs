use auth_core::{time::Duration, types::Client};
use auth_tests::{App, SECRET, StoreKind, forge, signing_keys};
use serde_json::json;

auth_tests::on_each_store! {
    a_verified_user_sees_himself
    what_changed_is_seen_at_once
    an_access_token_lives_an_hour
    a_token_of_another_service_is_refused
    a_token_that_names_another_user_is_refused
    keys_are_rotated_without_logging_anybody_out
    a_token_in_the_address_is_not_looked_at
}

async fn a_verified_user_sees_himself(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("Ada").await;
    let me = app.get("/auth/me").by(&ada).await;
    let mut user = me.ok(200).clone();
    let (created, updated) = (user["created_at"].take(), user["updated_at"].take());
    assert_eq!(
        user,
        json!({
            "id": ada.id.to_string(),
            "username": "Ada",
            "email": "Ada@example.org",
            "is_verified": true,
            "is_admin": false,
            "created_at": null,
            "updated_at": null,
            "sign_in_methods": ["password"],
        })
    );
    for time in [&created, &updated] {
        let time = time.as_str().unwrap();
        assert!(
            time.starts_with("2026-01-01T00:00:00.") && time.ends_with('Z'),
            "{time}"
        );
    }
    assert!(
        created.as_str() < updated.as_str(),
        "verified later than made"
    );
}

async fn what_changed_is_seen_at_once(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let client = Client::default();
    for admin in [true, false] {
        app.auth.set_admin(ada.id, admin, &client).await.unwrap();
        let me = app.get("/auth/me").by(&ada).await;
        assert_eq!(me.ok(200)["is_admin"], admin);
    }
    assert_eq!(
        app.audit(ada.id).await[2..],
        ["admin_granted", "admin_revoked"]
    );
}

async fn an_access_token_lives_an_hour(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.clock.advance(Duration::HOUR - Duration::SECOND);
    app.get("/auth/me").by(&ada).await.ok(200);
    app.clock.advance(Duration::SECOND);
    let me = app.get("/auth/me").by(&ada).await;
    me.refused(401, "token_expired");
    let challenge = r#"Bearer error="invalid_token""#;
    assert_eq!(me.header("www-authenticate"), challenge);

    let short = app
        .replica(signing_keys(), |auth| {
            auth.access_token_lifetime(Duration::minutes(5))
        })
        .await;
    let ada = short.logged_in(&ada).await;
    short.clock.advance(Duration::minutes(5));
    short
        .get("/auth/me")
        .by(&ada)
        .await
        .refused(401, "token_expired");
}

async fn a_token_of_another_service_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    // One secret and one database, and yet another issuer or audience.
    for replica in [
        app.replica(signing_keys(), |auth| auth.issuer("other"))
            .await,
        app.replica(signing_keys(), |auth| auth.audience("other"))
            .await,
    ] {
        let foreign = replica.logged_in(&ada).await;
        replica.get("/auth/me").by(&foreign).await.ok(200);
        app.get("/auth/me")
            .by(&foreign)
            .await
            .refused(401, "invalid_token");
        replica
            .get("/auth/me")
            .by(&ada)
            .await
            .refused(401, "invalid_token");
    }
}

async fn a_token_that_names_another_user_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.verified("eve").await);
    let (header, claims) = (
        forge::header(&eve.access_token),
        forge::claims(&eve.access_token),
    );
    // Signed as if the secret were known: session and user still have to belong together.
    let signed = forge::signed(&header, &claims, SECRET);
    app.get("/auth/me").bearer(&signed).await.ok(200);
    let mixed = forge::set(&claims, "sub", ada.id.to_string());
    let mixed = forge::signed(&header, &mixed, SECRET);
    app.get("/auth/me")
        .bearer(&mixed)
        .await
        .refused(401, "invalid_token");
    let answer = app.post("/auth/refresh", json!({"token": mixed})).await;
    answer.refused(401, "invalid_token");
    // Rights come from the database, never from the token.
    let admin = forge::signed(&header, &forge::set(&claims, "is_admin", true), SECRET);
    let me = app.get("/auth/me").bearer(&admin).await;
    assert_eq!(me.ok(200)["is_admin"], false);
}

async fn keys_are_rotated_without_logging_anybody_out(store: StoreKind) {
    use auth_core::SigningKeys;
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let reset = app.reset_token("ada@example.org").await;
    let new = "the next signing secret of these tests, 9876543210";
    let both = SigningKeys::parse(new)
        .unwrap()
        .with_previous(SECRET)
        .unwrap();
    let rotated = app.replica(both, |auth| auth).await;
    rotated.get("/auth/me").by(&ada).await.ok(200);
    let later = rotated.logged_in(&ada).await;
    let kid = |token: &str| forge::header(token)["kid"].clone();
    assert_ne!(kid(&later.access_token), kid(&ada.access_token));

    // A process that has only the old key cannot check what the new one signed; one with only the new key refuses the old.
    app.get("/auth/me")
        .by(&later)
        .await
        .refused(401, "invalid_token");
    let done = app
        .replica(SigningKeys::parse(new).unwrap(), |auth| auth)
        .await;
    done.get("/auth/me").by(&later).await.ok(200);
    done.get("/auth/me")
        .by(&ada)
        .await
        .refused(401, "invalid_token");
    // The session itself needs no key.
    let body = json!({"refresh_token": ada.refresh_token});
    done.post("/auth/refresh", body).await.ok(200);

    // Mailed tokens follow the ring as well.
    let body = json!({"token": reset, "new_password": "another long passphrase"});
    let refused = done.post("/update-password", body.clone()).await;
    refused.refused(400, "invalid_token");
    rotated.post("/update-password", body).await.ok(200);
}

async fn a_token_in_the_address_is_not_looked_at(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let token = &ada.access_token;
    for path in [
        format!("/auth/me?access_token={token}"),
        format!("/auth/me?token={token}"),
        format!("/auth/me?user_id={}", ada.id),
    ] {
        let answer = app.get(&path).await;
        answer.refused(401, "missing_token");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let body = json!({"access_token": token, "user_id": ada.id.to_string()});
    let answer = app.call("GET", "/auth/me").json(body).await;
    answer.refused(401, "missing_token");
    for (header, value) in [
        ("cookie", format!("access_token={token}")),
        ("x-access-token", token.clone()),
        ("x-user-id", ada.id.to_string()),
        ("x-forwarded-user", "ada".to_owned()),
        ("proxy-authorization", format!("Bearer {token}")),
    ] {
        let answer = app.get("/auth/me").header(header, value).await;
        answer.refused(401, "missing_token");
    }
}
