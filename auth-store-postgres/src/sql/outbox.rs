use auth_core::{
    ports::{
        ClaimedMail, Claims, DeadMail, DeadMails, GIVE_UP_AFTER, LOST, MOST_COUNTED, MailCounts,
        UNREADABLE, put_off,
    },
    types::{Email, Letter, MailId, QueuedMail, UserId},
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{before, text, unreadable};

/// What one look at the queue found.
pub(crate) struct Found {
    pub(crate) claims: Claims,
    /// Claimed, and not for this version.
    pub(crate) unreadable: Vec<Unreadable>,
    /// How many mails of the queue it dealt with.
    pub(crate) rows: u32,
}

pub(crate) struct Unreadable {
    id: Uuid,
    /// Names the claim, as in [`ClaimedMail`].
    lease: OffsetDateTime,
    /// `None` when it is given up.
    due_at: Option<OffsetDateTime>,
}

/// Claims due mails, the longest due first; those that another worker is claiming just now are not waited for. What lost its claims for long enough is
/// given up. Leases are measured by the clock of the database: those of the workers may differ.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    lease: Duration,
    limit: u32,
) -> sqlx::Result<Found> {
    let rows = sqlx::query(
        "with due as (
             select id, due_at, lease is not null and first_try_at <= $3 as is_over
             from auth.outbox where due_at <= $1 and (lease is null or lease <= clock_timestamp())
             order by due_at, id limit $4 for update skip locked
         ), touched as (
             update auth.outbox o set
                 attempts = o.attempts + (not is_over)::integer,
                 first_try_at = coalesce(first_try_at, $1),
                 due_at = case when not is_over then $1 + (1 << least(attempts, 5)) * $2 * interval '1 microsecond' end,
                 lease = case when not is_over then clock_timestamp() + $2 * interval '1 microsecond' end,
                 last_error = case when is_over then $5 else last_error end
             from due where o.id = due.id
             returning o.id, user_id, recipient, locale, letter, attempts, first_try_at, lease, created_at, due.due_at as was_due
         )
         select id, user_id, recipient, locale, letter::text as letter, attempts, first_try_at, lease, created_at
         from touched order by was_due, id",
    )
    .bind(now)
    .bind(i64::try_from(lease.whole_microseconds()).unwrap_or(i64::MAX))
    .bind(before(now, GIVE_UP_AFTER))
    .bind(i64::from(limit))
    .bind(LOST)
    .fetch_all(connection)
    .await?;
    let mut found = Found {
        claims: Claims::default(),
        unreadable: Vec::new(),
        rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
    };
    for row in &rows {
        let id: Uuid = row.try_get("id")?;
        let Some(lease) = row.try_get("lease")? else {
            found.claims.given_up.push(MailId::from_uuid(id));
            continue;
        };
        match claimed(row) {
            Ok(mail) => found.claims.mails.push(mail),
            Err(error) => {
                tracing::warn!(mail = %id, %error, "a queued mail cannot be read by this version");
                let due_at = put_off(now, row.try_get("first_try_at")?);
                found.unreadable.push(Unreadable { id, lease, due_at });
            }
        }
    }
    Ok(found)
}

/// Gives back what was claimed and cannot be read, as if nobody had tried, unless somebody else has claimed it since; those that are given up.
pub(crate) async fn give_back(
    connection: &mut PgConnection,
    mails: &[Unreadable],
) -> sqlx::Result<Vec<MailId>> {
    let ids: Vec<Uuid> = mails.iter().map(|mail| mail.id).collect();
    let leases: Vec<OffsetDateTime> = mails.iter().map(|mail| mail.lease).collect();
    let due: Vec<Option<OffsetDateTime>> = mails.iter().map(|mail| mail.due_at).collect();
    let over: Vec<Uuid> = sqlx::query_scalar(
        "with given_back as (
             update auth.outbox o set attempts = greatest(attempts - 1, 0), lease = null, due_at = mail.due_at, last_error = $4
             from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as mail (id, lease, due_at)
             where o.id = mail.id and o.lease = mail.lease
             returning o.id, o.due_at
         )
         select id from given_back where due_at is null",
    )
    .bind(ids)
    .bind(leases)
    .bind(due)
    .bind(UNREADABLE)
    .fetch_all(connection)
    .await?;
    Ok(over.into_iter().map(MailId::from_uuid).collect())
}

