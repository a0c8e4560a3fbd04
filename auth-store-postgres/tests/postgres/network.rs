//! What goes over the wire, and what happens when it breaks.

use auth_core::{
    contract::fixtures::{
        NO_THROTTLE, at, found, hash, record, registered, rotation, session, token,
    },
    ports::{PasswordChange, Rotated, SessionStore, Store, StoreError, UserStore},
    time::Duration,
    types::{AccountKey, AuditEvent, Change, CredentialsVersion, Digest, Purpose, Record},
};
use auth_store_postgres::PgStore;
use auth_tests::postgres::{self, Proxy};
use futures_util::future::join_all;

use crate::{ABSENT, WHOLE, registration, rows_of, somebody};

/// `begin` and `commit` count too.
#[tokio::test(flavor = "multi_thread")]
async fn a_fact_costs_no_more_round_trips_than_it_needs() {
    let database = postgres::database().await;
    let proxy = Proxy::before(&database).await;
    let pool = PgStore::pool_options().max_connections(1);
    let store = PgStore::connect_with(&proxy.database.url, pool)
        .await
        .unwrap();

    let mut counts = Vec::new();
    // The second time: a statement is prepared once on a connection.
    for warm in [false, true] {
        let mut count = |fact, wanted: usize| {
            let counted = proxy.take_counts();
            if warm {
                counts.push((fact, counted, wanted));
            }
        };
        count("connect", 0);
        let user = somebody();
        let (account, registered) = registration(&user);
        let opened = account.session.as_ref().unwrap().session.clone();
        store.register(account, registered).await.unwrap();
        count("register", 1);

        let found = store.authenticate(opened.id, at(1)).await;
        assert!(found.unwrap().is_some());
        count("authenticate", 1);
        let touched = store.touch(opened.id, at(1), Duration::HOUR).await;
        assert!(touched.unwrap().is_some());
        count("touch", 1);

        let key = AccountKey::Username(user.username.clone());
        let account = store.account(&key).await.unwrap().unwrap();
        let name = user.username.as_str();
        let new = session(&user, &format!("login {name}"), at(1));
        let login = record(&user, AuditEvent::LoginSucceeded, at(1));
        let open = store.open_session(new, account.version, None, login);
        assert!(open.await.unwrap());
        count("login", 2);

        let turn = rotation(&format!("login {name}"), &format!("login 2 {name}"), at(2));
        let turned = store.rotate(turn).await;
        assert!(matches!(turned, Ok(Rotated::Issued(_))), "{turned:?}");
        count("refresh", 1);

        let reset = token(
            &user,
            Purpose::ResetPassword,
            &format!("reset {name}"),
            at(3),
        );
        let digest = reset.digest;
        let issued = store.issue_token(reset, NO_THROTTLE, Record::default());
        assert!(issued.await.unwrap());
        count("a mailed token", 4);

        let change = Change::ResetPassword(hash("second"));
        let redeemed = store.redeem(&digest, user.id, change, at(4), Record::default());
        redeemed.await.unwrap();
        count("a reset", 5);

        store.ping().await.unwrap();
        count("ping", 1);
    }
    for (fact, counted, wanted) in counts {
        let counted = (counted.statements, counted.prepared);
        assert_eq!(counted, (wanted, 0), "{fact}");
    }
}

/// A pool tests each connection on its way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_others_wait_for_goes_from_hand_to_hand_without_a_test() {
    const CALLS: usize = 200;

    let database = postgres::database().await;
    let proxy = Proxy::before(&database).await;
    let pool = PgStore::pool_options().max_connections(2);
    let store = PgStore::connect_with(&proxy.database.url, pool)
        .await
        .unwrap();
    store.ping().await.unwrap();
    proxy.take_counts();
    let calls = (0..CALLS).map(|_| store.ping());
    for pinged in join_all(calls).await {
        pinged.unwrap();
    }
    let counted = proxy.take_counts();
    assert!(counted.statements >= CALLS, "{counted:?}");
    assert!(counted.tests < CALLS / 10, "{counted:?}");
}

/// The wire breaks at each message of a statement in turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_on_a_broken_connection_is_whole_or_absent_and_whole_if_it_was_answered() {
    let database = postgres::database().await;
    let mut outside = database.raw().await;
    let proxy = Proxy::before(&database).await;
    let store = PgStore::connect(&proxy.database.url).await.unwrap();
    for messages in 0..20 {
        let user = somebody();
        let (account, record) = registration(&user);
        store.ping().await.unwrap();
        proxy.cut_after(messages);
        let registered = store.register(account, record).await;
        proxy.mend();
        let rows = rows_of(&mut outside, user.id).await;
        match registered {
            Ok(()) => assert_eq!(rows, WHOLE, "{messages}"),
            Err(StoreError::Unavailable(_)) => {
                assert!(rows == WHOLE || rows == ABSENT, "{messages}: {rows:?}");
            }
            Err(other) => panic!("{messages}: {other:?}"),
        }
    }
}

/// The wire breaks at each message of a transaction in turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_on_a_broken_connection_is_whole_or_absent_and_whole_if_it_was_answered() {
    let database = postgres::database().await;
    let mut outside = database.raw().await;
    let direct = database.store().await;
    let proxy = Proxy::before(&database).await;
    let store = PgStore::connect(&proxy.database.url).await.unwrap();
    let (mut answered, mut refused) = (0, 0);
    for messages in 0..40 {
        let user = somebody();
        let (account, registered) = registration(&user);
        let keep = account.session.as_ref().unwrap().session.id;
        direct.register(account, registered).await.unwrap();
        let refresh = Digest::of(format!("kept {messages}"));
        let change = PasswordChange {
            user: user.id,
            seen: CredentialsVersion::FIRST,
            password: hash("second"),
            keep,
            successor: session(&user, "successor", at(1)).session.id,
            refresh,
            now: at(1),
        };

        store.ping().await.unwrap();
        proxy.cut_after(messages);
        let changed = record(&user, AuditEvent::PasswordChanged, at(1));
        let changed = store.change_password(change, changed).await;
        proxy.mend();

        let account = found(&direct, &user).await;
        let is_changed = account.version == CredentialsVersion::FIRST.next();
        let is_second = account.password.unwrap().as_str() == hash("second").as_str();
        assert_eq!(is_second, is_changed, "{messages}");
        let new = direct.session_of_refresh(&refresh).await.unwrap();
        assert_eq!(new.is_some(), is_changed, "{messages}");
        let [.., mails, entries] = rows_of(&mut outside, user.id).await;
        let written = 1 + i64::from(is_changed);
        assert_eq!([mails, entries], [written; 2], "{messages}");
        match changed {
            Ok(answer) => {
                answered += 1;
                assert!(answer && is_changed, "{messages}");
            }
            Err(StoreError::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{messages}: {other:?}"),
        }
    }
    assert!(answered > 5 && refused > 5, "{answered} {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_refuses_is_unavailable_and_then_works_again() {
    let database = postgres::database().await;
    let proxy = Proxy::before(&database).await;
    let pool = PgStore::pool_options().acquire_timeout(std::time::Duration::from_millis(300));
    let store = PgStore::connect_with(&proxy.database.url, pool)
        .await
        .unwrap();
    let ada = registered(&store, "ada").await;
    proxy.cut_after(0);
    for _ in 0..3 {
        let refused = store.account(&AccountKey::Id(ada.id)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        let refused = store.ping().await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    }
    proxy.mend();
    assert!(
        store
            .account(&AccountKey::Id(ada.id))
            .await
            .unwrap()
            .is_some()
    );
}
