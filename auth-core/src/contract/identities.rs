//! Identities at providers and secrets that work once: [`IdentityStore`](crate::ports::IdentityStore).

use super::{
    Stores,
    fixtures::{
        account, at, events, found, hash, is_live, is_pending, issued, logged_in, queued, race,
        record, registered, session, sweep, user, version,
    },
};
use crate::{
    ports::{Ended, Linked, OsRandom, Redeemed, Store, StoreError, Unique, Unlinked},
    types::{
        AccountKey, Adoption, AuditEvent, Change, CredentialsVersion, Digest, IdentityKey,
        IdentityLink, NewAccount, NewIdentity, ProviderName, Purpose, Record, Session, SessionId,
        User, UserId,
    },
};

fn provider(name: &str) -> ProviderName {
    ProviderName::parse(name).unwrap()
}

/// The identity of `subject` at a provider.
fn identity(name: &str, subject: &str) -> NewIdentity {
    NewIdentity {
        key: IdentityKey::parse(&format!("https://{name}.example.org"), subject).unwrap(),
        provider: provider(name),
        linked_at: at(5),
    }
}

fn at_google(subject: &str) -> NewIdentity {
    identity("google", subject)
}

/// Registers a user with a verified address and a password.
async fn verified(store: &dyn Store, name: &str) -> User {
    let user = User {
        is_verified: true,
        ..user(name)
    };
    store
        .register(account(&user), Record::default())
        .await
        .unwrap();
    user
}

/// Registers a user who came from a provider, without a password.
async fn arrived(store: &dyn Store, name: &str, identity: NewIdentity) -> User {
    let user = User {
        is_verified: true,
        has_password: false,
        providers: vec![identity.provider.clone()],
        ..user(name)
    };
    let new = NewAccount {
        password: None,
        identity: Some(identity),
        ..account(&user)
    };
    store.register(new, Record::default()).await.unwrap();
    user
}

/// A session of its own for each call.
async fn opened(store: &dyn Store, user: &User) -> Session {
    let refresh = UserId::generate(at(0), &OsRandom).to_string();
    logged_in(store, user, &refresh, at(1)).await
}

async fn link(
    store: &dyn Store,
    user: &User,
    seen: CredentialsVersion,
    identity: NewIdentity,
    adoption: Adoption,
) -> Result<Linked, StoreError> {
    let link = IdentityLink {
        user: user.id,
        seen,
        session: None,
        identity,
        adoption,
    };
    let record = record(user, AuditEvent::IdentityLinked, at(5));
    store.link_identity(link, record).await
}

async fn join(store: &dyn Store, user: &User, identity: NewIdentity) -> Result<Linked, StoreError> {
    let seen = version(store, user).await;
    link(store, user, seen, identity, Adoption::Join).await
}

async fn unlink(store: &dyn Store, user: &User, name: &str) -> Unlinked {
    let seen = version(store, user).await;
    let session = opened(store, user).await;
    unlink_at(store, user, seen, session.id, name).await
}

async fn unlink_at(
    store: &dyn Store,
    user: &User,
    seen: CredentialsVersion,
    session: SessionId,
    name: &str,
) -> Unlinked {
    let record = record(user, AuditEvent::IdentityUnlinked, at(6));
    store
        .unlink_identity(user.id, seen, session, &provider(name), at(6), record)
        .await
        .unwrap()
}

async fn owner(store: &dyn Store, identity: NewIdentity) -> Option<User> {
    let account = store.account(&AccountKey::Identity(identity.key)).await;
    account.unwrap().map(|account| account.user)
}

/// Whether an answer says that another account has the identity.
fn is_taken(answer: &Result<Linked, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Taken(Unique::Identity)))
}

