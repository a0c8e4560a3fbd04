//! Locks, limits, collisions, a row that nobody can read.

use std::time::Duration;

use auth_core::{
    contract::{
        billing::{pack, paid},
        credits::assert_sound,
        fixtures::{
            account, at, email, entry, events, found, logged_in, mail, registered, sweep, token,
            user,
        },
    },
    ports::{
        AuditLog, BillingStore, CreditStore, GIVE_UP_AFTER, LOOKS, MOST_COUNTED, Outbox, PUT_OFF,
        Redeemed, SessionStore, Store, StoreError, Swept, UNREADABLE, UserStore,
    },
    time,
    types::{
        AccountKey, AuditEvent, Change, Credits, EventOutcome, NewMailedToken, PasswordHash,
        Purpose, QueuedMail, Record, User,
    },
};
use auth_store_postgres::{
    PgScope, PgStore,
    sqlx::{self, Connection, Executor, PgConnection},
};
use auth_tests::postgres::{self, Database};

use crate::{entry_about, somebody, somebody_waits};

async fn store_with(database: &Database, options: &str) -> PgStore {
    let pool = PgStore::pool_options().max_connections(1);
    PgStore::connect_with(&format!("{}?{options}", database.url), pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_too_long_is_unavailable_and_then_works_again() {
    let database = postgres::database().await;
    let store = store_with(&database, "options[statement_timeout]=100").await;
    let ada = registered(&store, "ada").await;
    let mut other = database.raw().await;
    let mut lock = other.begin().await.unwrap();
    lock.execute("select from auth.users for update")
        .await
        .unwrap();
    for _ in 0..2 {
        let refused = store.set_admin(ada.id, true, at(1), Record::default());
        let refused = refused.await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        let refused = store.set_disabled(ada.id, true, at(1), Record::default());
        let refused = refused.await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        // Readers do not wait for writers.
        found(&store, &ada).await;
    }
    lock.rollback().await.unwrap();
    let set = store.set_admin(ada.id, true, at(1), Record::default());
    assert!(set.await.unwrap());
}

/// Of one process, one is in the database at a time, whoever holds it up there: another process, or a host.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_for_their_turn_leave_connections_to_others() {
    let database = postgres::database().await;
    let pool = PgStore::pool_options().max_connections(2);
    let store = PgStore::connect_with(&database.url, pool).await.unwrap();
    let ada = registered(&store, "ada").await;
    let mut outside = database.raw().await;
    let hold = "select pg_advisory_lock(1635087464, 2)";
    outside.execute(hold).await.unwrap();
    let deliveries: Vec<_> = (0..10)
        .map(|number| {
            let event = paid(
                &format!("evt_{number}"),
                pack(&ada, &format!("cs_{number}")),
            );
            let store = store.clone();
            tokio::spawn(async move { store.apply_payment_event(event).await })
        })
        .collect();
    somebody_waits(&mut outside).await;
    for _ in 0..10 {
        found(&store, &ada).await;
    }
    // Whoever does not wait for an answer any more leaves no hole in the row.
    deliveries[9].abort();
    let release = "select pg_advisory_unlock(1635087464, 2)";
    outside.execute(release).await.unwrap();
    for delivery in deliveries.into_iter().take(9) {
        let processed = delivery.await.unwrap().unwrap();
        assert_eq!(processed.outcome, EventOutcome::Applied);
    }
    assert!(
        store.balance(ada.id).await.unwrap().unwrap().balance >= Credits::parse("900").unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_without_limits_of_their_own_get_ours() {
    let database = postgres::database().await;
    let pool = PgStore::pool_options()
        .connect(&database.url)
        .await
        .unwrap();
    let limits: (String, String) = sqlx::query_as(
        "select current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(limits, ("5s".to_owned(), "15s".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_no_connection_left_is_unavailable_and_then_works_again() {
    let database = postgres::database().await;
    let pool = PgStore::pool_options()
        .max_connections(1)
        .acquire_timeout(Duration::from_millis(100));
    let store = PgStore::connect_with(&database.url, pool).await.unwrap();
    let ada = registered(&store, "ada").await;
    let mut other = database.raw().await;
    let mut lock = other.begin().await.unwrap();
    lock.execute("select from auth.users for update")
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .set_admin(ada.id, true, at(1), Record::default())
                .await
        }
    });
    somebody_waits(&mut database.raw().await).await;
    for _ in 0..2 {
        let refused = store.ping().await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    }
    lock.rollback().await.unwrap();
    assert!(waiting.await.unwrap().unwrap());
    store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_operator_ends_is_unavailable_and_replaced() {
    let database = postgres::database().await;
    let store = store_with(&database, "").await;
    let ada = registered(&store, "ada").await;
    let mut outside = database.raw().await;
    let mut other = database.raw().await;
    let mut lock = other.begin().await.unwrap();
    lock.execute("select from auth.users for update")
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .set_disabled(ada.id, true, at(1), Record::default())
                .await
        }
    });
    somebody_waits(&mut outside).await;
    outside
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await
        .unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    lock.rollback().await.unwrap();
    assert!(!found(&store, &ada).await.user.is_disabled);
    let off = store.set_disabled(ada.id, true, at(1), Record::default());
    assert!(off.await.unwrap());
}

