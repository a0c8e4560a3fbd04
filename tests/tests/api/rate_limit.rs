use std::num::NonZeroU32;

use auth_core::time::Duration;
use auth_tests::{App, Client, path_of};
use auth_tower::{
    ClientIp, TrustedProxies,
    rate_limit::{RateClass, RateLimits},
    routes,
};
use serde_json::json;

/// The endpoints under the limits that a host gets without asking, by the clock of the app.
fn limited(app: &App) -> Client {
    let limits = RateLimits::default().clock(app.clock.clone());
    Client::of(app.router().rate_limits(limits).into_service())
}

/// How many of so many requests are answered, the first of them at once.
async fn admitted(client: &Client, path: &str, peer: &str, count: usize) -> usize {
    let mut admitted = 0;
    for number in 0..count {
        let answer = client.get(path).from(peer).await;
        if answer.status == 429 {
            answer.refused(429, "rate_limited");
        } else {
            assert_eq!(admitted, number, "one passes after another was refused");
            admitted += 1;
        }
    }
    admitted
}

#[tokio::test]
async fn of_a_burst_a_hundred_pass_and_then_what_is_refilled() {
    let app = App::start().await;
    let client = limited(&app);
    assert_eq!(admitted(&client, "/auth/me", "192.0.2.1", 300).await, 100);
    app.clock.advance(Duration::seconds(6));
    assert_eq!(admitted(&client, "/auth/me", "192.0.2.1", 20).await, 10);
    app.clock.advance(Duration::MINUTE);
    assert_eq!(admitted(&client, "/auth/me", "192.0.2.1", 300).await, 100);
}

#[tokio::test]
async fn an_answer_says_how_the_budget_stands() {
    let app = App::start().await;
    let client = limited(&app);
    let first = client.get("/credits/balance").from("192.0.2.1").await;
    first.refused(401, "invalid_api_key");
    assert_eq!(first.header("ratelimit-policy"), "\"default\";q=1000;w=60");
    assert_eq!(first.header("ratelimit"), "\"default\";r=999;t=1");
    // What is refused for another reason says it, too.
    let me = client.get("/auth/me").from("192.0.2.1").await;
    me.refused(401, "missing_token");
    assert_eq!(me.header("ratelimit-policy"), "\"auth\";q=100;w=60");
    assert_eq!(me.header("ratelimit"), "\"auth\";r=99;t=1");
    admitted(&client, "/auth/me", "192.0.2.1", 99).await;
    let refused = client.get("/auth/me").from("192.0.2.1").await;
    refused.refused(429, "rate_limited");
    assert_eq!(refused.header("ratelimit"), "\"auth\";r=0;t=1");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("cache-control"), "no-store");
}

#[tokio::test]
async fn every_route_takes_from_the_budget_of_its_class() {
    let app = App::start().await;
    for route in routes() {
        let client = limited(&app);
        let path = path_of(&route);
        let is_auth = route.path.starts_with("/auth/") || route.path == "/update-password";
        let (class, standing) = if is_auth {
            (Some(RateClass::Auth), "\"auth\";r=99;t=1")
        } else if route.path.starts_with("/health") {
            (None, "")
        } else {
            (Some(RateClass::Default), "\"default\";r=999;t=1")
        };
        assert_eq!(route.rate_class, class, "{}", route.path);
        let answer = client.call(route.method.as_str(), &path).await;
        assert_eq!(answer.header("ratelimit"), standing, "{}", route.path);
    }
}