/// The key is issuer and subject, to the letter, and wherever a user is read, so are their providers.
pub async fn an_account_is_found_by_its_identity(stores: Stores) {
    let ada = arrived(&*stores.first, "ada", at_google("Ab1")).await;
    let store = &*stores.second;
    let found = owner(store, at_google("Ab1")).await.unwrap();
    assert_eq!(found.id, ada.id);
    assert_eq!(found.providers, [provider("google")]);
    assert!(!found.has_password);
    for other in [at_google("ab1"), at_google("Ab"), identity("acme", "Ab1")] {
        assert!(owner(store, other).await.is_none());
    }

    let opened = logged_in(store, &ada, "refresh", at(1)).await;
    let authenticated = store.authenticate(opened.id, at(2)).await.unwrap().unwrap();
    assert_eq!(authenticated.user.providers, [provider("google")]);
    let reset = issued(store, &ada, Purpose::ResetPassword, "reset", at(1)).await;
    let pending = store.pending_token(&reset, Purpose::ResetPassword, at(2));
    let pending = pending.await.unwrap().unwrap();
    assert_eq!(pending.providers, [provider("google")]);
}

/// One person at the provider, one account.
pub async fn a_taken_identity_writes_nothing(stores: Stores) {
    let store = &*stores.first;
    let ada = arrived(store, "ada", at_google("1")).await;
    let rival = user("eve");
    let new = NewAccount {
        identity: Some(at_google("1")),
        session: Some(session(&rival, "refresh", at(0))),
        ..account(&rival)
    };
    let made = record(&rival, AuditEvent::Registered, at(0));
    let refused = stores.second.register(new, made).await;
    assert!(
        matches!(refused, Err(StoreError::Taken(Unique::Identity))),
        "{refused:?}"
    );
    let absent = store.account(&AccountKey::Id(rival.id)).await.unwrap();
    assert!(absent.is_none());
    assert_eq!(events(store, &rival).await, []);

    let bob = verified(store, "bob").await;
    let before = version(store, &bob).await;
    let refused = join(&*stores.second, &bob, at_google("1")).await;
    assert!(is_taken(&refused), "{refused:?}");
    assert_eq!(version(store, &bob).await, before);
    assert_eq!(events(store, &bob).await, []);
    assert_eq!(queued(store).await, 0);
    assert_eq!(owner(store, at_google("1")).await.unwrap().id, ada.id);
}

