use auth_core::{time::Duration, types::Client};
use auth_tests::{App, PASSWORD, Person, StoreKind, at_once};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    a_changed_password_leaves_this_session_alone
    a_wrong_current_password_changes_nothing
    a_weak_new_password_changes_nothing
    outstanding_mailed_tokens_die_with_the_password
    of_changes_at_once_one_is_made
    a_change_from_a_session_that_ends_meanwhile_is_not_made
}

const NEW: &str = "another long passphrase";

fn change(app: &App, person: &Person, current: &str, new: &str) -> auth_tests::Call {
    let body = json!({"current_password": current, "new_password": new});
    app.put("/auth/users/change-password", body).by(person)
}

fn login(app: &App, password: &str) -> auth_tests::Call {
    app.post(
        "/auth/login",
        json!({"username": "ada", "password": password}),
    )
}

fn refresh(app: &App, token: &str) -> auth_tests::Call {
    app.post("/auth/refresh", json!({"refresh_token": token}))
}

async fn a_changed_password_leaves_this_session_alone(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (phone, eve) = (app.logged_in(&ada).await, app.verified("eve").await);
    app.clock.advance(Duration::minutes(1));
    let answer = change(&app, &ada, PASSWORD, NEW).await;
    let json = answer.ok(200);
    assert_eq!(json.as_object().unwrap().len(), 6, "{json}");
    assert_eq!(json["expires_in"], 3600);
    assert_ne!(json["user"]["updated_at"], json["user"]["created_at"]);
    let next = Person::of(json, NEW);
    assert_eq!(next.session(), ada.session());

    let me = app.get("/auth/me").by(&next).await;
    assert_eq!(me.ok(200)["updated_at"], json["user"]["updated_at"]);
    let sessions = app.get("/auth/sessions").by(&next).await;
    assert_eq!(sessions.ok(200)["sessions"].as_array().unwrap().len(), 1);
    app.get("/auth/me")
        .by(&phone)
        .await
        .refused(401, "invalid_token");
    // Every refresh token of before is worth nothing, this session's own too.
    for token in [&phone.refresh_token, &ada.refresh_token] {
        refresh(&app, token).await.refused(401, "invalid_token");
    }
    refresh(&app, &next.refresh_token).await.ok(200);
    app.get("/auth/me").by(&eve).await.ok(200);

    login(&app, PASSWORD)
        .await
        .refused(401, "invalid_credentials");
    login(&app, NEW).await.ok(200);
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "password_changed"]);
    let log = app.audit(ada.id).await;
    assert_eq!(
        log[2..],
        [
            "login_succeeded",
            "password_changed",
            "login_failed",
            "login_succeeded"
        ]
    );
}

async fn a_wrong_current_password_changes_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    for current in [
        "",
        "wrong password",
        NEW,
        "correct horse battery staple ",
        &"x".repeat(4000),
    ] {
        let answer = change(&app, &ada, current, NEW).await;
        answer.refused(400, "current_password_invalid");
    }
    for (body, field) in [
        (json!({"new_password": NEW}), "current_password"),
        (json!({"current_password": PASSWORD}), "new_password"),
    ] {
        let answer = app.put("/auth/users/change-password", body).by(&ada).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [(field, "required")]);
    }
    assert_eq!(app.state_of(&ada).await, state);
    login(&app, PASSWORD).await.ok(200);
}

async fn a_weak_new_password_changes_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    for (new, code) in [
        ("", "too_short"),
        ("1234567", "too_short"),
        ("password123", "too_common"),
        ("that is Ada's", "contains_identity"),
        ("ada@example.org", "contains_identity"),
    ] {
        let answer = change(&app, &ada, PASSWORD, new).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [("new_password", code)]);
    }
    assert_eq!(app.state_of(&ada).await, state);
}

async fn outstanding_mailed_tokens_die_with_the_password(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let reset = app.reset_token("ada@example.org").await;
    let (change_email, cancel) = app.email_change_tokens(&ada, "new@example.org").await;
    change(&app, &ada, PASSWORD, NEW).await.ok(200);
    for (path, body) in [
        (
            "/update-password",
            json!({"token": reset, "new_password": "a third long passphrase"}),
        ),
        ("/auth/verify-email", json!({"token": change_email})),
        ("/auth/cancel-email-change", json!({"token": cancel})),
    ] {
        let answer = app.post(path, body).await;
        answer.refused(400, "invalid_token");
    }
    login(&app, NEW).await.ok(200);
}

async fn of_changes_at_once_one_is_made(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let passwords: Vec<_> = (0..6).map(|index| format!("{NEW} {index}")).collect();
    let calls = passwords
        .iter()
        .map(|new| change(&app, &ada, PASSWORD, new));
    let answers = at_once(calls).await;
    let mut made = Vec::new();
    for (answer, password) in answers.iter().zip(&passwords) {
        match answer.status {
            200 => made.push(password),
            // Compared after, or before and overtaken.
            400 => {
                answer.refused(400, "current_password_invalid");
            }
            _ => {
                answer.refused(401, "invalid_token");
            }
        }
    }
    assert_eq!(made.len(), 1, "{answers:?}");
    for password in &passwords {
        let answer = login(&app, password).await;
        assert_eq!(answer.status == 200, password == made[0]);
    }
}

async fn a_change_from_a_session_that_ends_meanwhile_is_not_made(store: StoreKind) {
    for end in ["logout", "reset", "disable"] {
        let app = App::on(store).await;
        let ada = app.verified("ada").await;
        let phone = app.logged_in(&ada).await;
        let token = app.reset_token("ada@example.org").await;
        let hold = app.store.hold("change_password");
        let call = change(&app, &phone, PASSWORD, NEW);
        let changing = tokio::spawn(async move { call.await });
        hold.reached().await;
        match end {
            "logout" => {
                app.call("POST", "/auth/logout?scope=others")
                    .by(&ada)
                    .await
                    .ok(200);
            }
            "reset" => {
                let body: Value =
                    json!({"token": token, "new_password": "a third long passphrase"});
                app.post("/update-password", body).await.ok(200);
            }
            _ => {
                let client = Client::default();
                app.auth.set_disabled(ada.id, true, &client).await.unwrap();
            }
        }
        let state = app.state_of(&ada).await;
        hold.release();
        changing.await.unwrap().refused(401, "invalid_token");
        assert_eq!(app.state_of(&ada).await, state, "{end}");
        login(&app, NEW).await.refused(401, "invalid_credentials");
    }
}
