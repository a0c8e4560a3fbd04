//! The schema goes up, down and up again, and what shares its file gets along.
#![allow(clippy::panic, clippy::unwrap_used)] // test code: what cannot go on has failed

use std::path::Path;

use auth_core::{
    ports::{OsRandom, Outbox, Store, StoreError, UserStore},
    time::OffsetDateTime,
    types::{Email, Letter, MailId, QueuedMail, Record},
};
use auth_store_sqlite::{
    SchemaError, SqliteStore,
    sqlx::{
        self, Connection, Row, SqliteConnection,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
    },
};

/// Of the schema that this version knows.
fn newest() -> i64 {
    auth_migrations::SQLITE.last().unwrap().version
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path))
        .await
        .unwrap()
}

async fn objects(connection: &mut SqliteConnection) -> Vec<(String, String, String)> {
    sqlx::query_as(
        "select type, name, coalesce(sql, '') from sqlite_schema where name <> '_auth_migrations' order by type, name",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn down_takes_everything_away_and_up_brings_the_same_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.schema_version().await.unwrap(), 0);

    store.migrate().await.unwrap();
    let mut connection = raw(&path).await;
    let up = objects(&mut connection).await;
    assert!(!up.is_empty());
    assert_eq!(store.schema_version().await.unwrap(), newest());

    // An entry that its trigger protects must not hold up the way down.
    sqlx::query(
        "insert into auth_audit_log (id, at, event) values (zeroblob(16), 0, 'registered')",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    store.migrate_down(0).await.unwrap();
    let down: Vec<_> = objects(&mut connection).await;
    assert!(
        down.iter()
            .all(|(_, name, _)| name.contains("_auth_migrations")),
        "{down:?}"
    );
    assert_eq!(store.schema_version().await.unwrap(), 0);
    assert!(matches!(
        store.ping().await.unwrap_err(),
        StoreError::Unavailable(_)
    ));

    store.migrate().await.unwrap();
    assert_eq!(objects(&mut connection).await, up);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.schema_version().await.unwrap(), newest());
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    sqlx::query(
        "insert into _auth_migrations (version, description, success, checksum, execution_time)
         values (4711, 'from the future', true, x'00', 0)",
    )
    .execute(&mut raw(&path).await)
    .await
    .unwrap();

    let refusals = [
        store.migrate().await.unwrap_err(),
        store.migrate_down(0).await.unwrap_err(),
        SqliteStore::open(&path).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert!(matches!(
            refusal,
            SchemaError::Newer { found: 4711, known } if known == newest()
        ));
        let words = refusal.to_string();
        assert!(
            words.contains("schema version 4711") && words.contains(&format!("up to {}", newest())),
            "{words}"
        );
    }
    assert_eq!(store.schema_version().await.unwrap(), 4711);
}

