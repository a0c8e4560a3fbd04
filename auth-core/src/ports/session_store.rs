use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use super::StoreError;
use crate::types::{
    AuditEntry, CredentialsVersion, Digest, NewSession, PasswordHash, Record, Session, SessionId,
    User, UserId,
};

/// A live session and its user, as a store answers it.
///
/// # Security
/// Anybody who links this crate can make one, as every implementation of a store must: it is an answer and no proof. The proof of a request is
/// `auth_tower::VerifiedUser`, which nobody else can make. What a feature does on the word of one, it writes only while that session is live.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Whose session it is.
    pub user: User,
    /// The session.
    pub session: Session,
}

/// One turn of a refresh token.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Of the token that the client sent.
    pub presented: Digest,
    /// Of the token that it gets.
    pub replacement: Digest,
    /// UTC.
    pub now: OffsetDateTime,
    /// How long after its first use a token may be sent again.
    pub grace: Duration,
    /// How long the session lives on from now, up to its absolute end.
    pub idle: Duration,
    /// Written when the token was reused; the store fills in user and session.
    pub on_reuse: AuditEntry,
}

/// What became of a refresh token.
#[derive(Debug, Clone)]
pub enum Rotated {
    /// Its session has expired.
    Expired,
    /// The replacement is good.
    Issued(Box<Authenticated>),
    /// It was rotated before, out of its grace or with a successor in use: its session is ended now.
    Reused,
    /// No live session has it.
    Unknown,
}

/// Which sessions of a user to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every one.
    All,
    /// Every one but this.
    AllBut(SessionId),
    /// This one.
    One(SessionId),
}

/// Sessions and their refresh tokens. See [`Store`](super::Store) for the rules.
///
/// # Rotation
/// A refresh token is *used* once a replacement was issued for it, and *retired* once one of its replacements is used.
/// 1. An unused token is used: it gets its first replacement, and its predecessor is retired.
/// 2. A used token that is not retired gets another replacement within `grace` of its **first** use: two tabs, or an answer that was lost.
/// 3. Any other token of a live session is a replay: the session ends.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session and, with `rehash`, stores the password under stronger settings (the version stays).
    /// `false` when the version is another one, the account is disabled or gone: what was proven no longer holds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for every method below.
    async fn open_session(
        &self,
        session: NewSession,
        seen: CredentialsVersion,
        rehash: Option<PasswordHash>,
        record: Record,
    ) -> Result<bool, StoreError>;

    /// The session and its user in one look-up; `None` when it has ended or expired, or its user is disabled or gone.
    async fn authenticate(
        &self,
        session: SessionId,
        now: OffsetDateTime,
    ) -> Result<Option<Authenticated>, StoreError>;

    /// As [`authenticate`](Self::authenticate), and the session's `last_used_at` and `expires_at` move on as in [`rotate`](Self::rotate).
    async fn touch(
        &self,
        session: SessionId,
        now: OffsetDateTime,
        idle: Duration,
    ) -> Result<Option<Authenticated>, StoreError>;

    /// Turns a refresh token, by the rules above; the session's `last_used_at` and `expires_at` move on.
    /// A disabled user's token is [`Rotated::Unknown`].
    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError>;

    /// The session that a refresh token of any age belongs to.
    async fn session_of_refresh(&self, digest: &Digest) -> Result<Option<Session>, StoreError>;

    /// Ends sessions and says how many were live at `now`. The record is written when at least one row went.
    async fn end_sessions(
        &self,
        user: UserId,
        which: Ended,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<u64, StoreError>;

    /// The live sessions of a user, the newest first.
    async fn sessions(&self, user: UserId, now: OffsetDateTime)
    -> Result<Vec<Session>, StoreError>;
}
