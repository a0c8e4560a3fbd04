use auth_core::time::Duration;
use auth_tests::{App, PASSWORD, Person, SECRET, StoreKind, at_once, forge};
use serde_json::json;

auth_tests::on_each_store! {
    an_address_changes_when_the_new_mailbox_is_proven
    a_changed_address_ends_every_session
    only_the_owner_asks_for_a_change
    a_taken_address_is_refused
    an_address_that_is_taken_meanwhile_is_refused_at_the_link
    a_newer_change_replaces_the_older
    of_changes_at_once_token_and_address_belong_together
    the_old_mailbox_can_stop_a_change
    a_stopped_change_cannot_be_completed_or_stopped_twice
    a_completed_change_cannot_be_stopped
    links_of_a_change_live_a_day
    a_forged_cancel_link_stops_nothing
    a_change_of_letter_case_is_none
    a_change_that_races_a_password_change_is_not_begun
    a_change_is_not_begun_from_a_session_that_ends_meanwhile
    changes_are_throttled
}

fn change(app: &App, person: &Person, new_email: &str, password: &str) -> auth_tests::Call {
    let body = json!({"new_email": new_email, "current_password": password});
    app.put("/auth/users/change-email", body).by(person)
}

fn verify(app: &App, token: &str) -> auth_tests::Call {
    app.post("/auth/verify-email", json!({"token": token}))
}

fn cancel(app: &App, token: &str) -> auth_tests::Call {
    app.post("/auth/cancel-email-change", json!({"token": token}))
}

fn login(app: &App, name: &str) -> auth_tests::Call {
    app.post(
        "/auth/login",
        json!({"username": name, "password": PASSWORD}),
    )
}

async fn an_address_changes_when_the_new_mailbox_is_proven(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let answer = change(&app, &ada, "New@Example.org", PASSWORD).await;
    let json = answer.ok(202);
    assert!(json["message"].is_string() && json.as_object().unwrap().len() == 1);
    let (link, notice) = {
        app.deliver().await;
        let link = app.mailbox.last_to("New@example.org");
        (link, app.mailbox.last_to("ada@example.org"))
    };
    assert_eq!(link.template, "email_change_verify");
    assert!(
        link.link()
            .starts_with("https://app.example.org/verify-email?token=")
    );
    assert_eq!(notice.template, "email_change_notice");
    assert!(
        notice
            .link()
            .starts_with("https://app.example.org/cancel-email-change?token=")
    );
    assert!(notice.text.contains("New@example.org"), "{}", notice.text);

    // Nothing has changed so far.
    let me = app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200)["email"], "ada@example.org");
    login(&app, "new@example.org")
        .await
        .refused(401, "invalid_credentials");

    let answer = app
        .get(&format!("/auth/verify-email?token={}", link.token()))
        .await;
    let json = answer.ok(200);
    assert_eq!(json["status"], "verified");
    assert_eq!(json["user"]["email"], "New@example.org");
    assert_eq!(json["user"]["is_verified"], true);
    let again = verify(&app, link.token()).await;
    assert_eq!(again.ok(200)["status"], "already_verified");
    login(&app, "ada@example.org")
        .await
        .refused(401, "invalid_credentials");
    for name in ["ada", "new@example.org"] {
        let answer = login(&app, name).await;
        assert_eq!(answer.ok(200)["user"]["email"], "New@example.org");
    }
    let log = app.audit(ada.id).await;
    assert_eq!(log[2..4], ["email_change_requested", "email_changed"]);
    // The old address is free.
    let body = json!({"username": "next", "email": "ada@example.org", "password": PASSWORD});
    app.post("/auth/register", body).await.ok(201);
}

async fn a_changed_address_ends_every_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let phone = app.logged_in(&ada).await;
    let reset = app.reset_token("ada@example.org").await;
    let (token, _) = app.email_change_tokens(&ada, "new@example.org").await;
    for person in [&ada, &phone] {
        app.get("/auth/me").by(person).await.ok(200);
    }
    verify(&app, &token).await.ok(200);
    for person in [&ada, &phone] {
        app.get("/auth/me")
            .by(person)
            .await
            .refused(401, "invalid_token");
        let body = json!({"refresh_token": person.refresh_token});
        let answer = app.post("/auth/refresh", body).await;
        answer.refused(401, "invalid_token");
    }
    let body = json!({"token": reset, "new_password": "another long passphrase"});
    app.post("/update-password", body)
        .await
        .refused(400, "invalid_token");
}

