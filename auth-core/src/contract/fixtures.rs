//! What the suites write: plain values, at fixed times.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use tokio::sync::Barrier;

use super::Stores;
use crate::{
    ports::{EmailChange, OsRandom, Rotation, Store, StoreError, Swept},
    sweep::Sweep,
    types::{
        Account, AccountKey, AuditEntry, AuditEvent, AuditId, CredentialsVersion, Digest, Email,
        Letter, MailId, NewAccount, NewMailedToken, NewSession, PasswordHash, Purpose, QueuedMail,
        Record, Session, SessionId, Throttle, User, UserId, Username,
    },
};

/// How long a session of these fixtures lives without a refresh.
pub const IDLE: Duration = Duration::days(14);
/// How long a session of these fixtures lives at most.
pub const ABSOLUTE: Duration = Duration::days(30);
/// How long a mailed token of these fixtures lives.
pub const TOKEN: Duration = Duration::DAY;
/// How long a used refresh token may come again.
pub const GRACE: Duration = Duration::seconds(30);
/// The least difference of two times that a store keeps.
pub const TICK: Duration = Duration::MICROSECOND;
/// Hinders nothing.
pub const NO_THROTTLE: Throttle = Throttle {
    gap: Duration::ZERO,
    hourly: u32::MAX,
};

/// A moment, counted in seconds from the beginning of the suites.
pub fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_767_225_600 + seconds).unwrap()
}

/// An unverified user, made at the beginning, with an address at `example.org`.
pub fn user(name: &str) -> User {
    User {
        id: UserId::generate(at(0), &OsRandom),
        username: Username::parse(name).unwrap(),
        email: email(name),
        is_verified: false,
        is_admin: false,
        is_disabled: false,
        has_password: true,
        providers: Vec::new(),
        locale: "en".to_owned(),
        created_at: at(0),
        updated_at: at(0),
    }
}

/// An address at `example.org`.
pub fn email(name: &str) -> Email {
    Email::parse(&format!("{name}@example.org")).unwrap()
}

/// A stored password. No store looks into it.
pub fn hash(text: &str) -> PasswordHash {
    PasswordHash::new(format!("$2b$12${text}"))
}

/// An account with a password and nothing else.
pub fn account(user: &User) -> NewAccount {
    NewAccount {
        password: Some(hash("first")),
        session: None,
        token: None,
        identity: None,
        user: user.clone(),
    }
}

/// A session that begins now; `refresh` is its refresh token.
pub fn session(user: &User, refresh: &str, now: OffsetDateTime) -> NewSession {
    NewSession {
        session: Session {
            id: SessionId::generate(now, &OsRandom),
            user_id: user.id,
            created_at: now,
            last_used_at: now,
            expires_at: now + IDLE,
            ends_at: now + ABSOLUTE,
            ip: None,
            user_agent: None,
        },
        refresh: Digest::of(refresh),
    }
}

/// A mailed token about the user's address.
pub fn token(user: &User, purpose: Purpose, secret: &str, now: OffsetDateTime) -> NewMailedToken {
    NewMailedToken {
        digest: Digest::of(secret),
        user_id: user.id,
        purpose,
        email: user.email.clone(),
        created_at: now,
        expires_at: now + TOKEN,
    }
}

/// A change of address to `{new}@example.org`, of an account that never changed; its other token is of `cancel {secret}`.
pub fn email_change(
    user: &User,
    session: &Session,
    new: &str,
    secret: &str,
    now: OffsetDateTime,
) -> EmailChange {
    let cancel = format!("cancel {secret}");
    EmailChange {
        user: user.id,
        seen: CredentialsVersion::FIRST,
        session: session.id,
        change: NewMailedToken {
            email: email(new),
            ..token(user, Purpose::ChangeEmail, secret, now)
        },
        cancel: token(user, Purpose::CancelEmailChange, &cancel, now),
        throttle: NO_THROTTLE,
    }
}

/// An entry of the audit log.
pub fn entry(user: &User, event: AuditEvent, now: OffsetDateTime) -> AuditEntry {
    AuditEntry {
        id: AuditId::generate(now, &OsRandom),
        at: now,
        event,
        user_id: Some(user.id),
        session_id: None,
        ip: None,
        user_agent: None,
        request_id: None,
    }
}

/// A mail to the user.
pub fn mail(user: &User, now: OffsetDateTime) -> QueuedMail {
    QueuedMail {
        id: MailId::generate(now, &OsRandom),
        user_id: Some(user.id),
        to: user.email.clone(),
        locale: user.locale.clone(),
        letter: Letter::PasswordChanged {
            username: user.username.as_str().to_owned(),
        },
        created_at: now,
    }
}

/// A mail to the user and an entry about them.
pub fn record(user: &User, event: AuditEvent, now: OffsetDateTime) -> Record {
    Record {
        mails: vec![mail(user, now)],
        audit: vec![entry(user, event, now)],
    }
}

