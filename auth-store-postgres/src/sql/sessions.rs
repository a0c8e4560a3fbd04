use auth_core::{
    ports::{Authenticated, Ended, Rotated, Rotation},
    types::{
        CredentialsVersion, Digest, NewSession, PasswordHash, Purpose, Record, Session, SessionId,
        UserId,
    },
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::{Duration, OffsetDateTime};

use super::{
    before, bytes, ip,
    record::{self, record},
    users::{self, user_columns},
};

/// What [`session`] reads, of the table or `with` query `s`.
macro_rules! session_columns {
    () => {
        "s.id as session_id, s.user_id as session_user_id, s.created_at as session_created_at, s.last_used_at, s.expires_at, s.ends_at, s.ip, s.user_agent"
    };
}

/// Opens a session, if what was proven still holds: all of it in one statement.
pub(crate) async fn open(
    connection: &mut PgConnection,
    new: &NewSession,
    seen: CredentialsVersion,
    rehash: Option<&PasswordHash>,
    record: &Record,
) -> sqlx::Result<bool> {
    // The lock is what keeps out a session that a change of the credentials, under way just now, would not see. Logins share it; with a new hash they
    // cannot, and take the stronger one at once: two that share it and then both want more would wait for each other.
    macro_rules! open {
        ($holder:literal) => {
            concat!(
                "with holder as (", $holder, "),
                 opened as (
                     insert into auth.sessions (id, user_id, created_at, last_used_at, expires_at, ends_at, ip, user_agent)
                     select $4, id, $5, $6, $7, $8, $9, $10 from holder
                     returning id
                 ),
                 refresh as (insert into auth.refresh_tokens (digest, session_id) select $11, id from opened),
                 ",
                record!(mails if "exists (select from opened)", entries if "exists (select from opened)"),
                " select id from opened"
            )
        };
    }
    let statement = if rehash.is_some() {
        open!(
            "update auth.users set password_hash = $12
             where id = $2 and credentials_version = $3 and not is_disabled returning id"
        )
    } else {
        open!(
            "select id from auth.users where id = $2 and credentials_version = $3 and not is_disabled for share"
        )
    };
    let session = &new.session;
    let mut query = sqlx::query(statement)
        .bind(record::json(record)?)
        .bind(session.user_id.as_uuid())
        .bind(seen.as_i64())
        .bind(session.id.as_uuid())
        .bind(session.created_at)
        .bind(session.last_used_at)
        .bind(session.expires_at)
        .bind(session.ends_at)
        .bind(session.ip.map(|ip| ip.to_string()))
        .bind(session.user_agent.as_deref())
        .bind(bytes(&new.refresh));
    if let Some(password) = rehash {
        query = query.bind(password.as_str());
    }
    Ok(query.fetch_optional(connection).await?.is_some())
}

/// Turns a refresh token, by the rules of [`SessionStore`](auth_core::ports::SessionStore).
///
/// Each of the two statements is a whole fact, so they need no transaction: what makes a token a replay does not pass.
pub(crate) async fn rotate(
    connection: &mut PgConnection,
    rotation: &Rotation,
) -> sqlx::Result<Rotated> {
    match turn(connection, rotation).await? {
        Some(authenticated) => Ok(Rotated::Issued(Box::new(authenticated))),
        None => refuse(connection, rotation).await,
    }
}

/// The session and its user, in one query: every request of a logged-in user asks this.
pub(crate) async fn authenticate(
    connection: &mut PgConnection,
    id: SessionId,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Authenticated>> {
    let row = sqlx::query(concat!(
        "select ",
        session_columns!(),
        ", ",
        user_columns!(),
        " from auth.sessions s join auth.users u on u.id = s.user_id
         where s.id = $1 and s.expires_at > $2 and not u.is_disabled"
    ))
    .bind(id.as_uuid())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(authenticated).transpose()
}

/// Moves a live session on without a refresh token.
pub(crate) async fn touch(
    connection: &mut PgConnection,
    id: SessionId,
    now: OffsetDateTime,
    idle: Duration,
) -> sqlx::Result<Option<Authenticated>> {
    let row = sqlx::query(concat!(
        "update auth.sessions s set last_used_at = $2, expires_at = least($3, s.ends_at) from auth.users u
         where s.id = $1 and s.expires_at > $2 and u.id = s.user_id and not u.is_disabled
         returning ",
        session_columns!(),
        ", ",
        user_columns!()
    ))
    .bind(id.as_uuid())
    .bind(now)
    .bind(now.saturating_add(idle))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(authenticated).transpose()
}

/// Ends sessions, expired ones too, and says how many of them were live.
pub(crate) async fn end(
    connection: &mut PgConnection,
    user: UserId,
    which: Ended,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<u64> {
    let (only, but) = match which {
        Ended::All => (None, None),
        Ended::AllBut(kept) => (None, Some(kept)),
        Ended::One(ended) => (Some(ended), None),
    };
    let were_live: i64 = sqlx::query_scalar(concat!(
        "with holder as (select id from auth.users where id = $2 for key share),
         ended as (
             delete from auth.sessions s using holder
             where s.user_id = holder.id and ($3 is null or s.id = $3) and ($4 is null or s.id <> $4)
             returning s.expires_at > $5 as was_live
         ),
         ",
        record!(mails if "exists (select from ended)", entries if "exists (select from ended)"),
        " select count(*) filter (where was_live) from ended"
    ))
    .bind(record::json(record)?)
    .bind(user.as_uuid())
    .bind(only.map(|id| id.as_uuid()))
    .bind(but.map(|id| id.as_uuid()))
    .bind(now)
    .fetch_one(connection)
    .await?;
    Ok(were_live.unsigned_abs())
}

/// The live sessions of a user, the newest first.
pub(crate) async fn live(
    connection: &mut PgConnection,
    user: UserId,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<Session>> {
    let rows = sqlx::query(concat!(
        "select ",
        session_columns!(),
        " from auth.sessions s where s.user_id = $1 and s.expires_at > $2 order by s.created_at desc, s.id desc"
    ))
    .bind(user.as_uuid())
    .bind(now)
    .fetch_all(connection)
    .await?;
    rows.iter().map(session).collect()
}

/// The session of a refresh token of any age.
pub(crate) async fn of_refresh(
    connection: &mut PgConnection,
    digest: &Digest,
) -> sqlx::Result<Option<Session>> {
    let row = sqlx::query(concat!(
        "select ",
        session_columns!(),
        " from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id where t.digest = $1"
    ))
    .bind(bytes(digest))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(session).transpose()
}

/// Keeps a session from ending until the end of the transaction.
pub(super) async fn lock(connection: &mut PgConnection, session: SessionId) -> sqlx::Result<()> {
    sqlx::query("select from auth.sessions where id = $1 for key share")
        .bind(session.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// Uses a token, retires its predecessor, issues the replacement and moves the session on; `None` when the token may have none.
async fn turn(
    connection: &mut PgConnection,
    rotation: &Rotation,
) -> sqlx::Result<Option<Authenticated>> {
    // The grace counts from the first use: counted from the last one, a thief could keep it open for ever.
    let row = sqlx::query(concat!(
        "with held as (
             select s.id from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id join auth.users u on u.id = s.user_id
             where t.digest = $1 and s.expires_at > $3 and not u.is_disabled
             for no key update of s
         ), used as (
             update auth.refresh_tokens t set first_used_at = coalesce(t.first_used_at, $3) from held
             where t.digest = $1 and t.session_id = held.id
               and (t.first_used_at is null or (not t.is_retired and t.first_used_at >= $4))
             returning t.session_id, t.parent
         ), retired as (
             update auth.refresh_tokens t set is_retired = true from used where t.digest = used.parent
         ), issued as (
             insert into auth.refresh_tokens (digest, session_id, parent) select $2, session_id, $1 from used
         ), moved as (
             update auth.sessions s set last_used_at = $3, expires_at = least($5, s.ends_at) from used where s.id = used.session_id
             returning s.*
         )
         select ",
        session_columns!(),
        ", ",
        user_columns!(),
        " from moved s join auth.users u on u.id = s.user_id"
    ))
    .bind(bytes(&rotation.presented))
    .bind(bytes(&rotation.replacement))
    .bind(rotation.now)
    .bind(before(rotation.now, rotation.grace))
    .bind(rotation.now.saturating_add(rotation.idle))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(authenticated).transpose()
}

/// Says why a refresh token was not turned; a replay ends its session.
async fn refuse(connection: &mut PgConnection, rotation: &Rotation) -> sqlx::Result<Rotated> {
    let entry = &rotation.on_reuse;
    let row = sqlx::query(
        "with held as (
             select s.id, s.user_id, s.expires_at from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id
                 join auth.users u on u.id = s.user_id
             where t.digest = $1 and not u.is_disabled
             for update of s
         ), ended as (
             delete from auth.sessions s using held where s.id = held.id and held.expires_at > $2
             returning s.id, s.user_id
         ), entries as (
             insert into auth.audit_log (id, at, event, user_id, session_id, ip, user_agent, request_id)
             select $3, $4, $5, ended.user_id, ended.id, $6, $7, $8 from ended
         )
         select exists (select from ended) as is_reuse from held",
    )
    .bind(bytes(&rotation.presented))
    .bind(rotation.now)
    .bind(entry.id.as_uuid())
    .bind(entry.at)
    .bind(entry.event.as_str())
    .bind(entry.ip.map(|ip| ip.to_string()))
    .bind(entry.user_agent.as_deref())
    .bind(entry.request_id.as_deref())
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        None => Rotated::Unknown,
        Some(row) if row.try_get("is_reuse")? => Rotated::Reused,
        Some(_) => Rotated::Expired,
    })
}

/// What follows a change of what opens an account: unused mailed tokens (of one purpose, or all) are killed, sessions (but one) end, and the record is
/// written. The transaction already has the row of the user, so every session and token is seen here.
pub(super) async fn shut(
    connection: &mut PgConnection,
    user: UserId,
    tokens: Option<Purpose>,
    but: Option<SessionId>,
    record: &Record,
) -> sqlx::Result<()> {
    sqlx::query(concat!(
        "with killed as (
             update auth.mailed_tokens set state = 'killed' where user_id = $2 and state = 'open' and ($3 is null or purpose = $3)
         ),
         ended as (delete from auth.sessions where user_id = $2 and ($4 is null or id <> $4)),
         ",
        record!(mails if "true", entries if "true"),
        " select"
    ))
    .bind(record::json(record)?)
    .bind(user.as_uuid())
    .bind(tokens.map(Purpose::as_str))
    .bind(but.map(|id| id.as_uuid()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a session another id, and `digest` as its only refresh token.
pub(super) async fn succeed(
    connection: &mut PgConnection,
    session: SessionId,
    successor: SessionId,
    digest: &Digest,
) -> sqlx::Result<()> {
    // One after the other: the foreign key is looked at when each statement ends.
    sqlx::query("delete from auth.refresh_tokens where session_id = $1")
        .bind(session.as_uuid())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "with successor as (update auth.sessions set id = $2 where id = $1 returning id)
         insert into auth.refresh_tokens (digest, session_id) select $3, id from successor",
    )
    .bind(session.as_uuid())
    .bind(successor.as_uuid())
    .bind(bytes(digest))
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `limit` of them. What somebody works on just now is left to the next sweep, so that sweeps wait for nobody.
pub(crate) async fn delete_expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "delete from auth.sessions
         where id in (select id from auth.sessions where expires_at <= $1 order by expires_at limit $2 for update skip locked)",
    )
    .bind(now)
    .bind(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

fn authenticated(row: &PgRow) -> sqlx::Result<Authenticated> {
    Ok(Authenticated {
        user: users::user(row)?,
        session: session(row)?,
    })
}

fn session(row: &PgRow) -> sqlx::Result<Session> {
    Ok(Session {
        id: SessionId::from_uuid(row.try_get("session_id")?),
        user_id: UserId::from_uuid(row.try_get("session_user_id")?),
        created_at: row.try_get("session_created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        expires_at: row.try_get("expires_at")?,
        ends_at: row.try_get("ends_at")?,
        ip: ip(row, "ip")?,
        user_agent: row.try_get("user_agent")?,
    })
}
