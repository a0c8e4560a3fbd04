use auth_core::{
    time::Duration,
    types::{Client, SessionId},
};
use auth_tests::{App, Person, StoreKind};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    sessions_are_listed_with_what_tells_them_apart
    sessions_that_are_over_are_not_listed
    one_session_is_ended
    nobody_ends_the_session_of_another
    a_user_agent_is_kept_short_and_clean
}

async fn listed(app: &App, person: &Person) -> Vec<Value> {
    let answer = app.get("/auth/sessions").by(person).await;
    let json = answer.ok(200);
    assert_eq!(json.as_object().unwrap().len(), 1);
    json["sessions"].as_array().unwrap().clone()
}

fn path(id: impl std::fmt::Display) -> String {
    format!("/auth/sessions/{id}")
}

async fn sessions_are_listed_with_what_tells_them_apart(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.verified("eve").await;
    app.clock.advance(Duration::minutes(30));
    let body = json!({"username": "ada", "password": ada.password});
    let answer = app
        .post("/auth/login", body)
        .from("::ffff:192.0.2.7")
        .header("user-agent", "Browser/1.0")
        .header("x-forwarded-for", "203.0.113.9")
        .await;
    let phone = Person::of(answer.ok(200), &ada.password);
    let sessions = listed(&app, &phone).await;
    assert_eq!(sessions.len(), 2);
    let mut first = sessions[0].clone();
    let times: Vec<_> = ["created_at", "last_used_at", "expires_at"]
        .map(|name| first[name].take().as_str().unwrap().to_owned())
        .into();
    assert_eq!(
        first,
        json!({
            "id": phone.session().to_string(),
            "created_at": null,
            "last_used_at": null,
            "expires_at": null,
            "ip": "192.0.2.7",
            "user_agent": "Browser/1.0",
            "current": true,
        })
    );
    assert!(times[0].starts_with("2026-01-01T00:30:00.") && times[0] == times[1]);
    assert!(times[2].starts_with("2026-01-15T00:30:00."), "{times:?}");
    let old = &sessions[1];
    assert_eq!(old["id"], ada.session().to_string());
    assert_eq!(
        (&old["ip"], &old["user_agent"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(old["current"], false);
    // The other one is the current one for the other.
    let sessions = listed(&app, &ada).await;
    let current: Vec<_> = sessions.iter().map(|it| it["current"].clone()).collect();
    assert_eq!(current, [false, true]);
}

async fn sessions_that_are_over_are_not_listed(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let out = app.logged_in(&ada).await;
    app.call("POST", "/auth/logout").by(&out).await.ok(200);
    app.clock.advance(Duration::days(14));
    let ada = app.logged_in(&ada).await;
    let sessions = listed(&app, &ada).await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["id"], ada.session().to_string());
}

async fn one_session_is_ended(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (phone, tablet) = (app.logged_in(&ada).await, app.logged_in(&ada).await);
    for ended in [&phone, &ada] {
        let answer = app.delete(&path(ended.session())).by(&ada).await;
        answer.ok(204);
        assert!(answer.bytes.is_empty() && !answer.headers.contains_key("content-type"));
        app.get("/auth/me")
            .by(ended)
            .await
            .refused(401, "invalid_token");
        let body = json!({"refresh_token": ended.refresh_token});
        let refreshed = app.post("/auth/refresh", body).await;
        refreshed.refused(401, "invalid_token");
    }
    let again = app.delete(&path(phone.session())).by(&tablet).await;
    again.refused(404, "session_not_found");
    assert_eq!(listed(&app, &tablet).await.len(), 1);
    let log = app.audit(ada.id).await;
    let ended = log.iter().filter(|event| **event == "sessions_ended");
    assert_eq!(ended.count(), 2, "{log:?}");
}

async fn nobody_ends_the_session_of_another(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.verified("eve").await);
    let before = app.state_of(&ada).await;
    let answer = app.delete(&path(ada.session())).by(&eve).await;
    let unknown = "0197f1f0-0000-7000-8000-000000000000";
    assert!(SessionId::parse(unknown).is_ok());
    let nothing = app.delete(&path(unknown)).by(&eve).await;
    for answer in [answer, nothing] {
        answer.refused(404, "session_not_found");
    }
    for id in [
        "x",
        "0",
        "0197f1f0000070008000000000000000",
        "%7B0197f1f0-0000-7000-8000-000000000000%7D",
        "%00",
    ] {
        let answer = app.delete(&path(id)).by(&eve).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults()[0].0, "id");
    }
    app.get("/auth/me").by(&ada).await.ok(200);
    assert_eq!(app.state_of(&ada).await, before);
    app.auth
        .set_admin(eve.id, true, &Client::default())
        .await
        .unwrap();
    let answer = app.delete(&path(ada.session())).by(&eve).await;
    answer.refused(404, "session_not_found");
}

async fn a_user_agent_is_kept_short_and_clean(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let long = "ü".repeat(3000);
    for (sent, kept) in [
        (long.as_bytes(), "ü".repeat(256)),
        (b"tab\there", "tabhere".to_owned()),
        (b"\xff\xfe", "\u{fffd}\u{fffd}".to_owned()),
        (
            b"<script>alert(1)</script>",
            "<script>alert(1)</script>".to_owned(),
        ),
    ] {
        let body = json!({"username": "ada", "password": ada.password});
        let answer = app
            .post("/auth/login", body)
            .header("user-agent", sent)
            .await;
        let here = Person::of(answer.ok(200), &ada.password);
        let sessions = listed(&app, &here).await;
        let current = sessions.iter().find(|it| it["current"] == true).unwrap();
        assert_eq!(current["user_agent"], kept);
    }
}
