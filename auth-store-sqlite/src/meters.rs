//! What this crate counts, through the facade `metrics`: see the documentation of `auth_core`.

use std::time::Instant;

use metrics::{Unit, describe_histogram, histogram};
use sqlx::{Sqlite, SqlitePool, pool::PoolConnection};

const WAIT: &str = "auth_db_connection_wait_seconds";

/// Has it there from the beginning.
pub(crate) fn register() {
    describe_histogram!(
        WAIT,
        Unit::Seconds,
        "How long work waited for a connection to the database"
    );
    drop(histogram!(WAIT));
}

/// A connection of a pool, and how long it took.
pub(crate) async fn acquire(pool: &SqlitePool) -> sqlx::Result<PoolConnection<Sqlite>> {
    let began = Instant::now();
    let acquired = pool.acquire().await;
    histogram!(WAIT).record(began.elapsed());
    acquired
}
