use auth_core::{
    ports::{Begun, EmailChange, Ended, Redeemed},
    types::{Change, Digest, Email, NewMailedToken, Purpose, Record, Throttle, User, UserId},
};
use sqlx::{Row, SqliteConnection};
use time::{Duration, OffsetDateTime};

use super::{
    append, audit, micros, micros_before, moment, sessions,
    users::{self, user_columns},
};

/// Keeps a token and queues its mail, unless there were too many.
pub(crate) async fn issue(
    connection: &mut SqliteConnection,
    token: &NewMailedToken,
    throttle: Throttle,
    record: &Record,
) -> sqlx::Result<bool> {
    let issued = insert_unless_throttled(connection, token, throttle).await?;
    if issued {
        append(connection, record).await?;
    } else {
        audit::insert_all(connection, &record.audit).await?;
    }
    Ok(issued)
}

/// Keeps the two tokens of a change of address; `None` when another account has the address.
pub(crate) async fn begin_email_change(
    connection: &mut SqliteConnection,
    wish: &EmailChange,
    record: &Record,
) -> sqlx::Result<Option<Begun>> {
    match users::has_other_owner(connection, wish).await? {
        None => return Ok(Some(Begun::Gone)),
        Some(true) => return Ok(None),
        Some(false) => {}
    }
    if !insert_unless_throttled(connection, &wish.change, wish.throttle).await? {
        let sent = last_sent(connection, &wish.change, wish.throttle).await?;
        let next = wish.throttle.next(&sent);
        return Ok(Some(Begun::Throttled(
            next.unwrap_or(wish.change.created_at),
        )));
    }
    kill(
        connection,
        wish.user,
        Some(Purpose::ChangeEmail),
        Some(&wish.change.digest),
    )
    .await?;
    insert(connection, &wish.cancel).await?;
    append(connection, record).await?;
    Ok(Some(Begun::Done))
}

