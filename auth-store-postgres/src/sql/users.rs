use auth_core::{
    ports::{AccountPlace, EmailChange, PasswordChange},
    types::{
        Account, AccountKey, CredentialsVersion, Email, NewAccount, PasswordHash, Record,
        SessionId, User, UserId, Username,
    },
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    append, append_about, bytes, identities,
    record::{self, record},
    sessions,
};
use crate::unit;

/// What [`user`] reads, of the table `u`.
macro_rules! user_columns {
    () => {
        "u.id as user_id, u.username, u.email, u.is_verified, u.is_admin, u.is_disabled, u.password_hash is not null as has_password, u.locale, \
         array(select i.provider from auth.identities i where i.user_id = u.id order by i.provider) as providers, \
         u.created_at as user_created_at, u.updated_at as user_updated_at"
    };
}
pub(super) use user_columns;

/// Makes an account with its first session, token and identity, in one statement.
pub(crate) async fn register(
    connection: &mut PgConnection,
    account: &NewAccount,
    record: &Record,
) -> sqlx::Result<()> {
    let user = &account.user;
    let session = account.session.as_ref().map(|new| &new.session);
    let token = account.token.as_ref();
    let identity = account.identity.as_ref();
    sqlx::query(concat!(
        "with account as (
             insert into auth.users
                 (id, username, username_key, email, email_key, is_verified, is_admin, is_disabled, password_hash,
                  credentials_version, locale, created_at, updated_at)
             values ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
             returning id
         ),
         opened as (
             insert into auth.sessions (id, user_id, created_at, last_used_at, expires_at, ends_at, ip, user_agent)
             select $15, id, $16, $17, $18, $19, $20, $21 from account where $15 is not null
             returning id
         ),
         refresh as (insert into auth.refresh_tokens (digest, session_id) select $22, id from opened),
         issued as (
             insert into auth.mailed_tokens (digest, user_id, purpose, email, email_key, created_at, expires_at)
             select $23, id, $24, $25, $26, $27, $28 from account where $23 is not null
         ),
         identified as (
             insert into auth.identities (user_id, provider, issuer, subject, linked_at)
             select id, $29, $30, $31, $32 from account where $29 is not null
         ),
         ",
        record!(mails if "true", entries if "true"),
        " select"
    ))
    .bind(record::json(record)?)
    .bind(user.id.as_uuid())
    .bind(user.username.as_str())
    .bind(user.username.key())
    .bind(user.email.as_str())
    .bind(user.email.key())
    .bind(user.is_verified)
    .bind(user.is_admin)
    .bind(user.is_disabled)
    .bind(account.password.as_ref().map(PasswordHash::as_str))
    .bind(CredentialsVersion::FIRST.as_i64())
    .bind(&*user.locale)
    .bind(user.created_at)
    .bind(user.updated_at)
    .bind(session.map(|session| session.id.as_uuid()))
    .bind(session.map(|session| session.created_at))
    .bind(session.map(|session| session.last_used_at))
    .bind(session.map(|session| session.expires_at))
    .bind(session.map(|session| session.ends_at))
    .bind(session.and_then(|session| session.ip).map(|ip| ip.to_string()))
    .bind(session.and_then(|session| session.user_agent.as_deref()))
    .bind(account.session.as_ref().map(|new| bytes(&new.refresh)))
    .bind(token.map(|token| bytes(&token.digest)))
    .bind(token.map(|token| token.purpose.as_str()))
    .bind(token.map(|token| token.email.as_str()))
    .bind(token.map(|token| token.email.key()))
    .bind(token.map(|token| token.created_at))
    .bind(token.map(|token| token.expires_at))
    .bind(identity.map(|identity| identity.provider.as_str()))
    .bind(identity.map(|identity| identity.key.issuer()))
    .bind(identity.map(|identity| identity.key.subject()))
    .bind(identity.map(|identity| identity.linked_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets a password that its owner changes, and ends what the old one opened, but for one session.
pub(crate) async fn change_password(
    connection: &mut PgConnection,
    change: &PasswordChange,
    record: &Record,
) -> sqlx::Result<bool> {
    if !replace_password(connection, change).await? {
        return Ok(false);
    }
    sessions::shut(connection, change.user, None, Some(change.keep), record).await?;
    sessions::succeed(connection, change.keep, change.successor, &change.refresh).await?;
    Ok(true)
}

/// Deletes an account; sessions, mailed tokens and mails go by their foreign keys.
pub(crate) async fn delete_account(
    connection: &mut PgConnection,
    user: UserId,
    seen: CredentialsVersion,
    session: SessionId,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<bool> {
    if !delete(connection, user, seen, session, now).await? {
        return Ok(false);
    }
    append(connection, record).await?;
    Ok(true)
}

/// Switches an account off or on.
pub(crate) async fn set_disabled(
    connection: &mut PgConnection,
    user: UserId,
    disabled: bool,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<bool> {
    if !update_disabled(connection, user, disabled, now).await? {
        return Ok(false);
    }
    if disabled {
        sessions::shut(connection, user, None, None, record).await?;
    } else {
        append_about(connection, Some(user), record).await?;
    }
    Ok(true)
}

/// Gives or takes administrator rights, in one statement.
pub(crate) async fn set_admin(
    connection: &mut PgConnection,
    user: UserId,
    admin: bool,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<bool> {
    let row = sqlx::query(concat!(
        "with changed as (
             update auth.users set is_admin = $3, updated_at = $4 where id = $2 and is_admin <> $3 returning id
         ),
         ",
        record!(mails if "exists (select from changed)", entries if "exists (select from changed)"),
        " select from changed"
    ))
    .bind(record::json(record)?)
    .bind(user.as_uuid())
    .bind(admin)
    .bind(now)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Sets the language of mails.
pub(crate) async fn set_locale(
    connection: &mut PgConnection,
    user: UserId,
    locale: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query("update auth.users set locale = $2, updated_at = $3 where id = $1")
        .bind(user.as_uuid())
        .bind(locale)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn account(
    connection: &mut PgConnection,
    key: &AccountKey,
) -> sqlx::Result<Option<Account>> {
    macro_rules! account {
        ($condition:literal) => {
            sqlx::query(concat!(
                "select ",
                user_columns!(),
                ", u.password_hash, u.credentials_version from auth.users u where ",
                $condition
            ))
        };
    }
    let query = match key {
        AccountKey::Email(email) => account!("u.email_key = $1").bind(email.key()),
        AccountKey::Id(id) => account!("u.id = $1").bind(id.as_uuid()),
        AccountKey::Identity(key) => account!(
            "u.id = (select i.user_id from auth.identities i where i.issuer = $1 and i.subject = $2)"
        )
        .bind(key.issuer())
        .bind(key.subject()),
        AccountKey::Username(username) => account!("u.username_key = $1").bind(username.key()),
    };
    let Some(row) = query.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let password: Option<String> = row.try_get("password_hash")?;
    Ok(Some(Account {
        user: user(&row)?,
        password: password.map(PasswordHash::new),
        version: CredentialsVersion::from_i64(row.try_get("credentials_version")?),
    }))
}

pub(super) async fn by_id(connection: &mut PgConnection, id: UserId) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "select ",
        user_columns!(),
        " from auth.users u where u.id = $1"
    ))
    .bind(id.as_uuid())
    .fetch_one(connection)
    .await?;
    user(&row)
}

/// As [`by_id`], of an account that nobody deletes until the end of the transaction.
pub(super) async fn hold(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<User>> {
    let row = sqlx::query(concat!(
        "select ",
        user_columns!(),
        " from auth.users u where u.id = $1 for key share of u"
    ))
    .bind(id.as_uuid())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(user).transpose()
}

/// Lets nobody else change the account, open a session or issue a token for it until the end of the transaction.
pub(super) async fn lock(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query("select from auth.users where id = $1 for no key update")
        .bind(user.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// As [`lock`], for the session too, and says whether another account has the address; `None` when the account is of another version or gone, or the
/// session has ended.
///
/// Nobody is kept from taking the address afterwards: that is seen when the token is redeemed.
pub(super) async fn lock_and_look_for(
    connection: &mut PgConnection,
    wish: &EmailChange,
) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar(
        "select exists (select from auth.users other where other.email_key = $3 and other.id <> $1)
         from auth.users u join auth.sessions s on s.user_id = u.id
         where u.id = $1 and u.credentials_version = $2 and s.id = $4 and s.expires_at > $5
         for no key update of u for key share of s",
    )
    .bind(wish.user.as_uuid())
    .bind(wish.seen.as_i64())
    .bind(wish.change.email.key())
    .bind(wish.session.as_uuid())
    .bind(wish.change.created_at)
    .fetch_optional(connection)
    .await
}

async fn replace_password(
    connection: &mut PgConnection,
    change: &PasswordChange,
) -> sqlx::Result<bool> {
    // The kept session is locked too, or it could end before it gets its refresh token.
    let done = sqlx::query(
        "with kept as (
             select u.id from auth.users u join auth.sessions s on s.user_id = u.id
             where u.id = $1 and u.credentials_version = $2 and s.id = $5 and s.expires_at > $4
             for no key update of u for update of s
         )
         update auth.users u set password_hash = $3, credentials_version = u.credentials_version + 1, updated_at = $4 from kept
         where u.id = kept.id",
    )
    .bind(change.user.as_uuid())
    .bind(change.seen.as_i64())
    .bind(change.password.as_str())
    .bind(change.now)
    .bind(change.keep.as_uuid())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A password set by whoever reads the mailbox, which is proven by that.
pub(super) async fn reset_password(
    connection: &mut PgConnection,
    id: UserId,
    password: &PasswordHash,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "update auth.users u
         set password_hash = $2, is_verified = true, credentials_version = u.credentials_version + 1, updated_at = $3
         where u.id = $1 returning (select is_verified from auth.users where id = $1) as was_verified, ",
        user_columns!()
    ))
    .bind(id.as_uuid())
    .bind(password.as_str())
    .bind(now)
    .fetch_one(&mut *connection)
    .await?;
    let mut user = user(&row)?;
    // Whoever linked an identity before the address was proven is not its owner.
    if !row.try_get::<bool, _>("was_verified")? && !user.providers.is_empty() {
        identities::delete_all(connection, id).await?;
        user.providers.clear();
    }
    Ok(user)
}

pub(super) async fn verify(
    connection: &mut PgConnection,
    id: UserId,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "update auth.users u set is_verified = true, updated_at = $2 where u.id = $1 returning ",
        user_columns!()
    ))
    .bind(id.as_uuid())
    .bind(now)
    .fetch_one(connection)
    .await?;
    user(&row)
}

pub(super) async fn change_email(
    connection: &mut PgConnection,
    id: UserId,
    email: &Email,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "update auth.users u
         set email = $2, email_key = $3, is_verified = true, credentials_version = u.credentials_version + 1, updated_at = $4
         where u.id = $1 returning ",
        user_columns!()
    ))
    .bind(id.as_uuid())
    .bind(email.as_str())
    .bind(email.key())
    .bind(now)
    .fetch_one(connection)
    .await?;
    user(&row)
}

