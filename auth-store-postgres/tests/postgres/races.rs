//! Two units of work on the same rows, one inside the other: the first has done its work and not committed, the second waits for it.
//!
//! The contract suites race calls as they come; here the meeting is certain.

use std::future::Future;

use auth_core::{
    contract::{
        billing::{pack, paid, refunded},
        credits::{add, assert_sound, spend},
        fixtures::{
            GRACE, NO_THROTTLE, account, at, email, email_change, events, found, hash, is_live,
            issued, logged_in, mail, queued, record, registered, rotation, session, token, user,
        },
    },
    ports::{
        Begun, BillingStore, Booking, CreditStore, Ended, Outbox, PasswordChange, Redeemed,
        Rotated, SessionStore, StoreError, UserStore,
    },
    time::Duration,
    types::{
        AccountKey, AuditEvent, Change, CredentialsVersion, Credits, Digest, Entry, EventOutcome,
        IdempotencyKey, NewMailedToken, PaymentRef, Purpose, Record, ReferenceId, Session,
        Throttle, User,
    },
};
use auth_store_postgres::{
    PgScope, PgStore,
    sqlx::{AssertSqlSafe, Executor, PgPool},
};
use auth_tests::postgres::{self, Database};
use tokio::task::JoinHandle;

use crate::somebody_waits;

struct Two {
    database: Database,
    pool: PgPool,
    store: PgStore,
    ada: User,
}

impl Two {
    async fn begin() -> Self {
        let database = postgres::database().await;
        let pool = PgStore::pool_options()
            .connect(&database.url)
            .await
            .unwrap();
        let store = database.store().await;
        let ada = registered(&store, "ada").await;
        Self {
            database,
            pool,
            store,
            ada,
        }
    }

    /// A unit of work that has not been committed.
    async fn first(&self) -> PgScope {
        PgScope::adopt(self.pool.begin().await.unwrap())
    }

    /// Starts the second one, waits until it waits for the first, and commits that.
    async fn second<T, F>(&self, first: PgScope, second: impl FnOnce(PgStore, User) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let second = tokio::spawn(second(self.store.clone(), self.ada.clone()));
        somebody_waits(&mut self.database.raw().await).await;
        first.release().await.unwrap().commit().await.unwrap();
        second.await.unwrap()
    }
}

