//! A provider that is away, slow, broken or in the wrong hands.

use auth_core::time::Duration;
use auth_tests::{
    App, StoreKind, at_once,
    provider::{Door, Trouble},
};
use serde_json::json;

use super::{World, claims};

/// After a failure, nobody asks.
const PAUSE: Duration = Duration::seconds(10);

auth_tests::on_each_store! {
    a_provider_in_trouble_is_said
    a_provider_that_says_nothing_is_not_waited_for
    callers_of_a_silent_provider_wait_for_one_request
    a_key_that_is_known_is_not_waited_for
    a_call_ends_in_its_time_whatever_it_takes
    a_document_that_leads_to_plain_http_is_refused
    a_provider_that_recovers_is_asked_again
    a_renewed_key_is_found
    keys_are_not_fetched_for_whoever_names_one
    a_token_answer_without_an_id_token_proves_nobody
}

fn troubles() -> Vec<(Trouble, u16)> {
    let say = |status, text: &str| Trouble::Say(status, text.to_owned());
    vec![
        (say(500, "{}"), 503),
        (say(503, "<html>"), 503),
        (say(429, "{}"), 503),
        (Trouble::Huge, 502),
        (Trouble::Redirect("https://evil.example/".to_owned()), 502),
        (say(200, "<html>"), 502),
        (say(200, "[]"), 502),
        (say(200, ""), 502),
        (say(404, "{}"), 502),
        (say(418, r#"{"error": 7}"#), 502),
    ]
}

async fn a_provider_in_trouble_is_said(store: StoreKind) {
    for door in [Door::Discovery, Door::Token, Door::Keys] {
        let world = World::on(store).await;
        let ada = world.app.verified("ada").await;
        let state = world.app.state_of(&ada).await;
        for (trouble, status) in troubles() {
            let case = format!("{door:?} {trouble:?}");
            // It is asked again.
            world.app.clock.advance(PAUSE);
            let mut browser = world.browser();
            if door == Door::Discovery {
                world.google.trouble(door, trouble);
                let answer = world.app.get("/auth/oauth/google/login").await;
                answer.refused(status, "provider_error");
                assert!(answer.headers.get("set-cookie").is_none(), "{case}");
                world.app.clock.advance(PAUSE);
                let body = json!({"password": ada.password, "id_token": "a.b.c"});
                let answer = world.app.post("/auth/link/google", body).by(&ada).await;
                answer.refused(status, "provider_error");
            } else {
                let there = browser.start("google").await;
                let query = world.google.agree(&there, claims("ada"));
                world.google.trouble(door, trouble);
                let answer = browser.come_back("google", &query).await;
                answer.refused(status, "provider_error");
                assert!(!answer.text().contains("127.0.0.1"), "{case}: {answer:?}");
                world.google.trouble(door, None);
            }
        }
        assert_eq!(world.app.state_of(&ada).await, state);
        world.google.trouble(door, None);
        world.app.clock.advance(PAUSE);
        world.sign_in(claims("bob")).await.ok(200);
    }
}

async fn a_provider_that_says_nothing_is_not_waited_for(store: StoreKind) {
    let patience = std::time::Duration::from_millis(200);
    for door in [Door::Discovery, Door::Keys, Door::Token] {
        let (app, google, acme) = App::with_providers_within(store, patience).await;
        let world = World { app, google, acme };
        let ada = world.app.verified("ada").await;
        let state = world.app.state_of(&ada).await;
        world.google.trouble(door, Trouble::Hang);
        let begun = world.app.get("/auth/oauth/google/login?mode=json").await;
        if door == Door::Discovery {
            begun.refused(503, "provider_error");
            // One that took its time is not asked again.
            assert_eq!(world.google.asked(door), 1);
        } else {
            let answer = world.sign_in(claims("ada")).await;
            answer.refused(503, "provider_error");
        }
        assert_eq!(world.app.state_of(&ada).await, state);
    }
}

/// Otherwise each waits for all that came before, and then asks on its own.
async fn callers_of_a_silent_provider_wait_for_one_request(store: StoreKind) {
    let patience = std::time::Duration::from_millis(300);
    let (app, google, acme) = App::with_providers_within(store, patience).await;
    let world = World { app, google, acme };
    world.google.trouble(Door::Discovery, Trouble::Hang);
    let calls = (0..12).map(|_| world.app.get("/auth/oauth/google/login"));
    for answer in at_once(calls).await {
        answer.refused(503, "provider_error");
    }
    assert_eq!(world.google.asked(Door::Discovery), 1);
}

/// Anybody can let the keys be fetched.
async fn a_key_that_is_known_is_not_waited_for(store: StoreKind) {
    let world = World::on(store).await;
    let eve = world.app.verified("eve").await;
    world.sign_in(claims("ada")).await.ok(200);
    world.app.clock.advance(Duration::MINUTE);
    world.google.trouble(Door::Keys, Trouble::Hang);
    let (mut header, token) = world.google.right(&claims("eve"));
    header["kid"] = json!("made up");
    let token = auth_tests::provider::signed(&header, &token);
    let body = json!({"password": eve.password, "id_token": token});
    let call = world.app.post("/auth/link/google", body).by(&eve);
    let waiting = tokio::spawn(async move { call.await });
    while world.google.asked(Door::Keys) < 2 {
        tokio::task::yield_now().await;
    }
    world.sign_in(claims("ada")).await.ok(200);
    assert!(!waiting.is_finished());
    waiting.abort();
}

async fn a_call_ends_in_its_time_whatever_it_takes(store: StoreKind) {
    let patience = std::time::Duration::from_secs(1);
    let (app, google, acme) = App::with_providers_within(store, patience).await;
    let replica = app.replica_with_providers(&google, &acme, patience).await;
    let world = World { app, google, acme };
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    // Each of the three requests comes in its time, all together do not.
    for door in [Door::Discovery, Door::Token, Door::Keys] {
        world.google.trouble(door, Trouble::Late(patience * 3 / 4));
    }
    let path = format!("/auth/oauth/google/callback?{query}");
    let cookie = format!("__Host-oauth={}", browser.cookies["__Host-oauth"]);
    let answer = replica.get(&path).header("cookie", cookie).await;
    answer.refused(503, "provider_error");
}

async fn a_document_that_leads_to_plain_http_is_refused(store: StoreKind) {
    for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
        let world = World::on(store).await;
        world.google.lead(name, "http://id.example.org/");
        let answer = world.app.get("/auth/oauth/google/login").await;
        answer.refused(502, "provider_error");
    }
}

async fn a_provider_that_recovers_is_asked_again(store: StoreKind) {
    let world = World::on(store).await;
    let trouble = Trouble::Say(500, "{}".to_owned());
    world.google.trouble(Door::Discovery, trouble);
    let answer = world.app.get("/auth/oauth/google/login").await;
    answer.refused(503, "provider_error");
    // What only reads is tried twice, and not for ever.
    assert_eq!(world.google.asked(Door::Discovery), 2);
    world.google.trouble(Door::Discovery, None);
    // Nor at once again, by anybody.
    let answer = world.app.get("/auth/oauth/google/login").await;
    answer.refused(503, "provider_error");
    assert_eq!(world.google.asked(Door::Discovery), 2);
    world.app.clock.advance(PAUSE);
    world.sign_in(claims("ada")).await.ok(200);
    world.sign_in(claims("ada")).await.ok(200);
    assert_eq!(world.google.asked(Door::Discovery), 3);
    assert_eq!(world.google.asked(Door::Keys), 1);
    world.app.clock.advance(Duration::HOUR);
    world.sign_in(claims("ada")).await.ok(200);
    assert_eq!(world.google.asked(Door::Discovery), 4);
    assert_eq!(world.google.asked(Door::Keys), 2);
    // A code is sent once, whatever becomes of it.
    let before = world.google.asked(Door::Token);
    let trouble = Trouble::Say(500, "{}".to_owned());
    world.google.trouble(Door::Token, trouble);
    let answer = world.sign_in(claims("ada")).await;
    answer.refused(503, "provider_error");
    assert_eq!(world.google.asked(Door::Token), before + 1);
}

async fn a_renewed_key_is_found(store: StoreKind) {
    let world = World::on(store).await;
    world.sign_in(claims("ada")).await.ok(200);
    world.app.clock.advance(Duration::MINUTE);
    world.google.rename_key("key-2");
    world.sign_in(claims("ada")).await.ok(200);
    assert_eq!(world.google.asked(Door::Keys), 2);
}

/// Anybody can make a token that names a key.
async fn keys_are_not_fetched_for_whoever_names_one(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    world.sign_in(claims("warm")).await.ok(200);
    for minute in 0..3 {
        for number in 0..5 {
            let (mut header, claims) = world.google.right(&claims("ada"));
            header["kid"] = json!(format!("key {minute} {number}"));
            let token = auth_tests::provider::signed(&header, &claims);
            let body = json!({"password": ada.password, "id_token": token});
            let answer = world.app.post("/auth/link/google", body).by(&ada).await;
            answer.refused(400, "invalid_token");
        }
        assert_eq!(world.google.asked(Door::Keys), 1 + minute);
        world.app.clock.advance(Duration::MINUTE);
    }
}

async fn a_token_answer_without_an_id_token_proves_nobody(store: StoreKind) {
    let world = World::on(store).await;
    for text in [
        json!({"access_token": "a", "token_type": "Bearer"}),
        json!({"access_token": "a", "token_type": "Bearer", "id_token": 7}),
        json!({"id_token": "a.b.c"}),
        json!({"error": "invalid_grant"}),
    ] {
        let trouble = Trouble::Say(200, text.to_string());
        world.google.trouble(Door::Token, trouble);
        let answer = world.sign_in(claims("ada")).await;
        answer.refused(502, "provider_error");
    }
    for (error, status, code) in [
        ("invalid_grant", 400, "invalid_code"),
        ("invalid_request", 400, "invalid_code"),
        ("invalid_client", 502, "provider_error"),
        ("unauthorized_client", 502, "provider_error"),
        ("something_new", 502, "provider_error"),
    ] {
        let trouble = Trouble::Say(400, json!({"error": error}).to_string());
        world.google.trouble(Door::Token, trouble);
        let answer = world.sign_in(claims("ada")).await;
        answer.refused(status, code);
    }
}
