use auth_core::{time::Duration, types::Client};
use auth_tests::{App, PASSWORD, Person, StoreKind, at_once, forge, signing_keys};
use serde_json::json;

auth_tests::on_each_store! {
    a_refresh_token_is_traded_for_the_next_ones
    two_parallel_refreshes_keep_the_session
    a_lost_answer_is_no_theft
    a_replay_after_the_grace_ends_the_session
    a_replay_counts_from_the_first_use
    a_replay_once_the_successor_is_in_use_ends_the_session
    an_older_ancestor_ends_the_session_at_any_time
    a_replay_is_seen_by_every_process
    a_replay_leaves_other_sessions_alone
    a_session_that_is_not_refreshed_ends_after_14_days
    a_session_ends_after_30_days_whatever_is_refreshed
    an_access_token_is_traded_for_an_access_token_only
    a_traded_access_token_keeps_the_session_alive
    a_traded_access_token_never_outlives_the_session
    what_opens_no_session_is_refused
    exactly_one_token_is_traded
    new_tokens_say_what_is_true_by_now
    nothing_is_traded_once_the_session_is_over
}

fn refresh(app: &App, token: &str) -> auth_tests::Call {
    app.post("/auth/refresh", json!({"refresh_token": token}))
}

fn trade(app: &App, token: &str) -> auth_tests::Call {
    app.post("/auth/refresh", json!({"token": token}))
}

/// The next tokens.
async fn next(app: &App, person: &Person) -> Person {
    let answer = refresh(app, &person.refresh_token).await;
    Person::of(answer.ok(200), &person.password)
}

async fn is_over(app: &App, person: &Person) {
    app.get("/auth/me")
        .by(person)
        .await
        .refused(401, "invalid_token");
    let answer = refresh(app, &person.refresh_token).await;
    answer.refused(401, "invalid_token");
}

async fn a_refresh_token_is_traded_for_the_next_ones(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.clock.advance(Duration::minutes(10));
    let answer = refresh(&app, &ada.refresh_token).await;
    let json = answer.ok(200);
    assert_eq!(json.as_object().unwrap().len(), 6, "{json}");
    assert_eq!(json["token_type"], "bearer");
    assert_eq!(json["expires_in"], 3600);
    assert_eq!(json["refresh_expires_in"], 14 * 24 * 3600);
    assert_eq!(json["user"]["username"], "ada");
    let second = Person::of(json, PASSWORD);
    assert_eq!(second.session(), ada.session());
    assert_ne!(second.refresh_token, ada.refresh_token);
    assert_ne!(second.access_token, ada.access_token);
    let third = next(&app, &second).await;
    for person in [&ada, &second, &third] {
        app.get("/auth/me").by(person).await.ok(200);
    }
    let sessions = app.get("/auth/sessions").by(&third).await;
    let sessions = sessions.ok(200)["sessions"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 1);
    assert_ne!(sessions[0]["created_at"], sessions[0]["last_used_at"]);
}

async fn two_parallel_refreshes_keep_the_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    for round in 0..5 {
        let start = app.logged_in(&ada).await;
        let answers = at_once((0..2).map(|_| refresh(&app, &start.refresh_token))).await;
        let tabs: Vec<_> = answers
            .iter()
            .map(|answer| Person::of(answer.ok(200), PASSWORD))
            .collect();
        assert_ne!(tabs[0].refresh_token, tabs[1].refresh_token);
        // Both tabs live on, whichever goes first.
        for tab in [&tabs[round % 2], &tabs[1 - round % 2]] {
            app.get("/auth/me").by(tab).await.ok(200);
            next(&app, tab).await;
        }
    }
    let log = app.audit(ada.id).await;
    assert!(!log.contains(&"refresh_token_reused"), "{log:?}");
}

async fn a_lost_answer_is_no_theft(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    refresh(&app, &ada.refresh_token).await.ok(200); // never arrived
    app.clock.advance(Duration::seconds(29));
    let second = next(&app, &ada).await;
    let third = next(&app, &second).await;
    app.get("/auth/me").by(&third).await.ok(200);
}

async fn a_replay_after_the_grace_ends_the_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let second = next(&app, &ada).await;
    app.clock.advance(Duration::seconds(31));
    let answer = refresh(&app, &ada.refresh_token).await;
    answer.refused(401, "token_reused");
    let challenge = r#"Bearer error="invalid_token""#;
    assert_eq!(answer.header("www-authenticate"), challenge);
    is_over(&app, &ada).await;
    is_over(&app, &second).await;
    let log = app.audit(ada.id).await;
    assert_eq!(log.last(), Some(&"refresh_token_reused"), "{log:?}");
}

