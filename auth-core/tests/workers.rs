//! What the workers do with mails and with time, over the store in memory.

#![allow(clippy::panic, clippy::unwrap_used)] // a test file whose helpers are not test functions

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use auth_core::{
    Auth, BuildError, Hashing, Links, Register, SigningKeys,
    adapters::MemoryStore,
    ports::{Clock, Mailer, MailerError, Outbox, OutgoingMail},
    time::{Duration, OffsetDateTime},
    types::{Client, Email, Password, Username},
};

#[derive(Clone)]
struct MovableClock(Arc<Mutex<OffsetDateTime>>);

impl MovableClock {
    fn start() -> Self {
        Self(Arc::new(Mutex::new(
            OffsetDateTime::UNIX_EPOCH + Duration::days(20_000),
        )))
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for MovableClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }
}

/// Panics over the first mail of each address that begins with "panic", and counts what it sent.
#[derive(Clone, Default)]
struct Fragile {
    panicked: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

#[async_trait]
impl Mailer for Fragile {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        let is_first = self.panicked.load(Ordering::SeqCst) == 0;
        if mail.to.as_str().starts_with("panic") && is_first {
            self.panicked.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        }
        self.sent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn keys() -> SigningKeys {
    SigningKeys::parse([7; 32]).unwrap()
}

async fn register(auth: &Auth, name: &str) {
    let cmd = Register {
        username: Username::parse(name).unwrap(),
        email: Email::parse(&format!("{name}@example.org")).unwrap(),
        password: Password::parse("a rather long passphrase").unwrap(),
    };
    auth.register(cmd, &Client::default()).await.unwrap();
}

fn with_mailer(store: &MemoryStore, mailer: &Fragile, clock: &MovableClock) -> Auth {
    Auth::builder(store.clone(), keys())
        .mailer(
            mailer.clone(),
            Links::to("https://app.example.org").unwrap(),
        )
        .clock(clock.clone())
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_mailer_that_panics_fails_its_mail_alone_and_the_mail_is_tried_again() {
    let (store, mailer, clock) = (
        MemoryStore::default(),
        Fragile::default(),
        MovableClock::start(),
    );
    let auth = with_mailer(&store, &mailer, &clock);
    register(&auth, "panic").await;
    register(&auth, "ada").await;

    assert_eq!(auth.send_due_mails().await.unwrap(), 2);
    assert_eq!(mailer.panicked.load(Ordering::SeqCst), 1);
    assert_eq!(mailer.sent.load(Ordering::SeqCst), 1, "the other one left");
    assert_eq!(store.mail_counts().await.unwrap().queued, 1);

    clock.advance(Duration::MINUTE);
    assert_eq!(auth.send_due_mails().await.unwrap(), 1);
    assert_eq!(mailer.sent.load(Ordering::SeqCst), 2);
    assert_eq!(store.mail_counts().await.unwrap().queued, 0);
}

#[tokio::test]
async fn a_mail_whose_link_has_expired_is_a_dead_letter() {
    let (store, mailer, clock) = (
        MemoryStore::default(),
        Fragile::default(),
        MovableClock::start(),
    );
    let auth = with_mailer(&store, &mailer, &clock);
    register(&auth, "ada").await;
    clock.advance(Duration::DAY);
    assert_eq!(auth.send_due_mails().await.unwrap(), 1);
    assert_eq!(mailer.sent.load(Ordering::SeqCst), 0);
    let counts = store.mail_counts().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (0, 1));
}

#[tokio::test]
async fn without_a_mailer_nobody_is_swept_for_an_unproven_address_and_nothing_is_queued() {
    let (store, clock) = (MemoryStore::default(), MovableClock::start());
    let auth = Auth::builder(store.clone(), keys())
        .clock(clock.clone())
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap();
    register(&auth, "ada").await;
    let email = Email::parse("ada@example.org").unwrap();
    let client = Client::default();
    auth.request_password_reset(email.clone(), &client)
        .await
        .unwrap();
    assert_eq!(store.mail_counts().await.unwrap().queued, 0);
    clock.advance(Duration::days(365));
    assert_eq!(auth.sweep().await.unwrap().accounts, 0);
    assert!(auth.user_by_email(&email).await.is_ok());
}

#[tokio::test]
async fn workers_end_at_once_when_they_are_asked_before_they_begin() {
    let auth = Auth::builder(MemoryStore::default(), keys())
        .build()
        .unwrap();
    let worked = auth.run_workers(std::future::ready(()));
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, worked).await.unwrap();
}

#[test]
fn lifetimes_that_no_clock_can_add_are_refused() {
    for lifetime in [Duration::ZERO, -Duration::HOUR, Duration::MAX] {
        let built = Auth::builder(MemoryStore::default(), keys())
            .unverified_account_lifetime(lifetime)
            .build();
        assert!(matches!(built, Err(BuildError::Lifetime)), "{lifetime}");
    }
}
