use auth_core::{
    ports::{ClaimedMail, DeadMail, DeadMails, MailCounts},
    types::{Email, Letter, MailId, QueuedMail, UserId},
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{text, unreadable};

/// Claims due mails, the oldest first; those that another worker is claiming just now are not waited for.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    lease: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<Vec<ClaimedMail>> {
    let rows = sqlx::query(
        "with due as (
             select id from auth.outbox where due_at <= $1 order by created_at, id limit $3 for update skip locked
         ), claimed as (
             update auth.outbox o set lease = $2, due_at = $2 from due where o.id = due.id
             returning o.id, o.user_id, o.recipient, o.locale, o.letter, o.attempts, o.lease, o.created_at
         )
         select id, user_id, recipient, locale, letter::text as letter, attempts, lease, created_at
         from claimed order by created_at, id",
    )
    .bind(now)
    .bind(lease)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().filter_map(readable).collect())
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

/// Gives a claim back after a failed try.
pub(crate) async fn fail(
    connection: &mut PgConnection,
    mail: MailId,
    lease: OffsetDateTime,
    retry_at: Option<OffsetDateTime>,
    reason: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update auth.outbox set attempts = attempts + 1, lease = null, due_at = $3, last_error = $4
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
    // Over indexes: the rows themselves hold whole letters.
    let (queued, dead, oldest): (i64, i64, Option<OffsetDateTime>) = sqlx::query_as(
        "select (select count(*) from auth.outbox where due_at is not null),
                (select count(*) from auth.outbox where due_at is null),
                (select min(created_at) from auth.outbox where due_at is not null)",
    )
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

/// Queues dead letters anew; the trigger on `created_at` tells the workers.
pub(crate) async fn retry(
    connection: &mut PgConnection,
    which: DeadMails,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "update auth.outbox set due_at = $1, created_at = $1, attempts = 0, last_error = null
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

/// A mail that this version cannot read is left to a newer one, which may claim it after the lease: it must not hold up the others.
fn readable(row: &PgRow) -> Option<ClaimedMail> {
    match claimed(row) {
        Ok(mail) => Some(mail),
        Err(error) => {
            let id: Option<Uuid> = row.try_get("id").ok();
            tracing::warn!(mail = ?id, %error, "a queued mail cannot be read by this version");
            None
        }
    }
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
        lease: row.try_get("lease")?,
    })
}