/// One turn of a refresh token.
pub fn rotation(presented: &str, replacement: &str, now: OffsetDateTime) -> Rotation {
    Rotation {
        presented: Digest::of(presented),
        replacement: Digest::of(replacement),
        now,
        grace: GRACE,
        idle: IDLE,
        on_reuse: AuditEntry {
            id: AuditId::generate(now, &OsRandom),
            at: now,
            event: AuditEvent::RefreshTokenReused,
            user_id: None,
            session_id: None,
            ip: None,
            user_agent: None,
            request_id: None,
        },
    }
}

/// Registers an unverified user, without session, token, mail or audit entry.
pub async fn registered(store: &dyn Store, name: &str) -> User {
    let user = user(name);
    store
        .register(account(&user), Record::default())
        .await
        .unwrap();
    user
}

/// Opens a session, without mail or audit entry.
pub async fn logged_in(
    store: &dyn Store,
    user: &User,
    refresh: &str,
    now: OffsetDateTime,
) -> Session {
    let new = session(user, refresh, now);
    let opened = new.session.clone();
    let seen = version(store, user).await;
    assert!(
        store
            .open_session(new, seen, None, Record::default())
            .await
            .unwrap()
    );
    opened
}

/// Keeps a mailed token about the user's address, without mail or audit entry.
pub async fn issued(
    store: &dyn Store,
    user: &User,
    purpose: Purpose,
    secret: &str,
    now: OffsetDateTime,
) -> Digest {
    let token = token(user, purpose, secret, now);
    let digest = token.digest;
    assert!(
        store
            .issue_token(token, NO_THROTTLE, Record::default())
            .await
            .unwrap()
    );
    digest
}

/// The account as it is now.
pub async fn found(store: &dyn Store, user: &User) -> Account {
    store
        .account(&AccountKey::Id(user.id))
        .await
        .unwrap()
        .expect("the account is there")
}

/// The version as it is now.
pub async fn version(store: &dyn Store, user: &User) -> CredentialsVersion {
    found(store, user).await.version
}

/// What the audit log says of a user, the oldest first.
pub async fn events(store: &dyn Store, user: &User) -> Vec<AuditEvent> {
    let entries = store.audit_entries(user.id, 1000).await.unwrap();
    entries.iter().rev().map(|entry| entry.event).collect()
}

/// How many mails wait.
pub async fn queued(store: &dyn Store) -> u64 {
    store.mail_counts().await.unwrap().queued
}

/// Sweeps to the end.
///
/// # Errors
/// What the store answers.
pub async fn sweep(
    store: &dyn Store,
    now: OffsetDateTime,
    unverified_before: OffsetDateTime,
) -> Result<Swept, StoreError> {
    let mut sweep = Sweep::new(now, unverified_before, None);
    while sweep.step(store).await? {}
    Ok(sweep.swept)
}

/// Whether a session opens anything.
pub async fn is_live(store: &dyn Store, session: &Session, now: OffsetDateTime) -> bool {
    store.authenticate(session.id, now).await.unwrap().is_some()
}

/// Whether a token could be redeemed.
pub async fn is_pending(
    store: &dyn Store,
    digest: &Digest,
    purpose: Purpose,
    now: OffsetDateTime,
) -> bool {
    let owner = store.pending_token(digest, purpose, now).await.unwrap();
    owner.is_some()
}

/// Compares users to the last letter.
pub fn assert_same_user(got: &User, want: &User) {
    assert_eq!(got.id, want.id);
    assert_eq!(got.username.as_str(), want.username.as_str());
    assert_eq!(got.email.as_str(), want.email.as_str());
    assert_eq!(
        (
            got.is_verified,
            got.is_admin,
            got.is_disabled,
            got.has_password
        ),
        (
            want.is_verified,
            want.is_admin,
            want.is_disabled,
            want.has_password
        ),
    );
    assert_eq!(got.providers, want.providers);
    assert_eq!(got.locale, want.locale);
    assert_eq!(
        (got.created_at, got.updated_at),
        (want.created_at, want.updated_at)
    );
}

/// Makes eight calls at once, by turns on both handles. `call` gets its number.
pub async fn race<T, F, Fut>(stores: &Stores, call: F) -> Vec<T>
where
    T: Send + 'static,
    F: Fn(usize, Arc<dyn Store>) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
{
    race_on([&stores.first, &stores.second], call).await
}

/// As [`race`], on handles of any kind.
pub async fn race_on<S, T, F, Fut>(stores: [&Arc<S>; 2], call: F) -> Vec<T>
where
    S: ?Sized,
    T: Send + 'static,
    F: Fn(usize, Arc<S>) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
{
    const CALLS: usize = 8;
    let start = Arc::new(Barrier::new(CALLS));
    let calls: Vec<_> = (0..CALLS)
        .map(|number| {
            let (start, call) = (
                Arc::clone(&start),
                call(number, Arc::clone(stores[number % 2])),
            );
            tokio::spawn(async move {
                start.wait().await;
                call.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(CALLS);
    for call in calls {
        results.push(call.await.expect("no call panics"));
    }
    results
}
