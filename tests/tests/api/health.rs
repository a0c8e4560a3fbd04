use auth_core::{WorkerState, time::Duration};
use auth_tests::{App, Fault, StoreKind};
use serde_json::json;

auth_tests::on_each_store! {
    a_process_that_serves_is_healthy
    a_process_without_its_store_is_not_ready
    a_process_whose_workers_are_gone_is_not_ready
    mails_that_wait_are_counted_and_not_told_to_everybody
}

async fn a_process_that_serves_is_healthy(store: StoreKind) {
    let app = App::on(store).await;
    let health = app.get("/health").await;
    assert_eq!(*health.ok(200), json!({"status": "ok"}));
    let ready = app.get("/health/ready").await;
    let expected = json!({
        "status": "ready",
        "dependencies": [
            {"name": "store", "status": "ok"},
        ],
    });
    assert_eq!(*ready.ok(200), expected);
}

async fn a_process_without_its_store_is_not_ready(store: StoreKind) {
    let app = App::on(store).await;
    for fault in [Fault::Unavailable, Fault::Backend] {
        app.store.fail(fault);
        let ready = app.get("/health/ready").await;
        assert_eq!(ready.status, 503);
        let expected = json!({
            "status": "unavailable",
            "dependencies": [{"name": "store", "status": "unavailable"}],
        });
        assert_eq!(ready.json, expected);
        assert!(ready.header("retry-after").parse::<u32>().unwrap() > 0);
        // It still serves: nobody should kill it for that.
        app.get("/health").await.ok(200);
        app.store.fail(None);
        app.get("/health/ready").await.ok(200);
    }
}

async fn a_process_whose_workers_are_gone_is_not_ready(store: StoreKind) {
    let app = App::on(store).await;
    let worker = async |status: u16| {
        let ready = app.get("/health/ready").await;
        assert_eq!(ready.status, status);
        let dependencies = ready.json["dependencies"].as_array().unwrap().clone();
        let mut workers = dependencies
            .into_iter()
            .filter(|dependency| dependency["name"] == "worker");
        workers.next().map(|worker| worker["status"].clone())
    };
    assert_eq!(worker(200).await, None, "nobody asked for one");
    let auth = app.auth.clone();
    let working = tokio::spawn(async move { auth.run_workers(std::future::pending()).await });
    while app.auth.mail_workers().state != WorkerState::Alive {
        tokio::task::yield_now().await;
    }
    assert_eq!(worker(200).await, Some(json!("ok")));
    working.abort();
    assert!(working.await.unwrap_err().is_cancelled());
    assert_eq!(worker(503).await, Some(json!("stopped")));
}

async fn mails_that_wait_are_counted_and_not_told_to_everybody(store: StoreKind) {
    let app = App::on(store).await;
    app.registered("ada").await;
    app.clock.advance(Duration::minutes(90));
    let queue = app.auth.mail_queue().await.unwrap();
    assert_eq!((queue.queued, queue.dead), (1, 0));
    assert_eq!(
        queue.oldest.map(Duration::whole_minutes),
        Some(90),
        "{queue:?}"
    );
    // Whoever asks for resets would see in it who has an account.
    let ready = app.get("/health/ready").await;
    let expected = json!({"status": "ready", "dependencies": [{"name": "store", "status": "ok"}]});
    assert_eq!(*ready.ok(200), expected);
}