/// Another program locks our rows in another order than we do.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again() {
    let database = postgres::database().await;
    // The server notices it on the side that waited longer than this.
    let store = store_with(&database, "options[deadlock_timeout]=50").await;
    let ada = registered(&store, "ada").await;
    let session = logged_in(&store, &ada, "refresh", at(0)).await;
    let mut outside = database.raw().await;
    let mut other = database.raw().await;
    let mut lock = other.begin().await.unwrap();
    lock.execute("select from auth.sessions for update")
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let (store, ada) = (store.clone(), ada.clone());
        async move {
            let off = entry(&ada, AuditEvent::AccountDisabled, at(1));
            let record = Record {
                mails: Vec::new(),
                audit: vec![off],
            };
            store.set_disabled(ada.id, true, at(1), record).await
        }
    });
    somebody_waits(&mut outside).await;
    lock.execute("select from auth.users for update")
        .await
        .unwrap();
    lock.commit().await.unwrap();

    assert!(waiting.await.unwrap().unwrap());
    let log = events(&store, &ada).await;
    assert_eq!(log, [AuditEvent::AccountDisabled], "made once");
    let live = store.authenticate(session.id, at(2)).await.unwrap();
    assert!(live.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_inside_a_transaction_leaves_a_store_that_writes() {
    let database = postgres::database().await;
    let store = store_with(&database, "").await;
    let ada = registered(&store, "ada").await;
    registered(&store, "bob").await;
    let change = NewMailedToken {
        email: email("bob"),
        ..token(&ada, Purpose::ChangeEmail, "change", at(0))
    };
    let digest = change.digest;
    let no_throttle = auth_core::contract::fixtures::NO_THROTTLE;
    let issued = store.issue_token(change, no_throttle, Record::default());
    assert!(issued.await.unwrap());
    for _ in 0..20 {
        let change = Change::ChangeEmail;
        let refused = store.redeem(&digest, ada.id, change, at(1), Record::default());
        let refused = refused.await;
        assert!(matches!(refused, Err(StoreError::Taken(_))), "{refused:?}");
        let somebody = somebody();
        store.append(entry_about(&somebody)).await.unwrap();
        let outside = database.store().await;
        assert_eq!(
            outside.audit_entries(somebody.id, 9).await.unwrap().len(),
            1
        );
    }
}

/// Two logins that both strengthen the stored password at once.
#[tokio::test(flavor = "multi_thread")]
async fn logins_with_a_new_hash_do_not_wait_for_each_other_in_a_circle() {
    let database = postgres::database().await;
    let store = database.store().await;
    let ada = registered(&store, "ada").await;
    let seen = found(&store, &ada).await.version;
    let logins: Vec<_> = (0..20)
        .map(|number| {
            let (store, ada) = (store.clone(), ada.clone());
            let new = auth_core::contract::fixtures::session(&ada, &format!("{number}"), at(1));
            let rehash = (number % 2 == 0).then(|| PasswordHash::new(format!("hash {number}")));
            tokio::spawn(async move {
                store
                    .open_session(new, seen, rehash, entry_about(&ada))
                    .await
            })
        })
        .collect();
    for login in logins {
        assert!(login.await.unwrap().unwrap());
    }
    let deadlocks: i64 = sqlx::query_scalar(
        "select deadlocks from pg_stat_database where datname = current_database()",
    )
    .fetch_one(&mut database.raw().await)
    .await
    .unwrap();
    assert_eq!(deadlocks, 0);
}

/// Verifying the address in the moment of the sweep: one of the two comes first, and the other one sees it.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_verified_while_it_is_swept_stays_or_goes_whole() {
    let database = postgres::database().await;
    let (first, second) = (database.store().await, database.store().await);
    for number in 0..20 {
        let ada = registered(&first, &format!("ada{number}")).await;
        let secret = format!("verify {number}");
        let digest = auth_core::contract::fixtures::issued(
            &first,
            &ada,
            Purpose::VerifyEmail,
            &secret,
            at(0),
        )
        .await;
        let sweeping = sweep(&second, at(1), at(1));
        let verify = first.redeem(
            &digest,
            ada.id,
            Change::VerifyEmail,
            at(1),
            Record::default(),
        );
        let (swept, verified) = tokio::join!(sweeping, verify);
        let is_there = first
            .account(&AccountKey::Id(ada.id))
            .await
            .unwrap()
            .is_some();
        let is_verified = matches!(verified.unwrap(), Redeemed::Done(_));
        assert_eq!(is_there, is_verified, "{number}");
        assert_eq!(swept.unwrap().accounts, u64::from(!is_there), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_our_tables_is_a_bug_and_keeps_its_cause() {
    let store = postgres::empty_database().await.store().await;
    let key = AccountKey::Id(user("ada").id);
    let StoreError::Backend(cause) = store.account(&key).await.unwrap_err() else {
        panic!("it should be the bug that it is");
    };
    assert!(cause.is::<sqlx::Error>());
    assert!(cause.to_string().contains("auth.users"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_wrote_does_not_hold_up_the_rest() {
    let database = postgres::database().await;
    let store = database.store().await;
    let ada = registered(&store, "ada").await;
    let foreign: Vec<_> = [0, 2].map(|second| mail(&ada, at(second))).into();
    let ours: Vec<_> = [1, 3].map(|second| mail(&ada, at(second))).into();
    let record = Record {
        mails: [foreign.clone(), ours.clone()].concat(),
        audit: vec![entry(&ada, AuditEvent::LoginFailed, at(0))],
    };
    store.append(record).await.unwrap();
    let mut outside = database.raw().await;
    sqlx::query("update auth.outbox set letter = '{\"template\":\"postcard\"}' where id = any($1)")
        .bind(
            foreign
                .iter()
                .map(|mail| mail.id.as_uuid())
                .collect::<Vec<_>>(),
        )
        .execute(&mut outside)
        .await
        .unwrap();
    sqlx::query(
        "insert into auth.audit_log (id, at, event, user_id) values (gen_random_uuid(), now(), 'teleported', $1)",
    )
    .bind(ada.id.as_uuid())
    .execute(&mut outside)
    .await
    .unwrap();

    // One at a time: what is no mail for this version takes nobody's place.
    for mail in &ours {
        let claims = store
            .claim_mails(at(60), time::Duration::MINUTE, 1)
            .await
            .unwrap();
        let claimed: Vec<_> = claims.mails.iter().map(|claim| claim.mail.id).collect();
        assert_eq!(claimed, [mail.id]);
        let sent = store.mail_sent(mail.id, claims.mails[0].lease).await;
        assert!(sent.unwrap());
    }
    assert_eq!(store.mail_counts().await.unwrap().queued, 2);
    assert_eq!(store.audit_entries(ada.id, 9).await.unwrap().len(), 1);

    // A newer version finds them a minute later, untried.
    let waiting: Vec<(i32, bool, bool)> = sqlx::query_as(
        "select attempts, lease is null, due_at = $2 from auth.outbox where id = any($1)",
    )
    .bind(
        foreign
            .iter()
            .map(|mail| mail.id.as_uuid())
            .collect::<Vec<_>>(),
    )
    .bind(at(60) + PUT_OFF)
    .fetch_all(&mut outside)
    .await
    .unwrap();
    assert_eq!(waiting, [(0, true, true); 2]);

    let late = at(60) + GIVE_UP_AFTER;
    let claims = store
        .claim_mails(late - time::Duration::SECOND, time::Duration::MINUTE, 0)
        .await;
    assert!(claims.unwrap().given_up.is_empty());
    let claims = store
        .claim_mails(late, time::Duration::HOUR, 10)
        .await
        .unwrap();
    assert_eq!(claims.given_up.len(), 2);
    let dead = store.dead_mails(9).await.unwrap();
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|mail| mail.reason == UNREADABLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_mails_a_newer_version_wrote_a_claim_ends_and_the_next_goes_on() {
    let database = postgres::database().await;
    let store = database.store().await;
    let ada = registered(&store, "ada").await;
    let mails: Vec<_> = (0..=2 * i64::from(LOOKS))
        .map(|second| mail(&ada, at(second)))
        .collect();
    let ours = mails.last().unwrap().id;
    let record = Record {
        mails,
        audit: Vec::new(),
    };
    store.append(record).await.unwrap();
    let mut outside = database.raw().await;
    sqlx::query("update auth.outbox set letter = '{\"template\":\"postcard\"}' where id <> $1")
        .bind(ours.as_uuid())
        .execute(&mut outside)
        .await
        .unwrap();
    for (claimed, more) in [(vec![], true), (vec![], true), (vec![ours], false)] {
        let claims = store.claim_mails(at(60), time::Duration::MINUTE, 1).await;
        let claims = claims.unwrap();
        let ids: Vec<_> = claims.mails.iter().map(|claim| claim.mail.id).collect();
        assert_eq!((ids, claims.more), (claimed, more));
    }
}

/// Two mails, of which only the second is one for this version.
async fn a_foreign_mail_and_ours(store: &PgStore, outside: &mut PgConnection) -> [QueuedMail; 2] {
    let ada = registered(store, "ada").await;
    let mails = [0, 1].map(|second| mail(&ada, at(second)));
    let record = Record {
        mails: mails.clone().into(),
        audit: Vec::new(),
    };
    store.append(record).await.unwrap();
    sqlx::query("update auth.outbox set letter = '{\"template\":\"postcard\"}' where id = $1")
        .bind(mails[0].id.as_uuid())
        .execute(outside)
        .await
        .unwrap();
    mails
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_mail_that_another_worker_claims_just_now_is_left_to_it() {
    let database = postgres::database().await;
    let store = database.store().await;
    let mut outside = database.raw().await;
    let [foreign, ours] = a_foreign_mail_and_ours(&store, &mut outside).await;
    // Holds up what follows a claim, which is when mails are given back.
    outside
        .execute(
            "create function wait() returns trigger language plpgsql as $$ begin
                 if exists (select from auth.outbox where lease is not null) then
                     perform pg_advisory_xact_lock(7);
                 end if;
                 return null;
             end $$;
             create trigger wait before update on auth.outbox execute function wait();
             select pg_advisory_lock(7)",
        )
        .await
        .unwrap();
    let claiming = tokio::spawn({
        let store = store.clone();
        async move { store.claim_mails(at(60), time::Duration::MINUTE, 2).await }
    });
    somebody_waits(&mut outside).await;
    let taken_over = sqlx::query(
        "update auth.outbox set attempts = attempts + 1, lease = lease + interval '1 minute' where id = $1",
    )
    .bind(foreign.id.as_uuid())
    .execute(&mut outside)
    .await
    .unwrap();
    assert_eq!(taken_over.rows_affected(), 1);
    outside
        .execute("select pg_advisory_unlock(7)")
        .await
        .unwrap();

    let claims = claiming.await.unwrap().unwrap();
    let claimed: Vec<_> = claims.mails.iter().map(|claim| claim.mail.id).collect();
    assert_eq!(claimed, [ours.id]);
    let (attempts, is_claimed): (i32, bool) =
        sqlx::query_as("select attempts, lease is not null from auth.outbox where id = $1")
            .bind(foreign.id.as_uuid())
            .fetch_one(&mut outside)
            .await
            .unwrap();
    assert_eq!((attempts, is_claimed), (2, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_before_a_look_that_fails_is_told_and_the_next_call_meets_the_error() {
    let database = postgres::database().await;
    let store = database.store().await;
    let mut outside = database.raw().await;
    let [_, ours] = a_foreign_mail_and_ours(&store, &mut outside).await;
    outside
        .execute(
            "create function fail() returns trigger language plpgsql as $$ begin
                 if exists (select from auth.outbox where lease is not null) then
                     raise exception 'no more';
                 end if;
                 return null;
             end $$;
             create trigger fail before update on auth.outbox execute function fail()",
        )
        .await
        .unwrap();
    let claims = store.claim_mails(at(60), time::Duration::MINUTE, 2).await;
    let claims = claims.unwrap();
    let claimed: Vec<_> = claims.mails.iter().map(|claim| claim.mail.id).collect();
    assert_eq!((claimed, claims.more), (vec![ours.id], true));
    let next = store.claim_mails(at(60), time::Duration::MINUTE, 2).await;
    assert!(matches!(next, Err(StoreError::Backend(_))), "{next:?}");
}

/// Mails to others than the one whom a fact is about: dropped when they are gone, and the fact is written all the same.
#[tokio::test(flavor = "multi_thread")]
async fn mails_to_accounts_that_are_gone_are_dropped_without_an_error() {
    let database = postgres::database().await;
    let store = database.store().await;
    let ada = registered(&store, "ada").await;
    let bob = registered(&store, "bob").await;
    let gone = user("gone");
    let mails = || -> Vec<QueuedMail> { [&ada, &bob, &gone].map(|to| mail(to, at(0))).into() };
    let record = |about: &User| Record {
        mails: mails(),
        audit: vec![entry(about, AuditEvent::LoginFailed, at(0))],
    };
    let queued = async || store.mail_counts().await.unwrap().queued;

    store.append(record(&gone)).await.unwrap();
    assert_eq!(queued().await, 2);
    let set = store.set_admin(ada.id, true, at(1), record(&ada));
    assert!(set.await.unwrap());
    assert_eq!(queued().await, 4);
    let off = store.set_disabled(ada.id, true, at(1), record(&ada));
    assert!(off.await.unwrap());
    assert_eq!(queued().await, 6);
    let eve = user("eve");
    let mut welcome = record(&eve);
    welcome.mails.push(mail(&eve, at(0)));
    store.register(account(&eve), welcome).await.unwrap();
    assert_eq!(queued().await, 9);
    let seen = found(&store, &eve).await.version;
    let mut farewell = record(&eve);
    farewell.mails.push(mail(&eve, at(0)));
    let session = logged_in(&store, &eve, "eve", at(0)).await.id;
    let deleted = store
        .delete_account(eve.id, seen, session, at(1), farewell)
        .await;
    assert!(deleted.unwrap());
    assert_eq!(queued().await, 10, "one of hers went, those to others came");
    assert_eq!(store.audit_entries(gone.id, 9).await.unwrap().len(), 1);
}

/// An account that goes while a mail to it is queued.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_races_the_end_of_its_account_is_dropped_without_an_error() {
    let database = postgres::database().await;
    let (first, second) = (database.store().await, database.store().await);
    for number in 0..30 {
        let ada = registered(&first, &format!("ada{number}")).await;
        let seen = found(&first, &ada).await.version;
        let record = Record {
            mails: vec![mail(&ada, at(0))],
            audit: Vec::new(),
        };
        let session = logged_in(&first, &ada, &format!("{number}"), at(0))
            .await
            .id;
        let delete = first.delete_account(ada.id, seen, session, at(1), Record::default());
        let (deleted, appended) = tokio::join!(delete, second.append(record));
        assert!(deleted.unwrap());
        appended.unwrap();
    }
    assert_eq!(first.mail_counts().await.unwrap().queued, 0);
}

/// More than go in one batch, and a table of the host that refers to accounts and lets none of them go.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_on_past_accounts_that_the_host_holds() {
    let database = postgres::database().await;
    let store = database.store().await;
    let ada = registered(&store, "ada").await;
    let mut outside = database.raw().await;
    let many = "
        insert into auth.users
            (id, username, username_key, email, email_key, is_verified, is_admin, is_disabled, credentials_version, locale, created_at, updated_at)
        select gen_random_uuid(), 'u' || n, 'u' || n, n || '@example.org', n || '@example.org', false, false, false, 1, 'en', t, t
        from (select n, timestamptz '2020-01-01' + n % 7 * interval '1 second' as t from generate_series(1, 450) n) many;
        insert into auth.sessions (id, user_id, created_at, last_used_at, expires_at, ends_at)
        select gen_random_uuid(), u.id, t, t, t, t from auth.users u, (select timestamptz '2020-01-01' as t) made, generate_series(1, 450)
        where u.username = 'ada';
        insert into auth.mailed_tokens (digest, user_id, purpose, email, email_key, created_at, expires_at)
        select sha256(n::text::bytea), u.id, 'verify_email', u.email, u.email_key, t, t
        from auth.users u, (select timestamptz '2020-01-01' as t) made, generate_series(1, 450) n where u.username = 'ada';
        create table orders (account uuid not null references auth.users);
        insert into orders select id from auth.users where username in ('u1', 'u450');
        create table notes (account uuid not null references auth.users on delete restrict);
        insert into notes select id from auth.users where username = 'u222'";
    sqlx::raw_sql(many).execute(&mut outside).await.unwrap();

    let swept = sweep(&store, at(0), at(0)).await.unwrap();
    let most = Swept {
        accounts: 447,
        held: 3,
        sessions: 450,
        tokens: 450,
        ..Swept::default()
    };
    assert_eq!(swept, most);
    found(&store, &ada).await;

    sqlx::raw_sql("delete from orders; delete from notes")
        .execute(&mut outside)
        .await
        .unwrap();
    let swept = sweep(&store, at(0), at(0)).await.unwrap();
    let rest = Swept {
        accounts: 3,
        ..Swept::default()
    };
    assert_eq!(swept, rest);
}

/// Its descriptions go in the statement that deletes the account.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_the_time_that_a_long_ledger_takes() {
    let database = postgres::database().await;
    let mut outside = database.raw().await;
    let slow = "
        do $$ begin execute format('alter database %I set statement_timeout = 2000', current_database()); end $$;
        create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(2.5); return null; end $$;
        create trigger slow after update on auth.credit_entries for each statement execute function slow()";
    sqlx::raw_sql(slow).execute(&mut outside).await.unwrap();
    let store = database.store().await;
    let bystander = with_ledger(&store, &mut outside, "bystander", 3).await;
    for (name, entries) in [("ada", 10_000), ("bob", 10_001)] {
        let user = with_ledger(&store, &mut outside, name, entries).await;
        let seen = found(&store, &user).await.version;
        let session = logged_in(&store, &user, name, at(0)).await.id;
        let deleted = store
            .delete_account(user.id, seen, session, at(1), Record::default())
            .await;
        if entries == 10_000 {
            // That is short, so it is only our trigger that takes so long.
            assert!(matches!(deleted, Err(StoreError::Unavailable(_))));
            assert_eq!(described(&mut outside, &user).await, (entries, entries));
        } else {
            assert!(deleted.unwrap());
            assert_eq!(described(&mut outside, &user).await, (entries, 0));
        }
    }
    assert_eq!(described(&mut outside, &bystander).await, (3, 3));
    assert_sound(&store).await;

    // Within the transaction of a host, whose later statements have the limit that they had.
    let user = with_ledger(&store, &mut outside, "cleo", 10_001).await;
    let seen = found(&store, &user).await.version;
    let session = logged_in(&store, &user, "cleo", at(0)).await.id;
    let pool = PgStore::pool_options()
        .connect(&database.url)
        .await
        .unwrap();
    let scope = PgScope::adopt(pool.begin().await.unwrap());
    let deleted = scope.delete_account(user.id, seen, session, at(1), Record::default());
    assert!(deleted.await.unwrap());
    let mut tx = scope.release().await.unwrap();
    let limit: String = sqlx::query_scalar("show statement_timeout")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(limit, "2s");
}

/// Of whom many entries are described.
async fn with_ledger(
    store: &PgStore,
    outside: &mut PgConnection,
    name: &str,
    entries: i64,
) -> User {
    let user = registered(store, name).await;
    for statement in [
        "insert into auth.credit_accounts (user_id, owner, balance, entries, updated_at) values ($1, $1, $2, $2, now())",
        "insert into auth.credit_entries (user_id, number, id, kind, change, new_balance, description, caller, created_at)
         select $1, n, gen_random_uuid(), 'credit_added', 1, n, 'for somebody', 'tests', now() from generate_series(1, $2) n",
    ] {
        sqlx::query(statement)
            .bind(user.id.as_uuid())
            .bind(entries)
            .execute(&mut *outside)
            .await
            .unwrap();
    }
    user
}

/// How many entries a user has, and how many of them are described.
async fn described(outside: &mut PgConnection, user: &User) -> (i64, i64) {
    sqlx::query_as(
        "select count(*), count(description) from auth.credit_entries where user_id = $1",
    )
    .bind(user.id.as_uuid())
    .fetch_one(outside)
    .await
    .unwrap()
}

/// Each statement has a time limit, and there is no end to what a first sweep may find.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_refused_half_way_has_done_its_part() {
    let database = postgres::database().await;
    let store = store_with(&database, "options[statement_timeout]=200").await;
    let mut outside = database.raw().await;
    let many = "
        insert into auth.users
            (id, username, username_key, email, email_key, is_verified, is_admin, is_disabled, credentials_version, locale, created_at, updated_at)
        select gen_random_uuid(), 'u' || n, 'u' || n, n || '@example.org', n || '@example.org', false, false, false, 1, 'en', t, t
        from (select n, timestamptz '2020-01-01' + n * interval '1 second' as t from generate_series(1, 450) n) many;
        create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(10); return old; end $$;
        create trigger slow before delete on auth.users for each row when (old.username = 'u300') execute function slow()";
    sqlx::raw_sql(many).execute(&mut outside).await.unwrap();
    let refused = sweep(&store, at(0), at(0)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let left: i64 = sqlx::query_scalar("select count(*) from auth.users")
        .fetch_one(&mut outside)
        .await
        .unwrap();
    assert_eq!(left, 250);
    outside
        .execute("drop trigger slow on auth.users")
        .await
        .unwrap();

    // Not a reference that holds it, and so no reason to go on past it.
    let broken = "
        create function broken() returns trigger language plpgsql as $$ begin raise 'broken'; end $$;
        create trigger broken before delete on auth.users for each row when (old.username = 'u450') execute function broken()";
    outside.execute(broken).await.unwrap();
    let refused = sweep(&store, at(0), at(0)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Backend(_)), "{refused:?}");
    outside
        .execute("drop trigger broken on auth.users")
        .await
        .unwrap();
    assert_eq!(sweep(&store, at(0), at(0)).await.unwrap().accounts, 50);
}

/// A look at the queue must not cost the more the longer it is.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_queue_no_more_than_ten_thousand_mails_are_counted() {
    let database = postgres::database().await;
    let store = store_with(&database, "").await;
    // The last one to be due waits for longest.
    let mails = "insert into auth.outbox (id, recipient, locale, letter, due_at, created_at, queued_at)
         select gen_random_uuid(), 'ada@example.org', 'en', '{}', $2::timestamptz + n * interval '1 second', $2, $2::timestamptz - n * interval '1 second'
         from generate_series(1, $1) n";
    let most = i64::from(MOST_COUNTED);
    let queue = async |count: i64| {
        sqlx::query(mails)
            .bind(count)
            .bind(at(most))
            .execute(&mut database.raw().await)
            .await
            .unwrap();
    };
    queue(most + 1).await;
    let counts = store.mail_counts().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (10_000, 0));
    assert_eq!(counts.oldest, Some(at(0)));
    let mut outside = database.raw().await;
    outside
        .execute("update auth.outbox set due_at = null")
        .await
        .unwrap();
    queue(3).await;
    let counts = store.mail_counts().await.unwrap();
    assert_eq!((counts.queued, counts.dead), (3, 10_000));
    assert_eq!(counts.oldest, Some(at(most - 3)));
}
