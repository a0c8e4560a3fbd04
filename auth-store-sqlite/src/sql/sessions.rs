use auth_core::{
    ports::{Authenticated, Ended, Rotated, Rotation},
    types::{
        CredentialsVersion, Digest, NewSession, PasswordHash, Record, Session, SessionId, UserId,
    },
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::{Duration, OffsetDateTime};

use super::{
    append, audit, ip, micros, micros_before, moment,
    users::{self, user_columns},
};

/// What [`session`] reads, of the table or alias `$of`.
macro_rules! session_columns {
    ($of:literal) => {
        concat!(
            $of,
            "id as session_id, ",
            $of,
            "user_id as session_user_id, ",
            $of,
            "created_at as session_created_at, ",
            $of,
            "last_used_at, ",
            $of,
            "expires_at, ",
            $of,
            "ends_at, ",
            $of,
            "ip, ",
            $of,
            "user_agent"
        )
    };
}

/// Opens a session, if what was proven still holds.
pub(crate) async fn open(
    connection: &mut SqliteConnection,
    new: &NewSession,
    seen: CredentialsVersion,
    rehash: Option<&PasswordHash>,
    record: &Record,
) -> sqlx::Result<bool> {
    if !insert(connection, new, seen).await? {
        return Ok(false);
    }
    insert_refresh(connection, &new.refresh, new.session.id, None).await?;
    if let Some(password) = rehash {
        users::rehash(connection, new.session.user_id, password).await?;
    }
    append(connection, record).await?;
    Ok(true)
}

/// Moves a live session on without a refresh token.
pub(crate) async fn touch(
    connection: &mut SqliteConnection,
    id: SessionId,
    now: OffsetDateTime,
    idle: Duration,
) -> sqlx::Result<Option<Authenticated>> {
    let Some(session) = prolong(connection, id, now, idle).await? else {
        return Ok(None);
    };
    let user = users::by_id(connection, session.user_id).await?;
    Ok(Some(Authenticated { user, session }))
}

/// Turns a refresh token, by the rules of [`SessionStore`](auth_core::ports::SessionStore).
pub(crate) async fn rotate(
    connection: &mut SqliteConnection,
    rotation: &Rotation,
) -> sqlx::Result<Rotated> {
    let Some(id) = use_refresh(connection, rotation).await? else {
        return refuse(connection, rotation).await;
    };
    retire_parent(connection, &rotation.presented).await?;
    insert_refresh(
        connection,
        &rotation.replacement,
        id,
        Some(&rotation.presented),
    )
    .await?;
    let session = prolong(connection, id, rotation.now, rotation.idle)
        .await?
        .ok_or(sqlx::Error::RowNotFound)?;
    let user = users::by_id(connection, session.user_id).await?;
    Ok(Rotated::Issued(Box::new(Authenticated { user, session })))
}

/// Says why a refresh token was not turned; a replay ends its session.
async fn refuse(connection: &mut SqliteConnection, rotation: &Rotation) -> sqlx::Result<Rotated> {
    let session = match of_refresh(connection, &rotation.presented).await? {
        Some((session, Standing::UserEnabled)) => session,
        Some((_, Standing::UserDisabled)) | None => return Ok(Rotated::Unknown),
    };
    if session.expires_at <= rotation.now {
        return Ok(Rotated::Expired);
    }
    delete(
        connection,
        session.user_id,
        Ended::One(session.id),
        rotation.now,
    )
    .await?;
    let mut entry = rotation.on_reuse.clone();
    entry.user_id = Some(session.user_id);
    entry.session_id = Some(session.id);
    audit::insert(connection, &entry).await?;
    Ok(Rotated::Reused)
}

/// Ends sessions and says how many of them were live.
pub(crate) async fn end(
    connection: &mut SqliteConnection,
    user: UserId,
    which: Ended,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<u64> {
    let were_live = delete(connection, user, which, now).await?;
    if !were_live.is_empty() {
        append(connection, record).await?;
    }
    Ok(were_live.into_iter().map(u64::from).sum())
}

/// The session and its user, in one query: every request of a logged-in user asks this.
pub(crate) async fn authenticate(
    connection: &mut SqliteConnection,
    id: SessionId,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Authenticated>> {
    let row = sqlx::query(concat!(
        "select ",
        session_columns!("s."),
        ", ",
        user_columns!("u."),
        " from auth_sessions s join auth_users u on u.id = s.user_id
         where s.id = ?1 and s.expires_at > ?2 and u.is_disabled = 0"
    ))
    .bind(id.as_uuid())
    .bind(micros(now))
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Authenticated {
            user: users::user(&row)?,
            session: session(&row)?,
        })
    })
    .transpose()
}

/// The live sessions of a user, the newest first.
pub(crate) async fn live(
    connection: &mut SqliteConnection,
    user: UserId,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<Session>> {
    let rows = sqlx::query(concat!(
        "select ",
        session_columns!(""),
        " from auth_sessions where user_id = ?1 and expires_at > ?2 order by created_at desc, id desc"
    ))
    .bind(user.as_uuid())
    .bind(micros(now))
    .fetch_all(connection)
    .await?;
    rows.iter().map(session).collect()
}

/// Whether the user of a session may still log in.
pub(crate) enum Standing {
    UserDisabled,
    UserEnabled,
}

/// The session of a refresh token of any age.
pub(crate) async fn of_refresh(
    connection: &mut SqliteConnection,
    digest: &Digest,
) -> sqlx::Result<Option<(Session, Standing)>> {
    let row = sqlx::query(concat!(
        "select ",
        session_columns!("s."),
        ", u.is_disabled
         from auth_refresh_tokens t join auth_sessions s on s.id = t.session_id join auth_users u on u.id = s.user_id
         where t.digest = ?1"
    ))
    .bind(digest.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let standing = if row.try_get("is_disabled")? {
            Standing::UserDisabled
        } else {
            Standing::UserEnabled
        };
        Ok((session(&row)?, standing))
    })
    .transpose()
}

