//! The ports of the core: each method hands a unit of work to the statements.

use async_trait::async_trait;
use auth_core::{
    payments::{apply, end_subscription},
    ports::{
        AccountPlace, AuditLog, Authenticated, Balance, Begun, BillingStore, Booking, Claims,
        CreditStore, DeadMail, DeadMails, EmailChange, Ended, History, HistoryPage, IdentityStore,
        LedgerAccount, LedgerLine, Linked, MailCounts, Outbox, PasswordChange, Redeemed, Removal,
        Rotated, Rotation, SessionStore, Store, StoreError, Sweepable, Unique, Unlinked, UserStore,
    },
    types::{
        Account, AccountKey, AuditEntry, Change, CredentialsVersion, Credits, Digest, Entry,
        IdentityLink, KeptEvent, KeptPurchase, MailId, NewAccount, NewMailedToken, NewSession,
        PasswordHash, PaymentEvent, PaymentRef, Processed, ProviderName, Purpose, Record, Session,
        SessionId, Subscription, SubscriptionEnd, Throttle, User, UserId,
    },
};
use sqlx::{Sqlite, SqliteConnection, pool::PoolConnection};
use time::{Duration, OffsetDateTime};

use crate::{
    SqliteStore,
    classify::{classify, is_held},
    sql::{self, audit, credits, identities, outbox, payments, sessions, tokens, users},
    write::{self, Work},
};

impl SqliteStore {
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(classify)
    }

    /// See [`write::transaction`].
    async fn transaction<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        write::transaction(&self.writer, work)
            .await
            .map_err(classify)
    }

    /// See [`write::statement`].
    async fn statement<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        write::statement(&self.writer, work).await.map_err(classify)
    }
}

