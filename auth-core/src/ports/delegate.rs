/// Implements ports of a store of the host's own by passing every call on to a store that it holds.
///
/// Whole ports only: one of which a method differs is written out. A method that a port gets later is passed on, too, without a change in the host.
///
/// ```
/// use auth_core::{adapters::MemoryStore, delegate};
///
/// struct Shop {
///     accounts: MemoryStore,
/// }
///
/// delegate!(AuditLog, BillingStore, CreditStore, IdentityStore, Outbox, SessionStore, Store, UserStore for Shop => accounts);
/// ```
///
/// # Security
/// A store is safe because each of its methods is one atomic fact. Two that are passed on to one store stay so; a method that does its own part and passes
/// the rest on must put both into one transaction (`PgScope` of `auth-store-postgres` does that), or a crash between them leaves half a fact.
#[macro_export]
macro_rules! delegate {
    ($first:ident $(, $more:ident)* for $store:ty => $field:ident) => {
        $crate::delegate!(@$first $store, $field);
        $($crate::delegate!(@$more $store, $field);)*
    };
    (@AuditLog $store:ty, $field:ident) => {
        $crate::delegate!(@port AuditLog $store, $field:
            audit_entries(user: $crate::types::UserId, limit: u32) -> Vec<$crate::types::AuditEntry>;
        );
    };
    (@BillingStore $store:ty, $field:ident) => {
        $crate::delegate!(@port BillingStore $store, $field:
            apply_payment_event(event: $crate::types::PaymentEvent) -> $crate::types::Processed;
            try_payment_event(event: $crate::types::PaymentEvent) -> $crate::types::Processed;
            settled_payments(ids: &[$crate::types::PaymentRef]) -> Vec<$crate::types::PaymentRef>;
            customer(user: $crate::types::UserId) -> Option<$crate::types::PaymentRef>;
            keep_customer(user: $crate::types::UserId, customer: $crate::types::PaymentRef) -> Option<$crate::types::PaymentRef>;
            replace_customer(
                user: $crate::types::UserId, gone: &$crate::types::PaymentRef, customer: $crate::types::PaymentRef
            ) -> Option<$crate::types::PaymentRef>;
            subscription_wish(user: $crate::types::UserId) -> u32;
            pass_subscription_wish(user: $crate::types::UserId, seen: u32) -> ();
            debt(user: $crate::types::UserId) -> $crate::types::Credits;
            debts(limit: u32) -> Vec<($crate::types::UserId, $crate::types::Credits)>;
            subscriptions(user: $crate::types::UserId) -> Vec<$crate::types::Subscription>;
            keep_subscription(user: $crate::types::UserId, subscription: $crate::types::Subscription) -> ();
            end_subscription(end: $crate::types::SubscriptionEnd) -> ();
            abandoned_subscriptions(limit: u32) -> Vec<$crate::types::PaymentRef>;
            alarming_events(since: $crate::time::OffsetDateTime, limit: u32) -> Vec<$crate::types::KeptEvent>;
            purchases(
                since: $crate::time::OffsetDateTime, after: Option<($crate::time::OffsetDateTime, $crate::types::PaymentRef)>, limit: u32
            ) -> Vec<$crate::types::KeptPurchase>;
        );
    };
    (@CreditStore $store:ty, $field:ident) => {
        $crate::delegate!(@port CreditStore $store, $field:
            book(entry: $crate::types::Entry) -> $crate::ports::Booking;
            balance(user: $crate::types::UserId) -> Option<$crate::ports::Balance>;
            history(history: $crate::ports::History) -> Option<$crate::ports::HistoryPage>;
            ledger_accounts(after: Option<$crate::types::UserId>, limit: u32) -> Vec<$crate::ports::LedgerAccount>;
            ledger_lines(after: Option<($crate::types::UserId, i64)>, limit: u32) -> Vec<$crate::ports::LedgerLine>;
        );
    };
    (@IdentityStore $store:ty, $field:ident) => {
        $crate::delegate!(@port IdentityStore $store, $field:
            link_identity(link: $crate::types::IdentityLink, record: $crate::types::Record) -> $crate::ports::Linked;
            unlink_identity(
                user: $crate::types::UserId, seen: $crate::types::CredentialsVersion, session: $crate::types::SessionId,
                provider: &$crate::types::ProviderName, now: $crate::time::OffsetDateTime, record: $crate::types::Record
            ) -> $crate::ports::Unlinked;
            spend_secret(digest: &$crate::types::Digest, expires_at: $crate::time::OffsetDateTime) -> bool;
        );
    };
    (@Outbox $store:ty, $field:ident) => {
        $crate::delegate!(@port Outbox $store, $field:
            claim_mails(now: $crate::time::OffsetDateTime, lease: $crate::time::Duration, limit: u32) -> $crate::ports::Claims;
            mail_sent(mail: $crate::types::MailId, lease: $crate::time::OffsetDateTime) -> bool;
            mail_failed(
                mail: $crate::types::MailId, lease: $crate::time::OffsetDateTime, retry_at: Option<$crate::time::OffsetDateTime>, reason: &str
            ) -> bool;
            mail_counts() -> $crate::ports::MailCounts;
            dead_mails(limit: u32) -> Vec<$crate::ports::DeadMail>;
            retry_dead_mails(which: $crate::ports::DeadMails, now: $crate::time::OffsetDateTime) -> u64;
            drop_dead_mails(which: $crate::ports::DeadMails) -> u64;
            watch_mails(wake: &(dyn Fn() + Send + Sync)) -> ();
        );
    };
    (@SessionStore $store:ty, $field:ident) => {
        $crate::delegate!(@port SessionStore $store, $field:
            open_session(
                session: $crate::types::NewSession, seen: $crate::types::CredentialsVersion, rehash: Option<$crate::types::PasswordHash>,
                record: $crate::types::Record
            ) -> bool;
            authenticate(session: $crate::types::SessionId, now: $crate::time::OffsetDateTime) -> Option<$crate::ports::Authenticated>;
            touch(
                session: $crate::types::SessionId, now: $crate::time::OffsetDateTime, idle: $crate::time::Duration
            ) -> Option<$crate::ports::Authenticated>;
            rotate(rotation: $crate::ports::Rotation) -> $crate::ports::Rotated;
            session_of_refresh(digest: &$crate::types::Digest) -> Option<$crate::types::Session>;
            end_sessions(
                user: $crate::types::UserId, which: $crate::ports::Ended, now: $crate::time::OffsetDateTime, record: $crate::types::Record
            ) -> u64;
            sessions(user: $crate::types::UserId, now: $crate::time::OffsetDateTime) -> Vec<$crate::types::Session>;
        );
    };
    (@Store $store:ty, $field:ident) => {
        $crate::delegate!(@port Store $store, $field:
            ping() -> ();
            sweep(what: $crate::ports::Sweepable, now: $crate::time::OffsetDateTime, limit: u32) -> u64;
            unverified_accounts(
                made_before: $crate::time::OffsetDateTime, after: Option<$crate::ports::AccountPlace>, limit: u32
            ) -> Vec<$crate::ports::AccountPlace>;
            delete_unverified(accounts: &[$crate::types::UserId]) -> $crate::ports::Removal;
        );
    };
    (@UserStore $store:ty, $field:ident) => {
        $crate::delegate!(@port UserStore $store, $field:
            register(account: $crate::types::NewAccount, record: $crate::types::Record) -> ();
            account(key: &$crate::types::AccountKey) -> Option<$crate::types::Account>;
            append(record: $crate::types::Record) -> ();
            change_password(change: $crate::ports::PasswordChange, record: $crate::types::Record) -> bool;
            delete_account(
                user: $crate::types::UserId, seen: $crate::types::CredentialsVersion, session: $crate::types::SessionId,
                now: $crate::time::OffsetDateTime, record: $crate::types::Record
            ) -> bool;
            set_disabled(user: $crate::types::UserId, disabled: bool, now: $crate::time::OffsetDateTime, record: $crate::types::Record) -> bool;
            set_admin(user: $crate::types::UserId, admin: bool, now: $crate::time::OffsetDateTime, record: $crate::types::Record) -> bool;
            set_locale(user: $crate::types::UserId, locale: &str, now: $crate::time::OffsetDateTime) -> bool;
            issue_token(token: $crate::types::NewMailedToken, throttle: $crate::types::Throttle, record: $crate::types::Record) -> bool;
            begin_email_change(change: $crate::ports::EmailChange, record: $crate::types::Record) -> $crate::ports::Begun;
            pending_token(
                digest: &$crate::types::Digest, purpose: $crate::types::Purpose, now: $crate::time::OffsetDateTime
            ) -> Option<$crate::types::User>;
            redeem(
                digest: &$crate::types::Digest, user: $crate::types::UserId, change: $crate::types::Change, now: $crate::time::OffsetDateTime,
                record: $crate::types::Record
            ) -> $crate::ports::Redeemed;
        );
    };
    (@port $port:ident $store:ty, $field:ident: $($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[$crate::ports::async_trait]
        impl $crate::ports::$port for $store {
            $(
                async fn $method(&self, $($argument: $type),*) -> Result<$answer, $crate::ports::StoreError> {
                    $crate::ports::$port::$method(&self.$field, $($argument),*).await
                }
            )*
        }
    };
}
