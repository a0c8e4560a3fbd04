//! A real `PgBouncer` before the server.

use auth_core::{
    contract::fixtures::{at, found, rotation},
    ports::{Rotated, SessionStore, UserStore},
};
use auth_store_postgres::{PgStore, SchemaError};
use auth_tests::postgres::{self, Cluster, Database, PgBouncer};

use crate::{WHOLE, registration, rows_of, somebody};

#[tokio::test(flavor = "multi_thread")]
async fn behind_session_pooling_the_store_works() {
    let database = postgres::empty_database().await;
    let pooler = PgBouncer::before(&database, &["pool_mode = session"]);
    let first = pooler.database.store().await;
    first.migrate().await.unwrap();
    let second = pooler.database.store().await;
    let mut outside = database.raw().await;
    for _ in 0..5 {
        let user = somebody();
        let (account, record) = registration(&user);
        first.register(account, record).await.unwrap();
        assert_eq!(rows_of(&mut outside, user.id).await, WHOLE);
        let name = user.username.as_str();
        let turn = |to| rotation(&format!("refresh {name}"), &format!("{to} {name}"), at(1));
        let (one, two) = tokio::join!(first.rotate(turn("one")), second.rotate(turn("two")));
        for turned in [one, two] {
            assert!(matches!(turned, Ok(Rotated::Issued(_))), "{turned:?}");
        }
        assert_eq!(found(&second, &user).await.user.username, user.username);
    }
}

/// Whatever order it lends its servers in.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_mixes_up_prepared_statements_is_refused() {
    let database = postgres::database().await;
    for settings in [
        &["pool_mode = transaction"] as &[&str],
        &["pool_mode = transaction", "server_round_robin = 1"],
        &["pool_mode = transaction", "default_pool_size = 1"],
        &["pool_mode = statement"],
    ] {
        let pooler = PgBouncer::before(&database, settings);
        // Also on servers that others have used.
        for _ in 0..3 {
            let refused = PgStore::connect(&pooler.database.url).await.unwrap_err();
            assert!(
                matches!(refused, SchemaError::Pooler(_)),
                "{settings:?}: {refused:?}"
            );
            assert!(!refused.is_unavailable());
            assert!(refused.to_string().contains("pool_mode to session"));
        }
    }
}

/// A start must go on waiting for it, and not blame the pooler.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_behind_its_pooler_may_come_up() {
    let cluster = Cluster::start();
    let url = cluster.url();
    let settings = ["pool_mode = session", "server_login_retry = 60"];
    let pooler = PgBouncer::before(&Database { url }, &settings);
    drop(PgStore::connect(&pooler.database.url).await.unwrap());
    cluster.stop();
    // The pooler finds out at the first, and answers the others by itself.
    for _ in 0..3 {
        let refused = PgStore::connect(&pooler.database.url).await.unwrap_err();
        assert!(
            matches!(refused, SchemaError::Open(_)) && refused.is_unavailable(),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_to_begin() {
    let database = postgres::database().await;
    let settings = ["pool_mode = session", "max_client_conn = 1"];
    let pooler = PgBouncer::before(&database, &settings);
    PgStore::connect(&pooler.database.url).await.unwrap();
}
