use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use auth_core::{
    adapters::MemoryStore,
    ports::{
        AccountPlace, AuditLog, Authenticated, Balance, Begun, BillingStore, Booking, Claims,
        CreditStore, DeadMail, DeadMails, EmailChange, Ended, History, HistoryPage, IdentityStore,
        LedgerAccount, LedgerLine, Linked, MailCounts, Outbox, PasswordChange, Redeemed, Removal,
        Rotated, Rotation, SessionStore, Store, StoreError, Sweepable, Unlinked, UserStore,
    },
    time::{Duration, OffsetDateTime},
    types::{
        Account, AccountKey, AuditEntry, Change, CredentialsVersion, Credits, Digest, Entry,
        IdentityLink, KeptEvent, KeptPurchase, MailId, NewAccount, NewMailedToken, NewSession,
        PasswordHash, PaymentEvent, PaymentRef, Processed, ProviderName, Purpose, Record, Session,
        SessionId, Subscription, SubscriptionEnd, Throttle, User, UserId,
    },
};
use auth_store_postgres::{PgStore, sqlx};
use auth_store_sqlite::SqliteStore;
use futures_util::TryStreamExt;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::postgres::{self, Database};

/// The tests of one program share a server, and each has a few of its connections.
const CONNECTIONS: u32 = 4;
/// For one of them, where a whole suite keeps the machine busy.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// Which store is under an [`App`](crate::App).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// `auth_core::adapters::MemoryStore`.
    Memory,
    /// `auth_store_postgres::PgStore`, in a database of its own.
    Postgres,
    /// `auth_store_sqlite::SqliteStore`, in a file.
    Sqlite,
}

/// Accounts, credits and payments in one place.
pub(crate) trait Whole: Store + BillingStore {}

impl<S: Store + BillingStore> Whole for S {}

/// Where the data of an app is, for as long as the app is.
#[derive(Debug)]
pub(crate) enum Data {
    Memory(MemoryStore),
    Postgres {
        database: Database,
        connections: u32,
    },
    Sqlite(TempDir),
}

impl Data {
    /// Fresh and empty, with its schema.
    pub(crate) async fn new(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Memory => Self::Memory(MemoryStore::default()),
            StoreKind::Postgres => Self::Postgres {
                database: postgres::database().await,
                connections: CONNECTIONS,
            },
            StoreKind::Sqlite => {
                let data = Self::Sqlite(tempfile::tempdir().unwrap());
                data.sqlite().await.migrate().await.unwrap();
                data
            }
        }
    }

    /// A handle as another process would have it.
    pub(crate) async fn handle(&self) -> Arc<dyn Whole> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Postgres {
                database,
                connections,
            } => {
                let pool = PgStore::pool_options()
                    .max_connections(*connections)
                    .acquire_timeout(PATIENCE);
                Arc::new(PgStore::connect_with(&database.url, pool).await.unwrap())
            }
            Self::Sqlite(_) => Arc::new(self.sqlite().await),
        }
    }

    async fn sqlite(&self) -> SqliteStore {
        let Self::Sqlite(directory) = self else {
            panic!("this is no file");
        };
        SqliteStore::open(directory.path().join("auth.db"))
            .await
            .unwrap()
    }

    /// Every byte that a thief of the data would have; `None` where nothing outlives the process.
    pub(crate) async fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Memory(_) => None,
            Self::Postgres { database, .. } => Some(all_rows(database).await),
            Self::Sqlite(directory) => {
                let files = std::fs::read_dir(directory.path()).unwrap();
                let bytes = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap());
                Some(bytes.collect())
            }
        }
    }
}

