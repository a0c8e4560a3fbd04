//! Mailed tokens: how they are issued and redeemed.

use time::{Duration, OffsetDateTime};

use super::{
    Stores,
    fixtures::{
        NO_THROTTLE, TICK, TOKEN, account, assert_same_user, at, email, email_change, events,
        found, hash, is_live, is_pending, issued, logged_in, queued, race, record, registered,
        session, token, user, version,
    },
};
use crate::{
    ports::{Begun, EmailChange, Ended, PasswordChange, Redeemed, Store, StoreError, Unique},
    types::{
        AccountKey, AuditEvent, Change, CredentialsVersion, Digest, NewAccount, NewMailedToken,
        Purpose, Record, Throttle, User, UserId,
    },
};

const THROTTLE: Throttle = Throttle {
    gap: Duration::MINUTE,
    hourly: 3,
};

async fn try_issue(
    store: &dyn Store,
    user: &User,
    purpose: Purpose,
    secret: &str,
    now: OffsetDateTime,
) -> bool {
    let asked = record(user, AuditEvent::PasswordResetRequested, now);
    store
        .issue_token(token(user, purpose, secret, now), THROTTLE, asked)
        .await
        .unwrap()
}

/// Token, mail and audit entry are there at once.
pub async fn an_issued_token_is_pending_and_mailed(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    assert!(try_issue(&*stores.first, &ada, Purpose::ResetPassword, "reset", at(0)).await);
    let store = &*stores.second;
    let owner = store
        .pending_token(&Digest::of("reset"), Purpose::ResetPassword, at(1))
        .await
        .unwrap();
    assert_same_user(&owner.expect("it is pending"), &ada);
    assert_eq!(queued(store).await, 1);
    assert_eq!(
        events(store, &ada).await,
        [AuditEvent::PasswordResetRequested]
    );
}

/// Too soon after the last one: no token, no mail, but an entry that somebody asked.
pub async fn the_gap_between_two_mails_is_kept(stores: Stores) {
    let (first, second) = (&*stores.first, &*stores.second);
    let ada = registered(first, "ada").await;
    let purpose = Purpose::ResetPassword;
    assert!(try_issue(first, &ada, purpose, "1", at(0)).await);
    assert!(!try_issue(second, &ada, purpose, "2", at(0)).await);
    assert!(!try_issue(second, &ada, purpose, "3", at(60) - TICK).await);
    assert_eq!(queued(first).await, 1);
    assert_eq!(events(first, &ada).await.len(), 3);
    assert!(!is_pending(first, &Digest::of("3"), purpose, at(60)).await);
    assert!(is_pending(first, &Digest::of("1"), purpose, at(60)).await);

    // What was refused does not count.
    assert!(try_issue(second, &ada, purpose, "4", at(60)).await);
    assert_eq!(queued(first).await, 2);
    assert_eq!(events(first, &ada).await.len(), 4);
}

/// No more than so many within an hour; the hour moves on.
pub async fn the_hourly_cap_is_kept(stores: Stores) {
    let (first, second) = (&*stores.first, &*stores.second);
    let ada = registered(first, "ada").await;
    let purpose = Purpose::VerifyEmail;
    for (secret, now, granted) in [
        ("1", 0, true),
        ("2", 600, true),
        ("3", 1200, true),
        ("4", 1800, false),
        ("5", 3599, false),
        ("6", 3601, true),
        ("7", 3700, false),
        ("8", 4199, false),
        ("9", 4201, true),
    ] {
        let answer = try_issue(second, &ada, purpose, secret, at(now)).await;
        assert_eq!(answer, granted, "after {now} s");
    }
    assert_eq!(queued(first).await, 5);
    assert_eq!(events(first, &ada).await.len(), 9);
}

/// Each purpose and each user has a throttle of its own.
pub async fn a_throttle_concerns_one_purpose_of_one_user(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    assert!(try_issue(store, &ada, Purpose::ResetPassword, "1", at(0)).await);
    assert!(try_issue(store, &ada, Purpose::VerifyEmail, "2", at(0)).await);
    assert!(try_issue(store, &bob, Purpose::ResetPassword, "3", at(0)).await);
    assert!(!try_issue(store, &ada, Purpose::ResetPassword, "4", at(1)).await);
}