/// Two tabs, two replicas: one account.
pub async fn of_registrations_of_one_identity_at_once_one_wins(stores: Stores) {
    let results = race(&stores, |number, store| async move {
        let newcomer = user(&format!("ada{number}"));
        let new = NewAccount {
            identity: Some(at_google("1")),
            ..account(&newcomer)
        };
        store.register(new, Record::default()).await
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for result in results {
        assert!(
            matches!(result, Ok(()) | Err(StoreError::Taken(Unique::Identity))),
            "{result:?}"
        );
    }
}

/// Everything else stays; the version moves on, and the record is written.
pub async fn a_joined_account_keeps_what_it_has(stores: Stores) {
    let store = &*stores.first;
    let ada = verified(store, "ada").await;
    let opened = logged_in(store, &ada, "refresh", at(1)).await;
    let before = version(store, &ada).await;
    let Ok(Linked::Done(after)) = join(store, &ada, at_google("1")).await else {
        panic!("it is free");
    };
    assert_eq!(after.providers, [provider("google")]);
    assert_eq!(after.updated_at, at(5));

    let store = &*stores.second;
    let fetched = found(store, &ada).await;
    assert_eq!(fetched.version, before.next());
    assert_eq!(fetched.password.unwrap().as_str(), hash("first").as_str());
    assert_eq!(fetched.user.providers, [provider("google")]);
    assert!(is_live(store, &opened, at(6)).await);
    assert_eq!(events(store, &ada).await, [AuditEvent::IdentityLinked]);
    assert_eq!(queued(store).await, 1);
    assert_eq!(owner(store, at_google("1")).await.unwrap().id, ada.id);
}

/// Asking again is no error and no event.
pub async fn an_identity_is_linked_once(stores: Stores) {
    let store = &*stores.first;
    let ada = verified(store, "ada").await;
    let seen = version(store, &ada).await;
    let answer = join(store, &ada, at_google("1")).await;
    assert!(matches!(answer, Ok(Linked::Done(_))), "{answer:?}");
    let answer = link(store, &ada, seen, at_google("1"), Adoption::Join).await;
    assert!(matches!(answer, Ok(Linked::Already(_))), "{answer:?}");
    assert_eq!(events(store, &ada).await, [AuditEvent::IdentityLinked]);
    assert_eq!(queued(store).await, 1);
}

/// One of each provider; several of several, in alphabetical order.
pub async fn an_account_has_one_identity_of_a_provider(stores: Stores) {
    let store = &*stores.first;
    let ada = verified(store, "ada").await;
    join(store, &ada, at_google("1")).await.unwrap();
    let refused = join(&*stores.second, &ada, at_google("2")).await;
    assert!(is_taken(&refused), "{refused:?}");
    assert!(owner(store, at_google("2")).await.is_none());
    join(store, &ada, identity("acme", "2")).await.unwrap();
    let fetched = found(store, &ada).await;
    assert_eq!(
        fetched.user.providers,
        [provider("acme"), provider("google")]
    );
}

/// What was proven must still hold, and an address that was never proven joins nothing.
pub async fn an_account_that_changed_meanwhile_gets_no_identity(stores: Stores) {
    let store = &*stores.first;
    let (ada, off) = (verified(store, "ada").await, verified(store, "off").await);
    let unproven = registered(store, "unproven").await;
    let disabled = store.set_disabled(off.id, true, at(1), Record::default());
    assert!(disabled.await.unwrap());
    let seen = version(store, &ada).await;
    for (user, seen, adoption) in [
        (&ada, seen.next(), Adoption::Join),
        (&ada, seen, Adoption::Claim),
        (&off, version(store, &off).await, Adoption::Join),
        (&unproven, seen, Adoption::Join),
        (&user("nobody"), seen, Adoption::Join),
        (&user("nobody"), seen, Adoption::Claim),
    ] {
        let answer = link(&*stores.second, user, seen, at_google("1"), adoption).await;
        assert!(matches!(answer, Ok(Linked::Stale)), "{answer:?}");
        assert_eq!(events(store, user).await, []);
    }
    assert!(owner(store, at_google("1")).await.is_none());
    assert_eq!(queued(store).await, 0);
    assert_eq!(version(store, &ada).await, seen);
}

/// Whoever registered with an address that is not theirs keeps no way in when its owner comes.
pub async fn a_claimed_account_keeps_no_other_way_in(stores: Stores) {
    let store = &*stores.first;
    let squatted = User {
        has_password: true,
        ..user("ada")
    };
    let new = NewAccount {
        identity: Some(identity("acme", "of the squatter")),
        ..account(&squatted)
    };
    store.register(new, Record::default()).await.unwrap();
    let admin = store.set_admin(squatted.id, true, at(1), Record::default());
    assert!(admin.await.unwrap());
    let opened = logged_in(store, &squatted, "refresh", at(1)).await;
    let verify = issued(store, &squatted, Purpose::VerifyEmail, "verify", at(1)).await;
    let seen = version(store, &squatted).await;

    let answer = link(store, &squatted, seen, at_google("1"), Adoption::Claim).await;
    let Ok(Linked::Done(after)) = answer else {
        panic!("{answer:?}");
    };
    assert!(after.is_verified && !after.has_password && !after.is_admin);
    assert_eq!(after.providers, [provider("google")]);

    let store = &*stores.second;
    let fetched = found(store, &squatted).await;
    assert!(fetched.password.is_none());
    assert!(fetched.user.is_verified && !fetched.user.is_admin);
    assert_eq!(fetched.user.providers, [provider("google")]);
    assert_eq!(fetched.version, seen.next());
    assert!(!is_live(store, &opened, at(6)).await);
    assert!(!is_pending(store, &verify, Purpose::VerifyEmail, at(6)).await);
    assert!(
        owner(store, identity("acme", "of the squatter"))
            .await
            .is_none()
    );
    assert_eq!(events(store, &squatted).await, [AuditEvent::IdentityLinked]);
    assert_eq!(queued(store).await, 1);

    // A login that had compared the password before.
    let late = session(&squatted, "late", at(6));
    let late = store.open_session(late, seen, None, Record::default());
    assert!(!late.await.unwrap());
}

/// The owner who proves the address by mail in the same moment keeps the account that they made.
pub async fn of_a_claim_and_a_verification_at_once_nothing_is_half_done(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let verify = issued(store, &ada, Purpose::VerifyEmail, "verify", at(1)).await;
    let seen = version(store, &ada).await;
    let results = race(&stores, |number, store| {
        let ada = ada.clone();
        async move {
            if number < 4 {
                let change = Change::VerifyEmail;
                let redeemed = store.redeem(&verify, ada.id, change, at(2), Record::default());
                redeemed.await.unwrap();
                return false;
            }
            let answer = link(&*store, &ada, seen, at_google("1"), Adoption::Claim).await;
            matches!(answer, Ok(Linked::Done(_)))
        }
    })
    .await;
    let claimed = results.into_iter().filter(|claimed| *claimed).count();
    let fetched = found(store, &ada).await;
    assert!(fetched.user.is_verified);
    assert_eq!(fetched.password.is_none(), claimed == 1);
    assert_eq!(fetched.user.providers.len(), claimed);
}

/// The same click twice, on two replicas.
pub async fn of_links_at_once_one_is_made(stores: Stores) {
    let store = &*stores.first;
    let ada = verified(store, "ada").await;
    let seen = version(store, &ada).await;
    let results = race(&stores, |_, store| {
        let ada = ada.clone();
        async move { link(&*store, &ada, seen, at_google("1"), Adoption::Join).await }
    })
    .await;
    let mut done = 0;
    for result in results {
        match result {
            Ok(Linked::Done(_)) => done += 1,
            other => assert!(matches!(other, Ok(Linked::Already(_))), "{other:?}"),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(events(store, &ada).await, [AuditEvent::IdentityLinked]);
    assert_eq!(version(store, &ada).await, seen.next());
}

/// Two accounts want one identity.
pub async fn of_accounts_that_link_one_identity_at_once_one_gets_it(stores: Stores) {
    let mut people = Vec::new();
    for number in 0..8 {
        people.push(verified(&*stores.first, &format!("ada{number}")).await);
    }
    let results = race(&stores, |number, store| {
        let user = people[number].clone();
        async move { join(&*store, &user, at_google("1")).await }
    })
    .await;
    let mut done = 0;
    for result in results {
        match result {
            Ok(Linked::Done(_)) => done += 1,
            other => assert!(is_taken(&other), "{other:?}"),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(queued(&*stores.first).await, 1);
}

/// The identity is free afterwards, the rest of the account stays, and the version moves on.
pub async fn an_unlinked_identity_opens_nothing(stores: Stores) {
    let store = &*stores.first;
    let ada = verified(store, "ada").await;
    join(store, &ada, at_google("1")).await.unwrap();
    let before = version(store, &ada).await;
    let Unlinked::Done(after) = unlink(store, &ada, "google").await else {
        panic!("there is a password");
    };
    assert!(after.providers.is_empty());
    assert_eq!(after.updated_at, at(6));

    let store = &*stores.second;
    let fetched = found(store, &ada).await;
    assert_eq!(fetched.version, before.next());
    assert!(fetched.user.providers.is_empty());
    assert!(owner(store, at_google("1")).await.is_none());
    let log = [AuditEvent::IdentityLinked, AuditEvent::IdentityUnlinked];
    assert_eq!(events(store, &ada).await, log);
    assert_eq!(queued(store).await, 2);
    let again = unlink(store, &ada, "google").await;
    assert!(matches!(again, Unlinked::NotLinked), "{again:?}");
    assert_eq!(events(store, &ada).await, log);

    let bob = verified(store, "bob").await;
    let answer = join(store, &bob, at_google("1")).await;
    assert!(matches!(answer, Ok(Linked::Done(_))), "{answer:?}");
}

/// Whoever came through it stays out, and links that were asked for meanwhile open nothing.
pub async fn unlinking_ends_every_other_session(stores: Stores) {
    let store = &*stores.first;
    let ada = verified(store, "ada").await;
    join(store, &ada, at_google("1")).await.unwrap();
    let (asks, other) = (opened(store, &ada).await, opened(store, &ada).await);
    let reset = issued(store, &ada, Purpose::ResetPassword, "reset", at(5)).await;
    let seen = version(store, &ada).await;
    let answer = unlink_at(store, &ada, seen, asks.id, "google").await;
    assert!(matches!(answer, Unlinked::Done(_)), "{answer:?}");

    let store = &*stores.second;
    assert!(is_live(store, &asks, at(7)).await);
    assert!(!is_live(store, &other, at(7)).await);
    assert!(!is_pending(store, &reset, Purpose::ResetPassword, at(7)).await);
}

/// Who reads the mailbox drops what was linked before the address was proven, and nothing of an account that was theirs.
pub async fn a_reset_drops_identities_of_an_account_that_was_never_verified(stores: Stores) {
    let store = &*stores.first;
    for is_verified in [false, true] {
        let name = if is_verified { "ada" } else { "squatted" };
        let ada = User {
            is_verified,
            ..user(name)
        };
        let new = NewAccount {
            identity: Some(identity("acme", name)),
            ..account(&ada)
        };
        store.register(new, Record::default()).await.unwrap();
        let reset = issued(store, &ada, Purpose::ResetPassword, name, at(1)).await;
        let change = Change::ResetPassword(hash("new"));
        let redeemed = store.redeem(&reset, ada.id, change, at(2), Record::default());
        let Ok(Redeemed::Done(after)) = redeemed.await else {
            panic!("it is pending");
        };
        assert_eq!(!after.providers.is_empty(), is_verified);
        let fetched = found(&*stores.second, &ada).await.user;
        assert!(fetched.is_verified);
        assert_eq!(fetched.providers, after.providers);
        let owner = owner(store, identity("acme", name)).await;
        assert_eq!(owner.is_some(), is_verified);
    }
}

/// Nobody locks themselves out, and a refusal writes nothing.
pub async fn the_last_sign_in_method_stays(stores: Stores) {
    let store = &*stores.first;
    let ada = arrived(store, "ada", at_google("1")).await;
    let before = version(store, &ada).await;
    let answer = unlink(&*stores.second, &ada, "google").await;
    assert!(matches!(answer, Unlinked::LastMethod), "{answer:?}");
    let answer = unlink(store, &ada, "acme").await;
    assert!(matches!(answer, Unlinked::NotLinked), "{answer:?}");
    let session = opened(store, &ada).await.id;
    let answer = unlink_at(store, &user("nobody"), before, session, "google").await;
    assert!(
        matches!(answer, Unlinked::NotLinked | Unlinked::Stale),
        "{answer:?}"
    );
    assert_eq!(version(store, &ada).await, before);
    assert_eq!(events(store, &ada).await, []);
    assert_eq!(queued(store).await, 0);
    assert!(owner(store, at_google("1")).await.is_some());

    join(store, &ada, identity("acme", "2")).await.unwrap();
    let stale = unlink_at(store, &ada, before, session, "google").await;
    assert!(matches!(stale, Unlinked::Stale), "{stale:?}");
    let answer = unlink(store, &ada, "google").await;
    assert!(matches!(answer, Unlinked::Done(_)), "{answer:?}");
    let answer = unlink(store, &ada, "acme").await;
    assert!(matches!(answer, Unlinked::LastMethod), "{answer:?}");
}

/// Each takes another one away, at the same moment: one way in is left.
pub async fn of_the_last_two_sign_in_methods_one_stays(stores: Stores) {
    for round in 0..4 {
        let store = &*stores.first;
        let name = format!("ada{round}");
        let ada = arrived(store, &name, identity("google", &name)).await;
        join(store, &ada, identity("acme", &name)).await.unwrap();
        let session = opened(store, &ada).await.id;
        let results = race(&stores, |number, store| {
            let ada = ada.clone();
            let name = if number % 2 == 0 { "google" } else { "acme" };
            async move {
                let seen = version(&*store, &ada).await;
                unlink_at(&*store, &ada, seen, session, name).await
            }
        })
        .await;
        let mut done = 0;
        for result in results {
            match result {
                Unlinked::Done(_) => done += 1,
                Unlinked::LastMethod | Unlinked::NotLinked | Unlinked::Stale => {}
            }
        }
        assert_eq!(done, 1);
        assert_eq!(found(store, &ada).await.user.providers.len(), 1);
    }
}

/// A request that was held back does nothing after a logout, nor in a session of somebody else.
pub async fn an_identity_comes_and_goes_in_a_live_session_only(stores: Stores) {
    let store = &*stores.first;
    let (ada, eve) = (verified(store, "ada").await, verified(store, "eve").await);
    let (live, ended) = (opened(store, &ada).await, opened(store, &ada).await);
    let foreign = opened(store, &eve).await;
    let which = Ended::One(ended.id);
    let gone = store.end_sessions(ada.id, which, at(2), Record::default());
    assert_eq!(gone.await.unwrap(), 1);
    let expired = NewIdentity {
        linked_at: live.expires_at,
        ..at_google("1")
    };
    let wish = |session: &Session, identity: NewIdentity, seen| IdentityLink {
        user: ada.id,
        seen,
        session: Some(session.id),
        identity,
        adoption: Adoption::Join,
    };
    let seen = version(store, &ada).await;
    for (session, identity) in [
        (&ended, at_google("1")),
        (&foreign, at_google("1")),
        (&live, expired),
    ] {
        let record = record(&ada, AuditEvent::IdentityLinked, at(5));
        let answer = stores
            .second
            .link_identity(wish(session, identity, seen), record);
        let answer = answer.await;
        assert!(matches!(answer, Ok(Linked::Stale)), "{answer:?}");
    }
    assert_eq!(events(store, &ada).await, []);
    let answer = store.link_identity(wish(&live, at_google("1"), seen), Record::default());
    let answer = answer.await;
    assert!(matches!(answer, Ok(Linked::Done(_))), "{answer:?}");

    let seen = version(store, &ada).await;
    for session in [ended.id, foreign.id] {
        let answer = unlink_at(&*stores.second, &ada, seen, session, "google").await;
        assert!(matches!(answer, Unlinked::Stale), "{answer:?}");
    }
    let google = provider("google");
    let late = live.expires_at;
    let late = store.unlink_identity(ada.id, seen, live.id, &google, late, Record::default());
    assert!(matches!(late.await, Ok(Unlinked::Stale)));
    assert_eq!(events(store, &ada).await, []);
    let answer = unlink_at(store, &ada, seen, live.id, "google").await;
    assert!(matches!(answer, Unlinked::Done(_)), "{answer:?}");
}

/// Deleting, or never proving, an account frees its identity.
pub async fn an_identity_goes_with_its_account(stores: Stores) {
    let store = &*stores.first;
    let ada = arrived(store, "ada", at_google("1")).await;
    let seen = version(store, &ada).await;
    let session = opened(store, &ada).await.id;
    let deleted = store.delete_account(ada.id, seen, session, at(2), Record::default());
    assert!(deleted.await.unwrap());
    assert!(owner(store, at_google("1")).await.is_none());

    let unproven = user("bob");
    let new = NewAccount {
        identity: Some(at_google("1")),
        ..account(&unproven)
    };
    store.register(new, Record::default()).await.unwrap();
    let swept = sweep(&*stores.second, at(20), at(10)).await.unwrap();
    assert_eq!(swept.accounts, 1);
    assert!(owner(store, at_google("1")).await.is_none());
    arrived(&*stores.second, "ada", at_google("1")).await;
}

/// Of calls at once, on any replica, one is the first.
pub async fn a_secret_is_spent_once(stores: Stores) {
    let digest = Digest::of("secret");
    let results = race(&stores, |_, store| async move {
        store.spend_secret(&digest, at(60)).await.unwrap()
    })
    .await;
    assert_eq!(results.into_iter().filter(|first| *first).count(), 1);
    let again = stores.second.spend_secret(&digest, at(90)).await.unwrap();
    assert!(!again);
    let other = Digest::of("other");
    assert!(stores.first.spend_secret(&other, at(60)).await.unwrap());
}

/// A mark stays until its secret is worth nothing.
pub async fn marks_of_spent_secrets_are_swept(stores: Stores) {
    let store = &*stores.first;
    let (short, long) = (Digest::of("short"), Digest::of("long"));
    assert!(store.spend_secret(&short, at(60)).await.unwrap());
    assert!(store.spend_secret(&long, at(600)).await.unwrap());
    assert_eq!(sweep(store, at(59), at(-1)).await.unwrap().spent, 0);
    assert_eq!(
        sweep(&*stores.second, at(60), at(-1)).await.unwrap().spent,
        1
    );
    assert!(!store.spend_secret(&long, at(600)).await.unwrap());
    assert_eq!(
        sweep(&*stores.second, at(600), at(-1)).await.unwrap().spent,
        1
    );
}
