//! A host brings its own store: accounts belong to tenants, which see nothing of each other. What it does not care about it passes on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use auth_core::{
    Auth, Hashing, Links,
    adapters::MemoryStore,
    contract::Stores,
    delegate,
    ports::{
        AccountPlace, Authenticated, Begun, EmailChange, Ended, PasswordChange, Redeemed, Removal,
        Rotated, Rotation, SessionStore, Store, StoreError, Sweepable, UserStore,
    },
    time::{Duration, OffsetDateTime},
    types::{
        Account, AccountKey, Change, CredentialsVersion, Digest, NewAccount, NewMailedToken,
        NewSession, PasswordHash, Purpose, Record, Session, SessionId, Throttle, User, UserId,
    },
};
use auth_tests::{Client, Mailbox, PASSWORD, Person, signing_keys};
use auth_tower::{AuthRouter, VerifiedUser, require};
use axum::{Extension, Router, routing::get};
use serde_json::json;

/// The store as one tenant sees it. Stores of several tenants share their data.
#[derive(Clone)]
struct TenantStore {
    inner: MemoryStore,
    tenant: &'static str,
    tenants: Arc<Mutex<HashMap<UserId, &'static str>>>,
}

impl TenantStore {
    fn new(tenant: &'static str) -> Self {
        Self {
            inner: MemoryStore::default(),
            tenant,
            tenants: Arc::default(),
        }
    }

    fn of(&self, tenant: &'static str) -> Self {
        Self {
            tenant,
            ..self.clone()
        }
    }

