//! Sessions and refresh tokens: [`SessionStore`](crate::ports::SessionStore).

use time::{Duration, OffsetDateTime};

use super::{
    Stores,
    fixtures::{
        ABSOLUTE, GRACE, IDLE, TICK, at, entry, events, found, hash, is_live, logged_in, queued,
        race, record, registered, rotation, session, user, version,
    },
};
use crate::{
    ports::{Authenticated, Ended, Rotated, Rotation, Store},
    types::{AuditEvent, CredentialsVersion, Digest, NewSession, Record, Session, User},
};

/// The session, its refresh token and its record are there at once, for every handle.
pub async fn an_opened_session_is_live_everywhere(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let new = session(&ada, "refresh", at(1));
    let opened = new.session.clone();
    let login = record(&ada, AuditEvent::LoginSucceeded, at(1));
    let seen = version(&*stores.first, &ada).await;
    let answer = stores.first.open_session(new, seen, None, login).await;
    assert!(answer.unwrap());

    let store = &*stores.second;
    let authenticated = store.authenticate(opened.id, at(2)).await.unwrap();
    let Authenticated { user, session } = authenticated.expect("the session is live");
    super::fixtures::assert_same_user(&user, &ada);
    assert_eq!(session, opened);
    assert_eq!(store.sessions(ada.id, at(2)).await.unwrap(), [opened]);
    assert_eq!(events(store, &ada).await, [AuditEvent::LoginSucceeded]);
    assert_eq!(queued(store).await, 1);
}

/// Addresses of both families, user text and microseconds come back as they were written.
pub async fn every_field_of_a_session_survives(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let seen = version(&*stores.first, &ada).await;
    for (name, ip) in [
        ("v4", Some("192.0.2.7")),
        ("v6", Some("2001:db8::7")),
        ("none", None),
    ] {
        let opened = Session {
            created_at: at(1) + Duration::microseconds(1),
            last_used_at: at(2) + Duration::microseconds(20),
            expires_at: at(1000) + Duration::microseconds(999_999),
            ends_at: at(2000) + Duration::microseconds(123_456),
            ip: ip.map(|ip| ip.parse().unwrap()),
            user_agent: ip.map(|_| "O'Neil \"100%\" _ \\ ; -- \u{1f980} \u{e9}".to_owned()),
            ..session(&ada, name, at(1)).session
        };
        let new = NewSession {
            session: opened.clone(),
            refresh: Digest::of(name),
        };
        let answer = stores
            .first
            .open_session(new, seen, None, Record::default());
        assert!(answer.await.unwrap());
        let found = stores.second.session_of_refresh(&Digest::of(name)).await;
        assert_eq!(found.unwrap(), Some(opened.clone()), "{name}");
        let found = stores.second.authenticate(opened.id, at(3)).await.unwrap();
        assert_eq!(found.unwrap().session, opened, "{name}");
    }
}

/// A login that began before a change of the credentials opens nothing after it; nor does one of an account that is gone.
pub async fn a_stale_version_opens_no_session(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let seen = version(store, &ada).await;
    let nobody = user("nobody");
    for (user, seen) in [(&ada, seen.next()), (&nobody, seen)] {
        let new = session(user, "refresh", at(1));
        let id = new.session.id;
        let login = record(user, AuditEvent::LoginSucceeded, at(1));
        let answer = store.open_session(new, seen, Some(hash("rehash")), login);
        assert!(!answer.await.unwrap());
        assert!(
            stores
                .second
                .authenticate(id, at(2))
                .await
                .unwrap()
                .is_none()
        );
        let found = store.session_of_refresh(&Digest::of("refresh")).await;
        assert!(found.unwrap().is_none());
        assert_eq!(events(store, user).await, []);
    }
    assert_eq!(queued(store).await, 0);
    let password = found(store, &ada).await.password.unwrap();
    assert_eq!(password.as_str(), hash("first").as_str());
}

