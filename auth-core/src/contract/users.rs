//! Accounts: [`UserStore`](crate::ports::UserStore) without its mailed tokens.

use time::Duration;

use super::{
    Stores,
    fixtures::{
        TICK, account, assert_same_user, at, email, entry, events, found, hash, is_live,
        is_pending, issued, logged_in, mail, queued, race, record, registered, rotation, session,
        token, user, version,
    },
};
use crate::{
    ports::{Ended, PasswordChange, Rotated, Store, StoreError, Unique},
    types::{
        AccountKey, AuditEvent, CredentialsVersion, Digest, Email, NewAccount, Purpose, Record,
        Session, User, Username,
    },
};

/// Account, session, token, mail and audit entry are there at once, for every handle.
pub async fn a_registration_writes_all_of_its_rows(stores: Stores) {
    let ada = user("ada");
    let new = session(&ada, "refresh", at(0));
    let opened = new.session.clone();
    stores
        .first
        .register(
            NewAccount {
                session: Some(new),
                token: Some(token(&ada, Purpose::VerifyEmail, "verify", at(0))),
                ..account(&ada)
            },
            record(&ada, AuditEvent::Registered, at(0)),
        )
        .await
        .unwrap();

    let store = &*stores.second;
    let fetched = found(store, &ada).await;
    assert_same_user(&fetched.user, &ada);
    assert_eq!(fetched.version, CredentialsVersion::FIRST);
    assert_eq!(fetched.password.unwrap().as_str(), hash("first").as_str());
    assert!(is_live(store, &opened, at(1)).await);
    assert_eq!(
        store
            .session_of_refresh(&Digest::of("refresh"))
            .await
            .unwrap(),
        Some(opened)
    );
    assert!(is_pending(store, &Digest::of("verify"), Purpose::VerifyEmail, at(1)).await);
    assert_eq!(queued(store).await, 1);
    assert_eq!(events(store, &ada).await, [AuditEvent::Registered]);
}

