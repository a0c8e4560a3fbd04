//! The whole store in memory: for tests, demonstrations and first steps.

mod billing;
mod credits;
mod identities;
mod outbox;
mod sessions;
mod users;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use crate::{
    ports::{AccountPlace, AuditLog, Ended, Removal, Store, StoreError, Sweepable},
    types::{
        Account, AuditEntry, CredentialsVersion, Digest, IdentityKey, MailId, NewMailedToken,
        NewSession, ProviderName, Purpose, QueuedMail, Record, Session, SessionId, UserId,
    },
};

/// A complete store that forgets everything when its last clone is dropped.
///
/// Clones share their data. What concerns all rows of one user scans every row of that kind: fit for thousands of users, not for millions.
#[derive(Clone, Default)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
}

impl MemoryStore {
    /// Every method takes the lock once and holds it across no await: that makes it atomic.
    ///
    /// A panic while the lock is held poisons it. Methods decide everything before their first write, and the writes themselves cannot fail,
    /// so the data behind a poisoned lock is whole and can be used on.
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Data {
    accounts: HashMap<UserId, Account>,
    /// By [`Username::key`](crate::types::Username::key).
    usernames: HashMap<String, UserId>,
    /// By [`Email::key`](crate::types::Email::key).
    emails: HashMap<String, UserId>,
    identities: HashMap<IdentityKey, IdentityRow>,
    sessions: HashMap<SessionId, SessionRow>,
    /// Which session a refresh token belongs to.
    refresh_tokens: HashMap<Digest, SessionId>,
    mailed_tokens: HashMap<Digest, MailedTokenRow>,
    /// Until when a spent secret has to be known.
    spent: HashMap<Digest, OffsetDateTime>,
    mails: BTreeMap<MailId, MailRow>,
    audit: Vec<AuditEntry>,
    ledger: credits::Ledger,
    billing: billing::Books,
}

struct IdentityRow {
    user: UserId,
    provider: ProviderName,
}

struct SessionRow {
    session: Session,
    tokens: HashMap<Digest, RefreshTokenRow>,
}

struct RefreshTokenRow {
    /// The token that it replaced.
    predecessor: Option<Digest>,
    /// When its first replacement was issued.
    used_at: Option<OffsetDateTime>,
    /// One of its replacements was used.
    retired: bool,
}

impl RefreshTokenRow {
    const fn unused(predecessor: Option<Digest>) -> Self {
        Self {
            predecessor,
            used_at: None,
            retired: false,
        }
    }
}

/// Used and killed tokens stay until they are swept: the throttle counts them.
struct MailedTokenRow {
    token: NewMailedToken,
    state: TokenState,
}

#[derive(PartialEq, Eq)]
enum TokenState {
    Killed,
    Unused,
    Used,
}

struct MailRow {
    mail: QueuedMail,
    attempts: u32,
    queued_at: OffsetDateTime,
    first_try_at: Option<OffsetDateTime>,
    due_at: OffsetDateTime,
    state: MailState,
}

impl MailRow {
    const fn queued(mail: QueuedMail, at: OffsetDateTime) -> Self {
        Self {
            mail,
            attempts: 0,
            queued_at: at,
            first_try_at: None,
            due_at: at,
            state: MailState::Waiting,
        }
    }
}

enum MailState {
    Claimed { lease: OffsetDateTime },
    Dead { reason: String },
    Waiting,
}

impl Data {
    fn account_at(&mut self, user: UserId, seen: CredentialsVersion) -> Option<&mut Account> {
        self.accounts
            .get_mut(&user)
            .filter(|account| account.version == seen)
    }

    fn write(&mut self, record: Record) {
        for mail in record.mails {
            let at = mail.created_at;
            self.mails.insert(mail.id, MailRow::queued(mail, at));
        }
        self.audit.extend(record.audit);
    }

    fn insert_session(&mut self, new: NewSession) {
        let id = new.session.id;
        let row = SessionRow {
            session: new.session,
            tokens: HashMap::from([(new.refresh, RefreshTokenRow::unused(None))]),
        };
        self.sessions.insert(id, row);
        self.refresh_tokens.insert(new.refresh, id);
    }

    fn remove_session(&mut self, id: SessionId) -> Option<Session> {
        let row = self.sessions.remove(&id)?;
        for digest in row.tokens.keys() {
            self.refresh_tokens.remove(digest);
        }
        Some(row.session)
    }