/// Whether the account is now that of whoever has proven its address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    No,
    /// The password goes, and what an administrator may do: whoever had them did not prove the address.
    Yes,
}

/// Moves the version on.
pub(super) async fn move_on(
    connection: &mut PgConnection,
    id: UserId,
    claimed: Claimed,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "update auth.users u
         set password_hash = case when $2 then null else u.password_hash end, is_verified = u.is_verified or $2, is_admin = u.is_admin and not $2,
             credentials_version = u.credentials_version + 1, updated_at = $3
         where u.id = $1 returning ",
        user_columns!()
    ))
    .bind(id.as_uuid())
    .bind(claimed == Claimed::Yes)
    .bind(now)
    .fetch_one(connection)
    .await?;
    user(&row)
}

async fn update_disabled(
    connection: &mut PgConnection,
    user: UserId,
    disabled: bool,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // Switching off moves the version on.
    let done = sqlx::query(
        "update auth.users set is_disabled = $2, credentials_version = credentials_version + $2::integer, updated_at = $3
         where id = $1 and is_disabled <> $2",
    )
    .bind(user.as_uuid())
    .bind(disabled)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// How many entries a ledger may have whose descriptions go with the account in a small part of the time that a statement has.
const SHORT_LEDGER: i64 = 10_000;

async fn delete(
    connection: &mut PgConnection,
    user: UserId,
    seen: CredentialsVersion,
    session: SessionId,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // The session is locked too, or it could have ended before this is done.
    let entries: Option<i64> = sqlx::query_scalar(
        "with held as (
             select u.id, coalesce(a.entries, 0) as entries
             from auth.users u join auth.sessions s on s.user_id = u.id left join auth.credit_accounts a on a.user_id = u.id
             where u.id = $1 and u.credentials_version = $2 and s.id = $3 and s.expires_at > $4
             for update of u for update of s
         ), gone as (
             delete from auth.users u using held where u.id = held.id and held.entries <= $5
         )
         select entries from held",
    )
    .bind(user.as_uuid())
    .bind(seen.as_i64())
    .bind(session.as_uuid())
    .bind(now)
    .bind(SHORT_LEDGER)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(entries) = entries else {
        return Ok(false);
    };
    if entries > SHORT_LEDGER {
        let limit = limit_statements(connection, &unit::LONG.as_millis().to_string()).await?;
        sqlx::query("delete from auth.users where id = $1")
            .bind(user.as_uuid())
            .execute(&mut *connection)
            .await?;
        limit_statements(connection, &limit).await?;
    }
    Ok(true)
}

