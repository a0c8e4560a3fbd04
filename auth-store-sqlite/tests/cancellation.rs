//! A client hangs up in the middle of a write.
#![allow(clippy::unwrap_used)] // test code: what cannot go on has failed

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration as StdDuration,
};

use auth_core::{
    ports::{AuditLog, OsRandom, UserStore},
    time::{Duration, OffsetDateTime},
    types::{
        AuditEntry, AuditEvent, AuditId, Digest, Email, Letter, MailId, NewAccount, NewMailedToken,
        NewSession, PasswordHash, Purpose, QueuedMail, Record, Session, SessionId, User, UserId,
        Username,
    },
};
use auth_store_sqlite::{
    SqliteStore,
    sqlx::{self, Connection, SqliteConnection, sqlite::SqliteConnectOptions},
};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// Polls its future so many times, each time when it was woken, and drops it before the next.
struct Cut<F> {
    future: Option<Pin<Box<F>>>,
    polls_left: u32,
}

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            self.future = None;
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        match &mut self.future {
            Some(future) => future.as_mut().poll(context).map(Some),
            None => Poll::Ready(None),
        }
    }
}

fn entry(user: UserId) -> AuditEntry {
    AuditEntry {
        id: AuditId::generate(NOW, &OsRandom),
        at: NOW,
        event: AuditEvent::Registered,
        user_id: Some(user),
        session_id: None,
        ip: None,
        user_agent: None,
        request_id: None,
    }
}

/// A registration that writes one row to each table.
fn registration(n: u32) -> (UserId, NewAccount, Record) {
    let id = UserId::generate(NOW, &OsRandom);
    let email = Email::parse(&format!("user{n}@example.org")).unwrap();
    let account = NewAccount {
        user: User {
            id,
            username: Username::parse(&format!("user{n}")).unwrap(),
            email: email.clone(),
            is_verified: false,
            is_admin: false,
            is_disabled: false,
            providers: Vec::new(),
            has_password: true,
            locale: "en".to_owned(),
            created_at: NOW,
            updated_at: NOW,
        },
        password: Some(PasswordHash::new("$2b$")),
        session: Some(NewSession {
            session: Session {
                id: SessionId::generate(NOW, &OsRandom),
                user_id: id,
                created_at: NOW,
                last_used_at: NOW,
                expires_at: NOW + Duration::DAY,
                ends_at: NOW + Duration::DAY,
                ip: None,
                user_agent: None,
            },
            refresh: Digest::of(format!("refresh {n}")),
        }),
        identity: None,
        token: Some(NewMailedToken {
            digest: Digest::of(format!("mailed {n}")),
            user_id: id,
            purpose: Purpose::VerifyEmail,
            email: email.clone(),
            created_at: NOW,
            expires_at: NOW + Duration::DAY,
        }),
    };
    let record = Record {
        mails: vec![QueuedMail {
            id: MailId::generate(NOW, &OsRandom),
            user_id: Some(id),
            to: email,
            locale: "en".to_owned(),
            letter: Letter::PasswordChanged {
                username: format!("user{n}"),
            },
            created_at: NOW,
        }],
        audit: vec![entry(id)],
    };
    (id, account, record)
}

/// How many rows each table has for a user, seen from outside and at one moment.
async fn rows_of(outside: &mut SqliteConnection, user: UserId) -> [i64; 6] {
    let (users, sessions, refresh, mailed, mails, entries) = sqlx::query_as(
        "select (select count(*) from auth_users where id = ?1),
                (select count(*) from auth_sessions where user_id = ?1),
                (select count(*) from auth_refresh_tokens t join auth_sessions s on s.id = t.session_id where s.user_id = ?1),
                (select count(*) from auth_mailed_tokens where user_id = ?1),
                (select count(*) from auth_outbox where user_id = ?1),
                (select count(*) from auth_audit_log where user_id = ?1)",
    )
    .bind(user.as_uuid())
    .fetch_one(outside)
    .await
    .unwrap();
    [users, sessions, refresh, mailed, mails, entries]
}

const WHOLE: [i64; 6] = [1; 6];
const ABSENT: [i64; 6] = [0; 6];

