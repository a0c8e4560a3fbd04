//! Every statement, by what it is about. In each file: the units of work first, then a function per statement, then rows.
//!
//! # Locks
//! At "read committed" a statement sees what was committed when it began, and the newest version of the rows that it locks or writes.
//! 1. Rows are locked in this order: user, credit account, session, tokens, mails. A statement that locks in a `with` query reads from it where it goes on, so that the
//!    lock comes first.
//! 2. What must see all rows that another transaction wrote under a lock (throttles, "every session") begins a statement of its own after it has the lock.
//! 3. Events of payments take turns by an advisory lock, before their first row; in one process, before they have a connection.
//! 4. Conditions on one row are part of the write to it: whoever waited for the row has its condition checked again.

pub(crate) mod audit;
pub(crate) mod credits;
pub(crate) mod identities;
pub(crate) mod outbox;
pub(crate) mod payments;
pub(crate) mod record;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;

use std::{error::Error, net::IpAddr};

use auth_core::types::{Digest, Record, UserId};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::{Duration, OffsetDateTime};

/// Reads one of our tables: a database without them serves nobody.
pub(crate) async fn ping(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("select 1 from auth.users limit 1")
        .fetch_optional(connection)
        .await?;
    Ok(())
}

/// Writes mails and audit entries that belong to no change, or to one that this transaction made.
pub(crate) async fn append(connection: &mut PgConnection, record: &Record) -> sqlx::Result<()> {
    append_about(connection, None, record).await
}

/// As [`append`], where the transaction already has the row of `user`.
async fn append_about(
    connection: &mut PgConnection,
    user: Option<UserId>,
    record: &Record,
) -> sqlx::Result<()> {
    sqlx::query(concat!(
        "with ",
        record::record!(mails if "true", entries if "true"),
        " select"
    ))
    .bind(record::json(record)?)
    .bind(user.map(|id| id.as_uuid()))
    .execute(connection)
    .await?;
    Ok(())
}

/// `at` less `by`; not before any time that Postgres knows.
fn before(at: OffsetDateTime, by: Duration) -> OffsetDateTime {
    const LONG_AGO: Duration = Duration::days(365 * 2000);
    at.saturating_sub(by)
        .max(OffsetDateTime::UNIX_EPOCH - LONG_AGO)
}

/// As Postgres takes it.
fn bytes(digest: &Digest) -> &[u8] {
    digest.as_bytes().as_slice()
}

fn text<T, E>(
    row: &PgRow,
    column: &'static str,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> sqlx::Result<T>
where
    E: Error + Send + Sync + 'static,
{
    read(row.try_get(column)?).map_err(|error| unreadable(column, error))
}

fn ip(row: &PgRow, column: &'static str) -> sqlx::Result<Option<IpAddr>> {
    row.try_get::<Option<&str>, _>(column)?
        .map(|raw| raw.parse().map_err(|error| unreadable(column, error)))
        .transpose()
}

/// A value that only a bug or a foreign hand can have written.
fn unreadable(column: &'static str, error: impl Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: error.into(),
    }
}
