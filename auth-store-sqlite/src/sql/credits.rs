use auth_core::{
    ports::{Balance, Booking, History, HistoryPage, LedgerAccount, LedgerLine},
    types::{
        BookedEntry, Caller, Credits, Description, Direction, Entry, EntryId, EntryKind,
        IdempotencyKey, Invalid, ReferenceId, UserId,
    },
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{micros, moment, unreadable};

/// What [`booked`] reads.
macro_rules! entry_columns {
    () => {
        "user_id, number, id, kind, change, new_balance, reference, description, caller, idempotency_key, request_id, created_at"
    };
}

/// Books an entry. The transaction has the write lock, so nobody else books meanwhile.
pub(crate) async fn book(
    connection: &mut SqliteConnection,
    entry: &Entry,
) -> sqlx::Result<Booking> {
    let Some(balance) = owned_balance(connection, entry.user_id).await? else {
        return Ok(Booking::UnknownUser);
    };
    if let Some(known) = known(connection, entry).await? {
        return Ok(if entry.asks_for_the_same_as(&known.entry) {
            Booking::Replayed(known)
        } else {
            Booking::Conflict
        });
    }
    if entry.applied_to(balance).is_none() {
        return Ok(Booking::refused(entry, balance));
    }
    let (number, new_balance) = move_balance(connection, entry).await?;
    insert(connection, entry, number, new_balance).await?;
    Ok(Booking::Done(BookedEntry {
        entry: entry.clone(),
        number,
        new_balance,
    }))
}

/// A part of a history.
pub(crate) async fn history(
    connection: &mut SqliteConnection,
    history: &History,
) -> sqlx::Result<Option<HistoryPage>> {
    let Some(total) = count(connection, history).await? else {
        return Ok(None);
    };
    Ok(Some(HistoryPage {
        entries: page(connection, history).await?,
        total,
    }))
}

pub(crate) async fn balance(
    connection: &mut SqliteConnection,
    user: UserId,
) -> sqlx::Result<Option<Balance>> {
    let row = sqlx::query(
        "select coalesce(a.balance, 0) as balance, coalesce(a.updated_at, u.created_at) as updated_at
         from auth_users u left join auth_credit_accounts a on a.user_id = u.id where u.id = ?1",
    )
    .bind(user.as_uuid())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Balance {
            user_id: user,
            balance: credits(&row, "balance")?,
            updated_at: moment(&row, "updated_at")?,
        })
    })
    .transpose()
}

pub(crate) async fn accounts(
    connection: &mut SqliteConnection,
    after: Option<UserId>,
    limit: u32,
) -> sqlx::Result<Vec<LedgerAccount>> {
    // No id is below the empty one.
    let rows = sqlx::query(
        "select user_id, balance, entries from auth_credit_accounts where user_id > coalesce(?1, x'') order by user_id limit ?2",
    )
    .bind(after.map(|id| id.as_uuid()))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(LedgerAccount {
                user_id: UserId::from_uuid(row.try_get("user_id")?),
                balance: row.try_get("balance")?,
                entries: row.try_get("entries")?,
            })
        })
        .collect()
}

pub(crate) async fn lines(
    connection: &mut SqliteConnection,
    after: Option<(UserId, i64)>,
    limit: u32,
) -> sqlx::Result<Vec<LedgerLine>> {
    let rows = sqlx::query(
        "select user_id, number, change, new_balance from auth_credit_entries
         where (user_id, number) > (coalesce(?1, x''), ?2) order by user_id, number limit ?3",
    )
    .bind(after.map(|(user, _)| user.as_uuid()))
    .bind(after.map_or(0, |(_, number)| number))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(LedgerLine {
                user_id: UserId::from_uuid(row.try_get("user_id")?),
                number: row.try_get("number")?,
                change: row.try_get("change")?,
                new_balance: row.try_get("new_balance")?,
            })
        })
        .collect()
}

/// `None` without an account of the user.
async fn owned_balance(
    connection: &mut SqliteConnection,
    user: UserId,
) -> sqlx::Result<Option<Credits>> {
    let row = sqlx::query(
        "select coalesce(a.balance, 0) as balance
         from auth_users u left join auth_credit_accounts a on a.user_id = u.id where u.id = ?1",
    )
    .bind(user.as_uuid())
    .fetch_optional(connection)
    .await?;
    row.map(|row| credits(&row, "balance")).transpose()
}

/// The entry that has the key or, without one, the reference.
async fn known(
    connection: &mut SqliteConnection,
    entry: &Entry,
) -> sqlx::Result<Option<BookedEntry>> {
    let row = sqlx::query(concat!(
        "select 1 as rank, ",
        entry_columns!(),
        " from auth_credit_entries where caller = ?1 and idempotency_key = ?2
         union all select 2, ",
        entry_columns!(),
        " from auth_credit_entries where user_id = ?3 and kind = ?4 and reference = ?5
         order by rank limit 1"
    ))
    .bind(entry.caller.as_str())
    .bind(entry.idempotency_key.as_ref().map(IdempotencyKey::as_str))
    .bind(entry.user_id.as_uuid())
    .bind(entry.kind.as_str())
    .bind(entry.reference.as_ref().map(ReferenceId::as_str))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(booked).transpose()
}

