//! The life of an account, as its owner lives it: by API, mailbox and the pages that mailed links open.

use std::collections::BTreeSet;

use auth_tests::{PASSWORD, Person, process::Service};
use serde_json::{Value, json};

use crate::page::Page;

const NEW_PASSWORD: &str = "another horse, another battery";

/// Says who a token answer is for, after a look at all of its members.
#[track_caller]
fn user_of(answer: &Value) -> &Value {
    let members = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let expected = [
        "access_token",
        "expires_in",
        "refresh_expires_in",
        "refresh_token",
        "token_type",
        "user",
    ];
    assert_eq!(members(answer), expected.map(str::to_owned).into());
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(answer["expires_in"], 60 * 60);
    assert_eq!(answer["refresh_expires_in"], 14 * 24 * 60 * 60);
    let user = &answer["user"];
    let expected = [
        "created_at",
        "email",
        "id",
        "is_admin",
        "is_verified",
        "sign_in_methods",
        "updated_at",
        "username",
    ];
    assert_eq!(members(user), expected.map(str::to_owned).into());
    user
}

async fn login(service: &Service, name: &str, password: &str) -> Person {
    let body = json!({"username": name, "password": password});
    let answer = service.post("/auth/login", body).await;
    user_of(answer.ok(200));
    Person::of(answer.ok(200), password)
}

async fn no_login(service: &Service, name: &str, password: &str) {
    let body = json!({"username": name, "password": password});
    let answer = service.post("/auth/login", body).await;
    answer.refused(401, "invalid_credentials");
}

/// The next request with the token of an ended session.
async fn is_out(service: &Service, person: &Person) {
    let me = service.get("/auth/me").by(person).await;
    me.refused(401, "invalid_token");
    let body = json!({"refresh_token": person.refresh_token});
    let refreshed = service.post("/auth/refresh", body).await;
    refreshed.refused(401, "invalid_token");
}

async fn is_in(service: &Service, person: &Person) -> Value {
    let me = service.get("/auth/me").by(person).await;
    me.ok(200).clone()
}

/// Opens a page twice, as a mail scanner and a person do.
async fn open_twice(service: &Service, link: &str) -> Page {
    assert!(link.starts_with(service.base()), "{link}");
    Page::open(service, link).await;
    let page = Page::open(service, link).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.message(), None);
    page
}

#[track_caller]
fn says(page: &Page, status: u16, message: &str) {
    let is_problem = status >= 400;
    assert_eq!(page.status, status, "{}", page.html());
    assert_eq!(page.message(), Some((is_problem, message.to_owned())));
}

