//! The endpoints in hosts of several kinds: an axum router, plain hyper on a socket, a store of the host's own.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use auth_tests::{API_KEY, App, Client, PASSWORD, email_of};
use auth_tower::{
    AuthenticatedUser, Endpoint, InternalCaller, PeerAddr, Prefix, VerifiedUser, require,
};
use axum::{
    Extension, Router,
    routing::{get, post},
};
use http::{Method, Request, Response};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tower::{Layer, ServiceExt, service_fn};

mod own_store;

async fn echo(body: String) -> String {
    format!("the host got {body}")
}

fn host() -> Router {
    Router::new()
        .route("/", get(async || "home"))
        .route("/echo", post(echo))
        .fallback(async || (http::StatusCode::NOT_FOUND, "the host has no such page"))
}

/// Registers, verifies, logs in, looks, logs out, below a prefix.
async fn lives(app: &App, client: &Client, prefix: &str, name: &str) {
    let post = |path: &str, body: Value| client.post(&format!("{prefix}{path}"), body);
    let body = json!({"username": name, "email": email_of(name), "password": PASSWORD});
    post("/auth/register", body).await.ok(201);
    let token = app.mailed_token(&email_of(name)).await;
    post("/auth/verify-email", json!({"token": token}))
        .await
        .ok(200);
    let body = json!({"username": name, "password": PASSWORD});
    let login = post("/auth/login", body).await;
    let token = login.ok(200)["access_token"].as_str().unwrap().to_owned();
    let me = client
        .get(&format!("{prefix}/auth/me"))
        .bearer(&token)
        .await;
    assert_eq!(me.ok(200)["username"], name);
    let logout = client.call("POST", &format!("{prefix}/auth/logout"));
    logout.bearer(&token).await.ok(200);
    let me = client
        .get(&format!("{prefix}/auth/me"))
        .bearer(&token)
        .await;
    me.refused(401, "invalid_token");
}

#[tokio::test]
async fn as_a_layer_of_an_axum_router() {
    let app = App::start().await;
    let client = Client::of(host().layer(app.router().into_layer()));
    lives(&app, &client, "", "ada").await;

    // The host's own pages are as they were.
    let home = client.get("/").await;
    assert_eq!((home.status, home.text().as_str()), (200, "home"));
    assert!(!home.headers.contains_key("x-request-id"), "{home:?}");
    let echo = client.call("POST", "/echo").raw("a body").await;
    assert_eq!(echo.text(), "the host got a body");
    assert_eq!(client.get("/echo").await.status, 405);
    for path in [
        "/nowhere",
        "/auth",
        "/auth/login/",
        "/auth/nothing",
        "/Auth/Login",
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "the host has no such page")
        );
    }
    // Ours are answered by us, whatever the method.
    client
        .get("/auth/login")
        .await
        .refused(405, "method_not_allowed");
    client.call("OPTIONS", "/auth/login").await.ok(204);
}

#[tokio::test]
async fn below_a_prefix_of_its_own() {
    let app = App::start().await;
    let prefix = Prefix::parse("/api/v1").unwrap();
    let client = Client::of(host().layer(app.router().prefix(prefix).into_layer()));
    lives(&app, &client, "/api/v1", "ada").await;
    for path in [
        "/auth/me",
        "/api/v1",
        "/api/v1/",
        "/api/auth/me",
        "/api/v1/api/v1/auth/me",
        "/health",
    ] {
        assert_eq!(client.get(path).await.text(), "the host has no such page");
    }
}

#[tokio::test]
async fn nested_in_an_axum_router_that_strips_the_prefix() {
    let app = App::start().await;
    let client = Client::of(host().nest_service("/account", app.router().into_service()));
    lives(&app, &client, "/account", "ada").await;
    // What the nested service does not know is its own 404.
    client
        .get("/account/nowhere")
        .await
        .refused(404, "not_found");
    assert_eq!(
        client.get("/auth/me").await.text(),
        "the host has no such page"
    );
    assert_eq!(client.get("/").await.text(), "home");
}

#[tokio::test]
async fn as_the_fallback_of_an_axum_router() {
    let app = App::start().await;
    let router = Router::new().route("/", get(async || "home"));
    let client = Client::of(router.fallback_service(app.router().into_service()));
    lives(&app, &client, "", "ada").await;
    client.get("/nowhere").await.refused(404, "not_found");
    assert_eq!(client.get("/").await.text(), "home");
}

#[tokio::test]
async fn before_any_tower_service() {
    let app = App::start().await;
    let inner = service_fn(|request: Request<auth_tower::AuthBody>| async move {
        Ok::<_, Infallible>(Response::new(format!("inner {}", request.uri().path())))
    });
    let client = Client::of(app.router().into_layer().layer(inner));
    lives(&app, &client, "", "ada").await;
    assert_eq!(client.get("/own").await.text(), "inner /own");
}

