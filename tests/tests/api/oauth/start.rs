use std::collections::HashMap;

use auth_core::time::Duration;
use auth_tests::{App, StoreKind, provider::Door};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use super::World;

auth_tests::on_each_store! {
    a_sign_in_begins_at_the_provider
    a_browser_is_bound_by_a_cookie_that_no_script_reads
    a_page_that_is_not_allowed_is_refused
    a_provider_that_is_not_configured_is_said
    a_sign_in_that_is_only_begun_writes_nothing
}

async fn a_sign_in_begins_at_the_provider(store: StoreKind) {
    let world = World::on(store).await;
    let answer = world.app.get("/auth/oauth/google/login").await;
    answer.ok(302);
    let (address, query) = answer.header("location").split_once('?').unwrap();
    assert_eq!(address, format!("{}/authorize", world.google.issuer()));
    let query: HashMap<String, String> = serde_urlencoded::from_str(query).unwrap();
    assert_eq!(
        query["redirect_uri"],
        "https://auth.example.org/auth/oauth/google/callback"
    );
    assert_eq!(query["code_challenge_method"], "S256");
    // 256 bits each, and nothing that tells another.
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(query[name].len(), 43, "{name}");
    }
    assert_ne!(query["state"], query["nonce"]);

    let again = world.app.get("/auth/oauth/google/login?mode=json").await;
    let location = again.ok(200)["authorization_url"].as_str().unwrap();
    assert!(location.starts_with(address) && !location.contains(&query["state"]));
    // It is asked for its address once.
    assert_eq!(world.google.asked(Door::Discovery), 1);
    let wrong = world.app.get("/auth/oauth/google/login?mode=html").await;
    wrong.refused(422, "validation_failed");
    assert_eq!(wrong.faults(), [("mode", "invalid_mode")]);
}

async fn a_browser_is_bound_by_a_cookie_that_no_script_reads(store: StoreKind) {
    let world = World::on(store).await;
    let answer = world.app.get("/auth/oauth/google/login").await;
    let (pair, attributes) = answer.header("set-cookie").split_once("; ").unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    assert_eq!(name, "__Host-oauth");
    assert_eq!(
        attributes,
        "Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
    );
    // It is sealed: neither the state nor anything else can be read from it.
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(value).unwrap();
    assert!(bytes.len() > 200);
    let (_, query) = answer.header("location").split_once('?').unwrap();
    let query: HashMap<String, String> = serde_urlencoded::from_str(query).unwrap();
    for open in [&query["state"], &query["nonce"], "google", "expires_at"] {
        let is_there = bytes
            .windows(open.len())
            .any(|part| part == open.as_bytes());
        assert!(!is_there, "{open}");
    }
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
}

async fn a_page_that_is_not_allowed_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let start = |page: &str| {
        let page = serde_urlencoded::to_string([("redirect_to", page)]).unwrap();
        world.app.get(&format!("/auth/oauth/google/login?{page}"))
    };
    start("https://app.example.org/welcome").await.ok(302);
    for page in [
        "",
        "/welcome",
        "https://app.example.org",
        "https://app.example.org/",
        "https://app.example.org/welcome/",
        "https://app.example.org/welcome?x=1",
        "https://app.example.org/welcome#x",
        "https://app.example.org/welcome/../other",
        "https://APP.example.org/welcome",
        "http://app.example.org/welcome",
        "https://app.example.org@evil.example/welcome",
        "https://app.example.org.evil.example/welcome",
        "//app.example.org/welcome",
        "javascript:alert(1)",
    ] {
        let answer = start(page).await;
        answer.refused(400, "redirect_not_allowed");
        assert!(answer.headers.get("set-cookie").is_none(), "{page}");
    }
}

async fn a_provider_that_is_not_configured_is_said(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    for name in ["google", "acme", "password", "%2e%2e", "Google"] {
        for path in [
            format!("/auth/oauth/{name}/login"),
            format!("/auth/oauth/{name}/callback?code=a&state=b"),
        ] {
            app.get(&path).await.refused(501, "oauth_not_configured");
        }
        let body = json!({"password": ada.password});
        app.post(&format!("/auth/link/{name}"), body)
            .by(&ada)
            .await
            .refused(501, "oauth_not_configured");
    }
    let world = World::on(store).await;
    let other = world.app.get("/auth/oauth/other/login").await;
    other.refused(501, "oauth_not_configured");
}

async fn a_sign_in_that_is_only_begun_writes_nothing(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let state = world.app.state_of(&ada).await;
    for _ in 0..5 {
        world.app.get("/auth/oauth/google/login").await.ok(302);
        let head = world.app.call("HEAD", "/auth/oauth/google/login").await;
        assert_eq!(head.status, 200);
        assert!(head.headers.get("set-cookie").is_none());
    }
    assert_eq!(world.app.state_of(&ada).await, state);
    // Whatever it had marked would be worth nothing by then.
    world.app.clock.advance(Duration::HOUR);
    let swept = world.app.auth.sweep().await.unwrap();
    assert_eq!(swept.spent, 0);
}
