//! What the workers do with mails and with time, over the store in memory.

#![allow(clippy::panic, clippy::unwrap_used)] // a test file whose helpers are not test functions

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use auth_core::{
    Auth, BuildError, Error, Hashing, Links, Register, SigningKeys, Templates, WorkerState,
    adapters::MemoryStore,
    delegate,
    ports::{
        AccountPlace, Claims, Clock, DeadMail, DeadMails, MailCounts, Mailer, MailerError,
        OsRandom, Outbox, OutgoingMail, Random, Removal, Store, StoreError, Sweepable, UserStore,
    },
    time::{Duration, OffsetDateTime},
    types::{Client, Email, Letter, MailId, Password, QueuedMail, Record, UserId, Username},
};
use tokio::sync::Semaphore;

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

/// A mailer that holds what it is given until it is told to go on.
#[derive(Clone)]
struct Gate {
    open: Arc<Semaphore>,
    arrived: Arc<AtomicUsize>,
}

impl Gate {
    fn closed() -> Self {
        Self {
            open: Arc::new(Semaphore::new(0)),
            arrived: Arc::default(),
        }
    }
}

#[async_trait]
impl Mailer for Gate {
    async fn send(&self, _: &OutgoingMail) -> Result<(), MailerError> {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
        Ok(())
    }
}

async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let limit = std::time::Duration::from_mins(1);
    let came = tokio::time::timeout(limit, waiting).await;
    assert!(came.is_ok(), "in vain waited for {what}");
}

