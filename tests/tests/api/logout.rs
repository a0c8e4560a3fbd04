use auth_tests::{App, Person, StoreKind, signing_keys};
use serde_json::json;

auth_tests::on_each_store! {
    a_logout_ends_this_session_at_once
    a_logout_may_end_the_others_or_all
    a_logout_counts_on_every_replica
    an_unknown_scope_ends_nothing
    an_unverified_user_has_revocation_instead
}

async fn is_live(app: &App, person: &Person) -> bool {
    let answer = app.get("/auth/me").by(person).await;
    if answer.status == 200 {
        return true;
    }
    answer.refused(401, "invalid_token");
    let body = json!({"refresh_token": person.refresh_token});
    let refreshed = app.post("/auth/refresh", body).await;
    refreshed.refused(401, "invalid_token");
    false
}

async fn a_logout_ends_this_session_at_once(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (phone, eve) = (app.logged_in(&ada).await, app.verified("eve").await);
    for path in ["/auth/logout", "/auth/logout?scope=current"] {
        let here = app.logged_in(&ada).await;
        let answer = app.call("POST", path).by(&here).await;
        let json = answer.ok(200);
        assert!(json["message"].is_string() && json.as_object().unwrap().len() == 1);
        assert!(!is_live(&app, &here).await);
        // It cannot be ended twice.
        let answer = app.call("POST", path).by(&here).await;
        answer.refused(401, "invalid_token");
    }
    for other in [&ada, &phone, &eve] {
        assert!(is_live(&app, other).await);
    }
    let log = app.audit(ada.id).await;
    let ended = log.iter().filter(|event| **event == "sessions_ended");
    assert_eq!(ended.count(), 2, "{log:?}");
}

async fn a_logout_may_end_the_others_or_all(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let eve = app.verified("eve").await;
    let phone = app.logged_in(&ada).await;
    app.call("POST", "/auth/logout?scope=others")
        .by(&phone)
        .await
        .ok(200);
    assert!(!is_live(&app, &ada).await);
    assert!(is_live(&app, &phone).await);
    let tablet = app.logged_in(&ada).await;
    app.call("POST", "/auth/logout?scope=all")
        .by(&phone)
        .await
        .ok(200);
    assert!(!is_live(&app, &phone).await);
    assert!(!is_live(&app, &tablet).await);
    assert!(is_live(&app, &eve).await);
}

async fn a_logout_counts_on_every_replica(store: StoreKind) {
    let app = App::on(store).await;
    let replica = app.replica(signing_keys(), |auth| auth).await;
    let ada = app.verified("ada").await;
    assert!(is_live(&replica, &ada).await);
    app.call("POST", "/auth/logout").by(&ada).await.ok(200);
    assert!(!is_live(&replica, &ada).await);
}

async fn an_unknown_scope_ends_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let before = app.state_of(&ada).await;
    for (query, fault) in [
        ("scope=", ("scope", "invalid_scope")),
        ("scope=ALL", ("scope", "invalid_scope")),
        ("scope=all&scope=current", ("scope", "duplicate_field")),
        ("scope=all&x=1", ("x", "unknown_field")),
        ("scope=%ff", ("scope", "invalid_encoding")),
        (
            "user_id=0197f1f0-0000-7000-8000-000000000000",
            ("user_id", "unknown_field"),
        ),
    ] {
        let path = format!("/auth/logout?{query}");
        let answer = app.call("POST", &path).by(&ada).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [fault], "{query}");
    }
    assert_eq!(app.state_of(&ada).await, before);
}

async fn an_unverified_user_has_revocation_instead(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let answer = app.call("POST", "/auth/logout").by(&ada).await;
    answer.refused(403, "email_not_verified");
    let body = json!({"token": ada.access_token});
    app.post("/auth/revoke", body).await.ok(200);
    assert!(!is_live(&app, &ada).await);
}