/// Whoever uses a token or has it killed cannot have another mail for it: a mailbox is flooded all the same.
pub async fn used_and_killed_tokens_count_for_the_throttle(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    assert!(try_issue(store, &ada, Purpose::VerifyEmail, "verify", at(0)).await);
    assert!(try_issue(store, &ada, Purpose::ResetPassword, "killed", at(0)).await);
    assert!(try_issue(store, &ada, Purpose::ResetPassword, "used", at(60)).await);
    done(store, &ada, "verify", Change::VerifyEmail, at(61)).await;
    done(store, &ada, "used", reset(), at(62)).await;
    assert!(!try_issue(store, &ada, Purpose::VerifyEmail, "5", at(59)).await);
    assert!(!try_issue(store, &ada, Purpose::ResetPassword, "6", at(119)).await);
    assert!(try_issue(store, &ada, Purpose::ResetPassword, "7", at(120)).await);
    assert!(!try_issue(store, &ada, Purpose::ResetPassword, "8", at(180)).await);
}

/// The welcome mail is the first of its purpose.
pub async fn the_token_of_a_registration_counts_for_the_throttle(stores: Stores) {
    let ada = user("ada");
    let new = NewAccount {
        token: Some(token(&ada, Purpose::VerifyEmail, "welcome", at(0))),
        ..account(&ada)
    };
    stores.first.register(new, Record::default()).await.unwrap();
    assert!(!try_issue(&*stores.second, &ada, Purpose::VerifyEmail, "1", at(59)).await);
    assert!(try_issue(&*stores.second, &ada, Purpose::VerifyEmail, "2", at(60)).await);
}

/// Many clicks at once, on two replicas: one mail.
pub async fn of_tokens_asked_for_at_once_one_is_issued(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let answers = race(&stores, |number, store| {
        let ada = ada.clone();
        async move {
            let secret = format!("reset {number}");
            try_issue(&*store, &ada, Purpose::ResetPassword, &secret, at(0)).await
        }
    })
    .await;
    assert_eq!(answers.iter().filter(|issued| **issued).count(), 1);
    assert_eq!(queued(&*stores.first).await, 1);
    assert_eq!(events(&*stores.first, &ada).await.len(), 8);
}

/// The account went while the mail was written.
pub async fn a_user_who_is_gone_gets_no_token(stores: Stores) {
    let store = &*stores.first;
    let nobody = user("nobody");
    assert!(!try_issue(store, &nobody, Purpose::ResetPassword, "1", at(0)).await);
    assert_eq!(queued(store).await, 0);
    assert_eq!(
        events(store, &nobody).await,
        [AuditEvent::PasswordResetRequested]
    );
    assert!(!is_pending(store, &Digest::of("1"), Purpose::ResetPassword, at(1)).await);
}

/// In that session, at the current version, a user asks for the address `{new}@example.org`.
async fn begin(store: &dyn Store, change: EmailChange, user: &User) -> Result<Begun, StoreError> {
    let asked = record(
        user,
        AuditEvent::EmailChangeRequested,
        change.change.created_at,
    );
    store.begin_email_change(change, asked).await
}

/// A user asks for the address `{new}@example.org`, in a session that was opened a moment ago.
async fn began(store: &dyn Store, user: &User, new: &str, secret: &str, now: OffsetDateTime) {
    let session = logged_in(store, user, &format!("asks for {secret}"), now).await;
    let change = EmailChange {
        seen: version(store, user).await,
        ..email_change(user, &session, new, secret, now)
    };
    let answer = begin(store, change, user).await;
    assert!(matches!(answer, Ok(Begun::Done)), "{answer:?}");
}

async fn assert_begun(store: &dyn Store, secret: &str, change: bool, cancel: bool) {
    let digest = Digest::of(secret);
    assert_eq!(
        is_pending(store, &digest, Purpose::ChangeEmail, at(100)).await,
        change,
        "{secret}"
    );
    let digest = Digest::of(format!("cancel {secret}"));
    assert_eq!(
        is_pending(store, &digest, Purpose::CancelEmailChange, at(100)).await,
        cancel,
        "{secret}"
    );
}

/// Both tokens are kept and the address stays until the new one is proven.
pub async fn a_change_of_address_begins_with_two_tokens(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    began(&*stores.first, &ada, "lovelace", "change", at(1)).await;
    let store = &*stores.second;
    assert_begun(store, "change", true, true).await;
    let account = found(store, &ada).await;
    assert_same_user(&account.user, &ada);
    assert_eq!(account.version, CredentialsVersion::FIRST);
    assert_eq!(
        events(store, &ada).await,
        [AuditEvent::EmailChangeRequested]
    );
    assert_eq!(queued(store).await, 1);
}