/// Deletes a mail under the claim that `lease` names.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    mail: MailId,
    lease: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from auth.outbox where id = $1 and lease = $2")
        .bind(mail.as_uuid())
        .bind(lease)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends the claim of a failed try.
pub(crate) async fn fail(
    connection: &mut PgConnection,
    mail: MailId,
    lease: OffsetDateTime,
    retry_at: Option<OffsetDateTime>,
    reason: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update auth.outbox set lease = null, due_at = $3, last_error = $4
         where id = $1 and lease = $2",
    )
    .bind(mail.as_uuid())
    .bind(lease)
    .bind(retry_at)
    // The one text here that may hold a NUL, which Postgres refuses: a server said it.
    .bind(reason.replace('\0', ""))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn counts(connection: &mut PgConnection) -> sqlx::Result<MailCounts> {
    // Over two indexes, and no further than is counted: the rows themselves hold whole letters.
    let (queued, dead, oldest): (i64, i64, Option<OffsetDateTime>) = sqlx::query_as(
        "select count(*), (select count(*) from (select from auth.outbox where due_at is null limit $1) as dead), min(queued_at)
         from (select queued_at from auth.outbox where due_at is not null order by due_at, id limit $1) as waiting",
    )
    .bind(i64::from(MOST_COUNTED))
    .fetch_one(connection)
    .await?;
    Ok(MailCounts {
        queued: queued.unsigned_abs(),
        dead: dead.unsigned_abs(),
        oldest,
    })
}

/// The dead letters, the oldest first.
pub(crate) async fn dead(connection: &mut PgConnection, limit: u32) -> sqlx::Result<Vec<DeadMail>> {
    let rows = sqlx::query(
        "select id, recipient, coalesce(letter ->> 'template', '') as template, attempts, coalesce(last_error, '') as reason, created_at
         from auth.outbox where due_at is null order by created_at, id limit $1",
    )
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(DeadMail {
                id: MailId::from_uuid(row.try_get("id")?),
                to: row.try_get("recipient")?,
                template: row.try_get("template")?,
                attempts: attempts(row)?,
                reason: row.try_get("reason")?,
                created_at: row.try_get("created_at")?,
            })
        })
        .collect()
}

/// Queues dead letters anew; the trigger on `queued_at` tells the workers.
pub(crate) async fn retry(
    connection: &mut PgConnection,
    which: DeadMails,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "update auth.outbox set due_at = $1, queued_at = $1, first_try_at = null, attempts = 0, last_error = null
         where due_at is null and ($2 is null or id = $2)",
    )
    .bind(now)
    .bind(one(which))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes dead letters.
pub(crate) async fn drop_dead(
    connection: &mut PgConnection,
    which: DeadMails,
) -> sqlx::Result<u64> {
    let done =
        sqlx::query("delete from auth.outbox where due_at is null and ($1 is null or id = $1)")
            .bind(one(which))
            .execute(connection)
            .await?;
    Ok(done.rows_affected())
}

/// `None`: all of them.
const fn one(which: DeadMails) -> Option<Uuid> {
    match which {
        DeadMails::All => None,
        DeadMails::One(id) => Some(id.as_uuid()),
    }
}

fn attempts(row: &PgRow) -> sqlx::Result<u32> {
    let attempts: i32 = row.try_get("attempts")?;
    u32::try_from(attempts).map_err(|error| unreadable("attempts", error))
}

fn claimed(row: &PgRow) -> sqlx::Result<ClaimedMail> {
    let user: Option<Uuid> = row.try_get("user_id")?;
    Ok(ClaimedMail {
        mail: QueuedMail {
            id: MailId::from_uuid(row.try_get("id")?),
            user_id: user.map(UserId::from_uuid),
            to: Email::from_stored(row.try_get("recipient")?),
            locale: row.try_get("locale")?,
            letter: text(row, "letter", |raw| serde_json::from_str::<Letter>(raw))?,
            created_at: row.try_get("created_at")?,
        },
        attempts: attempts(row)?,
        first_try_at: row.try_get("first_try_at")?,
        lease: row.try_get("lease")?,
    })
}