async fn a_store_and_a_look_from_outside(path: &Path) -> (SqliteStore, SqliteConnection) {
    let store = SqliteStore::open(path).await.unwrap();
    store.migrate().await.unwrap();
    let outside = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path))
        .await
        .unwrap();
    (store, outside)
}

/// The next write of somebody else, on the connection that the dropped one had: it must not end up in a transaction that nobody commits.
async fn the_next_write_is_seen(store: &SqliteStore, outside: &mut SqliteConnection) {
    let somebody = UserId::generate(NOW, &OsRandom);
    let record = Record {
        mails: Vec::new(),
        audit: vec![entry(somebody)],
    };
    store.append(record).await.unwrap();
    assert_eq!(rows_of(outside, somebody).await, [0, 0, 0, 0, 0, 1]);
    assert_eq!(store.audit_entries(somebody, 9).await.unwrap().len(), 1);
}

/// Fails when writes run inline: every fifth registration or so is then cut off half-way, rolled back, and never arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_begun_is_whole_however_soon_its_caller_hangs_up() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut outside) =
        a_store_and_a_look_from_outside(&directory.path().join("auth.db")).await;

    let mut begun = Vec::new();
    for n in 0..300 {
        let (id, account, record) = registration(n);
        let write = store.register(account, record);
        if n % 2 == 0 {
            let polls_left = 1 + (n / 2) % 50;
            let cut = Cut {
                future: Some(Box::pin(write)),
                polls_left,
            };
            cut.await.transpose().unwrap();
        } else {
            // A timeout polls at least once.
            let micros = u64::from(n) * 5;
            let _ = tokio::time::timeout(StdDuration::from_micros(micros), write).await;
        }
        let rows = rows_of(&mut outside, id).await;
        assert!(rows == WHOLE || rows == ABSENT, "try {n}: {rows:?}");
        the_next_write_is_seen(&store, &mut outside).await;
        begun.push(id);
    }

    let mut missing = begun;
    let arrival = async {
        while let Some(id) = missing.last() {
            if rows_of(&mut outside, *id).await == WHOLE {
                missing.pop();
            }
        }
    };
    let _ = tokio::time::timeout(StdDuration::from_secs(10), arrival).await;
    let mut lost = 0;
    for id in missing {
        lost += i32::from(rows_of(&mut outside, id).await != WHOLE);
    }
    assert_eq!(lost, 0, "registrations that were begun and never arrived");
}

#[tokio::test]
async fn a_write_that_nobody_polled_does_not_happen() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut outside) =
        a_store_and_a_look_from_outside(&directory.path().join("auth.db")).await;
    let (id, account, record) = registration(1);
    drop(store.register(account, record));
    the_next_write_is_seen(&store, &mut outside).await;
    assert_eq!(rows_of(&mut outside, id).await, ABSENT);
}

/// A service that stops without waiting for its requests drops its tasks wherever they are.
#[test]
fn a_write_in_a_runtime_that_shuts_down_is_whole_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    for n in 0..60 {
        let runtime = || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_time()
                .build()
                .unwrap()
        };
        let (id, account, record) = registration(n);

        let service = runtime();
        service.block_on(async {
            let (store, _) = a_store_and_a_look_from_outside(&path).await;
            let write = async move { store.register(account, record).await };
            let micros = StdDuration::from_micros(u64::from(n) * 30);
            let _ = tokio::time::timeout(micros, tokio::spawn(write)).await;
        });
        drop(service);

        runtime().block_on(async {
            let (store, mut outside) = a_store_and_a_look_from_outside(&path).await;
            let rows = rows_of(&mut outside, id).await;
            assert!(rows == WHOLE || rows == ABSENT, "try {n}: {rows:?}");
            the_next_write_is_seen(&store, &mut outside).await;
        });
    }
}

#[tokio::test]
async fn an_error_inside_a_transaction_leaves_a_connection_that_writes() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut outside) =
        a_store_and_a_look_from_outside(&directory.path().join("auth.db")).await;
    let (_, account, record) = registration(1);
    store.register(account, record).await.unwrap();
    for _ in 0..20 {
        let (id, account, record) = registration(1);
        store.register(account, record).await.unwrap_err();
        assert_eq!(rows_of(&mut outside, id).await, ABSENT);
        the_next_write_is_seen(&store, &mut outside).await;
    }
}
