use auth_core::time::Duration;
use auth_tests::{App, Fault, Person, StoreKind, forge};
use serde_json::json;

auth_tests::on_each_store! {
    whoever_holds_a_token_ends_its_session
    a_token_of_any_age_ends_its_session
    what_opens_nothing_is_answered_the_same
    a_forged_token_ends_nothing
    a_failed_revocation_is_not_called_a_success
}

fn revoke(app: &App, token: &str) -> auth_tests::Call {
    app.post("/auth/revoke", json!({"token": token}))
}

async fn is_over(app: &App, person: &Person) {
    let me = app.get("/auth/me").by(person).await;
    me.refused(401, "invalid_token");
    let body = json!({"refresh_token": person.refresh_token});
    let refreshed = app.post("/auth/refresh", body).await;
    refreshed.refused(401, "invalid_token");
}

async fn whoever_holds_a_token_ends_its_session(store: StoreKind) {
    let app = App::on(store).await;
    let stays = app.verified("ada").await;
    let unverified = app.registered("eve").await;
    let by_access = app.logged_in(&stays).await;
    let by_refresh = app.logged_in(&stays).await;
    for (token, person) in [
        (&by_access.access_token, &by_access),
        (&by_refresh.refresh_token, &by_refresh),
        (&unverified.refresh_token, &unverified),
    ] {
        // No header is asked for (RFC 7009 §2.1: the token is the proof).
        let answer = revoke(&app, token).await;
        assert!(answer.ok(200)["message"].is_string());
        is_over(&app, person).await;
        let log = app.audit(person.id).await;
        assert_eq!(log.last(), Some(&"sessions_ended"), "{log:?}");
    }
    app.get("/auth/me").by(&stays).await.ok(200);
}

async fn a_token_of_any_age_ends_its_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let body = json!({"refresh_token": ada.refresh_token});
    let answer = app.post("/auth/refresh", body).await;
    let second = Person::of(answer.ok(200), &ada.password);
    app.clock.advance(Duration::days(2));
    revoke(&app, &ada.refresh_token).await.ok(200);
    let body = json!({"refresh_token": second.refresh_token});
    let refreshed = app.post("/auth/refresh", body).await;
    refreshed.refused(401, "invalid_token");
}

async fn what_opens_nothing_is_answered_the_same(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let reset = app.reset_token("ada@example.org").await;
    let gone = app.logged_in(&ada).await;
    let expected = revoke(&app, &gone.access_token)
        .header("x-request-id", "same")
        .await;
    expected.ok(200);
    let before = app.state_of(&ada).await;
    let sid = ada.session().to_string();
    for token in [
        "",
        "x",
        "a.b.c",
        &gone.access_token,
        &gone.refresh_token,
        &reset,
        &sid,
    ] {
        let answer = revoke(&app, token).header("x-request-id", "same").await;
        answer.ok(200);
        assert_eq!(answer.bytes, expected.bytes);
        assert_eq!(answer.headers, expected.headers);
    }
    assert_eq!(app.state_of(&ada).await, before);
}

async fn a_forged_token_ends_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (header, claims) = (
        forge::header(&ada.access_token),
        forge::claims(&ada.access_token),
    );
    let before = app.state_of(&ada).await;
    for token in [
        forge::signed(&header, &claims, "another secret of 32 bytes and more"),
        format!(
            "{}.",
            forge::message(&forge::set(&header, "alg", "none"), &claims)
        ),
        forge::with_claims(&ada.access_token, &forge::set(&claims, "username", "eve")),
    ] {
        revoke(&app, &token).await.ok(200);
    }
    assert_eq!(app.state_of(&ada).await, before);
    app.get("/auth/me").by(&ada).await.ok(200);
}

async fn a_failed_revocation_is_not_called_a_success(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    for token in [&ada.access_token, &ada.refresh_token] {
        app.store.fail(Fault::Unavailable);
        revoke(&app, token).await.refused(503, "unavailable");
        app.store.fail(Fault::Backend);
        revoke(&app, token).await.refused(500, "internal");
        app.store.fail(None);
        app.get("/auth/me").by(&ada).await.ok(200);
    }
}