#[tokio::test]
async fn a_guard_lets_those_pass_who_may() {
    async fn verified(Extension(who): Extension<VerifiedUser>) -> String {
        format!("verified {}", who.user().username)
    }
    async fn authenticated(Extension(who): Extension<AuthenticatedUser>) -> String {
        format!(
            "authenticated {} in {}",
            who.user().username,
            who.session().id
        )
    }
    async fn internal(Extension(who): Extension<InternalCaller>) -> String {
        format!("service {}", who.name())
    }
    let app = App::start().await;
    let guarded = Router::new()
        .route(
            "/verified",
            get(verified).route_layer(require::verified(&app.auth)),
        )
        .route(
            "/authenticated",
            get(authenticated).route_layer(require::authenticated(&app.auth)),
        )
        .route(
            "/internal",
            get(internal).route_layer(require::internal(&App::internal_keys())),
        )
        .route("/open", get(async || "open"))
        .layer(app.router().into_layer());
    let client = Client::of(guarded);
    let (ada, eve) = (app.verified("ada").await, app.registered("eve").await);

    assert_eq!(client.get("/open").await.text(), "open");
    assert_eq!(
        client.get("/verified").by(&ada).await.text(),
        "verified ada"
    );
    for person in [&ada, &eve] {
        let answer = client.get("/authenticated").by(person).await;
        let expected = format!("authenticated {} in {}", person.username, person.session());
        assert_eq!(answer.text(), expected);
    }
    assert_eq!(
        client.get("/internal").by_service().await.text(),
        "service tests"
    );

    let answer = client.get("/verified").by(&eve).await;
    answer.refused(403, "email_not_verified");
    for path in ["/verified", "/authenticated"] {
        client.get(path).await.refused(401, "missing_token");
        client
            .get(path)
            .by_service()
            .await
            .refused(401, "missing_token");
        client
            .get(path)
            .bearer(API_KEY)
            .await
            .refused(401, "invalid_token");
        let answer = client.get(path).by(&ada).by(&ada).await;
        answer.refused(401, "invalid_token");
        let answer = client
            .get(&format!("{path}?access_token={}", ada.access_token))
            .await;
        answer.refused(401, "missing_token");
    }
    for call in [
        client.get("/internal"),
        client.get("/internal").by(&ada),
        client.get("/internal").header("x-api-key", "x".repeat(40)),
        client.get("/internal").by_service().by_service(),
    ] {
        let answer = call.await;
        answer.refused(401, "invalid_api_key");
        assert_eq!(answer.header("www-authenticate"), "ApiKey");
    }

    // What ends a session counts here, too.
    client.call("POST", "/auth/logout").by(&ada).await.ok(200);
    client
        .get("/verified")
        .by(&ada)
        .await
        .refused(401, "invalid_token");
    client
        .post("/auth/revoke", json!({"token": eve.access_token}))
        .await
        .ok(200);
    client
        .get("/authenticated")
        .by(&eve)
        .await
        .refused(401, "invalid_token");
    app.store.fail(auth_tests::Fault::Unavailable);
    client
        .get("/verified")
        .by(&ada)
        .await
        .refused(503, "unavailable");
}

#[tokio::test]
async fn an_endpoint_that_is_switched_off_is_the_hosts() {
    let app = App::start().await;
    let own = Router::new()
        .route("/auth/register", post(async || "by invitation only"))
        .fallback(async || (http::StatusCode::NOT_FOUND, "the host has no such page"));
    let router = app
        .router()
        .without(Endpoint::Register)
        .without(Endpoint::DeleteAccount)
        .without(Endpoint::VerifyEmailLink);
    let left: Vec<_> = router.routes().map(|route| route.endpoint).collect();
    assert_eq!(left.len(), auth_tower::routes().count() - 3);
    let client = Client::of(own.layer(router.into_layer()));
    let ada = app.verified("ada").await;

    let body = json!({"username": "eve", "email": "eve@example.org", "password": PASSWORD});
    let answer = client.post("/auth/register", body).await;
    assert_eq!(answer.text(), "by invitation only");
    let delete = client.delete("/auth/users/delete-account").by(&ada);
    let answer = delete.json(json!({"password": PASSWORD})).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "the host has no such page")
    );
    // Of two methods of one path the other one stays, and the path with it.
    let answer = client.get("/auth/verify-email?token=x").await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST, OPTIONS");
    client
        .post("/auth/verify-email", json!({"token": "x"}))
        .await
        .refused(400, "invalid_token");
    client.get("/auth/me").by(&ada).await.ok(200);
}

#[tokio::test]
async fn any_endpoint_can_be_switched_off() {
    let app = App::start().await;
    for off in auth_tower::routes() {
        let client = Client::of(app.router().without(off.endpoint).into_service());
        let path = auth_tests::path_of(&off);
        let answer = client
            .call(off.method.as_str(), &path)
            .json(json!({}))
            .await;
        assert!(matches!(answer.status, 404 | 405), "{answer:?}");
        assert!(matches!(answer.code(), "not_found" | "method_not_allowed"));
        // Nothing else is gone.
        for on in auth_tower::routes().filter(|on| on.endpoint != off.endpoint) {
            let path = auth_tests::path_of(&on);
            let answer = client.call("OPTIONS", &path).await;
            answer.ok(204);
            assert!(answer.header("allow").contains(on.method.as_str()));
        }
    }
}