/// Another sign-in method, an import: a bare account is one too.
pub async fn an_account_needs_no_password_session_or_token(stores: Stores) {
    let ada = User {
        has_password: false,
        ..user("ada")
    };
    let bare = NewAccount {
        password: None,
        ..account(&ada)
    };
    stores
        .first
        .register(bare, Record::default())
        .await
        .unwrap();

    let fetched = found(&*stores.second, &ada).await;
    assert_same_user(&fetched.user, &ada);
    assert!(fetched.password.is_none());
    assert!(
        stores
            .second
            .sessions(ada.id, at(1))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(queued(&*stores.second).await, 0);
}

/// Flags, spelling, user text and times come back as they were written.
pub async fn every_field_of_an_account_survives(stores: Stores) {
    let ada = User {
        username: Username::parse("Ada_L.-99").unwrap(),
        email: Email::parse("O'Hara%_\u{fc}\u{1f980}+tag@B\u{fc}cher.example").unwrap(),
        is_verified: true,
        is_admin: true,
        is_disabled: true,
        locale: "de-CH".to_owned(),
        created_at: at(-5) + Duration::microseconds(123_456),
        updated_at: at(7) + Duration::microseconds(654_321),
        ..user("ada")
    };
    let password = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$'\"%_;--\u{1f980}";
    let new = NewAccount {
        password: Some(crate::types::PasswordHash::new(password)),
        ..account(&ada)
    };
    stores.first.register(new, Record::default()).await.unwrap();

    let fetched = found(&*stores.second, &ada).await;
    assert_same_user(&fetched.user, &ada);
    assert_eq!(fetched.password.unwrap().as_str(), password);
}

/// Nothing of a refused registration is seen by anybody.
async fn assert_wrote_nothing(store: &dyn Store, refused: &User, session: &Session) {
    assert!(
        store
            .account(&AccountKey::Id(refused.id))
            .await
            .unwrap()
            .is_none()
    );
    assert!(!is_live(store, session, at(1)).await);
    assert!(
        store
            .session_of_refresh(&Digest::of("refresh"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(!is_pending(store, &Digest::of("verify"), Purpose::VerifyEmail, at(1)).await);
    assert_eq!(queued(store).await, 0);
    assert_eq!(events(store, refused).await, []);
}

/// Registers `owner`, then `newcomer`, who wants something that is taken.
async fn assert_taken(stores: &Stores, owner: User, newcomer: User, what: Unique) {
    stores
        .first
        .register(account(&owner), Record::default())
        .await
        .unwrap();
    let new = session(&newcomer, "refresh", at(0));
    let session = new.session.clone();
    let refused = stores
        .second
        .register(
            NewAccount {
                session: Some(new),
                token: Some(token(&newcomer, Purpose::VerifyEmail, "verify", at(0))),
                ..account(&newcomer)
            },
            record(&newcomer, AuditEvent::Registered, at(0)),
        )
        .await;
    assert!(
        matches!(&refused, Err(StoreError::Taken(taken)) if *taken == what),
        "{refused:?}"
    );
    assert_wrote_nothing(&*stores.first, &newcomer, &session).await;
}

/// `Ada` is `ADA`.
pub async fn a_taken_username_writes_nothing(stores: Stores) {
    let newcomer = User {
        username: Username::parse("ADA").unwrap(),
        ..user("eve")
    };
    assert_taken(&stores, user("Ada"), newcomer, Unique::Username).await;
}

/// Case makes no other address.
pub async fn a_taken_address_writes_nothing(stores: Stores) {
    let owner = User {
        is_verified: true,
        ..user("Ada")
    };
    let newcomer = User {
        email: Email::parse("ADA@Example.ORG").unwrap(),
        ..user("eve")
    };
    assert_taken(&stores, owner, newcomer, Unique::Email).await;
}

/// An address belongs to its account before it is proven.
pub async fn an_unverified_address_is_taken_too(stores: Stores) {
    let newcomer = User {
        email: email("ada"),
        ..user("eve")
    };
    assert_taken(&stores, user("ada"), newcomer, Unique::Email).await;
}

/// Two tabs, two replicas: one account.
pub async fn of_registrations_of_one_username_at_once_one_wins(stores: Stores) {
    let results = race(&stores, |number, store| {
        let newcomer = User {
            email: email(&format!("ada{number}")),
            ..user("ada")
        };
        async move {
            let record = record(&newcomer, AuditEvent::Registered, at(0));
            store.register(account(&newcomer), record).await
        }
    })
    .await;
    assert_one_won(&results, Unique::Username);
    assert_eq!(queued(&*stores.first).await, 1);
}

/// The same for an address.
pub async fn of_registrations_of_one_address_at_once_one_wins(stores: Stores) {
    let results = race(&stores, |number, store| {
        let newcomer = User {
            email: email("ada"),
            ..user(&format!("ada{number}"))
        };
        async move {
            let record = record(&newcomer, AuditEvent::Registered, at(0));
            store.register(account(&newcomer), record).await
        }
    })
    .await;
    assert_one_won(&results, Unique::Email);
    assert_eq!(queued(&*stores.first).await, 1);
}

fn assert_one_won(results: &[Result<(), StoreError>], what: Unique) {
    let won = results.iter().filter(|result| result.is_ok()).count();
    let taken = results
        .iter()
        .filter(|result| matches!(result, Err(StoreError::Taken(taken)) if *taken == what))
        .count();
    assert_eq!((won, taken), (1, results.len() - 1), "{results:?}");
}

/// Look-ups fold case, and nothing in a name is a wildcard.
pub async fn an_account_is_found_by_id_username_and_address(stores: Stores) {
    let store = &*stores.second;
    let ada = registered(&*stores.first, "Ada_L").await;
    registered(&*stores.first, "AdaXL").await;
    for key in [
        AccountKey::Id(ada.id),
        AccountKey::Username(Username::parse("aDA_l").unwrap()),
        AccountKey::Email(Email::parse("ADA_L@EXAMPLE.org").unwrap()),
    ] {
        let fetched = store.account(&key).await.unwrap();
        assert_same_user(&fetched.expect("it is found").user, &ada);
    }
    for key in [
        AccountKey::Id(user("eve").id),
        AccountKey::Username(Username::parse("___").unwrap()),
        AccountKey::Username(Username::parse("Ada").unwrap()),
        AccountKey::Email(email("%")),
        AccountKey::Email(Email::parse("ada_l@example.com").unwrap()),
    ] {
        assert!(store.account(&key).await.unwrap().is_none(), "{key:?}");
    }
}

/// Entries and mails without a change are written as they are.
pub async fn an_appended_record_is_written(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let login = record(&ada, AuditEvent::LoginFailed, at(1));
    stores.first.append(login).await.unwrap();
    assert_eq!(
        events(&*stores.second, &ada).await,
        [AuditEvent::LoginFailed]
    );
    assert_eq!(queued(&*stores.second).await, 1);
    stores.first.append(Record::default()).await.unwrap();
    assert_eq!(queued(&*stores.second).await, 1);
}

/// The kept session as it is named afterwards, if the password was changed.
async fn change_password(
    store: &dyn Store,
    user: &User,
    seen: CredentialsVersion,
    keep: &Session,
) -> Option<Session> {
    let successor = session(user, "successor", at(60)).session.id;
    let changed = store
        .change_password(
            PasswordChange {
                user: user.id,
                seen,
                password: hash("second"),
                keep: keep.id,
                successor,
                refresh: Digest::of("kept refresh"),
                now: at(60),
            },
            record(user, AuditEvent::PasswordChanged, at(60)),
        )
        .await
        .unwrap();
    changed.then(|| Session {
        id: successor,
        ..keep.clone()
    })
}

/// The password, its version, the tokens and the sessions change together.
pub async fn a_changed_password_ends_what_the_old_one_opened(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let kept = logged_in(store, &ada, "kept", at(1)).await;
    let rotated = store.rotate(rotation("kept", "kept 2", at(2))).await;
    assert!(matches!(rotated, Ok(Rotated::Issued(_))));
    let other = logged_in(store, &ada, "other", at(1)).await;
    let bobs = logged_in(store, &bob, "bob", at(1)).await;
    let reset = issued(store, &ada, Purpose::ResetPassword, "reset", at(1)).await;
    let verify = issued(store, &ada, Purpose::VerifyEmail, "verify", at(1)).await;
    let bobs_reset = issued(store, &bob, Purpose::ResetPassword, "bob reset", at(1)).await;
    let seen = version(store, &ada).await;

    let successor = change_password(&*stores.second, &ada, seen, &kept).await;
    let successor = successor.unwrap();

    let changed = found(store, &ada).await;
    assert_eq!(changed.version, seen.next());
    assert_eq!(changed.password.unwrap().as_str(), hash("second").as_str());
    assert_eq!(changed.user.updated_at, at(60));
    assert!(is_live(store, &successor, at(61)).await);
    assert!(
        !is_live(store, &kept, at(61)).await,
        "the old id opens nothing"
    );
    assert!(!is_live(store, &other, at(61)).await);
    assert!(is_live(store, &bobs, at(61)).await);
    assert!(!is_pending(store, &reset, Purpose::ResetPassword, at(61)).await);
    assert!(!is_pending(store, &verify, Purpose::VerifyEmail, at(61)).await);
    assert!(is_pending(store, &bobs_reset, Purpose::ResetPassword, at(61)).await);
    assert_eq!(events(store, &ada).await, [AuditEvent::PasswordChanged]);
    assert_eq!(queued(store).await, 1);

    for old in ["kept", "kept 2", "other"] {
        let answer = store.rotate(rotation(old, "x", at(61))).await.unwrap();
        assert!(matches!(answer, Rotated::Unknown), "{old}: {answer:?}");
        let owner = store.session_of_refresh(&Digest::of(old)).await.unwrap();
        assert!(owner.is_none(), "{old}");
    }
    let answer = store
        .rotate(rotation("kept refresh", "kept 3", at(61)))
        .await
        .unwrap();
    assert!(matches!(answer, Rotated::Issued(_)), "{answer:?}");
}

/// What was proven before another change no longer holds.
pub async fn a_stale_version_changes_no_password(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let kept = logged_in(store, &ada, "kept", at(1)).await;
    let other = logged_in(store, &ada, "other", at(1)).await;
    let reset = issued(store, &ada, Purpose::ResetPassword, "reset", at(1)).await;
    let seen = version(store, &ada).await;

    assert!(
        change_password(&*stores.second, &ada, seen.next(), &kept)
            .await
            .is_none()
    );
    assert_unchanged(store, &ada, &other, &reset).await;
    assert!(is_live(store, &kept, at(61)).await);
    let answer = store.rotate(rotation("kept", "kept 2", at(61))).await;
    assert!(matches!(answer, Ok(Rotated::Issued(_))), "{answer:?}");
}

/// A session that was ended, or is somebody else's, cannot be kept: the change is refused.
pub async fn a_password_is_not_changed_from_a_session_that_is_gone(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let other = logged_in(store, &ada, "other", at(1)).await;
    let reset = issued(store, &ada, Purpose::ResetPassword, "reset", at(1)).await;
    let bobs = logged_in(store, &bob, "bob", at(1)).await;
    let seen = version(store, &ada).await;

    let never = session(&ada, "never", at(1)).session;
    assert!(
        change_password(&*stores.second, &ada, seen, &never)
            .await
            .is_none()
    );
    assert!(
        change_password(&*stores.second, &ada, seen, &bobs)
            .await
            .is_none()
    );
    assert_unchanged(store, &ada, &other, &reset).await;
    let answer = store.rotate(rotation("bob", "bob 2", at(61))).await;
    assert!(matches!(answer, Ok(Rotated::Issued(_))), "{answer:?}");

    let nobody = user("nobody");
    assert!(
        change_password(store, &nobody, CredentialsVersion::FIRST, &other)
            .await
            .is_none()
    );
}

async fn assert_unchanged(store: &dyn Store, ada: &User, other: &Session, reset: &Digest) {
    let account = found(store, ada).await;
    assert_eq!(account.version, CredentialsVersion::FIRST);
    assert_eq!(account.password.unwrap().as_str(), hash("first").as_str());
    assert_same_user(&account.user, ada);
    assert!(is_live(store, other, at(61)).await);
    assert!(is_pending(store, reset, Purpose::ResetPassword, at(61)).await);
    assert_eq!(events(store, ada).await, []);
    assert_eq!(queued(store).await, 0);
    let answer = store.session_of_refresh(&Digest::of("kept refresh")).await;
    assert!(answer.unwrap().is_none());
}

/// Two changes that rest on the same look: the second one is refused.
pub async fn of_password_changes_at_once_one_is_made(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let kept = logged_in(&*stores.first, &ada, "kept", at(1)).await;
    let results = race(&stores, |_, store| {
        let (ada, kept) = (ada.clone(), kept.clone());
        async move { change_password(&*store, &ada, CredentialsVersion::FIRST, &kept).await }
    })
    .await;
    assert_eq!(results.iter().filter(|made| made.is_some()).count(), 1);
    assert_eq!(
        version(&*stores.first, &ada).await,
        CredentialsVersion::FIRST.next()
    );
    assert_eq!(events(&*stores.first, &ada).await.len(), 1);
}

/// Sessions, tokens and waiting mails go; what the log and the farewell say stays.
pub async fn a_deleted_account_takes_everything_but_the_audit_log(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let session = logged_in(store, &ada, "refresh", at(1)).await;
    let bobs = logged_in(store, &bob, "bob", at(1)).await;
    let verify = issued(store, &ada, Purpose::VerifyEmail, "verify", at(1)).await;
    store
        .append(record(&ada, AuditEvent::LoginSucceeded, at(2)))
        .await
        .unwrap();
    store
        .append(record(&bob, AuditEvent::LoginSucceeded, at(2)))
        .await
        .unwrap();
    let farewell = crate::types::QueuedMail {
        user_id: None,
        ..mail(&ada, at(3))
    };
    let farewell_id = farewell.id;

    let deleted = stores
        .second
        .delete_account(
            ada.id,
            version(store, &ada).await,
            session.id,
            at(3),
            Record {
                mails: vec![farewell],
                audit: vec![entry(&ada, AuditEvent::AccountDeleted, at(3))],
            },
        )
        .await
        .unwrap();
    assert!(deleted);

    for key in [
        AccountKey::Id(ada.id),
        AccountKey::Username(ada.username.clone()),
        AccountKey::Email(ada.email.clone()),
    ] {
        assert!(store.account(&key).await.unwrap().is_none(), "{key:?}");
    }
    assert!(!is_live(store, &session, at(4)).await);
    assert!(is_live(store, &bobs, at(4)).await);
    assert!(store.sessions(ada.id, at(4)).await.unwrap().is_empty());
    let answer = store.rotate(rotation("refresh", "x", at(4))).await;
    assert!(matches!(answer, Ok(Rotated::Unknown)), "{answer:?}");
    assert!(!is_pending(store, &verify, Purpose::VerifyEmail, at(4)).await);
    assert_eq!(
        events(store, &ada).await,
        [AuditEvent::LoginSucceeded, AuditEvent::AccountDeleted]
    );
    let claims = store.claim_mails(at(5), Duration::MINUTE, 10).await;
    let mails = claims.unwrap().mails;
    let mut left: Vec<_> = mails
        .iter()
        .map(|claimed| claimed.mail.user_id.map(|id| id == bob.id))
        .collect();
    left.sort_unstable();
    assert_eq!(left, [None, Some(true)]);
    assert!(mails.iter().any(|claimed| claimed.mail.id == farewell_id));

    let again = registered(&*stores.second, "ada").await;
    assert_ne!(again.id, ada.id);
    assert_eq!(events(store, &again).await, []);
}

/// An account that changed since, or that is gone, is not deleted.
pub async fn a_stale_version_deletes_nothing(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(1)).await;
    let seen = version(store, &ada).await;
    for (user, seen) in [(&ada, seen.next()), (&user("eve"), seen)] {
        let farewell = record(user, AuditEvent::AccountDeleted, at(3));
        let deleted = stores
            .second
            .delete_account(user.id, seen, session.id, at(3), farewell)
            .await
            .unwrap();
        assert!(!deleted);
        assert_eq!(events(store, user).await, []);
    }
    assert_eq!(queued(store).await, 0);
    assert!(is_live(store, &session, at(4)).await);
}

/// A session that was ended, has expired or is somebody else's deletes nothing, whatever was proven in it before.
pub async fn an_account_is_not_deleted_from_a_session_that_is_gone(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let seen = version(store, &ada).await;
    let ended = logged_in(store, &ada, "ended", at(1)).await;
    let count = store.end_sessions(ada.id, Ended::One(ended.id), at(2), Record::default());
    assert_eq!(count.await.unwrap(), 1);
    let expired = logged_in(store, &ada, "expired", at(1)).await;
    let bobs = logged_in(store, &bob, "bob", at(1)).await;
    for (session, now) in [
        (&ended, at(3)),
        (&expired, expired.expires_at),
        (&bobs, at(3)),
    ] {
        let farewell = record(&ada, AuditEvent::AccountDeleted, now);
        let deleted = stores
            .second
            .delete_account(ada.id, seen, session.id, now, farewell);
        assert!(!deleted.await.unwrap());
    }
    assert_same_user(&found(store, &ada).await.user, &ada);
    assert_eq!(events(store, &ada).await, []);
    assert_eq!(queued(store).await, 0);
}

/// Switching off ends what is open and what could open something, on every handle.
pub async fn a_disabled_account_opens_nothing(stores: Stores) {
    let store = &*stores.second;
    let ada = registered(&*stores.first, "ada").await;
    let session = logged_in(&*stores.first, &ada, "refresh", at(1)).await;
    let reset = issued(&*stores.first, &ada, Purpose::ResetPassword, "reset", at(1)).await;
    let seen = version(store, &ada).await;
    let off = record(&ada, AuditEvent::AccountDisabled, at(10));
    assert!(
        stores
            .first
            .set_disabled(ada.id, true, at(10), off)
            .await
            .unwrap()
    );

    let disabled = found(store, &ada).await;
    assert!(disabled.user.is_disabled);
    assert_eq!(disabled.user.updated_at, at(10));
    assert_eq!(disabled.version, seen.next());
    assert!(!is_live(store, &session, at(11)).await);
    assert!(store.sessions(ada.id, at(11)).await.unwrap().is_empty());
    let answer = store.rotate(rotation("refresh", "x", at(11))).await;
    assert!(matches!(answer, Ok(Rotated::Unknown)), "{answer:?}");
    assert!(!is_pending(store, &reset, Purpose::ResetPassword, at(11)).await);
    for version in [seen, disabled.version] {
        let new = super::fixtures::session(&ada, "again", at(11));
        let opened = store
            .open_session(new, version, Some(hash("rehash")), Record::default())
            .await
            .unwrap();
        assert!(!opened);
    }
    let password = found(store, &ada).await.password.unwrap();
    assert_eq!(password.as_str(), hash("first").as_str());
    assert_eq!(events(store, &ada).await, [AuditEvent::AccountDisabled]);
    assert_eq!(queued(store).await, 1);
}

/// Switched on again, the user logs in afresh; what was ended stays ended.
pub async fn an_account_can_be_enabled_again(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let old = logged_in(store, &ada, "refresh", at(1)).await;
    let reset = issued(store, &ada, Purpose::ResetPassword, "reset", at(1)).await;
    for disabled in [true, false] {
        let changed = store
            .set_disabled(ada.id, disabled, at(10), Record::default())
            .await
            .unwrap();
        assert!(changed);
    }

    let enabled = found(&*stores.second, &ada).await;
    assert!(!enabled.user.is_disabled);
    assert!(!is_live(store, &old, at(11)).await);
    assert!(!is_pending(store, &reset, Purpose::ResetPassword, at(11)).await);
    let new = logged_in(store, &ada, "new", at(11)).await;
    assert!(is_live(&*stores.second, &new, at(12)).await);
}

/// What is already so, and what is gone, is neither written nor recorded.
pub async fn a_status_is_set_once(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let nobody = user("nobody");
    for (user, admin, changed) in [
        (&ada, false, false),
        (&ada, true, true),
        (&ada, true, false),
        (&nobody, true, false),
    ] {
        let granted = record(user, AuditEvent::AdminGranted, at(10));
        let answer = store.set_admin(user.id, admin, at(10), granted).await;
        assert_eq!(answer.unwrap(), changed);
    }
    for (user, disabled, changed) in [
        (&ada, false, false),
        (&ada, true, true),
        (&ada, true, false),
        (&nobody, true, false),
    ] {
        let off = record(user, AuditEvent::AccountDisabled, at(20));
        let answer = store.set_disabled(user.id, disabled, at(20), off).await;
        assert_eq!(answer.unwrap(), changed);
    }
    assert_eq!(
        version(store, &ada).await,
        CredentialsVersion::FIRST.next(),
        "only switching off moves it on, once"
    );
    assert_eq!(
        events(store, &ada).await,
        [AuditEvent::AdminGranted, AuditEvent::AccountDisabled]
    );
    assert_eq!(events(store, &nobody).await, []);
    assert_eq!(queued(store).await, 2);
}

/// The language of mails is the owner's to change, at any time, and nothing else changes with it.
pub async fn the_language_of_mails_is_changed(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(1)).await;
    for (locale, now) in [
        ("it", at(10) + TICK),
        ("it", at(11)),
        ("zh-Hant-TW", at(20)),
    ] {
        assert!(store.set_locale(ada.id, locale, now).await.unwrap());
        let seen = stores.second.authenticate(session.id, at(30)).await;
        let user = seen.unwrap().expect("the session stays").user;
        assert_eq!((user.locale.as_str(), user.updated_at), (locale, now));
        assert_eq!(version(store, &ada).await, CredentialsVersion::FIRST);
    }
    let nobody = user("nobody").id;
    assert!(!store.set_locale(nobody, "it", at(40)).await.unwrap());
}

/// Rights come and go at once, in running sessions too; the password has nothing to do with them.
pub async fn administrator_rights_are_given_and_taken(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(1)).await;
    for (admin, now) in [(true, at(10) + TICK), (false, at(20) + TICK)] {
        let changed = store.set_admin(ada.id, admin, now, Record::default()).await;
        assert!(changed.unwrap());
        let seen = stores.second.authenticate(session.id, at(30)).await;
        let user = seen.unwrap().expect("the session stays").user;
        assert_eq!((user.is_admin, user.updated_at), (admin, now));
        assert_eq!(version(store, &ada).await, CredentialsVersion::FIRST);
    }
}
