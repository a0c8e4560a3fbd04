use auth_core::types::{AuditEntry, AuditEvent, AuditId, SessionId, UserId};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{ip, micros, moment};

pub(super) async fn insert_all(
    connection: &mut SqliteConnection,
    entries: &[AuditEntry],
) -> sqlx::Result<()> {
    for entry in entries {
        insert(connection, entry).await?;
    }
    Ok(())
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    entry: &AuditEntry,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into auth_audit_log (id, at, event, user_id, session_id, ip, user_agent, request_id)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(entry.id.as_uuid())
    .bind(micros(entry.at))
    .bind(entry.event.as_str())
    .bind(entry.user_id.map(|id| id.as_uuid()))
    .bind(entry.session_id.map(|id| id.as_uuid()))
    .bind(entry.ip.map(|ip| ip.to_string()))
    .bind(entry.user_agent.as_deref())
    .bind(entry.request_id.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest first.
pub(crate) async fn entries(
    connection: &mut SqliteConnection,
    user: UserId,
    limit: u32,
) -> sqlx::Result<Vec<AuditEntry>> {
    let rows = sqlx::query(
        "select id, at, event, user_id, session_id, ip, user_agent, request_id
         from auth_audit_log where user_id = ?1 order by at desc, id desc limit ?2",
    )
    .bind(user.as_uuid())
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .filter_map(|row| entry(row).transpose())
        .collect()
}

/// `None` for an event that a newer version wrote: the log of the others is worth more than an error.
fn entry(row: &SqliteRow) -> sqlx::Result<Option<AuditEntry>> {
    let Some(event) = AuditEvent::from_name(row.try_get("event")?) else {
        return Ok(None);
    };
    let user: Option<Uuid> = row.try_get("user_id")?;
    let session: Option<Uuid> = row.try_get("session_id")?;
    Ok(Some(AuditEntry {
        id: AuditId::from_uuid(row.try_get("id")?),
        at: moment(row, "at")?,
        event,
        user_id: user.map(UserId::from_uuid),
        session_id: session.map(SessionId::from_uuid),
        ip: ip(row, "ip")?,
        user_agent: row.try_get("user_agent")?,
        request_id: row.try_get("request_id")?,
    }))
}
