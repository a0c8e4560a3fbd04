//! Users, sessions, mails and the audit log in Postgres: for teams, for many replicas, and for hosts that commit their own rows together with ours.
//!
//! ```no_run
//! use auth_store_postgres::PgStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = PgStore::connect("postgres://app:secret@db.internal/app?sslmode=verify-full").await?;
//! store.migrate().await?;
//! # Ok(())
//! # }
//! ```
//!
//! 1. Everything lies in the schema `auth`. Other tables, also ones of the same names in other schemas, are the host's.
//! 2. A unit of work that has begun runs to its end while it is polled, and by itself when it is dropped. Do not keep one that you do not poll: it holds a
//!    connection.
//! 3. What was refused because two transactions met (a deadlock, a serialization failure) was undone as a whole, and is tried again a few times.
//! 4. A database that is away or too busy is [`Unavailable`](auth_core::ports::StoreError::Unavailable); when it is back, so is the store.
//! 5. Inside a transaction of the host, [`PgScope`] does the same work, and the host decides whether it happened.
//!
//! # Deployment
//! `PostgreSQL` 13 or newer; tests run on 15. Behind `PgBouncer`: `pool_mode = session`, for which no parameter needs to be ignored. Transaction pooling
//! takes 1.21 or newer with `max_prepared_statements` above 0, and time limits set for the role (a session's would be anybody's); that is not tested here.
//! Without them it mixes up the prepared statements of its clients, and [`PgStore::connect`] refuses it ([`SchemaError::Pooler`]).
//!
//! Few connections serve many writers: uses of credits that come at once are booked by one statement and one commit. On two cores, shared by server, service
//! and 64 clients, ten connections took 10 times as many uses of one account over HTTP as one statement each did by `pgbench`, and 1.3 times as many of
//! 10,000; there was one service, and nothing else moved those balances.
//!
//! A repeated entry of the ledger is refused by an index and found then. The server logs that as an error, with the key; `log_min_error_statement` is the operator's.
//!
//! # Security
//! `sslmode` in the URL decides about TLS: `disable`, `allow`, `prefer` (the default, which silently goes on without it), `require`, `verify-ca`, and
//! `verify-full`, the only one that knows whom it talks to. `sslrootcert` names the certificate of a private authority.

mod classify;
mod lender;
mod meters;
mod pooler;
mod ports;
mod schema;
mod scope;
mod sql;
mod together;
mod unit;
mod url;
mod watch;

use std::{fmt, sync::Arc, time::Duration};

