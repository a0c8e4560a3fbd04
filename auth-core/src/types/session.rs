use std::net::IpAddr;

use time::OffsetDateTime;

use super::{Digest, SessionId, UserId};

/// A login that lasts: one device, one browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `sid` of its access tokens.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// UTC; the login.
    pub created_at: OffsetDateTime,
    /// UTC; the last refresh.
    pub last_used_at: OffsetDateTime,
    /// UTC; moves on with each refresh, up to `ends_at`.
    pub expires_at: OffsetDateTime,
    /// UTC; the absolute end, whatever is refreshed.
    pub ends_at: OffsetDateTime,
    /// Of the client that logged in.
    pub ip: Option<IpAddr>,
    /// Of the client that logged in; at most 512 bytes.
    pub user_agent: Option<String>,
}

/// A session that is about to exist, with the digest of its first refresh token.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The session.
    pub session: Session,
    /// Of the refresh token that the client gets.
    pub refresh: Digest,
}
