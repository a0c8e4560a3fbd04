//! Users, sessions, mails and the audit log in one `SQLite` file: the embedded default.
//!
//! ```
//! use auth_store_sqlite::SqliteStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("app.db");
//! let store = SqliteStore::open(path).await?;
//! store.migrate().await?;
//! # Ok(())
//! # }
//! ```
//!
//! 1. `SQLite` has one writer at a time, so all writes go through one connection and wait for it in the pool, not in the file's lock.
//!    Reads have connections of their own, which the write-ahead log keeps apart from the writer.
//! 2. A write that has begun runs to its end while it is polled, and by itself when it is dropped. Do not keep one that you do not poll: it holds the
//!    only writer.
//! 3. A write that was answered survives a power cut.
//! 4. The file may be shared: with a host's own tables (ours begin with `auth_`) and with other processes on the same machine.
//!
//! # Deployment
//! Not on a network file system: the write-ahead log needs memory that all processes share. For several machines there is the Postgres store.
//! The file holds password hashes and addresses: give the directory to the service's user alone (`SQLite` puts `-wal` and `-shm` files beside it).

mod classify;
mod meters;
mod ports;
mod schema;
mod sql;
mod write;

use std::{fmt, fs::OpenOptions, io, path::Path, time::Duration};

use auth_core::ports::Connections;
pub use schema::SchemaError;
pub use sqlx;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use self::meters::MeteredPool;

/// How long a call waits for its turn, in the pool and again in the lock of the file, before it is
/// [`Unavailable`](auth_core::ports::StoreError::Unavailable).
const PATIENCE: Duration = Duration::from_secs(5);

/// Each has a thread and its own cache; more would help only with more reads at once than a machine of this kind has cores.
const READERS: u32 = 4;

/// A complete store in one `SQLite` file. Clones share its connections.
#[derive(Clone)]
pub struct SqliteStore {
    writer: MeteredPool,
    readers: MeteredPool,
}

impl SqliteStore {
    /// Opens a file, or makes it. The schema is [`migrate`](Self::migrate)'s work.
    ///
    /// The path is always one of a file, also when it reads `:memory:` or `file:…`.
    ///
    /// # Security
    /// A new file is readable by its owner only (mode 0600 on Unix), and so are the files that `SQLite` puts beside it. One that is there keeps its mode.
    ///
    /// # Errors
    /// [`SchemaError::Open`] when the file cannot be opened as a database, [`SchemaError::Newer`] when a newer version of this library wrote it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, SchemaError> {
        let path =
            std::path::absolute(path).map_err(|error| SchemaError::Open(sqlx::Error::Io(error)))?;
        create_private(&path).map_err(|error| SchemaError::Open(sqlx::Error::Io(error)))?;
        let file = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE)
            .foreign_keys(true);
        let writer = connect_writer(
            file.clone()
                .journal_mode(SqliteJournalMode::Wal)
                // NORMAL would sync at checkpoints only: a power cut could take back a password change or the end of a session that was answered.
                .synchronous(SqliteSynchronous::Full),
        )
        .await
        .map_err(SchemaError::Open)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(file.read_only(true));
        let store = Self::from_pools(writer, readers);
        store.refuse_newer().await?;
        Ok(store)
    }

    /// A database that is gone when the last clone is dropped: for tests and first steps.
    ///
    /// Reads and writes share one connection, because each connection to `:memory:` is a database of its own.
    ///
    /// # Errors
    /// [`SchemaError::Open`] when there is no memory for it.
    pub async fn in_memory() -> Result<Self, SchemaError> {
        let only = writer_options()
            .connect_with(
                SqliteConnectOptions::new()
                    .in_memory(true)
                    .foreign_keys(true),
            )
            .await
            .map_err(SchemaError::Open)?;
        Ok(Self::from_pools(only.clone(), only))
    }

    /// Works on pools that the host made; both may be the same one.
    ///
    /// They need foreign keys on (sqlx's default), a busy timeout, and the write-ahead log unless both are one pool of one connection.
    /// The writer pool serves best with exactly one connection. A schema that is too new is refused by [`migrate`](Self::migrate) only.
    ///
    /// # Security
    /// With foreign keys off, deleting an account would leave its sessions.
    pub fn from_pools(writer: SqlitePool, readers: SqlitePool) -> Self {
        Self {
            writer: MeteredPool::new(writer),
            readers: MeteredPool::new(readers),
        }
    }

    /// How many connections there are now.
    pub fn connections(&self) -> Connections {
        let of = |pool: &SqlitePool| Connections {
            open: pool.size() as usize,
            idle: pool.num_idle(),
            most: pool.options().get_max_connections() as usize,
        };
        let (writers, readers) = (of(&self.writer), of(&self.readers));
        Connections {
            open: writers.open + readers.open,
            idle: writers.idle + readers.idle,
            most: writers.most + readers.most,
        }
    }

    /// The same store, whose waits for a connection are not part of `auth_db_connection_wait_seconds`: for whoever watches the work and does none.
    #[must_use]
    pub fn unmetered(&self) -> Self {
        Self {
            writer: self.writer.unmetered(),
            readers: self.readers.unmetered(),
        }
    }

    /// Ends all connections after their current work; later calls are
    /// [`Unavailable`](auth_core::ports::StoreError::Unavailable). The last one to close folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes a file that is not there yet; `SQLite` would let everybody read it.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Connects, and tries again while another program that starts on the same new file switches it to the write-ahead log:
/// that lock is the one for which the busy timeout does not wait.
async fn connect_writer(options: SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    const PAUSE: Duration = Duration::from_millis(20);

    let mut tries_left = PATIENCE.as_millis() / PAUSE.as_millis();
    loop {
        match writer_options().connect_with(options.clone()).await {
            Err(error) if classify::is_busy(&error) && tries_left > 0 => tries_left -= 1,
            done => return done,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One connection that is never retired for its age: opening a file and warming its cache is what costs, and an in-memory database would be lost.
fn writer_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::SqliteStore;

    #[cfg(unix)]
    #[tokio::test]
    async fn a_new_file_and_its_neighbours_are_kept_from_others() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("auth.db"))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let files: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(files.len(), 3);
        for file in files {
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file:?}");
        }
    }

    /// A pragma with a typing error is silent, so what the options promise is read back.
    #[tokio::test]
    async fn the_connections_are_what_the_options_say() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("auth.db"))
            .await
            .unwrap();
        store.migrate().await.unwrap();

        let promises: (String, i64, i64, i64) = sqlx::query_as(
            "select journal_mode, synchronous, foreign_keys, timeout
             from pragma_journal_mode, pragma_synchronous, pragma_foreign_keys, pragma_busy_timeout",
        )
        .fetch_one(&*store.writer)
        .await
        .unwrap();
        // 2 is FULL.
        assert_eq!(promises, ("wal".to_owned(), 2, 1, 5000));
        assert_eq!(store.writer.options().get_max_connections(), 1);

        let refused = sqlx::query("delete from auth_users")
            .execute(&*store.readers)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("readonly"), "{refused}");
    }
}
