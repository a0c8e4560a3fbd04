use auth_core::{
    ports::{Clock, OsRandom, UserStore},
    time::Duration,
    types::{
        AccountKey, Digest, Email, NewAccount, NewSession, Record, Session, SessionId, User,
        UserId, Username,
    },
};
use auth_tests::{App, PASSWORD, Person, SECRET, StoreKind, at_once, email_of, forge};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    a_deleted_account_is_gone
    a_deleted_name_and_address_are_free
    nothing_is_deleted_without_the_password
    nobody_deletes_another
    mails_of_a_deleted_account_are_not_sent
    a_deletion_that_races_a_password_change_is_not_made
    nothing_is_deleted_from_a_session_that_ends_meanwhile
    of_deletions_at_once_one_is_made
    an_account_without_a_password_is_deleted_by_a_fresh_login
    accounts_that_were_never_verified_are_swept_after_a_week
}

fn delete(app: &App, person: &Person, body: impl Into<Value>) -> auth_tests::Call {
    app.delete("/auth/users/delete-account")
        .by(person)
        .json(body)
}

async fn a_deleted_account_is_gone(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let (phone, eve) = (app.logged_in(&ada).await, app.verified("eve").await);
    let reset = app.reset_token("ada@example.org").await;
    let (change, cancel) = app.email_change_tokens(&ada, "new@example.org").await;
    let answer = delete(&app, &ada, json!({"password": PASSWORD})).await;
    let json = answer.ok(200);
    assert!(json["message"].is_string() && json.as_object().unwrap().len() == 1);

    for person in [&ada, &phone] {
        app.get("/auth/me")
            .by(person)
            .await
            .refused(401, "invalid_token");
        for body in [
            json!({"refresh_token": person.refresh_token}),
            json!({"token": person.access_token}),
        ] {
            let answer = app.post("/auth/refresh", body).await;
            answer.refused(401, "invalid_token");
        }
    }
    let login = json!({"username": "ada", "password": PASSWORD});
    app.post("/auth/login", login)
        .await
        .refused(401, "invalid_credentials");
    for (path, body) in [
        (
            "/update-password",
            json!({"token": reset, "new_password": "another long passphrase"}),
        ),
        ("/auth/verify-email", json!({"token": change})),
        ("/auth/cancel-email-change", json!({"token": cancel})),
    ] {
        app.post(path, body).await.refused(400, "invalid_token");
    }
    for path in [
        format!("/auth/users/{}/email", ada.id),
        "/auth/users/by-email/ada%40example.org".to_owned(),
    ] {
        app.get(&path)
            .by_service()
            .await
            .refused(404, "user_not_found");
    }
    app.get("/auth/me").by(&eve).await.ok(200);
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates.last(), Some(&"account_deleted"));
    // What happened is kept.
    let log = app.audit(ada.id).await;
    assert_eq!(
        (log[0], *log.last().unwrap()),
        ("registered", "account_deleted")
    );
}

async fn a_deleted_name_and_address_are_free(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    delete(&app, &ada, json!({"password": PASSWORD}))
        .await
        .ok(200);
    let next = app.verified("ada").await;
    assert_ne!(next.id, ada.id, "an id is never given again");
    app.get("/auth/me")
        .by(&ada)
        .await
        .refused(401, "invalid_token");
    app.get("/auth/me").by(&next).await.ok(200);
    assert_eq!(app.audit(next.id).await, ["registered", "email_verified"]);
}

async fn nothing_is_deleted_without_the_password(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    let answer = delete(&app, &ada, json!({})).await;
    answer.refused(422, "validation_failed");
    assert_eq!(answer.faults(), [("password", "required")]);
    let answer = delete(&app, &ada, json!({"password": null})).await;
    answer.refused(422, "validation_failed");
    for password in ["", "wrong password", "Correct horse battery staple"] {
        let answer = delete(&app, &ada, json!({"password": password})).await;
        answer.refused(400, "current_password_invalid");
    }
    let bare = app.delete("/auth/users/delete-account").by(&ada).await;
    bare.refused(400, "malformed_json");
    assert_eq!(app.state_of(&ada).await, state);
    app.get("/auth/me").by(&ada).await.ok(200);
}

async fn nobody_deletes_another(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.verified("eve").await);
    let unverified = app.registered("bob").await;
    for (name, value) in [
        ("user_id", ada.id.to_string()),
        ("username", "ada".to_owned()),
    ] {
        let answer = delete(&app, &eve, json!({"password": PASSWORD, name: value})).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [(name, "unknown_field")]);
    }
    let answer = delete(&app, &unverified, json!({"password": PASSWORD})).await;
    answer.refused(403, "email_not_verified");
    for person in [&ada, &eve] {
        app.get("/auth/me").by(person).await.ok(200);
    }
}

async fn mails_of_a_deleted_account_are_not_sent(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let body = json!({"email": "ada@example.org"});
    app.post("/auth/password-reset-request", body).await.ok(200);
    delete(&app, &ada, json!({"password": PASSWORD}))
        .await
        .ok(200);
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "account_deleted"]);
}

