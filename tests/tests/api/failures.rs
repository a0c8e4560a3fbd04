//! A store that fails is never read as a no, and its words stay inside.

use auth_core::types::UserId;
use auth_tests::{Answer, App, Call, Fault, PASSWORD, StoreKind, path_of, takes_json};
use auth_tower::{Class, routes};
use serde_json::json;

auth_tests::on_each_store! {
    a_failing_store_is_said_and_not_taken_for_a_no
    nobody_gets_in_while_the_store_fails
}

#[track_caller]
fn says(answer: &Answer, fault: Fault) {
    match fault {
        Fault::Backend => answer.refused(500, "internal"),
        Fault::Unavailable => answer.refused(503, "unavailable"),
    };
    for part in [
        "select",
        "auth_users",
        "/var/lib",
        "malformed",
        "auth_core",
        "sqlx",
    ] {
        assert!(!answer.text().contains(part), "{answer:?}");
    }
}

async fn a_failing_store_is_said_and_not_taken_for_a_no(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.registered("eve").await;
    let verify = app.mailed_token("eve@example.org").await;
    let reset = app.reset_token("ada@example.org").await;
    let (change, cancel) = app.email_change_tokens(&ada, "new@example.org").await;
    let state = app.state_of(&ada).await;
    let new = "another long passphrase";
    let id: UserId = ada.id;
    let calls = || -> Vec<Call> {
        vec![
            app.post(
                "/auth/register",
                json!({"username": "bob", "email": "bob@example.org", "password": PASSWORD}),
            ),
            app.post(
                "/auth/login",
                json!({"username": "ada", "password": PASSWORD}),
            ),
            app.post(
                "/auth/login",
                json!({"username": "ada", "password": "wrong password"}),
            ),
            app.post(
                "/auth/login",
                json!({"username": "nobody", "password": PASSWORD}),
            ),
            app.get(&format!("/auth/verify-email?token={verify}")),
            app.post("/auth/verify-email", json!({"token": verify})),
            app.post("/auth/verify-email", json!({"token": change})),
            app.post("/auth/cancel-email-change", json!({"token": cancel})),
            app.post(
                "/auth/resend-verification",
                json!({"email": "eve@example.org"}),
            ),
            app.post(
                "/auth/resend-verification",
                json!({"email": "nobody@example.org"}),
            ),
            app.post(
                "/auth/password-reset-request",
                json!({"email": "ada@example.org"}),
            ),
            app.post(
                "/auth/password-reset-request",
                json!({"email": "nobody@example.org"}),
            ),
            app.post(
                "/update-password",
                json!({"token": reset, "new_password": new}),
            ),
            app.post("/auth/refresh", json!({"refresh_token": ada.refresh_token})),
            app.post("/auth/refresh", json!({"token": ada.access_token})),
            app.post("/auth/revoke", json!({"token": ada.access_token})),
            app.post("/auth/revoke", json!({"token": "x"})),
            app.get(&format!("/auth/users/{id}/email")).by_service(),
            app.get("/auth/users/by-email/nobody%40example.org")
                .by_service(),
        ]
    };
    for fault in [Fault::Unavailable, Fault::Backend] {
        app.store.fail(fault);
        for call in calls() {
            says(&call.await, fault);
        }
        for route in routes().filter(|route| route.class == Class::Verified) {
            let call = app.call(route.method.as_str(), &path_of(&route)).by(&ada);
            let call = if takes_json(&route) {
                call.json(json!({}))
            } else {
                call
            };
            says(&call.await, fault);
        }
        app.store.fail(None);
        assert_eq!(app.state_of(&ada).await, state);
    }
    // Every token is as good as it was.
    app.get("/auth/me").by(&ada).await.ok(200);
    app.post("/auth/verify-email", json!({"token": verify}))
        .await
        .ok(200);
    app.post(
        "/update-password",
        json!({"token": reset, "new_password": new}),
    )
    .await
    .ok(200);
}

/// Also for what fails after the class was checked.
async fn nobody_gets_in_while_the_store_fails(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    for (method, call) in [
        (
            "change_password",
            app.put(
                "/auth/users/change-password",
                json!({"current_password": PASSWORD, "new_password": "another long passphrase"}),
            ),
        ),
        (
            "begin_email_change",
            app.put(
                "/auth/users/change-email",
                json!({"new_email": "new@example.org", "current_password": PASSWORD}),
            ),
        ),
        (
            "delete_account",
            app.delete("/auth/users/delete-account")
                .json(json!({"password": PASSWORD})),
        ),
        ("end_sessions", app.call("POST", "/auth/logout")),
        ("sessions", app.get("/auth/sessions")),
        (
            "open_session",
            app.post(
                "/auth/login",
                json!({"username": "ada", "password": PASSWORD}),
            ),
        ),
    ] {
        let hold = app.store.hold(method);
        let call = call.by(&ada);
        let answer = tokio::spawn(async move { call.await });
        hold.reached().await;
        app.store.fail(Fault::Unavailable);
        hold.release();
        says(&answer.await.unwrap(), Fault::Unavailable);
        app.store.fail(None);
        assert_eq!(app.state_of(&ada).await, state, "{method}");
    }
}
