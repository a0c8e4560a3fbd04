use auth_core::{
    ports::{SessionStore, UserStore},
    time::Duration,
    types::{AccountKey, Client, Email, ProviderName, UserId},
};
use auth_tests::{
    Answer, Browser, PASSWORD, Person, StoreKind, at_once, forge,
    provider::{CLIENT_ID, Door, PATIENCE, Trouble},
};
use serde_json::{Value, json};

use super::{World, claims, hosted};

auth_tests::on_each_store! {
    a_first_sign_in_makes_a_verified_account
    a_later_sign_in_opens_the_same_account
    an_address_that_is_not_proven_makes_no_account
    a_username_is_made_from_the_address
    an_account_is_joined_only_where_the_provider_decides_whose_the_address_is
    a_provider_without_authority_joins_nothing
    an_account_that_was_never_verified_is_claimed
    an_address_that_changed_hands_at_the_provider_opens_nothing
    a_disabled_account_stays_closed
    a_state_of_another_browser_is_refused
    a_state_works_once
    a_state_works_once_on_all_replicas
    of_callbacks_at_once_one_logs_in
    a_state_is_worth_nothing_after_ten_minutes
    a_binding_that_was_changed_is_refused
    a_refusal_at_the_provider_is_said
    a_sign_in_that_fails_ends_at_the_page_that_it_was_begun_with
    nobody_is_sent_to_a_page_by_a_state_that_is_not_theirs
    a_code_works_once
    an_answer_of_another_issuer_is_refused
    of_first_sign_ins_at_once_one_account_is_made
    a_twin_of_a_first_sign_in_shares_its_account
    an_account_of_one_provider_is_not_joined_by_the_word_of_another
    a_claimed_account_loses_what_an_administrator_may_do
    an_answer_without_the_issuer_that_was_promised_is_refused
    a_google_only_account_sets_a_password_by_mail
    a_google_only_account_is_deleted_by_a_fresh_login
    a_secret_of_a_sign_in_is_not_kept
}

async fn account(world: &World, address: &str) -> Option<auth_core::types::Account> {
    let email = Email::parse(address).unwrap();
    let key = AccountKey::Email(email);
    world.app.store.account(&key).await.unwrap()
}

async fn a_first_sign_in_makes_a_verified_account(store: StoreKind) {
    let world = World::on(store).await;
    let answer = world.sign_in(claims("ada")).await;
    let json = answer.ok(200);
    assert_eq!(json["token_type"], "bearer");
    let user = &json["user"];
    assert_eq!(user["email"], "ada@example.org");
    assert_eq!(user["username"], "ada");
    assert_eq!(user["is_verified"], true);
    assert_eq!(user["is_admin"], false);
    assert_eq!(user["sign_in_methods"], json!(["google"]));

    let ada = Person::of(json, "");
    let me = world.app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200), user);
    let refresh = json!({"refresh_token": ada.refresh_token});
    world.app.post("/auth/refresh", refresh).await.ok(200);
    assert_eq!(
        world.app.audit(ada.id).await,
        ["registered", "identity_linked", "login_succeeded"]
    );
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["google_linked"]);
    // The cookie is taken back.
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
}

async fn a_later_sign_in_opens_the_same_account(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.arrived("ada").await;
    for later in [
        claims("ada"),
        // The address says nothing about an account that has an identity.
        json!({"sub": "ada", "email": "new@example.org", "email_verified": false}),
        json!({"sub": "ada"}),
    ] {
        let answer = world.sign_in(later).await;
        let again = Person::of(answer.ok(200), "");
        assert_eq!(again.id, ada.id);
        assert_ne!(again.session(), ada.session());
        assert_eq!(answer.json["user"]["email"], "ada@example.org");
    }
    let other =
        world.sign_in(json!({"sub": "Ada", "email": "ada@example.org", "email_verified": true}));
    other.await.refused(409, "account_exists");
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["google_linked"]);
}