use auth_core::ports::Connections;
pub use classify::classify;
pub use schema::SchemaError;
pub use scope::{PgScope, ScopeError};
pub use sqlx;
use sqlx::{
    Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Mutex;
pub use url::is_private;

use self::{lender::Lender, together::Lanes};

/// How long a call waits for a connection, and a statement for its locks, before it is
/// [`Unavailable`](auth_core::ports::StoreError::Unavailable).
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a start waits for a second connection.
const A_MOMENT: Duration = Duration::from_secs(2);

/// A connection that was idle for so long is tested before it is used: the server may have gone and come back meanwhile.
/// Under load none is, so a busy store pays nothing for it.
const DOUBT_AFTER: Duration = Duration::from_secs(1);

/// For sessions whose role, database or URL sets none: a lost client must not hold locks for ever.
const TIMEOUTS: &str = "select set_config(name, value, false)
     from (values ('statement_timeout', '5s'), ('idle_in_transaction_session_timeout', '15s')) as ours (name, value)
     where current_setting(name) = '0'";

/// A complete store in one Postgres database. Clones share its connections.
#[derive(Clone)]
pub struct PgStore {
    lender: Arc<Lender>,
    /// Whose turn it is among the events of payments in this process.
    payments: Arc<Mutex<()>>,
    uses: Lanes,
}

impl PgStore {
    /// Connects to the database of a URL: `postgres:`, `postgresql:`, or `postgresql+asyncpg:` as Python programs write it.
    /// The schema is [`migrate`](Self::migrate)'s work.
    ///
    /// What the URL leaves open is taken from the environment as `libpq` does it (`PGHOST`, `PGSSLMODE` …).
    ///
    /// # Errors
    /// [`SchemaError::Url`] when it is none of a Postgres database, [`SchemaError::Open`] when the database cannot be reached,
    /// [`SchemaError::Pooler`] when a pooler before it mixes up statements, [`SchemaError::Newer`] when a newer version of this library migrated it.
    pub async fn connect(url: &str) -> Result<Self, SchemaError> {
        Self::connect_with(url, Self::pool_options()).await
    }

    /// As [`connect`](Self::connect), with a pool of another size, say: change what you need in [`pool_options`](Self::pool_options).
    ///
    /// Hooks of the pool run, and its lifetimes are looked at, when a connection passes through it: under load a connection goes straight to the next
    /// unit of work that waits for one, up to a thousand times in a row.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn connect_with(url: &str, pool: PgPoolOptions) -> Result<Self, SchemaError> {
        let options = url::parse(url)?;
        // The pool would try again until its time is up, and then say no more than that.
        let patience = pool.get_acquire_timeout();
        match tokio::time::timeout(patience, look_at(&options)).await {
            Ok(looked) => looked?,
            Err(_) => return Err(SchemaError::Open(sqlx::Error::PoolTimedOut)),
        }
        let pool = pool.connect_lazy_with(options);
        Ok(Self {
            lender: Arc::new(Lender::of_own(pool)),
            payments: Arc::default(),
            uses: Lanes::default(),
        })
    }

    /// The options of the pool that [`connect`](Self::connect) makes: ten connections, five seconds of patience for one and for each statement, no
    /// test of a connection that was in use a moment ago.
    pub fn pool_options() -> PgPoolOptions {
        PgPoolOptions::new()
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > DOUBT_AFTER {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            // Not as options of the connection: PgBouncer takes only those that it knows.
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(TIMEOUTS).await?;
                    Ok(())
                })
            })
    }

    /// Works on a pool that the host made, and may go on using. A schema that is too new is refused by [`migrate`](Self::migrate) only, a pooler that mixes
    /// up statements not at all.
    ///
    /// sqlx gives a connection back inside an open transaction when the host drops a `pool.begin()` half-way (0.8.6 and 0.9.0 do). A lone
    /// statement on such a connection would be answered and never committed, so on a pool of the host each write has a transaction of its own: two
    /// more round trips than on the pool of [`connect`](Self::connect).
    pub fn from_pool(pool: PgPool) -> Self {
        Self {
            lender: Arc::new(Lender::of_host(pool)),
            payments: Arc::default(),
            uses: Lanes::default(),
        }
    }

    /// How many connections there are now.
    pub fn connections(&self) -> Connections {
        let pool = &self.lender.pool;
        Connections {
            open: pool.size() as usize,
            idle: pool.num_idle(),
            most: pool.options().get_max_connections() as usize,
        }
    }

    /// The same store, whose waits for a connection are not part of `auth_db_connection_wait_seconds`: for whoever watches the work and does none.
    #[must_use]
    pub fn unmetered(&self) -> Self {
        Self {
            lender: Arc::new(self.lender.unmetered()),
            payments: Arc::clone(&self.payments),
            uses: self.uses.clone(),
        }
    }

    /// Ends all connections after their current work; later calls are [`Unavailable`](auth_core::ports::StoreError::Unavailable).
    pub async fn close(&self) {
        self.lender.pool.close().await;
    }
}

/// Whether we can work there.
async fn look_at(options: &PgConnectOptions) -> Result<(), SchemaError> {
    let connect = || PgConnection::connect_with(options);
    let mut first = connect().await.map_err(SchemaError::Open)?;
    // Where there is no place for a second connection now, nothing can be mixed up with it.
    if let Ok(Ok(mut second)) = tokio::time::timeout(A_MOMENT, connect()).await {
        pooler::refuse_mixed_statements(&mut first, &mut second).await?;
        // Done with it; a failed farewell changes nothing.
        let _ = second.close().await;
    }
    let version = schema::version(&mut first)
        .await
        .map_err(SchemaError::Open)?;
    schema::refuse_newer(version)?;
    let _ = first.close().await;
    Ok(())
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore").finish_non_exhaustive()
    }
}