/// Stronger settings change the stored string, not the password: other logins that are under way still hold.
pub async fn a_rehash_leaves_the_version(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let seen = version(store, &ada).await;
    let other = logged_in(store, &ada, "other", at(1)).await;
    let new = session(&ada, "refresh", at(2));
    let rehash = Some(hash("rehash"));
    let answer = store
        .open_session(new, seen, rehash, Record::default())
        .await;
    assert!(answer.unwrap());

    let account = found(&*stores.second, &ada).await;
    assert_eq!(account.password.unwrap().as_str(), hash("rehash").as_str());
    assert_eq!(account.version, seen);
    assert!(is_live(store, &other, at(3)).await);
}

/// At `expires_at` a session is over.
pub async fn an_idle_session_expires(stores: Stores) {
    let store = &*stores.second;
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "refresh", at(1)).await;
    let end = opened.expires_at;
    for (now, live) in [(end - TICK, true), (end, false), (end + TICK, false)] {
        assert_eq!(is_live(store, &opened, now).await, live, "{now}");
        let listed = store.sessions(ada.id, now).await.unwrap();
        assert_eq!(!listed.is_empty(), live, "{now}");
    }
    let answer = store.rotate(rotation("refresh", "next", end)).await;
    assert!(matches!(answer, Ok(Rotated::Expired)), "{answer:?}");
    let answer = store.rotate(rotation("next", "x", end - TICK)).await;
    assert!(matches!(answer, Ok(Rotated::Unknown)), "{answer:?}");
    let answer = store.rotate(rotation("refresh", "next", end - TICK)).await;
    assert!(matches!(answer, Ok(Rotated::Issued(_))), "{answer:?}");
}

async fn issued(store: &dyn Store, presented: &str, replacement: &str, now: OffsetDateTime) {
    let answer = store.rotate(rotation(presented, replacement, now)).await;
    assert!(
        matches!(answer, Ok(Rotated::Issued(_))),
        "{presented}: {answer:?}"
    );
}

/// `presented` is a replay: it ends the session, once, and the log says whose and which.
async fn assert_reuse(
    stores: &Stores,
    user: &User,
    session: &Session,
    presented: &str,
    now: OffsetDateTime,
) {
    let turn = rotation(presented, "stolen", now);
    let theft = turn.on_reuse.clone();
    let answer = stores.first.rotate(turn).await.unwrap();
    assert!(matches!(answer, Rotated::Reused), "{presented}: {answer:?}");

    let store = &*stores.second;
    assert!(!is_live(store, session, now).await);
    let logged = store.audit_entries(user.id, 10).await.unwrap();
    assert_eq!(
        logged,
        [crate::types::AuditEntry {
            user_id: Some(user.id),
            session_id: Some(session.id),
            ..theft
        }]
    );
    for token in [presented, "stolen"] {
        let answer = store.rotate(rotation(token, "x", now)).await.unwrap();
        assert!(matches!(answer, Rotated::Unknown), "{token}: {answer:?}");
        let found = store.session_of_refresh(&Digest::of(token)).await.unwrap();
        assert!(found.is_none(), "{token}");
    }
    assert_eq!(events(store, user).await, [AuditEvent::RefreshTokenReused]);
}

/// Rule 1: each token opens the way to the next one.
pub async fn an_unused_token_gets_its_replacement(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    for turn in 0..5 {
        let now = at(100 * (turn + 1));
        let (presented, replacement) = (format!("t{turn}"), format!("t{}", turn + 1));
        let answer = stores
            .first
            .rotate(rotation(&presented, &replacement, now))
            .await
            .unwrap();
        let Rotated::Issued(issued) = answer else {
            panic!("{presented}: {answer:?}");
        };
        let want = Session {
            last_used_at: now,
            expires_at: now + IDLE,
            ..opened.clone()
        };
        assert_eq!(issued.session, want);
        super::fixtures::assert_same_user(&issued.user, &ada);
        let fetched = stores.second.authenticate(opened.id, now).await.unwrap();
        assert_eq!(fetched.unwrap().session, want);
    }
    assert_eq!(events(&*stores.first, &ada).await, []);
}

