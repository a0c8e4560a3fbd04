//! A locked file, a missing table, a row that nobody can read.
#![allow(clippy::unwrap_used)] // test code: what cannot go on has failed

use std::{path::Path, time::Duration as StdDuration};

use auth_core::{
    contract::fixtures::sweep,
    ports::{
        AuditLog, GIVE_UP_AFTER, LOOKS, MOST_COUNTED, OsRandom, Outbox, PUT_OFF, StoreError, Swept,
        UNREADABLE, UserStore,
    },
    time::{Duration, OffsetDateTime},
    types::{
        AccountKey, AuditEntry, AuditEvent, AuditId, Email, Letter, MailId, QueuedMail, Record,
        UserId,
    },
};
use auth_store_sqlite::{
    SqliteStore,
    sqlx::{
        self, Connection, SqliteConnection,
        sqlite::{SqliteConnectOptions, SqlitePoolOptions},
    },
};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

async fn migrated(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path))
        .await
        .unwrap()
}

fn entry(user: UserId) -> AuditEntry {
    AuditEntry {
        id: AuditId::generate(NOW, &OsRandom),
        at: NOW,
        event: AuditEvent::LoginFailed,
        user_id: Some(user),
        session_id: None,
        ip: None,
        user_agent: None,
        request_id: None,
    }
}

#[tokio::test]
async fn a_file_that_another_program_locks_is_unavailable_and_then_works_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    migrated(&path).await;
    let pool = SqlitePoolOptions::new().connect_lazy_with(
        SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(StdDuration::from_millis(1)),
    );
    let store = SqliteStore::from_pools(pool.clone(), pool);
    let user = UserId::generate(NOW, &OsRandom);
    let record = Record {
        mails: Vec::new(),
        audit: vec![entry(user)],
    };

    let mut other = raw(&path).await;
    let lock = other.begin_with("begin immediate").await.unwrap();
    for _ in 0..3 {
        let refused = store.append(record.clone()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        let refused = store
            .claim_mails(NOW, Duration::MINUTE, 1)
            .await
            .unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        // Readers do not wait for writers.
        assert!(store.audit_entries(user, 1).await.unwrap().is_empty());
    }
    lock.rollback().await.unwrap();

    store.append(record).await.unwrap();
    assert_eq!(store.audit_entries(user, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_without_our_tables_is_a_bug_and_keeps_its_cause() {
    let store = SqliteStore::in_memory().await.unwrap();
    let key = AccountKey::Id(UserId::generate(NOW, &OsRandom));
    let StoreError::Backend(cause) = store.account(&key).await.unwrap_err() else {
        panic!("it should be the bug that it is");
    };
    assert!(cause.is::<sqlx::Error>());
    assert!(cause.to_string().contains("auth_users"), "{cause}");
}

#[tokio::test]
async fn however_many_mails_a_newer_version_wrote_a_claim_ends_and_the_next_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = migrated(&path).await;
    let mails: Vec<_> = (0..=2 * i64::from(LOOKS))
        .map(|second| QueuedMail {
            id: MailId::generate(NOW, &OsRandom),
            user_id: None,
            to: Email::parse("ada@example.org").unwrap(),
            locale: "en".to_owned(),
            letter: Letter::Test,
            created_at: NOW + Duration::seconds(second),
        })
        .collect();
    let ours = mails.last().unwrap().id;
    let record = Record {
        mails,
        audit: Vec::new(),
    };
    store.append(record).await.unwrap();
    let mut connection = raw(&path).await;
    sqlx::query("update auth_outbox set letter = '{\"template\":\"postcard\"}' where id <> ?1")
        .bind(ours.as_uuid())
        .execute(&mut connection)
        .await
        .unwrap();
    let now = NOW + Duration::MINUTE;
    for (claimed, more) in [(vec![], true), (vec![], true), (vec![ours], false)] {
        let claims = store.claim_mails(now, Duration::MINUTE, 1).await.unwrap();
        let ids: Vec<_> = claims.mails.iter().map(|claim| claim.mail.id).collect();
        assert_eq!((ids, claims.more), (claimed, more));
    }
}

#[tokio::test]
async fn what_a_newer_version_wrote_does_not_hold_up_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = migrated(&path).await;
    let user = UserId::generate(NOW, &OsRandom);
    let mail = |seconds| QueuedMail {
        id: MailId::generate(NOW, &OsRandom),
        user_id: None,
        to: Email::parse("ada@example.org").unwrap(),
        locale: "en".to_owned(),
        letter: Letter::AccountDeleted {
            username: "ada".to_owned(),
        },
        created_at: NOW + Duration::seconds(seconds),
    };
    let (foreign, ours) = ([mail(0), mail(2)], [mail(1), mail(3)]);
    let record = Record {
        mails: [foreign.clone(), ours.clone()].concat(),
        audit: vec![entry(user)],
    };
    store.append(record).await.unwrap();
    let mut connection = raw(&path).await;
    for mail in &foreign {
        sqlx::query("update auth_outbox set letter = '{\"template\":\"postcard\"}' where id = ?1")
            .bind(mail.id.as_uuid())
            .execute(&mut connection)
            .await
            .unwrap();
    }
    sqlx::query(
        "insert into auth_audit_log (id, at, event, user_id) values (zeroblob(16), 1, 'teleported', ?1)",
    )
    .bind(user.as_uuid())
    .execute(&mut connection)
    .await
    .unwrap();

    let now = NOW + Duration::MINUTE;
    // One at a time: what is no mail for this version takes nobody's place.
    for mail in &ours {
        let claims = store.claim_mails(now, Duration::MINUTE, 1).await.unwrap();
        let claimed: Vec<_> = claims.mails.iter().map(|claim| claim.mail.id).collect();
        assert_eq!(claimed, [mail.id]);
        let sent = store.mail_sent(mail.id, claims.mails[0].lease).await;
        assert!(sent.unwrap());
    }
    assert_eq!(store.mail_counts().await.unwrap().queued, 2);
    assert_eq!(store.audit_entries(user, 9).await.unwrap().len(), 1);

    // A newer version finds them a minute later, untried.
    let due = i64::try_from((now + PUT_OFF).unix_timestamp_nanos() / 1000).unwrap();
    for mail in &foreign {
        let waiting: (i64, Option<i64>, i64) =
            sqlx::query_as("select attempts, lease, due_at from auth_outbox where id = ?1")
                .bind(mail.id.as_uuid())
                .fetch_one(&mut connection)
                .await
                .unwrap();
        assert_eq!(waiting, (0, None, due));
    }

    let late = now + GIVE_UP_AFTER;
    let claims = store.claim_mails(late, Duration::HOUR, 10).await.unwrap();
    assert_eq!(claims.given_up.len(), 2);
    let dead = store.dead_mails(9).await.unwrap();
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|mail| mail.reason == UNREADABLE));
}