async fn an_address_that_is_not_proven_makes_no_account(store: StoreKind) {
    let world = World::on(store).await;
    for verified in [
        json!(false),
        json!("false"),
        json!(1),
        json!("TRUE"),
        Value::Null,
    ] {
        let unproven = forge::set(&claims("ada"), "email_verified", verified);
        world
            .sign_in(unproven)
            .await
            .refused(400, "email_not_verified");
    }
    for address in [json!("ada"), json!(""), json!(7), Value::Null] {
        let unusable = forge::set(&claims("ada"), "email", address);
        world
            .sign_in(unusable)
            .await
            .refused(400, "email_not_verified");
    }
    assert!(account(&world, "ada@example.org").await.is_none());
    let text = forge::set(&claims("ada"), "email_verified", json!("true"));
    world.sign_in(text).await.ok(200);
}

async fn a_username_is_made_from_the_address(store: StoreKind) {
    let world = World::on(store).await;
    world.app.registered("ada").await;
    for (address, expected) in [
        ("ADA@other.example.org", "ADA-"),
        ("a+b@example.org", "user"),
        ("b@example.org", "user-"),
        ("o'hara%x@example.org", "oharax"),
    ] {
        let claims = json!({"sub": address, "email": address, "email_verified": true});
        let answer = world.sign_in(claims).await;
        let username = answer.ok(200)["user"]["username"].as_str().unwrap();
        let (begins, end) = (expected.trim_end_matches('-'), username.rsplit('-').next());
        assert!(username.starts_with(begins), "{username}");
        if expected.ends_with('-') {
            assert!(
                end.unwrap().bytes().all(|b| b.is_ascii_digit()),
                "{username}"
            );
        } else {
            assert_eq!(username, expected);
        }
    }
}

async fn an_account_is_joined_only_where_the_provider_decides_whose_the_address_is(
    store: StoreKind,
) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let state = world.app.state_of(&ada).await;
    let mut empty = claims("ada");
    empty["hd"] = json!("");
    let lookalike = json!({"sub": "1", "email": "ada@example.org", "email_verified": true, "gmail": "gmail.com"});
    for stranger in [claims("ada"), empty, lookalike] {
        world.sign_in(stranger).await.refused(409, "account_exists");
    }
    world.app.get("/auth/me").by(&ada).await.ok(200);
    assert_ne!(world.app.state_of(&ada).await, state, "it is in the log");
    assert_eq!(world.app.audit(ada.id).await.last(), Some(&"login_failed"));

    let joined = world.sign_in(hosted("ada")).await;
    let joined = Person::of(joined.ok(200), PASSWORD);
    assert_eq!(joined.id, ada.id);
    let me = world.app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200)["sign_in_methods"], json!(["password", "google"]));
    world.app.logged_in(&ada).await;
    assert_eq!(
        world.app.templates_to("ada@example.org").await,
        ["welcome", "google_linked"]
    );

    let gmail = json!({"username": "bob", "email": "Bob@gmail.com", "password": PASSWORD});
    let bob = world.app.post("/auth/register", gmail).await;
    let bob = Person::of(bob.ok(201), PASSWORD);
    let token = world.app.mailed_token("Bob@gmail.com").await;
    let body = json!({"token": token});
    world.app.post("/auth/verify-email", body).await.ok(200);
    let claims = json!({"sub": "bob", "email": "bob@gmail.com", "email_verified": true});
    let joined = world.sign_in(claims).await;
    assert_eq!(Person::of(joined.ok(200), "").id, bob.id);
}

async fn a_provider_without_authority_joins_nothing(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let mut gmail = hosted("ada");
    for address in ["ada@example.org", "ada@gmail.com"] {
        gmail["email"] = json!(address);
        let mut browser = world.browser();
        let answer = browser.sign_in("acme", &world.acme, gmail.clone()).await;
        if address == "ada@example.org" {
            answer.refused(409, "account_exists");
        } else {
            let newcomer = Person::of(answer.ok(200), "");
            assert_ne!(newcomer.id, ada.id);
            assert_eq!(answer.json["user"]["sign_in_methods"], json!(["acme"]));
        }
    }
    // The same subject at another provider is somebody else.
    let mut google = claims("ada");
    google["email"] = json!("third@example.org");
    let third = world.sign_in(google).await;
    assert_eq!(third.ok(200)["user"]["sign_in_methods"], json!(["google"]));
}

