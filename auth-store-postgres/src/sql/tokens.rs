use auth_core::{
    ports::{Begun, EmailChange, Redeemed},
    types::{Change, Digest, Email, NewMailedToken, Purpose, Record, Throttle, User, UserId},
};
use sqlx::{PgConnection, Row};
use time::{Duration, OffsetDateTime};

use super::{
    append_about, before, bytes,
    record::{self, record},
    sessions,
    users::{self, user_columns},
};

/// Keeps a token and queues its mail, unless there were too many.
pub(crate) async fn issue(
    connection: &mut PgConnection,
    token: &NewMailedToken,
    throttle: Throttle,
    record: &Record,
) -> sqlx::Result<bool> {
    // Then the count, a statement of its own, sees what others issued before they let go of the user.
    users::lock(connection, token.user_id).await?;
    insert_unless_throttled(connection, token, throttle, record).await
}

/// Keeps the two tokens of a change of address; `None` when another account has the address.
pub(crate) async fn begin_email_change(
    connection: &mut PgConnection,
    wish: &EmailChange,
    record: &Record,
) -> sqlx::Result<Option<Begun>> {
    match users::lock_and_look_for(connection, wish).await? {
        None => return Ok(Some(Begun::Gone)),
        Some(true) => return Ok(None),
        Some(false) => {}
    }
    if insert_change(connection, wish, record).await? {
        return Ok(Some(Begun::Done));
    }
    let sent = last_sent(connection, &wish.change, wish.throttle).await?;
    let next = wish.throttle.next(&sent);
    Ok(Some(Begun::Throttled(
        next.unwrap_or(wish.change.created_at),
    )))
}

/// Uses up a token and makes its change.
pub(crate) async fn redeem(
    connection: &mut PgConnection,
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
            sessions::shut(connection, id, Some(Purpose::ChangeEmail), None, record).await?;
            users::by_id(connection, id).await?
        }
        Change::ChangeEmail => {
            let user = users::change_email(connection, id, &email, now).await?;
            sessions::shut(connection, id, None, None, record).await?;
            user
        }
        Change::ReclaimAccount(password) | Change::ResetPassword(password) => {
            let user = users::reset_password(connection, id, password, now).await?;
            sessions::shut(connection, id, None, None, record).await?;
            user
        }
        Change::VerifyEmail => {
            let user = users::verify(connection, id, now).await?;
            append_about(connection, Some(id), record).await?;
            user
        }
        // A core that is newer than this store: the error takes the spending back.
        unknown => {
            return Err(sqlx::Error::InvalidArgument(format!(
                "no statement for the change of {:?}",
                unknown.purpose()
            )));
        }
    };
    Ok(Redeemed::Done(Box::new(user)))
}

/// The owner of a token that could be redeemed now.
pub(crate) async fn pending(
    connection: &mut PgConnection,
    digest: &Digest,
    purpose: Purpose,
    now: OffsetDateTime,
) -> sqlx::Result<Option<User>> {
    let row = sqlx::query(concat!(
        "select ",
        user_columns!(),
        " from auth.mailed_tokens t join auth.users u on u.id = t.user_id
         where t.digest = $1 and t.purpose = $2 and t.state = 'open' and t.expires_at > $3
           and (t.purpose not in ('reclaim_account', 'reset_password', 'verify_email') or t.email_key = u.email_key)"
    ))
    .bind(bytes(digest))
    .bind(purpose.as_str())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(users::user).transpose()
}

