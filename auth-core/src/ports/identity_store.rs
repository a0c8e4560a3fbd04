use async_trait::async_trait;
use time::OffsetDateTime;

use super::StoreError;
use crate::types::{
    CredentialsVersion, Digest, IdentityLink, ProviderName, Record, SessionId, User, UserId,
};

/// What became of an identity for an account.
#[derive(Debug, Clone)]
pub enum Linked {
    /// It was this account's already: nothing was written.
    Already(Box<User>),
    /// It is this account's now: the user afterwards.
    Done(Box<User>),
    /// The version is another one, the account is disabled or gone, the session has ended, or the address is not as the
    /// [`Adoption`](crate::types::Adoption) wants it.
    Stale,
}

/// What became of a wish to unlink.
#[derive(Debug, Clone)]
pub enum Unlinked {
    /// It is gone: the user afterwards.
    Done(Box<User>),
    /// Nothing else opens the account: no password, no other identity.
    LastMethod,
    /// The account has no identity of that provider.
    NotLinked,
    /// The version is another one, or the account is gone, or the session has ended.
    Stale,
}

/// Identities at providers, and secrets that work once. See [`Store`](super::Store) for the rules.
///
/// New accounts come with their identity by [`UserStore::register`](super::UserStore::register), and are found by it with
/// [`AccountKey::Identity`](crate::types::AccountKey::Identity).
#[async_trait]
pub trait IdentityStore: Send + Sync + 'static {
    /// Gives an identity to an account that is there, and moves the version on.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another account has the identity, or this one has another identity of the provider.
    async fn link_identity(&self, link: IdentityLink, record: Record)
    -> Result<Linked, StoreError>;

    /// Takes the identity of a provider from an account, moves the version on, ends every session but `session`, and kills unused mailed tokens, as a
    /// change of the password does: whoever came through the identity is out. What opens the account last stays, also when two calls take
    /// different ones at once.
    /// `session`, which asks, must be live at `now`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for the method below.
    async fn unlink_identity(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        provider: &ProviderName,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Unlinked, StoreError>;

    /// Marks the secret of this digest as spent until `expires_at`, when it is worth nothing anyway. `true` for the first call of all, `false` for every
    /// later one.
    async fn spend_secret(
        &self,
        digest: &Digest,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError>;
}