async fn an_account_that_was_never_verified_is_claimed(store: StoreKind) {
    let world = World::on(store).await;
    // The attacker registers with the victim's address, and waits.
    let eve = json!({"username": "eve", "email": "ada@example.org", "password": PASSWORD});
    let eve = world.app.post("/auth/register", eve).await;
    let eve = Person::of(eve.ok(201), PASSWORD);
    let welcome = world.app.mailed_token("ada@example.org").await;

    let ada = world.sign_in(claims("ada")).await;
    let user = &ada.ok(200)["user"];
    assert_eq!(user["is_verified"], true);
    assert_eq!(user["sign_in_methods"], json!(["google"]));
    let ada = Person::of(&ada.json, "");

    let login = json!({"username": "ada@example.org", "password": PASSWORD});
    let login = world.app.post("/auth/login", login).await;
    login.refused(401, "invalid_credentials");
    let refresh = json!({"refresh_token": eve.refresh_token});
    let refresh = world.app.post("/auth/refresh", refresh).await;
    refresh.refused(401, "invalid_token");
    let me = world.app.get("/auth/me").by(&eve).await;
    me.refused(401, "invalid_token");
    let verify = world
        .app
        .post("/auth/verify-email", json!({"token": welcome}));
    verify.await.refused(400, "invalid_token");
    world.app.get("/auth/me").by(&ada).await.ok(200);
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "google_linked"]);
}

async fn an_address_that_changed_hands_at_the_provider_opens_nothing(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.sign_in(hosted("ada")).await;
    let ada = Person::of(ada.ok(200), "");
    let state = world.app.state_of(&ada).await;
    let mut successor = hosted("ada");
    successor["sub"] = json!("another");
    let refused = world.sign_in(successor).await;
    refused.refused(409, "account_exists");
    assert_ne!(world.app.state_of(&ada).await, state, "it is in the log");
    let again = world.sign_in(hosted("ada")).await;
    assert_eq!(Person::of(again.ok(200), "").id, ada.id);
}

async fn a_disabled_account_stays_closed(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.arrived("ada").await;
    let bob = world.app.verified("bob").await;
    for person in [&ada, &bob] {
        let client = Client::default();
        let off = world.app.auth.set_disabled(person.id, true, &client);
        off.await.unwrap();
    }
    for who in [claims("ada"), hosted("bob")] {
        world.sign_in(who).await.refused(401, "invalid_credentials");
    }
    assert_eq!(world.app.audit(ada.id).await.last(), Some(&"login_failed"));
    let account = account(&world, "bob@example.org").await.unwrap();
    assert!(account.user.providers.is_empty());
}

/// One-click takeover: the attacker's own sign-in ends in the victim's browser (CVE-2025-68481).
async fn a_state_of_another_browser_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let (mut eve, mut ada) = (world.browser(), world.browser());
    let there = eve.start("google").await;
    let query = world.google.agree(&there, claims("eve"));
    // Without a cookie, and with the one of a sign-in of her own, which stays.
    let answer = ada.come_back("google", &query).await;
    answer.refused(400, "invalid_state");
    ada.start("google").await;
    let answer = ada.come_back("google", &query).await;
    answer.refused(400, "invalid_state");
    assert!(answer.headers.get("set-cookie").is_none());
    // The name that a page over http could have set.
    let planted = ada.cookies.remove("__Host-oauth").unwrap();
    ada.cookies = eve.cookies.clone();
    let value = ada.cookies.remove("__Host-oauth").unwrap();
    ada.cookies.insert("oauth".to_owned(), value);
    let answer = ada.come_back("google", &query).await;
    answer.refused(400, "invalid_state");
    assert!(!planted.is_empty());
    // Nor at another provider.
    let answer = eve.come_back("acme", &query).await;
    answer.refused(400, "invalid_state");
    assert!(account(&world, "eve@example.org").await.is_none());
    eve.come_back("google", &query).await.ok(200);
}

async fn a_state_works_once(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let kept = browser.cookies.clone();
    let query = world.google.agree(&there, claims("ada"));
    browser.come_back("google", &query).await.ok(200);
    assert!(browser.cookies.is_empty());
    browser.cookies = kept;
    let query = world.google.agree(&there, claims("ada"));
    let again = browser.come_back("google", &query).await;
    again.refused(400, "invalid_state");
    for query in [
        "",
        "code=a",
        "state=",
        "state=a&code=b",
        "error=access_denied",
    ] {
        let answer = browser.come_back("google", query).await;
        answer.refused(400, "invalid_state");
    }
    let twice = browser.come_back("google", "state=a&state=b").await;
    twice.refused(422, "validation_failed");
}

