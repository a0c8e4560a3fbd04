use auth_core::types::{AuditEntry, AuditEvent, AuditId, SessionId, UserId};
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use super::ip;

/// The newest first.
pub(crate) async fn entries(
    connection: &mut PgConnection,
    user: UserId,
    limit: u32,
) -> sqlx::Result<Vec<AuditEntry>> {
    let rows = sqlx::query(
        "select id, at, event, user_id, session_id, ip, user_agent, request_id
         from auth.audit_log where user_id = $1 order by at desc, id desc limit $2",
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
fn entry(row: &PgRow) -> sqlx::Result<Option<AuditEntry>> {
    let Some(event) = AuditEvent::from_name(row.try_get("event")?) else {
        return Ok(None);
    };
    let user: Option<Uuid> = row.try_get("user_id")?;
    let session: Option<Uuid> = row.try_get("session_id")?;
    Ok(Some(AuditEntry {
        id: AuditId::from_uuid(row.try_get("id")?),
        at: row.try_get("at")?,
        event,
        user_id: user.map(UserId::from_uuid),
        session_id: session.map(SessionId::from_uuid),
        ip: ip(row, "ip")?,
        user_agent: row.try_get("user_agent")?,
        request_id: row.try_get("request_id")?,
    }))
}
