//! The schema goes up, down and up again, and what shares its database gets along.

use auth_core::ports::{Store, StoreError, UserStore};
use auth_store_postgres::{
    PgStore, SchemaError,
    sqlx::{self, AssertSqlSafe, Executor, PgConnection},
};
use auth_tests::postgres;

use crate::{entry_about, registration, somebody};

/// Of the schema that this version knows.
fn newest() -> i64 {
    auth_migrations::POSTGRES.last().unwrap().version
}

/// All that our schema consists of, as Postgres spells it.
async fn objects(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "with tables as (
             select oid, relname from pg_class
             where relnamespace = 'auth'::regnamespace and relkind = 'r' and relname <> '_migrations'
         )
         select concat_ws(' ', 'column', relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
                          pg_get_expr(adbin, adrelid), nullif(attcollation, 0)::regcollation)
             from tables join pg_attribute on attrelid = tables.oid left join pg_attrdef on adrelid = attrelid and adnum = attnum
             where attnum > 0 and not attisdropped
         union all
         select concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(c.oid)) from tables join pg_constraint c on conrelid = tables.oid
         union all
         select pg_get_indexdef(indexrelid) from tables join pg_index on indrelid = tables.oid
         union all
         select pg_get_triggerdef(t.oid) from tables join pg_trigger t on tgrelid = tables.oid where not tgisinternal
         union all
         select pg_get_functiondef(oid) from pg_proc where pronamespace = 'auth'::regnamespace
         order by 1",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn down_takes_everything_away_and_up_brings_the_same_back() {
    let database = postgres::empty_database().await;
    let store = database.store().await;
    assert_eq!(store.schema_version().await.unwrap(), 0);

    store.migrate().await.unwrap();
    let mut connection = database.raw().await;
    let up = objects(&mut connection).await;
    assert!(up.len() > 60, "{up:#?}");
    assert_eq!(store.schema_version().await.unwrap(), newest());

    // Rows, and entries that their trigger protects, must not hold up the way down.
    let (account, record) = registration(&somebody());
    store.register(account, record).await.unwrap();
    store.migrate_down(0).await.unwrap();
    assert_eq!(objects(&mut connection).await, Vec::<String>::new());
    assert_eq!(store.schema_version().await.unwrap(), 0);
    assert!(matches!(
        store.ping().await.unwrap_err(),
        StoreError::Unavailable(_)
    ));

    store.migrate().await.unwrap();
    assert_eq!(objects(&mut connection).await, up);
    // On connections that had prepared their statements for the tables that are gone.
    store.ping().await.unwrap();
    let (account, record) = registration(&somebody());
    store.register(account, record).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_programs_that_start_at_once_one_migrates_and_all_serve() {
    let database = postgres::empty_database().await;
    let starts: Vec<_> = (0..10)
        .map(|_| {
            let url = database.url.clone();
            tokio::spawn(async move {
                let store = PgStore::connect(&url).await?;
                store.migrate().await?;
                Ok::<_, SchemaError>(store)
            })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap().ping().await.unwrap();
    }
    let steps: i64 = sqlx::query_scalar("select count(*) from auth._migrations")
        .fetch_one(&mut database.raw().await)
        .await
        .unwrap();
    assert_eq!(steps, newest());
}

/// The lock is ours alone, and waiting for it is not what the time limits of statements are for.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_our_lock_only_and_as_long_as_it_takes() {
    let database = postgres::empty_database().await;
    let url = format!("{}?options[statement_timeout]=50", database.url);
    let store = PgStore::connect(&url).await.unwrap();
    let mut other = database.raw().await;
    other
        .execute("select pg_advisory_lock(1635087464), pg_advisory_lock(1, 1635087464)")
        .await
        .unwrap();
    store.migrate().await.unwrap();
    store.migrate_down(0).await.unwrap();

    other
        .execute("select pg_advisory_lock(1635087464, 1)")
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.migrate().await }
    });
    let patience = std::time::Duration::from_millis(200);
    assert!(
        tokio::time::timeout(patience, store.migrate())
            .await
            .is_err()
    );
    other
        .execute("select pg_advisory_unlock(1635087464, 1)")
        .await
        .unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(store.schema_version().await.unwrap(), newest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_in_words() {
    let database = postgres::database().await;
    let store = database.store().await;
    database
        .raw()
        .await
        .execute(
            "insert into auth._migrations (version, description, success, checksum, execution_time)
             values (4711, 'from the future', true, '', 0)",
        )
        .await
        .unwrap();

    let refusals = [
        store.migrate().await.unwrap_err(),
        store.migrate_down(0).await.unwrap_err(),
        PgStore::connect(&database.url).await.unwrap_err(),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_published_step_that_was_edited_is_refused() {
    let database = postgres::database().await;
    database
        .raw()
        .await
        .execute("update auth._migrations set checksum = ''")
        .await
        .unwrap();
    assert!(matches!(
        database.store().await.migrate().await.unwrap_err(),
        SchemaError::Migrate(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_keeps_its_own_tables_and_migrations_in_the_same_database() {
    let database = postgres::empty_database().await;
    let mut host = database.raw().await;
    host.execute(
        "create table _sqlx_migrations (version bigint primary key);
         create table users (id integer primary key);
         insert into users values (1);
         create schema auth;
         create table auth.tenants (id integer primary key)",
    )
    .await
    .unwrap();
    let store = database.store().await;
    store.migrate().await.unwrap();
    store.migrate_down(0).await.unwrap();
    let rows: i64 = sqlx::query_scalar(
        "select count(*) from users where not exists (select from auth.tenants)",
    )
    .fetch_one(&mut host)
    .await
    .unwrap();
    assert_eq!(rows, 1);
}

/// Whoever serves needs the rights of rows only: another role, or a person, migrates.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_create_nothing_serves_a_schema_that_is_up_to_date() {
    let database = postgres::database().await;
    let role = format!("auth_test_role_{}", somebody().id.as_uuid().simple());
    database
        .raw()
        .await
        .execute(AssertSqlSafe(format!(
            "create role {role} login password 'only for a test';
             grant usage on schema auth to {role};
             grant select, insert, update, delete on all tables in schema auth to {role};
             revoke insert, update, delete on auth._migrations from {role};
             revoke update, delete on auth.audit_log from {role}"
        )))
        .await
        .unwrap();
    let (scheme, rest) = database.url.split_once("://").unwrap();
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let url = format!("{scheme}://{role}:only%20for%20a%20test@{host}");
    let store = PgStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let (account, record) = registration(&somebody());
    store.register(account, record).await.unwrap();
    store.close().await;
    database
        .raw()
        .await
        .execute(AssertSqlSafe(format!(
            "drop owned by {role}; drop role {role}"
        )))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_takes_nothing_back() {
    let database = postgres::database().await;
    let store = database.store().await;
    store.append(entry_about(&somebody())).await.unwrap();
    let mut connection = database.raw().await;
    for change in [
        "update auth.audit_log set event = 'login_failed'",
        "delete from auth.audit_log",
        "truncate auth.audit_log",
    ] {
        let error = connection.execute(change).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_told_with_its_cause() {
    let database = postgres::database().await;
    let (address, _) = database.url.rsplit_once('/').unwrap();
    for (url, words) in [
        (format!("{address}/no_such_database"), "does not exist"),
        (
            "postgres://nobody@127.0.0.1:1/nothing".to_owned(),
            "refused",
        ),
    ] {
        let error = PgStore::connect(&url).await.unwrap_err();
        let SchemaError::Open(cause) = error else {
            panic!("{error:?}");
        };
        assert!(cause.to_string().contains(words), "{cause}");
    }
    assert!(matches!(
        PgStore::connect("sqlite:app.db").await.unwrap_err(),
        SchemaError::Url(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_is_unavailable() {
    let store = postgres::database().await.store().await;
    store.close().await;
    assert!(matches!(
        store.ping().await.unwrap_err(),
        StoreError::Unavailable(_)
    ));
}

/// Whatever program writes: only a description goes, and only away.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_takes_nothing_back() {
    let database = postgres::database().await;
    let mut connection = database.raw().await;
    let nobody = "'00000000-0000-0000-0000-000000000001'";
    connection
        .execute(AssertSqlSafe(format!(
            "insert into auth.credit_accounts (user_id, owner, balance, entries, updated_at) values ({nobody}, null, 100, 1, now());
             insert into auth.credit_entries (user_id, number, id, kind, change, new_balance, description, caller, idempotency_key, created_at)
                 values ({nobody}, 1, {nobody}, 'credit_added', 100, 100, 'a name', 'tests', 'k', now())"
        )))
        .await
        .unwrap();
    for change in [
        "update auth.credit_entries set change = 1",
        "update auth.credit_entries set new_balance = 1000",
        "update auth.credit_entries set number = 2",
        "update auth.credit_entries set idempotency_key = null",
        "update auth.credit_entries set description = 'another'",
        "update auth.credit_entries set description = null, caller = 'another'",
        "delete from auth.credit_entries",
        "truncate auth.credit_entries",
        "delete from auth.credit_accounts",
        "truncate auth.credit_accounts",
    ] {
        let error = connection.execute(change).await.expect_err(change);
        assert!(
            error.to_string().contains("append-only"),
            "{change}: {error}"
        );
    }
    for change in [
        "update auth.credit_accounts set balance = -1".to_owned(),
        format!(
            "insert into auth.credit_entries (user_id, number, id, kind, change, new_balance, caller, created_at)
                 values ({nobody}, 2, {nobody}, 'credit_used', -200, -100, 'tests', now())"
        ),
        format!(
            "insert into auth.credit_entries (user_id, number, id, kind, change, new_balance, caller, created_at)
                 values ({nobody}, 2, {nobody}, 'credit_added', 0, 100, 'tests', now())"
        ),
    ] {
        let error = connection.execute(AssertSqlSafe(change.clone())).await;
        let error = error.expect_err(&change);
        assert!(error.to_string().contains("check constraint"), "{change}: {error}");
    }
    connection
        .execute("update auth.credit_entries set description = null")
        .await
        .unwrap();
}
