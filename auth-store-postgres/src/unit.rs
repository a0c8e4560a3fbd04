//! Units of work that run to their end.
//!
//! A client that hangs up drops the future of its request at some await. When that hits the `begin` of a transaction, sqlx 0.9.0 gives the connection
//! back to the pool inside the open transaction, and the next writes on it are answered with `Ok` and never committed. So each unit of work
//! goes on when its caller is gone. And a connection that saw an error inside a transaction is closed.
//!
//! Tried without both, over a pool of one connection: of 300 writes that followed a dropped transaction, 8 and 20 were answered and lost.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use auth_core::to_its_end;
use sqlx::{Connection, PgConnection};

use crate::{
    classify::{is_worth_another_try, leaves_the_connection_clean},
    lender::Lender,
};

/// What a unit of work does with its connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'c>>;

/// A unit of work and what it is about. It captures nothing, so it can be done again.
pub(crate) type Unit<A, T> = for<'c> fn(&'c mut PgConnection, &'c A) -> Work<'c, T>;

/// The most tries that follow a first one.
const TRIES_AGAIN: u32 = 8;

/// For one try. The server ends a statement sooner; this is for a server that is not heard of any more, whose connection would be waited on for as long
/// as the operating system does.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

/// For one try that may have to do with a long ledger, and for each of its statements: half a million entries took 26 seconds on a busy machine, so this
/// does for a few million. Few do such work, so few connections wait so long for a server that is not heard of any more.
pub(crate) const LONG: Duration = Duration::from_mins(5);

/// How the statements of a unit of work hang together.
#[derive(Clone, Copy)]
pub(crate) enum Bond {
    /// As of a transaction, and they may take long.
    LongTransaction,
    /// They only read, and need not agree with each other.
    Reads,
    /// All of them are one whole.
    Transaction,
    /// Each is a whole of its own, which costs no round trip.
    Writes,
}

impl Bond {
    /// How long a try may take.
    pub(crate) const fn limit(self) -> Duration {
        match self {
            Self::LongTransaction => LONG,
            Self::Reads | Self::Transaction | Self::Writes => LIMIT,
        }
    }
}

/// Does a unit of work.
pub(crate) async fn run<A, T>(
    lender: &Arc<Lender>,
    bond: Bond,
    about: A,
    unit: Unit<A, T>,
) -> sqlx::Result<T>
where
    A: Send + Sync + 'static,
    T: Send + 'static,
{
    let lender = Arc::clone(lender);
    to_its_end(async move {
        let mut tries = 0;
        loop {
            match run_once(&lender, bond, &about, unit).await {
                Err(error) if is_worth_another_try(&error) && tries < TRIES_AGAIN => {
                    tracing::debug!(%error, tries, "a unit of work is tried again");
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(1 << tries)).await;
                }
                done => return done,
            }
        }
    })
    .await
}

/// Tries a unit of work once. Whoever drops this cuts it in half.
pub(crate) async fn run_once<A, T>(
    lender: &Lender,
    bond: Bond,
    about: &A,
    unit: Unit<A, T>,
) -> sqlx::Result<T>
where
    A: Sync,
    T: Send,
{
    let done = tokio::time::timeout(bond.limit(), once(lender, bond, about, unit));
    done.await.unwrap_or_else(|_| Err(silence()))
}

/// The server did not answer in time.
pub(crate) fn silence() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

/// Does a unit of work in one transaction that may take any time, and is not tried again.
pub(crate) async fn run_unhurried<A, T>(
    lender: &Arc<Lender>,
    about: A,
    unit: Unit<A, T>,
) -> sqlx::Result<T>
where
    A: Send + Sync + 'static,
    T: Send + 'static,
{
    let lender = Arc::clone(lender);
    to_its_end(async move { once(&lender, Bond::Transaction, &about, unit).await }).await
}

async fn once<A, T>(lender: &Lender, bond: Bond, about: &A, unit: Unit<A, T>) -> sqlx::Result<T>
where
    A: Sync,
    T: Send,
{
    let mut checkout = lender.checkout().await?;
    let connection = checkout.connection();
    let (done, is_clean) = match bond {
        Bond::Reads | Bond::Writes => {
            let done = unit(connection, about).await;
            let is_clean = done.as_ref().err().is_none_or(leaves_the_connection_clean);
            (done, is_clean)
        }
        // Boxed, as what is allocated for each lone statement is small without it.
        Bond::LongTransaction | Bond::Transaction => {
            let done = Box::pin(in_transaction(connection, about, unit)).await;
            let is_clean = done.is_ok();
            (done, is_clean)
        }
    };
    checkout.is_clean = is_clean;
    done
}

async fn in_transaction<A, T>(
    connection: &mut PgConnection,
    about: &A,
    unit: Unit<A, T>,
) -> sqlx::Result<T> {
    // Said outright: with another default, a statement would not see what was committed while the one before it waited for a lock.
    let begin = "begin isolation level read committed";
    let mut tx = connection.begin_with(begin).await?;
    match unit(&mut tx, about).await {
        Ok(value) => {
            tx.commit().await?;
            Ok(value)
        }
        Err(error) => {
            // The connection is closed, and this frees its locks before anybody is told.
            let _ = tx.rollback().await;
            Err(error)
        }
    }
}
