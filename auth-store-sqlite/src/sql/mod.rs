//! Every statement, by what it is about. In each file: the units of work first, then a function per statement, then rows.

pub(crate) mod audit;
pub(crate) mod credits;
pub(crate) mod identities;
pub(crate) mod outbox;
pub(crate) mod payments;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;

use std::{error::Error, net::IpAddr};

use auth_core::types::Record;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::{Duration, OffsetDateTime};

/// Writes mails and audit entries.
pub(crate) async fn append(connection: &mut SqliteConnection, record: &Record) -> sqlx::Result<()> {
    for mail in &record.mails {
        outbox::insert(connection, mail).await?;
    }
    audit::insert_all(connection, &record.audit).await
}

/// Reads one of our tables: a file without them serves nobody.
pub(crate) async fn ping(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("select 1 from auth_users limit 1")
        .fetch_optional(connection)
        .await?;
    Ok(())
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX)
}

/// The microseconds of `at` less `by`.
fn micros_before(at: OffsetDateTime, by: Duration) -> i64 {
    micros(at.saturating_sub(by))
}

fn moment(row: &SqliteRow, column: &'static str) -> sqlx::Result<OffsetDateTime> {
    let micros: i64 = row.try_get(column)?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .map_err(|error| unreadable(column, error))
}

fn ip(row: &SqliteRow, column: &'static str) -> sqlx::Result<Option<IpAddr>> {
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