#[tokio::test]
async fn a_published_step_that_was_edited_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    sqlx::query("update _auth_migrations set checksum = x'00'")
        .execute(&mut raw(&path).await)
        .await
        .unwrap();
    assert!(matches!(
        store.migrate().await.unwrap_err(),
        SchemaError::Migrate(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_programs_may_start_at_once_on_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let starts: Vec<_> = (0..12)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move {
                let store = SqliteStore::open(path).await?;
                store.migrate().await?;
                Ok::<_, SchemaError>(store)
            })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_host_keeps_its_own_tables_and_migrations_in_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let mut host = raw(&path).await;
    sqlx::raw_sql(
        "create table _sqlx_migrations (version bigint primary key);
         create table users (id integer primary key);
         insert into users values (1);",
    )
    .execute(&mut host)
    .await
    .unwrap();

    store.migrate().await.unwrap();
    store.migrate_down(0).await.unwrap();
    let row = sqlx::query("select count(*) from users")
        .fetch_one(&mut host)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_may_bring_one_pool_of_many_connections() {
    let directory = tempfile::tempdir().unwrap();
    let pool = SqlitePoolOptions::new()
        .max_connections(5)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(directory.path().join("app.db"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal),
        )
        .await
        .unwrap();
    let store = SqliteStore::from_pools(pool.clone(), pool);
    store.migrate().await.unwrap();

    let writes: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            let mail = QueuedMail {
                id: MailId::generate(OffsetDateTime::UNIX_EPOCH, &OsRandom),
                user_id: None,
                to: Email::parse("ada@example.org").unwrap(),
                locale: "en".to_owned(),
                letter: Letter::AccountDeleted {
                    username: "ada".to_owned(),
                },
                created_at: OffsetDateTime::UNIX_EPOCH,
            };
            let record = Record {
                mails: vec![mail],
                audit: Vec::new(),
            };
            tokio::spawn(async move { store.append(record).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(store.mail_counts().await.unwrap().queued, 50);
}

#[tokio::test]
async fn the_audit_log_takes_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    SqliteStore::open(&path)
        .await
        .unwrap()
        .migrate()
        .await
        .unwrap();
    let mut connection = raw(&path).await;
    sqlx::query(
        "insert into auth_audit_log (id, at, event) values (zeroblob(16), 0, 'registered')",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    for change in [
        "update auth_audit_log set event = 'login_failed'",
        "delete from auth_audit_log",
    ] {
        let error = sqlx::query(change)
            .execute(&mut connection)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_path_is_always_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(":memory:");
    SqliteStore::open(&path).await.unwrap();
    assert!(path.exists());
    assert!(matches!(
        SqliteStore::open("").await.unwrap_err(),
        SchemaError::Open(_)
    ));
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    assert!(matches!(
        store.ping().await.unwrap_err(),
        StoreError::Unavailable(_)
    ));
}

/// Whatever program writes: only a description goes, and only away.
#[tokio::test]
async fn the_ledger_takes_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = raw(&path).await;
    let entry = "insert into auth_credit_entries
             (user_id, number, id, kind, change, new_balance, description, caller, idempotency_key, created_at)
         values (zeroblob(16), 1, zeroblob(16), 'credit_added', 100, 100, 'a name', 'tests', 'k', 0)";
    let account = "insert into auth_credit_accounts (user_id, owner, balance, entries, updated_at) values (zeroblob(16), null, 100, 1, 0)";
    for insert in [account, entry] {
        sqlx::query(insert).execute(&mut connection).await.unwrap();
    }
    for change in [
        "update auth_credit_entries set change = 1",
        "update auth_credit_entries set new_balance = 1000",
        "update auth_credit_entries set number = 2",
        "update auth_credit_entries set idempotency_key = null",
        "update auth_credit_entries set description = 'another'",
        "update auth_credit_entries set description = null, caller = 'another'",
        "delete from auth_credit_entries",
        "delete from auth_credit_accounts",
        "insert or replace into auth_credit_entries (user_id, number, id, kind, change, new_balance, caller, created_at)
             values (zeroblob(16), 1, zeroblob(16), 'credit_added', 1, 1, 'tests', 0)",
        "insert or replace into auth_credit_entries (user_id, number, id, kind, change, new_balance, caller, idempotency_key, created_at)
             values (x'01010101010101010101010101010101', 1, zeroblob(16), 'credit_added', 1, 1, 'tests', 'k', 0)",
    ] {
        let error = sqlx::query(change).execute(&mut connection).await;
        let error = error.expect_err(change);
        assert!(error.to_string().contains("append-only"), "{change}: {error}");
    }
    for change in [
        "update auth_credit_accounts set balance = -1",
        "insert into auth_credit_entries (user_id, number, id, kind, change, new_balance, caller, created_at)
             values (zeroblob(16), 2, zeroblob(16), 'credit_used', -200, -100, 'tests', 0)",
        "insert into auth_credit_entries (user_id, number, id, kind, change, new_balance, caller, created_at)
             values (zeroblob(16), 2, zeroblob(16), 'credit_added', 0, 100, 'tests', 0)",
    ] {
        let error = sqlx::query(change).execute(&mut connection).await;
        let error = error.expect_err(change);
        assert!(error.to_string().contains("CHECK"), "{change}: {error}");
    }
    sqlx::query("update auth_credit_entries set description = null")
        .execute(&mut connection)
        .await
        .unwrap();
}