/// Uses up a token and makes its change.
pub(crate) async fn redeem(
    connection: &mut SqliteConnection,
    digest: &Digest,
    id: UserId,
    change: &Change,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<Redeemed> {
    let Some(email) = spend(connection, digest, id, change.purpose(), now).await? else {
        return refuse(connection, digest, id, change.purpose(), now).await;
    };
    let user = match change {
        Change::CancelEmailChange => {
            kill(connection, id, Some(Purpose::ChangeEmail), None).await?;
            sessions::delete(connection, id, Ended::All, now).await?;
            users::by_id(connection, id).await?
        }
        Change::ChangeEmail => {
            let user = users::change_email(connection, id, &email, now).await?;
            kill_all(connection, id).await?;
            sessions::delete(connection, id, Ended::All, now).await?;
            user
        }
        Change::ReclaimAccount(password) | Change::ResetPassword(password) => {
            let user = users::reset_password(connection, id, password, now).await?;
            kill_all(connection, id).await?;
            sessions::delete(connection, id, Ended::All, now).await?;
            user
        }
        Change::VerifyEmail => users::verify(connection, id, now).await?,
        // A core that is newer than this store: the error takes the spending back.
        unknown => {
            return Err(sqlx::Error::InvalidArgument(format!(
                "no statement for the change of {:?}",
                unknown.purpose()
            )));
        }
    };
    append(connection, record).await?;
    Ok(Redeemed::Done(Box::new(user)))
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    token: &NewMailedToken,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into auth_mailed_tokens (digest, user_id, purpose, email, email_key, created_at, expires_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(token.digest.as_bytes().as_slice())
    .bind(token.user_id.as_uuid())
    .bind(token.purpose.as_str())
    .bind(token.email.as_str())
    .bind(token.email.key())
    .bind(micros(token.created_at))
    .bind(micros(token.expires_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_unless_throttled(
    connection: &mut SqliteConnection,
    token: &NewMailedToken,
    throttle: Throttle,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "insert into auth_mailed_tokens (digest, user_id, purpose, email, email_key, created_at, expires_at)
         select ?1, u.id, ?3, ?4, ?5, ?6, ?7 from auth_users u
         where u.id = ?2
           and not exists (select 1 from auth_mailed_tokens where user_id = ?2 and purpose = ?3 and created_at > ?8)
           and ?10 > (select count(*) from auth_mailed_tokens where user_id = ?2 and purpose = ?3 and created_at > ?9)",
    )
    .bind(token.digest.as_bytes().as_slice())
    .bind(token.user_id.as_uuid())
    .bind(token.purpose.as_str())
    .bind(token.email.as_str())
    .bind(token.email.key())
    .bind(micros(token.created_at))
    .bind(micros(token.expires_at))
    .bind(micros_before(token.created_at, throttle.gap))
    .bind(micros_before(token.created_at, Duration::HOUR))
    .bind(i64::from(throttle.hourly))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// When the last tokens like this one were issued, the newest first.
async fn last_sent(
    connection: &mut SqliteConnection,
    token: &NewMailedToken,
    throttle: Throttle,
) -> sqlx::Result<Vec<OffsetDateTime>> {
    let rows = sqlx::query(
        "select created_at from auth_mailed_tokens where user_id = ?1 and purpose = ?2 order by created_at desc limit ?3",
    )
    .bind(token.user_id.as_uuid())
    .bind(token.purpose.as_str())
    .bind(i64::from(throttle.hourly))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| moment(row, "created_at")).collect()
}

/// The owner of a token that could be spent now.
pub(crate) async fn pending(
    connection: &mut SqliteConnection,
    digest: &Digest,
    purpose: Purpose,
    now: OffsetDateTime,
) -> sqlx::Result<Option<User>> {
    let row = sqlx::query(concat!(
        "select ",
        user_columns!("u."),
        " from auth_mailed_tokens t join auth_users u on u.id = t.user_id
         where t.digest = ?1 and t.purpose = ?2 and t.state = 'open' and t.expires_at > ?3
           and (t.purpose not in ('reclaim_account', 'reset_password', 'verify_email') or t.email_key = u.email_key)"
    ))
    .bind(digest.as_bytes().as_slice())
    .bind(purpose.as_str())
    .bind(micros(now))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(users::user).transpose()
}

/// Single use is this one conditional write. Returns the token's address.
async fn spend(
    connection: &mut SqliteConnection,
    digest: &Digest,
    user: UserId,
    purpose: Purpose,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Email>> {
    // A token that proves a mailbox proves nothing about an account that has another address by now.
    let row = sqlx::query(
        "update auth_mailed_tokens as t set state = 'used'
         where digest = ?1 and user_id = ?2 and purpose = ?3 and state = 'open' and expires_at > ?4
           and (purpose not in ('reclaim_account', 'reset_password', 'verify_email')
                or email_key = (select u.email_key from auth_users u where u.id = t.user_id))
         returning email",
    )
    .bind(digest.as_bytes().as_slice())
    .bind(user.as_uuid())
    .bind(purpose.as_str())
    .bind(micros(now))
    .fetch_optional(connection)
    .await?;
    row.map(|row| row.try_get("email").map(Email::from_stored))
        .transpose()
}

/// Says why a token was not spent.
async fn refuse(
    connection: &mut SqliteConnection,
    digest: &Digest,
    user: UserId,
    purpose: Purpose,
    now: OffsetDateTime,
) -> sqlx::Result<Redeemed> {
    let row = sqlx::query(concat!(
        "select t.state, t.expires_at, u.is_verified and u.email_key = t.email_key as is_proven, ",
        user_columns!("u."),
        " from auth_mailed_tokens t join auth_users u on u.id = t.user_id
         where t.digest = ?1 and t.user_id = ?2 and t.purpose = ?3"
    ))
    .bind(digest.as_bytes().as_slice())
    .bind(user.as_uuid())
    .bind(purpose.as_str())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(Redeemed::Refused);
    };
    let state: &str = row.try_get("state")?;
    if state == "killed" {
        return Ok(Redeemed::Refused);
    }
    if moment(&row, "expires_at")? <= now {
        return Ok(Redeemed::Expired);
    }
    let proves_an_address = matches!(purpose, Purpose::ChangeEmail | Purpose::VerifyEmail);
    if state == "used" && proves_an_address && row.try_get("is_proven")? {
        return Ok(Redeemed::Already(Box::new(users::user(&row)?)));
    }
    Ok(Redeemed::Refused)
}

pub(super) async fn kill_all(connection: &mut SqliteConnection, user: UserId) -> sqlx::Result<()> {
    kill(connection, user, None, None).await
}

/// Makes unused tokens useless; they stay for the throttle.
async fn kill(
    connection: &mut SqliteConnection,
    user: UserId,
    purpose: Option<Purpose>,
    but: Option<&Digest>,
) -> sqlx::Result<()> {
    sqlx::query(
        "update auth_mailed_tokens set state = 'killed'
         where user_id = ?1 and state = 'open' and (?2 is null or purpose = ?2) and (?3 is null or digest <> ?3)",
    )
    .bind(user.as_uuid())
    .bind(purpose.map(Purpose::as_str))
    .bind(but.map(|digest| digest.as_bytes().as_slice()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes expired tokens that the throttle counts no longer, at most `limit`.
pub(crate) async fn delete_expired(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "delete from auth_mailed_tokens
         where digest in (select digest from auth_mailed_tokens where expires_at <= ?1 and created_at <= ?2 limit ?3)",
    )
    .bind(micros(now))
    .bind(micros_before(now, Duration::HOUR))
    .bind(limit)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