/// Plain hyper on a free port of this machine; it ends with the test.
async fn serve(app: &App) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.router().into_service();
    tokio::spawn(async move {
        loop {
            let (socket, peer) = listener.accept().await.unwrap();
            let service = service
                .clone()
                .map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(PeerAddr(peer));
                    request
                });
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
            tokio::spawn(connection);
        }
    });
    address
}

async fn answered(response: reqwest::Response, status: u16) -> Value {
    assert_eq!(response.status().as_u16(), status, "{response:?}");
    assert!(response.headers().contains_key("x-request-id"));
    response.json().await.unwrap()
}

#[tokio::test]
async fn in_plain_hyper_on_a_socket() {
    let app = App::start().await;
    let address = serve(&app).await;
    let url = |path: &str| format!("http://{address}{path}");
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value, status: u16| {
        let response = client.post(url(path)).json(&body).send().await.unwrap();
        answered(response, status).await
    };
    let body = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    post("/auth/register", body.clone(), 201).await;
    assert_eq!(
        post("/auth/register", body, 409).await["code"],
        "user_exists"
    );
    let token = app.mailed_token("ada@example.org").await;
    let link = url(&format!("/auth/verify-email?token={token}"));
    let verified = client.get(link).send().await.unwrap();
    assert_eq!(answered(verified, 200).await["status"], "verified");
    let body = json!({"username": "ada", "password": PASSWORD});
    let tokens = post("/auth/login", body, 200).await;
    let token = tokens["access_token"].as_str().unwrap();

    let me = client
        .get(url("/auth/me"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(answered(me, 200).await["username"], "ada");
    let sessions = client
        .get(url("/auth/sessions"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    let sessions = answered(sessions, 200).await;
    for session in sessions["sessions"].as_array().unwrap() {
        let ip: IpAddr = session["ip"].as_str().unwrap().parse().unwrap();
        assert!(ip.is_loopback());
    }
    let head = client
        .head(url("/auth/me"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 200);
    assert!(
        head.headers()["content-length"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 100
    );
    assert!(head.bytes().await.unwrap().is_empty());
    let options = client
        .request(Method::OPTIONS, url("/auth/me"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (options.status().as_u16(), &options.headers()["allow"]),
        (204, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    let out = client
        .post(url("/auth/logout"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    answered(out, 200).await;
    let me = client
        .get(url("/auth/me"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(answered(me, 401).await["code"], "invalid_token");
    let nowhere = client.get(url("/nowhere")).send().await.unwrap();
    assert_eq!(answered(nowhere, 404).await["code"], "not_found");
}

/// Sends bytes as they are, hangs up or not, and reads until the other end closes.
async fn raw(address: SocketAddr, request: &str, hangs_up: bool) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    if hangs_up {
        socket.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    // The other end may close with bytes of ours unread, which is a reset.
    let reading = socket.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(20), reading)
        .await
        .expect("no end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn bytes_that_are_no_request_hurt_nobody() {
    let app = App::start().await;
    let address = serve(&app).await;
    let head = "POST /auth/register HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let json = json!({"username": "eve", "email": "eve@example.org", "password": PASSWORD});
    let json = json.to_string();
    let half = &json[..json.len() / 2];
    for (name, request, expected) in [
        ("no HTTP", "hello\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (
            "a space in the path",
            "GET /auth/me x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "HTTP/1.1 400",
        ),
        (
            "half a body",
            format!("{head}Content-Length: {}\r\n\r\n{half}", json.len()),
            "",
        ),
        (
            "half a chunk",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nff\r\n{half}"),
            "",
        ),
        (
            "a bad chunk",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{json}\r\n0\r\n\r\n"),
            "",
        ),
        (
            "two lengths",
            format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{json}"),
            "HTTP/1.1 400",
        ),
        (
            "a large body",
            format!("{head}Content-Length: 70000\r\n\r\n"),
            "HTTP/1.1 413",
        ),
        ("no body at all", format!("{head}\r\n"), "HTTP/1.1 400"),
        (
            "a half header",
            "GET /auth/me HTTP/1.1\r\nAuthoriz".to_owned(),
            "",
        ),
    ] {
        let answer = raw(address, &request, expected.is_empty()).await;
        assert!(answer.starts_with(expected), "{name}: {answer}");
        assert!(
            !answer.starts_with("HTTP/1.1 5") && !answer.starts_with("HTTP/1.1 2"),
            "{name}: {answer}"
        );
    }
    assert_eq!(app.deliver().await, 0, "somebody registered");
    let health = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let health = raw(address, health, false).await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let whole = format!("{head}Content-Length: {}\r\n\r\n{json}", json.len());
    let whole = raw(address, &whole, false).await;
    assert!(whole.starts_with("HTTP/1.1 201"), "{whole}");
}
