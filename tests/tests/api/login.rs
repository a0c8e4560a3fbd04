use std::time::{Duration, Instant};

use auth_core::{
    Hashing,
    ports::{AuditLog, Clock, OsRandom, SessionStore, UserStore},
    types::{
        AccountKey, AuditEvent, Client, Email, NewAccount, PasswordHash, Record, User, UserId,
        Username,
    },
};
use auth_tests::{App, PASSWORD, Person, StoreKind, at_once};
use serde_json::json;

auth_tests::on_each_store! {
    a_login_opens_another_session
    logins_are_recorded_with_where_they_came_from
    a_name_is_a_username_or_an_address_in_any_case
    password_forms_log_in_too
    what_a_form_may_say_beside
    nobody_learns_why_a_login_failed
    an_unverified_user_logs_in
    passwords_are_compared_whole
    a_password_is_the_same_in_each_normal_form
    an_imported_hash_verifies_and_is_replaced
    an_imported_hash_of_72_bytes_verifies
    a_damaged_hash_opens_nothing_and_tells_nothing
    a_login_that_races_a_reset_opens_no_session
    a_login_that_races_a_password_change_opens_no_session
    a_login_that_races_a_disabling_opens_no_session
    a_login_that_races_a_deletion_opens_no_session
}

async fn a_login_opens_another_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let body = json!({"username": "ada", "password": PASSWORD});
    let answer = app.post("/auth/login", body).await;
    let json = answer.ok(200);
    assert_eq!(json["token_type"], "bearer");
    assert_eq!(json["expires_in"], 3600);
    assert_eq!(json["refresh_expires_in"], 14 * 24 * 3600);
    assert_eq!(json["user"]["id"], ada.id.to_string());
    assert_eq!(json["user"]["is_verified"], true);
    assert_eq!(json.as_object().unwrap().len(), 6, "{json}");

    let second = Person::of(json, PASSWORD);
    assert_ne!(second.session(), ada.session());
    assert_ne!(second.refresh_token, ada.refresh_token);
    for person in [&ada, &second] {
        app.get("/auth/me").by(person).await.ok(200);
    }
    let log = app.audit(ada.id).await;
    assert_eq!(log, ["registered", "email_verified", "login_succeeded"]);
}

async fn logins_are_recorded_with_where_they_came_from(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    for (password, ip) in [(PASSWORD, "192.0.2.7"), ("wrong password", "2001:db8::7")] {
        let answer = app
            .post(
                "/auth/login",
                json!({"username": "ada", "password": password}),
            )
            .from(ip)
            .header("user-agent", "Browser/1.0")
            .header("x-request-id", "one-login")
            .await;
        let entries = app.store.audit_entries(ada.id, 1).await.unwrap();
        let entry = &entries[0];
        if password == PASSWORD {
            let here = Person::of(answer.ok(200), PASSWORD);
            assert_eq!(entry.event, AuditEvent::LoginSucceeded);
            assert_eq!(entry.session_id, Some(here.session()));
        } else {
            answer.refused(401, "invalid_credentials");
            assert_eq!(entry.event, AuditEvent::LoginFailed);
            assert_eq!(entry.session_id, None);
        }
        assert_eq!(entry.ip, Some(ip.parse().unwrap()));
        assert_eq!(entry.user_agent.as_deref(), Some("Browser/1.0"));
        assert_eq!(entry.request_id.as_deref(), Some("one-login"));
    }
}

async fn a_name_is_a_username_or_an_address_in_any_case(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("Ada.L").await;
    for body in [
        json!({"username": "Ada.L", "password": PASSWORD}),
        json!({"username": "ADA.l", "password": PASSWORD}),
        json!({"username": "Ada.L@example.org", "password": PASSWORD}),
        json!({"username": "ADA.L@EXAMPLE.ORG", "password": PASSWORD}),
        json!({"email": "ada.l@example.org", "password": PASSWORD}),
        json!({"email": "Ada.L", "password": PASSWORD}),
    ] {
        let answer = app.post("/auth/login", body.clone()).await;
        assert_eq!(answer.ok(200)["user"]["id"], ada.id.to_string(), "{body}");
    }
}