async fn a_replay_counts_from_the_first_use(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    // A thief who keeps coming back does not keep the grace open.
    for _ in 0..3 {
        refresh(&app, &ada.refresh_token).await.ok(200);
        app.clock.advance(Duration::seconds(14));
    }
    let answer = refresh(&app, &ada.refresh_token).await;
    answer.refused(401, "token_reused");
}

async fn a_replay_once_the_successor_is_in_use_ends_the_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let second = next(&app, &ada).await;
    let third = next(&app, &second).await;
    let answer = refresh(&app, &ada.refresh_token).await;
    answer.refused(401, "token_reused");
    is_over(&app, &third).await;
}

async fn an_older_ancestor_ends_the_session_at_any_time(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    for wait in [Duration::ZERO, Duration::seconds(10), Duration::days(3)] {
        let first = app.logged_in(&ada).await;
        let second = next(&app, &first).await;
        let third = next(&app, &second).await;
        let fourth = next(&app, &third).await;
        app.clock.advance(wait);
        let answer = refresh(&app, &first.refresh_token).await;
        answer.refused(401, "token_reused");
        for person in [&second, &third, &fourth] {
            let answer = refresh(&app, &person.refresh_token).await;
            answer.refused(401, "invalid_token");
        }
    }
}

async fn a_replay_is_seen_by_every_process(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let second = next(&app, &ada).await;
    let replica = app.replica(signing_keys(), |auth| auth).await;
    let third = next(&replica, &second).await;
    let restarted = app.replica(signing_keys(), |auth| auth).await;
    let answer = refresh(&restarted, &ada.refresh_token).await;
    answer.refused(401, "token_reused");
    is_over(&app, &third).await;
    is_over(&replica, &third).await;
}

async fn a_replay_leaves_other_sessions_alone(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let phone = app.logged_in(&ada).await;
    let eve = app.verified("eve").await;
    next(&app, &ada).await;
    app.clock.advance(Duration::minutes(1));
    let answer = refresh(&app, &ada.refresh_token).await;
    answer.refused(401, "token_reused");
    for other in [&phone, &eve] {
        app.get("/auth/me").by(other).await.ok(200);
        next(&app, other).await;
    }
}

async fn a_session_that_is_not_refreshed_ends_after_14_days(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.clock.advance(Duration::days(14) - Duration::SECOND);
    let second = next(&app, &ada).await;
    app.clock.advance(Duration::days(14));
    let answer = refresh(&app, &second.refresh_token).await;
    answer.refused(401, "token_expired");
    app.get("/auth/me")
        .by(&second)
        .await
        .refused(401, "token_expired");
}

async fn a_session_ends_after_30_days_whatever_is_refreshed(store: StoreKind) {
    let app = App::on(store).await;
    let mut ada = app.verified("ada").await;
    let mut days_left = 30;
    for _ in 0..2 {
        app.clock.advance(Duration::days(10));
        days_left -= 10;
        let answer = refresh(&app, &ada.refresh_token).await;
        let json = answer.ok(200);
        let lives = json["refresh_expires_in"].as_i64().unwrap();
        let expected = days_left.min(14) * 24 * 3600;
        assert!((expected - 1..=expected).contains(&lives), "{lives}");
        ada = Person::of(json, PASSWORD);
    }
    app.clock
        .advance(Duration::days(10) - Duration::minutes(10));
    let answer = refresh(&app, &ada.refresh_token).await;
    let json = answer.ok(200);
    for lives in ["expires_in", "refresh_expires_in"] {
        let lives = json[lives].as_i64().unwrap();
        assert!((599..=600).contains(&lives), "{json}");
    }
    let ada = Person::of(json, PASSWORD);
    app.clock.advance(Duration::minutes(10));
    let answer = refresh(&app, &ada.refresh_token).await;
    answer.refused(401, "token_expired");
    app.get("/auth/me")
        .by(&ada)
        .await
        .refused(401, "token_expired");
}

async fn an_access_token_is_traded_for_an_access_token_only(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.clock.advance(Duration::minutes(59));
    let answer = trade(&app, &ada.access_token).await;
    let json = answer.ok(200);
    let members: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        ["access_token", "expires_in", "token_type", "user"]
    );
    assert_eq!(json["expires_in"], 3600);
    let token = json["access_token"].as_str().unwrap();
    assert_eq!(forge::claims(token)["sid"], ada.session().to_string());
    app.clock.advance(Duration::minutes(2));
    app.get("/auth/me").bearer(token).await.ok(200);
    let answer = trade(&app, &ada.access_token).await;
    answer.refused(401, "token_expired");
    // Its refresh token was not used by it.
    next(&app, &ada).await;
}