/// The end moves on with each refresh, and stops at the absolute end.
pub async fn a_session_never_outlives_its_absolute_end(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let opened = logged_in(store, &ada, "t0", at(0)).await;
    let (day_13, day_26) = (at(0) + Duration::days(13), at(0) + Duration::days(26));
    issued(store, "t0", "t1", day_13).await;
    let answer = stores
        .second
        .rotate(rotation("t1", "t2", day_26))
        .await
        .unwrap();
    let Rotated::Issued(issued) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(issued.session.expires_at, opened.ends_at);
    assert_eq!(issued.session.ends_at, at(0) + ABSOLUTE);

    let answer = store.rotate(rotation("t2", "t3", opened.ends_at)).await;
    assert!(matches!(answer, Ok(Rotated::Expired)), "{answer:?}");
    assert!(is_live(store, &opened, opened.ends_at - TICK).await);
    assert!(!is_live(store, &opened, opened.ends_at).await);
}

/// A use without a refresh token moves the session on as a refresh does, and leaves its refresh tokens alone.
pub async fn a_touched_session_moves_on(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    let other = logged_in(&*stores.first, &ada, "other", at(0)).await;
    let day = |days| at(0) + Duration::days(days);
    for (now, expires_at) in [
        (day(1) + TICK, day(15) + TICK),
        (day(13), day(27)),
        (day(26), opened.ends_at),
    ] {
        let touched = stores.first.touch(opened.id, now, IDLE).await.unwrap();
        let touched = touched.expect("the session is live");
        let want = Session {
            last_used_at: now,
            expires_at,
            ..opened.clone()
        };
        assert_eq!(touched.session, want);
        super::fixtures::assert_same_user(&touched.user, &ada);
        let kept = stores.second.authenticate(opened.id, now).await.unwrap();
        assert_eq!(kept.unwrap().session, want);
    }
    assert!(!is_live(&*stores.second, &other, day(14)).await);
    issued(&*stores.second, "t0", "t1", day(26)).await;
    assert_eq!(events(&*stores.first, &ada).await, []);
}

/// What is over does not come to life by being used: expired, ended, of a disabled or deleted user.
pub async fn a_session_that_is_over_is_not_touched(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let expired = logged_in(store, &ada, "expired", at(0)).await;
    let end = expired.expires_at;
    let ended = logged_in(store, &ada, "ended", at(1)).await;
    let which = Ended::One(ended.id);
    let count = store
        .end_sessions(ada.id, which, at(2), Record::default())
        .await;
    assert_eq!(count.unwrap(), 1);
    let disabled = logged_in(store, &bob, "disabled", at(1)).await;
    let off = store.set_disabled(bob.id, true, at(2), Record::default());
    assert!(off.await.unwrap());
    let never = session(&ada, "never", at(1)).session;

    for (session, now) in [
        (&expired, end),
        (&ended, at(3)),
        (&disabled, at(3)),
        (&never, at(3)),
    ] {
        let touched = stores.second.touch(session.id, now, IDLE).await.unwrap();
        assert!(touched.is_none(), "{touched:?}");
        assert!(!is_live(store, session, now).await);
    }
    let last = stores.second.authenticate(expired.id, end - TICK).await;
    assert_eq!(last.unwrap().expect("until its end").session, expired);

    let last = logged_in(store, &ada, "last", at(2)).await;
    let seen = version(store, &ada).await;
    let gone = store.delete_account(ada.id, seen, last.id, at(3), Record::default());
    assert!(gone.await.unwrap());
    let touched = stores.second.touch(expired.id, at(3), IDLE).await.unwrap();
    assert!(touched.is_none(), "{touched:?}");
}