async fn a_deletion_that_races_a_password_change_is_not_made(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let thief = app.logged_in(&ada).await;
    let hold = app.store.hold("delete_account");
    let call = delete(&app, &thief, json!({"password": PASSWORD}));
    let deleting = tokio::spawn(async move { call.await });
    hold.reached().await;
    let body = json!({"current_password": PASSWORD, "new_password": "another long passphrase"});
    let changed = app.put("/auth/users/change-password", body).by(&ada).await;
    let ada = Person::of(changed.ok(200), "another long passphrase");
    hold.release();
    deleting.await.unwrap().refused(401, "invalid_token");
    app.get("/auth/me").by(&ada).await.ok(200);
}

async fn nothing_is_deleted_from_a_session_that_ends_meanwhile(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let thief = app.logged_in(&ada).await;
    let hold = app.store.hold("delete_account");
    let call = delete(&app, &thief, json!({"password": PASSWORD}));
    let deleting = tokio::spawn(async move { call.await });
    hold.reached().await;
    let logout = app.call("POST", "/auth/logout?scope=others").by(&ada);
    logout.await.ok(200);
    hold.release();
    deleting.await.unwrap().refused(401, "invalid_token");
    app.get("/auth/me").by(&ada).await.ok(200);
}

async fn of_deletions_at_once_one_is_made(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let body = json!({"password": PASSWORD});
    let answers = at_once((0..4).map(|_| delete(&app, &ada, body.clone()))).await;
    let mut made = 0;
    for answer in &answers {
        if answer.status == 200 {
            made += 1;
        } else {
            answer.refused(401, "invalid_token");
        }
    }
    assert_eq!(made, 1, "{answers:?}");
    let templates = app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "account_deleted"]);
}

/// An account as another sign-in method would make it, with a session.
async fn without_password(app: &App, name: &str) -> Person {
    let model = app.verified(&format!("{name}-model")).await;
    let now = app.clock.now();
    let user = User {
        id: UserId::generate(now, &OsRandom),
        username: Username::parse(name).unwrap(),
        email: Email::parse(&email_of(name)).unwrap(),
        is_verified: true,
        is_admin: false,
        is_disabled: false,
        providers: Vec::new(),
        has_password: false,
        locale: "en".to_owned(),
        created_at: now,
        updated_at: now,
    };
    let session = Session {
        id: SessionId::generate(now, &OsRandom),
        user_id: user.id,
        created_at: now,
        last_used_at: now,
        expires_at: now + Duration::days(14),
        ends_at: now + Duration::days(30),
        ip: None,
        user_agent: None,
    };
    let (id, sid) = (user.id, session.id);
    let refresh_token = format!("refresh token of {name}");
    let account = NewAccount {
        user,
        password: None,
        session: Some(NewSession {
            session,
            refresh: Digest::of(&refresh_token),
        }),
        identity: None,
        token: None,
    };
    app.store
        .register(account, Record::default())
        .await
        .unwrap();
    let claims = forge::claims(&model.access_token);
    let claims = forge::set(&claims, "sub", id.to_string());
    let claims = forge::set(&claims, "sid", sid.to_string());
    let access_token = forge::signed(&forge::header(&model.access_token), &claims, SECRET);
    Person {
        id,
        username: name.to_owned(),
        email: email_of(name),
        password: String::new(),
        access_token,
        refresh_token,
    }
}

async fn an_account_without_a_password_is_deleted_by_a_fresh_login(store: StoreKind) {
    let app = App::on(store).await;
    let old = without_password(&app, "old").await;
    let me = app.get("/auth/me").by(&old).await;
    assert_eq!(me.ok(200)["sign_in_methods"], json!([]));
    app.clock.advance(Duration::minutes(5));
    for body in [json!({}), json!({"password": "whatever it is"})] {
        let answer = delete(&app, &old, body).await;
        answer.refused(403, "reauthentication_required");
    }
    // A refresh makes no session younger.
    let body = json!({"refresh_token": old.refresh_token});
    let answer = app.post("/auth/refresh", body).await;
    let old = Person::of(answer.ok(200), "");
    let answer = delete(&app, &old, json!({})).await;
    answer.refused(403, "reauthentication_required");

    let fresh = without_password(&app, "fresh").await;
    app.clock.advance(Duration::minutes(5) - Duration::SECOND);
    delete(&app, &fresh, json!({})).await.ok(200);
    let gone = app.store.account(&AccountKey::Id(fresh.id)).await.unwrap();
    assert!(gone.is_none());
    let stays = app.store.account(&AccountKey::Id(old.id)).await.unwrap();
    assert!(stays.is_some());
}

async fn accounts_that_were_never_verified_are_swept_after_a_week(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.registered("eve").await);
    app.deliver().await;
    for (days, found) in [(6, true), (2, false)] {
        app.clock.advance(Duration::days(days));
        app.auth.sweep().await.unwrap();
        let eve = app.store.account(&AccountKey::Id(eve.id)).await.unwrap();
        assert_eq!(eve.is_some(), found);
    }
    let stays = app.store.account(&AccountKey::Id(ada.id)).await.unwrap();
    assert!(stays.is_some());
    app.registered("eve").await;
}
