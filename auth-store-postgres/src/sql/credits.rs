use std::io;

use auth_core::{
    ports::{Balance, Booking, History, HistoryPage, LedgerAccount, LedgerLine},
    types::{
        BookedEntry, Caller, Credits, Description, Direction, Entry, EntryId, EntryKind,
        IdempotencyKey, Invalid, ReferenceId, UserId,
    },
};
use sqlx::{Connection, Database, PgConnection, Postgres, Row, postgres::PgRow, query::Query};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{text, unreadable};
use crate::classify::is_known;

/// What [`booked`] reads.
macro_rules! entry_columns {
    () => {
        "user_id, number, id, kind, change, new_balance, reference, description, caller, idempotency_key, request_id, created_at"
    };
}

/// The entry that has the key of a new one or, without one, the reference; `$1` to `$5` are those of [`bound`].
macro_rules! known {
    () => {
        concat!(
            "select 1 as rank, ",
            entry_columns!(),
            " from auth.credit_entries where caller = $4 and idempotency_key = $5
             union all select 2, ",
            entry_columns!(),
            " from auth.credit_entries where user_id = $1 and kind = $2 and reference = $3
             order by rank limit 1"
        )
    };
}

/// How often an entry is tried that did not fit a moment ago and does now.
const TRIES: u32 = 3;

/// Books an entry: one statement, and more only where it moves nothing.
///
/// A balance that changes sides between two of them each time is an outage for now: whoever is refused is told a balance that refuses them.
///
/// An entry whose key or reference is taken fails at the index of those. That is how most are found to be new, without a look before; in a transaction,
/// which would fail with it, each is looked for first. Then only two at once meet there, and the later one is tried again like whatever meets another
/// transaction.
pub(crate) async fn book(connection: &mut PgConnection, entry: &Entry) -> sqlx::Result<Booking> {
    let mut looks_first = connection.is_in_transaction();
    let mut tries = 1;
    loop {
        let written = if looks_first {
            write_if_new(connection, entry).await
        } else {
            write(connection, entry).await
        };
        match written {
            Ok(Some(booking)) => return Ok(booking),
            Ok(None) => {}
            Err(error) if !looks_first && is_known(&error) => {
                looks_first = true;
                continue;
            }
            Err(error) => return Err(error),
        }
        // It may have waited for the balance: only a statement of its own sees all that was booked meanwhile.
        match why_not(connection, entry).await? {
            None if tries < TRIES => tries += 1,
            None => {
                let busy = "the balance moved between each look and the write after it";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, busy).into());
            }
            Some(booking) => return Ok(booking),
        }
    }
}

/// Moves a balance, if `$condition` holds as well; `$1`, `$7` and `$10` are those of [`bound`].
macro_rules! moved {
    (credit, $condition:literal) => {
        concat!(
            "insert into auth.credit_accounts as a (user_id, owner, balance, entries, updated_at)
             select id, id, $7, 1, $10 from auth.users where id = $1",
            $condition,
            " on conflict (user_id) do update
             set balance = a.balance + excluded.balance, entries = a.entries + 1, updated_at = excluded.updated_at
             where a.owner is not null and a.balance <= 9223372036854775807 - excluded.balance
             returning entries, balance"
        )
    };
    // Whoever has enough has an account.
    (debit, $condition:literal) => {
        concat!(
            "update auth.credit_accounts set balance = balance + $7, entries = entries + 1, updated_at = $10
             where user_id = $1 and owner is not null and balance + $7 >= 0",
            $condition,
            " returning entries, balance"
        )
    };
}

/// Writes the entry of a balance that moved.
macro_rules! written {
    () => {
        concat!(
            "insert into auth.credit_entries (",
            entry_columns!(),
            ") select $1, entries, $6, $2, $7, balance, $3, $8, $4, $5, $9, $10 from moved returning "
        )
    };
}

/// `None` when the balance did not move, for whatever reason.
async fn write(connection: &mut PgConnection, entry: &Entry) -> sqlx::Result<Option<Booking>> {
    macro_rules! statement {
        ($direction:ident) => {
            concat!(
                "with moved as (",
                moved!($direction, ""),
                ") ",
                written!(),
                "number, new_balance"
            )
        };
    }
    let statement = match entry.direction {
        Direction::Credit => statement!(credit),
        Direction::Debit => statement!(debit),
    };
    let row = bound(statement, entry).fetch_optional(connection).await?;
    row.map(|row| done(entry, &row)).transpose()
}

