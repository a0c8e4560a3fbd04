//! The service stops: asked to, with requests and clients on it, and without being asked.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use auth_store_sqlite::sqlx;
use auth_tests::{
    email_of,
    process::{Home, Service, Signal, eventually},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

use crate::{
    accounts::whole_accounts,
    wire::{connect, registration, request, rest, send},
};

/// What the service gives requests that are under way.
const DRAIN: Duration = Duration::from_secs(10);

/// Registrations that the service has begun to read: it says `100 Continue` then.
async fn register_at_once(service: &Service, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for n in 0..count {
        let request = registration(&format!("user{n}"));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let head = format!("{head}\r\nexpect: 100-continue\r\n\r\n");
        let mut stream = send(service, head).await;
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_accepted_are_answered() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let service = home.service().set("BCRYPT_COST", "8").start().await;
        let mut streams = register_at_once(&service, 8).await;
        let silent = connect(&service).await;
        let started = Instant::now();
        service.signal(signal);
        service.logged("asked to stop").await;
        for stream in &mut streams {
            let answer = rest(stream).await;
            assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
        let ended = service.end().await;
        assert!(ended.status.success(), "{ended:?}");
        assert!(started.elapsed() < DRAIN, "{:?}", started.elapsed());
        drop(silent);
        let accounts: i64 = sqlx::query_scalar("select count(*) from auth_users")
            .fetch_one(&mut home.database().await)
            .await
            .unwrap();
        assert_eq!(accounts, 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_has_just_greeted_can_be_stopped() {
    let home = Home::new();
    for signal in [Signal::TERM, Signal::INT].repeat(3) {
        let service = home.service().listen().await;
        service.signal(signal);
        let ended = service.end().await;
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ask_for_nothing_do_not_hold_it_up() {
    let service = Service::start().await;
    let mut silent = connect(&service).await;
    let mut idle = send(&service, request("GET", "/health", "")).await;
    let mut start = [0; 15];
    idle.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    let mut half = send(&service, "GET /health HTTP/1.1\r\nhost: loc").await;
    // All three are accepted when one that came later is answered.
    service.get("/health").await.ok(200);

    let started = Instant::now();
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(started.elapsed() < DRAIN / 2, "{:?}", started.elapsed());
    let answered = rest(&mut idle).await;
    assert!(answered.ends_with(r#"{"status":"ok"}"#), "{answered}");
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut half).await, "");
}

/// A body that never comes is not waited for beyond the deadline, and the exit status tells that something was cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_cut_off_at_the_deadline() {
    let service = Service::start().await;
    let request = registration("ada");
    let (half, _) = request.split_at(request.len() - 10);
    let _endless = send(&service, half).await;
    service.get("/health").await.ok(200);

    let started = Instant::now();
    let ended = service.stop().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told =
        "ERROR auth_service: the service ends error=stopped before every request was answered\n";
    assert!(ended.stderr.ends_with(told), "{ended:?}");
    let took = started.elapsed();
    assert!(took >= DRAIN && took < DRAIN * 2, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_twice_does_not_wait() {
    for signal in [Signal::TERM, Signal::INT] {
        let service = Service::start().await;
        let request = registration("ada");
        let (half, _) = request.split_at(request.len() - 10);
        let _endless = send(&service, half).await;
        service.get("/health").await.ok(200);

        let started = Instant::now();
        service.signal(Signal::TERM);
        service.logged("asked to stop").await;
        service.signal(signal);
        let ended = service.end().await;
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let told = "ERROR auth_service: the service ends error=asked twice to stop: what was under way is cut off\n";
        assert!(ended.stderr.contains(told), "{ended:?}");
        assert!(started.elapsed() < DRAIN / 2, "{:?}", started.elapsed());
    }
}

/// The whole answer to a request on a connection that stays open; `None` when there is no word of one.
async fn answer(stream: &mut TcpStream, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        if !matches!(read, Ok(1..)) {
            assert!(text.is_empty(), "half an answer: {text}");
            return None;
        }
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length?.parse().unwrap() {
            return Some(text.into_owned());
        }
    }
}

/// Registers one after the other until the service takes no more, and tells whom it said yes to.
async fn register_until_the_end(
    client: usize,
    service: Arc<Service>,
    answered: watch::Sender<usize>,
) -> BTreeSet<String> {
    let mut registered = BTreeSet::new();
    let mut number = 0;
    while let Ok(mut stream) = TcpStream::connect(service.authority()).await {
        loop {
            number += 1;
            let name = format!("u{client}-{number}");
            let Some(answer) = answer(&mut stream, &registration(&name)).await else {
                break;
            };
            assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
            registered.insert(email_of(&name));
            answered.send_modify(|count| *count += 1);
        }
    }
    registered
}

/// What was answered is done, and what was not answered is not: no request that the service took was left without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_stop_loses_no_request() {
    let service = Arc::new(Service::start().await);
    let home = service.home().clone();
    let (answered, mut answers) = watch::channel(0);
    let mut clients = JoinSet::new();
    for client in 0..8 {
        clients.spawn(register_until_the_end(
            client,
            Arc::clone(&service),
            answered.clone(),
        ));
    }
    answers.wait_for(|count| *count >= 1000).await.unwrap();
    service.signal(Signal::TERM);
    let mut registered = BTreeSet::new();
    for client in clients.join_all().await {
        registered.extend(client);
    }
    let service = Arc::into_inner(service).unwrap();
    let ended = service.end().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    assert_eq!(whole_accounts(&home).await, registered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_could_not_leave_survives_a_restart() {
    let service = Service::start().await;
    let home = service.home().clone();
    let folder = home.path().join("auth-service-mail");
    std::fs::remove_dir(&folder).unwrap();
    let ada = service.registered("ada").await;
    service
        .logged("a mail was not accepted; it is tried again")
        .await;

    let service = service.restart().await;
    let mail = home.mail("welcome", &ada.email).await;
    let body = json!({"token": mail.token()});
    service.post("/auth/verify-email", body).await.ok(200);
    assert!(!service.log().contains("not accepted"));
    let mut database = home.database().await;
    let waiting = eventually("an empty outbox", async || {
        let waiting: i64 = sqlx::query_scalar("select count(*) from auth_outbox")
            .fetch_one(&mut database)
            .await
            .unwrap();
        (waiting == 0).then_some(waiting)
    });
    waiting.await;
}
