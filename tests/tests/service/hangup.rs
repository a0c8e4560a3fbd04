//! Clients that hang up in the middle of a request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use auth_tests::{
    PASSWORD, email_of,
    process::{Home, Service, eventually},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    accounts::whole_accounts,
    wire::{registration, send},
};

/// Numbers that look drawn and are the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

async fn has_account(service: &Service, name: &str) -> bool {
    let accounts = whole_accounts(service.home()).await;
    accounts.contains(&email_of(name))
}

/// Without `to_its_end` around the work of a request (`run_to_end` in auth-tower), the first of these accounts never comes: the handler is dropped
/// while it waits for the hash.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_begun_is_finished_without_its_client() {
    let home = Home::new();
    let service = home.service().set("BCRYPT_COST", "12").start().await;
    for name in ["ada", "bob", "eve"] {
        let request = registration(name);
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let head = format!("{head}\r\nexpect: 100-continue\r\n\r\n");
        let mut stream = send(&service, head).await;
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        // The handler waits for the body. When others have been answered many times it has it, and the password is being hashed.
        stream.write_all(body.as_bytes()).await.unwrap();
        for _ in 0..10 {
            service.get("/health").await.ok(200);
        }
        assert!(!has_account(&service, name).await, "too late to hang up");
        drop(stream);
        eventually(name, async || {
            has_account(&service, name).await.then_some(())
        })
        .await;
        home.mail("welcome", &email_of(name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_nothing() {
    let service = Service::start().await;
    let mut dice = Dice(1);
    let whole = registration("ada");
    let length = u64::try_from(whole.len()).unwrap();
    for _ in 0..200 {
        let cut = usize::try_from(dice.below(length)).unwrap();
        drop(send(&service, &whole[..cut]).await);
    }
    service.registered("bob").await;
    assert_eq!(
        whole_accounts(service.home()).await,
        [email_of("bob")].into()
    );
    service.registered("ada").await;
    assert!(!service.log().contains("ERROR"), "{}", service.log());
}

/// Registers as somebody does who comes again when the service is busy: the work of those who are gone is still done.
async fn registered_at_last(service: &Service, name: &str) {
    let body = json!({"username": name, "email": email_of(name), "password": PASSWORD});
    eventually(name, async || {
        let answer = service.post("/auth/register", body.clone()).await;
        if answer.status == 503 {
            answer.refused(503, "overloaded");
            return None;
        }
        answer.ok(201);
        Some(())
    })
    .await;
}

/// Whoever hangs up leaves a whole account or none, and whoever waits for an answer keeps what it says, also through a crash.
///
/// On `SQLite` it held in thousands of tries, too, when work ended with its caller and connections went back into the pool as they were: the driver
/// rolls a dropped transaction back. What is lost then is work that was begun, which the test above and those of the store see.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_take_nothing_from_others() {
    const HANGING_UP: u64 = 4;
    const EACH: u64 = 60;
    let service = Service::start().await;
    let home = service.home().clone();
    let started = Instant::now();
    service.registered("first").await;
    let usual = u64::try_from(started.elapsed().as_micros()).unwrap();

    let mut hanging_up = JoinSet::new();
    let service = Arc::new(service);
    for client in 0..HANGING_UP {
        let service = Arc::clone(&service);
        hanging_up.spawn(async move {
            let mut dice = Dice(client);
            for n in 0..EACH {
                let stream = send(&service, registration(&format!("gone{client}-{n}"))).await;
                let patience = Duration::from_micros(dice.below(4 * usual));
                // The moment at which it hangs up is the point: nothing is waited for.
                tokio::time::sleep(patience).await;
                drop(stream);
            }
        });
    }
    let mut kept = vec!["first".to_owned()];
    while !hanging_up.is_empty() {
        let name = format!("stays{}", kept.len());
        registered_at_last(&service, &name).await;
        kept.push(name);
        while hanging_up.try_join_next().is_some() {}
    }
    for n in 0..20 {
        let name = format!("late{n}");
        registered_at_last(&service, &name).await;
        kept.push(name);
    }
    let log = service.log();
    for trouble in ["internal", "panicked", "unavailable"] {
        assert!(!log.contains(trouble), "{log}");
    }
    Arc::into_inner(service).unwrap().kill().await;

    let whole = whole_accounts(&home).await;
    for name in &kept {
        assert!(whole.contains(&email_of(name)), "{name} is lost");
    }
    let gone = whole.len() - kept.len();
    assert!(gone > 0, "all hung up before anything was begun");
    let service = home.service().quick().start().await;
    service.registered("last").await;
    assert_eq!(whole_accounts(&home).await.len(), whole.len() + 1);
    for name in &kept {
        let body = json!({"username": name, "password": PASSWORD});
        service.post("/auth/login", body).await.ok(200);
    }
}
