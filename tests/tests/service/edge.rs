//! What every request passes and every answer has, as the other end of a connection sees it.

use std::net::Ipv4Addr;

use auth_tests::process::{Home, Launch, Service, eventually};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::wire::{registration, request, rest, send};

/// What the service takes of one client, and of all clients at once.
const CONNECTIONS_OF_ONE: usize = 256;
const UNDER_WAY: usize = 512;

fn service() -> Launch {
    Home::new().service().quick()
}

/// The loopback network has many addresses: each is a client of its own.
async fn connect_as(client: u8, service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let ip = Ipv4Addr::new(127, 0, 0, client);
    socket.bind((ip, 0).into()).unwrap();
    let service = service.authority().parse().unwrap();
    socket.connect(service).await.unwrap()
}

/// Whether a connection is taken: one that is not ends, or is reset, without a word.
async fn is_served(stream: &mut TcpStream) -> bool {
    let health = request("GET", "/health", "");
    let mut start = [0; 15];
    stream.write_all(health.as_bytes()).await.is_ok() && stream.read_exact(&mut start).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers_that_browsers_heed() {
    let plain = service().start().await;
    let https = service().set("FRONTEND_URL", "https://app.example.org");
    let https = https.start().await;
    for path in ["/", "/style.css", "/verify-email", "/health", "/nowhere"] {
        for (service, hsts) in [(&plain, ""), (&https, "max-age=31536000")] {
            let answer = service.get(path).await;
            assert_eq!(answer.header("strict-transport-security"), hsts, "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
            assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
            let policy = answer.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{path}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
        }
    }
    plain.get("/auth/me").await.refused(401, "missing_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_listed_origins_only_may_read_answers() {
    let ours = "https://app.example.org";
    let listed = service()
        .set(
            "CORS_ALLOWED_ORIGINS",
            "http://localhost:3000,https://app.example.org",
        )
        .start()
        .await;
    let closed = service().start().await;
    let body = json!({"username": "ada", "password": "a wrong password"});
    let login = |service: &Service, origin: &str| {
        let call = service.post("/auth/login", body.clone());
        call.header("origin", origin)
    };
    let answer = login(&listed, ours).await;
    answer.refused(401, "invalid_credentials");
    assert_eq!(answer.header("access-control-allow-origin"), ours);
    let exposed = answer.header("access-control-expose-headers");
    for header in ["retry-after", "x-request-id", "ratelimit"] {
        assert!(exposed.split(',').any(|it| it == header), "{exposed}");
    }
    // A cache must not hand the answer for one origin to another one.
    assert!(answer.header("vary").contains("origin"));

    let preflight = |service: &Service, origin: &str, path: &str| {
        let call = service.call("OPTIONS", path).header("origin", origin);
        call.header("access-control-request-method", "POST").header(
            "access-control-request-headers",
            "authorization,content-type",
        )
    };
    let answer = preflight(&listed, ours, "/auth/login").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), ours);
    let headers = answer.header("access-control-allow-headers");
    assert!(headers.contains("authorization") && !headers.contains("api-key"));
    // What is no preflight is answered as everywhere.
    let options = listed.call("OPTIONS", "/auth/login").header("origin", ours);
    assert_eq!(options.await.ok(204), &json!(null));
    let nowhere = listed.call("OPTIONS", "/nowhere").header("origin", ours);
    nowhere.await.refused(404, "not_found");

    for (service, origin) in [
        (&listed, "https://evil.example"),
        (&listed, "https://app.example.org.evil.example"),
        (&listed, "http://app.example.org"),
        (&listed, "null"),
        (&closed, ours),
    ] {
        let answers = [
            login(service, origin).await,
            preflight(service, origin, "/auth/login").await,
        ];
        for answer in answers {
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, "", "{origin}: {answer:?}");
        }
    }
}

/// RFC 9112 §3.2: a proxy in front may have looked at the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host() {
    let service = service().start().await;
    let close = "connection: close\r\n\r\n";
    for hosts in ["", "host: a.example\r\nhost: b.example\r\n"] {
        let request = format!("GET /health HTTP/1.1\r\n{hosts}{close}");
        let answer = rest(&mut send(&service, request).await).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(answer.contains(r#""code":"bad_request""#), "{answer}");
    }
    // What load balancers send.
    let request = format!("GET /health HTTP/1.0\r\n{close}");
    let answer = rest(&mut send(&service, request).await).await;
    assert!(answer.contains(" 200 OK\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_take_every_connection() {
    let service = service().listen().await;
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS_OF_ONE {
        let mut stream = connect_as(2, &service).await;
        assert!(is_served(&mut stream).await);
        streams.push(stream);
    }
    assert!(!is_served(&mut connect_as(2, &service).await).await);
    assert!(is_served(&mut connect_as(3, &service).await).await);
    streams.pop();
    eventually("the place that became free", async || {
        let mut stream = connect_as(2, &service).await;
        is_served(&mut stream).await.then_some(())
    })
    .await;

    // Behind a proxy, all clients come from its address.
    let home = Home::new();
    let launch = home.service().set("TRUSTED_PROXIES", "127.0.0.2");
    let service = launch.listen().await;
    for _ in 0..=CONNECTIONS_OF_ONE {
        let mut stream = connect_as(2, &service).await;
        assert!(is_served(&mut stream).await);
        streams.push(stream);
    }
}

/// Each waits for a body that does not come.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_is_told_so_and_health_is_answered() {
    let service = service().start().await;
    let registration = registration("ada");
    let (head, _) = registration.split_once("\r\n\r\n").unwrap();
    let head = format!("{head}\r\nexpect: 100-continue\r\n\r\n");
    let mut waiting = Vec::new();
    for number in 0..UNDER_WAY {
        let client = if number % 2 == 0 { 2 } else { 3 };
        let mut stream = connect_as(client, &service).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        waiting.push(stream);
    }
    for path in ["/auth/me", "/", "/nowhere"] {
        service.get(path).await.refused(503, "overloaded");
    }
    for path in ["/health", "/health/ready"] {
        service.get(path).await.ok(200);
    }
    drop(waiting);
    eventually("places for requests", async || {
        (service.get("/auth/me").await.status == 401).then_some(())
    })
    .await;
}