#[tokio::test]
async fn a_request_over_the_budget_is_looked_at_no_further() {
    let app = App::start().await;
    let ada = app.verified("ada").await;
    let client = limited(&app);
    admitted(&client, "/auth/me", "192.0.2.1", 100).await;
    let from_here = |call: auth_tests::Call| call.from("192.0.2.1");
    for call in [
        client.get("/auth/me").by(&ada),
        client.get("/auth/me"),
        client.call("POST", "/auth/login").raw("no type"),
        client.call("POST", "/auth/login").json(json!({})),
        client
            .call("POST", "/update-password")
            .raw("x".repeat(100_000)),
        client.get("/auth/users/x/email"),
        client.call("HEAD", "/auth/me"),
    ] {
        from_here(call).await.refused(429, "rate_limited");
    }
    // What is nobody's path or method is told before, and costs nothing.
    let nowhere = from_here(client.get("/auth/nowhere")).await;
    nowhere.refused(404, "not_found");
    assert!(!nowhere.headers.contains_key("ratelimit"));
    let method = from_here(client.delete("/auth/me")).await;
    method.refused(405, "method_not_allowed");
    from_here(client.call("OPTIONS", "/auth/me")).await.ok(204);
    // The rest has a budget of its own.
    let balance = from_here(client.get("/credits/balance")).await;
    balance.refused(401, "invalid_api_key");
}

/// The probes of a load balancer may come from the address that all clients seem to have.
#[tokio::test]
async fn health_is_told_however_often_it_is_asked() {
    let app = App::start().await;
    let client = limited(&app);
    for path in ["/health", "/health/ready"] {
        assert_eq!(admitted(&client, path, "192.0.2.1", 1100).await, 1100);
    }
    let other = client.get("/credits/balance").from("192.0.2.1").await;
    assert_eq!(other.header("ratelimit"), "\"default\";r=999;t=1");
}

#[tokio::test]
async fn a_client_is_an_address_or_an_ipv6_network() {
    let app = App::start().await;
    let client = limited(&app);
    for (peer, same, other) in [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        (
            "2001:db8:0:1::1",
            "2001:db8:0:1:ffff:ffff:ffff:ffff",
            "2001:db8:0:2::1",
        ),
    ] {
        assert_eq!(admitted(&client, "/auth/me", peer, 101).await, 100);
        assert_eq!(admitted(&client, "/auth/me", same, 1).await, 0);
        assert_eq!(admitted(&client, "/auth/me", other, 1).await, 1);
    }
    // Those of whom nothing is known are one.
    for _ in 0..100 {
        client.get("/auth/me").await.refused(401, "missing_token");
    }
    client.get("/auth/me").await.refused(429, "rate_limited");
}

#[tokio::test]
async fn a_made_up_address_is_no_way_round() {
    let app = App::start().await;
    let proxies = TrustedProxies::parse("10.0.0.0/8").unwrap();
    let limits = RateLimits::default().clock(app.clock.clone());
    let router = app.router().rate_limits(limits);
    let client = Client::of(router.client_ip(ClientIp::behind(proxies)).into_service());
    for (peer, written_by_the_proxy) in [("192.0.2.1", ""), ("10.0.0.1", ", 192.0.2.2")] {
        let mut passed = 0;
        for number in 0..300 {
            let made_up = format!(
                "6.6.{}.{}{written_by_the_proxy}",
                number / 256,
                number % 256
            );
            let call = client.get("/auth/me").from(peer);
            let answer = call
                .header("x-forwarded-for", made_up)
                .header("x-real-ip", format!("6.7.7.{}", number % 256))
                .header("forwarded", format!("for=6.8.8.{}", number % 256));
            passed += usize::from(answer.await.status != 429);
        }
        // Of those who come directly, no header is read at all.
        assert_eq!(passed, 100, "{peer}");
    }
}

#[tokio::test]
async fn a_host_sets_its_own_numbers_or_none() {
    let app = App::start().await;
    let three = NonZeroU32::new(3).unwrap();
    let limits = RateLimits::per_minute(three, three).clock(app.clock.clone());
    let client = Client::of(app.router().rate_limits(limits).into_service());
    assert_eq!(admitted(&client, "/auth/me", "192.0.2.1", 5).await, 3);
    let client = Client::of(app.router().without_rate_limits().into_service());
    assert_eq!(admitted(&client, "/auth/me", "192.0.2.1", 300).await, 300);
    let answer = client.get("/auth/me").await;
    assert!(!answer.headers.contains_key("ratelimit"));
}
