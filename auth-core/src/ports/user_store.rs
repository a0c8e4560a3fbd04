use async_trait::async_trait;
use time::OffsetDateTime;

use super::StoreError;
use crate::types::{
    Account, AccountKey, Change, CredentialsVersion, Digest, NewAccount, NewMailedToken,
    PasswordHash, Purpose, Record, SessionId, Throttle, User, UserId,
};

/// What became of a mailed token.
#[derive(Debug, Clone)]
pub enum Redeemed {
    /// It was used before, its change holds and it has not expired: the user as they are now. Only for [`Change::VerifyEmail`] and [`Change::ChangeEmail`],
    /// and only while the token's address is the user's verified address.
    Already(Box<User>),
    /// It is used up and its change is made: the user after it.
    Done(Box<User>),
    /// It has expired.
    Expired,
    /// Unknown, used, killed, of another purpose or of another user; for [`Change::VerifyEmail`], [`Change::ReclaimAccount`] and
    /// [`Change::ResetPassword`] also about an address that is not the user's any more.
    Refused,
}

/// A password that its owner changes.
#[derive(Debug, Clone)]
pub struct PasswordChange {
    /// Whose.
    pub user: UserId,
    /// Of the account whose password was proven.
    pub seen: CredentialsVersion,
    /// The new one.
    pub password: PasswordHash,
    /// The session that stays.
    pub keep: SessionId,
    /// Its id from now on: an access token that names the old one opens nothing any more.
    pub successor: SessionId,
    /// Of its new refresh token, the only one that it has afterwards.
    pub refresh: Digest,
    /// UTC.
    pub now: OffsetDateTime,
}

/// A change of address that its owner asks for.
#[derive(Debug, Clone)]
pub struct EmailChange {
    /// Whose.
    pub user: UserId,
    /// Of the account whose password was proven.
    pub seen: CredentialsVersion,
    /// The session that asks, which must be live when `change` is made.
    pub session: SessionId,
    /// Of [`Purpose::ChangeEmail`], about the new address.
    pub change: NewMailedToken,
    /// Of [`Purpose::CancelEmailChange`], about the present address.
    pub cancel: NewMailedToken,
    /// Of tokens like `change`.
    pub throttle: Throttle,
}

/// What became of the wish for another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The tokens are kept.
    Done,
    /// The version is another one, or the account or the session is gone.
    Gone,
    /// There were too many lately. The next one is heard from then on.
    Throttled(OffsetDateTime),
}

/// Accounts and their mailed tokens. See [`Store`](super::Store) for the rules.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Makes an account, its first session, its first mailed token and its first identity.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when name, address (also an address that was never verified) or identity has another account.
    async fn register(&self, account: NewAccount, record: Record) -> Result<(), StoreError>;

    /// One account, in one look-up.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for every method below.
    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError>;

    /// Writes entries that belong to no change.
    async fn append(&self, record: Record) -> Result<(), StoreError>;

    /// Sets a password, moves the version on, kills unused mailed tokens, and ends every session but one, whose id and refresh tokens are replaced.
    /// `false` when the version is another one, or the account or the session to keep is gone.
    async fn change_password(
        &self,
        change: PasswordChange,
        record: Record,
    ) -> Result<bool, StoreError>;

    /// Deletes the account with its sessions, mailed tokens and unsent mails; name and address become free.
    /// `false` when the version is another one, the account is gone, or `session` is not a live one of it at `now`.
    async fn delete_account(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError>;

    /// Switches an account off (`disabled`, which ends its sessions, kills its unused mailed tokens and moves the version on) or on again.
    /// `false` when the account is gone or already so.
    async fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError>;

    /// Gives or takes administrator rights. `false` when the account is gone or already so.
    async fn set_admin(
        &self,
        user: UserId,
        admin: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError>;

    /// Sets the language of the mails that are queued from now on. `false` when the account is gone.
    async fn set_locale(
        &self,
        user: UserId,
        locale: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError>;

    /// Keeps a token and queues its mail, unless the user was sent one of that purpose too lately (`throttle`, counting used and killed ones) or is gone.
    /// `false` then: the record's mails are dropped, its audit entries are written all the same.
    async fn issue_token(
        &self,
        token: NewMailedToken,
        throttle: Throttle,
        record: Record,
    ) -> Result<bool, StoreError>;

    /// Keeps the two tokens of a change of address and kills older unused [`Purpose::ChangeEmail`] tokens, unless there were too many of these lately,
    /// used and killed ones too.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another account has the address.
    async fn begin_email_change(
        &self,
        change: EmailChange,
        record: Record,
    ) -> Result<Begun, StoreError>;

    /// The owner of a token that could be redeemed now, without using it.
    async fn pending_token(
        &self,
        digest: &Digest,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError>;

    /// Uses up the token of that digest, user and the change's purpose, and makes the change, in one conditional write.
    /// Changes of password and address move the version on. The record is written for [`Redeemed::Done`] only.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another account took the address meanwhile; the token stays unused.
    async fn redeem(
        &self,
        digest: &Digest,
        user: UserId,
        change: Change,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Redeemed, StoreError>;
}