/// Rule 2: the answer was lost, or a second tab sent the same token. Both chains go on.
pub async fn a_used_token_gets_another_replacement_within_its_grace(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    issued(&*stores.first, "t0", "lost", at(100)).await;
    issued(&*stores.second, "t0", "tab 1", at(100)).await;
    issued(&*stores.first, "t0", "tab 2", at(100) + GRACE - TICK).await;

    issued(&*stores.second, "tab 2", "tab 2 next", at(200)).await;
    issued(&*stores.first, "tab 1", "tab 1 next", at(201)).await;
    issued(&*stores.first, "tab 2 next", "tab 2 last", at(300)).await;
    assert!(is_live(&*stores.second, &opened, at(301)).await);
    assert_eq!(events(&*stores.first, &ada).await, []);
}

/// Rule 2 for a token in the middle of the chain: its predecessor is retired, it is not.
pub async fn a_later_token_has_its_own_grace(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    issued(&*stores.first, "t0", "t1", at(100)).await;
    issued(&*stores.second, "t1", "t2", at(105)).await;
    issued(&*stores.first, "t1", "t2 again", at(134)).await;
    assert!(is_live(&*stores.second, &opened, at(135)).await);
    assert_eq!(events(&*stores.first, &ada).await, []);
}

/// Two tabs at the same moment, on two replicas.
pub async fn parallel_rotations_of_one_token_are_all_issued(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    let answers = race(&stores, |number, store| async move {
        let next = format!("tab {number}");
        store.rotate(rotation("t0", &next, at(100))).await
    })
    .await;
    for answer in answers {
        assert!(matches!(answer, Ok(Rotated::Issued(_))), "{answer:?}");
    }
    for number in 0..8 {
        let found = stores
            .second
            .session_of_refresh(&Digest::of(format!("tab {number}")))
            .await
            .unwrap();
        assert_eq!(found.map(|session| session.id), Some(opened.id));
    }
    assert_eq!(events(&*stores.first, &ada).await, []);
}

/// Rule 3: the grace is over.
pub async fn a_replay_after_the_grace_ends_the_session(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    issued(&*stores.first, "t0", "t1", at(100)).await;
    let late = at(100) + GRACE + TICK;
    assert_reuse(&stores, &ada, &opened, "t0", late).await;
    let answer = stores.first.rotate(rotation("t1", "x", late)).await;
    assert!(matches!(answer, Ok(Rotated::Unknown)), "{answer:?}");
}

/// Rule 3: a replay within the grace does not stretch it.
pub async fn the_grace_counts_from_the_first_use(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    issued(&*stores.first, "t0", "t1", at(100)).await;
    issued(&*stores.second, "t0", "t1 again", at(120)).await;
    issued(&*stores.second, "t0", "t1 once more", at(129)).await;
    assert_reuse(&stores, &ada, &opened, "t0", at(131)).await;
}

/// Rule 3: whoever uses the replacement got the answer; nobody needs the old token any more, even within its grace.
pub async fn a_retired_token_is_a_replay_at_once(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    issued(&*stores.first, "t0", "t1", at(100)).await;
    issued(&*stores.second, "t1", "t2", at(101)).await;
    assert_reuse(&stores, &ada, &opened, "t0", at(102)).await;
}

/// Rule 3 for a token that got two replacements: the use of either one retires it.
pub async fn any_replacement_retires_its_predecessor(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    issued(&*stores.first, "t0", "tab 1", at(100)).await;
    issued(&*stores.second, "t0", "tab 2", at(101)).await;
    issued(&*stores.first, "tab 2", "tab 2 next", at(102)).await;
    assert_reuse(&stores, &ada, &opened, "t0", at(103)).await;
}

/// Rule 3: an ancestor from long ago is a replay at any time.
pub async fn an_older_ancestor_ends_the_session(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    for turn in 0..4 {
        let (presented, replacement) = (format!("t{turn}"), format!("t{}", turn + 1));
        issued(&*stores.first, &presented, &replacement, at(100 + turn)).await;
    }
    assert_reuse(&stores, &ada, &opened, "t1", at(104)).await;
}

