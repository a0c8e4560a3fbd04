//! Health and sweeping: [`Store`](crate::ports::Store) itself.

use std::{future::poll_fn, task::Poll};

use time::{Duration, OffsetDateTime};

use super::{
    Stores,
    fixtures::{
        ABSOLUTE, IDLE, NO_THROTTLE, TICK, account, at, entry, events, found, is_live, is_pending,
        issued, logged_in, mail, queued, record, registered, rotation, session, sweep, token, user,
        version,
    },
};
use crate::{
    ports::{AccountPlace, Removal, Rotated, StoreError, Sweepable, Swept},
    types::{
        AccountKey, AuditEvent, Change, Digest, NewAccount, NewMailedToken, Purpose, Record,
        Session, Throttle, User, UserId,
    },
};

/// No account is old enough to go.
fn never() -> OffsetDateTime {
    at(-1)
}

/// A store that works says so.
pub async fn a_ping_is_answered(stores: Stores) {
    stores.first.ping().await.unwrap();
    stores.second.ping().await.unwrap();
}

/// Sessions go when they are over, with their refresh tokens; live ones stay.
pub async fn expired_sessions_are_swept(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let old = logged_in(store, &ada, "old", at(0)).await;
    let renewed = logged_in(store, &ada, "renewed", at(0)).await;
    let answer = store
        .rotate(rotation("renewed", "renewed 2", at(100)))
        .await;
    assert!(matches!(answer, Ok(Rotated::Issued(_))), "{answer:?}");

    let end = at(0) + IDLE;
    let swept = sweep(store, end - TICK, never()).await.unwrap();
    assert_eq!(swept, Swept::default());
    assert!(is_live(store, &old, end - TICK).await);

    let swept = sweep(&*stores.second, end, never()).await.unwrap();
    let one = Swept {
        sessions: 1,
        ..Swept::default()
    };
    assert_eq!(swept, one);
    let found = store.session_of_refresh(&Digest::of("old")).await.unwrap();
    assert!(found.is_none());
    let answer = store.rotate(rotation("old", "x", end)).await;
    assert!(matches!(answer, Ok(Rotated::Unknown)), "{answer:?}");
    assert!(is_live(store, &renewed, end).await);
    let answer = store.rotate(rotation("renewed 2", "renewed 3", end)).await;
    assert!(matches!(answer, Ok(Rotated::Issued(_))), "{answer:?}");

    let swept = sweep(store, at(0) + ABSOLUTE, never()).await.unwrap();
    assert_eq!(swept, one);
    let swept = sweep(store, at(0) + ABSOLUTE, never()).await.unwrap();
    assert_eq!(swept, Swept::default());
}

/// Tokens go when they have expired and the throttle needs them no more, whatever became of them.
pub async fn mailed_tokens_are_swept_once_the_throttle_is_done_with_them(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    for (secret, purpose, lifetime) in [
        ("short", Purpose::ResetPassword, Duration::MINUTE),
        ("used", Purpose::VerifyEmail, Duration::HOUR),
        ("long", Purpose::VerifyEmail, Duration::DAY),
    ] {
        let token = NewMailedToken {
            expires_at: at(0) + lifetime,
            ..token(&ada, purpose, secret, at(0))
        };
        let kept = store
            .issue_token(token, NO_THROTTLE, Record::default())
            .await;
        assert!(kept.unwrap());
    }
    let (used, change) = (Digest::of("used"), Change::VerifyEmail);
    let redeemed = store.redeem(&used, ada.id, change, at(1), Record::default());
    redeemed.await.unwrap();

    let half_an_hour = sweep(&*stores.second, at(1800), never()).await.unwrap();
    assert_eq!(half_an_hour, Swept::default());
    let throttle = Throttle {
        gap: Duration::HOUR,
        hourly: 10,
    };
    let again = token(&ada, Purpose::ResetPassword, "again", at(1800));
    let issued = store.issue_token(again, throttle, Record::default()).await;
    assert!(!issued.unwrap(), "the short one counts still");

    let after_an_hour = sweep(&*stores.second, at(3601), never()).await.unwrap();
    let two = Swept {
        tokens: 2,
        ..Swept::default()
    };
    assert_eq!(after_an_hour, two);
    assert!(is_pending(store, &Digest::of("long"), Purpose::VerifyEmail, at(3602)).await);
    let after_a_day = sweep(store, at(86_401), never()).await.unwrap();
    let one = Swept {
        tokens: 1,
        ..Swept::default()
    };
    assert_eq!(after_a_day, one);
}

/// Whoever never proved the address loses it, with all that belongs to the account; the audit log stays.
pub async fn accounts_that_were_never_verified_are_swept(stores: Stores) {
    let store = &*stores.first;
    let old = registered(store, "old").await;
    let proven = registered(store, "proven").await;
    let young = User {
        created_at: at(10),
        ..user("young")
    };
    store
        .register(account(&young), Record::default())
        .await
        .unwrap();
    issued(store, &proven, Purpose::VerifyEmail, "proven", at(0)).await;
    let (digest, change) = (Digest::of("proven"), Change::VerifyEmail);
    let redeemed = store.redeem(&digest, proven.id, change, at(1), Record::default());
    redeemed.await.unwrap();
    let session = logged_in(store, &old, "refresh", at(0)).await;
    let verify = issued(store, &old, Purpose::VerifyEmail, "verify", at(0)).await;
    let record = Record {
        mails: vec![mail(&old, at(0)), mail(&proven, at(0))],
        audit: vec![entry(&old, AuditEvent::Registered, at(0))],
    };
    store.append(record).await.unwrap();

    let swept = sweep(&*stores.second, at(20), at(0)).await.unwrap();
    assert_eq!(swept.accounts, 0, "made at that moment is not before it");
    let swept = sweep(&*stores.second, at(20), at(10)).await.unwrap();
    assert_eq!(swept.accounts, 1);

    for key in [
        AccountKey::Id(old.id),
        AccountKey::Username(old.username.clone()),
        AccountKey::Email(old.email.clone()),
    ] {
        assert!(store.account(&key).await.unwrap().is_none(), "{key:?}");
    }
    assert!(!is_live(store, &session, at(21)).await);
    assert!(!is_pending(store, &verify, Purpose::VerifyEmail, at(21)).await);
    assert_eq!(queued(store).await, 1);
    assert_eq!(events(store, &old).await, [AuditEvent::Registered]);
    found(store, &proven).await;
    version(store, &young).await;
    registered(store, "old").await;
}