/// Every row of our tables, with bytes as they are.
async fn all_rows(database: &Database) -> Vec<u8> {
    let mut connection = database.raw().await;
    let copies: Vec<String> = sqlx::query_scalar(
        "select format('copy %I.%I to stdout (format binary)', schemaname, tablename) from pg_tables where schemaname = 'auth'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut bytes = Vec::new();
    for copy in copies {
        let rows = connection.copy_out_raw(&copy).await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        bytes.extend(rows.concat());
    }
    bytes
}

/// A store of any kind that fails or waits when a test wants it to. Clones are one store.
#[derive(Clone)]
pub struct TestStore {
    inner: Arc<dyn Whole>,
    trouble: Arc<Mutex<Trouble>>,
}

#[derive(Default)]
struct Trouble {
    fault: Option<Fault>,
    holds: HashMap<&'static str, Hold>,
}

/// How a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It answers what it should never answer; the error says what no client may read.
    Backend,
    /// It cannot be reached.
    Unavailable,
}

impl Fault {
    /// What its error says.
    pub const SAYS: &str = "select password_hash from auth_users: /var/lib/auth.db is malformed";

    fn error(self) -> StoreError {
        match self {
            Self::Backend => StoreError::Backend(Self::SAYS.into()),
            Self::Unavailable => StoreError::Unavailable(Self::SAYS.into()),
        }
    }
}

/// One call that waits at the store's door. See [`TestStore::hold`].
#[derive(Debug, Clone)]
pub struct Hold {
    reached: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Hold {
    /// Waits until the call has come.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn reached(&self) {
        let patience = std::time::Duration::from_secs(20);
        let reached = tokio::time::timeout(patience, self.reached.acquire()).await;
        reached.expect("no call came").unwrap().forget();
    }

    /// Lets the call go on.
    pub fn release(&self) {
        self.released.add_permits(1);
    }
}

impl TestStore {
    pub(crate) fn new(inner: Arc<dyn Whole>) -> Self {
        Self {
            inner,
            trouble: Arc::default(),
        }
    }

    /// Every call fails from now on, or, with `None`, works again.
    pub fn fail(&self, fault: impl Into<Option<Fault>>) {
        self.trouble().fault = fault.into();
    }

    /// The next call of `method` waits, before it does anything, until it is released.
    pub fn hold(&self, method: &'static str) -> Hold {
        let hold = Hold {
            reached: Arc::new(Semaphore::new(0)),
            released: Arc::new(Semaphore::new(0)),
        };
        self.trouble().holds.insert(method, hold.clone());
        hold
    }

    async fn enter(&self, method: &str) -> Result<(), StoreError> {
        let held = self.trouble().holds.remove(method);
        if let Some(hold) = held {
            hold.reached.add_permits(1);
            hold.released.acquire().await.unwrap().forget();
        }
        match self.trouble().fault {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestStore(..)")
    }
}

macro_rules! pass_on {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        $self.enter(stringify!($method)).await?;
        $self.inner.$method($($argument),*).await
    }};
}

#[async_trait]
impl Store for TestStore {
    async fn ping(&self) -> Result<(), StoreError> {
        pass_on!(self.ping())
    }

    async fn sweep(
        &self,
        what: Sweepable,
        now: OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StoreError> {
        pass_on!(self.sweep(what, now, limit))
    }

    async fn unverified_accounts(
        &self,
        made_before: OffsetDateTime,
        after: Option<AccountPlace>,
        limit: u32,
    ) -> Result<Vec<AccountPlace>, StoreError> {
        pass_on!(self.unverified_accounts(made_before, after, limit))
    }

    async fn delete_unverified(&self, accounts: &[UserId]) -> Result<Removal, StoreError> {
        pass_on!(self.delete_unverified(accounts))
    }
}

#[async_trait]
impl AuditLog for TestStore {
    async fn audit_entries(&self, user: UserId, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        pass_on!(self.audit_entries(user, limit))
    }
}

#[async_trait]
impl Outbox for TestStore {
    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Claims, StoreError> {
        pass_on!(self.claim_mails(now, lease, limit))
    }

    async fn mail_sent(&self, mail: MailId, lease: OffsetDateTime) -> Result<bool, StoreError> {
        pass_on!(self.mail_sent(mail, lease))
    }