/// The latest wish counts; the mails to the old address still stop it.
pub async fn a_newer_change_of_address_replaces_the_older(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let verify = issued(store, &ada, Purpose::VerifyEmail, "verify", at(1)).await;
    began(store, &ada, "older", "older", at(1)).await;
    began(store, &bob, "other", "bob", at(1)).await;
    began(&*stores.second, &ada, "newer", "newer", at(2)).await;
    assert_begun(store, "older", false, true).await;
    assert_begun(store, "newer", true, true).await;
    assert_begun(store, "bob", true, true).await;
    assert!(is_pending(store, &verify, Purpose::VerifyEmail, at(3)).await);
    let change = Change::ChangeEmail;
    assert_refused(store, &ada, "older", change, at(3)).await;
}

/// An address of another account, a stale version, a session or an account that is gone, too many changes: nothing is written and the older change
/// stays.
pub async fn a_refused_change_of_address_writes_nothing(stores: Stores) {
    let (first, second) = (&*stores.first, &*stores.second);
    let ada = registered(first, "ada").await;
    let bob = registered(first, "Bob").await;
    began(first, &ada, "older", "older", at(1)).await;
    let live = logged_in(first, &ada, "live", at(1)).await;
    let bobs = logged_in(first, &bob, "bob", at(1)).await;
    let ended = logged_in(first, &ada, "ended", at(1)).await;
    let which = Ended::One(ended.id);
    let count = first.end_sessions(ada.id, which, at(1), Record::default());
    assert_eq!(count.await.unwrap(), 1);
    let mut expired = session(&ada, "expired", at(1));
    expired.session.expires_at = at(2);
    let seen = version(first, &ada).await;
    let opened = first.open_session(expired.clone(), seen, None, Record::default());
    assert!(opened.await.unwrap());

    let change = |session, new, secret| email_change(&ada, session, new, secret, at(2));
    let answer = begin(second, change(&live, "BOB", "taken"), &ada).await;
    assert!(
        matches!(answer, Err(StoreError::Taken(Unique::Email))),
        "{answer:?}"
    );
    let nobody = user("nobody");
    let stale = EmailChange {
        seen: seen.next(),
        ..change(&live, "free", "stale")
    };
    for (user, change) in [
        (&ada, stale),
        (&ada, change(&ended, "free", "ended")),
        (&ada, change(&expired.session, "free", "expired")),
        (&ada, change(&bobs, "free", "foreign")),
        (&nobody, email_change(&nobody, &live, "free", "gone", at(2))),
    ] {
        let answer = begin(second, change, user).await;
        assert!(matches!(answer, Ok(Begun::Gone)), "{answer:?}");
    }
    let often = EmailChange {
        throttle: THROTTLE,
        ..change(&live, "free", "often")
    };
    let answer = begin(second, often, &ada).await;
    assert!(
        matches!(answer, Ok(Begun::Throttled(until)) if until == at(61)),
        "{answer:?}"
    );

    for secret in [
        "taken", "stale", "ended", "expired", "foreign", "gone", "often",
    ] {
        assert_begun(first, secret, false, false).await;
    }
    assert_begun(first, "older", true, true).await;
    assert_eq!(queued(first).await, 1);
    assert_eq!(
        events(first, &ada).await,
        [AuditEvent::EmailChangeRequested]
    );
    assert_eq!(events(first, &nobody).await, []);
}

/// A gap and no more than so many within an hour, for changes that were stopped, too; and it is told when the next one is heard.
pub async fn changes_of_address_are_throttled(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let adas = logged_in(store, &ada, "ada", at(0)).await;
    let bobs = logged_in(store, &bob, "bob", at(0)).await;
    let try_begin = async |user, session, secret: &str, now| {
        let change = EmailChange {
            throttle: THROTTLE,
            ..email_change(user, session, "new", secret, now)
        };
        begin(&*stores.second, change, user).await.unwrap()
    };
    for (secret, now, answer) in [
        ("1", at(0), Begun::Done),
        ("2", at(60) - TICK, Begun::Throttled(at(60))),
        ("3", at(60), Begun::Done),
        ("4", at(200), Begun::Done),
        ("5", at(201), Begun::Throttled(at(3600))),
        ("6", at(3600) - TICK, Begun::Throttled(at(3600))),
        ("7", at(3600), Begun::Done),
        ("8", at(3601), Begun::Throttled(at(3660))),
    ] {
        assert_eq!(
            try_begin(&ada, &adas, secret, now).await,
            answer,
            "{secret}"
        );
    }
    assert_eq!(try_begin(&bob, &bobs, "bob", at(1)).await, Begun::Done);
    assert_eq!(queued(store).await, 5);
    assert_eq!(events(store, &ada).await.len(), 4);
}