#[async_trait]
impl UserStore for SqliteStore {
    async fn register(&self, account: NewAccount, record: Record) -> Result<(), StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { users::register(c, &account, &record).await })
        })
        .await
    }

    async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
        let mut reader = self.reader().await?;
        users::account(&mut reader, key).await.map_err(classify)
    }

    async fn append(&self, record: Record) -> Result<(), StoreError> {
        self.transaction(move |c| Box::pin(async move { sql::append(c, &record).await }))
            .await
    }

    async fn change_password(
        &self,
        change: PasswordChange,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { users::change_password(c, &change, &record).await })
        })
        .await
    }

    async fn delete_account(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.transaction(move |c| {
            Box::pin(
                async move { users::delete_account(c, user, seen, session, now, &record).await },
            )
        })
        .await
    }

    async fn set_disabled(
        &self,
        user: UserId,
        disabled: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { users::set_disabled(c, user, disabled, now, &record).await })
        })
        .await
    }

    async fn set_admin(
        &self,
        user: UserId,
        admin: bool,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { users::set_admin(c, user, admin, now, &record).await })
        })
        .await
    }

    async fn set_locale(
        &self,
        user: UserId,
        locale: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let locale = locale.to_owned();
        self.transaction(move |c| {
            Box::pin(async move { users::set_locale(c, user, &locale, now).await })
        })
        .await
    }

    async fn issue_token(
        &self,
        token: NewMailedToken,
        throttle: Throttle,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { tokens::issue(c, &token, throttle, &record).await })
        })
        .await
    }

    async fn begin_email_change(
        &self,
        change: EmailChange,
        record: Record,
    ) -> Result<Begun, StoreError> {
        let begun = self.transaction(move |c| {
            Box::pin(async move { tokens::begin_email_change(c, &change, &record).await })
        });
        begun.await?.ok_or(StoreError::Taken(Unique::Email))
    }

    async fn pending_token(
        &self,
        digest: &Digest,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Option<User>, StoreError> {
        let mut reader = self.reader().await?;
        tokens::pending(&mut reader, digest, purpose, now)
            .await
            .map_err(classify)
    }

    async fn redeem(
        &self,
        digest: &Digest,
        user: UserId,
        change: Change,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Redeemed, StoreError> {
        let digest = *digest;
        self.transaction(move |c| {
            Box::pin(async move { tokens::redeem(c, &digest, user, &change, now, &record).await })
        })
        .await
    }
}

#[async_trait]
impl IdentityStore for SqliteStore {
    async fn link_identity(
        &self,
        link: IdentityLink,
        record: Record,
    ) -> Result<Linked, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { identities::link(c, &link, &record).await })
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
        let provider = provider.clone();
        self.transaction(move |c| {
            Box::pin(async move {
                identities::unlink(c, user, seen, session, &provider, now, &record).await
            })
        })
        .await
    }

    async fn spend_secret(
        &self,
        digest: &Digest,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let digest = *digest;
        self.statement(move |c| {
            Box::pin(async move { identities::spend(c, &digest, expires_at).await })
        })
        .await
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn open_session(
        &self,
        session: NewSession,
        seen: CredentialsVersion,
        rehash: Option<PasswordHash>,
        record: Record,
    ) -> Result<bool, StoreError> {
        self.transaction(move |c| {
            Box::pin(
                async move { sessions::open(c, &session, seen, rehash.as_ref(), &record).await },
            )
        })
        .await
    }

    async fn authenticate(
        &self,
        session: SessionId,
        now: OffsetDateTime,
    ) -> Result<Option<Authenticated>, StoreError> {
        let mut reader = self.reader().await?;
        sessions::authenticate(&mut reader, session, now)
            .await
            .map_err(classify)
    }

    async fn touch(
        &self,
        session: SessionId,
        now: OffsetDateTime,
        idle: Duration,
    ) -> Result<Option<Authenticated>, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { sessions::touch(c, session, now, idle).await })
        })
        .await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        self.transaction(move |c| Box::pin(async move { sessions::rotate(c, &rotation).await }))
            .await
    }

    async fn session_of_refresh(&self, digest: &Digest) -> Result<Option<Session>, StoreError> {
        let mut reader = self.reader().await?;
        let found = sessions::of_refresh(&mut reader, digest)
            .await
            .map_err(classify)?;
        Ok(found.map(|(session, _)| session))
    }

    async fn end_sessions(
        &self,
        user: UserId,
        which: Ended,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<u64, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { sessions::end(c, user, which, now, &record).await })
        })
        .await
    }

    async fn sessions(
        &self,
        user: UserId,
        now: OffsetDateTime,
    ) -> Result<Vec<Session>, StoreError> {
        let mut reader = self.reader().await?;
        sessions::live(&mut reader, user, now)
            .await
            .map_err(classify)
    }
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Claims, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { outbox::claim(c, now, lease, limit).await })
        })
        .await
    }

    async fn mail_sent(&self, mail: MailId, lease: OffsetDateTime) -> Result<bool, StoreError> {
        self.statement(move |c| Box::pin(async move { outbox::delete(c, mail, lease).await }))
            .await
    }

    async fn mail_failed(
        &self,
        mail: MailId,
        lease: OffsetDateTime,
        retry_at: Option<OffsetDateTime>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let reason = reason.to_owned();
        self.statement(move |c| {
            Box::pin(async move { outbox::fail(c, mail, lease, retry_at, &reason).await })
        })
        .await
    }

    async fn mail_counts(&self) -> Result<MailCounts, StoreError> {
        let mut reader = self.reader().await?;
        outbox::counts(&mut reader).await.map_err(classify)
    }

    async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError> {
        let mut reader = self.reader().await?;
        outbox::dead(&mut reader, limit).await.map_err(classify)
    }

    async fn retry_dead_mails(
        &self,
        which: DeadMails,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        self.statement(move |c| Box::pin(async move { outbox::retry(c, which, now).await }))
            .await
    }

    async fn drop_dead_mails(&self, which: DeadMails) -> Result<u64, StoreError> {
        self.statement(move |c| Box::pin(async move { outbox::drop_dead(c, which).await }))
            .await
    }

    async fn watch_mails(&self, _: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn audit_entries(&self, user: UserId, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let mut reader = self.reader().await?;
        audit::entries(&mut reader, user, limit)
            .await
            .map_err(classify)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        let mut reader = self.reader().await?;
        sql::ping(&mut reader)
            .await
            .map_err(|error| StoreError::Unavailable(error.into()))
    }

    async fn sweep(
        &self,
        what: Sweepable,
        now: OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.transaction(move |c| match what {
            Sweepable::MailedTokens => Box::pin(tokens::delete_expired(c, now, limit)),
            Sweepable::Sessions => Box::pin(sessions::delete_expired(c, now, limit)),
            Sweepable::SpentSecrets => Box::pin(identities::delete_expired(c, now, limit)),
        })
        .await
    }

    async fn unverified_accounts(
        &self,
        made_before: OffsetDateTime,
        after: Option<AccountPlace>,
        limit: u32,
    ) -> Result<Vec<AccountPlace>, StoreError> {
        let mut reader = self.reader().await?;
        users::unverified(&mut reader, made_before, after, limit)
            .await
            .map_err(classify)
    }

    async fn delete_unverified(&self, accounts: &[UserId]) -> Result<Removal, StoreError> {
        let accounts = accounts.to_vec();
        let gone = self
            .transaction(move |c| {
                Box::pin(async move { users::delete_unverified(c, &accounts).await })
            })
            .await;
        match gone {
            Ok(gone) => Ok(Removal::Gone(gone)),
            Err(error) if is_held(&error) => Ok(Removal::Held),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl CreditStore for SqliteStore {
    async fn book(&self, entry: Entry) -> Result<Booking, StoreError> {
        self.transaction(move |c| Box::pin(async move { credits::book(c, &entry).await }))
            .await
    }

    async fn balance(&self, user: UserId) -> Result<Option<Balance>, StoreError> {
        let mut reader = self.reader().await?;
        credits::balance(&mut reader, user).await.map_err(classify)
    }

    async fn history(&self, history: History) -> Result<Option<HistoryPage>, StoreError> {
        let mut reader = self.reader().await?;
        credits::history(&mut reader, &history)
            .await
            .map_err(classify)
    }

    async fn ledger_accounts(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<LedgerAccount>, StoreError> {
        let mut reader = self.reader().await?;
        credits::accounts(&mut reader, after, limit)
            .await
            .map_err(classify)
    }

    async fn ledger_lines(
        &self,
        after: Option<(UserId, i64)>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let mut reader = self.reader().await?;
        credits::lines(&mut reader, after, limit)
            .await
            .map_err(classify)
    }
}

#[async_trait]
impl BillingStore for SqliteStore {
    async fn apply_payment_event(&self, event: PaymentEvent) -> Result<Processed, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { apply(&mut payments::Rows(c), &event).await })
        })
        .await
    }

    async fn try_payment_event(&self, event: PaymentEvent) -> Result<Processed, StoreError> {
        self.transaction(move |c| Box::pin(async move { payments::try_event(c, &event).await }))
            .await
    }

    async fn settled_payments(&self, ids: &[PaymentRef]) -> Result<Vec<PaymentRef>, StoreError> {
        let mut reader = self.reader().await?;
        payments::settled(&mut reader, ids).await.map_err(classify)
    }

    async fn customer(&self, user: UserId) -> Result<Option<PaymentRef>, StoreError> {
        let mut reader = self.reader().await?;
        payments::customer(&mut reader, user)
            .await
            .map_err(classify)
    }

    async fn keep_customer(
        &self,
        user: UserId,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { payments::keep_customer(c, user, &customer).await })
        })
        .await
    }

    async fn replace_customer(
        &self,
        user: UserId,
        gone: &PaymentRef,
        customer: PaymentRef,
    ) -> Result<Option<PaymentRef>, StoreError> {
        let gone = gone.clone();
        self.statement(move |c| {
            Box::pin(async move { payments::replace_customer(c, user, &gone, &customer).await })
        })
        .await
    }

    async fn subscription_wish(&self, user: UserId) -> Result<u32, StoreError> {
        let mut reader = self.reader().await?;
        payments::subscription_wish(&mut reader, user)
            .await
            .map_err(classify)
    }

    async fn pass_subscription_wish(&self, user: UserId, seen: u32) -> Result<(), StoreError> {
        self.statement(move |c| {
            Box::pin(async move { payments::pass_subscription_wish(c, user, seen).await })
        })
        .await
    }

    async fn debt(&self, user: UserId) -> Result<Credits, StoreError> {
        let mut reader = self.reader().await?;
        payments::debt(&mut reader, user).await.map_err(classify)
    }

    async fn debts(&self, limit: u32) -> Result<Vec<(UserId, Credits)>, StoreError> {
        let mut reader = self.reader().await?;
        payments::debts(&mut reader, limit).await.map_err(classify)
    }

    async fn subscriptions(&self, user: UserId) -> Result<Vec<Subscription>, StoreError> {
        let mut reader = self.reader().await?;
        payments::subscriptions(&mut reader, user)
            .await
            .map_err(classify)
    }

    async fn keep_subscription(
        &self,
        user: UserId,
        subscription: Subscription,
    ) -> Result<(), StoreError> {
        self.statement(move |c| {
            Box::pin(async move { payments::keep_subscription(c, user, &subscription).await })
        })
        .await
    }

    async fn end_subscription(&self, end: SubscriptionEnd) -> Result<(), StoreError> {
        self.transaction(move |c| {
            Box::pin(async move { end_subscription(&mut payments::Rows(c), &end).await })
        })
        .await
    }

    async fn abandoned_subscriptions(&self, limit: u32) -> Result<Vec<PaymentRef>, StoreError> {
        let mut reader = self.reader().await?;
        payments::abandoned_subscriptions(&mut reader, limit)
            .await
            .map_err(classify)
    }

    async fn alarming_events(
        &self,
        since: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<KeptEvent>, StoreError> {
        let mut reader = self.reader().await?;
        payments::alarming_events(&mut reader, since, limit)
            .await
            .map_err(classify)
    }

    async fn purchases(
        &self,
        since: OffsetDateTime,
        after: Option<(OffsetDateTime, PaymentRef)>,
        limit: u32,
    ) -> Result<Vec<KeptPurchase>, StoreError> {
        let mut reader = self.reader().await?;
        payments::purchases(&mut reader, since, after.as_ref(), limit)
            .await
            .map_err(classify)
    }
}
