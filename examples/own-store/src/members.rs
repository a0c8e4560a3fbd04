//! A library's members: a table with its own names and its own ids, which everything else in that house refers to.
//!
//! What opens an account (names, passwords, sessions, mailed tokens) stays in the tables of auth-tower, where its rules are kept. The host's row lies beside
//! it, and is written in the **same transaction**: no account without its member, no member without an account, whatever crashes when. So the store below
//! has three methods of its own, and passes the rest on.
//!
//! A host whose users can lie in no table but its own writes all ports, about a thousand lines of SQL; `auth_core::store_contract!` tells when they are right.

use std::future::Future;

use async_trait::async_trait;
use auth_core::{
    delegate,
    ports::{
        Begun, EmailChange, IdentityStore, Linked, PasswordChange, Redeemed, StoreError, Unlinked,
        UserStore,
    },
    time::OffsetDateTime,
    to_its_end,
    types::{
        Account, AccountKey, Change, CredentialsVersion, Digest, IdentityLink, NewAccount,
        NewMailedToken, ProviderName, Purpose, Record, SessionId, Throttle, User, UserId,
    },
};
use auth_store_postgres::{
    PgScope, PgStore, classify,
    sqlx::{self, Executor, PgConnection, PgPool},
};

/// The host's own migration. A member goes with the account, whoever deletes that: its owner, or the sweep.
const TABLE: &str = "create table if not exists members (
    card_number bigint generated always as identity (start with 1001) primary key,
    account     uuid not null unique references auth.users on delete cascade,
    called      text not null,
    reach_at    text, -- only an address that its owner has proven
    since       date not null
)";

/// A member, as the host knows them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) card_number: i64,
    pub(crate) called: String,
    pub(crate) reach_at: Option<String>,
}

/// The accounts and their members.
#[derive(Clone)]
pub(crate) struct MemberStore {
    pool: PgPool,
    accounts: PgStore,
}

impl MemberStore {
    /// On the host's own pool: its transactions take their connections from there.
    pub(crate) fn on(pool: PgPool) -> Self {
        Self {
            accounts: PgStore::from_pool(pool.clone()),
            pool,
        }
    }

    pub(crate) async fn migrate(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.accounts.migrate().await?;
        self.pool.execute(TABLE).await?;
        Ok(())
    }

    pub(crate) async fn member(&self, account: UserId) -> sqlx::Result<Option<Member>> {
        let row: Option<(i64, String, Option<String>)> =
            sqlx::query_as("select card_number, called, reach_at from members where account = $1")
                .bind(account.as_uuid())
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(card_number, called, reach_at)| Member {
            card_number,
            called,
            reach_at,
        }))
    }

    /// Does the store's part and the host's in one transaction, and to its end: a client that hangs up drops whoever waits here. Again where it met
    /// another one: nothing inside a scope is tried again.
    async fn in_one_transaction<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Fn(PgScope) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(T, Option<User>), StoreError>> + Send,
    {
        let pool = self.pool.clone();
        to_its_end(async move {
            let mut tries = 1;
            loop {
                match once(&pool, &work).await {
                    Err(error) if met_another(&error) && tries < TRIES => tries += 1,
                    done => return done,
                }
            }
        })
        .await
    }
}

/// Of the two that a deadlock is between, the server ends one: there are hardly ever more in a row.
const TRIES: u32 = 5;

async fn once<T, W, F>(pool: &PgPool, work: &W) -> Result<T, StoreError>
where
    W: Fn(PgScope) -> F,
    F: Future<Output = Result<(T, Option<User>), StoreError>>,
{
    let tx = pool.begin_with("begin isolation level read committed");
    let scope = PgScope::adopt(tx.await.map_err(classify)?);
    let (done, written) = work(scope.clone()).await?;
    let mut tx = scope.release().await.map_err(backend)?;
    if let Some(user) = written {
        write_member(&mut tx, &user).await.map_err(classify)?;
    }
    tx.commit().await.map_err(classify)?;
    Ok(done)
}