async fn only_the_owner_asks_for_a_change(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let eve = app.registered("eve").await;
    let answer = change(&app, &eve, "new@example.org", PASSWORD).await;
    answer.refused(403, "email_not_verified");
    app.deliver().await;
    let state = app.state_of(&ada).await;
    for password in ["", "wrong password"] {
        let answer = change(&app, &ada, "new@example.org", password).await;
        answer.refused(400, "current_password_invalid");
    }
    for (body, fault) in [
        (
            json!({"new_email": "new@example.org"}),
            ("current_password", "required"),
        ),
        (
            json!({"current_password": PASSWORD}),
            ("new_email", "required"),
        ),
        (
            json!({"new_email": "new@example.org, eve@example.org", "current_password": PASSWORD}),
            ("new_email", "invalid_email"),
        ),
        (
            json!({"new_email": ["new@example.org"], "current_password": PASSWORD}),
            ("new_email", "invalid_type"),
        ),
        (
            json!({"new_email": "Ada@Example.ORG", "current_password": PASSWORD}),
            ("new_email", "unchanged"),
        ),
    ] {
        let answer = app.put("/auth/users/change-email", body).by(&ada).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [fault]);
    }
    assert_eq!(app.state_of(&ada).await, state);
    assert_eq!(app.deliver().await, 0);
}

async fn a_taken_address_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.registered("eve").await; // not verified, and taken all the same
    app.deliver().await;
    let state = app.state_of(&ada).await;
    for email in ["eve@example.org", "EVE@EXAMPLE.ORG"] {
        change(&app, &ada, email, PASSWORD)
            .await
            .refused(409, "email_taken");
        // Who cannot prove to be the owner does not learn it.
        let answer = change(&app, &ada, email, "wrong password").await;
        answer.refused(400, "current_password_invalid");
    }
    assert_eq!(app.state_of(&ada).await, state);
}

async fn an_address_that_is_taken_meanwhile_is_refused_at_the_link(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.verified("eve").await);
    let (adas, _) = app.email_change_tokens(&ada, "new@example.org").await;
    let (eves, _) = app.email_change_tokens(&eve, "new@example.org").await;
    // Both may ask; the first link wins.
    verify(&app, &eves).await.ok(200);
    let state = app.state_of(&ada).await;
    verify(&app, &adas).await.refused(409, "email_taken");
    assert_eq!(app.state_of(&ada).await, state);
    app.get("/auth/me").by(&ada).await.ok(200);
    // The token was not used up: once the address is free, it works.
    let eve = app.logged_in(&eve).await;
    let delete = app.delete("/auth/users/delete-account").by(&eve);
    delete.json(json!({"password": PASSWORD})).await.ok(200);
    let answer = verify(&app, &adas).await;
    assert_eq!(answer.ok(200)["user"]["email"], "new@example.org");
}

async fn a_newer_change_replaces_the_older(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (first, _) = app.email_change_tokens(&ada, "first@example.org").await;
    app.clock.advance(Duration::MINUTE);
    let (second, _) = app.email_change_tokens(&ada, "second@example.org").await;
    verify(&app, &first).await.refused(400, "invalid_token");
    let answer = verify(&app, &second).await;
    assert_eq!(answer.ok(200)["user"]["email"], "second@example.org");
    verify(&app, &first).await.refused(400, "invalid_token");
}