fn with_gate(store: impl Store, gate: &Gate) -> Auth {
    Auth::builder(store, keys())
        .mailer(gate.clone(), Links::to("https://app.example.org").unwrap())
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_mail_holds_up_no_other_and_a_stop_waits_for_what_is_in_hand() {
    let (store, gate) = (MemoryStore::default(), Gate::closed());
    let auth = with_gate(store.clone(), &gate);
    assert_eq!(auth.mail_workers().state, WorkerState::NotAsked);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let workers = tokio::spawn({
        let auth = auth.clone();
        async move { auth.run_workers(async { drop(stopped.await) }).await }
    });
    for name in ["ada", "ben", "cyd"] {
        register(&auth, name).await;
    }
    until("three mails at once", || {
        gate.arrived.load(Ordering::SeqCst) == 3
    })
    .await;
    assert_eq!(auth.mail_workers().state, WorkerState::Alive);
    drop(stop);
    register(&auth, "dot").await;
    gate.open.add_permits(3);
    workers.await.unwrap();
    assert_eq!(
        gate.arrived.load(Ordering::SeqCst),
        3,
        "none after the stop"
    );
    let report = auth.mail_workers();
    assert_eq!((report.sent, report.failed), (3, 0));
    assert_eq!(report.state, WorkerState::NotAsked);
    let queue = auth.mail_queue().await.unwrap();
    assert_eq!((queue.queued, queue.dead), (1, 0));
    assert!(queue.oldest.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_were_dropped_are_missed_and_others_take_over() {
    let (store, gate) = (MemoryStore::default(), Gate::closed());
    let auth = with_gate(store.clone(), &gate);
    let forever = |auth: Auth| async move { auth.run_workers(std::future::pending()).await };
    let first = tokio::spawn(forever(auth.clone()));
    until("a worker", || {
        auth.mail_workers().state == WorkerState::Alive
    })
    .await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(auth.mail_workers().state, WorkerState::Stopped);
    let second = tokio::spawn(forever(auth.clone()));
    until("another one", || {
        auth.mail_workers().state == WorkerState::Alive
    })
    .await;
    second.abort();
}

#[tokio::test]
async fn a_mail_whose_link_opens_nothing_any_more_is_not_sent() {
    let (store, mailer, clock) = (
        MemoryStore::default(),
        Fragile::default(),
        MovableClock::start(),
    );
    let auth = with_mailer(&store, &mailer, &clock);
    register(&auth, "ada").await;
    let email = Email::parse("ada@example.org").unwrap();
    auth.request_password_reset(email.clone(), &Client::default())
        .await
        .unwrap();
    let user = auth.user_by_email(&email).await.unwrap();
    // Nobody could redeem them now.
    auth.set_disabled(user.id, true, &Client::default())
        .await
        .unwrap();
    assert_eq!(auth.send_due_mails().await.unwrap(), 2);
    assert_eq!(mailer.sent.load(Ordering::SeqCst), 0);
    let report = auth.mail_workers();
    assert_eq!((report.sent, report.withdrawn, report.given_up), (0, 2, 0));
    let counts = store.mail_counts().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (0, 0));
}

/// A clock that breaks once.
#[derive(Clone)]
struct FragileClock(Arc<AtomicUsize>);

impl Clock for FragileClock {
    fn now(&self) -> OffsetDateTime {
        assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 1, "on purpose");
        OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_is_followed_by_another() {
    let (mailer, looks) = (Fragile::default(), Arc::new(AtomicUsize::new(0)));
    let auth = Auth::builder(MemoryStore::default(), keys())
        .mailer(
            mailer.clone(),
            Links::to("https://app.example.org").unwrap(),
        )
        .clock(FragileClock(Arc::clone(&looks)))
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap();
    register(&auth, "ada").await;
    looks.store(1, Ordering::SeqCst);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut workers = std::pin::pin!(auth.run_workers(async { drop(stopped.await) }));
    let sent = async {
        while mailer.sent.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = &mut workers => panic!("nobody works any more"),
        () = sent => {}
    }
    assert_eq!(auth.mail_workers().state, WorkerState::Alive);
    drop(stop);
    workers.await;
}

/// A store whose sweeps never end.
#[derive(Clone, Default)]
struct Unswept {
    inner: MemoryStore,
    sweeps: Arc<AtomicUsize>,
}

delegate!(AuditLog, IdentityStore, Outbox, SessionStore, UserStore for Unswept => inner);

#[async_trait]
impl Store for Unswept {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sweep(&self, _: Sweepable, _: OffsetDateTime, _: u32) -> Result<u64, StoreError> {
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn unverified_accounts(
        &self,
        _: OffsetDateTime,
        _: Option<AccountPlace>,
        _: u32,
    ) -> Result<Vec<AccountPlace>, StoreError> {
        Ok(Vec::new())
    }

    async fn delete_unverified(&self, _: &[UserId]) -> Result<Removal, StoreError> {
        Ok(Removal::Gone(0))
    }
}

/// Bits that break for whoever asks for one byte: what keeps sweeps apart.
#[derive(Clone, Default)]
struct FragileRandom(Arc<AtomicBool>);

impl Random for FragileRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let is_broken = bytes.len() == 1 && self.0.load(Ordering::SeqCst);
        assert!(!is_broken, "on purpose");
        OsRandom.fill(bytes);
    }
}

fn with_fragile(store: impl Store, mailer: &Fragile, random: &FragileRandom) -> Auth {
    let links = Links::to("https://app.example.org").unwrap();
    Auth::builder(store, keys())
        .mailer(mailer.clone(), links)
        .random(random.clone())
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap()
}

/// Looks once a second of a time that passes by itself.
async fn within(seconds: u32, what: &str, is_true: impl Fn() -> bool) {
    for _ in 0..seconds {
        if is_true() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    panic!("in vain waited for {what}");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_never_ends_holds_up_no_mail_and_is_seen() {
    let (store, mailer) = (Unswept::default(), Fragile::default());
    let auth = with_fragile(store.clone(), &mailer, &FragileRandom::default());
    // Before: while a password is hashed, paused time runs away.
    register(&auth, "ada").await;
    let workers = tokio::spawn({
        let auth = auth.clone();
        async move { auth.run_workers(std::future::pending()).await }
    });
    within(11, "a sweep", || store.sweeps.load(Ordering::SeqCst) == 1).await;
    let email = Email::parse("ada@example.org").unwrap();
    auth.request_password_reset(email, &Client::default())
        .await
        .unwrap();
    within(6, "the mails", || mailer.sent.load(Ordering::SeqCst) == 2).await;
    assert_eq!(auth.mail_workers().state, WorkerState::Alive);
    let is_stuck = || auth.mail_workers().state == WorkerState::Stuck;
    within(121, "what is stuck to be told", is_stuck).await;
    workers.abort();
}

/// A store whose watch hangs, before it hears of anything or from then on, and which looks in vain for so many times: nobody could read what it found.
#[derive(Clone, Default)]
struct Deaf {
    inner: MemoryStore,
    looks_in_vain: Arc<AtomicUsize>,
    hears: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    watches: Arc<AtomicUsize>,
}

#[async_trait]
impl Outbox for Deaf {
    async fn watch_mails(&self, wake: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
        self.watches.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "on purpose");
        if self.hears.load(Ordering::SeqCst) {
            wake();
        }
        std::future::pending().await
    }

    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Claims, StoreError> {
        let left = self
            .looks_in_vain
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left.is_ok() {
            return Ok(Claims {
                more: true,
                ..Claims::default()
            });
        }
        self.inner.claim_mails(now, lease, limit).await
    }

    async fn mail_sent(&self, mail: MailId, lease: OffsetDateTime) -> Result<bool, StoreError> {
        self.inner.mail_sent(mail, lease).await
    }

    async fn mail_failed(
        &self,
        mail: MailId,
        lease: OffsetDateTime,
        retry_at: Option<OffsetDateTime>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.inner.mail_failed(mail, lease, retry_at, reason).await
    }

    async fn mail_counts(&self) -> Result<MailCounts, StoreError> {
        self.inner.mail_counts().await
    }

    async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError> {
        self.inner.dead_mails(limit).await
    }

    async fn retry_dead_mails(
        &self,
        which: DeadMails,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        self.inner.retry_dead_mails(which, now).await
    }

    async fn drop_dead_mails(&self, which: DeadMails) -> Result<u64, StoreError> {
        self.inner.drop_dead_mails(which).await
    }
}

delegate!(AuditLog, IdentityStore, SessionStore, Store, UserStore for Deaf => inner);

#[tokio::test(start_paused = true)]
async fn a_watch_that_hangs_is_seen_and_begun_anew() {
    let store = Deaf::default();
    let auth = with_fragile(
        store.clone(),
        &Fragile::default(),
        &FragileRandom::default(),
    );
    let workers = tokio::spawn({
        let auth = auth.clone();
        async move { auth.run_workers(std::future::pending()).await }
    });
    let state = || auth.mail_workers().state;
    within(2, "workers", || state() == WorkerState::Alive).await;
    within(130, "what hangs to be told", || {
        state() == WorkerState::Stuck
    })
    .await;
    // To begin anew is no sign.
    within(601, "another watch", || {
        store.watches.load(Ordering::SeqCst) == 2
    })
    .await;
    assert_eq!(state(), WorkerState::Stuck);
    store.hears.store(true, Ordering::SeqCst);
    within(601, "one that hears", || state() == WorkerState::Alive).await;
    assert_eq!(store.watches.load(Ordering::SeqCst), 3);
    // It may hear of nothing for a long time, and cannot tell that from a connection that is gone.
    within(601, "a fourth one", || {
        store.watches.load(Ordering::SeqCst) == 4
    })
    .await;
    assert_eq!(state(), WorkerState::Alive);
    workers.abort();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_dies_again_and_again_is_seen_until_one_hears() {
    let store = Deaf::default();
    store.panics.store(true, Ordering::SeqCst);
    let auth = with_fragile(
        store.clone(),
        &Fragile::default(),
        &FragileRandom::default(),
    );
    let workers = tokio::spawn({
        let auth = auth.clone();
        async move { auth.run_workers(std::future::pending()).await }
    });
    let state = || auth.mail_workers().state;
    within(130, "the dead to be told", || state() == WorkerState::Stuck).await;
    for _ in 0..5 {
        let watches = store.watches.load(Ordering::SeqCst);
        within(301, "the next one", || {
            store.watches.load(Ordering::SeqCst) > watches
        })
        .await;
        assert_eq!(state(), WorkerState::Stuck);
    }
    store.panics.store(false, Ordering::SeqCst);
    store.hears.store(true, Ordering::SeqCst);
    within(301, "one that hears", || state() == WorkerState::Alive).await;
    workers.abort();
}

#[tokio::test]
async fn a_host_without_workers_comes_past_mails_that_nobody_can_read() {
    let (store, mailer) = (Deaf::default(), Fragile::default());
    let auth = with_fragile(store.clone(), &mailer, &FragileRandom::default());
    register(&auth, "ada").await;
    store.looks_in_vain.store(100, Ordering::SeqCst);
    assert_eq!(auth.send_due_mails().await.unwrap(), 1);
    assert_eq!(mailer.sent.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_behind_many_mails_that_nobody_can_read_leaves_at_once() {
    let (store, mailer) = (Deaf::default(), Fragile::default());
    let auth = with_fragile(store.clone(), &mailer, &FragileRandom::default());
    register(&auth, "ada").await;
    store.looks_in_vain.store(100, Ordering::SeqCst);
    let workers = tokio::spawn({
        let auth = auth.clone();
        async move { auth.run_workers(std::future::pending()).await }
    });
    within(2, "the mail", || mailer.sent.load(Ordering::SeqCst) == 1).await;
    assert_eq!(store.looks_in_vain.load(Ordering::SeqCst), 0);
    workers.abort();
}

/// Such as the payments of a host, over a store that cannot tell of it.
#[tokio::test(start_paused = true)]
async fn a_mail_that_something_else_has_queued_leaves_when_that_is_said() {
    let (store, mailer) = (MemoryStore::default(), Fragile::default());
    let auth = with_fragile(store.clone(), &mailer, &FragileRandom::default());
    let workers = tokio::spawn({
        let auth = auth.clone();
        async move { auth.run_workers(std::future::pending()).await }
    });
    register(&auth, "ada").await;
    within(2, "the first mail", || {
        mailer.sent.load(Ordering::SeqCst) == 1
    })
    .await;
    let now = auth.now();
    let record = Record {
        mails: vec![QueuedMail {
            id: MailId::generate(now, &OsRandom),
            user_id: None,
            to: Email::parse("ada@example.org").unwrap(),
            locale: "en".to_owned(),
            letter: Letter::Test,
            created_at: now,
        }],
        audit: Vec::new(),
    };
    store.append(record).await.unwrap();
    auth.mail_was_queued();
    within(2, "the second mail", || {
        mailer.sent.load(Ordering::SeqCst) == 2
    })
    .await;
    workers.abort();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_dies_again_and_again_is_seen_and_comes_back() {
    let (mailer, random) = (Fragile::default(), FragileRandom::default());
    let auth = with_fragile(MemoryStore::default(), &mailer, &random);
    register(&auth, "ada").await;
    random.0.store(true, Ordering::SeqCst);
    let workers = tokio::spawn({
        let auth = auth.clone();
        async move { auth.run_workers(std::future::pending()).await }
    });
    let state = || auth.mail_workers().state;
    within(2, "workers", || state() == WorkerState::Alive).await;
    within(6, "the mail", || mailer.sent.load(Ordering::SeqCst) == 1).await;
    within(130, "the dead to be told", || state() == WorkerState::Stuck).await;
    random.0.store(false, Ordering::SeqCst);
    within(301, "another one", || state() == WorkerState::Alive).await;
    workers.abort();
}

/// Keeps the text parts.
#[derive(Clone, Default)]
struct Written {
    texts: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Mailer for Written {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        self.texts.lock().unwrap().push(mail.text.clone());
        Ok(())
    }
}

/// A clock that jumps an hour ahead after so many looks: a machine was suspended.
#[derive(Clone)]
struct Suspended {
    clock: MovableClock,
    looks_before: Arc<AtomicUsize>,
}

impl Clock for Suspended {
    fn now(&self) -> OffsetDateTime {
        let left = self
            .looks_before
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left == Ok(1) {
            self.clock.advance(Duration::HOUR);
        }
        self.clock.now()
    }
}

#[tokio::test]
async fn a_mail_is_not_handed_over_when_its_claim_has_run_out_meanwhile() {
    let (store, mailer, clock) = (
        MemoryStore::default(),
        Fragile::default(),
        MovableClock::start(),
    );
    let looks_before = Arc::new(AtomicUsize::new(0));
    let auth = Auth::builder(store.clone(), keys())
        .mailer(
            mailer.clone(),
            Links::to("https://app.example.org").unwrap(),
        )
        .clock(Suspended {
            clock,
            looks_before: Arc::clone(&looks_before),
        })
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap();
    register(&auth, "ada").await;
    // Before the claim, before the look at the token, before the mail is handed over.
    looks_before.store(3, Ordering::SeqCst);
    auth.send_due_mails().await.unwrap();
    assert_eq!(looks_before.load(Ordering::SeqCst), 0);
    assert_eq!(mailer.sent.load(Ordering::SeqCst), 1, "by the next claim");
    let report = auth.mail_workers();
    assert_eq!((report.sent, report.failed), (1, 0));
    assert_eq!(store.mail_counts().await.unwrap().queued, 0);
}

/// A server that is away.
#[derive(Clone, Default)]
struct Away {
    tries: Arc<Mutex<Vec<OffsetDateTime>>>,
    clock: Option<MovableClock>,
}

#[async_trait]
impl Mailer for Away {
    async fn send(&self, _: &OutgoingMail) -> Result<(), MailerError> {
        let now = self.clock.as_ref().unwrap().now();
        self.tries.lock().unwrap().push(now);
        Err(MailerError::Temporary("nobody is there".into()))
    }
}

#[tokio::test]
async fn a_mail_has_a_day_of_tries_from_the_first_one_on_and_the_last_at_its_end() {
    let (store, clock) = (MemoryStore::default(), MovableClock::start());
    let away = Away {
        clock: Some(clock.clone()),
        ..Away::default()
    };
    let auth = Auth::builder(store.clone(), keys())
        .mailer(away.clone(), Links::to("https://app.example.org").unwrap())
        .clock(clock.clone())
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap();
    let record = Record {
        mails: vec![QueuedMail {
            id: MailId::generate(clock.now(), &OsRandom),
            user_id: None,
            to: Email::parse("ada@example.org").unwrap(),
            locale: "en".to_owned(),
            letter: Letter::Test,
            created_at: clock.now(),
        }],
        audit: Vec::new(),
    };
    store.append(record).await.unwrap();
    // No worker was there for three days.
    clock.advance(Duration::days(3));
    let begin = clock.now();
    for _ in 0..=24 * 60 {
        auth.send_due_mails().await.unwrap();
        clock.advance(Duration::MINUTE);
    }
    let tries = away.tries.lock().unwrap().clone();
    assert_eq!(tries.first(), Some(&begin));
    assert_eq!(tries.last(), Some(&(begin + Duration::DAY)));
    assert!((24..48).contains(&tries.len()), "{}", tries.len());
    let counts = store.mail_counts().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (0, 1));
    let dead = store.dead_mails(1).await.unwrap();
    assert_eq!(dead[0].attempts as usize, tries.len());
}

/// A store that deletes no mail, nor keeps any reason.
#[derive(Clone, Default)]
struct Stubborn {
    inner: MemoryStore,
}

#[async_trait]
impl Outbox for Stubborn {
    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Claims, StoreError> {
        self.inner.claim_mails(now, lease, limit).await
    }

    async fn mail_sent(&self, _: MailId, _: OffsetDateTime) -> Result<bool, StoreError> {
        Err(StoreError::Backend("no row is deleted here".into()))
    }

    async fn mail_failed(
        &self,
        mail: MailId,
        lease: OffsetDateTime,
        retry_at: Option<OffsetDateTime>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        if reason.contains("panicked") {
            return Err(StoreError::Backend("no such reason is kept here".into()));
        }
        self.inner.mail_failed(mail, lease, retry_at, reason).await
    }

    async fn mail_counts(&self) -> Result<MailCounts, StoreError> {
        self.inner.mail_counts().await
    }

    async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError> {
        self.inner.dead_mails(limit).await
    }

    async fn retry_dead_mails(
        &self,
        which: DeadMails,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        self.inner.retry_dead_mails(which, now).await
    }

    async fn drop_dead_mails(&self, which: DeadMails) -> Result<u64, StoreError> {
        self.inner.drop_dead_mails(which).await
    }

    async fn watch_mails(&self, wake: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
        self.inner.watch_mails(wake).await
    }
}

delegate!(AuditLog, IdentityStore, SessionStore, Store, UserStore for Stubborn => inner);

#[tokio::test]
async fn a_sent_mail_that_cannot_be_deleted_is_a_dead_letter_and_not_sent_again() {
    let (store, mailer, clock) = (
        Stubborn::default(),
        Fragile::default(),
        MovableClock::start(),
    );
    let auth = Auth::builder(store.clone(), keys())
        .mailer(
            mailer.clone(),
            Links::to("https://app.example.org").unwrap(),
        )
        .clock(clock.clone())
        .hashing(Hashing::bcrypt(4).unwrap())
        .build()
        .unwrap();
    // The first try of this one panics, and that cannot be kept in these words.
    register(&auth, "panic").await;
    auth.send_due_mails().await.unwrap();
    assert_eq!(mailer.panicked.load(Ordering::SeqCst), 1);
    for _ in 0..10 {
        clock.advance(Duration::MINUTE);
        auth.send_due_mails().await.unwrap();
    }
    assert_eq!(mailer.sent.load(Ordering::SeqCst), 1);
    let dead = store.dead_mails(9).await.unwrap();
    assert_eq!((dead.len(), dead[0].attempts), (1, 2));
    assert!(dead[0].reason.contains("could not be deleted"), "{dead:?}");
}

#[tokio::test]
async fn a_mail_that_the_templates_of_a_host_cannot_show_is_sent_in_the_built_in_words() {
    // No trial has such a name, and all of these start.
    for fault in [
        "{{ t(\"nowhere\") }}",
        "{{ username | nofilter }}",
        "{{ username.first.letter }}",
        "{% include \"mail/_nowhere.txt\" %}",
        "{{ 1 / 0 }}",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("Ours.{{% if username == \"ada\" %}}{fault}{{% endif %}}");
        std::fs::create_dir(folder.path().join("mail")).unwrap();
        std::fs::write(folder.path().join("mail/welcome.txt"), text).unwrap();
        let mailer = Written::default();
        let auth = Auth::builder(MemoryStore::default(), keys())
            .mailer(
                mailer.clone(),
                Links::to("https://app.example.org").unwrap(),
            )
            .templates(Templates::with_overrides(folder.path()).unwrap())
            .hashing(Hashing::bcrypt(4).unwrap())
            .build()
            .unwrap();
        register(&auth, "ada").await;
        register(&auth, "bob").await;
        assert_eq!(auth.send_due_mails().await.unwrap(), 2);
        let texts = mailer.texts.lock().unwrap();
        assert!(texts[0].starts_with("Hello ada,"), "{fault}: {texts:?}");
        assert_eq!(texts[1], "Ours.\n", "{fault}");
        assert_eq!(auth.mail_workers().failed, 0);
    }
}

#[tokio::test]
async fn without_a_mailer_the_language_of_mails_stays_what_it_is() {
    let store = MemoryStore::default();
    let with = with_mailer(&store, &Fragile::default(), &MovableClock::start());
    let without = Auth::builder(store.clone(), keys()).build().unwrap();
    register(&with, "ada").await;
    let email = Email::parse("ada@example.org").unwrap();
    let ada = with.user_by_email(&email).await.unwrap().id;
    with.set_language(ada, "it").await.unwrap();
    assert_eq!(without.set_language(ada, "de").await.unwrap(), "it");
    assert_eq!(with.user_by_email(&email).await.unwrap().locale, "it");
    let nobody = UserId::generate(OffsetDateTime::UNIX_EPOCH, &OsRandom);
    let outcome = without.set_language(nobody, "de").await;
    assert!(matches!(outcome, Err(Error::UserNotFound)), "{outcome:?}");
}