async fn a_state_works_once_on_all_replicas(store: StoreKind) {
    let world = World::on(store).await;
    let replica = world
        .app
        .replica_with_providers(&world.google, &world.acme, PATIENCE)
        .await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let cookie = format!("__Host-oauth={}", browser.cookies["__Host-oauth"]);
    let query = world.google.agree(&there, claims("ada"));
    browser.come_back("google", &query).await.ok(200);
    // The provider would take another code.
    let query = world.google.agree(&there, claims("ada"));
    let path = format!("/auth/oauth/google/callback?{query}");
    for app in [&replica, &world.app] {
        let again = app.get(&path).header("cookie", &cookie).await;
        again.refused(400, "invalid_state");
    }
}

async fn of_callbacks_at_once_one_logs_in(store: StoreKind) {
    let world = World::on(store).await;
    world.arrived("ada").await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let cookie = format!("__Host-oauth={}", browser.cookies["__Host-oauth"]);
    let path = format!("/auth/oauth/google/callback?{query}");
    let answers = at_once((0..4).map(|_| world.app.get(&path).header("cookie", &cookie))).await;
    let mut opened = 0;
    for answer in &answers {
        if answer.status == 200 {
            opened += 1;
        } else {
            answer.refused(400, "invalid_state");
        }
    }
    assert_eq!(opened, 1, "{answers:?}");
}

async fn a_state_is_worth_nothing_after_ten_minutes(store: StoreKind) {
    let world = World::on(store).await;
    for (seconds, good) in [(598, true), (601, false)] {
        let mut browser = world.browser();
        let there = browser.start("google").await;
        world.app.clock.advance(Duration::seconds(seconds));
        let query = world.google.agree(&there, claims("ada"));
        let answer = browser.come_back("google", &query).await;
        if good {
            answer.ok(200);
            // Another replica's clock may be behind.
            world.app.clock.advance(Duration::minutes(4));
            assert_eq!(world.app.auth.sweep().await.unwrap().spent, 0);
        } else {
            answer.refused(400, "invalid_state");
        }
    }
    // What was spent is forgotten when it is worth nothing.
    world.app.clock.advance(Duration::minutes(10));
    assert_eq!(world.app.auth.sweep().await.unwrap().spent, 1);
}

async fn a_binding_that_was_changed_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let good = browser.cookies["__Host-oauth"].clone();
    let mut changed = good.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for binding in [
        String::new(),
        "a".to_owned(),
        changed,
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{good}="),
        "A".repeat(100_000),
    ] {
        browser.cookies.insert("__Host-oauth".to_owned(), binding);
        let answer = browser.come_back("google", &query).await;
        answer.refused(400, "invalid_state");
    }
    // A code of ours is sealed, too, and is no sign-in.
    let page = "/auth/oauth/google/login?mode=json&redirect_to=https://app.example.org/welcome";
    let mut other = world.browser();
    let begun = other.send(world.app.get(page)).await;
    let there = begun.ok(200)["authorization_url"].as_str().unwrap();
    let back = other
        .come_back("google", &world.google.agree(there, claims("bob")))
        .await;
    let code = back.header("location").split_once("code=").unwrap().1;
    browser
        .cookies
        .insert("__Host-oauth".to_owned(), code.to_owned());
    let answer = browser.come_back("google", &query).await;
    answer.refused(400, "invalid_state");

    browser.cookies.insert("__Host-oauth".to_owned(), good);
    browser.come_back("google", &query).await.ok(200);
}

async fn a_refusal_at_the_provider_is_said(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let cookies = browser.cookies.clone();
    let state = there.split("state=").nth(1).unwrap();
    let state = state.split('&').next().unwrap();
    let query = format!(
        "error=access_denied&error_description=%3Cb%3Ehello&error_uri=https%3A%2F%2Fevil.example&state={state}"
    );
    let answer = browser.come_back("google", &query).await;
    answer.refused(400, "provider_error");
    // It is used up, and so is the cookie.
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    browser.cookies = cookies;
    // Whatever it says, we do not repeat it.
    assert!(!answer.text().contains("hello") && !answer.text().contains("evil"));
    let again = world.google.agree(&there, claims("ada"));
    let answer = browser.come_back("google", &again).await;
    answer.refused(400, "invalid_state");
}

