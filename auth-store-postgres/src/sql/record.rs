use auth_core::types::{AuditEntry, Letter, QueuedMail, Record};
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// The `with` queries that write the record `$1` in the statement of its cause; each under a condition of its own.
///
/// `$2` is the user whose row the statement, or its transaction, has: made, changed or locked. Mails to other users need a lock on theirs, and are dropped
/// when there is none any more, as they would have been deleted with the account. `$2` is left out of that, because a row that the same statement makes or
/// changes cannot be locked by it.
macro_rules! record {
    (mails if $mails:literal, entries if $entries:literal) => {
        concat!(
            "mails as (
                 select id, user_id, recipient, locale, letter, created_at from jsonb_to_recordset($1::jsonb -> 'mails')
                     as m (id uuid, user_id uuid, recipient text, locale text, letter jsonb, created_at timestamptz)
                 where ", $mails, "
             ),
             recipients as (
                 select id from auth.users
                 where id in (select user_id from mails where user_id is distinct from $2) for key share
             ),
             queued as (
                 insert into auth.outbox (id, user_id, recipient, locale, letter, due_at, created_at, queued_at)
                 select id, user_id, recipient, locale, letter, created_at, created_at, created_at from mails
                 where user_id is null or user_id = $2 or user_id in (select id from recipients)
             ),
             entries as (
                 insert into auth.audit_log (id, at, event, user_id, session_id, ip, user_agent, request_id)
                 select id, at, event, user_id, session_id, ip, user_agent, request_id from jsonb_to_recordset($1::jsonb -> 'audit')
                     as e (id uuid, at timestamptz, event text, user_id uuid, session_id uuid, ip text, user_agent text, request_id text)
                 where ", $entries, "
             )"
        )
    };
}
pub(super) use record;

/// The record as its statement reads it.
pub(super) fn json(record: &Record) -> sqlx::Result<String> {
    let rows = Rows {
        mails: record.mails.iter().map(mail).collect::<Result<_, _>>()?,
        audit: record.audit.iter().map(entry).collect::<Result<_, _>>()?,
    };
    serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

#[derive(Serialize)]
struct Rows<'a> {
    mails: Vec<Mail<'a>>,
    audit: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Mail<'a> {
    id: Uuid,
    user_id: Option<Uuid>,
    recipient: &'a str,
    locale: &'a str,
    letter: &'a Letter,
    created_at: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: Uuid,
    at: String,
    event: &'static str,
    user_id: Option<Uuid>,
    session_id: Option<Uuid>,
    ip: Option<String>,
    user_agent: Option<&'a str>,
    request_id: Option<&'a str>,
}

fn mail(mail: &QueuedMail) -> sqlx::Result<Mail<'_>> {
    Ok(Mail {
        id: mail.id.as_uuid(),
        user_id: mail.user_id.map(|id| id.as_uuid()),
        recipient: mail.to.as_str(),
        locale: &mail.locale,
        letter: &mail.letter,
        created_at: moment(mail.created_at)?,
    })
}

fn entry(entry: &AuditEntry) -> sqlx::Result<Entry<'_>> {
    Ok(Entry {
        id: entry.id.as_uuid(),
        at: moment(entry.at)?,
        event: entry.event.as_str(),
        user_id: entry.user_id.map(|id| id.as_uuid()),
        session_id: entry.session_id.map(|id| id.as_uuid()),
        ip: entry.ip.map(|ip| ip.to_string()),
        user_agent: entry.user_agent.as_deref(),
        request_id: entry.request_id.as_deref(),
    })
}

/// Cut to the microsecond, as bound times are; Postgres would round.
fn moment(at: OffsetDateTime) -> sqlx::Result<String> {
    let at = at.to_offset(UtcOffset::UTC);
    at.replace_nanosecond(at.nanosecond() / 1000 * 1000)
        .unwrap_or(at)
        .format(&Rfc3339)
        .map_err(|error| sqlx::Error::Encode(error.into()))
}