/// Only the session of the replayed token ends.
pub async fn a_replay_leaves_the_other_sessions(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let stolen = logged_in(store, &ada, "t0", at(0)).await;
    let other = logged_in(store, &ada, "other", at(0)).await;
    let bobs = logged_in(store, &bob, "bob", at(0)).await;
    issued(store, "t0", "t1", at(100)).await;
    assert_reuse(&stores, &ada, &stolen, "t0", at(200)).await;
    assert!(is_live(store, &other, at(201)).await);
    assert!(is_live(store, &bobs, at(201)).await);
    issued(store, "other", "other 2", at(201)).await;
    assert_eq!(events(store, &bob).await, []);
}

/// A replay by several at once ends the session once.
pub async fn parallel_replays_are_recorded_once(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    logged_in(&*stores.first, &ada, "t0", at(0)).await;
    issued(&*stores.first, "t0", "t1", at(100)).await;
    let answers = race(&stores, |number, store| async move {
        let next = format!("stolen {number}");
        store.rotate(rotation("t0", &next, at(200))).await.unwrap()
    })
    .await;
    let reused = answers
        .iter()
        .filter(|answer| matches!(answer, Rotated::Reused))
        .count();
    let unknown = answers
        .iter()
        .filter(|answer| matches!(answer, Rotated::Unknown))
        .count();
    assert_eq!((reused, unknown), (1, answers.len() - 1), "{answers:?}");
    assert_eq!(
        events(&*stores.first, &ada).await,
        [AuditEvent::RefreshTokenReused]
    );
}

/// A token that nobody ever had ends nothing.
pub async fn an_unknown_refresh_token_is_unknown(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let opened = logged_in(&*stores.first, &ada, "t0", at(0)).await;
    let turn = Rotation {
        presented: Digest::of("T0"),
        ..rotation("t0", "x", at(1))
    };
    let answer = stores.first.rotate(turn).await;
    assert!(matches!(answer, Ok(Rotated::Unknown)), "{answer:?}");
    let found = stores.first.session_of_refresh(&Digest::of("x")).await;
    assert!(found.unwrap().is_none());
    assert!(is_live(&*stores.second, &opened, at(2)).await);
}

/// Tokens of any age lead to their session, until it ends.
pub async fn a_session_is_found_by_any_of_its_refresh_tokens(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let opened = logged_in(store, &ada, "t0", at(0)).await;
    issued(store, "t0", "t1", at(100)).await;
    issued(store, "t1", "t2", at(200)).await;
    for token in ["t0", "t1", "t2"] {
        let found = stores.second.session_of_refresh(&Digest::of(token)).await;
        let session = found.unwrap().expect("it has a session");
        assert_eq!((session.id, session.last_used_at), (opened.id, at(200)));
    }
    let ended = store
        .end_sessions(ada.id, Ended::One(opened.id), at(201), Record::default())
        .await;
    assert_eq!(ended.unwrap(), 1);
    for token in ["t0", "t1", "t2"] {
        let found = stores.second.session_of_refresh(&Digest::of(token)).await;
        assert!(found.unwrap().is_none());
    }
}

/// One, every other one, every one: and nobody else's.
pub async fn sessions_end_as_they_were_chosen(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let bobs = logged_in(store, &bob, "bob", at(1)).await;
    let mut sessions = Vec::new();
    for name in ["a", "b", "c", "d"] {
        sessions.push(logged_in(store, &ada, name, at(1)).await);
    }
    let (a, b) = (sessions[0].id, sessions[1].id);
    for (which, count, left) in [
        (Ended::One(bobs.id), 0, [true, true, true, true]),
        (Ended::One(a), 1, [false, true, true, true]),
        (Ended::One(a), 0, [false, true, true, true]),
        (Ended::AllBut(b), 2, [false, true, false, false]),
        (Ended::AllBut(b), 0, [false, true, false, false]),
        (Ended::All, 1, [false; 4]),
        (Ended::All, 0, [false; 4]),
    ] {
        let logout = record(&ada, AuditEvent::SessionsEnded, at(2));
        let ended = store.end_sessions(ada.id, which, at(2), logout).await;
        assert_eq!(ended.unwrap(), count, "{which:?}");
        for (session, left) in sessions.iter().zip(left) {
            let live = is_live(&*stores.second, session, at(3)).await;
            assert_eq!(live, left, "{which:?}");
        }
    }
    assert_eq!(events(store, &ada).await, [AuditEvent::SessionsEnded; 3]);
    assert_eq!(queued(store).await, 3);
    assert!(is_live(store, &bobs, at(3)).await);
    let answer = store.rotate(rotation("a", "x", at(3))).await;
    assert!(matches!(answer, Ok(Rotated::Unknown)), "{answer:?}");
}

