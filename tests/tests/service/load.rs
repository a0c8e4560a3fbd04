//! Many log in at once.

use std::time::{Duration, Instant};

use auth_tests::{
    Answer, PASSWORD, at_once,
    process::{Home, Service},
};
use serde_json::json;

/// Logins that come at the same moment: more than the threads and their queue, which holds sixteen a core, can take.
fn crowd() -> usize {
    200.max(24 * std::thread::available_parallelism().unwrap().get())
}

async fn timed(call: impl IntoFuture<Output = Answer>) -> Duration {
    let started = Instant::now();
    call.await.ok(200);
    started.elapsed()
}

fn login(service: &Service) -> auth_tests::Call {
    let body = json!({"username": "ada", "password": PASSWORD});
    service.post("/auth/login", body)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_logins_hold_up_nobody_else() {
    let home = Home::new();
    // The crowd of a machine with many cores is more than one client may be.
    let launch = home.service().set("TRUSTED_PROXIES", "127.0.0.1");
    let service = launch.set("BCRYPT_COST", "11").start().await;
    let ada = service.verified("ada").await;
    let mut alone = Duration::MAX;
    for _ in 0..3 {
        alone = alone.min(timed(login(&service)).await);
    }

    let started = Instant::now();
    let logins: Vec<_> = (0..crowd()).map(|_| login(&service)).collect();
    let waiting = tokio::spawn(at_once(logins));
    let (mut health, mut me) = (Vec::new(), Vec::new());
    while !waiting.is_finished() {
        health.push(timed(service.get("/health")).await);
        me.push(timed(service.get("/auth/me").by(&ada)).await);
    }
    let answers = waiting.await.unwrap();
    let lasted = started.elapsed();

    let logged_in = answers.iter().filter(|answer| answer.status == 200).count();
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(503, "overloaded");
        assert_eq!(answer.header("retry-after"), "2");
    }
    // A place in the queue or on a thread is what a login needs, and the queue has room for sixteen a core.
    assert!(logged_in >= 16, "{logged_in} logged in");
    assert!(logged_in < answers.len(), "nobody was refused");
    assert!(lasted > 4 * alone, "the crowd was gone at once: {lasted:?}");

    // Hashing on the async threads would make each wait for several hashes.
    assert!(health.len() >= 8, "{health:?}");
    for (what, mut times) in [("/health", health), ("/auth/me", me)] {
        times.sort();
        let median = times[times.len() / 2];
        assert!(
            median * 3 < alone,
            "half of {what} took {median:?} and more, one login alone {alone:?}"
        );
    }

    // The wave is over, and nothing of it is left.
    service.get("/health/ready").await.ok(200);
    for answer in at_once((0..8).map(|_| login(&service))).await {
        answer.ok(200);
    }
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}