/// A deadlock, or a serialization failure: it was undone as a whole. Other outages are not waited out here.
fn met_another(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else {
        return false;
    };
    let code = source
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

/// Makes the row of a user, or brings it up to date.
async fn write_member(connection: &mut PgConnection, user: &User) -> sqlx::Result<()> {
    sqlx::query(
        "insert into members (account, called, reach_at, since) values ($1, $2, $3, $4)
         on conflict (account) do update set called = excluded.called, reach_at = excluded.reach_at",
    )
    .bind(user.id.as_uuid())
    .bind(user.username.as_str())
    .bind(user.is_verified.then(|| user.email.as_str()))
    .bind(user.created_at.date())
    .execute(connection)
    .await?;
    Ok(())
}

fn backend(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(error.into())
}

delegate!(AuditLog, Outbox, SessionStore, Store for MemberStore => accounts);

#[async_trait]
impl IdentityStore for MemberStore {
    /// Whoever claims an account by a provider has proven its address.
    async fn link_identity(
        &self,
        link: IdentityLink,
        record: Record,
    ) -> Result<Linked, StoreError> {
        self.in_one_transaction(move |scope| {
            let (link, record) = (link.clone(), record.clone());
            async move {
                let linked = scope.link_identity(link, record).await?;
                let written = match &linked {
                    Linked::Done(user) => Some((**user).clone()),
                    Linked::Already(_) | Linked::Stale => None,
                };
                Ok((linked, written))
            }
        })
        .await
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
        self.accounts
            .unlink_identity(user, seen, session, provider, now, record)
            .await
    }

    async fn spend_secret(
        &self,
        digest: &Digest,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        self.accounts.spend_secret(digest, expires_at).await
    }
}

#[async_trait]
impl UserStore for MemberStore {
    async fn register(&self, account: NewAccount, record: Record) -> Result<(), StoreError> {
        self.in_one_transaction(move |scope| {
            let (account, record) = (account.clone(), record.clone());
            async move {
                let user = account.user.clone();
                scope.register(account, record).await?;
                Ok(((), Some(user)))
            }
        })
        .await
    }

    /// A link from a mail: it proves an address, or makes it another one.
    async fn redeem(
        &self,
        digest: &Digest,
        user: UserId,
        change: Change,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Redeemed, StoreError> {
        let digest = *digest;
        self.in_one_transaction(move |scope| {
            let (change, record) = (change.clone(), record.clone());
            async move {
                let redeemed = scope.redeem(&digest, user, change, now, record).await?;
                let written = match &redeemed {
                    Redeemed::Done(user) => Some((**user).clone()),
                    Redeemed::Already(_) | Redeemed::Expired | Redeemed::Refused => None,
                };
                Ok((redeemed, written))
            }
        })
        .await
    }

    // The rest says nothing that a member's row repeats.

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        self.accounts.account(key).await
    }

    async fn append(&self, record: Record) -> Result<(), StoreError> {
        self.accounts.append(record).await
    }

    async fn change_password(
        &self,
        change: PasswordChange,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.accounts.change_password(change, record).await
    }

    async fn delete_account(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.accounts
            .delete_account(user, seen, session, now, record)
            .await
    }

    async fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.accounts
            .set_disabled(user, disabled, now, record)
            .await
    }

    async fn set_admin(
        &self,
        user: UserId,
        admin: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.accounts.set_admin(user, admin, now, record).await
    }

    async fn set_locale(
        &self,
        user: UserId,
        locale: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        self.accounts.set_locale(user, locale, now).await
    }

    async fn issue_token(
        &self,
        token: NewMailedToken,
        throttle: Throttle,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.accounts.issue_token(token, throttle, record).await
    }

    async fn begin_email_change(
        &self,
        change: EmailChange,
        record: Record,
    ) -> Result<Begun, StoreError> {
        self.accounts.begin_email_change(change, record).await
    }

    async fn pending_token(
        &self,
        digest: &Digest,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError> {
        self.accounts.pending_token(digest, purpose, now).await
    }
}