const PAGE: &str = "https://app.example.org/welcome";

/// Begins a sign-in for a page of the host: where the browser is sent.
async fn start_for_page(world: &World, browser: &mut Browser) -> String {
    let path = format!("/auth/oauth/google/login?mode=json&redirect_to={PAGE}");
    let begun = browser.send(world.app.get(&path)).await;
    let there = &begun.ok(200)["authorization_url"];
    there.as_str().unwrap().to_owned()
}

fn state_of(authorization_url: &str) -> &str {
    let (_, state) = authorization_url.split_once("state=").unwrap();
    state.split('&').next().unwrap()
}

/// What the page was told: by nothing but code and sentence of ours, and the name of the request.
#[track_caller]
fn told_page(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 302, "{answer:?}");
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    let (page, query) = answer.header("location").split_once('?').unwrap();
    assert_eq!(page, PAGE);
    let told: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap();
    let [(error, code), (description, sentence), (id, request)] = <[_; 3]>::try_from(told).unwrap();
    assert_eq!((&*error, &*description), ("error", "error_description"));
    assert_eq!(
        (&*id, &*request),
        ("request_id", answer.header("x-request-id"))
    );
    // RFC 6749 §4.1.2.1.
    let is_sayable = |b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
    assert!(sentence.bytes().all(is_sayable), "{sentence}");
    (code, sentence)
}

async fn a_sign_in_that_fails_ends_at_the_page_that_it_was_begun_with(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let unproven = forge::set(&claims("eve"), "email_verified", false);
    for (who, code) in [
        (claims("ada"), "account_exists"),
        (unproven, "email_not_verified"),
    ] {
        let mut browser = world.browser();
        let there = start_for_page(&world, &mut browser).await;
        let query = world.google.agree(&there, who);
        let answer = browser.come_back("google", &query).await;
        assert_eq!(told_page(&answer).0, code);
    }
    let state = world.app.state_of(&ada).await;
    for (query, code) in [
        (
            "error=access_denied&error_description=%3Cb%3Ehello",
            "provider_error",
        ),
        ("code=made+up", "invalid_code"),
        ("code=", "invalid_code"),
    ] {
        let mut browser = world.browser();
        let there = start_for_page(&world, &mut browser).await;
        let query = format!("{query}&state={}", state_of(&there));
        let answer = browser.come_back("google", &query).await;
        let (told, sentence) = told_page(&answer);
        assert_eq!(told, code);
        assert!(!sentence.contains("hello"));
    }
    let mut browser = world.browser();
    let there = start_for_page(&world, &mut browser).await;
    let query = world.google.agree(&there, claims("eve"));
    let trouble = Trouble::Say(500, "{}".to_owned());
    world.google.trouble(Door::Token, trouble);
    let answer = browser.come_back("google", &query).await;
    assert_eq!(told_page(&answer).0, "provider_error");
    world.google.trouble(Door::Token, None);
    assert_eq!(world.app.state_of(&ada).await, state);
    assert!(account(&world, "eve@example.org").await.is_none());

    // To link, too: whoever logged out meanwhile links nothing.
    let mut browser = world.browser();
    let body = json!({"password": PASSWORD, "redirect_to": PAGE});
    let begun = world.app.post("/auth/link/google", body).by(&ada);
    let begun = browser.send(begun).await;
    let there = begun.ok(200)["authorization_url"].as_str().unwrap();
    let query = world.google.agree(there, claims("ada"));
    let logout = world.app.post("/auth/logout", json!({})).by(&ada);
    logout.await.ok(200);
    let answer = browser.come_back("google", &query).await;
    assert_eq!(told_page(&answer).0, "invalid_state");
}

