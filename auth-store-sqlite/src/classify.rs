//! What an error of the database means to the core.

use auth_core::ports::{StoreError, Unique};
use sqlx::error::DatabaseError;

/// What is unique among accounts, as `SQLite` names it when it refuses a row: it tells the columns, not the index.
const UNIQUE: [(&str, Unique); 4] = [
    (
        "auth_identities.issuer, auth_identities.subject",
        Unique::Identity,
    ),
    (
        "auth_identities.user_id, auth_identities.provider",
        Unique::Identity,
    ),
    ("auth_users.email_key", Unique::Email),
    ("auth_users.username_key", Unique::Username),
];

/// The only place that decides between a conflict, an outage and a bug.
pub(crate) fn classify(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            if let Some(unique) = taken(database.as_ref()) {
                StoreError::Taken(unique)
            } else if is_outage(database.as_ref()) {
                StoreError::Unavailable(error.into())
            } else {
                StoreError::Backend(error.into())
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.into()),
        _ => StoreError::Backend(error.into()),
    }
}

/// The driver has no constraint name for `SQLite`: the message is all that says which one it was.
fn taken(error: &dyn DatabaseError) -> Option<Unique> {
    let columns = error.message().strip_prefix("UNIQUE constraint failed: ")?;
    UNIQUE
        .iter()
        .find(|(name, _)| *name == columns)
        .map(|(_, unique)| *unique)
}

const BUSY: i32 = 5;

/// Another connection holds a lock.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| primary_code(error) == Some(BUSY))
}

/// A row that refers to what should go did not let it go.
pub(crate) fn is_held(error: &StoreError) -> bool {
    let StoreError::Backend(cause) = error else {
        return false;
    };
    cause
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        // The message, not the code: "on delete restrict" is a trigger of `SQLite`'s own, and says so by the code.
        .is_some_and(|error| error.message() == "FOREIGN KEY constraint failed")
}

/// Result codes that pass when the machine, or another process, is done with whatever it does.
fn is_outage(error: &dyn DatabaseError) -> bool {
    const LOCKED: i32 = 6;
    const NOMEM: i32 = 7;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const PROTOCOL: i32 = 15;

    matches!(
        primary_code(error),
        Some(BUSY | LOCKED | NOMEM | IOERR | FULL | CANTOPEN | PROTOCOL)
    )
}

/// The low byte of an extended result code (sqlite.org/rescode.html).
fn primary_code(error: &dyn DatabaseError) -> Option<i32> {
    let code = error.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::UNIQUE;
    use crate::SqliteStore;

    #[tokio::test]
    async fn every_name_here_is_a_unique_index_of_the_schema() {
        let store = SqliteStore::in_memory().await.unwrap();
        store.migrate().await.unwrap();
        let rows = sqlx::query(
            "select (select group_concat(tables.name || '.' || columns.name, ', ') from pragma_index_info(indexes.name) as columns
                     where columns.name is not null)
             from sqlite_schema as tables, pragma_index_list(tables.name) as indexes
             where tables.type = 'table' and indexes.\"unique\" and not indexes.partial and (indexes.origin <> 'pk' or tables.name = 'auth_identities')",
        )
        .fetch_all(&*store.writer)
        .await
        .unwrap();
        let mut found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        found.sort();
        let named: Vec<_> = UNIQUE.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, named, "left: the schema, right: the names here");
    }
}