async fn password_forms_log_in_too(store: StoreKind) {
    let app = App::on(store).await;
    let password = "a + b & c = ü%20";
    let body = json!({"username": "ada", "email": "ada@example.org", "password": password});
    app.post("/auth/register", body).await.ok(201);
    let encoded = "password=a+%2B+b+%26+c+%3D+%C3%BC%2520";
    for (content_type, form) in [
        (
            "application/x-www-form-urlencoded",
            format!("username=ada&{encoded}"),
        ),
        (
            "application/x-www-form-urlencoded; charset=utf-8",
            format!("{encoded}&username=ADA"),
        ),
        (
            "Application/X-WWW-Form-URLEncoded",
            format!("email=ada%40example.org&{encoded}"),
        ),
    ] {
        let call = app.call("POST", "/auth/login").raw(form);
        let answer = call.header("content-type", content_type).await;
        assert_eq!(answer.ok(200)["user"]["username"], "ada");
    }
    let form = "username=ada&password=a+%2B+b+%26+c+%3D+%C3%BC+";
    let answer = app.call("POST", "/auth/login").form(form).await;
    answer.refused(401, "invalid_credentials");
}

async fn what_a_form_may_say_beside(store: StoreKind) {
    let app = App::on(store).await;
    app.registered("ada").await;
    let form = |more: &str| {
        let password = PASSWORD.replace(' ', "+");
        app.call("POST", "/auth/login")
            .form(format!("username=ada&password={password}{more}"))
    };
    for more in [
        "&grant_type=password",
        "&grant_type=",
        "&scope=&client_id=&client_secret=",
        "&grant_type=password&scope=a+b&client_id=x&client_secret=y",
    ] {
        form(more).await.ok(200);
    }
    for (more, fault) in [
        (
            "&grant_type=refresh_token",
            ("grant_type", "unsupported_grant_type"),
        ),
        ("&is_admin=true", ("is_admin", "unknown_field")),
        ("&username=eve", ("username", "duplicate_field")),
        ("&password=other", ("password", "duplicate_field")),
        ("&email=ada%40example.org", ("email", "mutually_exclusive")),
        ("&x=%ff", ("x", "invalid_encoding")),
    ] {
        let answer = form(more).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [fault], "{more}");
    }
    // JSON clients are no password forms.
    let body = json!({"username": "ada", "password": PASSWORD, "grant_type": "password"});
    let answer = app.post("/auth/login", body).await;
    let faults = [("grant_type", "unknown_field")];
    assert_eq!(answer.refused(422, "validation_failed").faults(), faults);
    let body = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    let answer = app.post("/auth/login", body).await;
    let faults = [("email", "mutually_exclusive")];
    assert_eq!(answer.refused(422, "validation_failed").faults(), faults);
}