/// An expired session that is still kept is no live one, but its end is worth an entry.
pub async fn only_live_sessions_are_counted_when_they_end(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let old = logged_in(store, &ada, "old", at(0)).await;
    let new = logged_in(store, &ada, "new", old.expires_at - TICK).await;
    let now = old.expires_at;
    let logout = Record {
        mails: Vec::new(),
        audit: vec![entry(&ada, AuditEvent::SessionsEnded, now)],
    };
    let ended = stores
        .second
        .end_sessions(ada.id, Ended::One(old.id), now, logout)
        .await;
    assert_eq!(ended.unwrap(), 0);
    assert_eq!(events(store, &ada).await, [AuditEvent::SessionsEnded]);
    let ended = store
        .end_sessions(ada.id, Ended::All, now, Record::default())
        .await;
    assert_eq!(ended.unwrap(), 1);
    assert!(!is_live(store, &new, now).await);
}

/// The list shows the live sessions of one user, the newest login first, however recently each was used.
pub async fn sessions_are_listed_newest_first(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    logged_in(store, &bob, "bob", at(5)).await;
    let second = logged_in(store, &ada, "second", at(20)).await;
    let first = logged_in(store, &ada, "first", at(10)).await;
    let third = logged_in(store, &ada, "third", at(20) + TICK).await;
    issued(store, "first", "first 2", at(30)).await;

    let listed = stores.second.sessions(ada.id, at(40)).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|session| session.id).collect();
    assert_eq!(ids, [third.id, second.id, first.id]);
    assert_eq!(listed[2].last_used_at, at(30));

    let listed = stores
        .second
        .sessions(ada.id, third.expires_at - TICK)
        .await;
    let ids: Vec<_> = listed.unwrap().iter().map(|session| session.id).collect();
    assert_eq!(ids, [third.id, first.id]);
    let nobody = user("nobody");
    assert!(store.sessions(nobody.id, at(40)).await.unwrap().is_empty());
}

/// A login races a change of the password: whoever comes second sees the other's version, so no session of the old password is left.
pub async fn a_login_that_races_a_password_change_leaves_no_session(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let kept = logged_in(&*stores.first, &ada, "kept", at(0)).await;
    let successor = session(&ada, "successor", at(1)).session.id;
    race(&stores, |number, store| {
        let (ada, kept) = (ada.clone(), kept.clone());
        async move {
            if number == 3 {
                let change = crate::ports::PasswordChange {
                    user: ada.id,
                    seen: CredentialsVersion::FIRST,
                    password: hash("second"),
                    keep: kept.id,
                    successor,
                    refresh: Digest::of("kept 2"),
                    now: at(1),
                };
                let changed = store.change_password(change, Record::default()).await;
                assert!(changed.unwrap());
            } else {
                let new = session(&ada, &format!("login {number}"), at(1));
                let seen = CredentialsVersion::FIRST;
                let opened = store.open_session(new, seen, None, Record::default());
                opened.await.unwrap();
            }
        }
    })
    .await;
    let left = stores.second.sessions(ada.id, at(2)).await.unwrap();
    let ids: Vec<_> = left.iter().map(|session| session.id).collect();
    assert_eq!(ids, [successor]);
}
