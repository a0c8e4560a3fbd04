use auth_core::{
    ports::{AccountPlace, EmailChange, Ended, PasswordChange},
    types::{
        Account, AccountKey, CredentialsVersion, Email, NewAccount, PasswordHash, Record,
        SessionId, User, UserId, Username,
    },
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{append, identities, micros, moment, sessions, tokens};

/// What [`user`] reads, of the table or alias `$of`.
macro_rules! user_columns {
    ($of:literal) => {
        concat!(
            $of,
            "id as user_id, ",
            $of,
            "username, ",
            $of,
            "email, ",
            $of,
            "is_verified, ",
            $of,
            "is_admin, ",
            $of,
            "is_disabled, ",
            $of,
            "password_hash is not null as has_password, ",
            "(select group_concat(i.provider) from auth_identities i where i.user_id = ",
            $of,
            "id) as providers, ",
            $of,
            "locale, ",
            $of,
            "created_at as user_created_at, ",
            $of,
            "updated_at as user_updated_at"
        )
    };
}
pub(super) use user_columns;

/// Makes an account with its first session and token.
pub(crate) async fn register(
    connection: &mut SqliteConnection,
    account: &NewAccount,
    record: &Record,
) -> sqlx::Result<()> {
    insert(connection, &account.user, account.password.as_ref()).await?;
    if let Some(session) = &account.session {
        sessions::insert(connection, session, CredentialsVersion::FIRST).await?;
        sessions::insert_refresh(connection, &session.refresh, session.session.id, None).await?;
    }
    if let Some(token) = &account.token {
        tokens::insert(connection, token).await?;
    }
    if let Some(identity) = &account.identity {
        identities::insert(connection, account.user.id, identity).await?;
    }
    append(connection, record).await
}

/// Sets a password that its owner changes, and ends what the old one opened, but for one session.
pub(crate) async fn change_password(
    connection: &mut SqliteConnection,
    change: &PasswordChange,
    record: &Record,
) -> sqlx::Result<bool> {
    if !replace_password(connection, change).await? {
        return Ok(false);
    }
    tokens::kill_all(connection, change.user).await?;
    sessions::delete(
        connection,
        change.user,
        Ended::AllBut(change.keep),
        change.now,
    )
    .await?;
    sessions::delete_refresh(connection, change.keep).await?;
    sessions::rename(connection, change.keep, change.successor).await?;
    sessions::insert_refresh(connection, &change.refresh, change.successor, None).await?;
    append(connection, record).await?;
    Ok(true)
}

/// Deletes an account; sessions, mailed tokens and mails go by their foreign keys.
pub(crate) async fn delete_account(
    connection: &mut SqliteConnection,
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
    connection: &mut SqliteConnection,
    user: UserId,
    disabled: bool,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<bool> {
    if !update_disabled(connection, user, disabled, now).await? {
        return Ok(false);
    }
    if disabled {
        tokens::kill_all(connection, user).await?;
        sessions::delete(connection, user, Ended::All, now).await?;
    }
    append(connection, record).await?;
    Ok(true)
}

/// Gives or takes administrator rights.
pub(crate) async fn set_admin(
    connection: &mut SqliteConnection,
    user: UserId,
    admin: bool,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<bool> {
    if !update_admin(connection, user, admin, now).await? {
        return Ok(false);
    }
    append(connection, record).await?;
    Ok(true)
}

/// Sets the language of mails.
pub(crate) async fn set_locale(
    connection: &mut SqliteConnection,
    user: UserId,
    locale: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query("update auth_users set locale = ?2, updated_at = ?3 where id = ?1")
        .bind(user.as_uuid())
        .bind(locale)
        .bind(micros(now))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn account(
    connection: &mut SqliteConnection,
    key: &AccountKey,
) -> sqlx::Result<Option<Account>> {
    let query = match key {
        AccountKey::Email(email) => sqlx::query(concat!(
            "select ",
            user_columns!(""),
            ", password_hash, credentials_version from auth_users where email_key = ?1"
        ))
        .bind(email.key()),
        AccountKey::Id(id) => sqlx::query(concat!(
            "select ",
            user_columns!(""),
            ", password_hash, credentials_version from auth_users where id = ?1"
        ))
        .bind(id.as_uuid()),
        AccountKey::Identity(key) => sqlx::query(concat!(
            "select ",
            user_columns!(""),
            ", password_hash, credentials_version from auth_users
             where id = (select user_id from auth_identities where issuer = ?1 and subject = ?2)"
        ))
        .bind(key.issuer())
        .bind(key.subject()),
        AccountKey::Username(username) => sqlx::query(concat!(
            "select ",
            user_columns!(""),
            ", password_hash, credentials_version from auth_users where username_key = ?1"
        ))
        .bind(username.key()),
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

pub(super) async fn by_id(connection: &mut SqliteConnection, id: UserId) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "select ",
        user_columns!(""),
        " from auth_users where id = ?1"
    ))
    .bind(id.as_uuid())
    .fetch_one(connection)
    .await?;
    user(&row)
}

/// Whether another account has the address; `None` when the account is of another version or gone, or the session has ended.
pub(super) async fn has_other_owner(
    connection: &mut SqliteConnection,
    wish: &EmailChange,
) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar(
        "select exists (select 1 from auth_users other where other.email_key = ?3 and other.id <> ?1)
         from auth_users u join auth_sessions s on s.user_id = u.id
         where u.id = ?1 and u.credentials_version = ?2 and s.id = ?4 and s.expires_at > ?5",
    )
    .bind(wish.user.as_uuid())
    .bind(wish.seen.as_i64())
    .bind(wish.change.email.key())
    .bind(wish.session.as_uuid())
    .bind(micros(wish.change.created_at))
    .fetch_optional(connection)
    .await
}

async fn insert(
    connection: &mut SqliteConnection,
    user: &User,
    password: Option<&PasswordHash>,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into auth_users
             (id, username, username_key, email, email_key, is_verified, is_admin, is_disabled, password_hash,
              credentials_version, locale, created_at, updated_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(user.id.as_uuid())
    .bind(user.username.as_str())
    .bind(user.username.key())
    .bind(user.email.as_str())
    .bind(user.email.key())
    .bind(user.is_verified)
    .bind(user.is_admin)
    .bind(user.is_disabled)
    .bind(password.map(PasswordHash::as_str))
    .bind(CredentialsVersion::FIRST.as_i64())
    .bind(&*user.locale)
    .bind(micros(user.created_at))
    .bind(micros(user.updated_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn replace_password(
    connection: &mut SqliteConnection,
    change: &PasswordChange,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update auth_users
         set password_hash = ?3, credentials_version = credentials_version + 1, updated_at = ?4
         where id = ?1 and credentials_version = ?2
           and exists (select 1 from auth_sessions where id = ?5 and user_id = ?1 and expires_at > ?4)",
    )
    .bind(change.user.as_uuid())
    .bind(change.seen.as_i64())
    .bind(change.password.as_str())
    .bind(micros(change.now))
    .bind(change.keep.as_uuid())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Keeps the password under stronger settings. The version was checked in the same transaction.
pub(super) async fn rehash(
    connection: &mut SqliteConnection,
    user: UserId,
    password: &PasswordHash,
) -> sqlx::Result<()> {
    sqlx::query("update auth_users set password_hash = ?2 where id = ?1")
        .bind(user.as_uuid())
        .bind(password.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts the address as verified, and takes the password away; whoever set it did not prove the address.
pub(super) async fn claim(connection: &mut SqliteConnection, id: UserId) -> sqlx::Result<()> {
    sqlx::query(
        "update auth_users set password_hash = null, is_verified = 1, is_admin = 0 where id = ?1",
    )
    .bind(id.as_uuid())
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves the version on.
pub(super) async fn move_on(
    connection: &mut SqliteConnection,
    id: UserId,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "update auth_users set credentials_version = credentials_version + 1, updated_at = ?2 where id = ?1 returning ",
        user_columns!("")
    ))
    .bind(id.as_uuid())
    .bind(micros(now))
    .fetch_one(connection)
    .await?;
    user(&row)
}

/// A password set by whoever reads the mailbox, which is proven by that.
pub(super) async fn reset_password(
    connection: &mut SqliteConnection,
    id: UserId,
    password: &PasswordHash,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    // Whoever linked an identity before the address was proven is not its owner.
    identities::delete_unproven(connection, id).await?;
    let row = sqlx::query(concat!(
        "update auth_users
         set password_hash = ?2, is_verified = 1, credentials_version = credentials_version + 1, updated_at = ?3
         where id = ?1 returning ",
        user_columns!("")
    ))
    .bind(id.as_uuid())
    .bind(password.as_str())
    .bind(micros(now))
    .fetch_one(&mut *connection)
    .await?;
    user(&row)
}

pub(super) async fn verify(
    connection: &mut SqliteConnection,
    id: UserId,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "update auth_users set is_verified = 1, updated_at = ?2 where id = ?1 returning ",
        user_columns!("")
    ))
    .bind(id.as_uuid())
    .bind(micros(now))
    .fetch_one(connection)
    .await?;
    user(&row)
}

pub(super) async fn change_email(
    connection: &mut SqliteConnection,
    id: UserId,
    email: &Email,
    now: OffsetDateTime,
) -> sqlx::Result<User> {
    let row = sqlx::query(concat!(
        "update auth_users
         set email = ?2, email_key = ?3, is_verified = 1, credentials_version = credentials_version + 1, updated_at = ?4
         where id = ?1 returning ",
        user_columns!("")
    ))
    .bind(id.as_uuid())
    .bind(email.as_str())
    .bind(email.key())
    .bind(micros(now))
    .fetch_one(connection)
    .await?;
    user(&row)
}

async fn update_disabled(
    connection: &mut SqliteConnection,
    user: UserId,
    disabled: bool,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // ?2 is 1 when it switches off, which moves the version on.
    let done = sqlx::query(
        "update auth_users
         set is_disabled = ?2, credentials_version = credentials_version + ?2, updated_at = ?3
         where id = ?1 and is_disabled <> ?2",
    )
    .bind(user.as_uuid())
    .bind(disabled)
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

async fn update_admin(
    connection: &mut SqliteConnection,
    user: UserId,
    admin: bool,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "update auth_users set is_admin = ?2, updated_at = ?3 where id = ?1 and is_admin <> ?2",
    )
    .bind(user.as_uuid())
    .bind(admin)
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

async fn delete(
    connection: &mut SqliteConnection,
    user: UserId,
    seen: CredentialsVersion,
    session: SessionId,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "delete from auth_users
         where id = ?1 and credentials_version = ?2
           and exists (select 1 from auth_sessions where id = ?3 and user_id = ?1 and expires_at > ?4)",
    )
    .bind(user.as_uuid())
    .bind(seen.as_i64())
    .bind(session.as_uuid())
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// The accounts after a place that were never verified, the oldest first.
pub(crate) async fn unverified(
    connection: &mut SqliteConnection,
    made_before: OffsetDateTime,
    after: Option<AccountPlace>,
    limit: u32,
) -> sqlx::Result<Vec<AccountPlace>> {
    let (made, id) = after.map_or((i64::MIN, Uuid::nil()), |place| {
        (micros(place.created_at), place.id.as_uuid())
    });
    let rows = sqlx::query(
        "select created_at, id from auth_users where is_verified = 0 and created_at < ?1 and (created_at, id) > (?2, ?3)
         order by created_at, id limit ?4",
    )
    .bind(micros(made_before))
    .bind(made)
    .bind(id)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let place = |row: &SqliteRow| {
        Ok(AccountPlace {
            created_at: moment(row, "created_at")?,
            id: UserId::from_uuid(row.try_get("id")?),
        })
    };
    rows.iter().map(place).collect()
}

/// Deletes those of the accounts that are still not verified.
pub(crate) async fn delete_unverified(
    connection: &mut SqliteConnection,
    accounts: &[UserId],
) -> sqlx::Result<u64> {
    let mut gone = 0;
    for id in accounts {
        let done = sqlx::query("delete from auth_users where id = ?1 and is_verified = 0")
            .bind(id.as_uuid())
            .execute(&mut *connection)
            .await?;
        gone += done.rows_affected();
    }
    Ok(gone)
}

pub(super) fn user(row: &SqliteRow) -> sqlx::Result<User> {
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
        created_at: moment(row, "user_created_at")?,
        updated_at: moment(row, "user_updated_at")?,
    })
}