async fn a_traded_access_token_keeps_the_session_alive(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let mut token = ada.access_token.clone();
    for _ in 0..(15 * 24 * 60 / 59) {
        app.clock.advance(Duration::minutes(59));
        let answer = trade(&app, &token).await;
        answer.ok(200)["access_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut token);
    }
    app.get("/auth/me").bearer(&token).await.ok(200);
}

async fn a_traded_access_token_never_outlives_the_session(store: StoreKind) {
    let app = App::on(store).await;
    let mut ada = app.verified("ada").await;
    for _ in 0..2 {
        app.clock.advance(Duration::days(13));
        ada = next(&app, &ada).await;
    }
    app.clock.advance(Duration::days(4) - Duration::minutes(30));
    let ada = next(&app, &ada).await;
    let mut token = ada.access_token.clone();
    for minutes_left in [20, 10] {
        app.clock.advance(Duration::minutes(10));
        let answer = trade(&app, &token).await;
        let json = answer.ok(200);
        let lives = json["expires_in"].as_i64().unwrap();
        assert!((minutes_left * 60 - 1..=minutes_left * 60).contains(&lives));
        json["access_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut token);
    }
    app.clock.advance(Duration::minutes(10));
    let answer = trade(&app, &token).await;
    answer.refused(401, "token_expired");
    app.get("/auth/me")
        .bearer(&token)
        .await
        .refused(401, "token_expired");
}

async fn what_opens_no_session_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let reset = app.reset_token("ada@example.org").await;
    let sid = ada.session().to_string();
    let (cut, long) = (&ada.refresh_token[..42], "a".repeat(5000));
    for token in [
        "",
        " ",
        "a.b.c",
        "0",
        &reset,
        &sid,
        cut,
        &format!("{} ", ada.refresh_token),
        &format!("{}=", ada.refresh_token),
        &ada.refresh_token.to_uppercase(),
        &long,
    ] {
        for answer in [refresh(&app, token).await, trade(&app, token).await] {
            answer.refused(401, "invalid_token");
            let challenge = r#"Bearer error="invalid_token""#;
            assert_eq!(answer.header("www-authenticate"), challenge);
        }
    }
    // Each in the place of the other.
    refresh(&app, &ada.access_token)
        .await
        .refused(401, "invalid_token");
    trade(&app, &ada.refresh_token)
        .await
        .refused(401, "invalid_token");
    // None of it ended the session.
    app.get("/auth/me").by(&ada).await.ok(200);
    next(&app, &ada).await;
}

async fn exactly_one_token_is_traded(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let before = app.state_of(&ada).await;
    for (body, fault) in [
        (json!({}), ("refresh_token", "required")),
        (
            json!({"token": ada.access_token, "refresh_token": ada.refresh_token}),
            ("token", "mutually_exclusive"),
        ),
        (
            json!({"refresh_token": null}),
            ("refresh_token", "invalid_type"),
        ),
        (
            json!({"token": [ada.access_token]}),
            ("token", "invalid_type"),
        ),
        (
            json!({"refresh_token": ada.refresh_token, "user_id": ada.id.to_string()}),
            ("user_id", "unknown_field"),
        ),
    ] {
        let answer = app.post("/auth/refresh", body).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [fault]);
    }
    // The header proves nothing here.
    let answer = app.post("/auth/refresh", json!({})).by(&ada).await;
    answer.refused(422, "validation_failed");
    assert_eq!(app.state_of(&ada).await, before);
}

async fn new_tokens_say_what_is_true_by_now(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    assert_eq!(forge::claims(&ada.access_token)["email_verified"], false);
    let token = app.mailed_token("ada@example.org").await;
    let verify = app.post("/auth/verify-email", json!({"token": token}));
    verify.await.ok(200);
    let client = Client::default();
    app.auth.set_admin(ada.id, true, &client).await.unwrap();
    let traded = trade(&app, &ada.access_token).await;
    let refreshed = refresh(&app, &ada.refresh_token).await;
    for answer in [traded, refreshed] {
        let json = answer.ok(200);
        let claims = forge::claims(json["access_token"].as_str().unwrap());
        assert_eq!(claims["email_verified"], true);
        assert_eq!(claims["is_admin"], true);
        assert_eq!(json["user"]["is_verified"], true);
        assert_eq!(json["user"]["is_admin"], true);
    }
}

async fn nothing_is_traded_once_the_session_is_over(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let client = Client::default();
    let logged_out = app.logged_in(&ada).await;
    app.call("POST", "/auth/logout")
        .by(&logged_out)
        .await
        .ok(200);
    let off = app.verified("off").await;
    app.auth.set_disabled(off.id, true, &client).await.unwrap();
    let gone = app.verified("gone").await;
    let delete = app.delete("/auth/users/delete-account").by(&gone);
    delete.json(json!({"password": PASSWORD})).await.ok(200);
    for person in [&logged_out, &off, &gone] {
        let answer = trade(&app, &person.access_token).await;
        answer.refused(401, "invalid_token");
        is_over(&app, person).await;
    }
}
