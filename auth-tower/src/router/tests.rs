use std::{
    collections::HashSet,
    sync::{Arc, Once},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt;

use super::{
    Ctx, Dispatch, Paths, Prefix,
    route::{Route, public},
    routes,
    service::AuthService,
    table::Endpoint,
};
use crate::{
    AuthRouter, Class, ClientIp, InternalKeys,
    respond::{Problem, Reply},
    testing::{API_KEY, Host, post, request, send, with_header},
};

/// A path that matches a pattern of the table.
fn example(pattern: &str) -> String {
    pattern
        .replace("{id}", "0197f1f0-0000-7000-8000-000000000000")
        .replace("{user_id}", "0197f1f0-0000-7000-8000-000000000000")
        .replace("{email}", "nobody%40example.org")
}

#[tokio::test]
async fn every_declared_route_is_reached_under_any_prefix() {
    let host = Host::start();
    for prefix in ["", "/api", "/v1/accounts"] {
        let service = host
            .router()
            .prefix(Prefix::parse(prefix).unwrap())
            .into_service();
        for route in routes() {
            let path = format!("{prefix}{}", example(route.path));
            let answer = send(service.clone(), request("OPTIONS", &path)).await;
            assert_eq!(answer.status, 204, "{path}");
            let allowed: HashSet<_> = answer.header("allow").split(", ").collect();
            assert!(
                allowed.contains(route.method.as_str()),
                "{path}: {allowed:?}"
            );
            assert!(allowed.contains("OPTIONS"));
            assert_eq!(allowed.contains("HEAD"), allowed.contains("GET"), "{path}");
            assert!(!answer.headers.contains_key("content-type"));
        }
    }
}

#[tokio::test]
async fn a_class_is_checked_before_anything_of_the_request() {
    let host = Host::start();
    let unverified = host.registered("ada").await;
    for route in routes() {
        for (name, credentials, expected) in [
            ("nothing", None, [401, 401]),
            (
                "unverified",
                Some(("authorization", format!("Bearer {unverified}"))),
                [403, 401],
            ),
            (
                "another secret",
                Some(("authorization", format!("Bearer {API_KEY}"))),
                [401, 401],
            ),
            (
                "a wrong key",
                Some(("x-api-key", format!("{API_KEY}x"))),
                [401, 401],
            ),
            (
                "a token as key",
                Some(("x-api-key", unverified.clone())),
                [401, 401],
            ),
        ] {
            // No type and no JSON: were the body looked at first, this would be a 415 or a 400.
            let mut request = Request::builder()
                .method(route.method.clone())
                .uri(example(route.path))
                .body(Full::<Bytes>::from("{"))
                .unwrap();
            if let Some((header, value)) = credentials {
                request = with_header(request, header, &value);
            }
            let answer = send(host.router().into_service(), request).await;
            let case = format!("{} {} with {name}", route.method, route.path);
            match route.class {
                Class::Verified => assert_eq!(answer.status, expected[0], "{case}"),
                Class::Diagnostic | Class::Internal => {
                    assert_eq!(answer.status, expected[1], "{case}");
                }
                _ => assert_ne!(answer.status, 403, "{case}"),
            }
        }
    }
}

#[tokio::test]
async fn without_keys_internal_routes_open_to_nobody() {
    let host = Host::start();
    let path = example("/auth/users/by-email/{email}");
    let open = with_header(request("GET", &path), "x-api-key", API_KEY);
    let answer = send(host.router().into_service(), open.clone()).await;
    assert_eq!((answer.status, answer.code()), (404, "user_not_found"));
    let closed = AuthRouter::new(&host.auth).internal_keys(InternalKeys::none());
    let answer = send(closed.into_service(), open).await;
    assert_eq!((answer.status, answer.code()), (401, "invalid_api_key"));
    assert_eq!(answer.header("www-authenticate"), "ApiKey");
}

#[tokio::test]
async fn near_misses_of_a_path_are_not_found() {
    let service = Host::start().router().into_service();
    for path in [
        "/",
        "*",
        "/auth",
        "/auth/login/",
        "//auth/login",
        "/auth//login",
        "/Auth/Login",
        "/auth/log%69n",
        "/auth%2Flogin",
        "/auth/login/x",
        "/auth/./login",
        "/auth/sessions/",
        "/auth/users//email",
        "/auth/users/by-email/",
        "/auth/users/by-email/a/b",
    ] {
        for method in ["GET", "POST", "OPTIONS", "HEAD"] {
            let answer = send(service.clone(), request(method, path)).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert!(!answer.header("x-request-id").is_empty());
        }
    }
}

#[tokio::test]
async fn another_method_is_told_what_is_allowed() {
    let service = Host::start().router().into_service();
    for (method, path, allow) in [
        ("GET", "/auth/login", "POST, OPTIONS"),
        ("HEAD", "/auth/login", "POST, OPTIONS"),
        ("PATCH", "/auth/verify-email", "GET, HEAD, POST, OPTIONS"),
        ("BREW", "/auth/sessions", "GET, HEAD, OPTIONS"),
        ("POST", "/auth/sessions/x", "DELETE, OPTIONS"),
    ] {
        let answer = send(service.clone(), request(method, path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        assert_eq!(answer.bytes.is_empty(), method == "HEAD");
    }
}

#[tokio::test]
async fn head_is_get_without_its_body_and_its_effect() {
    let host = Host::start();
    let token = host.verified("ada").await;
    for path in ["/health", "/health/ready", "/auth/me", "/auth/sessions"] {
        let ask = |method| {
            let request = with_header(request(method, path), "x-request-id", "same");
            with_header(request, "authorization", &format!("Bearer {token}"))
        };
        let get = send(host.router().into_service(), ask("GET")).await;
        let head = send(host.router().into_service(), ask("HEAD")).await;
        assert_eq!((get.status, head.status), (200, 200), "{path}");
        assert_eq!(head.headers, get.headers, "{path}");
        assert!(head.bytes.is_empty() && !get.bytes.is_empty(), "{path}");
    }
    // A token that would be refused: the core is not asked.
    let head = request("HEAD", "/auth/verify-email?token=forged");
    let answer = send(host.router().into_service(), head).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_switched_off_is_not_there() {
    let host = Host::start();
    let router = host
        .router()
        .without(Endpoint::Login)
        .without(Endpoint::VerifyEmailLink);
    assert!(
        router
            .routes()
            .all(|route| route.endpoint != Endpoint::Login)
    );
    let service = router.into_service();
    let answer = send(service.clone(), request("POST", "/auth/login")).await;
    assert_eq!((answer.status, answer.code()), (404, "not_found"));
    let answer = send(service, request("GET", "/auth/verify-email?token=x")).await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, "POST, OPTIONS")
    );
}

#[tokio::test]
async fn without_a_mailer_nothing_offers_mail() {
    let router = AuthRouter::new(&Host::without_mailer());
    let left: Vec<_> = router.routes().map(|route| route.endpoint).collect();
    for endpoint in [
        Endpoint::VerifyEmail,
        Endpoint::VerifyEmailLink,
        Endpoint::CancelEmailChange,
        Endpoint::ChangeEmail,
        Endpoint::RequestPasswordReset,
        Endpoint::ResendVerification,
        Endpoint::ResetPassword,
    ] {
        assert!(!left.contains(&endpoint), "{endpoint}");
    }
    assert!(left.contains(&Endpoint::Login));
}

#[tokio::test]
async fn a_session_from_its_first_token_to_its_end() {
    let host = Host::start();
    let service = host.router().into_service();
    host.verified("ada").await;

    let form = Request::post("/auth/login")
        .header("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
        .body(Full::<Bytes>::from(
            "grant_type=password&scope=&username=ADA%40example.org&password=correct+horse+battery&client_id=x",
        ))
        .unwrap();
    let login = send(service.clone(), form).await;
    assert_eq!(login.status, 200, "{}", login.body);
    assert_eq!(login.header("cache-control"), "no-store");
    assert_eq!(login.body["token_type"], "bearer");
    assert_eq!(login.body["expires_in"], 3600);
    assert_eq!(login.body["refresh_expires_in"], 14 * 24 * 3600);
    let user = &login.body["user"];
    assert_eq!(user["username"], "ada");
    assert_eq!(user["is_verified"], true);
    assert_eq!(user["sign_in_methods"], json!(["password"]));
    assert!(user["created_at"].as_str().unwrap().ends_with('Z'));

    let bearer = format!("Bearer {}", login.body["access_token"].as_str().unwrap());
    let ask = |method, path| with_header(request(method, path), "authorization", &bearer);
    let sessions = send(service.clone(), ask("GET", "/auth/sessions")).await;
    let listed = sessions.body["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    let current: Vec<_> = listed.iter().filter(|it| it["current"] == true).collect();
    assert_eq!(current.len(), 1);
    let path = format!("/auth/sessions/{}", current[0]["id"].as_str().unwrap());
    let ended = send(service.clone(), ask("DELETE", &path)).await;
    assert_eq!((ended.status, ended.bytes.len()), (204, 0));
    let me = send(service.clone(), ask("GET", "/auth/me")).await;
    assert_eq!((me.status, me.code()), (401, "invalid_token"));

    let spent = json!({"refresh_token": login.body["refresh_token"]});
    let refreshed = send(service, post("/auth/refresh", &spent)).await;
    assert_eq!((refreshed.status, refreshed.code()), (401, "invalid_token"));
}

#[tokio::test]
async fn what_is_wrong_with_fields_is_said_without_their_values() {
    let service = Host::start().router().into_service();
    let both = json!({"username": "ada", "email": "a@b.org", "password": "s3cret-value", "x": 1});
    let answer = send(service.clone(), post("/auth/login", &both)).await;
    assert_eq!((answer.status, answer.code()), (422, "validation_failed"));
    let faults: Vec<_> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["field"].as_str().unwrap(), it["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        faults,
        [("email", "mutually_exclusive"), ("x", "unknown_field")]
    );
    assert!(!answer.body.to_string().contains("s3cret"));

    // The form's extras are for forms.
    let grant = json!({"username": "ada", "password": "x", "grant_type": "password"});
    assert_eq!(
        send(service.clone(), post("/auth/login", &grant))
            .await
            .status,
        422
    );
    let form = Request::post("/auth/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::<Bytes>::from(
            "grant_type=implicit&username=a&password=b",
        ))
        .unwrap();
    let answer = send(service, form).await;
    assert_eq!(answer.body["errors"][0]["field"], "grant_type");
}

#[tokio::test]
async fn queries_are_read_only_where_the_table_says_so() {
    let host = Host::start();
    let service = host.router().into_service();
    let token = format!("Bearer {}", host.verified("ada").await);
    for (method, path, status) in [
        ("GET", "/health?x=1&x=2", 200),
        ("GET", "/auth/me?access_token=x", 200),
        ("GET", "/auth/verify-email", 422),
        ("GET", "/auth/verify-email?token=a&token=a", 422),
        ("GET", "/auth/verify-email?token=a&x=1", 422),
        ("GET", "/auth/verify-email?token=forged", 400),
        ("POST", "/auth/logout?scope=none", 422),
        ("POST", "/auth/logout?scope=others", 200),
        ("DELETE", "/auth/sessions/%00", 422),
        (
            "DELETE",
            "/auth/sessions/0197f1f0-0000-7000-8000-000000000000",
            404,
        ),
    ] {
        let request = with_header(request(method, path), "authorization", &token);
        let answer = send(service.clone(), request).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    }
    let by_query = format!("/auth/me?access_token={}", &token["Bearer ".len()..]);
    let answer = send(service, request("GET", &by_query)).await;
    assert_eq!(answer.code(), "missing_token");
}

async fn panics(_: Ctx) -> Result<Reply, Problem> {
    panic!("on purpose")
}

fn service_of(host: &Host, routes: impl IntoIterator<Item = Route>) -> AuthService {
    AuthService::new(Arc::new(Dispatch {
        is_blind: Once::new(),
        auth: host.auth.clone(),
        billing: None,
        client_ip: ClientIp::none(),
        limits: None,
        keys: InternalKeys::none(),
        paths: Paths::new("", routes),
    }))
}

#[tokio::test]
async fn a_handler_that_panics_is_an_internal_error_and_the_service_lives_on() {
    let route = public(Endpoint::Health, Method::GET, "/health", panics);
    let service = service_of(&Host::start(), [route]);
    for _ in 0..2 {
        let answer = send(service.clone(), request("GET", "/health")).await;
        assert_eq!((answer.status, answer.code()), (500, "internal"));
        assert_eq!(answer.body["request_id"], answer.header("x-request-id"));
        assert!(!answer.body.to_string().contains("purpose"));
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cut_a_handler_in_half() {
    let (started, go_on, done) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
    let handler = {
        let (started, go_on, done) = (started.clone(), go_on.clone(), done.clone());
        move |_: Ctx| {
            let (started, go_on, done) = (started.clone(), go_on.clone(), done.clone());
            async move {
                started.notify_one();
                go_on.notified().await;
                done.notify_one();
                Reply::ok(&Value::Null)
            }
        }
    };
    let route = public(Endpoint::Health, Method::GET, "/health", handler);
    let service = service_of(&Host::start(), [route]);
    let client = tokio::spawn(service.oneshot(request("GET", "/health")));
    started.notified().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    go_on.notify_one();
    tokio::time::timeout(Duration::from_secs(10), done.notified())
        .await
        .expect("the handler came to its end");
}