async fn of_changes_at_once_token_and_address_belong_together(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let addresses: Vec<_> = (0..4).map(|n| format!("new{n}@example.org")).collect();
    let calls = addresses
        .iter()
        .map(|email| change(&app, &ada, email, PASSWORD));
    let answers = at_once(calls).await;
    let begun: Vec<_> = addresses
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.status == 202)
        .collect();
    assert_eq!(begun.len(), 1, "{answers:?}");
    let mut tokens = vec![app.mailed_token(begun[0].0).await];
    let mut addresses = vec![begun[0].0.clone()];
    for n in 4..7 {
        app.clock.advance(Duration::MINUTE);
        let email = format!("new{n}@example.org");
        tokens.push(app.email_change_tokens(&ada, &email).await.0);
        addresses.push(email);
    }
    let answers = at_once(tokens.iter().map(|token| verify(&app, token))).await;
    let mut proven = Vec::new();
    for (answer, email) in answers.iter().zip(&addresses) {
        if answer.status == 200 {
            assert_eq!(answer.json["user"]["email"], **email);
            proven.push(email);
        } else {
            answer.refused(400, "invalid_token");
        }
    }
    assert_eq!(proven.len(), 1, "{answers:?}");
    let answer = login(&app, "ada").await;
    assert_eq!(answer.ok(200)["user"]["email"], **proven[0]);
}

async fn the_old_mailbox_can_stop_a_change(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    // Somebody who knows the password and sits in a session wants the account.
    let thief = app.logged_in(&ada).await;
    let (change, stop) = app.email_change_tokens(&thief, "thief@example.org").await;
    let answer = cancel(&app, &stop).await;
    let json = answer.ok(200);
    assert!(json["message"].is_string() && json.as_object().unwrap().len() == 1);
    verify(&app, &change).await.refused(400, "invalid_token");
    for person in [&ada, &thief] {
        app.get("/auth/me")
            .by(person)
            .await
            .refused(401, "invalid_token");
        let body = json!({"refresh_token": person.refresh_token});
        let answer = app.post("/auth/refresh", body).await;
        answer.refused(401, "invalid_token");
    }
    let answer = login(&app, "ada@example.org").await;
    assert_eq!(answer.ok(200)["user"]["email"], "ada@example.org");
    let log = app.audit(ada.id).await;
    assert_eq!(
        log[3..5],
        ["email_change_requested", "email_change_cancelled"]
    );
}

async fn a_stopped_change_cannot_be_completed_or_stopped_twice(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (change, stop) = app.email_change_tokens(&ada, "new@example.org").await;
    let answers = at_once((0..4).map(|_| cancel(&app, &stop))).await;
    let done = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(done, 1, "{answers:?}");
    let state = app.state_of(&ada).await;
    cancel(&app, &stop).await.refused(400, "invalid_token");
    verify(&app, &change).await.refused(400, "invalid_token");
    assert_eq!(app.state_of(&ada).await, state);

    // The link to the old mailbox stops whatever is pending, also what was asked for later.
    let ada = app.logged_in(&ada).await;
    app.clock.advance(Duration::MINUTE);
    let (_, older) = app.email_change_tokens(&ada, "first@example.org").await;
    app.clock.advance(Duration::MINUTE);
    let (newer, _) = app.email_change_tokens(&ada, "second@example.org").await;
    cancel(&app, &older).await.ok(200);
    verify(&app, &newer).await.refused(400, "invalid_token");
}

async fn a_completed_change_cannot_be_stopped(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (change, stop) = app.email_change_tokens(&ada, "new@example.org").await;
    verify(&app, &change).await.ok(200);
    let ada = app.logged_in(&ada).await;
    cancel(&app, &stop).await.refused(400, "invalid_token");
    app.get("/auth/me").by(&ada).await.ok(200);

    // Raced, exactly one of both has its way.
    app.clock.advance(Duration::MINUTE);
    let (change, stop) = app.email_change_tokens(&ada, "newer@example.org").await;
    let answers = at_once([verify(&app, &change), cancel(&app, &stop)]).await;
    let done = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(done, 1, "{answers:?}");
}

async fn links_of_a_change_live_a_day(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (change, stop) = app.email_change_tokens(&ada, "new@example.org").await;
    app.clock.advance(Duration::DAY);
    let state = app.state_of(&ada).await;
    verify(&app, &change).await.refused(400, "token_expired");
    cancel(&app, &stop).await.refused(400, "token_expired");
    assert_eq!(app.state_of(&ada).await, state);
    let ada = app.logged_in(&ada).await;
    let (change, _) = app.email_change_tokens(&ada, "new@example.org").await;
    app.clock.advance(Duration::DAY - Duration::SECOND);
    verify(&app, &change).await.ok(200);
}

