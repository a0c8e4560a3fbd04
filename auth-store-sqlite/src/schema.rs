//! The schema: up, down, and refused when it is too new.

use auth_migrations::{Migration as Step, SQLITE};
use sqlx::{
    SqlSafeStr, SqliteConnection,
    migrate::{Migrate, MigrateError, Migration, MigrationType},
};

use crate::{SqliteStore, write};

/// Our own, because a host that migrates with sqlx has its `_sqlx_migrations` in the same file, and each would miss the other's steps.
const TABLE: &str = "_auth_migrations";

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
    /// It cannot be opened or read.
    #[error("the database could not be opened")]
    Open(#[source] sqlx::Error),
}

/// Where the steps lead.
#[derive(Clone, Copy)]
enum Target {
    Down(i64),
    Up(i64),
}

impl SqliteStore {
    /// Brings the schema to the newest version. Programs that start at once on one file take turns, and the later ones find nothing to do.
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
        let mut connection = self.readers.acquire().await.map_err(SchemaError::Open)?;
        version(&mut connection).await.map_err(SchemaError::Open)
    }

    pub(crate) async fn refuse_newer(&self) -> Result<(), SchemaError> {
        refuse_newer(self.schema_version().await?)
    }

    async fn steps(&self, target: Target) -> Result<(), SchemaError> {
        // One transaction round all steps, or two programs that start together would make the same step at once.
        let (found, reached) = write::transaction(&self.writer, move |connection| {
            Box::pin(async move {
                let found = version(connection).await?;
                if refuse_newer(found).is_ok() {
                    match target {
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
        // Tables changed under the statements that the readers have prepared; SQLite prepares those again by itself.
        refuse_newer(found)
    }
}

/// The driver's own runner is left out: it takes no lock for `SQLite`, and its future cannot be sent to a task while it borrows a connection.
async fn up(connection: &mut SqliteConnection, to: i64) -> Result<(), MigrateError> {
    connection.ensure_migrations_table(TABLE).await?;
    let applied = connection.list_applied_migrations(TABLE).await?;
    for step in SQLITE.iter().filter(|step| step.version <= to) {
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

async fn down(connection: &mut SqliteConnection, from: i64, to: i64) -> Result<(), MigrateError> {
    for step in SQLITE.iter().rev() {
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

fn refuse_newer(found: i64) -> Result<(), SchemaError> {
    let known = SQLITE.last().map_or(0, |newest| newest.version);
    if found > known {
        return Err(SchemaError::Newer { found, known });
    }
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let is_there: bool = sqlx::query_scalar(
        "select exists (select 1 from sqlite_schema where type = 'table' and name = '_auth_migrations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_there {
        return Ok(0);
    }
    sqlx::query_scalar("select coalesce(max(version), 0) from _auth_migrations")
        .fetch_one(connection)
        .await
}
