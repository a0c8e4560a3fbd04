use auth_core::{
    ports::{
        ClaimedMail, Claims, DeadMail, DeadMails, GIVE_UP_AFTER, LOOKS, LOST, MOST_COUNTED,
        MailCounts, UNREADABLE, put_off,
    },
    types::{Email, Letter, MailId, QueuedMail, UserId},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::{Duration, OffsetDateTime};
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
        "insert into auth_outbox (id, user_id, recipient, locale, letter, due_at, created_at, queued_at)
         select ?1, ?2, ?3, ?4, ?5, ?6, ?6, ?6
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

/// Claims due mails, the longest due first. What lost its claims for long enough is given up, and what cannot be read is put off. A whole: one transaction.
pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    lease: Duration,
    limit: u32,
) -> sqlx::Result<Claims> {
    let limit = limit as usize;
    let mut claims = Claims::default();
    for _ in 0..LOOKS {
        let wanted = limit - claims.mails.len();
        let rows = due(connection, now, wanted).await?;
        for row in &rows {
            let id = MailId::from_uuid(row.try_get("id")?);
            let is_lost = row.try_get::<Option<i64>, _>("lease")?.is_some();
            let first_try_at = match row.try_get::<Option<i64>, _>("first_try_at")? {
                Some(_) => moment(row, "first_try_at")?,
                None => now,
            };
            let is_over = now >= first_try_at.saturating_add(GIVE_UP_AFTER);
            let attempts: u32 = row.try_get("attempts")?;
            let mail = queued(row);
            let fate = match &mail {
                _ if is_lost && is_over => Fate::GivenUp(LOST),
                Err(_) => match put_off(now, first_try_at) {
                    Some(due_at) => Fate::PutOff { due_at },
                    None => Fate::GivenUp(UNREADABLE),
                },
                Ok(_) => Fate::Claimed {
                    lease: now + lease,
                    // What is lost is due again after twice the time of the last one.
                    due_at: now + lease * (1 << attempts.min(5)),
                },
            };
            update(connection, id, first_try_at, &fate).await?;
            match (fate, mail) {
                (Fate::Claimed { lease, .. }, Ok(mail)) => claims.mails.push(ClaimedMail {
                    mail,
                    attempts: attempts.saturating_add(1),
                    first_try_at,
                    lease,
                }),
                (Fate::GivenUp(_), _) => claims.given_up.push(id),
                (_, Err(error)) => {
                    tracing::warn!(mail = %id, %error, "a queued mail cannot be read by this version");
                }
                (Fate::PutOff { .. }, Ok(_)) => {}
            }
        }
        // Others may be due behind what was no mail for us.
        if rows.len() < wanted || claims.mails.len() >= limit {
            return Ok(claims);
        }
    }
    claims.more = true;
    Ok(claims)
}

/// What becomes of a mail that is due.
enum Fate {
    Claimed {
        lease: OffsetDateTime,
        due_at: OffsetDateTime,
    },
    GivenUp(&'static str),
    PutOff {
        due_at: OffsetDateTime,
    },
}

async fn due(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    limit: usize,
) -> sqlx::Result<Vec<SqliteRow>> {
    sqlx::query(
        "select id, user_id, recipient, locale, letter, attempts, first_try_at, lease, created_at
         from auth_outbox where due_at <= ?1 and (lease is null or lease <= ?1) order by due_at, id limit ?2",
    )
    .bind(micros(now))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
}

async fn update(
    connection: &mut SqliteConnection,
    mail: MailId,
    first_try_at: OffsetDateTime,
    fate: &Fate,
) -> sqlx::Result<()> {
    let (tries, lease, due_at, error) = match fate {
        Fate::Claimed { lease, due_at } => (1, Some(*lease), Some(*due_at), None),
        Fate::GivenUp(reason) => (0, None, None, Some(*reason)),
        Fate::PutOff { due_at } => (0, None, Some(*due_at), Some(UNREADABLE)),
    };
    sqlx::query(
        "update auth_outbox set attempts = attempts + ?2, first_try_at = ?3, lease = ?4, due_at = ?5, last_error = coalesce(?6, last_error)
         where id = ?1",
    )
    .bind(mail.as_uuid())
    .bind(tries)
    .bind(micros(first_try_at))
    .bind(lease.map(micros))
    .bind(due_at.map(micros))
    .bind(error)
    .execute(connection)
    .await?;
    Ok(())
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

/// Ends the claim of a failed try.
pub(crate) async fn fail(
    connection: &mut SqliteConnection,
    mail: MailId,
    lease: OffsetDateTime,
    retry_at: Option<OffsetDateTime>,
    reason: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update auth_outbox set lease = null, due_at = ?3, last_error = ?4
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
    // Over two indexes, and no further than is counted: the rows themselves hold whole letters.
    let row = sqlx::query(
        "select count(*) as queued, min(queued_at) as oldest,
             (select count(*) from (select 1 from auth_outbox where due_at is null limit ?1)) as dead
         from (select queued_at from auth_outbox where due_at is not null order by due_at, id limit ?1)",
    )
    .bind(MOST_COUNTED)
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
        "update auth_outbox set due_at = ?1, queued_at = ?1, first_try_at = null, attempts = 0, last_error = null
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

fn queued(row: &SqliteRow) -> sqlx::Result<QueuedMail> {
    let user: Option<Uuid> = row.try_get("user_id")?;
    Ok(QueuedMail {
        id: MailId::from_uuid(row.try_get("id")?),
        user_id: user.map(UserId::from_uuid),
        to: Email::from_stored(row.try_get("recipient")?),
        locale: row.try_get("locale")?,
        letter: letter(row)?,
        created_at: moment(row, "created_at")?,
    })
}

fn letter(row: &SqliteRow) -> sqlx::Result<Letter> {
    let raw: &str = row.try_get("letter")?;
    serde_json::from_str(raw).map_err(|error| unreadable("letter", error))
}