async fn a_forged_cancel_link_stops_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.verified("eve").await);
    let (change, stop) = app.email_change_tokens(&ada, "new@example.org").await;
    let (_, eves) = app.email_change_tokens(&eve, "other@example.org").await;
    let reset = app.reset_token("ada@example.org").await;
    let (header, claims) = (forge::header(&eves), forge::claims(&eves));
    let adas = forge::set(&claims, "sub", ada.id.to_string());
    let state = app.state_of(&ada).await;
    for token in [
        forge::with_claims(&eves, &adas),
        forge::signed(&header, &adas, SECRET),
        format!(
            "{}.",
            forge::message(&forge::set(&header, "alg", "none"), &claims)
        ),
        stop[..stop.len() - 1].to_owned(),
        change.clone(),
        reset,
        ada.access_token.clone(),
        ada.refresh_token.clone(),
        String::new(),
    ] {
        let answer = cancel(&app, &token).await;
        answer.refused(400, "invalid_token");
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    let get = app
        .get(&format!("/auth/cancel-email-change?token={stop}"))
        .await;
    get.refused(405, "method_not_allowed");
    assert_eq!(app.state_of(&ada).await, state);
    app.get("/auth/me").by(&ada).await.ok(200);
    verify(&app, &change).await.ok(200);
}

async fn a_change_of_letter_case_is_none(store: StoreKind) {
    // The address is the same one: nothing has to be proven, and nothing changes.
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let answer = change(&app, &ada, "ADA@example.org", PASSWORD).await;
    answer.refused(422, "validation_failed");
    assert_eq!(answer.faults(), [("new_email", "unchanged")]);
}

async fn a_change_that_races_a_password_change_is_not_begun(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let thief = app.logged_in(&ada).await;
    let hold = app.store.hold("begin_email_change");
    let call = change(&app, &thief, "thief@example.org", PASSWORD);
    let changing = tokio::spawn(async move { call.await });
    hold.reached().await;
    let body = json!({"current_password": PASSWORD, "new_password": "another long passphrase"});
    app.put("/auth/users/change-password", body)
        .by(&ada)
        .await
        .ok(200);
    hold.release();
    changing.await.unwrap().refused(401, "invalid_token");
    assert!(app.mails_to("thief@example.org").await.is_empty());
}

async fn a_change_is_not_begun_from_a_session_that_ends_meanwhile(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let thief = app.logged_in(&ada).await;
    let hold = app.store.hold("begin_email_change");
    let call = change(&app, &thief, "thief@example.org", PASSWORD);
    let changing = tokio::spawn(async move { call.await });
    hold.reached().await;
    let logout = app.call("POST", "/auth/logout?scope=others").by(&ada);
    logout.await.ok(200);
    hold.release();
    changing.await.unwrap().refused(401, "invalid_token");
    assert!(app.mails_to("thief@example.org").await.is_empty());
}

async fn changes_are_throttled(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.verified("eve").await);
    let mut addresses = (0..).map(|n| format!("victim{n}@example.org"));
    let mut ask = async |person| {
        let email = addresses.next().unwrap();
        change(&app, person, &email, PASSWORD).await
    };
    ask(&ada).await.ok(202);
    app.deliver().await;
    let state = app.state_of(&ada).await;
    let answer = ask(&ada).await;
    answer.refused(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "60");
    assert_eq!(app.state_of(&ada).await, state);
    assert_eq!(app.deliver().await, 0);
    ask(&eve).await.ok(202);

    for _ in 0..4 {
        app.clock.advance(Duration::MINUTE);
        ask(&ada).await.ok(202);
    }
    app.clock.advance(Duration::MINUTE);
    let answer = ask(&ada).await;
    answer.refused(429, "rate_limited");
    let wait: i64 = answer.header("retry-after").parse().unwrap();
    assert!((3290..=3300).contains(&wait), "{answer:?}");
    app.clock.advance(Duration::seconds(wait));
    ask(&app.logged_in(&ada).await).await.ok(202);
}