/// One step for a while, and others have their turns in between.
pub async fn a_sweep_takes_no_more_than_it_is_told(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    for number in 0..5 {
        let name = format!("{number}");
        logged_in(store, &ada, &name, at(0)).await;
        issued(store, &ada, Purpose::VerifyEmail, &name, at(0)).await;
        let digest = Digest::of(&name);
        assert!(store.spend_secret(&digest, at(60)).await.unwrap());
    }
    let end = at(0) + ABSOLUTE;
    for what in [
        Sweepable::MailedTokens,
        Sweepable::Sessions,
        Sweepable::SpentSecrets,
    ] {
        for (limit, gone) in [(0, 0), (2, 2), (4, 3), (4, 0)] {
            let swept = stores.second.sweep(what, end, limit).await.unwrap();
            assert_eq!(swept, gone, "{what:?}");
        }
    }
    found(store, &ada).await;
}

/// From where a sweep was before, which passes over what cannot go; and whoever proves the address meanwhile stays.
pub async fn unproven_accounts_are_walked_in_order(stores: Stores) {
    let store = &*stores.first;
    let mut users = Vec::new();
    for (name, second) in [("dot", 2), ("ada", 0), ("cyd", 1), ("ben", 1), ("eve", 9)] {
        let user = User {
            created_at: at(second),
            ..user(name)
        };
        let made = store.register(account(&user), Record::default()).await;
        made.unwrap();
        users.push(user);
    }
    let mut places: Vec<AccountPlace> = users[..4]
        .iter()
        .map(|user| AccountPlace {
            created_at: user.created_at,
            id: user.id,
        })
        .collect();
    places.sort_unstable();
    let walk = async |after, limit| {
        let walked = stores.second.unverified_accounts(at(9), after, limit).await;
        walked.unwrap()
    };
    assert_eq!(walk(None, 10).await, places);
    assert_eq!(walk(None, 2).await, places[..2]);
    assert_eq!(walk(Some(places[1]), 2).await, places[2..]);
    assert!(walk(Some(places[3]), 2).await.is_empty());
    assert!(walk(None, 0).await.is_empty());

    let ada = &users[1];
    let digest = issued(store, ada, Purpose::VerifyEmail, "proven", at(0)).await;
    let redeemed = store.redeem(
        &digest,
        ada.id,
        Change::VerifyEmail,
        at(1),
        Record::default(),
    );
    redeemed.await.unwrap();
    let all: Vec<UserId> = places.iter().map(|place| place.id).collect();
    let gone = stores.second.delete_unverified(&all).await.unwrap();
    assert_eq!(gone, Removal::Gone(3));
    found(store, ada).await;
    found(store, &users[4]).await;
    let gone = stores.second.delete_unverified(&all).await.unwrap();
    assert_eq!(gone, Removal::Gone(0));
}

/// A client that hangs up drops the call at one of its awaits. The call is done or it is not, and the next ones on the same handle are not lost with it.
pub async fn a_dropped_call_is_made_whole_or_not_at_all(stores: Stores) {
    for awaits in 0..12 {
        let name = format!("ada{awaits}");
        let (dropped, repeated) = (user(&name), user(&name));
        let (first_try, first_session) = whole(&dropped, "dropped", awaits);
        let (second_try, second_session) = whole(&repeated, "repeated", awaits);

        let made = record(&dropped, AuditEvent::Registered, at(0));
        let mut call = stores.first.register(first_try, made);
        let mut left = awaits;
        poll_fn(|context| {
            if left == 0 || call.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            left -= 1;
            Poll::Pending
        })
        .await;
        drop(call);

        // Afterwards the name has an owner for sure: this one, or the one whose call was dropped too late.
        let made = record(&repeated, AuditEvent::Registered, at(0));
        let answer = stores.first.register(second_try, made).await;
        let (owner, live, other, ended) = match answer {
            Ok(()) => (&repeated, second_session, &dropped, first_session),
            Err(StoreError::Taken(_)) => (&dropped, first_session, &repeated, second_session),
            Err(other) => panic!("{other:?}"),
        };

        let store = &*stores.second;
        found(store, owner).await;
        assert!(is_live(store, &live, at(1)).await, "{awaits}");
        assert_eq!(events(store, owner).await, [AuditEvent::Registered]);
        let absent = store.account(&AccountKey::Id(other.id)).await.unwrap();
        assert!(absent.is_none(), "{awaits}");
        assert!(!is_live(store, &ended, at(1)).await, "{awaits}");
        assert_eq!(events(store, other).await, []);
        assert_eq!(queued(store).await, awaits + 1);
    }
}

fn whole(user: &User, refresh: &str, number: u64) -> (NewAccount, Session) {
    let new = session(user, &format!("{refresh} {number}"), at(0));
    let opened = new.session.clone();
    let account = NewAccount {
        session: Some(new),
        ..account(user)
    };
    (account, opened)
}