async fn nobody_learns_why_a_login_failed(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let off = app.verified("off").await;
    let client = Client::default();
    app.auth.set_disabled(off.id, true, &client).await.unwrap();
    imported(&app, "bare", None).await;

    let long = "x".repeat(5000);
    let mut seen = Vec::new();
    for (name, password) in [
        ("ada", "wrong password"),
        ("ada", ""),
        ("ada", "correct horse battery staple "),
        ("ada", &long),
        ("ada@example.org", "wrong password"),
        ("nobody", PASSWORD),
        ("nobody@example.org", PASSWORD),
        ("", PASSWORD),
        ("no name at all", PASSWORD),
        ("a@b@c", PASSWORD),
        ("ada\0", PASSWORD),
        (&long, PASSWORD),
        ("off", PASSWORD),
        ("off", "wrong password"),
        ("bare", PASSWORD),
        ("bare", ""),
    ] {
        let answer = app
            .post(
                "/auth/login",
                json!({"username": name, "password": password}),
            )
            .header("x-request-id", "same")
            .await;
        answer.refused(401, "invalid_credentials");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        seen.push((answer.bytes.clone(), answer.headers.clone()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");

    for (person, failures) in [(&ada, 5), (&off, 2)] {
        let events = app.audit(person.id).await;
        let failed = events.iter().filter(|event| **event == "login_failed");
        assert_eq!(failed.count(), failures, "{events:?}");
    }
}

async fn an_unverified_user_logs_in(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let ada = app.logged_in(&ada).await;
    app.get("/auth/me")
        .by(&ada)
        .await
        .refused(403, "email_not_verified");
}

async fn passwords_are_compared_whole(store: StoreKind) {
    let app = App::on(store).await;
    for (name, password) in [
        ("len71", "p".repeat(71)),
        ("len72", "p".repeat(72)),
        ("len73", "p".repeat(73)),
        ("len128", "p".repeat(128)),
        // 128 characters of two bytes.
        ("wide", "ü".repeat(128)),
    ] {
        let email = format!("{name}@example.org");
        let body = json!({"username": name, "email": email, "password": password});
        app.post("/auth/register", body).await.ok(201);
        let login = |password: &str| {
            app.post(
                "/auth/login",
                json!({"username": name, "password": password}),
            )
        };
        login(&password).await.ok(200);
        let chars = password.chars().count();
        let cut = |n: usize| password.chars().take(n).collect::<String>();
        for other in [
            cut(chars - 1),
            cut(chars.min(72) - 1),
            cut(36),
            format!("{password}p"),
            format!("{}x", cut(chars - 1)),
        ] {
            let answer = login(&other).await;
            answer.refused(401, "invalid_credentials");
        }
        if chars > 72 {
            login(&cut(72)).await.refused(401, "invalid_credentials");
        }
    }
}

async fn a_password_is_the_same_in_each_normal_form(store: StoreKind) {
    let app = App::on(store).await;
    let body =
        json!({"username": "ada", "email": "ada@example.org", "password": "Ko\u{308}nigsberg 7"});
    app.post("/auth/register", body).await.ok(201);
    let body = json!({"username": "ada", "password": "K\u{f6}nigsberg 7"});
    app.post("/auth/login", body).await.ok(200);
}

/// An account as an import would write it.
async fn imported(app: &App, name: &str, hash: Option<&str>) -> UserId {
    let now = app.clock.now();
    let user = User {
        id: UserId::generate(now, &OsRandom),
        username: Username::parse(name).unwrap(),
        email: Email::parse(&auth_tests::email_of(name)).unwrap(),
        is_verified: true,
        is_admin: false,
        is_disabled: false,
        providers: Vec::new(),
        has_password: hash.is_some(),
        locale: "en".to_owned(),
        created_at: now,
        updated_at: now,
    };
    let id = user.id;
    let account = NewAccount {
        user,
        password: hash.map(PasswordHash::new),
        session: None,
        identity: None,
        token: None,
    };
    app.store
        .register(account, Record::default())
        .await
        .unwrap();
    id
}

async fn stored_hash(app: &App, id: UserId) -> String {
    let account = app.store.account(&AccountKey::Id(id)).await.unwrap();
    account.unwrap().password.unwrap().as_str().to_owned()
}

async fn an_imported_hash_verifies_and_is_replaced(store: StoreKind) {
    let app = App::with(store, |auth| auth.hashing(Hashing::bcrypt(6).unwrap())).await;
    // A vector of the Openwall project; the password breaks today's rules.
    let hash = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let id = imported(&app, "ada", Some(hash)).await;
    let login = |password: &str| {
        app.post(
            "/auth/login",
            json!({"username": "ada", "password": password}),
        )
    };

    login("U*U*").await.refused(401, "invalid_credentials");
    assert_eq!(
        stored_hash(&app, id).await,
        hash,
        "replaced by a wrong password"
    );
    let answer = login("U*U").await;
    let first = Person::of(answer.ok(200), "U*U");
    let replaced = stored_hash(&app, id).await;
    assert!(replaced.starts_with("$2b$06$"), "{replaced}");

    login("U*U").await.ok(200);
    assert_eq!(stored_hash(&app, id).await, replaced, "replaced again");
    login("U*U*").await.refused(401, "invalid_credentials");
    // A new hash of the same password ends nothing.
    app.get("/auth/me").by(&first).await.ok(200);
}

async fn an_imported_hash_of_72_bytes_verifies(store: StoreKind) {
    let app = App::on(store).await;
    // Another one of their vectors: 72 bytes, of which the last one counts.
    let hash = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui";
    imported(&app, "ada", Some(hash)).await;
    let password = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    assert_eq!(password.len(), 72);
    let login = |password: &str| {
        app.post(
            "/auth/login",
            json!({"username": "ada", "password": password}),
        )
    };
    login(password).await.ok(200);
    login(&password[..71])
        .await
        .refused(401, "invalid_credentials");
    let longer = format!("{password}chars after 72 are ignored");
    login(&longer).await.refused(401, "invalid_credentials");
}

async fn a_damaged_hash_opens_nothing_and_tells_nothing(store: StoreKind) {
    let app = App::on(store).await;
    for (index, hash) in [
        "",
        "plain text",
        "$2b$05$",
        "$2b$99$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2b$05$ÄÄÄÄÄÄÄÄÄÄÄ.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$argon2id$v=19$m=1,t=1,p=1$x$y",
        "$1$abc$def",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{index}");
        imported(&app, &name, Some(hash)).await;
        for password in ["", "plain text", "U*U"] {
            let body = json!({"username": name, "password": password});
            let answer = app.post("/auth/login", body).await;
            answer.refused(401, "invalid_credentials");
        }
    }
    // The threads that hash live on.
    let ada = app.registered("ada").await;
    app.logged_in(&ada).await;
}

/// A login proves the password, then `meanwhile` happens, then it wants its session.
async fn race<W: Future<Output = ()>>(app: &App, ada: &Person, meanwhile: W) {
    let hold = app.store.hold("open_session");
    let body = json!({"username": ada.username, "password": ada.password});
    let call = app.post("/auth/login", body);
    let login = tokio::spawn(async move { call.await });
    hold.reached().await;
    meanwhile.await;
    hold.release();
    login.await.unwrap().refused(401, "invalid_credentials");
    let sessions = app.store.sessions(ada.id, app.clock.now()).await.unwrap();
    assert!(
        sessions.len() <= 1,
        "only the one that was there: {sessions:?}"
    );
}

async fn a_login_that_races_a_reset_opens_no_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let token = app.reset_token("ada@example.org").await;
    race(&app, &ada, async {
        let body = json!({"token": token, "new_password": "another long passphrase"});
        app.post("/update-password", body).await.ok(200);
    })
    .await;
}

async fn a_login_that_races_a_password_change_opens_no_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    race(&app, &ada, async {
        let body = json!({"current_password": PASSWORD, "new_password": "another long passphrase"});
        let answer = app.put("/auth/users/change-password", body).by(&ada).await;
        answer.ok(200);
    })
    .await;
}

async fn a_login_that_races_a_disabling_opens_no_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    race(&app, &ada, async {
        let client = Client::default();
        app.auth.set_disabled(ada.id, true, &client).await.unwrap();
        // Also when the account is on again by then.
        app.auth.set_disabled(ada.id, false, &client).await.unwrap();
    })
    .await;
}