async fn insert_unless_throttled(
    connection: &mut PgConnection,
    token: &NewMailedToken,
    throttle: Throttle,
    record: &Record,
) -> sqlx::Result<bool> {
    let row = sqlx::query(concat!(
        "with issued as (
             insert into auth.mailed_tokens (digest, user_id, purpose, email, email_key, created_at, expires_at)
             select $3, u.id, $4, $5, $6, $7, $8 from auth.users u
             where u.id = $2
               and not exists (select from auth.mailed_tokens where user_id = $2 and purpose = $4 and created_at > $9)
               and $11 > (select count(*) from auth.mailed_tokens where user_id = $2 and purpose = $4 and created_at > $10)
             returning digest
         ),
         ",
        record!(mails if "exists (select from issued)", entries if "true"),
        " select from issued"
    ))
    .bind(record::json(record)?)
    .bind(token.user_id.as_uuid())
    .bind(bytes(&token.digest))
    .bind(token.purpose.as_str())
    .bind(token.email.as_str())
    .bind(token.email.key())
    .bind(token.created_at)
    .bind(token.expires_at)
    .bind(before(token.created_at, throttle.gap))
    .bind(before(token.created_at, Duration::HOUR))
    .bind(i64::from(throttle.hourly))
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Keeps the tokens of a change of address, and makes those of an older change useless, unless there were too many.
async fn insert_change(
    connection: &mut PgConnection,
    wish: &EmailChange,
    record: &Record,
) -> sqlx::Result<bool> {
    let now = wish.change.created_at;
    let mut query = sqlx::query(concat!(
        "with granted as (
             select where not exists (select from auth.mailed_tokens where user_id = $2 and purpose = $4 and created_at > $15)
                      and $17 > (select count(*) from auth.mailed_tokens where user_id = $2 and purpose = $4 and created_at > $16)
         ),
         killed as (
             update auth.mailed_tokens set state = 'killed'
             where user_id = $2 and purpose = $4 and state = 'open' and exists (select from granted)
         ),
         issued as (
             insert into auth.mailed_tokens (digest, user_id, purpose, email, email_key, created_at, expires_at)
             select new.* from granted,
                 (values ($3, $2, $4, $5, $6, $7, $8), ($9, $2, $10, $11, $12, $13, $14)) as new
             returning digest
         ),
         ",
        record!(mails if "exists (select from issued)", entries if "exists (select from issued)"),
        " select from granted"
    ))
    .bind(record::json(record)?)
    .bind(wish.user.as_uuid());
    for token in [&wish.change, &wish.cancel] {
        query = query
            .bind(bytes(&token.digest))
            .bind(token.purpose.as_str())
            .bind(token.email.as_str())
            .bind(token.email.key())
            .bind(token.created_at)
            .bind(token.expires_at);
    }
    let row = query
        .bind(before(now, wish.throttle.gap))
        .bind(before(now, Duration::HOUR))
        .bind(i64::from(wish.throttle.hourly))
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// When the last tokens like this one were issued, the newest first.
async fn last_sent(
    connection: &mut PgConnection,
    token: &NewMailedToken,
    throttle: Throttle,
) -> sqlx::Result<Vec<OffsetDateTime>> {
    sqlx::query_scalar(
        "select created_at from auth.mailed_tokens where user_id = $1 and purpose = $2 order by created_at desc limit $3",
    )
    .bind(token.user_id.as_uuid())
    .bind(token.purpose.as_str())
    .bind(i64::from(throttle.hourly))
    .fetch_all(connection)
    .await
}

/// Single use is this one conditional write, behind the lock of the user. Returns the token's address.
async fn spend(
    connection: &mut PgConnection,
    digest: &Digest,
    user: UserId,
    purpose: Purpose,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Email>> {
    // A token that proves a mailbox proves nothing about an account that has another address by now.
    let row = sqlx::query(
        "with holder as (select id, email_key from auth.users where id = $2 for no key update)
         update auth.mailed_tokens t set state = 'used' from holder
         where t.digest = $1 and t.user_id = holder.id and t.purpose = $3 and t.state = 'open' and t.expires_at > $4
           and (t.purpose not in ('reclaim_account', 'reset_password', 'verify_email') or t.email_key = holder.email_key)
         returning t.email",
    )
    .bind(bytes(digest))
    .bind(user.as_uuid())
    .bind(purpose.as_str())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.map(|row| row.try_get("email").map(Email::from_stored))
        .transpose()
}

/// Says why a token was not spent.
async fn refuse(
    connection: &mut PgConnection,
    digest: &Digest,
    user: UserId,
    purpose: Purpose,
    now: OffsetDateTime,
) -> sqlx::Result<Redeemed> {
    let row = sqlx::query(concat!(
        "select t.state, t.expires_at, u.is_verified and u.email_key = t.email_key as is_proven, ",
        user_columns!(),
        " from auth.mailed_tokens t join auth.users u on u.id = t.user_id
         where t.digest = $1 and t.user_id = $2 and t.purpose = $3"
    ))
    .bind(bytes(digest))
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
    if row.try_get::<OffsetDateTime, _>("expires_at")? <= now {
        return Ok(Redeemed::Expired);
    }
    let proves_an_address = matches!(purpose, Purpose::ChangeEmail | Purpose::VerifyEmail);
    if state == "used" && proves_an_address && row.try_get("is_proven")? {
        return Ok(Redeemed::Already(Box::new(users::user(&row)?)));
    }
    Ok(Redeemed::Refused)
}

/// Deletes expired tokens that the throttle counts no longer, at most `limit`.
pub(crate) async fn delete_expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "delete from auth.mailed_tokens
         where digest in (
             select digest from auth.mailed_tokens where expires_at <= $1 and created_at <= $2 order by expires_at limit $3 for update skip locked
         )",
    )
    .bind(now)
    .bind(before(now, Duration::HOUR))
    .bind(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