/// Or a link would send whoever follows it to a page, with words of the attacker's choice.
async fn nobody_is_sent_to_a_page_by_a_state_that_is_not_theirs(store: StoreKind) {
    let world = World::on(store).await;
    let mut eve = world.browser();
    let there = start_for_page(&world, &mut eve).await;
    let denied = format!("error=access_denied&state={}", state_of(&there));
    let refuse = async |browser: &mut Browser, query: &str| {
        let answer = browser.come_back("google", query).await;
        answer.refused(400, "invalid_state");
        assert!(answer.headers.get("location").is_none(), "{answer:?}");
        // And none of a sign-in that is under way is taken away.
        assert!(answer.headers.get("set-cookie").is_none(), "{answer:?}");
    };
    // A browser without a sign-in, and one with another.
    refuse(&mut world.browser(), &denied).await;
    let mut ada = world.browser();
    let hers = start_for_page(&world, &mut ada).await;
    refuse(&mut ada, &denied).await;
    refuse(&mut ada, "error=access_denied").await;
    refuse(&mut ada, "error=access_denied&state=").await;
    let query = world.google.agree(&hers, claims("ada"));
    let cookies = ada.cookies.clone();
    ada.come_back("google", &query).await.ok(302);

    // One that was used, and one that is too old.
    ada.cookies = cookies;
    refuse(&mut ada, &query).await;
    world.app.clock.advance(Duration::minutes(10));
    refuse(&mut eve, &denied).await;
}

async fn a_code_works_once(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let code = query.split('&').next().unwrap().to_owned();
    browser.come_back("google", &query).await.ok(200);

    // The code of before, a code of a sign-in that another browser began, and none.
    let elsewhere = world.browser().start("google").await;
    let stolen = world.google.agree(&elsewhere, claims("eve"));
    let stolen = stolen.split('&').next().unwrap().to_owned();
    for code in [
        code,
        stolen,
        "code=".to_owned(),
        "code=made+up".to_owned(),
        "code=%C3%A4".to_owned(),
        "code=%0A".to_owned(),
        format!("code={}", "A".repeat(5000)),
        String::new(),
    ] {
        let there = browser.start("google").await;
        let query = world.google.agree(&there, claims("ada"));
        let (_, state) = query.split_once('&').unwrap();
        let answer = browser
            .come_back("google", &format!("{code}&{state}"))
            .await;
        answer.refused(400, "invalid_code");
    }
    assert!(account(&world, "eve@example.org").await.is_none());
}

/// RFC 9207: a code that another provider gave is not shown to this one.
async fn an_answer_of_another_issuer_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    for (issuer, good) in [
        ("https://evil.example", false),
        (world.acme.issuer(), false),
        (world.google.issuer(), true),
    ] {
        let there = browser.start("google").await;
        let query = world.google.agree(&there, claims("ada"));
        let issuer = serde_urlencoded::to_string([("iss", issuer)]).unwrap();
        let answer = browser
            .come_back("google", &format!("{query}&{issuer}"))
            .await;
        if good {
            answer.ok(200);
        } else {
            answer.refused(400, "provider_error");
        }
    }
}

async fn of_first_sign_ins_at_once_one_account_is_made(store: StoreKind) {
    let world = World::on(store).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        let mut browser = world.browser();
        let there = browser.start("google").await;
        let query = world.google.agree(&there, claims("ada"));
        let call = world
            .app
            .get(&format!("/auth/oauth/google/callback?{query}"));
        let cookie = format!("__Host-oauth={}", browser.cookies["__Host-oauth"]);
        calls.push(call.header("cookie", cookie));
    }
    let answers = at_once(calls).await;
    let ids: std::collections::HashSet<UserId> = answers
        .iter()
        .map(|answer| Person::of(answer.ok(200), "").id)
        .collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["google_linked"]);
}

/// Both found no account, and one of them the account of the other.
async fn a_twin_of_a_first_sign_in_shares_its_account(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let identity = world.app.store.hold("account");
    let path = format!("/auth/oauth/google/callback?{query}");
    let cookie = format!("__Host-oauth={}", browser.cookies["__Host-oauth"]);
    let call = world.app.get(&path).header("cookie", cookie);
    let twin = tokio::spawn(async move { call.await });
    identity.reached().await;
    let address = world.app.store.hold("account");
    identity.release();
    address.reached().await;
    let ada = world.arrived("ada").await;
    address.release();
    let twin = twin.await.unwrap();
    assert_eq!(Person::of(twin.ok(200), "").id, ada.id);
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["google_linked"]);
}