    async fn mail_failed(
        &self,
        mail: MailId,
        lease: OffsetDateTime,
        retry_at: Option<OffsetDateTime>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        pass_on!(self.mail_failed(mail, lease, retry_at, reason))
    }

    async fn mail_counts(&self) -> Result<MailCounts, StoreError> {
        pass_on!(self.mail_counts())
    }

    async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError> {
        pass_on!(self.dead_mails(limit))
    }

    async fn retry_dead_mails(
        &self,
        which: DeadMails,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        pass_on!(self.retry_dead_mails(which, now))
    }

    async fn drop_dead_mails(&self, which: DeadMails) -> Result<u64, StoreError> {
        pass_on!(self.drop_dead_mails(which))
    }

    async fn watch_mails(&self, wake: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
        self.inner.watch_mails(wake).await
    }
}

#[async_trait]
impl IdentityStore for TestStore {
    async fn link_identity(
        &self,
        link: IdentityLink,
        record: Record,
    ) -> Result<Linked, StoreError> {
        pass_on!(self.link_identity(link, record))
    }

    async fn unlink_identity(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        provider: &ProviderName,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Unlinked, StoreError> {
        pass_on!(self.unlink_identity(user, seen, session, provider, now, record))
    }

    async fn spend_secret(
        &self,
        digest: &Digest,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        pass_on!(self.spend_secret(digest, expires_at))
    }
}

#[async_trait]
impl SessionStore for TestStore {
    async fn open_session(
        &self,
        session: NewSession,
        seen: CredentialsVersion,
        rehash: Option<PasswordHash>,
        record: Record,
    ) -> Result<bool, StoreError> {
        pass_on!(self.open_session(session, seen, rehash, record))
    }

    async fn authenticate(
        &self,
        session: SessionId,
        now: OffsetDateTime,
    ) -> Result<Option<Authenticated>, StoreError> {
        pass_on!(self.authenticate(session, now))
    }

    async fn touch(
        &self,
        session: SessionId,
        now: OffsetDateTime,
        idle: Duration,
    ) -> Result<Option<Authenticated>, StoreError> {
        pass_on!(self.touch(session, now, idle))
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        pass_on!(self.rotate(rotation))
    }

    async fn session_of_refresh(&self, digest: &Digest) -> Result<Option<Session>, StoreError> {
        pass_on!(self.session_of_refresh(digest))
    }

    async fn end_sessions(
        &self,
        user: UserId,
        which: Ended,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<u64, StoreError> {
        pass_on!(self.end_sessions(user, which, now, record))
    }

    async fn sessions(
        &self,
        user: UserId,
        now: OffsetDateTime,
    ) -> Result<Vec<Session>, StoreError> {
        pass_on!(self.sessions(user, now))
    }
}

#[async_trait]
impl UserStore for TestStore {
    async fn register(&self, account: NewAccount, record: Record) -> Result<(), StoreError> {
        pass_on!(self.register(account, record))
    }

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        pass_on!(self.account(key))
    }

    async fn append(&self, record: Record) -> Result<(), StoreError> {
        pass_on!(self.append(record))
    }

    async fn change_password(
        &self,
        change: PasswordChange,
        record: Record,
    ) -> Result<bool, StoreError> {
        pass_on!(self.change_password(change, record))
    }

    async fn delete_account(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        pass_on!(self.delete_account(user, seen, session, now, record))
    }

    async fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        pass_on!(self.set_disabled(user, disabled, now, record))
    }

    async fn set_admin(
        &self,
        user: UserId,
        admin: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        pass_on!(self.set_admin(user, admin, now, record))
    }

    async fn set_locale(
        &self,
        user: UserId,
        locale: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        pass_on!(self.set_locale(user, locale, now))
    }

    async fn issue_token(
        &self,
        token: NewMailedToken,
        throttle: Throttle,
        record: Record,
    ) -> Result<bool, StoreError> {
        pass_on!(self.issue_token(token, throttle, record))
    }