/// `false` when the credentials are of another version, or the account is disabled or gone.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    new: &NewSession,
    seen: CredentialsVersion,
) -> sqlx::Result<bool> {
    let session = &new.session;
    let done = sqlx::query(
        "insert into auth_sessions (id, user_id, created_at, last_used_at, expires_at, ends_at, ip, user_agent)
         select ?1, id, ?3, ?4, ?5, ?6, ?7, ?8 from auth_users
         where id = ?2 and credentials_version = ?9 and is_disabled = 0",
    )
    .bind(session.id.as_uuid())
    .bind(session.user_id.as_uuid())
    .bind(micros(session.created_at))
    .bind(micros(session.last_used_at))
    .bind(micros(session.expires_at))
    .bind(micros(session.ends_at))
    .bind(session.ip.map(|ip| ip.to_string()))
    .bind(session.user_agent.as_deref())
    .bind(seen.as_i64())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn insert_refresh(
    connection: &mut SqliteConnection,
    digest: &Digest,
    session: SessionId,
    parent: Option<&Digest>,
) -> sqlx::Result<()> {
    sqlx::query("insert into auth_refresh_tokens (digest, session_id, parent) values (?1, ?2, ?3)")
        .bind(digest.as_bytes().as_slice())
        .bind(session.as_uuid())
        .bind(parent.map(|digest| digest.as_bytes().as_slice()))
        .execute(connection)
        .await?;
    Ok(())
}

/// The session of the token, if the token may have a replacement.
async fn use_refresh(
    connection: &mut SqliteConnection,
    rotation: &Rotation,
) -> sqlx::Result<Option<SessionId>> {
    // The grace counts from the first use: counted from the last one, a thief could keep it open for ever.
    let session = sqlx::query_scalar(
        "update auth_refresh_tokens as t set first_used_at = coalesce(first_used_at, ?2)
         where digest = ?1 and (first_used_at is null or (is_retired = 0 and first_used_at >= ?3))
           and exists (select 1 from auth_sessions s join auth_users u on u.id = s.user_id
                       where s.id = t.session_id and s.expires_at > ?2 and u.is_disabled = 0)
         returning session_id",
    )
    .bind(rotation.presented.as_bytes().as_slice())
    .bind(micros(rotation.now))
    .bind(micros_before(rotation.now, rotation.grace))
    .fetch_optional(connection)
    .await?;
    Ok(session.map(SessionId::from_uuid))
}

/// The token that `digest` replaced gets no further replacement, now that its successor is in use.
async fn retire_parent(connection: &mut SqliteConnection, digest: &Digest) -> sqlx::Result<()> {
    sqlx::query(
        "update auth_refresh_tokens set is_retired = 1
         where digest = (select parent from auth_refresh_tokens where digest = ?1)",
    )
    .bind(digest.as_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves the last use and the end of a live session on.
async fn prolong(
    connection: &mut SqliteConnection,
    id: SessionId,
    now: OffsetDateTime,
    idle: Duration,
) -> sqlx::Result<Option<Session>> {
    let row = sqlx::query(concat!(
        "update auth_sessions as s set last_used_at = ?2, expires_at = min(?3, ends_at)
         where id = ?1 and expires_at > ?2
           and exists (select 1 from auth_users u where u.id = s.user_id and u.is_disabled = 0)
         returning ",
        session_columns!("")
    ))
    .bind(id.as_uuid())
    .bind(micros(now))
    .bind(micros(now.saturating_add(idle)))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(session).transpose()
}

/// Deletes sessions, expired ones too, and says of each whether it was live.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    user: UserId,
    which: Ended,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<bool>> {
    let (only, but) = match which {
        Ended::All => (None, None),
        Ended::AllBut(kept) => (None, Some(kept)),
        Ended::One(ended) => (Some(ended), None),
    };
    sqlx::query_scalar(
        "delete from auth_sessions
         where user_id = ?1 and (?2 is null or id = ?2) and (?3 is null or id <> ?3)
         returning expires_at > ?4",
    )
    .bind(user.as_uuid())
    .bind(only.map(|id| id.as_uuid()))
    .bind(but.map(|id| id.as_uuid()))
    .bind(micros(now))
    .fetch_all(connection)
    .await
}

/// Gives a session another id; nothing may refer to it.
pub(super) async fn rename(
    connection: &mut SqliteConnection,
    session: SessionId,
    successor: SessionId,
) -> sqlx::Result<()> {
    sqlx::query("update auth_sessions set id = ? where id = ?")
        .bind(successor.as_uuid())
        .bind(session.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn delete_refresh(
    connection: &mut SqliteConnection,
    session: SessionId,
) -> sqlx::Result<()> {
    sqlx::query("delete from auth_refresh_tokens where session_id = ?1")
        .bind(session.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// At most `limit` of them.
pub(crate) async fn delete_expired(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "delete from auth_sessions where id in (select id from auth_sessions where expires_at <= ?1 limit ?2)",
    )
    .bind(micros(now))
    .bind(limit)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

fn session(row: &SqliteRow) -> sqlx::Result<Session> {
    Ok(Session {
        id: SessionId::from_uuid(row.try_get("session_id")?),
        user_id: UserId::from_uuid(row.try_get("session_user_id")?),
        created_at: moment(row, "session_created_at")?,
        last_used_at: moment(row, "last_used_at")?,
        expires_at: moment(row, "expires_at")?,
        ends_at: moment(row, "ends_at")?,
        ip: ip(row, "ip")?,
        user_agent: row.try_get("user_agent")?,
    })
}
