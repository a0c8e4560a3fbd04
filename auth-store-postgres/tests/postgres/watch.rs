//! News of mails that somebody else committed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use auth_core::{
    contract::fixtures::{at, mail, registered},
    ports::{DeadMails, Outbox, UserStore},
    time,
    types::Record,
};
use auth_store_postgres::{PgScope, sqlx};
use auth_tests::{postgres, process::eventually};
use sqlx::Executor;

/// Long enough for news that is on its way.
const A_WHILE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn mails_of_others_are_told_when_they_are_committed() {
    let database = postgres::database().await;
    let (store, other) = (database.store().await, database.store().await);
    let news = Arc::new(AtomicUsize::new(0));
    let heard = || news.load(Ordering::SeqCst);
    let watching = tokio::spawn({
        let news = Arc::clone(&news);
        async move {
            let wake = move || {
                news.fetch_add(1, Ordering::SeqCst);
            };
            store.watch_mails(&wake).await
        }
    });
    let once_more = async |before: usize| {
        eventually("news", async || (heard() > before).then_some(())).await;
    };
    once_more(0).await;
    let ada = registered(&other, "ada").await;
    let record = || Record {
        mails: vec![mail(&ada, at(0))],
        audit: Vec::new(),
    };

    let before = heard();
    other.append(record()).await.unwrap();
    once_more(before).await;

    // In a host's transaction: nothing before it commits, and nothing when it does not.
    let connections = sqlx::PgPool::connect(&database.url).await.unwrap();
    for commits in [false, true] {
        let before = heard();
        let scope = PgScope::adopt(connections.begin().await.unwrap());
        scope.append(record()).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(heard(), before);
        let tx = scope.release().await.unwrap();
        if commits {
            tx.commit().await.unwrap();
            once_more(before).await;
        } else {
            tx.rollback().await.unwrap();
            tokio::time::sleep(A_WHILE).await;
            assert_eq!(heard(), before);
        }
    }

    // A login writes a record without mails, and disturbs nobody.
    let before = heard();
    other.append(Record::default()).await.unwrap();
    let claims = other.claim_mails(at(1), time::Duration::MINUTE, 1).await;
    let claimed = &claims.unwrap().mails[0];
    let (id, lease) = (claimed.mail.id, claimed.lease);
    other.mail_failed(id, lease, None, "550").await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(heard(), before);
    other
        .retry_dead_mails(DeadMails::One(id), at(70))
        .await
        .unwrap();
    once_more(before).await;

    // The listener's connection is cut: it is back by itself, and looks whether it missed something.
    let before = heard();
    connections
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and query ilike 'listen%'",
        )
        .await
        .unwrap();
    once_more(before).await;
    let before = heard();
    other.append(record()).await.unwrap();
    once_more(before).await;
    watching.abort();
    connections.close().await;
}