/// Many clicks at once, on two replicas: one pair of mails.
pub async fn of_changes_of_address_begun_at_once_one_is_done(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let asking = logged_in(&*stores.first, &ada, "asking", at(0)).await;
    let answers = race(&stores, |number, store| {
        let change = EmailChange {
            throttle: THROTTLE,
            ..email_change(&ada, &asking, "new", &format!("change {number}"), at(0))
        };
        let ada = ada.clone();
        async move { begin(&*store, change, &ada).await.unwrap() }
    })
    .await;
    let count = |what| answers.iter().filter(|begun| **begun == what).count();
    assert_eq!(count(Begun::Done), 1, "{answers:?}");
    assert_eq!(count(Begun::Throttled(at(60))), 7, "{answers:?}");
    assert_eq!(queued(&*stores.first).await, 1);
}

/// Looking does not use it up, and shows what redeeming would accept.
pub async fn a_look_at_a_token_does_not_use_it(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let reset_token = issued(store, &ada, Purpose::ResetPassword, "reset", at(0)).await;
    let end = at(0) + TOKEN;
    for (purpose, now, pending) in [
        (Purpose::ResetPassword, at(1), true),
        (Purpose::ResetPassword, at(1), true),
        (Purpose::VerifyEmail, at(1), false),
        (Purpose::ChangeEmail, at(1), false),
        (Purpose::ResetPassword, end - TICK, true),
        (Purpose::ResetPassword, end, false),
    ] {
        let answer = is_pending(&*stores.second, &reset_token, purpose, now).await;
        assert_eq!(answer, pending, "{purpose:?} at {now}");
    }
    assert!(!is_pending(store, &Digest::of("other"), Purpose::ResetPassword, at(1)).await);
    done(store, &ada, "reset", reset(), at(2)).await;
    assert!(!is_pending(&*stores.second, &reset_token, Purpose::ResetPassword, at(3)).await);
}

fn reset() -> Change {
    Change::ResetPassword(hash("second"))
}

async fn redeem(
    store: &dyn Store,
    owner: &User,
    secret: &str,
    change: Change,
    now: OffsetDateTime,
) -> Result<Redeemed, StoreError> {
    let done = record(owner, AuditEvent::EmailVerified, now);
    store
        .redeem(&Digest::of(secret), owner.id, change, now, done)
        .await
}

/// The user after the change.
async fn done(
    store: &dyn Store,
    owner: &User,
    secret: &str,
    change: Change,
    now: OffsetDateTime,
) -> User {
    let answer = store
        .redeem(
            &Digest::of(secret),
            owner.id,
            change,
            now,
            Record::default(),
        )
        .await
        .unwrap();
    let Redeemed::Done(user) = answer else {
        panic!("{secret}: {answer:?}");
    };
    *user
}

async fn assert_refused(
    store: &dyn Store,
    owner: &User,
    secret: &str,
    change: Change,
    now: OffsetDateTime,
) {
    let answer = redeem(store, owner, secret, change, now).await;
    assert!(
        matches!(answer, Ok(Redeemed::Refused)),
        "{secret}: {answer:?}"
    );
}

/// A token of each purpose, issued at the beginning, and the change it is for.
async fn one_of_each(store: &dyn Store, owner: &User) -> Vec<(&'static str, Change)> {
    issued(store, owner, Purpose::VerifyEmail, "verify", at(0)).await;
    issued(store, owner, Purpose::ResetPassword, "reset", at(0)).await;
    issued(store, owner, Purpose::ReclaimAccount, "reclaim", at(0)).await;
    began(store, owner, "new", "change", at(0)).await;
    vec![
        ("verify", Change::VerifyEmail),
        ("reclaim", Change::ReclaimAccount(hash("second"))),
        ("reset", reset()),
        ("change", Change::ChangeEmail),
        ("cancel change", Change::CancelEmailChange),
    ]
}