/// Limits the time of each statement of this transaction from now on; the limit until now.
async fn limit_statements(connection: &mut PgConnection, limit: &str) -> sqlx::Result<String> {
    sqlx::query_scalar(
        "with before as materialized (select current_setting('statement_timeout') as value)
         select value from before, lateral (select set_config('statement_timeout', $1, true) where value is not null) as after",
    )
    .bind(limit)
    .fetch_one(connection)
    .await
}

/// The accounts after a place that were never verified, the oldest first.
pub(crate) async fn unverified(
    connection: &mut PgConnection,
    made_before: OffsetDateTime,
    after: Option<AccountPlace>,
    limit: u32,
) -> sqlx::Result<Vec<AccountPlace>> {
    let places: Vec<(OffsetDateTime, Uuid)> = sqlx::query_as(
        "select created_at, id from auth.users
         where not is_verified and created_at < $1 and ($2::timestamptz is null or (created_at, id) > ($2, $3))
         order by created_at, id limit $4",
    )
    .bind(made_before)
    .bind(after.map(|place| place.created_at))
    .bind(after.map(|place| place.id.as_uuid()))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    let place = |(created_at, id)| AccountPlace {
        created_at,
        id: UserId::from_uuid(id),
    };
    Ok(places.into_iter().map(place).collect())
}

/// Deletes those of the accounts that are not verified. What somebody works on just now (the owner who verifies the address in this moment) is left to a
/// later sweep.
pub(crate) async fn delete_unverified(
    connection: &mut PgConnection,
    accounts: &[UserId],
) -> sqlx::Result<u64> {
    let accounts: Vec<Uuid> = accounts.iter().map(UserId::as_uuid).collect();
    let done = sqlx::query(
        "delete from auth.users
         where id in (select id from auth.users where id = any($1) and not is_verified for update skip locked)",
    )
    .bind(accounts)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

pub(super) fn user(row: &PgRow) -> sqlx::Result<User> {
    Ok(User {
        id: UserId::from_uuid(row.try_get("user_id")?),
        username: Username::from_stored(row.try_get("username")?),
        email: Email::from_stored(row.try_get("email")?),
        is_verified: row.try_get("is_verified")?,
        is_admin: row.try_get("is_admin")?,
        is_disabled: row.try_get("is_disabled")?,
        has_password: row.try_get("has_password")?,
        providers: identities::providers(row)?,
        locale: row.try_get("locale")?,
        created_at: row.try_get("user_created_at")?,
        updated_at: row.try_get("user_updated_at")?,
    })
}
