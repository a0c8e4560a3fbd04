use auth_tests::{App, Fault, StoreKind};
use serde_json::json;

auth_tests::on_each_store! {
    a_process_that_serves_is_healthy
    a_process_without_its_store_is_not_ready
}

async fn a_process_that_serves_is_healthy(store: StoreKind) {
    let app = App::on(store).await;
    let health = app.get("/health").await;
    assert_eq!(*health.ok(200), json!({"status": "ok"}));
    let ready = app.get("/health/ready").await;
    let expected = json!({"status": "ready", "dependencies": [{"name": "store", "status": "ok"}]});
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
