use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Data, MailedTokenRow, MemoryStore, TokenState, is_live};
use crate::{
    ports::{Begun, EmailChange, Ended, PasswordChange, Redeemed, StoreError, Unique, UserStore},
    types::{
        Account, AccountKey, Change, CredentialsVersion, Digest, Email, NewAccount, NewMailedToken,
        NewSession, Purpose, Record, Session, SessionId, Throttle, User, UserId,
    },
};

#[async_trait]
impl UserStore for MemoryStore {
    async fn register(&self, account: NewAccount, record: Record) -> Result<(), StoreError> {
        let NewAccount {
            mut user,
            password,
            session,
            token,
            identity,
        } = account;
        user.has_password = password.is_some();
        user.providers.clear();
        let id = user.id;
        let data = &mut *self.lock();

        if data.usernames.contains_key(user.username.key()) {
            return Err(StoreError::Taken(Unique::Username));
        }
        if data.emails.contains_key(user.email.key()) {
            return Err(StoreError::Taken(Unique::Email));
        }
        if identity
            .as_ref()
            .is_some_and(|identity| data.identities.contains_key(&identity.key))
        {
            return Err(StoreError::Taken(Unique::Identity));
        }
        data.usernames
            .insert(user.username.key().to_owned(), user.id);
        data.emails.insert(user.email.key().to_owned(), user.id);
        data.accounts.insert(
            user.id,
            Account {
                user,
                password,
                version: CredentialsVersion::FIRST,
            },
        );
        if let Some(session) = session {
            data.insert_session(session);
        }
        if let Some(token) = token {
            data.insert_mailed_token(token);
        }
        if let Some(identity) = identity {
            data.insert_identity(id, identity);
        }
        data.write(record);
        Ok(())
    }

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        let data = &*self.lock();
        let id = match key {
            AccountKey::Email(email) => data.emails.get(email.key()),
            AccountKey::Id(id) => Some(id),
            AccountKey::Identity(key) => data.identities.get(key).map(|row| &row.user),
            AccountKey::Username(username) => data.usernames.get(username.key()),
        };
        Ok(id.and_then(|id| data.accounts.get(id)).cloned())
    }

    async fn append(&self, record: Record) -> Result<(), StoreError> {
        self.lock().write(record);
        Ok(())
    }

    async fn change_password(
        &self,
        change: PasswordChange,
        record: Record,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let keeps = data.has_session(change.user, change.keep, change.now);
        let Some(account) = data.account_at(change.user, change.seen).filter(|_| keeps) else {
            return Ok(false);
        };
        account.password = Some(change.password);
        account.version = account.version.next();
        account.user.has_password = true;
        account.user.updated_at = change.now;

        data.kill_mailed_tokens(change.user, None);
        data.remove_sessions(change.user, Ended::AllBut(change.keep));
        if let Some(kept) = data.remove_session(change.keep) {
            data.insert_session(NewSession {
                session: Session {
                    id: change.successor,
                    ..kept
                },
                refresh: change.refresh,
            });
        }
        data.write(record);
        Ok(true)
    }

    async fn delete_account(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        if data.account_at(user, seen).is_none() || !data.has_session(user, session, now) {
            return Ok(false);
        }
        data.remove_account(user);
        data.write(record);
        Ok(true)
    }

    async fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let Some(account) = data
            .accounts
            .get_mut(&user)
            .filter(|account| account.user.is_disabled != disabled)
        else {
            return Ok(false);
        };
        account.user.is_disabled = disabled;
        account.user.updated_at = now;
        if disabled {
            account.version = account.version.next();
            data.kill_mailed_tokens(user, None);
            data.remove_sessions(user, Ended::All);
        }
        data.write(record);
        Ok(true)
    }

    async fn set_admin(
        &self,
        user: UserId,
        admin: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let Some(account) = data
            .accounts
            .get_mut(&user)
            .filter(|account| account.user.is_admin != admin)
        else {
            return Ok(false);
        };
        account.user.is_admin = admin;
        account.user.updated_at = now;
        data.write(record);
        Ok(true)
    }

    async fn set_locale(
        &self,
        user: UserId,
        locale: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let Some(account) = data.accounts.get_mut(&user) else {
            return Ok(false);
        };
        locale.clone_into(&mut account.user.locale);
        account.user.updated_at = now;
        Ok(true)
    }

    async fn issue_token(
        &self,
        token: NewMailedToken,
        throttle: Throttle,
        record: Record,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        if !data.accounts.contains_key(&token.user_id)
            || data.throttled_until(&token, throttle).is_some()
        {
            data.audit.extend(record.audit);
            return Ok(false);
        }
        data.insert_mailed_token(token);
        data.write(record);
        Ok(true)
    }

    async fn begin_email_change(
        &self,
        change: EmailChange,
        record: Record,
    ) -> Result<Begun, StoreError> {
        let EmailChange {
            user,
            seen,
            session,
            change,
            cancel,
            throttle,
        } = change;
        let data = &mut *self.lock();
        if data.account_at(user, seen).is_none()
            || !data.has_session(user, session, change.created_at)
        {
            return Ok(Begun::Gone);
        }
        if data.has_other_owner(&change.email, user) {
            return Err(StoreError::Taken(Unique::Email));
        }
        if let Some(until) = data.throttled_until(&change, throttle) {
            return Ok(Begun::Throttled(until));
        }
        data.kill_mailed_tokens(user, Some(Purpose::ChangeEmail));
        data.insert_mailed_token(change);
        data.insert_mailed_token(cancel);
        data.write(record);
        Ok(Begun::Done)
    }

    async fn pending_token(
        &self,
        digest: &Digest,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError> {
        let data = &*self.lock();
        Ok(data
            .mailed_tokens
            .get(digest)
            .filter(|row| row.token.purpose == purpose)
            .and_then(|row| {
                let user = &data.accounts.get(&row.token.user_id)?.user;
                let redeemable = row.state == TokenState::Unused
                    && now < row.token.expires_at
                    && row.concerns(user);
                redeemable.then(|| user.clone())
            }))
    }

    async fn redeem(
        &self,
        digest: &Digest,
        user: UserId,
        change: Change,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Redeemed, StoreError> {
        let data = &mut *self.lock();
        let (Some(row), Some(account)) = (
            data.mailed_tokens
                .get(digest)
                .filter(|row| row.token.user_id == user && row.token.purpose == change.purpose()),
            data.accounts.get(&user),
        ) else {
            return Ok(Redeemed::Refused);
        };
        match row.state {
            TokenState::Killed => return Ok(Redeemed::Refused),
            TokenState::Unused | TokenState::Used if row.token.expires_at <= now => {
                return Ok(Redeemed::Expired);
            }
            TokenState::Used => {
                let holds = matches!(change, Change::ChangeEmail | Change::VerifyEmail)
                    && account.user.is_verified
                    && account.user.email == row.token.email;
                return Ok(if holds {
                    Redeemed::Already(Box::new(account.user.clone()))
                } else {
                    Redeemed::Refused
                });
            }
            TokenState::Unused if !row.concerns(&account.user) => return Ok(Redeemed::Refused),
            TokenState::Unused => {}
        }
        let email = row.token.email.clone();
        if matches!(change, Change::ChangeEmail) && data.has_other_owner(&email, user) {
            return Err(StoreError::Taken(Unique::Email));
        }

        if let Some(row) = data.mailed_tokens.get_mut(digest) {
            row.state = TokenState::Used;
        }
        let Some(user) = data.apply(user, change, email, now) else {
            return Ok(Redeemed::Refused);
        };
        data.write(record);
        Ok(Redeemed::Done(Box::new(user)))
    }
}

impl Data {
    /// When a token like this one may be issued, if that is not now.
    fn throttled_until(
        &self,
        token: &NewMailedToken,
        throttle: Throttle,
    ) -> Option<OffsetDateTime> {
        let mut sent: Vec<_> = self
            .mailed_tokens
            .values()
            .map(|row| &row.token)
            .filter(|sent| sent.user_id == token.user_id && sent.purpose == token.purpose)
            .map(|sent| sent.created_at)
            .collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        throttle.next(&sent).filter(|next| token.created_at < *next)
    }

    /// Whether the user has that session, and it is live.
    pub(super) fn has_session(
        &self,
        user: UserId,
        session: SessionId,
        now: OffsetDateTime,
    ) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|row| row.session.user_id == user && is_live(&row.session, now))
    }

    fn has_other_owner(&self, email: &Email, user: UserId) -> bool {
        self.emails
            .get(email.key())
            .is_some_and(|owner| *owner != user)
    }

    /// What a redeemed token does, `email` being the token's: the user afterwards, `None` without such a user.
    fn apply(
        &mut self,
        user: UserId,
        change: Change,
        email: Email,
        now: OffsetDateTime,
    ) -> Option<User> {
        let account = self.accounts.get_mut(&user)?;
        match change {
            Change::CancelEmailChange => {
                self.kill_mailed_tokens(user, Some(Purpose::ChangeEmail));
                self.remove_sessions(user, Ended::All);
            }
            Change::ChangeEmail => {
                self.emails.remove(account.user.email.key());
                self.emails.insert(email.key().to_owned(), user);
                account.user.email = email;
                account.user.is_verified = true;
                account.user.updated_at = now;
                account.version = account.version.next();
                self.kill_mailed_tokens(user, None);
                self.remove_sessions(user, Ended::All);
            }
            Change::ReclaimAccount(password) | Change::ResetPassword(password) => {
                account.password = Some(password);
                account.user.has_password = true;
                if !account.user.is_verified {
                    account.user.providers.clear();
                    self.identities.retain(|_, row| row.user != user);
                }
                account.user.is_verified = true;
                account.user.updated_at = now;
                account.version = account.version.next();
                self.kill_mailed_tokens(user, None);
                self.remove_sessions(user, Ended::All);
            }
            Change::VerifyEmail => {
                account.user.is_verified = true;
                account.user.updated_at = now;
            }
        }
        self.accounts.get(&user).map(|account| account.user.clone())
    }
}

impl MailedTokenRow {
    /// A token that proves a mailbox says nothing about an account that has another one by now.
    fn concerns(&self, user: &User) -> bool {
        match self.token.purpose {
            Purpose::CancelEmailChange | Purpose::ChangeEmail => true,
            Purpose::ReclaimAccount | Purpose::ResetPassword | Purpose::VerifyEmail => {
                self.token.email == user.email
            }
        }
    }
}
