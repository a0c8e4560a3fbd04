//! Limits of the service, by itself and shared over Redis.

use std::time::{Duration, Instant};

use auth_tests::{
    PASSWORD, at_once,
    process::{Home, Launch, Service},
    redis::Redis,
};
use serde_json::json;

use crate::start::WRONG_SETTINGS;

const ALONE: &str = "limits are those of this process alone";
const AGAIN: &str = "limits are shared by Redis again";
/// How long one of a hundred a minute takes to come back.
const REFILL: Duration = Duration::from_millis(600);

fn limited() -> Launch {
    let launch = Home::new().service().quick();
    launch.set("RATE_LIMIT_AUTH_PER_MINUTE", "100")
}

async fn sharing(redis: &Redis) -> Service {
    limited().set("REDIS_URL", &redis.url()).start().await
}

/// Of 300 requests, a hundred at a time, each of which names another address, a hundred pass, and what is refilled meanwhile.
async fn of_a_burst_a_hundred_pass(services: &[&Service]) {
    let started = Instant::now();
    let requests = (0..300).map(|number| {
        let made_up = format!("198.51.{}.{}", 100 + number / 250, number % 250);
        let call = services[number % services.len()].get("/auth/me");
        call.header("x-forwarded-for", &made_up)
            .header("forwarded", format!("for={made_up}"))
    });
    // One client has fewer connections than that.
    let mut answers = Vec::new();
    let mut requests = requests.peekable();
    while requests.peek().is_some() {
        answers.extend(at_once(requests.by_ref().take(100)).await);
    }
    let passed = answers.iter().filter(|it| it.status == 401).count();
    for answer in answers.iter().filter(|it| it.status != 401) {
        answer.refused(429, "rate_limited");
    }
    let refilled = started.elapsed().div_duration_f64(REFILL).ceil();
    let most = 100.0 + refilled;
    assert!(passed >= 100, "{passed} passed");
    assert!(
        f64::from(u32::try_from(passed).unwrap()) <= most,
        "{passed} passed, at most {most}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_burst_a_hundred_pass_on_one_process_and_on_two_that_share_redis() {
    of_a_burst_a_hundred_pass(&[&limited().start().await]).await;
    let redis = Redis::start();
    let services = [sharing(&redis).await, sharing(&redis).await];
    of_a_burst_a_hundred_pass(&[&services[0], &services[1]]).await;
    for service in services {
        let ended = service.stop().await;
        assert!(ended.status.success(), "{ended:?}");
        assert!(!ended.stderr.contains(ALONE), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_counted_over_all_replicas() {
    let redis = Redis::start();
    let services = [sharing(&redis).await, sharing(&redis).await];
    let login = |number: usize, password: &str| {
        let body = json!({"username": "nobody", "password": password});
        services[number % 2].post("/auth/login", body)
    };
    for number in 0..10 {
        let answer = login(number, "a wrong password").await;
        answer.refused(401, "invalid_credentials");
    }
    for number in 0..2 {
        login(number, PASSWORD)
            .await
            .refused(429, "too_many_attempts");
    }
}

/// Whether Redis dies or falls silent, requests are answered, at once and within limits; its end is told once, and that it is back.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_process_counts_for_itself() {
    let mut redis = Redis::start();
    let service = sharing(&redis).await;
    for (outage, times) in [("killed", 1), ("paused", 2)] {
        if outage == "killed" {
            redis.kill();
        } else {
            redis.pause();
        }
        let started = Instant::now();
        for _ in 0..100 {
            let answer = service.get("/auth/me").await;
            assert!(matches!(answer.status, 401 | 429), "{answer:?}");
        }
        // A quarter of a second each would be this many.
        let took = started.elapsed();
        assert!(took < Duration::from_secs(25) / 2, "{outage}: {took:?}");
        service.logged(ALONE).await;
        assert_eq!(service.log().matches(ALONE).count(), times, "{outage}");
        of_limits_there_are_some(&service).await;
        if outage == "killed" {
            redis.restart();
        } else {
            redis.resume();
        }
        until_again(&service, times).await;
    }
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared_over_tls_with_a_server_that_its_authority_vouches_for() {
    let redis = Redis::start_with_tls("127.0.0.1");
    let roots = redis.roots_file();
    let roots = roots.to_str().unwrap();
    let launch = || limited().set("REDIS_URL", &redis.url());
    let trusting = || launch().set("REDIS_CA_FILE", roots).start();
    let services = [trusting().await, trusting().await];
    of_a_burst_a_hundred_pass(&[&services[0], &services[1]]).await;
    for service in &services {
        assert!(!service.log().contains(ALONE), "{}", service.log());
    }
    // The web's authorities have not made its certificate.
    let service = launch().start().await;
    service.logged(ALONE).await;
    of_a_burst_a_hundred_pass(&[&service]).await;
    // And for this name nobody vouches.
    let other = redis.url().replacen("127.0.0.1", "localhost", 1);
    let launch = limited().set("REDIS_URL", &other);
    let service = launch.set("REDIS_CA_FILE", roots).start().await;
    service.logged(ALONE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_none_stops_the_start() {
    let home = Home::new();
    let file = home.path().join("roots.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let launch = home.service().set("REDIS_URL", "rediss://redis.test.org");
    let ended = launch.set("REDIS_CA_FILE", file.to_str().unwrap()).run();
    let ended = ended.await;
    assert_eq!(ended.status.code(), Some(WRONG_SETTINGS), "{ended:?}");
    assert!(ended.stderr.contains("REDIS_CA_FILE"), "{ended:?}");
}

async fn of_limits_there_are_some(service: &Service) {
    let asked = at_once((0..200).map(|_| service.get("/auth/me"))).await;
    assert!(asked.iter().any(|answer| answer.status == 429));
}

/// Somebody has to ask for it to be looked for.
async fn until_again(service: &Service, times: usize) {
    auth_tests::process::eventually("Redis to be used again", async || {
        service.get("/auth/me").await.is_problem();
        (service.log().matches(AGAIN).count() == times).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_or_refuses_holds_up_no_start() {
    let redis = Redis::start();
    let stranger = redis.url().replacen("redis://:", "redis://:not-", 1);
    for url in ["redis://127.0.0.1:1", &stranger] {
        let service = limited().set("REDIS_URL", url).start().await;
        service.logged(ALONE).await;
        assert_eq!(service.log().matches(ALONE).count(), 1);
        assert!(!service.log().contains("not-"), "{}", service.log());
        of_a_burst_a_hundred_pass(&[&service]).await;
    }
}