const USED_OR_INVALID: &str = "This link was used before or is not valid. Ask for a new one.";

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines)] // a life is long
async fn an_account_from_registration_to_deletion() {
    let service = Service::start().await;
    let home = service.home().clone();

    // Registered and logged in, but not verified.
    let body = json!({"username": "Ada", "email": "ada@EXAMPLE.org", "password": PASSWORD});
    let answer = service.post("/auth/register", body).await;
    let user = user_of(answer.ok(201));
    assert_eq!(
        (&user["username"], &user["email"], &user["is_verified"]),
        (&json!("Ada"), &json!("ada@example.org"), &json!(false))
    );
    assert_eq!(user["sign_in_methods"], json!(["password"]));
    let first = Person::of(answer.ok(201), PASSWORD);
    let me = service.get("/auth/me").by(&first).await;
    me.refused(403, "email_not_verified");
    let body = json!({"username": "ada", "email": "other@example.org", "password": PASSWORD});
    let taken = service.post("/auth/register", body).await;
    taken.refused(409, "user_exists");
    assert_eq!(taken.faults(), [("username", "taken")]);

    // The mailed link: opening it does nothing, its button verifies.
    let welcome = home.mail("welcome", "ada@example.org").await;
    let page = open_twice(&service, welcome.link()).await;
    assert_eq!(
        page.text_of("h1").as_deref(),
        Some("Confirm your email address")
    );
    let me = service.get("/auth/me").by(&first).await;
    me.refused(403, "email_not_verified");
    let done = page.form().submit().await;
    says(&done, 200, "Thank you: your email address is confirmed.");
    assert!(!done.has_form());
    let again = page.form().submit().await;
    let before = "This address was confirmed before. There is nothing left to do.";
    says(&again, 200, before);
    let me = is_in(&service, &first).await;
    assert_eq!(me["is_verified"], true);

    // Logged in by name, by address, and as OAuth2 clients do it.
    let by_name = login(&service, "aDa", PASSWORD).await;
    let by_address = login(&service, "ada@example.org", PASSWORD).await;
    let form = format!(
        "grant_type=password&username=ada&password={}",
        PASSWORD.replace(' ', "+")
    );
    let by_form = service.call("POST", "/auth/login").form(form).await;
    let by_form = Person::of(by_form.ok(200), PASSWORD);
    no_login(&service, "ada", NEW_PASSWORD).await;

    // Refreshed by either token.
    let body = json!({"refresh_token": by_name.refresh_token});
    let refreshed = service.post("/auth/refresh", body).await;
    user_of(refreshed.ok(200));
    let refreshed = Person::of(refreshed.ok(200), PASSWORD);
    assert_ne!(refreshed.refresh_token, by_name.refresh_token);
    assert_eq!(refreshed.session(), by_name.session());
    let body = json!({"token": refreshed.access_token});
    let answer = service.post("/auth/refresh", body).await;
    assert_eq!(answer.ok(200).get("refresh_token"), None);

    // Sessions are seen and ended one by one, and together.
    let answer = service.get("/auth/sessions").by(&refreshed).await;
    let sessions = answer.ok(200)["sessions"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 4);
    for session in &sessions {
        assert_eq!(session["ip"], "127.0.0.1");
        let is_current = session["id"] == refreshed.session().to_string();
        assert_eq!(session["current"], is_current);
    }
    let path = format!("/auth/sessions/{}", by_address.session());
    service.delete(&path).by(&refreshed).await.ok(204);
    is_out(&service, &by_address).await;
    let gone = service.delete(&path).by(&refreshed).await;
    assert_eq!(gone.status, 404);
    is_in(&service, &by_form).await;
    let answer = service.call("POST", "/auth/logout?scope=others");
    answer.by(&refreshed).await.ok(200);
    is_out(&service, &first).await;
    is_out(&service, &by_form).await;
    is_in(&service, &refreshed).await;

    // Another password: this session gets new tokens, others end.
    let other = login(&service, "ada", PASSWORD).await;
    let path = "/auth/users/change-password";
    for (current, new, status, code) in [
        (NEW_PASSWORD, NEW_PASSWORD, 400, "current_password_invalid"),
        (PASSWORD, "12345678", 422, "validation_failed"),
        (PASSWORD, "this is ada's own", 422, "validation_failed"),
    ] {
        let body = json!({"current_password": current, "new_password": new});
        let answer = service.put(path, body).by(&refreshed).await;
        answer.refused(status, code);
    }
    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let answer = service.put(path, body).by(&refreshed).await;
    user_of_changed(answer.ok(200));
    let changed = Person::of(answer.ok(200), NEW_PASSWORD);
    is_in(&service, &changed).await;
    is_out(&service, &other).await;
    let body = json!({"refresh_token": refreshed.refresh_token});
    let stale = service.post("/auth/refresh", body).await;
    assert_eq!(stale.status, 401, "{stale:?}");
    no_login(&service, "ada", PASSWORD).await;
    home.mail("password_changed", "ada@example.org").await;
    let changed = login(&service, "ada", NEW_PASSWORD).await;

    // Another address, which counts when its own mailbox says so.
    let path = "/auth/users/change-email";
    let body = json!({"new_email": "lovelace@example.org", "current_password": PASSWORD});
    let answer = service.put(path, body).by(&changed).await;
    answer.refused(400, "current_password_invalid");
    let body = json!({"new_email": "lovelace@example.org", "current_password": NEW_PASSWORD});
    service.put(path, body).by(&changed).await.ok(202);
    let to_new = home
        .mail("email_change_verify", "lovelace@example.org")
        .await;
    let to_old = home.mail("email_change_notice", "ada@example.org").await;
    let page = open_twice(&service, to_new.link()).await;
    let me = is_in(&service, &changed).await;
    assert_eq!(me["email"], "ada@example.org");
    let done = page.form().submit().await;
    says(&done, 200, "Thank you: your email address is confirmed.");
    is_out(&service, &changed).await;
    let cancelled = open_twice(&service, to_old.link()).await;
    says(&cancelled.form().submit().await, 400, USED_OR_INVALID);
    no_login(&service, "ada@example.org", NEW_PASSWORD).await;
    let moved = login(&service, "lovelace@example.org", NEW_PASSWORD).await;
    let me = is_in(&service, &moved).await;
    assert_eq!(
        (&me["email"], &me["is_verified"]),
        (&json!("lovelace@example.org"), &json!(true))
    );

    // Logged out.
    let answer = service.call("POST", "/auth/logout").by(&moved).await;
    answer.ok(200);
    is_out(&service, &moved).await;

    // Deleted: the name and the address are free again.
    let last = login(&service, "ada", NEW_PASSWORD).await;
    let call = || service.delete("/auth/users/delete-account").by(&last);
    let answer = call().json(json!({})).await;
    answer.refused(422, "validation_failed");
    assert_eq!(answer.faults(), [("password", "required")]);
    let answer = call().json(json!({"password": PASSWORD})).await;
    answer.refused(400, "current_password_invalid");
    call().json(json!({"password": NEW_PASSWORD})).await.ok(200);
    is_out(&service, &last).await;
    no_login(&service, "ada", NEW_PASSWORD).await;
    home.mail("account_deleted", "lovelace@example.org").await;
    let body = json!({"username": "ada", "email": "lovelace@example.org", "password": PASSWORD});
    let answer = service.post("/auth/register", body).await;
    assert_ne!(answer.ok(201)["user"]["id"], last.id.to_string());

    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("ERROR"), "{ended:?}");
    for secret in [PASSWORD, NEW_PASSWORD, &last.access_token, to_new.token()] {
        assert!(!ended.stderr.contains(secret), "{secret:?} is in the log");
    }
}