/// As [`write`], or the entry that is known by the key or the reference.
async fn write_if_new(
    connection: &mut PgConnection,
    entry: &Entry,
) -> sqlx::Result<Option<Booking>> {
    macro_rules! statement {
        ($direction:ident) => {
            concat!(
                "with known as (",
                known!(),
                "), moved as (",
                moved!($direction, " and not exists (select from known)"),
                "), entry as (",
                written!(),
                entry_columns!(),
                ") select true as is_new, ",
                entry_columns!(),
                " from entry
                 union all select false, ",
                entry_columns!(),
                " from known where exists (select from auth.users where id = $1)"
            )
        };
    }
    let statement = match entry.direction {
        Direction::Credit => statement!(credit),
        Direction::Debit => statement!(debit),
    };
    let row = bound(statement, entry).fetch_optional(connection).await?;
    row.map(|row| {
        if row.try_get("is_new")? {
            done(entry, &row)
        } else {
            Ok(repeated(entry, booked(&row)?))
        }
    })
    .transpose()
}

/// What became of a use among others.
#[derive(Clone, Copy)]
pub(crate) enum Line {
    /// Its number, and the balance after it.
    Booked(i64, Credits),
    /// The balance would have sufficed, and somebody holds it.
    InOtherHands,
    /// It was booked before, or the balance does not suffice for all uses of its user here, or there is none.
    Refused,
}

/// Takes the credits of many uses at once, no two of which are one entry: a statement that waits for no balance. The uses of one user are booked in their
/// order, all or none.
///
/// It waits for keys, holding balances, so it takes them in one order, and not longer than a moment. Sums of `bigint` are `numeric`, so none overflows.
pub(crate) async fn use_together(
    connection: &mut PgConnection,
    uses: &[&Entry],
) -> sqlx::Result<Vec<Line>> {
    fn each<'e, T>(uses: &[&'e Entry], value: impl FnMut(&&'e Entry) -> T) -> Vec<T> {
        uses.iter().map(value).collect()
    }

    // "held" looks up one account for each user, where a join might read all of them, and judges the newest version of it; "moved" finds the version of its
    // snapshot, is led from there to that newest one, and need not judge again what is locked by now.
    let rows = sqlx::query(concat!(
        "with asked as (
             select * from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) with ordinality
                 as a (user_id, kind, reference, caller, idempotency_key, id, change, description, request_id, created_at, place)
         ), wanted as (
             select a.*, sum(a.change) over so_far as change_so_far, row_number() over so_far as nth
             from (select set_config('lock_timeout', '100ms', true)) as hurry, asked a
             where not exists (select from auth.credit_entries e where e.caller = a.caller and e.idempotency_key = a.idempotency_key)
                 and not exists (select from auth.credit_entries e where e.user_id = a.user_id and e.kind = a.kind and e.reference = a.reference)
             window so_far as (partition by a.user_id order by a.place)
         ), total as (
             select user_id, sum(change) as change, count(*) as entries, max(created_at) as updated_at from wanted group by user_id
         ), held as (
             select t.* from total t cross join lateral (
                 select from auth.credit_accounts a where a.user_id = t.user_id and a.owner is not null and a.balance + t.change >= 0
                 for no key update skip locked
             ) a
         ), moved as (
             update auth.credit_accounts a
             set balance = a.balance + h.change, entries = a.entries + h.entries, updated_at = h.updated_at
             from held h where a.user_id = h.user_id
             returning a.user_id, a.balance - h.change as balance, a.entries - h.entries as entries
         ), entry as (
             insert into auth.credit_entries (",
        entry_columns!(),
        ")   select w.user_id, m.entries + w.nth, w.id, w.kind, w.change, m.balance + w.change_so_far, w.reference, w.description, w.caller,
                 w.idempotency_key, w.request_id, w.created_at
             from wanted w join moved m on m.user_id = w.user_id order by w.caller, w.idempotency_key
         )
         select w.place, m.entries + w.nth as number, (m.balance + w.change_so_far)::bigint as new_balance
         from wanted w join total t on t.user_id = w.user_id left join moved m on m.user_id = w.user_id
         where m.user_id is not null or exists (
             select from auth.credit_accounts a where a.user_id = w.user_id and a.owner is not null and a.balance + t.change >= 0
         )"
    ))
    .bind(each(uses, |it| it.user_id.as_uuid()))
    .bind(each(uses, |it| it.kind.as_str()))
    .bind(each(uses, |it| it.reference.as_ref().map(ReferenceId::as_str)))
    .bind(each(uses, |it| it.caller.as_str()))
    .bind(each(uses, |it| {
        it.idempotency_key.as_ref().map(IdempotencyKey::as_str)
    }))
    .bind(each(uses, |it| it.id.as_uuid()))
    .bind(each(uses, |it| it.change()))
    .bind(each(uses, |it| {
        it.description.as_ref().map(Description::as_str)
    }))
    .bind(each(uses, |it| it.request_id.as_deref()))
    .bind(each(uses, |it| it.created_at))
    .fetch_all(connection)
    .await?;
    let mut lines = vec![Line::Refused; uses.len()];
    for row in &rows {
        let place: i64 = row.try_get("place")?; // from 1
        let line = usize::try_from(place - 1)
            .ok()
            .and_then(|at| lines.get_mut(at));
        if let Some(line) = line {
            *line = match row.try_get("number")? {
                Some(number) => Line::Booked(number, credits(row, "new_balance")?),
                None => Line::InOtherHands,
            };
        }
    }
    Ok(lines)
}

