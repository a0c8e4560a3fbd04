//! Clients that take their time.

use std::time::{Duration, Instant};

use auth_tests::process::Service;
use tokio::io::AsyncWriteExt;

use crate::wire::{connect, registration, request, rest, send};

/// What the service gives a client for the head of a request, and again for its body.
const HEAD: Duration = Duration::from_secs(15);
const BODY: Duration = Duration::from_secs(30);
/// And without taking anything of its answer.
const WRITE: Duration = Duration::from_secs(30);
/// How late a busy machine may be.
const LATE: Duration = Duration::from_secs(15);

#[track_caller]
fn took(started: Instant, limit: Duration) {
    let took = started.elapsed();
    assert!(took >= limit && took < limit + LATE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_is_cut_off_and_nobody_waits_for_it() {
    let service = Service::start().await;
    let started = Instant::now();
    // More than there are threads, and one that goes on all the time, a byte after the other.
    let mut halves = Vec::new();
    for _ in 0..50 {
        halves.push(send(&service, "GET /health HTTP/1.1\r\nhost: local").await);
    }
    let mut dripping = send(&service, "GET /health HTTP/1.1\r\nx-slow: ").await;
    let dripped = tokio::spawn(async move {
        while dripping.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });

    let ada = service.verified("ada").await;
    service.get("/auth/me").by(&ada).await.ok(200);
    assert!(started.elapsed() < HEAD, "they were waited for");

    for half in &mut halves {
        let told = rest(half).await;
        assert!(
            told.is_empty() || told.starts_with("HTTP/1.1 408 "),
            "{told}"
        );
    }
    took(started, HEAD);
    dripped.await.unwrap();
    took(started, HEAD);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_is_cut_off_and_nobody_waits_for_it() {
    let service = Service::start().await;
    let whole = registration("ada");
    let (half, _) = whole.split_at(whole.len() - 20);
    let form = "POST /verify-email/confirm HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\ntoken=x";
    let started = Instant::now();
    let mut halves = Vec::new();
    for bytes in [half, form] {
        for _ in 0..25 {
            halves.push(send(&service, bytes).await);
        }
    }
    service.verified("ada").await;
    assert!(started.elapsed() < BODY, "they were waited for");

    for half in &mut halves {
        let told = rest(half).await;
        assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{told}");
    }
    took(started, BODY);
}

/// A client that reads its answer slowly keeps its own connection busy and no other.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_holds_nobody_up() {
    let service = Service::start().await;
    let many = request("GET", "/", "").repeat(200);
    let mut lazy = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&service).await;
        // Until the service stops reading because its answers are not taken.
        let sent = stream.write_all(many.as_bytes());
        let _ = tokio::time::timeout(Duration::from_millis(100), sent).await;
        lazy.push(stream);
    }
    let ada = service.verified("ada").await;
    service.get("/auth/me").by(&ada).await.ok(200);
    let ended = service.stop().await;
    assert!(ended.status.code().is_some(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off() {
    let service = Service::start().await;
    let many = request("GET", "/", "").repeat(200);
    let mut lazy = connect(&service).await;
    let started = Instant::now();
    // The service reads no more when its answers are not taken, and its hanging up is an error of ours.
    while lazy.write_all(many.as_bytes()).await.is_ok() {}
    took(started, WRITE);
    service.get("/health").await.ok(200);
}