/// Of a session that goes on: its refresh token does not live longer for it.
#[track_caller]
fn user_of_changed(answer: &Value) {
    let lives = answer["refresh_expires_in"].as_i64().unwrap();
    let two_weeks = 14 * 24 * 60 * 60;
    assert!((two_weeks - 60..=two_weeks).contains(&lives), "{lives}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_address_is_cancelled_from_the_old_mailbox() {
    let service = Service::start().await;
    let home = service.home().clone();
    let ada = service.verified("ada").await;
    let body = json!({"new_email": "thief@example.org", "current_password": PASSWORD});
    let answer = service.put("/auth/users/change-email", body).by(&ada).await;
    answer.ok(202);
    let to_new = home.mail("email_change_verify", "thief@example.org").await;
    let to_old = home.mail("email_change_notice", "ada@example.org").await;

    let page = open_twice(&service, to_old.link()).await;
    assert_eq!(
        page.text_of("h1").as_deref(),
        Some("Keep your email address")
    );
    is_in(&service, &ada).await;
    let done = page.form().submit().await;
    let kept = "Your old address stays, and every device is logged out. If it was not you who asked for the change, set a new password now.";
    says(&done, 200, kept);
    is_out(&service, &ada).await;
    says(&page.form().submit().await, 400, USED_OR_INVALID);
    let late = open_twice(&service, to_new.link()).await;
    says(&late.form().submit().await, 400, USED_OR_INVALID);
    let ada = login(&service, "ada@example.org", PASSWORD).await;
    assert_eq!(is_in(&service, &ada).await["email"], "ada@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_replaced_through_the_mailbox() {
    let service = Service::start().await;
    let home = service.home().clone();
    // The address is not proven yet: the reset proves it.
    let ada = service.registered("ada").await;
    let body = json!({"email": "ada@example.org"});
    let asked = service.post("/auth/password-reset-request", body).await;
    let body = json!({"email": "nobody@example.org"});
    let nobody = service.post("/auth/password-reset-request", body).await;
    assert_eq!(asked.ok(200), nobody.ok(200));

    let mail = home.mail("password_reset", "ada@example.org").await;
    let page = open_twice(&service, mail.link()).await;
    assert_eq!(page.text_of("h1").as_deref(), Some("Choose a new password"));

    // What cannot be a password is asked for again, and uses nothing up.
    let mut form = page.form();
    for (weak, told) in [
        ("short", "A password has at least 8 characters."),
        (
            "password1",
            "This is one of the most common passwords; choose another one.",
        ),
        (
            "i am ada, the first",
            "A password must not contain the username or the e-mail address.",
        ),
    ] {
        let asked_again = form.fill("new_password", weak).submit().await;
        says(&asked_again, 422, told);
        assert!(!asked_again.html().contains(weak));
        form = asked_again.form();
    }
    let other = login(&service, "ada", PASSWORD).await;
    let done = form.fill("new_password", NEW_PASSWORD).submit().await;
    let set = "Your new password is set. You can log in with it now.";
    says(&done, 200, set);
    is_out(&service, &ada).await;
    is_out(&service, &other).await;
    no_login(&service, "ada", PASSWORD).await;
    let ada = login(&service, "ada", NEW_PASSWORD).await;
    assert_eq!(is_in(&service, &ada).await["is_verified"], true);
    home.mail("password_changed", "ada@example.org").await;

    // Once.
    let again = page.form().fill("new_password", PASSWORD).submit().await;
    says(&again, 400, USED_OR_INVALID);
    // By API the same.
    let body = json!({"token": mail.token(), "new_password": PASSWORD});
    let answer = service.post("/update-password", body).await;
    answer.refused(400, "invalid_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_not_whole_or_not_ours_says_so() {
    let service = Service::start().await;
    let ada = service.registered("ada").await;
    let welcome = service.home().mail("welcome", &ada.email).await;
    for path in ["/verify-email", "/update-password", "/cancel-email-change"] {
        let page = Page::open(&service, path).await;
        let told = "This link is not complete. Open it from the mail again, or copy all of it.";
        says(&page, 400, told);
        assert!(!page.has_form());
        for token in [
            "x",
            "%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
            welcome.token(),
        ] {
            if path == "/verify-email" && token == welcome.token() {
                continue;
            }
            let page = Page::open(&service, &format!("{path}?token={token}")).await;
            assert_eq!(page.status, 200);
            let mut form = page.form();
            if path == "/update-password" {
                form = form.fill("new_password", NEW_PASSWORD);
            }
            says(&form.submit().await, 400, USED_OR_INVALID);
        }
    }
    let me = service.get("/auth/me").by(&ada).await;
    me.refused(403, "email_not_verified");
    // The path of this page has an API beside it.
    let put = service.put("/update-password", json!({})).await;
    put.refused(405, "method_not_allowed");
    assert_eq!(put.header("allow"), "GET, HEAD, POST, OPTIONS");
}