#[tokio::test]
async fn a_mail_for_an_account_that_is_gone_is_dropped_without_an_error() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.migrate().await.unwrap();
    let gone = UserId::generate(NOW, &OsRandom);
    let record = Record {
        mails: vec![QueuedMail {
            id: MailId::generate(NOW, &OsRandom),
            user_id: Some(gone),
            to: Email::parse("ada@example.org").unwrap(),
            locale: "en".to_owned(),
            letter: Letter::PasswordChanged {
                username: "ada".to_owned(),
            },
            created_at: NOW,
        }],
        audit: vec![entry(gone)],
    };
    store.append(record).await.unwrap();
    assert_eq!(store.mail_counts().await.unwrap().queued, 0);
    assert_eq!(store.audit_entries(gone, 9).await.unwrap().len(), 1);
}

/// More than go in one batch, and a table of the host that refers to accounts and lets none of them go.
#[tokio::test]
async fn a_sweep_goes_on_past_accounts_that_the_host_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = migrated(&path).await;
    let mut outside = raw(&path).await;
    let many = "
        create table numbers as with recursive n (n) as (select 1 union all select n + 1 from n where n < 450) select n from n;
        insert into auth_users
            (id, username, username_key, email, email_key, is_verified, is_admin, is_disabled, credentials_version, locale, created_at, updated_at)
        select randomblob(16), 'u' || n, 'u' || n, n || '@example.org', n || '@example.org', n = 7, 0, 0, 1, 'en', n % 7 - 1000, 0 from numbers;
        insert into auth_sessions (id, user_id, created_at, last_used_at, expires_at, ends_at)
        select randomblob(16), u.id, -1, -1, -1, -1 from auth_users u, numbers where username = 'u7';
        insert into auth_mailed_tokens (digest, user_id, purpose, email, email_key, created_at, expires_at)
        select randomblob(32), u.id, 'verify_email', u.email, u.email_key, -3600000000, -1 from auth_users u, numbers where username = 'u7';
        create table orders (account blob not null references auth_users);
        insert into orders select id from auth_users where username in ('u1', 'u450');
        create table notes (account blob not null references auth_users on delete restrict);
        insert into notes select id from auth_users where username = 'u222'";
    sqlx::raw_sql(many).execute(&mut outside).await.unwrap();

    let swept = sweep(&store, NOW, NOW).await.unwrap();
    let most = Swept {
        accounts: 446,
        held: 3,
        sessions: 450,
        tokens: 450,
        ..Swept::default()
    };
    assert_eq!(swept, most);

    let free = sqlx::raw_sql("delete from orders; delete from notes");
    free.execute(&mut outside).await.unwrap();
    // Not a reference that holds them, and so no reason to go on past them.
    let broken = "create trigger broken before delete on auth_users begin select raise(abort, 'broken'); end";
    sqlx::raw_sql(broken).execute(&mut outside).await.unwrap();
    let refused = sweep(&store, NOW, NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::Backend(_)), "{refused:?}");
    let mended = sqlx::raw_sql("drop trigger broken");
    mended.execute(&mut outside).await.unwrap();
    let swept = sweep(&store, NOW, NOW).await.unwrap();
    let rest = Swept {
        accounts: 3,
        ..Swept::default()
    };
    assert_eq!(swept, rest);
}

/// A look at the queue must not cost the more the longer it is.
#[tokio::test]
async fn of_a_long_queue_no_more_than_ten_thousand_mails_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = migrated(&path).await;
    let mut connection = raw(&path).await;
    // The last one to be due waits for longest.
    let mails =
        "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < ?1)
         insert into auth_outbox (id, recipient, locale, letter, due_at, created_at, queued_at)
         select randomblob(16), 'ada@example.org', 'en', '{}', n, 0, -n from numbers";
    let most = i64::from(MOST_COUNTED);
    sqlx::query(mails)
        .bind(most + 1)
        .execute(&mut connection)
        .await
        .unwrap();
    let counts = store.mail_counts().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (10_000, 0));
    assert_eq!(counts.oldest, Some(NOW - Duration::microseconds(most)));
    sqlx::query("update auth_outbox set due_at = null")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query(mails)
        .bind(3)
        .execute(&mut connection)
        .await
        .unwrap();
    let counts = store.mail_counts().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (3, 10_000));
    assert_eq!(counts.oldest, Some(NOW - Duration::microseconds(3)));
}