/// Unknown, of another purpose, of another user: nothing happens, and the token stays good for what it is.
pub async fn a_token_does_one_thing_for_one_user(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let eve = registered(store, "eve").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let tokens = one_of_each(store, &ada).await;
    let mails = queued(store).await;
    let log = events(store, &ada).await;

    for (_, change) in &tokens {
        assert_refused(store, &ada, "unknown", change.clone(), at(1)).await;
        for (secret, own) in &tokens {
            assert_refused(store, &eve, secret, change.clone(), at(1)).await;
            if own.purpose() != change.purpose() {
                assert_refused(store, &ada, secret, change.clone(), at(1)).await;
            }
        }
    }
    for user in [&ada, &eve] {
        let account = found(&*stores.second, user).await;
        assert_same_user(&account.user, user);
        assert_eq!(account.version, CredentialsVersion::FIRST);
        assert_eq!(account.password.unwrap().as_str(), hash("first").as_str());
    }
    assert!(is_live(store, &session, at(2)).await);
    assert_eq!(queued(store).await, mails);
    assert_eq!(events(store, &ada).await, log);
    for (secret, change) in &tokens {
        assert!(is_pending(store, &Digest::of(secret), change.purpose(), at(2)).await);
    }
}

/// At `expires_at` a token is over, for every change.
pub async fn an_expired_token_changes_nothing(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let tokens = one_of_each(store, &ada).await;
    let mails = queued(store).await;
    let end = at(0) + TOKEN;
    for (secret, change) in &tokens {
        for now in [end, end + TICK, end + Duration::days(1)] {
            let answer = redeem(store, &ada, secret, change.clone(), now).await;
            assert!(
                matches!(answer, Ok(Redeemed::Expired)),
                "{secret}: {answer:?}"
            );
        }
    }
    let account = found(&*stores.second, &ada).await;
    assert_same_user(&account.user, &ada);
    assert_eq!(account.version, CredentialsVersion::FIRST);
    assert!(is_live(store, &session, end).await);
    assert_eq!(queued(store).await, mails);

    let user = done(store, &ada, "verify", Change::VerifyEmail, end - TICK).await;
    assert!(user.is_verified);
}

/// The address is proven and nothing else changes.
pub async fn a_verification_counts_the_address_as_verified(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let tokens = one_of_each(store, &ada).await;
    let now = at(10) + TICK;
    let after = done(&*stores.second, &ada, "verify", Change::VerifyEmail, now).await;
    let want = User {
        is_verified: true,
        updated_at: now,
        ..ada.clone()
    };
    assert_same_user(&after, &want);
    let account = found(store, &ada).await;
    assert_same_user(&account.user, &want);
    assert_eq!(account.version, CredentialsVersion::FIRST);
    assert!(is_live(store, &session, at(11)).await);
    for (secret, change) in &tokens[1..] {
        assert!(is_pending(store, &Digest::of(secret), change.purpose(), at(11)).await);
    }
}

/// The record comes with the change, and only with it.
pub async fn a_redeemed_token_is_recorded_once(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    issued(store, &ada, Purpose::VerifyEmail, "verify", at(0)).await;
    let answer = redeem(store, &ada, "verify", Change::VerifyEmail, at(1)).await;
    assert!(matches!(answer, Ok(Redeemed::Done(_))), "{answer:?}");
    let answer = redeem(&*stores.second, &ada, "verify", Change::VerifyEmail, at(2)).await;
    assert!(matches!(answer, Ok(Redeemed::Already(_))), "{answer:?}");
    assert_eq!(
        events(&*stores.second, &ada).await,
        [AuditEvent::EmailVerified]
    );
    assert_eq!(queued(&*stores.second).await, 1);
}

/// A second click on the link of a verification is no error, as long as it still tells the truth.
pub async fn a_used_verification_already_holds(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let eve = registered(store, "eve").await;
    issued(store, &ada, Purpose::VerifyEmail, "verify", at(0)).await;
    let verified = done(store, &ada, "verify", Change::VerifyEmail, at(1)).await;

    let answer = redeem(&*stores.second, &ada, "verify", Change::VerifyEmail, at(2)).await;
    let Ok(Redeemed::Already(user)) = answer else {
        panic!("{answer:?}");
    };
    assert_same_user(&user, &verified);
    assert_refused(store, &eve, "verify", Change::VerifyEmail, at(2)).await;
    assert_refused(store, &ada, "verify", reset(), at(2)).await;
    let late = redeem(store, &ada, "verify", Change::VerifyEmail, at(0) + TOKEN).await;
    assert!(
        matches!(late, Ok(Redeemed::Expired | Redeemed::Refused)),
        "{late:?}"
    );

    began(store, &ada, "lovelace", "change", at(3)).await;
    done(store, &ada, "change", Change::ChangeEmail, at(4)).await;
    assert_refused(store, &ada, "verify", Change::VerifyEmail, at(5)).await;
}