fn bound<'q>(
    statement: &'static str,
    entry: &'q Entry,
) -> Query<'q, Postgres, <Postgres as Database>::Arguments> {
    sqlx::query(statement)
        .bind(entry.user_id.as_uuid())
        .bind(entry.kind.as_str())
        .bind(entry.reference.as_ref().map(ReferenceId::as_str))
        .bind(entry.caller.as_str())
        .bind(entry.idempotency_key.as_ref().map(IdempotencyKey::as_str))
        .bind(entry.id.as_uuid())
        .bind(entry.change())
        .bind(entry.description.as_ref().map(Description::as_str))
        .bind(entry.request_id.as_deref())
        .bind(entry.created_at)
}

fn done(entry: &Entry, row: &PgRow) -> sqlx::Result<Booking> {
    Ok(Booking::Done(BookedEntry {
        entry: entry.clone(),
        number: row.try_get("number")?,
        new_balance: credits(row, "new_balance")?,
    }))
}

/// Why a balance did not move; `None` when it would now.
async fn why_not(connection: &mut PgConnection, entry: &Entry) -> sqlx::Result<Option<Booking>> {
    let row = sqlx::query(concat!(
        "select coalesce(a.balance, 0) as balance, known.*
         from auth.users u
         left join auth.credit_accounts a on a.user_id = u.id
         left join lateral (",
        known!(),
        ") known on true where u.id = $1"
    ))
    .bind(entry.user_id.as_uuid())
    .bind(entry.kind.as_str())
    .bind(entry.reference.as_ref().map(ReferenceId::as_str))
    .bind(entry.caller.as_str())
    .bind(entry.idempotency_key.as_ref().map(IdempotencyKey::as_str))
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(Some(Booking::UnknownUser));
    };
    if row.try_get::<Option<i32>, _>("rank")?.is_some() {
        return Ok(Some(repeated(entry, booked(&row)?)));
    }
    let balance = credits(&row, "balance")?;
    Ok(match entry.applied_to(balance) {
        Some(_) => None,
        None => Some(Booking::refused(entry, balance)),
    })
}

fn repeated(entry: &Entry, known: BookedEntry) -> Booking {
    if entry.asks_for_the_same_as(&known.entry) {
        Booking::Replayed(known)
    } else {
        Booking::Conflict
    }
}

pub(crate) async fn balance(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Option<Balance>> {
    let row = sqlx::query(
        "select coalesce(a.balance, 0) as balance, coalesce(a.updated_at, u.created_at) as updated_at
         from auth.users u left join auth.credit_accounts a on a.user_id = u.id where u.id = $1",
    )
    .bind(user.as_uuid())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Balance {
            user_id: user,
            balance: credits(&row, "balance")?,
            updated_at: row.try_get("updated_at")?,
        })
    })
    .transpose()
}

