//! The server goes away and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use auth_core::ports::{Store, StoreError, UserStore};
use auth_store_postgres::{
    PgStore,
    sqlx::{Connection, PgConnection},
};
use auth_tests::postgres::Cluster;

use crate::{WHOLE, registration, rows_of, somebody};

async fn impatient(cluster: &Cluster) -> PgStore {
    let pool = PgStore::pool_options().acquire_timeout(Duration::from_millis(500));
    let store = PgStore::connect_with(&cluster.url(), pool).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// Ends it three times under load, once by a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answered_write_survives_and_the_store_recovers_by_itself() {
    let cluster = Cluster::start();
    let store = impatient(&cluster).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (store, is_over) = (store.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let (mut answered, mut refused) = (Vec::new(), 0);
                while !is_over.load(Ordering::Relaxed) {
                    let user = somebody();
                    let (account, record) = registration(&user);
                    match store.register(account, record).await {
                        Ok(()) => answered.push(user.id),
                        Err(StoreError::Unavailable(_)) => refused += 1,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                (answered, refused)
            })
        })
        .collect();

    for end in [Cluster::stop, Cluster::kill, Cluster::stop] {
        writes_pass(&store).await;
        end(&cluster);
        let refused = store.ping().await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        cluster.resume();
    }
    writes_pass(&store).await;
    is_over.store(true, Ordering::Relaxed);

    let mut outside = PgConnection::connect(&cluster.url()).await.unwrap();
    let (mut checked, mut all_refused) = (0, 0);
    for client in clients {
        let (answered, refused) = client.await.unwrap();
        all_refused += refused;
        for id in answered {
            assert_eq!(rows_of(&mut outside, id).await, WHOLE);
            checked += 1;
        }
    }
    assert!(checked > 50 && all_refused > 0, "{checked} {all_refused}");
}

/// Until a few in a row do.
async fn writes_pass(store: &PgStore) {
    let begin = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 10 {
        assert!(begin.elapsed() < Duration::from_secs(20));
        let (account, record) = registration(&somebody());
        match store.register(account, record).await {
            Ok(()) => in_a_row += 1,
            Err(StoreError::Unavailable(_)) => in_a_row = 0,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Nobody asked while the server was away: nobody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_a_quiet_hour_is_not_noticed() {
    let cluster = Cluster::start();
    let store = impatient(&cluster).await;
    let opened: Vec<_> = (0..5)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.ping().await })
        })
        .collect();
    for ping in opened {
        ping.await.unwrap().unwrap();
    }
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(1100) {
        cluster.stop();
        cluster.resume();
    }
    for _ in 0..10 {
        let (account, record) = registration(&somebody());
        store.register(account, record).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_the_start_is_told_and_may_be_tried_again() {
    let cluster = Cluster::start();
    cluster.stop();
    let error = PgStore::connect(&cluster.url()).await.unwrap_err();
    assert!(
        matches!(error, auth_store_postgres::SchemaError::Open(_)),
        "{error:?}"
    );
    cluster.resume();
    let store = PgStore::connect(&cluster.url()).await.unwrap();
    store.migrate().await.unwrap();
}
