//! Postgres crashes and comes back, under load.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use auth_tests::{
    PASSWORD, email_of,
    postgres::{Cluster, Database},
    process::{Service, eventually},
};
use serde_json::json;

use crate::data::Data;

const CRASHES: usize = 3;
const CLIENTS: usize = 6;

/// Until the service says that it can, or cannot, serve.
async fn readiness(service: &Service, wanted: u16) {
    eventually("another state of the database", async || {
        let answer = service.get("/health/ready").await;
        if answer.status == 503 {
            assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        }
        (answer.status == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_survives_crashes_of_the_server_and_the_service_recovers_by_itself() {
    let cluster = Cluster::start();
    let data = Data::of(Some(Database { url: cluster.url() }));
    let service = Arc::new(data.service().start().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (service, is_over) = (Arc::clone(&service), Arc::clone(&is_over));
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                let (mut registered, mut refused) = (Vec::new(), 0);
                for n in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("u{client}-{n}");
                    let body =
                        json!({"username": name, "email": email_of(&name), "password": PASSWORD});
                    let answer = service.post("/auth/register", body).await;
                    if answer.status == 201 {
                        registered.push(name);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    } else {
                        if answer.status != 503 {
                            let why = service.logged(answer.header("x-request-id")).await;
                            panic!("{answer:?}: {why}");
                        }
                        // With `Retry-After`, as every 503 here.
                        answer.refused(503, "unavailable");
                        refused += 1;
                    }
                }
                (registered, refused)
            })
        })
        .collect();

    for _ in 0..CRASHES {
        readiness(&service, 200).await;
        service.get("/health").await.ok(200);
        let before = acknowledged.load(Ordering::Relaxed);
        eventually("work under way", async || {
            (acknowledged.load(Ordering::Relaxed) > before + CLIENTS).then_some(())
        })
        .await;
        cluster.kill();
        readiness(&service, 503).await;
        service.get("/health").await.ok(200);
        cluster.resume();
    }
    readiness(&service, 200).await;
    is_over.store(true, Ordering::Relaxed);

    let (mut all, mut all_refused) = (Vec::new(), 0);
    for client in clients {
        let (registered, refused) = client.await.unwrap();
        all.extend(registered);
        all_refused += refused;
    }
    assert!(
        all.len() > CLIENTS && all_refused > 0,
        "{} {all_refused}",
        all.len()
    );
    let kept = data
        .rows(
            "select username from auth.users u
             where exists (select from auth.sessions where user_id = u.id) and exists (select from auth.mailed_tokens where user_id = u.id)
               and exists (select from auth.audit_log where user_id = u.id)",
        )
        .await;
    for name in &all {
        assert!(kept.contains(name), "{name} is forgotten");
    }
    let halves =
        "select username from auth.users where id not in (select user_id from auth.sessions)";
    assert_eq!(data.rows(halves).await, [""; 0]);
    // No mail of theirs is lost, either: it went out, or still does.
    data.leases_are_over().await;
    data.everything_is_sent().await;
    let mails = data.mails().await;
    for name in &all {
        assert!(
            mails.contains(&(email_of(name), "welcome".to_owned())),
            "{name}"
        );
    }
    let ended = Arc::into_inner(service).unwrap().stop().await;
    assert!(ended.status.success(), "{ended:?}");
}
