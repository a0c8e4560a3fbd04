//! A real `PgBouncer` before the server.

use auth_core::{
    contract::fixtures::{at, found, rotation},
    ports::{Rotated, SessionStore, UserStore},
};
use auth_store_postgres::{PgStore, SchemaError};
use auth_tests::postgres::{self, PgBouncer};

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
        let turn = |to| rotation(&format!("refresh {name}"), to, at(1));
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