    /// The sessions that went, live or not.
    fn remove_sessions(&mut self, user: UserId, which: Ended) -> Vec<Session> {
        let gone: Vec<Session> = self
            .sessions
            .values()
            .map(|row| &row.session)
            .filter(|session| {
                session.user_id == user
                    && match which {
                        Ended::All => true,
                        Ended::AllBut(kept) => session.id != kept,
                        Ended::One(ended) => session.id == ended,
                    }
            })
            .cloned()
            .collect();
        for session in &gone {
            self.remove_session(session.id);
        }
        gone
    }

    fn insert_mailed_token(&mut self, token: NewMailedToken) {
        let row = MailedTokenRow {
            token,
            state: TokenState::Unused,
        };
        self.mailed_tokens.insert(row.token.digest, row);
    }

    /// Kills the unused tokens of a user, of one purpose or of all.
    fn kill_mailed_tokens(&mut self, user: UserId, purpose: Option<Purpose>) {
        for row in self.mailed_tokens.values_mut() {
            if row.token.user_id == user
                && row.state == TokenState::Unused
                && purpose.is_none_or(|purpose| purpose == row.token.purpose)
            {
                row.state = TokenState::Killed;
            }
        }
    }

    /// Removes an account and all that goes with it; the audit log and the ledger stay.
    fn remove_account(&mut self, user: UserId) {
        if let Some(account) = self.accounts.remove(&user) {
            self.usernames.remove(account.user.username.key());
            self.emails.remove(account.user.email.key());
        }
        self.remove_sessions(user, Ended::All);
        self.identities.retain(|_, row| row.user != user);
        self.mailed_tokens
            .retain(|_, row| row.token.user_id != user);
        self.mails.retain(|_, row| row.mail.user_id != Some(user));
        self.ledger.forget(user);
    }
}

fn is_live(session: &Session, now: OffsetDateTime) -> bool {
    now < session.expires_at
}

#[async_trait]
impl Store for MemoryStore {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sweep(
        &self,
        what: Sweepable,
        now: OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let data = &mut *self.lock();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let gone = match what {
            Sweepable::MailedTokens => {
                let hour_ago = now.saturating_sub(Duration::HOUR);
                data.mailed_tokens
                    .extract_if(|_, row| {
                        row.token.expires_at <= now && row.token.created_at <= hour_ago
                    })
                    .take(limit)
                    .count()
            }
            Sweepable::Sessions => {
                let ended: Vec<SessionId> = data
                    .sessions
                    .values()
                    .filter(|row| !is_live(&row.session, now))
                    .map(|row| row.session.id)
                    .take(limit)
                    .collect();
                for id in &ended {
                    data.remove_session(*id);
                }
                ended.len()
            }
            Sweepable::SpentSecrets => data
                .spent
                .extract_if(|_, expires_at| *expires_at <= now)
                .take(limit)
                .count(),
        };
        Ok(gone as u64)
    }

    async fn unverified_accounts(
        &self,
        made_before: OffsetDateTime,
        after: Option<AccountPlace>,
        limit: u32,
    ) -> Result<Vec<AccountPlace>, StoreError> {
        let data = &*self.lock();
        let mut places: Vec<AccountPlace> = data
            .accounts
            .values()
            .map(|account| &account.user)
            .filter(|user| !user.is_verified && user.created_at < made_before)
            .map(|user| AccountPlace {
                created_at: user.created_at,
                id: user.id,
            })
            .filter(|place| after < Some(*place))
            .collect();
        places.sort_unstable();
        places.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(places)
    }

    async fn delete_unverified(&self, accounts: &[UserId]) -> Result<Removal, StoreError> {
        let data = &mut *self.lock();
        let mut gone = 0;
        for id in accounts {
            let is_unverified = |account: &Account| !account.user.is_verified;
            if data.accounts.get(id).is_some_and(is_unverified) {
                data.remove_account(*id);
                gone += 1;
            }
        }
        Ok(Removal::Gone(gone))
    }
}

#[async_trait]
impl AuditLog for MemoryStore {
    async fn audit_entries(&self, user: UserId, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let mut entries: Vec<AuditEntry> = self
            .lock()
            .audit
            .iter()
            .filter(|entry| entry.user_id == Some(user))
            .cloned()
            .collect();
        entries.sort_by_key(|entry| Reverse((entry.at, entry.id)));
        entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;
    use crate::ports::Outbox;

    #[tokio::test]
    async fn a_panic_under_the_lock_does_not_take_the_store_down() {
        let store = MemoryStore::default();
        let poisoner = store.clone();
        let panicked = std::thread::spawn(move || {
            let _held = poisoner.lock();
            panic!("while the lock is held");
        });
        assert!(panicked.join().is_err());
        assert!(store.data.is_poisoned());
        assert_eq!(store.mail_counts().await.unwrap().queued, 0);
    }
}
