use auth_core::{
    Error,
    ports::OsRandom,
    types::{Client, UserId},
};
use auth_tests::{App, PASSWORD, StoreKind, signing_keys};
use serde_json::json;

auth_tests::on_each_store! {
    a_disabled_user_is_out_at_once
    an_enabled_user_logs_in_again
    doing_it_twice_is_one_event
    an_unknown_user_is_an_error
}

async fn a_disabled_user_is_out_at_once(store: StoreKind) {
    let app = App::on(store).await;
    let replica = app.replica(signing_keys(), |auth| auth).await;
    let ada = app.verified("ada").await;
    let (phone, eve) = (app.logged_in(&ada).await, app.verified("eve").await);
    app.auth
        .set_disabled(ada.id, true, &Client::default())
        .await
        .unwrap();
    for app in [&app, &replica] {
        for person in [&ada, &phone] {
            let me = app.get("/auth/me").by(person).await;
            me.refused(401, "invalid_token");
            for body in [
                json!({"refresh_token": person.refresh_token}),
                json!({"token": person.access_token}),
            ] {
                let answer = app.post("/auth/refresh", body).await;
                answer.refused(401, "invalid_token");
            }
        }
        for name in ["ada", "ada@example.org"] {
            let login = json!({"username": name, "password": PASSWORD});
            let answer = app.post("/auth/login", login).await;
            answer.refused(401, "invalid_credentials");
        }
        app.get("/auth/me").by(&eve).await.ok(200);
    }
    // The name and the address stay taken.
    let body = json!({"username": "ada", "email": "new@example.org", "password": PASSWORD});
    app.post("/auth/register", body)
        .await
        .refused(409, "user_exists");
}

async fn an_enabled_user_logs_in_again(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let client = Client::default();
    app.auth.set_disabled(ada.id, true, &client).await.unwrap();
    app.auth.set_disabled(ada.id, false, &client).await.unwrap();
    // The sessions of before stay ended.
    app.get("/auth/me")
        .by(&ada)
        .await
        .refused(401, "invalid_token");
    let body = json!({"refresh_token": ada.refresh_token});
    app.post("/auth/refresh", body)
        .await
        .refused(401, "invalid_token");
    let ada = app.logged_in(&ada).await;
    app.get("/auth/me").by(&ada).await.ok(200);
}

async fn doing_it_twice_is_one_event(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let client = Client::default();
    for _ in 0..2 {
        app.auth.set_admin(ada.id, true, &client).await.unwrap();
    }
    for _ in 0..2 {
        app.auth.set_disabled(ada.id, true, &client).await.unwrap();
    }
    for _ in 0..2 {
        app.auth.set_disabled(ada.id, false, &client).await.unwrap();
    }
    let log = app.audit(ada.id).await;
    assert_eq!(
        log[2..],
        ["admin_granted", "account_disabled", "account_enabled"]
    );
    // Rights outlive a disabling.
    let ada = app.logged_in(&ada).await;
    let me = app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200)["is_admin"], true);
}

async fn an_unknown_user_is_an_error(store: StoreKind) {
    let app = App::on(store).await;
    let nobody = UserId::generate(auth_core::ports::Clock::now(&app.clock), &OsRandom);
    let client = Client::default();
    for outcome in [
        app.auth.set_disabled(nobody, true, &client).await,
        app.auth.set_admin(nobody, true, &client).await,
    ] {
        assert!(matches!(outcome, Err(Error::UserNotFound)), "{outcome:?}");
    }
    assert!(app.audit(nobody).await.is_empty());
}