/// Whoever made it proved the address to that provider only, and would still be in.
async fn an_account_of_one_provider_is_not_joined_by_the_word_of_another(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let squatter = browser.sign_in("acme", &world.acme, claims("ada")).await;
    let squatter = Person::of(squatter.ok(200), "");
    let refused = world.sign_in(hosted("ada")).await;
    refused.refused(409, "account_exists");
    let account = account(&world, "ada@example.org").await.unwrap();
    assert_eq!(account.user.id, squatter.id);
    let providers: Vec<_> = account
        .user
        .providers
        .iter()
        .map(ProviderName::as_str)
        .collect();
    assert_eq!(providers, ["acme"]);
    assert_eq!(
        world.app.audit(squatter.id).await.last(),
        Some(&"login_failed")
    );
}

async fn a_claimed_account_loses_what_an_administrator_may_do(store: StoreKind) {
    let world = World::on(store).await;
    let eve = world.app.registered("ada").await;
    let client = Client::default();
    let admin = world.app.auth.set_admin(eve.id, true, &client);
    admin.await.unwrap();
    let ada = world.sign_in(claims("ada")).await;
    assert_eq!(ada.ok(200)["user"]["id"], eve.id.to_string());
    assert_eq!(ada.json["user"]["is_admin"], false);
    let account = account(&world, "ada@example.org").await.unwrap();
    assert!(!account.user.is_admin && account.user.is_verified);
}

/// RFC 9207 §2.4: somebody took it away.
async fn an_answer_without_the_issuer_that_was_promised_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    world.google.name_itself();
    let answer = world.sign_in(claims("ada")).await;
    answer.refused(400, "provider_error");
    assert_eq!(world.google.asked(Door::Token), 0);
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let issuer = serde_urlencoded::to_string([("iss", world.google.issuer())]).unwrap();
    let answer = browser
        .come_back("google", &format!("{query}&{issuer}"))
        .await;
    answer.ok(200);
}

async fn a_google_only_account_sets_a_password_by_mail(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.arrived("ada").await;
    let login = json!({"username": "ada", "password": ""});
    let login = world.app.post("/auth/login", login).await;
    login.refused(401, "invalid_credentials");
    let token = world.app.reset_token("ada@example.org").await;
    let body = json!({"token": token, "new_password": PASSWORD});
    world.app.post("/update-password", body).await.ok(200);
    let login = json!({"username": "ada", "password": PASSWORD});
    let login = world.app.post("/auth/login", login).await;
    let both = json!(["password", "google"]);
    assert_eq!(login.ok(200)["user"]["sign_in_methods"], both);
    let again = world.sign_in(claims("ada")).await;
    assert_eq!(Person::of(again.ok(200), "").id, ada.id);
}

async fn a_google_only_account_is_deleted_by_a_fresh_login(store: StoreKind) {
    let world = World::on(store).await;
    let delete = |person: &Person| {
        let call = world.app.delete("/auth/users/delete-account").by(person);
        call.json(json!({}))
    };
    let ada = world.arrived("ada").await;
    world.app.clock.advance(Duration::minutes(5));
    let old = delete(&ada).await;
    old.refused(403, "reauthentication_required");
    let fresh = world.arrived("ada").await;
    assert_eq!(fresh.id, ada.id);
    delete(&fresh).await.ok(200);
    // The identity is free, and makes a new account.
    assert_ne!(world.arrived("ada").await.id, ada.id);
}

async fn a_secret_of_a_sign_in_is_not_kept(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let binding = browser.cookies["__Host-oauth"].clone();
    let answer = browser.come_back("google", &query).await;
    let ada = Person::of(answer.ok(200), "");
    let live = world.app.store.authenticate(
        ada.session(),
        auth_core::ports::Clock::now(&world.app.clock),
    );
    assert!(live.await.unwrap().is_some());
    let query: Vec<(String, String)> = serde_urlencoded::from_str(&query).unwrap();
    let mut secrets = vec![binding, CLIENT_ID.to_owned()];
    secrets.extend(
        query
            .into_iter()
            .filter(|(name, _)| name == "code" || name == "state")
            .map(|(_, value)| value),
    );
    if let Some(bytes) = world.app.stored_bytes().await {
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in the files");
        }
    }
}
