//! The schema: up, down, and refused when it is too new.

use auth_migrations::{Migration as Step, POSTGRES};
use sqlx::{
    Executor, PgConnection, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType},
};

use crate::{
    PgStore, classify,
    unit::{self, Bond},
};

/// Our own, because a host that migrates with sqlx has its `_sqlx_migrations` in the same database, and each would miss the other's steps.
const TABLE: &str = "auth._migrations";

/// Two numbers, so that it is none of the locks with one number that sqlx and other programs take: "auth" in ASCII, and its first lock.
const LOCK: &str = "select pg_advisory_xact_lock(1635087464, 1)";

/// A step over big tables, and the wait for another program's, take the time that they take.
const UNHURRIED: &str =
    "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A step failed, or one that was made before is another one now. Nothing was changed.
    #[error("the schema could not be migrated")]
    Migrate(#[source] sqlx::Error),
    /// A newer version of this library migrated it. Nothing was changed.
    #[error(
        "the database has schema version {found}, but this program knows only versions up to {known}: \
         run the newer program that migrated it, or let that one migrate it down first"
    )]
    Newer {
        /// Of the database.
        found: i64,
        /// The newest that this version of the library knows.
        known: i64,
    },
    /// It cannot be reached or read.
    #[error("the database could not be opened")]
    Open(#[source] sqlx::Error),
    /// A connection pooler before the database gives the prepared statements of one connection to another one.
    #[error(
        "the connection pooler before the database mixes up prepared statements: \
         set its pool_mode to session, or take PgBouncer 1.21 or newer with max_prepared_statements = 200"
    )]
    Pooler(#[source] sqlx::Error),
    /// The URL is none of a Postgres database. It is not repeated here, for it may hold a password.
    #[error("the database URL cannot be read")]
    Url(#[source] sqlx::Error),
}

impl SchemaError {
    /// Whether the same call may pass later: the server does not answer, or is starting or stopping. A wrong password or an unknown database is not
    /// of this kind.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Open(error) if classify::may_come_up(error))
    }
}

/// Where the steps lead.
#[derive(Clone, Copy)]
enum Target {
    Down(i64),
    Up(i64),
}

impl PgStore {
    /// Brings the schema to the newest version. Programs that start at once take turns, and the later ones find nothing to do; a role that may not
    /// create anything can run this too, as long as there is nothing to do.
    ///
    /// # Errors
    /// [`SchemaError::Newer`] or [`SchemaError::Migrate`]; either way nothing was changed.
    pub async fn migrate(&self) -> Result<(), SchemaError> {
        self.steps(Target::Up(i64::MAX)).await
    }

    /// As [`migrate`](Self::migrate), but no further than version `to`; what is beyond it already stays.
    ///
    /// # Errors
    /// [`SchemaError::Newer`] or [`SchemaError::Migrate`]; either way nothing was changed.
    pub async fn migrate_up(&self, to: i64) -> Result<(), SchemaError> {
        self.steps(Target::Up(to)).await
    }

    /// Takes the schema back to version `to`; 0 leaves nothing of ours but an empty list of migrations. **The data of the dropped tables is lost.**
    ///
    /// # Errors
    /// [`SchemaError::Newer`] or [`SchemaError::Migrate`]; either way nothing was changed.
    pub async fn migrate_down(&self, to: i64) -> Result<(), SchemaError> {
        self.steps(Target::Down(to)).await
    }

    /// The version that the database has: 0 before the first [`migrate`](Self::migrate).
    ///
    /// # Errors
    /// [`SchemaError::Open`] when it cannot be read.
    pub async fn schema_version(&self) -> Result<i64, SchemaError> {
        unit::run(&self.lender, Bond::Reads, (), |connection, ()| {
            Box::pin(version(connection))
        })
        .await
        .map_err(SchemaError::Open)
    }

    async fn steps(&self, target: Target) -> Result<(), SchemaError> {
        // One transaction round the lock and all steps: all of them are made or none, and the lock goes with it whatever happens.
        let (found, reached) = unit::run_unhurried(&self.lender, target, |connection, target| {
            Box::pin(async move {
                connection.execute(UNHURRIED).await?;
                connection.execute(LOCK).await?;
                let found = version(connection).await?;
                if refuse_newer(found).is_ok() {
                    match *target {
                        Target::Up(to) => up(connection, to).await?,
                        Target::Down(to) => down(connection, found, to).await?,
                    }
                }
                Ok((found, version(connection).await?))
            })
        })
        .await
        .map_err(SchemaError::Migrate)?;
        if found != reached {
            tracing::info!(from = found, to = reached, "the schema was migrated");
        }
        refuse_newer(found)
    }
}

async fn up(connection: &mut PgConnection, to: i64) -> Result<(), MigrateError> {
    // "if not exists" asks for the right to create before it looks.
    if !is_there(connection, "select to_regnamespace('auth') is not null").await? {
        connection.execute("create schema auth").await?;
    }
    if !is_there(
        connection,
        "select to_regclass('auth._migrations') is not null",
    )
    .await?
    {
        connection.ensure_migrations_table(TABLE).await?;
    }
    let applied = connection.list_applied_migrations(TABLE).await?;
    for step in POSTGRES.iter().filter(|step| step.version <= to) {
        let migration = migration(step, MigrationType::ReversibleUp);
        match applied.iter().find(|done| done.version == step.version) {
            Some(done) if done.checksum == migration.checksum => {}
            Some(_) => return Err(MigrateError::VersionMismatch(step.version)),
            None => {
                connection.apply(TABLE, &migration).await?;
            }
        }
    }
    Ok(())
}

async fn down(connection: &mut PgConnection, from: i64, to: i64) -> Result<(), MigrateError> {
    for step in POSTGRES.iter().rev() {
        if step.version <= from && step.version > to {
            let migration = migration(step, MigrationType::ReversibleDown);
            connection.revert(TABLE, &migration).await?;
        }
    }
    Ok(())
}

fn migration(step: &Step, direction: MigrationType) -> Migration {
    let sql = match direction {
        MigrationType::ReversibleDown => step.down,
        MigrationType::ReversibleUp | MigrationType::Simple => step.up,
    };
    Migration::new(
        step.version,
        step.name.into(),
        direction,
        sql.into_sql_str(),
        false,
    )
}

pub(crate) fn refuse_newer(found: i64) -> Result<(), SchemaError> {
    let known = POSTGRES.last().map_or(0, |newest| newest.version);
    if found > known {
        return Err(SchemaError::Newer { found, known });
    }
    Ok(())
}

pub(crate) async fn version(connection: &mut PgConnection) -> sqlx::Result<i64> {
    if !is_there(
        connection,
        "select to_regclass('auth._migrations') is not null",
    )
    .await?
    {
        return Ok(0);
    }
    sqlx::query_scalar("select coalesce(max(version), 0) from auth._migrations")
        .fetch_one(connection)
        .await
}

async fn is_there(connection: &mut PgConnection, question: &'static str) -> sqlx::Result<bool> {
    sqlx::query_scalar(question).fetch_one(connection).await
}