/// The new password, its version, a proven address; every session and every other token ends.
pub async fn a_reset_replaces_everything_that_opens_the_account(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let bobs = logged_in(store, &bob, "bob", at(0)).await;
    let bobs_token = issued(store, &bob, Purpose::ResetPassword, "bob", at(0)).await;
    let second = issued(store, &ada, Purpose::ResetPassword, "reset 2", at(0)).await;
    let tokens = one_of_each(store, &ada).await;
    let now = at(10) + TICK;

    let after = done(&*stores.second, &ada, "reset", reset(), now).await;
    let want = User {
        is_verified: true,
        updated_at: now,
        ..ada.clone()
    };
    assert_same_user(&after, &want);
    let account = found(store, &ada).await;
    assert_same_user(&account.user, &want);
    assert_eq!(account.version, CredentialsVersion::FIRST.next());
    assert_eq!(account.password.unwrap().as_str(), hash("second").as_str());
    assert!(!is_live(store, &session, at(11)).await);
    assert!(is_live(store, &bobs, at(11)).await);
    assert!(!is_pending(store, &second, Purpose::ResetPassword, at(11)).await);
    assert!(is_pending(store, &bobs_token, Purpose::ResetPassword, at(11)).await);
    for (secret, change) in tokens {
        assert_refused(store, &ada, secret, change, at(11)).await;
    }
}

/// An account of another sign-in method gets its first password.
pub async fn a_reset_sets_a_first_password(stores: Stores) {
    let ada = User {
        has_password: false,
        ..user("ada")
    };
    let bare = NewAccount {
        password: None,
        ..account(&ada)
    };
    let store = &*stores.first;
    store.register(bare, Record::default()).await.unwrap();
    issued(store, &ada, Purpose::ResetPassword, "reset", at(0)).await;
    assert!(
        done(store, &ada, "reset", reset(), at(1))
            .await
            .has_password
    );
    let account = found(&*stores.second, &ada).await;
    assert!(account.user.has_password);
    assert_eq!(account.password.unwrap().as_str(), hash("second").as_str());
}

/// The token that an owner gets whose address was registered with does what a reset does, and counts apart from it.
pub async fn a_reclaimed_account_is_reset(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    assert!(try_issue(store, &ada, Purpose::ReclaimAccount, "reclaim", at(0)).await);
    assert!(try_issue(store, &ada, Purpose::ResetPassword, "reset", at(0)).await);
    let change = Change::ReclaimAccount(hash("second"));
    let user = done(&*stores.second, &ada, "reclaim", change.clone(), at(1)).await;
    assert!(user.is_verified);
    let account = found(store, &ada).await;
    assert_eq!(account.version, CredentialsVersion::FIRST.next());
    assert_eq!(account.password.unwrap().as_str(), hash("second").as_str());
    assert!(!is_live(store, &session, at(2)).await);
    assert_refused(store, &ada, "reset", reset(), at(2)).await;
    assert_refused(store, &ada, "reclaim", change, at(2)).await;
}

/// A reset link works once: the second time it is refused, however short after.
pub async fn a_used_reset_token_is_refused(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    issued(store, &ada, Purpose::ResetPassword, "reset", at(0)).await;
    done(store, &ada, "reset", reset(), at(1)).await;
    let third = Change::ResetPassword(hash("third"));
    assert_refused(&*stores.second, &ada, "reset", third, at(1)).await;
    let account = found(store, &ada).await;
    assert_eq!(account.password.unwrap().as_str(), hash("second").as_str());
    assert_eq!(account.version, CredentialsVersion::FIRST.next());
}

/// The new address replaces the old one, which is free at once; every session and every other token ends.
pub async fn a_changed_address_replaces_the_old_one(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let tokens = one_of_each(store, &ada).await;
    let now = at(10) + TICK;

    let after = done(&*stores.second, &ada, "change", Change::ChangeEmail, now).await;
    let want = User {
        email: email("new"),
        is_verified: true,
        updated_at: now,
        ..ada.clone()
    };
    assert_same_user(&after, &want);
    let by_new = store.account(&AccountKey::Email(email("NEW"))).await;
    let account = by_new.unwrap().expect("it has the address");
    assert_same_user(&account.user, &want);
    assert_eq!(account.version, CredentialsVersion::FIRST.next());
    assert_eq!(account.password.unwrap().as_str(), hash("first").as_str());
    let by_old = store.account(&AccountKey::Email(ada.email.clone())).await;
    assert!(by_old.unwrap().is_none());
    assert!(!is_live(store, &session, at(11)).await);
    for (secret, change) in tokens.into_iter().filter(|(secret, _)| *secret != "change") {
        assert_refused(store, &ada, secret, change, at(11)).await;
    }

    let answer = redeem(store, &ada, "change", Change::ChangeEmail, at(11)).await;
    let Ok(Redeemed::Already(now)) = answer else {
        panic!("{answer:?}");
    };
    assert_same_user(&now, &want);
    let heir = User {
        email: ada.email.clone(),
        ..user("heir")
    };
    let registered = store.register(super::fixtures::account(&heir), Record::default());
    registered.await.unwrap();
}

