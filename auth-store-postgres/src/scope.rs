//! The same store inside a transaction of the host.

use std::{fmt, sync::Arc};

use auth_core::{ports::StoreError, to_its_end};
use sqlx::{Acquire, Postgres, Transaction};
use tokio::sync::Mutex;

use crate::{
    classify::classify,
    unit::{self, Bond, Unit},
};

/// A store inside a transaction of the host: what it writes is there when the host commits, and was never there otherwise.
///
/// ```no_run
/// use auth_core::{Auth, Register, types::Client};
/// use auth_store_postgres::{PgScope, sqlx};
///
/// # async fn example(pool: sqlx::PgPool, auth: Auth, cmd: Register) -> Result<(), Box<dyn std::error::Error>> {
/// let scope = PgScope::adopt(pool.begin().await?);
/// auth.within(scope.clone()).register(cmd, &Client::default()).await?;
/// let mut tx = scope.release().await?;
/// sqlx::query("insert into workspaces (name) values ('first')").execute(&mut *tx).await?;
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// 1. Each unit of work has a savepoint: one that fails or is refused ([`Taken`](StoreError::Taken)) leaves the host's transaction as it was, and usable.
/// 2. Mails and audit entries are in the host's transaction too: no mail goes out before it commits, none when it does not.
/// 3. Clones are handles on the same transaction; their units of work take turns. One that has begun runs to its end while it is polled, and by itself
///    when it is dropped.
/// 4. Nothing is tried again here. After [`Unavailable`](StoreError::Unavailable) the host may try its whole transaction again.
///
/// # Deployment
/// The transaction must be at the isolation "read committed", Postgres' default; at another one, every call fails. There, a statement does not see what
/// others committed since the transaction began, so a password reset would leave a session that was opened meanwhile.
///
/// What is written locks its rows until the host commits: hash passwords and call others before, not in between. A [`PgScope`] in which
/// [`Auth`](auth_core::Auth) hashes a password holds no more than the transaction itself until its first statement.
#[derive(Clone)]
pub struct PgScope {
    held: Arc<Mutex<Held>>,
}

struct Held {
    tx: Option<Transaction<'static, Postgres>>,
    is_read_committed: bool,
}

/// Why a scope cannot work, or give its transaction back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// It was released, or a unit of work ended in a panic or in the silence of the server, which rolled it back.
    #[error(
        "the scope has no transaction: it was released, or lost with the unit of work that had it"
    )]
    Gone,
    /// The host's transaction has another isolation level than read committed.
    #[error(
        "the host's transaction has the isolation level {0:?}, and the store is safe at \"read committed\" only"
    )]
    Isolation(String),
}

impl PgScope {
    /// Takes over a transaction, until [`release`](Self::release) gives it back. When the last clone is dropped before, it is rolled back.
    pub fn adopt(tx: Transaction<'static, Postgres>) -> Self {
        Self {
            held: Arc::new(Mutex::new(Held {
                tx: Some(tx),
                is_read_committed: false,
            })),
        }
    }

    /// Gives the transaction back, after the unit of work that is under way. Later calls on all clones fail.
    ///
    /// # Errors
    /// [`ScopeError::Gone`] when there is none.
    pub async fn release(&self) -> Result<Transaction<'static, Postgres>, ScopeError> {
        self.held.lock().await.tx.take().ok_or(ScopeError::Gone)
    }

    /// Does a unit of work inside a savepoint, whatever its bond: a statement that only reads and fails would take the host's transaction with it.
    pub(crate) async fn run<A, T>(
        &self,
        bond: Bond,
        about: A,
        unit: Unit<A, T>,
    ) -> Result<T, StoreError>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let held = Arc::clone(&self.held);
        to_its_end(async move {
            let mut held = held.lock_owned().await;
            // Out of its place meanwhile: if this work dies half-way, so does the transaction, and nobody commits half a unit of work.
            let mut tx = held.tx.take().ok_or(ScopeError::Gone)?;
            let mut is_read_committed = held.is_read_committed;
            let work = async {
                if !is_read_committed {
                    if let Err(refused) = refuse_other_isolation(&mut tx).await {
                        return (Err(refused), true);
                    }
                    is_read_committed = true;
                }
                let (done, is_intact) = within_savepoint(&mut tx, &about, unit).await;
                (done.map_err(Failure::Database), is_intact)
            };
            let (done, is_intact) = tokio::time::timeout(bond.limit(), work)
                .await
                .unwrap_or_else(|_| (Err(unit::silence().into()), false));
            held.is_read_committed = is_read_committed;
            if is_intact {
                held.tx = Some(tx);
            }
            done
        })
        .await
        .map_err(|failure| match failure {
            Failure::Database(error) => classify(error),
            Failure::Scope(error) => StoreError::Backend(error.into()),
        })
    }
}

impl fmt::Debug for PgScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgScope").finish_non_exhaustive()
    }
}

enum Failure {
    Database(sqlx::Error),
    Scope(ScopeError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<ScopeError> for Failure {
    fn from(error: ScopeError) -> Self {
        Self::Scope(error)
    }
}

async fn refuse_other_isolation(tx: &mut Transaction<'static, Postgres>) -> Result<(), Failure> {
    let level: String = sqlx::query_scalar("select current_setting('transaction_isolation')")
        .fetch_one(&mut **tx)
        .await?;
    // Postgres treats "read uncommitted" as this one, but shows what was asked for.
    if matches!(&*level, "read committed" | "read uncommitted") {
        Ok(())
    } else {
        Err(ScopeError::Isolation(level).into())
    }
}

/// What became of the unit of work, and whether the transaction is whole: with all of it, or none.
async fn within_savepoint<A, T>(
    tx: &mut Transaction<'static, Postgres>,
    about: &A,
    unit: Unit<A, T>,
) -> (sqlx::Result<T>, bool) {
    let mut savepoint = match tx.begin().await {
        Ok(savepoint) => savepoint,
        Err(error) => return (Err(error), true),
    };
    match unit(&mut savepoint, about).await {
        Ok(value) => match savepoint.commit().await {
            Ok(()) => (Ok(value), true),
            Err(error) => (Err(error), false),
        },
        Err(error) => {
            let is_undone = savepoint.rollback().await.is_ok();
            (Err(error), is_undone)
        }
    }
}
