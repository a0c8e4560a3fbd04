//! What the time of an answer tells.

use std::time::{Duration, Instant};

use auth_tests::{
    PASSWORD,
    process::{Home, Service},
};
use serde_json::json;

/// How long a refused login takes. Each round comes from a network of its own, or its passwords would not be looked at.
async fn refusal(service: &Service, round: usize, name: &str, password: &str) -> Duration {
    let body = json!({"username": name, "password": password});
    let call = service
        .post("/auth/login", body)
        .header("x-forwarded-for", format!("198.18.{round}.1"));
    let started = Instant::now();
    let answer = call.await;
    let took = started.elapsed();
    answer.refused(401, "invalid_credentials");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Skipping the hash for an unknown name would be a factor of ten or more, hashing twice one of two.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_as_long_for_an_unknown_name_as_for_a_wrong_password() {
    const ROUNDS: usize = 25;
    let home = Home::new();
    let service = home
        .service()
        .set("BCRYPT_COST", "9")
        .set("TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    service.registered("ada").await;
    let long = "x".repeat(100);
    let kinds = [
        ("ada", "a wrong password"),
        ("nobody", "a wrong password"),
        ("nobody", PASSWORD),
        ("nobody@example.org", "a wrong password"),
        // No name that an account could have.
        ("no body", "a wrong password"),
        // A password that bcrypt would cut is hashed in another way.
        ("ada", &long),
        ("nobody", &long),
    ];
    let mut times = kinds.map(|_| Vec::new());
    for round in 0..ROUNDS {
        // In turns, so that a moment in which the machine is busy meets all of them.
        for ((name, password), times) in kinds.iter().zip(&mut times) {
            times.push(refusal(&service, round, name, password).await);
        }
    }
    let medians = times.map(median);
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    let ratio = most.as_secs_f64() / least.as_secs_f64();
    assert!(ratio < 1.6, "{kinds:?} took {medians:?}");
}
