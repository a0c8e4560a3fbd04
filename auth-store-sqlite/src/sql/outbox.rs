use auth_core::{
    ports::{ClaimedMail, DeadMail, DeadMails, MailCounts},
    types::{Email, Letter, MailId, QueuedMail, UserId},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{micros, moment, unreadable};

/// Queues a mail; one for an account that is gone by now is dropped, as it would have been deleted with the account.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    mail: &QueuedMail,
) -> sqlx::Result<()> {
    let letter =
        serde_json::to_string(&mail.letter).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "insert into auth_outbox (id, user_id, recipient, locale, letter, due_at, created_at)
         select ?1, ?2, ?3, ?4, ?5, ?6, ?6
         where ?2 is null or exists (select 1 from auth_users where id = ?2)",
    )
    .bind(mail.id.as_uuid())
    .bind(mail.user_id.map(|id| id.as_uuid()))
    .bind(mail.to.as_str())
    .bind(&*mail.locale)
    .bind(letter)
    .bind(micros(mail.created_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// Claims due mails, the oldest first.
pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    lease: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<Vec<ClaimedMail>> {
    let rows = sqlx::query(
        "update auth_outbox set lease = ?2, due_at = ?2
         where id in (select id from auth_outbox where due_at <= ?1 order by created_at, id limit ?3)
         returning id, user_id, recipient, locale, letter, attempts, lease, created_at",
    )
    .bind(micros(now))
    .bind(micros(lease))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    let mut claimed: Vec<ClaimedMail> = rows.iter().filter_map(readable).collect();
    // `returning` keeps no order.
    claimed.sort_by_key(|claim| (claim.mail.created_at, claim.mail.id));
    Ok(claimed)
}

/// Deletes a mail under the claim that `lease` names.
pub(crate) async fn delete(
    connection: &mut SqliteConnection,
    mail: MailId,
    lease: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from auth_outbox where id = ?1 and lease = ?2")
        .bind(mail.as_uuid())
        .bind(micros(lease))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Gives a claim back after a failed try.
pub(crate) async fn fail(
    connection: &mut SqliteConnection,
    mail: MailId,
    lease: OffsetDateTime,
    retry_at: Option<OffsetDateTime>,
    reason: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update auth_outbox set attempts = attempts + 1, lease = null, due_at = ?3, last_error = ?4
         where id = ?1 and lease = ?2",
    )
    .bind(mail.as_uuid())
    .bind(micros(lease))
    .bind(retry_at.map(micros))
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn counts(connection: &mut SqliteConnection) -> sqlx::Result<MailCounts> {
    // Over indexes: the rows themselves hold whole letters.
    let row = sqlx::query(
        "select (select count(*) from auth_outbox where due_at is not null) as queued,
                (select count(*) from auth_outbox where due_at is null) as dead,
                (select min(created_at) from auth_outbox where due_at is not null) as oldest",
    )
    .fetch_one(connection)
    .await?;
    let oldest: Option<i64> = row.try_get("oldest")?;
    Ok(MailCounts {
        queued: row.try_get("queued")?,
        dead: row.try_get("dead")?,
        oldest: oldest.map(|_| moment(&row, "oldest")).transpose()?,
    })
}

/// The dead letters, the oldest first.
pub(crate) async fn dead(
    connection: &mut SqliteConnection,
    limit: u32,
) -> sqlx::Result<Vec<DeadMail>> {
    let rows = sqlx::query(
        "select id, recipient, coalesce(letter ->> 'template', '') as template, attempts, coalesce(last_error, '') as reason, created_at
         from auth_outbox where due_at is null order by created_at, id limit ?1",
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
                attempts: row.try_get("attempts")?,
                reason: row.try_get("reason")?,
                created_at: moment(row, "created_at")?,
            })
        })
        .collect()
}

/// Queues dead letters anew.
pub(crate) async fn retry(
    connection: &mut SqliteConnection,
    which: DeadMails,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "update auth_outbox set due_at = ?1, created_at = ?1, attempts = 0, last_error = null
         where due_at is null and (?2 is null or id = ?2)",
    )
    .bind(micros(now))
    .bind(one(which))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes dead letters.
pub(crate) async fn drop_dead(
    connection: &mut SqliteConnection,
    which: DeadMails,
) -> sqlx::Result<u64> {
    let done =
        sqlx::query("delete from auth_outbox where due_at is null and (?1 is null or id = ?1)")
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

/// A mail that this version cannot read is left to a newer one, which may claim it after the lease: it must not hold up the others.
fn readable(row: &SqliteRow) -> Option<ClaimedMail> {
    match claimed(row) {
        Ok(mail) => Some(mail),
        Err(error) => {
            let id: Option<Uuid> = row.try_get("id").ok();
            tracing::warn!(mail = ?id, %error, "a queued mail cannot be read by this version");
            None
        }
    }
}

fn claimed(row: &SqliteRow) -> sqlx::Result<ClaimedMail> {
    let user: Option<Uuid> = row.try_get("user_id")?;
    Ok(ClaimedMail {
        mail: QueuedMail {
            id: MailId::from_uuid(row.try_get("id")?),
            user_id: user.map(UserId::from_uuid),
            to: Email::from_stored(row.try_get("recipient")?),
            locale: row.try_get("locale")?,
            letter: letter(row)?,
            created_at: moment(row, "created_at")?,
        },
        attempts: row.try_get("attempts")?,
        lease: moment(row, "lease")?,
    })
}

fn letter(row: &SqliteRow) -> sqlx::Result<Letter> {
    let raw: &str = row.try_get("letter")?;
    serde_json::from_str(raw).map_err(|error| unreadable("letter", error))
}