async fn a_login_that_races_a_deletion_opens_no_session(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    race(&app, &ada, async {
        let call = app.delete("/auth/users/delete-account").by(&ada);
        call.json(json!({"password": PASSWORD})).await.ok(200);
    })
    .await;
}

/// The time of a hash must be spent whatever is known of the name (ASVS 6.3.8).
#[tokio::test]
async fn a_failed_login_takes_its_time_whoever_it_is() {
    // About 15 milliseconds, against which the rest is small.
    let hashing = Hashing::bcrypt(8).unwrap();
    let app = App::with(StoreKind::Memory, |auth| auth.hashing(hashing)).await;
    app.registered("ada").await;
    imported(&app, "bare", None).await;
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..25 {
        // From a network of its own, or the passwords would not be looked at.
        let peer = format!("198.18.{round}.1");
        for (times, name) in times.iter_mut().zip(["ada", "bare", "nobody"]) {
            let body = json!({"username": name, "password": "wrong password"});
            let start = Instant::now();
            let answer = app.post("/auth/login", body).from(&peer).await;
            times.push(start.elapsed());
            answer.refused(401, "invalid_credentials");
        }
    }
    let [known, bare, unknown] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    for other in [bare, unknown] {
        let ratio = other / known;
        assert!((0.6..1.67).contains(&ratio), "{known} s and {other} s");
    }
}

/// On one async thread: were a hash computed on it, every login would be done before the other request gets its turn.
#[tokio::test]
async fn logins_do_not_delay_other_requests() {
    let hashing = Hashing::bcrypt(8).unwrap();
    let settings = |auth: auth_core::AuthBuilder| auth.hashing(hashing).hashing_queue(1000);
    let app = App::with(StoreKind::Memory, settings).await;
    let ada = app.verified("ada").await;
    let body = json!({"username": "ada", "password": PASSWORD});
    let calls: Vec<_> = (0..200)
        .map(|_| app.post("/auth/login", body.clone()))
        .collect();
    let logins = tokio::spawn(at_once(calls));
    tokio::task::yield_now().await;
    for path in ["/auth/me", "/health"] {
        app.get(path).by(&ada).await.ok(200);
    }
    assert!(!logins.is_finished());
    // Most of them are still waiting for their hash.
    let opened = app.get("/auth/sessions").by(&ada).await;
    let opened = opened.ok(200)["sessions"].as_array().unwrap().len();
    assert!(opened < 100, "{opened} sessions were open before");
    for answer in logins.await.unwrap() {
        answer.ok(200);
    }
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let hashing = Hashing::bcrypt(8).unwrap();
    let settings = |auth: auth_core::AuthBuilder| auth.hashing(hashing).hashing_queue(4);
    let app = App::with(StoreKind::Memory, settings).await;
    app.registered("ada").await;
    let answers = at_once((0..100).map(|_| {
        let body = json!({"username": "ada", "password": PASSWORD});
        app.post("/auth/login", body)
    }))
    .await;
    let (mut opened, mut refused) = (0, 0);
    for answer in answers {
        if answer.status == 200 {
            opened += 1;
        } else {
            answer.refused(503, "overloaded");
            let seconds: u32 = answer.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&seconds));
            refused += 1;
        }
    }
    assert!(opened >= 4 && refused > 0, "{opened} {refused}");
    // It recovers.
    let body = json!({"username": "ada", "password": PASSWORD});
    app.post("/auth/login", body).await.ok(200);
}