/// The spelling of one's own address can be changed.
pub async fn an_address_may_change_in_case_only(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    began(store, &ada, "Ada", "change", at(0)).await;
    let after = done(store, &ada, "change", Change::ChangeEmail, at(1)).await;
    assert_eq!(after.email.as_str(), "Ada@example.org");
    let found = stores
        .second
        .account(&AccountKey::Email(email("ADA")))
        .await
        .unwrap();
    assert_eq!(found.unwrap().user.email.as_str(), "Ada@example.org");
}

/// Somebody else registered the address meanwhile: nothing changes, and the token is good again once the address is free.
pub async fn a_token_for_an_address_taken_meanwhile_stays_unused(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let tokens = one_of_each(store, &ada).await;
    let (mails, log) = (queued(store).await, events(store, &ada).await);
    let rival = registered(&*stores.second, "NEW").await;

    let answer = redeem(store, &ada, "change", Change::ChangeEmail, at(1)).await;
    assert!(
        matches!(answer, Err(StoreError::Taken(Unique::Email))),
        "{answer:?}"
    );
    let account = found(&*stores.second, &ada).await;
    assert_same_user(&account.user, &ada);
    assert_eq!(account.version, CredentialsVersion::FIRST);
    assert!(is_live(store, &session, at(2)).await);
    for (secret, change) in &tokens {
        assert!(is_pending(store, &Digest::of(secret), change.purpose(), at(2)).await);
    }
    assert_eq!(queued(store).await, mails);
    assert_eq!(events(store, &ada).await, log);

    let rivals = logged_in(store, &rival, "rival", at(1)).await;
    let seen = version(store, &rival).await;
    let gone = store
        .delete_account(rival.id, seen, rivals.id, at(2), Record::default())
        .await;
    assert!(gone.unwrap());
    let after = done(&*stores.second, &ada, "change", Change::ChangeEmail, at(3)).await;
    assert_eq!(after.email, email("new"));
}

/// Whoever reads the old mailbox stops the change and throws everybody out; the account is as it was.
pub async fn a_cancelled_change_of_address_is_dropped(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let bob = registered(store, "bob").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let bobs = logged_in(store, &bob, "bob", at(0)).await;
    one_of_each(store, &ada).await;
    began(store, &bob, "bobby", "bob", at(0)).await;

    let after = done(
        &*stores.second,
        &ada,
        "cancel change",
        Change::CancelEmailChange,
        at(10),
    )
    .await;
    assert_eq!(after.email.as_str(), ada.email.as_str());
    assert!(!after.is_verified);
    assert!(!is_live(store, &session, at(11)).await);
    assert_refused(store, &ada, "change", Change::ChangeEmail, at(11)).await;
    let again = Change::CancelEmailChange;
    assert_refused(store, &ada, "cancel change", again, at(11)).await;
    assert!(is_live(store, &bobs, at(11)).await);
    assert_begun(store, "bob", true, true).await;
    let reset_token = Digest::of("reset");
    assert!(is_pending(store, &reset_token, Purpose::ResetPassword, at(11)).await);
}

/// The mail to the old address of an older change stops the newer one too: the newest mail may be the attacker's.
pub async fn an_older_cancel_token_stops_a_newer_change(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    began(store, &ada, "older", "older", at(0)).await;
    began(store, &ada, "newer", "newer", at(1)).await;
    done(
        store,
        &ada,
        "cancel older",
        Change::CancelEmailChange,
        at(2),
    )
    .await;
    assert_refused(&*stores.second, &ada, "newer", Change::ChangeEmail, at(3)).await;
}

