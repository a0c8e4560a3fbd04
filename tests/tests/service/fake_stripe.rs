//! The payment provider of development, as its pages are used in a browser.

use auth_tests::{
    API_KEY, Answer, Person,
    process::{Home, Service},
};
use serde_json::json;

struct Shop {
    service: Service,
    ada: Person,
}

impl Shop {
    async fn open() -> Self {
        let service = Home::new()
            .service()
            .quick()
            .set("INTERNAL_API_KEY", API_KEY)
            .set("STRIPE_MODE", "fake")
            .start()
            .await;
        let ada = service.registered("ada").await;
        Self { service, ada }
    }

    /// Fills the form, and follows to the checkout.
    async fn order(&self, item: &str) -> String {
        let form = serde_urlencoded::to_string([("email", &*self.ada.email), ("item", item)]);
        let answer = self.send("/fake-stripe/buy", &form.unwrap()).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let checkout = answer.header("location");
        let path = checkout.strip_prefix(self.service.base()).unwrap();
        let page = self.service.get(path).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.text().contains(item), "{page:?}");
        path.to_owned()
    }

    async fn send(&self, path: &str, form: &str) -> Answer {
        self.service.call("POST", path).form(form).await
    }

    async fn press(&self, path: &str) {
        let answer = self.send(path, "").await;
        assert_eq!(answer.status, 303, "{path}: {answer:?}");
    }

    /// The newest row with a button of that name.
    async fn button(&self, name: &str) -> String {
        let page = plain(&self.service.get("/fake-stripe").await.text());
        let from = page
            .find(&format!("action=\"/fake-stripe/{name}/"))
            .unwrap();
        page[from..].split('"').nth(1).unwrap().to_owned()
    }

    async fn balance(&self) -> String {
        let path = format!("/credits/balance?user_id={}", self.ada.id);
        let answer = self.service.get(&path).by_service().await;
        answer.ok(200)["balance"].as_str().unwrap().to_owned()
    }

    async fn kinds(&self) -> Vec<String> {
        let path = format!("/credits/transactions?user_id={}", self.ada.id);
        let answer = self.service.get(&path).by_service().await;
        let entries = answer.ok(200)["transactions"].as_array().unwrap().clone();
        let kinds = entries
            .iter()
            .map(|entry| entry["type"].as_str().unwrap().to_owned());
        kinds.collect()
    }
}

/// Paths without the references that templates write.
fn plain(html: &str) -> String {
    html.replace("&#x2f;", "/")
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_are_bought_refused_and_given_back_in_the_browser() {
    let shop = Shop::open().await;
    let start = shop.service.get("/").await.text();
    assert!(plain(&start).contains("href=\"/fake-stripe\""), "{start}");

    let refused = shop.order("small").await;
    shop.press(&format!("{refused}/fail")).await;
    assert_eq!(shop.balance().await, "0.00");
    let paid = shop.order("small").await;
    // Pressed twice.
    shop.press(&format!("{paid}/pay")).await;
    shop.press(&format!("{paid}/pay")).await;
    assert_eq!(shop.balance().await, "50.00");
    shop.service
        .home()
        .mail("credit_purchase", &shop.ada.email)
        .await;

    let refund = shop.button("refund").await;
    shop.press(&refund).await;
    assert_eq!(shop.balance().await, "0.00");
    let again = shop.send(&refund, "").await;
    assert_eq!(again.status, 409);
    assert_eq!(shop.kinds().await, ["refund", "one_time_purchase"]);
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_bought_renewed_made_dearer_and_ended() {
    let shop = Shop::open().await;
    let checkout = shop.order("basic").await;
    shop.press(&format!("{checkout}/pay")).await;
    assert_eq!(shop.balance().await, "120.00");
    shop.service
        .home()
        .mail("subscription_started", &shop.ada.email)
        .await;

    let dearer = json!({"user_id": shop.ada.id, "plan": "pro"});
    let call = shop.service.post("/stripe/change-subscription", dearer);
    assert_eq!(call.by_service().await.ok(200)["plan"], "pro");
    // Its events come by themselves.
    shop.service
        .home()
        .mail("plan_upgrade", &shop.ada.email)
        .await;
    assert_eq!(shop.balance().await, "300.00");

    shop.press(&shop.button("renew").await).await;
    assert_eq!(shop.balance().await, "600.00");
    shop.press(&shop.button("fail").await).await;
    shop.service
        .home()
        .mail("payment_failed", &shop.ada.email)
        .await;
    assert_eq!(shop.balance().await, "600.00");
    shop.press(&shop.button("cancel").await).await;
    shop.service
        .home()
        .mail("subscription_cancelled", &shop.ada.email)
        .await;
    assert_eq!(
        shop.kinds().await,
        ["plan_renewal", "plan_upgrade", "plan_purchase"]
    );
    let ended = shop
        .service
        .home()
        .service()
        .arg("stripe")
        .arg("events")
        .run()
        .await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_and_a_rebound_name_see_no_shop() {
    let shop = Shop::open().await;
    for (header, value) in [("x-forwarded-for", "192.0.2.1"), ("host", "rebound.test")] {
        let page = shop.service.get("/fake-stripe").header(header, value).await;
        assert_eq!(page.status, 404, "{header}");
        let start = shop.service.get("/").header(header, value).await;
        assert!(!plain(&start.text()).contains("/fake-stripe"), "{header}");
    }
    let nobody = "email=nobody%40example.org&item=small";
    let answer = shop.send("/fake-stripe/buy", nobody).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn production_gives_no_credits_away() {
    let ended = Home::new()
        .service()
        .set("ENVIRONMENT", "production")
        .set("STRIPE_MODE", "fake")
        .arg("config")
        .arg("check")
        .run()
        .await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("STRIPE_MODE"), "{ended:?}");
}