fn new_password(user: &User, keep: &Session) -> PasswordChange {
    PasswordChange {
        user: user.id,
        seen: CredentialsVersion::FIRST,
        password: hash("second"),
        keep: keep.id,
        successor: session(user, "successor", at(1)).session.id,
        refresh: Digest::of("kept"),
        now: at(1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_a_password_that_changes_just_now_is_refused() {
    let two = Two::begin().await;
    for rehash in [None, Some(hash("rehash"))] {
        let refresh = format!("keep {}", rehash.is_some());
        let keep = logged_in(&two.store, &two.ada, &refresh, at(0)).await;
        let first = two.first().await;
        let seen = found(&two.store, &two.ada).await.version;
        let change = PasswordChange {
            seen,
            refresh: Digest::of(format!("kept {}", rehash.is_some())),
            ..new_password(&two.ada, &keep)
        };
        let changed = first.change_password(change, Record::default());
        assert!(changed.await.unwrap());
        let opened = two
            .second(first, move |store, ada| async move {
                let new = session(&ada, "login", at(1));
                store
                    .open_session(new, seen, rehash, Record::default())
                    .await
            })
            .await;
        assert!(!opened.unwrap());
        assert_eq!(
            two.store.sessions(two.ada.id, at(2)).await.unwrap().len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_opens_just_now_ends_with_the_password_that_opened_it() {
    let two = Two::begin().await;
    let keep = logged_in(&two.store, &two.ada, "keep", at(0)).await;
    let first = two.first().await;
    let login = logged_in(&first, &two.ada, "login", at(1)).await;
    let changed = two
        .second(first, {
            let keep = keep.clone();
            move |store, ada| async move {
                let change = new_password(&ada, &keep);
                store.change_password(change, Record::default()).await
            }
        })
        .await;
    assert!(changed.unwrap());
    assert!(!is_live(&two.store, &login, at(2)).await);
    let left = two.store.sessions(two.ada.id, at(2)).await.unwrap();
    assert_eq!(left.len(), 1, "the kept one, under another id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_opens_just_now_ends_with_a_reset_and_when_the_account_is_switched_off() {
    let two = Two::begin().await;
    let reset = issued(&two.store, &two.ada, Purpose::ResetPassword, "reset", at(0)).await;
    let first = two.first().await;
    let login = logged_in(&first, &two.ada, "login", at(1)).await;
    let done = two
        .second(first, move |store, ada| async move {
            let change = Change::ResetPassword(hash("second"));
            store
                .redeem(&reset, ada.id, change, at(1), Record::default())
                .await
        })
        .await;
    assert!(matches!(done, Ok(Redeemed::Done(_))), "{done:?}");
    assert!(!is_live(&two.store, &login, at(2)).await);

    let first = two.first().await;
    let login = logged_in(&first, &two.ada, "login 2", at(1)).await;
    let off = two
        .second(first, |store, ada| async move {
            store
                .set_disabled(ada.id, true, at(1), Record::default())
                .await
        })
        .await;
    assert!(off.unwrap());
    assert!(!is_live(&two.store, &login, at(2)).await);
    let left = two.store.session_of_refresh(&Digest::of("login 2")).await;
    assert!(left.unwrap().is_none());
}

/// Ended by its owner on another device while its password change is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_change_from_a_session_that_ends_just_now_is_refused() {
    let two = Two::begin().await;
    let keep = logged_in(&two.store, &two.ada, "keep", at(0)).await;
    let first = two.first().await;
    let ended = first.end_sessions(two.ada.id, Ended::All, at(1), Record::default());
    assert_eq!(ended.await.unwrap(), 1);
    let changed = two
        .second(first, move |store, ada| async move {
            let change = new_password(&ada, &keep);
            store.change_password(change, Record::default()).await
        })
        .await;
    assert!(!changed.unwrap());
    let account = found(&two.store, &two.ada).await;
    assert_eq!(account.version, CredentialsVersion::FIRST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_asked_for_just_now_counts_for_the_throttle() {
    let two = Two::begin().await;
    let throttle = Throttle {
        gap: Duration::MINUTE,
        hourly: 3,
    };
    let first = two.first().await;
    let one = token(&two.ada, Purpose::ResetPassword, "one", at(0));
    let asked = record(&two.ada, AuditEvent::PasswordResetRequested, at(0));
    assert!(first.issue_token(one, throttle, asked).await.unwrap());
    let another = two
        .second(first, move |store, ada| async move {
            let another = token(&ada, Purpose::ResetPassword, "another", at(0));
            let asked = record(&ada, AuditEvent::PasswordResetRequested, at(0));
            store.issue_token(another, throttle, asked).await
        })
        .await;
    assert!(!another.unwrap());
    assert_eq!(queued(&two.store).await, 1);
    assert_eq!(events(&two.store, &two.ada).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_redeemed_just_now_is_used() {
    let cases: [(Purpose, fn() -> Change); 3] = [
        (Purpose::VerifyEmail, || Change::VerifyEmail),
        (Purpose::ResetPassword, || {
            Change::ResetPassword(hash("second"))
        }),
        (Purpose::CancelEmailChange, || Change::CancelEmailChange),
    ];
    for (purpose, change) in cases {
        let two = Two::begin().await;
        let digest = issued(&two.store, &two.ada, purpose, "token", at(0)).await;
        let first = two.first().await;
        let done = record(&two.ada, AuditEvent::EmailVerified, at(1));
        let done = first.redeem(&digest, two.ada.id, change(), at(1), done);
        assert!(matches!(done.await, Ok(Redeemed::Done(_))));
        let again = two
            .second(first, move |store, ada| async move {
                let again = record(&ada, AuditEvent::EmailVerified, at(1));
                store.redeem(&digest, ada.id, change(), at(1), again).await
            })
            .await
            .unwrap();
        let as_documented = match purpose {
            Purpose::VerifyEmail => matches!(again, Redeemed::Already(_)),
            _ => matches!(again, Redeemed::Refused),
        };
        assert!(as_documented, "{purpose:?}: {again:?}");
        assert_eq!(queued(&two.store).await, 1);
    }
}

/// The reset link was mailed to the address that the account loses in this moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_by_an_address_that_changes_just_now_is_refused() {
    let two = Two::begin().await;
    let reset = issued(&two.store, &two.ada, Purpose::ResetPassword, "reset", at(0)).await;
    let change = NewMailedToken {
        email: email("lovelace"),
        ..token(&two.ada, Purpose::ChangeEmail, "change", at(0))
    };
    let digest = change.digest;
    let kept = two
        .store
        .issue_token(change, NO_THROTTLE, Record::default());
    assert!(kept.await.unwrap());
    let first = two.first().await;
    let changed = first.redeem(
        &digest,
        two.ada.id,
        Change::ChangeEmail,
        at(1),
        Record::default(),
    );
    assert!(matches!(changed.await, Ok(Redeemed::Done(_))));
    let stolen = two
        .second(first, move |store, ada| async move {
            let change = Change::ResetPassword(hash("stolen"));
            store
                .redeem(&reset, ada.id, change, at(1), Record::default())
                .await
        })
        .await;
    assert!(matches!(stolen, Ok(Redeemed::Refused)), "{stolen:?}");
    let password = found(&two.store, &two.ada).await.password.unwrap();
    assert_eq!(password.as_str(), hash("first").as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_just_now_is_taken() {
    let two = Two::begin().await;
    let rival = user("lovelace");
    let change = NewMailedToken {
        email: rival.email.clone(),
        ..token(&two.ada, Purpose::ChangeEmail, "change", at(0))
    };
    let digest = change.digest;
    let kept = two
        .store
        .issue_token(change, NO_THROTTLE, Record::default());
    assert!(kept.await.unwrap());
    let first = two.first().await;
    let taken = first.register(account(&rival), Record::default());
    taken.await.unwrap();
    let refused = two
        .second(first, move |store, ada| async move {
            let change = Change::ChangeEmail;
            store
                .redeem(&digest, ada.id, change, at(1), Record::default())
                .await
        })
        .await;
    assert!(matches!(refused, Err(StoreError::Taken(_))), "{refused:?}");
    let pending = two
        .store
        .pending_token(&digest, Purpose::ChangeEmail, at(2))
        .await;
    assert!(pending.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_change_of_address_replaces_one_that_begins_just_now() {
    let two = Two::begin().await;
    let asking = logged_in(&two.store, &two.ada, "asking", at(0)).await;
    let first = two.first().await;
    let change = email_change(&two.ada, &asking, "older", "older", at(0));
    let begun = first.begin_email_change(change, Record::default());
    assert_eq!(begun.await.unwrap(), Begun::Done);
    let begun = two
        .second(first, move |store, ada| async move {
            let change = email_change(&ada, &asking, "newer", "newer", at(0));
            store.begin_email_change(change, Record::default()).await
        })
        .await;
    assert_eq!(begun.unwrap(), Begun::Done);
    for (name, is_pending) in [("older", false), ("newer", true)] {
        let pending = two
            .store
            .pending_token(&Digest::of(name), Purpose::ChangeEmail, at(1))
            .await;
        assert_eq!(pending.unwrap().is_some(), is_pending, "{name}");
    }
}

/// What was asked for in a session that ends just now does not happen.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_in_a_session_that_ends_just_now() {
    let two = Two::begin().await;
    let end = async |refresh| {
        let session = logged_in(&two.store, &two.ada, refresh, at(0)).await;
        let first = two.first().await;
        let which = Ended::One(session.id);
        let ended = first.end_sessions(two.ada.id, which, at(1), Record::default());
        assert_eq!(ended.await.unwrap(), 1);
        (first, session)
    };
    let (first, session) = end("changes").await;
    let begun = two
        .second(first, |store, ada| async move {
            let change = email_change(&ada, &session, "new", "change", at(1));
            store.begin_email_change(change, Record::default()).await
        })
        .await;
    assert_eq!(begun.unwrap(), Begun::Gone);
    let (first, session) = end("deletes").await;
    let deleted = two
        .second(first, |store, ada| async move {
            let seen = CredentialsVersion::FIRST;
            store
                .delete_account(ada.id, seen, session.id, at(1), Record::default())
                .await
        })
        .await;
    assert!(!deleted.unwrap());
    found(&two.store, &two.ada).await;
}

/// Two tabs: the second one is within the grace of a use that is not committed yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_used_just_now_has_its_grace() {
    for (late, reused) in [(GRACE, false), (GRACE + Duration::MICROSECOND, true)] {
        let two = Two::begin().await;
        let opened = logged_in(&two.store, &two.ada, "t0", at(0)).await;
        let first = two.first().await;
        let turned = first.rotate(rotation("t0", "t1", at(100))).await;
        assert!(matches!(turned, Ok(Rotated::Issued(_))));
        let again = two
            .second(first, move |store, _| async move {
                store.rotate(rotation("t0", "t2", at(100) + late)).await
            })
            .await
            .unwrap();
        if reused {
            assert!(matches!(again, Rotated::Reused), "{again:?}");
        } else {
            assert!(matches!(again, Rotated::Issued(_)), "{again:?}");
        }
        assert_eq!(is_live(&two.store, &opened, at(200)).await, !reused);
    }
}

/// The successor is used in this moment, which retires the token that somebody replays.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_retired_just_now_is_a_replay() {
    let two = Two::begin().await;
    let opened = logged_in(&two.store, &two.ada, "t0", at(0)).await;
    let turned = two.store.rotate(rotation("t0", "t1", at(100))).await;
    assert!(matches!(turned, Ok(Rotated::Issued(_))));
    let first = two.first().await;
    let turned = first.rotate(rotation("t1", "t2", at(101))).await;
    assert!(matches!(turned, Ok(Rotated::Issued(_))));
    let replayed = two
        .second(first, |store, _| async move {
            store.rotate(rotation("t0", "stolen", at(102))).await
        })
        .await;
    assert!(matches!(replayed, Ok(Rotated::Reused)), "{replayed:?}");
    assert!(!is_live(&two.store, &opened, at(103)).await);
    let log = events(&two.store, &two.ada).await;
    assert_eq!(log, [AuditEvent::RefreshTokenReused]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_in_a_session_that_ends_just_now_is_refused() {
    let two = Two::begin().await;
    logged_in(&two.store, &two.ada, "t0", at(0)).await;
    let first = two.first().await;
    let ended = first.end_sessions(two.ada.id, Ended::All, at(1), Record::default());
    assert_eq!(ended.await.unwrap(), 1);
    let turned = two
        .second(first, |store, _| async move {
            store.rotate(rotation("t0", "t1", at(1))).await
        })
        .await;
    assert!(matches!(turned, Ok(Rotated::Unknown)), "{turned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_refreshed_just_now_ends_with_all_of_its_tokens() {
    let two = Two::begin().await;
    let opened = logged_in(&two.store, &two.ada, "t0", at(0)).await;
    let first = two.first().await;
    let turned = first.rotate(rotation("t0", "t1", at(1))).await;
    assert!(matches!(turned, Ok(Rotated::Issued(_))));
    let ended = two
        .second(first, |store, ada| async move {
            store
                .end_sessions(ada.id, Ended::All, at(1), Record::default())
                .await
        })
        .await;
    assert_eq!(ended.unwrap(), 1);
    assert!(!is_live(&two.store, &opened, at(2)).await);
    let left = two.store.session_of_refresh(&Digest::of("t1")).await;
    assert!(left.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_to_an_account_that_goes_just_now_is_dropped() {
    let two = Two::begin().await;
    let first = two.first().await;
    let session = logged_in(&two.store, &two.ada, "t0", at(0)).await.id;
    let seen = CredentialsVersion::FIRST;
    let deleted = first.delete_account(two.ada.id, seen, session, at(1), Record::default());
    assert!(deleted.await.unwrap());
    let written = two
        .second(first, |store, ada| async move {
            let record = Record {
                mails: vec![mail(&ada, at(1))],
                audit: record(&ada, AuditEvent::LoginFailed, at(1)).audit,
            };
            store.append(record).await
        })
        .await;
    written.unwrap();
    assert_eq!(queued(&two.store).await, 0);
    assert_eq!(
        events(&two.store, &two.ada).await,
        [AuditEvent::LoginFailed]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_registered_just_now_is_taken_if_it_is_committed() {
    for commit in [true, false] {
        let two = Two::begin().await;
        let first = two.first().await;
        let taken = first.register(account(&user("bob")), Record::default());
        taken.await.unwrap();
        let second = tokio::spawn({
            let store = two.store.clone();
            async move {
                let rival = user("BOB");
                store.register(account(&rival), Record::default()).await
            }
        });
        somebody_waits(&mut two.database.raw().await).await;
        let tx = first.release().await.unwrap();
        if commit {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        let answer = second.await.unwrap();
        if commit {
            assert!(matches!(answer, Err(StoreError::Taken(_))), "{answer:?}");
        } else {
            answer.unwrap();
        }
        let key = AccountKey::Username(user("bob").username);
        assert!(two.store.account(&key).await.unwrap().is_some());
    }
}

/// Workers do not wait for each other, nor share a mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_claimed_just_now_is_left_to_its_worker() {
    let two = Two::begin().await;
    let (older, newer) = (mail(&two.ada, at(0)), mail(&two.ada, at(1)));
    let (first_id, second_id) = (older.id, newer.id);
    let record = Record {
        mails: vec![older, newer],
        audit: Vec::new(),
    };
    two.store.append(record).await.unwrap();
    let first = two.first().await;
    let claims = first.claim_mails(at(2), Duration::MINUTE, 1).await.unwrap();
    assert_eq!(claims.mails[0].mail.id, first_id);
    let others = two.store.claim_mails(at(2), Duration::MINUTE, 10).await;
    let ids: Vec<_> = others
        .unwrap()
        .mails
        .iter()
        .map(|claim| claim.mail.id)
        .collect();
    assert_eq!(ids, [second_id]);
}

/// A database whose default would keep the snapshot of the first statement, in which a session that is not committed yet is not seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_stricter_default_of_the_database_hides_no_session() {
    let mut two = Two::begin().await;
    let url = format!(
        "{}?options[default_transaction_isolation]=repeatable%20read",
        two.database.url
    );
    two.store = PgStore::connect(&url).await.unwrap();
    let keep = logged_in(&two.store, &two.ada, "keep", at(0)).await;
    let first = two.first().await;
    let login = logged_in(&first, &two.ada, "login", at(1)).await;
    let changed = two
        .second(first, move |store, ada| async move {
            let change = new_password(&ada, &keep);
            store.change_password(change, Record::default()).await
        })
        .await;
    assert!(changed.unwrap());
    assert!(!is_live(&two.store, &login, at(2)).await);
}

/// User, session, token: whoever waits for an earlier one holds no later one, or two that meet would wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_locked_in_one_order() {
    type Wait = fn(PgStore, User, Session) -> JoinHandle<Result<(), StoreError>>;
    let cases: [(&str, &str, Wait); 5] = [
        ("sessions", "refresh_tokens", |store, _, _| {
            tokio::spawn(async move { store.rotate(rotation("t0", "t1", at(1))).await.map(drop) })
        }),
        ("users", "mailed_tokens", |store, ada, _| {
            let (digest, change) = (Digest::of("verify"), Change::VerifyEmail);
            tokio::spawn(async move {
                store
                    .redeem(&digest, ada.id, change, at(1), Record::default())
                    .await
                    .map(drop)
            })
        }),
        ("users", "sessions", |store, ada, keep| {
            tokio::spawn(async move {
                store
                    .change_password(new_password(&ada, &keep), Record::default())
                    .await
                    .map(drop)
            })
        }),
        ("users", "sessions", |store, ada, _| {
            tokio::spawn(async move {
                store
                    .end_sessions(ada.id, Ended::All, at(1), Record::default())
                    .await
                    .map(drop)
            })
        }),
        ("users", "sessions", |store, ada, _| {
            tokio::spawn(async move {
                store
                    .set_disabled(ada.id, true, at(1), Record::default())
                    .await
                    .map(drop)
            })
        }),
    ];
    for (number, (earlier, later, wait)) in cases.into_iter().enumerate() {
        let two = Two::begin().await;
        let keep = logged_in(&two.store, &two.ada, "t0", at(0)).await;
        issued(&two.store, &two.ada, Purpose::VerifyEmail, "verify", at(0)).await;
        let mut other = two.pool.begin().await.unwrap();
        let lock = |table, how| AssertSqlSafe(format!("select from auth.{table} for update {how}"));
        other.execute(lock(earlier, "")).await.unwrap();
        let waiting = wait(two.store.clone(), two.ada.clone(), keep);
        somebody_waits(&mut two.database.raw().await).await;
        let free = other.execute(lock(later, "nowait")).await;
        assert!(free.is_ok(), "{number}: {free:?}");
        other.rollback().await.unwrap();
        waiting.await.unwrap().unwrap();
    }
}

fn with_key(entry: Entry) -> Entry {
    Entry {
        idempotency_key: Some(IdempotencyKey::parse("k").unwrap()),
        ..entry
    }
}

fn with_reference(entry: Entry) -> Entry {
    Entry {
        reference: Some(ReferenceId::parse("r").unwrap()),
        ..entry
    }
}

/// The later one waited for the balance, and its own look at the ledger is from before.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_waited_for_its_own_repeat_is_a_replay() {
    type Make = fn(&User) -> Entry;
    let makes: [Make; 5] = [
        |user| with_key(add(user, "1")),
        |user| with_reference(add(user, "1")),
        |user| with_key(spend(user, "1")),
        // All that there is: the later one finds nothing left.
        |user| with_key(spend(user, "5")),
        |user| with_reference(spend(user, "5")),
    ];
    for make in makes {
        let two = Two::begin().await;
        two.store.book(add(&two.ada, "5")).await.unwrap();
        let first = two.first().await;
        let Booking::Done(booked) = first.book(make(&two.ada)).await.unwrap() else {
            panic!("this is the first");
        };
        let second = two.second(first, async move |store, ada| store.book(make(&ada)).await);
        assert_eq!(second.await.unwrap(), Booking::Replayed(booked));
        assert_sound(&two.store).await;
    }
}

/// Nothing is there that could be locked: the first entry makes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_first_entries_is_added() {
    let two = Two::begin().await;
    let first = two.first().await;
    first.book(add(&two.ada, "1")).await.unwrap();
    let second = two.second(first, async |store, ada| store.book(add(&ada, "2")).await);
    let Booking::Done(booked) = second.await.unwrap() else {
        panic!("both are booked");
    };
    assert_eq!(
        (booked.number, &*booked.new_balance.to_string()),
        (2, "3.00")
    );
    assert_sound(&two.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_meanwhile_cannot_be_used_again() {
    let two = Two::begin().await;
    two.store.book(add(&two.ada, "5")).await.unwrap();
    let first = two.first().await;
    first.book(spend(&two.ada, "5")).await.unwrap();
    let second = two.second(first, async |store, ada| {
        store.book(spend(&ada, "0.01")).await
    });
    assert_eq!(second.await.unwrap(), Booking::Insufficient(Credits::ZERO));
    assert_sound(&two.store).await;
}

/// Others win each time, and there is enough whenever somebody looks: no balance that would refuse it can be told.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_gets_to_a_balance_that_suffices_is_asked_to_come_again() {
    let two = Two::begin().await;
    two.store.book(add(&two.ada, "5")).await.unwrap();
    let mut outside = two.database.raw().await;
    let others_win = "create function others_win() returns trigger language plpgsql as 'begin return null; end';
        create trigger others_win before update on auth.credit_accounts for each row execute function others_win()";
    outside.execute(others_win).await.unwrap();
    let refused = two.store.book(spend(&two.ada, "1")).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    outside
        .execute("drop trigger others_win on auth.credit_accounts")
        .await
        .unwrap();
    let booked = two.store.book(spend(&two.ada, "1")).await.unwrap();
    assert!(matches!(booked, Booking::Done(_)), "{booked:?}");
    assert_sound(&two.store).await;
}

/// What it does not find any more is owed, to the hundredth.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_waits_for_the_use_that_is_under_way() {
    let two = Two::begin().await;
    let bought = paid("evt_1", pack(&two.ada, "cs_1"));
    two.store.apply_payment_event(bought).await.unwrap();
    let first = two.first().await;
    first.book(spend(&two.ada, "70")).await.unwrap();
    let second = two.second(first, async |store, _| {
        store
            .apply_payment_event(refunded("evt_2", "pi_cs_1", 900))
            .await
    });
    assert_eq!(second.await.unwrap().outcome, EventOutcome::Applied);
    let balance = two.store.balance(two.ada.id).await.unwrap().unwrap();
    assert_eq!(balance.balance, Credits::ZERO);
    let debt = two.store.debt(two.ada.id).await.unwrap();
    assert_eq!(debt, Credits::parse("70").unwrap());
    assert_sound(&two.store).await;
}

/// A key that another user's entry has just taken.
#[tokio::test(flavor = "multi_thread")]
async fn one_key_for_two_users_is_a_conflict_for_the_later_one() {
    let two = Two::begin().await;
    let bob = registered(&two.store, "bob").await;
    let first = two.first().await;
    first.book(with_key(add(&bob, "1"))).await.unwrap();
    let second = two.second(first, async |store, ada| {
        store.book(with_key(add(&ada, "1"))).await
    });
    assert_eq!(second.await.unwrap(), Booking::Conflict);
    assert_sound(&two.store).await;
}

/// The account is gone when the entry comes to its turn; whether or not it ever had credits.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_waited_for_a_deletion_is_refused() {
    for had_credits in [false, true] {
        let two = Two::begin().await;
        if had_credits {
            two.store.book(add(&two.ada, "5")).await.unwrap();
        }
        let first = two.first().await;
        let session = logged_in(&two.store, &two.ada, "refresh", at(0)).await;
        let seen = CredentialsVersion::FIRST;
        let deleted = first
            .delete_account(two.ada.id, seen, session.id, at(1), Record::default())
            .await;
        assert!(deleted.unwrap());
        let second = two.second(first, async |store, ada| store.book(add(&ada, "1")).await);
        assert_eq!(second.await.unwrap(), Booking::UnknownUser, "{had_credits}");
        assert_sound(&two.store).await;
    }
}

/// The deletion goes on after the entry, and finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_waited_for_an_entry_takes_its_account_along() {
    for had_credits in [false, true] {
        let two = Two::begin().await;
        if had_credits {
            two.store.book(add(&two.ada, "5")).await.unwrap();
        }
        let session = logged_in(&two.store, &two.ada, "refresh", at(0)).await.id;
        let first = two.first().await;
        first.book(add(&two.ada, "1")).await.unwrap();
        let second = two.second(first, async move |store, ada| {
            let seen = CredentialsVersion::FIRST;
            store
                .delete_account(ada.id, seen, session, at(1), Record::default())
                .await
        });
        assert!(second.await.unwrap());
        assert_eq!(two.store.balance(two.ada.id).await.unwrap(), None);
        let refused = two.store.book(add(&two.ada, "1")).await.unwrap();
        assert_eq!(refused, Booking::UnknownUser);
        assert_sound(&two.store).await;
    }
}

/// `on conflict` watches the index of users, and what refuses here is the one of customers.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_somebody_becomes_just_now_is_theirs() {
    let two = Two::begin().await;
    let bob = registered(&two.store, "bob").await;
    let customer = PaymentRef::parse("cus_1").unwrap();
    let first = two.first().await;
    let kept = first.keep_customer(bob.id, customer.clone()).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&customer));
    let kept = two
        .second(first, |store, ada| async move {
            let kept = store.keep_customer(ada.id, customer).await;
            (kept.unwrap(), store.customer(ada.id).await.unwrap())
        })
        .await;
    assert_eq!(kept, (None, None));
}