/// A part of a history, in one statement: at least one row where there is an account.
pub(crate) async fn history(
    connection: &mut PgConnection,
    history: &History,
) -> sqlx::Result<Option<HistoryPage>> {
    macro_rules! history {
        (total: $total:literal, entries: $condition:literal) => {
            sqlx::query(concat!(
                "select known.total, entry.*
                 from auth.users u left join auth.credit_accounts a on a.user_id = u.id
                 cross join lateral (select ",
                $total,
                ") known
                 left join lateral (
                     select ",
                entry_columns!(),
                " from auth.credit_entries e where e.user_id = u.id and e.number < $2",
                $condition,
                "    order by e.number desc limit $3
                 ) entry on true
                 where u.id = $1 order by entry.number desc"
            ))
        };
    }
    // The index of kinds leaves uses out: they are what the others leave. Counts stand in a query of their own, or each entry would be counted for.
    let query = match history.kind {
        None => history!(total: "coalesce(a.entries, 0) as total", entries: ""),
        Some(EntryKind::CreditUsed) => history!(
            total: "coalesce(a.entries, 0) - count(*) as total from auth.credit_entries c
                where c.user_id = u.id and c.kind <> 'credit_used'",
            entries: " and e.kind = $4"
        ),
        Some(_) => history!(
            total: "count(*) as total from auth.credit_entries c
                where c.user_id = u.id and c.kind = $4 and c.kind <> 'credit_used'",
            entries: " and e.kind = $4 and e.kind <> 'credit_used'"
        ),
    };
    let query = query
        .bind(history.user_id.as_uuid())
        .bind(history.before.unwrap_or(i64::MAX))
        .bind(i64::from(history.limit));
    let query = match history.kind {
        None => query,
        Some(kind) => query.bind(kind.as_str()),
    };
    let rows = query.fetch_all(connection).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let total: i64 = first.try_get("total")?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get::<Option<i64>, _>("number")?.is_some() {
            entries.push(booked(row)?);
        }
    }
    Ok(Some(HistoryPage {
        entries,
        total: u64::try_from(total).unwrap_or(0),
    }))
}

pub(crate) async fn accounts(
    connection: &mut PgConnection,
    after: Option<UserId>,
    limit: u32,
) -> sqlx::Result<Vec<LedgerAccount>> {
    let rows = sqlx::query(
        "select user_id, balance, entries from auth.credit_accounts where user_id > $1 order by user_id limit $2",
    )
    .bind(after.map_or(Uuid::nil(), |user| user.as_uuid()))
    .bind(i64::from(limit))
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
    connection: &mut PgConnection,
    after: Option<(UserId, i64)>,
    limit: u32,
) -> sqlx::Result<Vec<LedgerLine>> {
    let (user, number) = after.map_or((Uuid::nil(), 0), |(user, number)| (user.as_uuid(), number));
    let rows = sqlx::query(
        "select user_id, number, change, new_balance from auth.credit_entries
         where (user_id, number) > ($1, $2) order by user_id, number limit $3",
    )
    .bind(user)
    .bind(number)
    .bind(i64::from(limit))
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

fn booked(row: &PgRow) -> sqlx::Result<BookedEntry> {
    fn optional<T>(
        row: &PgRow,
        column: &'static str,
        read: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> sqlx::Result<Option<T>> {
        row.try_get::<Option<&str>, _>(column)?
            .map(|raw| read(raw).map_err(|error| unreadable(column, error)))
            .transpose()
    }

    let change: i64 = row.try_get("change")?;
    let (direction, amount) = if change < 0 {
        (Direction::Debit, change.saturating_neg())
    } else {
        (Direction::Credit, change)
    };
    Ok(BookedEntry {
        entry: Entry {
            id: EntryId::from_uuid(row.try_get("id")?),
            user_id: UserId::from_uuid(row.try_get("user_id")?),
            kind: text(row, "kind", EntryKind::parse)?,
            direction,
            amount: of_hundredths("change", amount)?,
            reference: optional(row, "reference", ReferenceId::parse)?,
            description: optional(row, "description", Description::parse)?,
            idempotency_key: optional(row, "idempotency_key", IdempotencyKey::parse)?,
            caller: text(row, "caller", Caller::parse)?,
            request_id: row.try_get("request_id")?,
            created_at: row.try_get::<OffsetDateTime, _>("created_at")?,
        },
        number: row.try_get("number")?,
        new_balance: credits(row, "new_balance")?,
    })
}

pub(super) fn credits(row: &PgRow, column: &'static str) -> sqlx::Result<Credits> {
    of_hundredths(column, row.try_get(column)?)
}

fn of_hundredths(column: &'static str, hundredths: i64) -> sqlx::Result<Credits> {
    Credits::from_hundredths(hundredths).ok_or_else(|| {
        let below_zero = "credits are below zero";
        unreadable(
            column,
            io::Error::new(io::ErrorKind::InvalidData, below_zero),
        )
    })
}
