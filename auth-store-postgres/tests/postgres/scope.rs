//! One transaction of the host for its rows and ours.

use auth_core::{
    Auth, Error, Hashing, Register, Registration, SigningKeys,
    contract::fixtures::{account, at, queued, record, registered, user},
    ports::{Outbox, SessionStore, Store, StoreError, Unique, UserStore},
    types::{AccountKey, AuditEvent, Client, Email, Password, Record, User, Username},
};
use auth_store_postgres::{
    PgScope, PgStore, ScopeError, classify,
    sqlx::{self, Executor, PgPool, Postgres, Transaction},
};
use auth_tests::postgres::{self, Database};

use crate::{ABSENT, WHOLE, registration, rows_of, somebody};

/// A database where the host has a table too, and the host's pool.
async fn host() -> (Database, PgPool) {
    let database = postgres::database().await;
    let pool = PgStore::pool_options()
        .connect(&database.url)
        .await
        .unwrap();
    pool.execute("create table workspaces (owner uuid not null references auth.users)")
        .await
        .unwrap();
    (database, pool)
}

async fn make_workspace(tx: &mut Transaction<'static, Postgres>, owner: &User) -> sqlx::Result<()> {
    sqlx::query("insert into workspaces (owner) values ($1)")
        .bind(owner.id.as_uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn workspaces(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from workspaces")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_a_row_of_the_host_are_committed_together() {
    let (database, pool) = host().await;
    let mut outside = database.raw().await;
    let store = database.store().await;
    let ada = somebody();
    let scope = PgScope::adopt(pool.begin().await.unwrap());
    let (account, record) = registration(&ada);
    scope.register(account, record).await.unwrap();
    let mut tx = scope.release().await.unwrap();
    make_workspace(&mut tx, &ada).await.unwrap();

    assert_eq!(rows_of(&mut outside, ada.id).await, ABSENT);
    assert_eq!(
        queued(&store).await,
        0,
        "no mail goes out before the commit"
    );
    tx.commit().await.unwrap();
    assert_eq!(rows_of(&mut outside, ada.id).await, WHOLE);
    assert_eq!(workspaces(&pool).await, 1);
    let due = store.claim_mails(at(100), time::Duration::MINUTE, 10).await;
    assert_eq!(due.unwrap().mails.len(), 1, "and then it does");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_a_row_of_the_host_vanish_together() {
    let (database, pool) = host().await;
    let mut outside = database.raw().await;
    for by_dropping in [false, true] {
        let ada = user("ada");
        let scope = PgScope::adopt(pool.begin().await.unwrap());
        let (account, record) = registration(&ada);
        scope.register(account, record).await.unwrap();
        if by_dropping {
            drop(scope);
        } else {
            let mut tx = scope.release().await.unwrap();
            make_workspace(&mut tx, &ada).await.unwrap();
            tx.rollback().await.unwrap();
        }
        assert_eq!(rows_of(&mut outside, ada.id).await, ABSENT);
        assert_eq!(workspaces(&pool).await, 0);
    }
    // Nothing of it holds the name.
    registered(&database.store().await, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_leaves_the_transaction_of_the_host_usable() {
    let (database, pool) = host().await;
    let store = database.store().await;
    let owner = registered(&store, "ada").await;
    let rival = User {
        email: somebody().email,
        ..user("ADA")
    };
    let scope = PgScope::adopt(pool.begin().await.unwrap());
    for _ in 0..3 {
        let refused = scope.register(account(&rival), Record::default()).await;
        assert!(
            matches!(refused, Err(StoreError::Taken(Unique::Username))),
            "{refused:?}"
        );
    }
    let refusal = record(&owner, AuditEvent::RegistrationRefused, at(1));
    scope.append(refusal).await.unwrap();
    let mut tx = scope.release().await.unwrap();
    make_workspace(&mut tx, &owner).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(workspaces(&pool).await, 1);
    assert_eq!(queued(&store).await, 1);
    let found = store.account(&AccountKey::Id(rival.id)).await.unwrap();
    assert!(found.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_sees_what_it_wrote_and_others_do_not() {
    let (database, pool) = host().await;
    let store = database.store().await;
    let ada = user("ada");
    let (account, record) = registration(&ada);
    let session = account.session.as_ref().unwrap().session.clone();
    let scope = PgScope::adopt(pool.begin().await.unwrap());
    scope.register(account, record).await.unwrap();
    let own = scope.authenticate(session.id, at(1)).await.unwrap();
    assert!(own.is_some());
    let others = store.authenticate(session.id, at(1)).await.unwrap();
    assert!(others.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_scope_does_nothing_more() {
    let (_, pool) = host().await;
    let scope = PgScope::adopt(pool.begin().await.unwrap());
    let clone = scope.clone();
    let tx = scope.release().await.unwrap();
    let refused = clone.ping().await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)));
    let (account, record) = registration(&somebody());
    let StoreError::Backend(cause) = clone.register(account, record).await.unwrap_err() else {
        panic!("it is a bug of the host");
    };
    assert!(cause.to_string().contains("released"), "{cause}");
    assert!(matches!(
        clone.release().await.unwrap_err(),
        ScopeError::Gone
    ));
    tx.commit().await.unwrap();
}

/// A failed statement of the host before ours: nothing but a rollback helps, and the host gets its transaction back for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_failed_before_is_given_back() {
    let (_, pool) = host().await;
    let mut tx = pool.begin().await.unwrap();
    tx.execute("select 1 / 0").await.unwrap_err();
    let scope = PgScope::adopt(tx);
    let (account, record) = registration(&somebody());
    scope.register(account, record).await.unwrap_err();
    scope.release().await.unwrap().rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_isolation_is_refused_in_words() {
    let (_, pool) = host().await;
    for level in ["repeatable read", "serializable"] {
        let mut tx = pool.begin().await.unwrap();
        let set = format!("set transaction isolation level {level}");
        tx.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
        let scope = PgScope::adopt(tx);
        let (account, record) = registration(&somebody());
        let StoreError::Backend(cause) = scope.register(account, record).await.unwrap_err() else {
            panic!("it is a bug of the host");
        };
        assert!(cause.to_string().contains(level), "{cause}");
        scope.release().await.unwrap().commit().await.unwrap();
    }
}

/// The whole way: what a host writes.
#[tokio::test(flavor = "multi_thread")]
async fn auth_works_within_a_scope() {
    let (database, pool) = host().await;
    let store = database.store().await;
    let keys = SigningKeys::parse("a secret of 32 bytes or more, for tests").unwrap();
    let auth = Auth::builder(store, keys)
        .hashing(Hashing::bcrypt(10).unwrap())
        .build()
        .unwrap();
    let register = |name: &str| Register {
        username: Username::parse(name).unwrap(),
        email: Email::parse(&format!("{name}@example.org")).unwrap(),
        password: Password::parse("correct horse battery staple").unwrap(),
    };
    let client = Client::default();

    let scope = PgScope::adopt(pool.begin().await.unwrap());
    let within = auth.within(scope.clone());
    let Registration::Opened(tokens) = within.register(register("ada"), &client).await.unwrap()
    else {
        panic!("it opens a session");
    };
    let twice = within.register(register("ada"), &client).await;
    assert!(matches!(twice, Err(Error::UserExists(_))), "{twice:?}");
    let access = tokens.access_token.expose().clone();
    assert!(auth.authenticate(&access).await.is_err());
    let mut tx = scope.release().await.unwrap();
    make_workspace(&mut tx, &tokens.user).await.unwrap();
    tx.commit().await.unwrap();

    auth.authenticate(&access).await.unwrap();
    assert_eq!(workspaces(&pool).await, 1);
}

/// Its name is the one that Postgres gives such a constraint.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_in_a_table_of_the_host_is_not_taken_for_ours() {
    let (_database, pool) = host().await;
    pool.execute("create table users (email text unique)")
        .await
        .unwrap();
    let insert = || pool.execute("insert into users (email) values ('ada@example.org')");
    insert().await.unwrap();
    let error = insert().await.unwrap_err();
    let constraint = error.as_database_error().unwrap().constraint();
    assert_eq!(constraint, Some("users_email_key"));
    let what = classify(error);
    assert!(matches!(what, StoreError::Backend(_)), "{what:?}");
}