/// The number of the entry and the balance after it.
async fn move_balance(
    connection: &mut SqliteConnection,
    entry: &Entry,
) -> sqlx::Result<(i64, Credits)> {
    let query = match entry.direction {
        Direction::Credit => sqlx::query(
            "insert into auth_credit_accounts (user_id, owner, balance, entries, updated_at) values (?1, ?1, ?2, 1, ?3)
             on conflict (user_id) do update
             set balance = balance + excluded.balance, entries = entries + 1, updated_at = excluded.updated_at
             returning entries, balance",
        ),
        // Whoever has enough has an account.
        Direction::Debit => sqlx::query(
            "update auth_credit_accounts set balance = balance + ?2, entries = entries + 1, updated_at = ?3 where user_id = ?1
             returning entries, balance",
        ),
    };
    let row = query
        .bind(entry.user_id.as_uuid())
        .bind(entry.change())
        .bind(micros(entry.created_at))
        .fetch_one(connection)
        .await?;
    Ok((row.try_get("entries")?, credits(&row, "balance")?))
}

async fn insert(
    connection: &mut SqliteConnection,
    entry: &Entry,
    number: i64,
    new_balance: Credits,
) -> sqlx::Result<()> {
    sqlx::query(concat!(
        "insert into auth_credit_entries (",
        entry_columns!(),
        ") values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    ))
    .bind(entry.user_id.as_uuid())
    .bind(number)
    .bind(entry.id.as_uuid())
    .bind(entry.kind.as_str())
    .bind(entry.change())
    .bind(new_balance.as_hundredths())
    .bind(entry.reference.as_ref().map(ReferenceId::as_str))
    .bind(entry.description.as_ref().map(Description::as_str))
    .bind(entry.caller.as_str())
    .bind(entry.idempotency_key.as_ref().map(IdempotencyKey::as_str))
    .bind(entry.request_id.as_deref())
    .bind(micros(entry.created_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// How many entries of the kind there are; `None` without an account of the user.
async fn count(connection: &mut SqliteConnection, history: &History) -> sqlx::Result<Option<u64>> {
    let query = match history.kind {
        None => sqlx::query_scalar(
            "select coalesce((select entries from auth_credit_accounts where user_id = ?1), 0) from auth_users where id = ?1",
        ),
        Some(_) => sqlx::query_scalar(
            "select (select count(*) from auth_credit_entries where user_id = ?1 and kind = ?2) from auth_users where id = ?1",
        ),
    };
    let total: Option<i64> = query
        .bind(history.user_id.as_uuid())
        .bind(history.kind.map(EntryKind::as_str))
        .fetch_optional(connection)
        .await?;
    Ok(total.map(|total| u64::try_from(total).unwrap_or(0)))
}

async fn page(
    connection: &mut SqliteConnection,
    history: &History,
) -> sqlx::Result<Vec<BookedEntry>> {
    macro_rules! page {
        ($condition:literal) => {
            sqlx::query(concat!(
                "select ",
                entry_columns!(),
                " from auth_credit_entries where user_id = ?1 and number < ?2",
                $condition,
                " order by number desc limit ?3"
            ))
        };
    }
    let query = match history.kind {
        None => page!(""),
        Some(_) => page!(" and kind = ?4"),
    };
    let rows = query
        .bind(history.user_id.as_uuid())
        .bind(history.before.unwrap_or(i64::MAX))
        .bind(history.limit)
        .bind(history.kind.map(EntryKind::as_str))
        .fetch_all(connection)
        .await?;
    rows.iter().map(booked).collect()
}

fn booked(row: &SqliteRow) -> sqlx::Result<BookedEntry> {
    let change: i64 = row.try_get("change")?;
    let (direction, amount) = if change < 0 {
        (Direction::Debit, change.saturating_neg())
    } else {
        (Direction::Credit, change)
    };
    let id: Uuid = row.try_get("id")?;
    Ok(BookedEntry {
        entry: Entry {
            id: EntryId::from_uuid(id),
            user_id: UserId::from_uuid(row.try_get("user_id")?),
            kind: text(row, "kind", EntryKind::parse)?,
            direction,
            amount: of_hundredths("change", amount)?,
            reference: optional_text(row, "reference", ReferenceId::parse)?,
            description: optional_text(row, "description", Description::parse)?,
            idempotency_key: optional_text(row, "idempotency_key", IdempotencyKey::parse)?,
            caller: text(row, "caller", Caller::parse)?,
            request_id: row.try_get("request_id")?,
            created_at: moment(row, "created_at")?,
        },
        number: row.try_get("number")?,
        new_balance: credits(row, "new_balance")?,
    })
}

fn text<T>(
    row: &SqliteRow,
    column: &'static str,
    read: impl FnOnce(&str) -> Result<T, Invalid>,
) -> sqlx::Result<T> {
    read(row.try_get(column)?).map_err(|error| unreadable(column, error))
}

fn optional_text<T>(
    row: &SqliteRow,
    column: &'static str,
    read: impl FnOnce(&str) -> Result<T, Invalid>,
) -> sqlx::Result<Option<T>> {
    row.try_get::<Option<&str>, _>(column)?
        .map(|raw| read(raw).map_err(|error| unreadable(column, error)))
        .transpose()
}

pub(super) fn credits(row: &SqliteRow, column: &'static str) -> sqlx::Result<Credits> {
    of_hundredths(column, row.try_get(column)?)
}

fn of_hundredths(column: &'static str, hundredths: i64) -> sqlx::Result<Credits> {
    Credits::from_hundredths(hundredths).ok_or_else(|| {
        unreadable(
            column,
            std::io::Error::new(std::io::ErrorKind::InvalidData, "credits are below zero"),
        )
    })
}