/// A token that was killed by another change is refused, not "already so".
pub async fn a_killed_token_is_refused(stores: Stores) {
    let store = &*stores.first;
    let ada = registered(store, "ada").await;
    let session = logged_in(store, &ada, "refresh", at(0)).await;
    let tokens = one_of_each(store, &ada).await;
    let change = PasswordChange {
        user: ada.id,
        seen: version(store, &ada).await,
        password: hash("second"),
        keep: session.id,
        successor: super::fixtures::session(&ada, "successor", at(1))
            .session
            .id,
        refresh: Digest::of("refresh 2"),
        now: at(1),
    };
    let changed = store.change_password(change, Record::default()).await;
    assert!(changed.unwrap());
    for (secret, change) in tokens {
        assert_refused(&*stores.second, &ada, secret, change, at(2)).await;
    }
}

/// A token that was issued for the address that the user had before proves nothing about the one they have now.
pub async fn a_token_about_a_former_address_is_refused(stores: Stores) {
    let store = &*stores.first;
    let before = registered(store, "ada").await;
    began(store, &before, "lovelace", "change", at(0)).await;
    done(store, &before, "change", Change::ChangeEmail, at(1)).await;
    // Requests that looked the account up before the change and write after it.
    issued(store, &before, Purpose::ResetPassword, "reset", at(2)).await;
    issued(store, &before, Purpose::VerifyEmail, "verify", at(2)).await;
    issued(store, &before, Purpose::ReclaimAccount, "reclaim", at(2)).await;
    for (secret, change) in [
        ("reset", reset()),
        ("reclaim", Change::ReclaimAccount(hash("second"))),
        ("verify", Change::VerifyEmail),
    ] {
        let digest = Digest::of(secret);
        assert!(!is_pending(store, &digest, change.purpose(), at(3)).await);
        assert_refused(&*stores.second, &before, secret, change, at(3)).await;
    }
    let account = found(store, &before).await;
    assert_eq!(account.password.unwrap().as_str(), hash("first").as_str());
}

/// Many clicks at once, on two replicas, for each change: one of them is the one that did it.
pub async fn of_redemptions_at_once_one_is_done(stores: Stores) {
    let cases: [fn() -> Change; 4] = [
        || Change::CancelEmailChange,
        || Change::ChangeEmail,
        reset,
        || Change::VerifyEmail,
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let ada = registered(&*stores.first, &format!("ada{number}")).await;
        let secret = format!("secret {number}");
        let token = NewMailedToken {
            email: match change() {
                Change::ChangeEmail => email(&format!("new{number}")),
                _ => ada.email.clone(),
            },
            ..token(&ada, change().purpose(), &secret, at(0))
        };
        let kept = stores
            .first
            .issue_token(token, NO_THROTTLE, Record::default())
            .await;
        assert!(kept.unwrap());
        let answers = race(&stores, |_, store| {
            let (ada, secret) = (ada.clone(), secret.clone());
            async move {
                redeem(&*store, &ada, &secret, change(), at(1))
                    .await
                    .unwrap()
            }
        })
        .await;
        let done = answers
            .iter()
            .filter(|answer| matches!(answer, Redeemed::Done(_)))
            .count();
        assert_eq!(done, 1, "{answers:?}");
        for answer in &answers {
            let as_documented = match change() {
                Change::ChangeEmail | Change::VerifyEmail => {
                    matches!(answer, Redeemed::Done(_) | Redeemed::Already(_))
                }
                _ => matches!(answer, Redeemed::Done(_) | Redeemed::Refused),
            };
            assert!(as_documented, "{answer:?}");
        }
        assert_eq!(
            events(&*stores.second, &ada).await,
            [AuditEvent::EmailVerified]
        );
        assert_eq!(queued(&*stores.second).await, number as u64 + 1);
    }
}

/// Two accounts prove one address at the same moment: one gets it.
pub async fn of_changes_to_one_address_at_once_one_is_done(stores: Stores) {
    let mut users: Vec<User> = Vec::new();
    for number in 0..8 {
        let user = registered(&*stores.first, &format!("user{number}")).await;
        began(&*stores.first, &user, "wanted", &format!("{number}"), at(0)).await;
        users.push(user);
    }
    let answers = race(&stores, |number, store| {
        let user = users[number].clone();
        async move {
            let secret = number.to_string();
            redeem(&*store, &user, &secret, Change::ChangeEmail, at(1)).await
        }
    })
    .await;
    let mut winners: Vec<UserId> = Vec::new();
    for answer in answers {
        match answer {
            Ok(Redeemed::Done(user)) => winners.push(user.id),
            other => assert!(
                matches!(other, Err(StoreError::Taken(Unique::Email))),
                "{other:?}"
            ),
        }
    }
    let owner = stores
        .second
        .account(&AccountKey::Email(email("wanted")))
        .await
        .unwrap();
    assert_eq!(winners, [owner.unwrap().user.id]);
}
