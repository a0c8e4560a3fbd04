//! Units of work that run to their end.
//!
//! A client that hangs up drops the future of its request at some await. Dropped inside a transaction, the future would take the rest of its work
//! with it and leave the driver to undo what it had begun, on a connection that is handed to somebody else meanwhile. So each unit of work
//! goes on when its caller is gone.

use std::{future::Future, pin::Pin};

use auth_core::to_its_end;
use sqlx::{Connection, Sqlite, SqliteConnection, pool::PoolConnection};

use crate::meters::MeteredPool;

/// What a unit of work does with its connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'c>>;

/// Runs statements in one transaction: all of them are visible afterwards, or none is.
pub(crate) async fn transaction<T, W>(writer: &MeteredPool, work: W) -> sqlx::Result<T>
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
{
    let writer = writer.clone();
    to_its_end(async move {
        let mut checkout = Checkout::of(&writer).await?;
        // IMMEDIATE takes the write lock now, where waiting for it helps. A transaction that reads first and writes later fails when another
        // process wrote in between, however long it waits.
        let mut tx = checkout.connection.begin_with("begin immediate").await?;
        match work(&mut tx).await {
            Ok(value) => {
                tx.commit().await?;
                checkout.is_clean = true;
                Ok(value)
            }
            Err(error) => {
                checkout.is_clean = tx.rollback().await.is_ok();
                Err(error)
            }
        }
    })
    .await
}

/// Runs one statement, which is a transaction of its own.
///
/// It must be run through its last row (`execute`, `fetch_all`): `SQLite` commits after that one, and a failed commit would go unseen.
pub(crate) async fn statement<T, W>(writer: &MeteredPool, work: W) -> sqlx::Result<T>
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
{
    let writer = writer.clone();
    to_its_end(async move {
        let mut checkout = Checkout::of(&writer).await?;
        let done = work(&mut checkout.connection).await;
        checkout.is_clean = true;
        done
    })
    .await
}

/// A connection that goes back to its pool only when nothing of the unit of work is left on it, and is closed otherwise.
struct Checkout {
    connection: PoolConnection<Sqlite>,
    is_clean: bool,
}

impl Checkout {
    async fn of(writer: &MeteredPool) -> sqlx::Result<Self> {
        Ok(Self {
            connection: writer.acquire().await?,
            is_clean: false,
        })
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if !self.is_clean {
            self.connection.close_on_drop();
        }
    }
}