    async fn begin_email_change(
        &self,
        change: EmailChange,
        record: Record,
    ) -> Result<Begun, StoreError> {
        pass_on!(self.begin_email_change(change, record))
    }

    async fn pending_token(
        &self,
        digest: &Digest,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError> {
        pass_on!(self.pending_token(digest, purpose, now))
    }

    async fn redeem(
        &self,
        digest: &Digest,
        user: UserId,
        change: Change,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Redeemed, StoreError> {
        pass_on!(self.redeem(digest, user, change, now, record))
    }
}

#[async_trait]
impl CreditStore for TestStore {
    async fn book(&self, entry: Entry) -> Result<Booking, StoreError> {
        pass_on!(self.book(entry))
    }

    async fn balance(&self, user: UserId) -> Result<Option<Balance>, StoreError> {
        pass_on!(self.balance(user))
    }

    async fn history(&self, history: History) -> Result<Option<HistoryPage>, StoreError> {
        pass_on!(self.history(history))
    }

    async fn ledger_accounts(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<LedgerAccount>, StoreError> {
        pass_on!(self.ledger_accounts(after, limit))
    }

    async fn ledger_lines(
        &self,
        after: Option<(UserId, i64)>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        pass_on!(self.ledger_lines(after, limit))
    }
}

#[async_trait]
impl BillingStore for TestStore {
    async fn apply_payment_event(&self, event: PaymentEvent) -> Result<Processed, StoreError> {
        pass_on!(self.apply_payment_event(event))
    }

    async fn try_payment_event(&self, event: PaymentEvent) -> Result<Processed, StoreError> {
        pass_on!(self.try_payment_event(event))
    }

    async fn settled_payments(&self, ids: &[PaymentRef]) -> Result<Vec<PaymentRef>, StoreError> {
        pass_on!(self.settled_payments(ids))
    }

    async fn customer(&self, user: UserId) -> Result<Option<PaymentRef>, StoreError> {
        pass_on!(self.customer(user))
    }

    async fn keep_customer(
        &self,
        user: UserId,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError> {
        pass_on!(self.keep_customer(user, customer))
    }

    async fn replace_customer(
        &self,
        user: UserId,
        gone: &PaymentRef,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError> {
        pass_on!(self.replace_customer(user, gone, customer))
    }

    async fn subscription_wish(&self, user: UserId) -> Result<u32, StoreError> {
        pass_on!(self.subscription_wish(user))
    }

    async fn pass_subscription_wish(&self, user: UserId, seen: u32) -> Result<(), StoreError> {
        pass_on!(self.pass_subscription_wish(user, seen))
    }

    async fn debt(&self, user: UserId) -> Result<Credits, StoreError> {
        pass_on!(self.debt(user))
    }

    async fn debts(&self, limit: u32) -> Result<Vec<(UserId, Credits)>, StoreError> {
        pass_on!(self.debts(limit))
    }

    async fn subscriptions(&self, user: UserId) -> Result<Vec<Subscription>, StoreError> {
        pass_on!(self.subscriptions(user))
    }

    async fn keep_subscription(
        &self,
        user: UserId,
        subscription: Subscription,
    ) -> Result<(), StoreError> {
        pass_on!(self.keep_subscription(user, subscription))
    }

    async fn end_subscription(&self, end: SubscriptionEnd) -> Result<(), StoreError> {
        pass_on!(self.end_subscription(end))
    }

    async fn abandoned_subscriptions(&self, limit: u32) -> Result<Vec<PaymentRef>, StoreError> {
        pass_on!(self.abandoned_subscriptions(limit))
    }

    async fn alarming_events(
        &self,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<KeptEvent>, StoreError> {
        pass_on!(self.alarming_events(since, limit))
    }

    async fn purchases(
        &self,
        since: OffsetDateTime,
        after: Option<(OffsetDateTime, PaymentRef)>,
        limit: u32,
    ) -> Result<Vec<KeptPurchase>, StoreError> {
        pass_on!(self.purchases(since, after, limit))
    }
}
