//! What this crate counts, through the facade `metrics`: see the documentation of `auth_core`.

use std::{ops::Deref, time::Instant};

use metrics::{Histogram, Unit, histogram};
use sqlx::{Sqlite, SqlitePool, pool::PoolConnection};

/// A pool that tells how long work waits for a connection.
#[derive(Clone)]
pub(crate) struct MeteredPool {
    pool: SqlitePool,
    waits: Histogram,
}

impl MeteredPool {
    pub(crate) fn new(pool: SqlitePool) -> Self {
        let waits = histogram!(
            description: "How long work waited for a connection to the database",
            unit: Unit::Seconds,
            "auth_db_connection_wait_seconds"
        );
        Self { pool, waits }
    }

    pub(crate) fn unmetered(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            waits: Histogram::noop(),
        }
    }

    /// A connection; it is measured, too, when there is none.
    pub(crate) async fn acquire(&self) -> sqlx::Result<PoolConnection<Sqlite>> {
        let began = Instant::now();
        let acquired = self.pool.acquire().await;
        self.waits.record(began.elapsed());
        acquired
    }
}

impl Deref for MeteredPool {
    type Target = SqlitePool;

    fn deref(&self) -> &SqlitePool {
        &self.pool
    }
}
