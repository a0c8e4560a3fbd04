//! What no client should send to routes of a provider that is there.

use auth_tests::{PASSWORD, StoreKind};
use serde_json::json;

use super::{World, claims};

auth_tests::on_each_store! {
    queries_that_no_browser_brings_use_nothing_up
    cookies_may_be_anything
    bodies_are_read_strictly
}

const HOSTILE: [&str; 12] = [
    "",
    "%00",
    "a%00b",
    "%0d%0aSet-Cookie:%20a=b",
    "%ff%fe",
    "%",
    "%zz",
    "'%20or%201=1%20--",
    "%3Cscript%3E",
    "%F0%9F%94%A5",
    "..%2F..%2Fetc%2Fpasswd",
    "null",
];

async fn queries_that_no_browser_brings_use_nothing_up(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let cookies = browser.cookies.clone();
    let long = "x".repeat(6000);
    for text in HOSTILE.into_iter().chain([&*long]) {
        for hostile in [
            format!("state={text}&code=a"),
            format!("state={text}&error=a"),
            format!("code={text}"),
            format!("error={text}"),
            format!("state=a&code=b&iss={text}"),
            format!("{text}={text}"),
            format!("code=a&state=b&state={text}"),
        ] {
            browser.cookies = cookies.clone();
            let answer = browser.come_back("google", &hostile).await;
            answer.is_problem();
            assert!(
                matches!(answer.status, 400 | 414 | 422),
                "{hostile}: {answer:?}"
            );
        }
        for field in ["redirect_to", "mode", "code_challenge"] {
            let path = format!("/auth/oauth/google/login?{field}={text}");
            let answer = world.app.get(&path).await;
            answer.is_problem();
            assert!(
                matches!(answer.status, 400 | 414 | 422),
                "{path}: {answer:?}"
            );
        }
    }
    browser.cookies = cookies;
    browser.come_back("google", &query).await.ok(200);
}

async fn cookies_may_be_anything(store: StoreKind) {
    let world = World::on(store).await;
    let mut browser = world.browser();
    let there = browser.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let good = browser.cookies["__Host-oauth"].clone();
    let path = format!("/auth/oauth/google/callback?{query}");
    for cookie in [
        String::new(),
        ";;;===".to_owned(),
        "__Host-oauth".to_owned(),
        "__Host-oauth=\"".to_owned(),
        "__Host-oauth=%00".to_owned(),
        format!("__Host-oauth=a; __Host-oauth={}", "b".repeat(3000)),
        format!("__host-oauth={good}"),
        format!("oauth={good}"),
        format!("x__Host-oauth={good}"),
    ] {
        let answer = world.app.get(&path).header("cookie", &cookie).await;
        answer.refused(400, "invalid_state");
    }
    browser.come_back("google", &query).await.ok(200);
}

async fn bodies_are_read_strictly(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let state = world.app.state_of(&ada).await;
    for path in ["/auth/link/google", "/auth/unlink/google"] {
        for body in ["", "{", "password=x", r#"{"password":"a","password":"a"}"#] {
            let call = world.app.call("POST", path).raw(body.to_owned());
            let answer = call
                .header("content-type", "application/json")
                .by(&ada)
                .await;
            answer.refused(400, "malformed_json");
        }
        for body in [
            json!([]),
            json!("a"),
            json!(null),
            json!({"password": null}),
            json!({"password": 7}),
            json!({"password": [PASSWORD]}),
            json!({"password": PASSWORD, "provider": "acme"}),
            json!({"password": PASSWORD, "provider": ["google"]}),
            json!({"password": PASSWORD, "is_verified": true}),
        ] {
            let answer = world.app.post(path, body).by(&ada).await;
            answer.refused(422, "validation_failed");
        }
        let call = world.app.call("POST", path).raw("{}".to_owned());
        let answer = call.header("content-type", "text/plain").by(&ada).await;
        answer.refused(415, "unsupported_media_type");
    }
    for token in ["", "\0", "a.b.c", "🔥", "e30.e30.", &"x".repeat(20_000)] {
        let body = json!({"password": PASSWORD, "id_token": token});
        let answer = world.app.post("/auth/link/google", body).by(&ada).await;
        answer.is_problem();
        assert!(matches!(answer.status, 400 | 422), "{token:?}: {answer:?}");
    }
    assert_eq!(world.app.state_of(&ada).await, state);
}