    fn tenant_of(&self, user: UserId) -> Option<&'static str> {
        self.tenants().get(&user).copied()
    }

    fn is_ours(&self, user: UserId) -> bool {
        self.tenant_of(user) == Some(self.tenant)
    }

    fn tenants(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, &'static str>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl UserStore for TenantStore {
    async fn register(&self, account: NewAccount, record: Record) -> Result<(), StoreError> {
        let user = account.user.id;
        self.inner.register(account, record).await?;
        self.tenants().insert(user, self.tenant);
        Ok(())
    }

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        let account = self.inner.account(key).await?;
        Ok(account.filter(|account| self.is_ours(account.user.id)))
    }

    async fn append(&self, record: Record) -> Result<(), StoreError> {
        self.inner.append(record).await
    }

    async fn change_password(
        &self,
        change: PasswordChange,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.inner.change_password(change, record).await
    }

    async fn delete_account(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        let deleted = self.inner.delete_account(user, seen, session, now, record);
        let deleted = deleted.await?;
        if deleted {
            self.tenants().remove(&user);
        }
        Ok(deleted)
    }

    async fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.inner.set_disabled(user, disabled, now, record).await
    }

    async fn set_admin(
        &self,
        user: UserId,
        admin: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.inner.set_admin(user, admin, now, record).await
    }

    async fn set_locale(
        &self,
        user: UserId,
        locale: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        self.inner.set_locale(user, locale, now).await
    }

    async fn issue_token(
        &self,
        token: NewMailedToken,
        throttle: Throttle,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.inner.issue_token(token, throttle, record).await
    }

    async fn begin_email_change(
        &self,
        change: EmailChange,
        record: Record,
    ) -> Result<Begun, StoreError> {
        self.inner.begin_email_change(change, record).await
    }

    async fn pending_token(
        &self,
        digest: &Digest,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError> {
        let user = self.inner.pending_token(digest, purpose, now).await?;
        Ok(user.filter(|user| self.is_ours(user.id)))
    }

    async fn redeem(
        &self,
        digest: &Digest,
        user: UserId,
        change: Change,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Redeemed, StoreError> {
        if !self.is_ours(user) {
            return Ok(Redeemed::Refused);
        }
        self.inner.redeem(digest, user, change, now, record).await
    }
}

#[async_trait]
impl SessionStore for TenantStore {
    async fn open_session(
        &self,
        session: NewSession,
        seen: CredentialsVersion,
        rehash: Option<PasswordHash>,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.inner.open_session(session, seen, rehash, record).await
    }

    async fn authenticate(
        &self,
        session: SessionId,
        now: OffsetDateTime,
    ) -> Result<Option<Authenticated>, StoreError> {
        let live = self.inner.authenticate(session, now).await?;
        Ok(live.filter(|live| self.is_ours(live.user.id)))
    }

    async fn touch(
        &self,
        session: SessionId,
        now: OffsetDateTime,
        idle: Duration,
    ) -> Result<Option<Authenticated>, StoreError> {
        if self.authenticate(session, now).await?.is_none() {
            return Ok(None);
        }
        self.inner.touch(session, now, idle).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        match self.session_of_refresh(&rotation.presented).await? {
            Some(_) => self.inner.rotate(rotation).await,
            None => Ok(Rotated::Unknown),
        }
    }

    async fn session_of_refresh(&self, digest: &Digest) -> Result<Option<Session>, StoreError> {
        let session = self.inner.session_of_refresh(digest).await?;
        Ok(session.filter(|session| self.is_ours(session.user_id)))
    }

    async fn end_sessions(
        &self,
        user: UserId,
        which: Ended,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<u64, StoreError> {
        self.inner.end_sessions(user, which, now, record).await
    }

    async fn sessions(
        &self,
        user: UserId,
        now: OffsetDateTime,
    ) -> Result<Vec<Session>, StoreError> {
        self.inner.sessions(user, now).await
    }
}

delegate!(AuditLog, IdentityStore, Outbox for TenantStore => inner);

#[async_trait]
impl Store for TenantStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn sweep(
        &self,
        what: Sweepable,
        now: OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.inner.sweep(what, now, limit).await
    }

    async fn unverified_accounts(
        &self,
        made_before: OffsetDateTime,
        after: Option<AccountPlace>,
        limit: u32,
    ) -> Result<Vec<AccountPlace>, StoreError> {
        self.inner
            .unverified_accounts(made_before, after, limit)
            .await
    }

    async fn delete_unverified(&self, accounts: &[UserId]) -> Result<Removal, StoreError> {
        let removal = self.inner.delete_unverified(accounts).await?;
        for user in accounts {
            let account = self.inner.account(&AccountKey::Id(*user)).await?;
            if account.is_none() {
                self.tenants().remove(user);
            }
        }
        Ok(removal)
    }
}

mod contract {
    use super::{Arc, Stores, TenantStore};

    #[allow(clippy::unused_async)] // the suites take an async function
    async fn stores() -> Stores {
        let store = TenantStore::new("red");
        Stores {
            first: Arc::new(store.clone()),
            second: Arc::new(store),
        }
    }

    auth_core::store_contract!(stores);
}

/// The endpoints and one page of the host, as one tenant has them.
fn site(store: &TenantStore, mailbox: &Mailbox) -> (Auth, Client) {
    let auth = Auth::builder(store.clone(), signing_keys())
        .hashing(Hashing::bcrypt(4).unwrap())
        .mailer(
            mailbox.clone(),
            Links::to("https://app.example.org").unwrap(),
        )
        .build()
        .unwrap();
    let store = store.clone();
    let tenant = async move |Extension(who): Extension<VerifiedUser>| {
        store.tenant_of(who.user().id).unwrap_or("none")
    };
    let host = Router::new()
        .route("/tenant", get(tenant).route_layer(require::verified(&auth)))
        .layer(AuthRouter::new(&auth).into_layer());
    let client = Client::of(host);
    (auth, client)
}

#[tokio::test]
async fn a_store_of_the_hosts_own_serves_the_endpoints() {
    let store = TenantStore::new("red");
    let mailbox = Mailbox::default();
    let (auth, red) = site(&store, &mailbox);
    let (_, blue) = site(&store.of("blue"), &mailbox);
    let body = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    let answer = red.post("/auth/register", body).await;
    let ada = Person::of(answer.ok(201), PASSWORD);
    auth.send_due_mails().await.unwrap();
    let link = json!({"token": mailbox.last_to("ada@example.org").token()});
    let elsewhere = blue.post("/auth/verify-email", link.clone()).await;
    elsewhere.refused(400, "invalid_token");
    red.post("/auth/verify-email", link).await.ok(200);
    assert_eq!(red.get("/tenant").by(&ada).await.text(), "red");
    red.get("/auth/me").by(&ada).await.ok(200);

    // One secret, one database, and the other tenant knows nobody of that name.
    let login = json!({"username": "ada", "password": PASSWORD});
    let elsewhere = blue.post("/auth/login", login.clone()).await;
    elsewhere.refused(401, "invalid_credentials");
    for path in ["/auth/me", "/tenant"] {
        blue.get(path).by(&ada).await.refused(401, "invalid_token");
    }
    for body in [
        json!({"refresh_token": ada.refresh_token}),
        json!({"token": ada.access_token}),
    ] {
        let elsewhere = blue.post("/auth/refresh", body.clone()).await;
        elsewhere.refused(401, "invalid_token");
        red.post("/auth/refresh", body).await.ok(200);
    }

    let answer = red.post("/auth/login", login).await;
    let ada = Person::of(answer.ok(200), PASSWORD);
    let delete = red.delete("/auth/users/delete-account").by(&ada);
    delete.json(json!({"password": PASSWORD})).await.ok(200);
    assert_eq!(store.tenant_of(ada.id), None);
}
