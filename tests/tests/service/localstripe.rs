//! The service over `localstripe`, which somebody else wrote: what it understands of us, and what we understand of it.
//!
//! It is years behind Stripe. It sells plans, which came before prices, so subscriptions are sold here by a host of ours, as its API has them. It has no checkout
//! pages, no list of a customer's payment methods, none of the expansions that we ask for, and none of the events that grant credits.

use auth_core::types::UserId;
use auth_tests::{ALLOWED_PAGE, Call, PASSWORD, localstripe::LocalStripe, process::eventually};
use serde_json::{Value, json};

use crate::data::{Data, on_each_database};

on_each_database! {
    customers_and_subscriptions_live_at_another_stripe
}

/// A host sells a plan of the catalogue to a customer of its own.
async fn sold(stripe: &LocalStripe, user: UserId) -> String {
    let card = stripe.post("/v1/payment_methods", &CARD).await;
    let card = card["id"].as_str().unwrap();
    let customer = stripe.post("/v1/customers", &[("name", "A buyer")]).await;
    let customer = customer["id"].as_str().unwrap();
    let attach = format!("/v1/payment_methods/{card}/attach");
    stripe.post(&attach, &[("customer", customer)]).await;
    let default = [("invoice_settings[default_payment_method]", card)];
    stripe
        .post(&format!("/v1/customers/{customer}"), &default)
        .await;
    let sale = [
        ("customer", customer),
        ("items[0][plan]", "price_basic"),
        ("metadata[user_id]", &*user.to_string()),
        ("metadata[item]", "basic"),
    ];
    let sold = stripe.post("/v1/subscriptions", &sale).await;
    assert_eq!(sold["status"], "active");
    sold["id"].as_str().unwrap().to_owned()
}

const CARD: [(&str, &str); 5] = [
    ("type", "card"),
    ("card[number]", "4242424242424242"),
    ("card[exp_month]", "12"),
    ("card[exp_year]", "2031"),
    ("card[cvc]", "123"),
];

async fn customers_and_subscriptions_live_at_another_stripe(data: Data) {
    let stripe = LocalStripe::start().await;
    let start = || {
        let service = data.service().selling(stripe.address());
        service.set("ALLOWED_REDIRECTS", ALLOWED_PAGE).start()
    };
    let service = start().await;
    stripe.tells(&service).await;
    let call = |path: &str, user: UserId, mut body: Value| -> Call {
        body["user_id"] = json!(user.to_string());
        service.post(&format!("/stripe/{path}"), body).by_service()
    };
    let ada = service.verified("ada").await;

    // A customer, made once, and a card that its owner leaves with the secret that we gave.
    let setup = call("setup-intent", ada.id, json!({})).await;
    let word = |member: &str| setup.ok(200)[member].as_str().unwrap().to_owned();
    let customer = word("customer_id");
    let made = stripe.get(&format!("/v1/customers/{customer}")).await;
    assert_eq!(made["metadata"], json!({"user_id": ada.id.to_string()}));
    let card = stripe.post("/v1/payment_methods", &CARD).await;
    let confirm = format!("/v1/setup_intents/{}/confirm", word("setup_intent_id"));
    let form = [
        ("client_secret", &*word("client_secret")),
        ("payment_method", card["id"].as_str().unwrap()),
    ];
    assert_eq!(stripe.post(&confirm, &form).await["status"], "succeeded");
    let again = call("setup-intent", ada.id, json!({})).await;
    assert_eq!(again.ok(200)["customer_id"], customer);

    // What it does not know is refused in our words.
    let page =
        json!({"credit_pack": "small", "success_url": ALLOWED_PAGE, "cancel_url": ALLOWED_PAGE});
    let methods = format!("/stripe/payment-methods?user_id={}", ada.id);
    for unknown in [
        call("create-checkout-session", ada.id, page),
        call("create-subscription", ada.id, json!({"plan": "basic"})),
        service.get(&methods).by_service(),
    ] {
        unknown.await.refused(502, "payment_provider_error");
    }

    // Subscriptions that it tells of, and that end there: by a call, and with an account.
    let plan = [
        ("id", "price_basic"),
        ("amount", "1900"),
        ("currency", "eur"),
        ("interval", "month"),
        ("product[name]", "Basic"),
    ];
    stripe.post("/v1/plans", &plan).await;
    let (bob, cleo) = (
        service.verified("bob").await,
        service.verified("cleo").await,
    );
    let known = async |subscription: &str| {
        let ids = data.rows("select id from auth.subscriptions").await;
        ids.iter().any(|id| id == subscription).then_some(())
    };
    let (of_bob, of_cleo) = (sold(&stripe, bob.id).await, sold(&stripe, cleo.id).await);
    for subscription in [&of_bob, &of_cleo] {
        eventually("its event", async || known(subscription).await).await;
    }
    let shown = async |id: &str| stripe.get(&format!("/v1/subscriptions/{id}")).await;
    let ends = call("cancel-subscription", bob.id, json!({})).await;
    assert_eq!(ends.ok(200)["subscription_id"], of_bob);
    assert_eq!(ends.ok(200)["status"], "active");
    assert!(ends.ok(200)["cancel_at"].is_string());
    assert_eq!(shown(&of_bob).await["cancel_at_period_end"], true);
    let now = json!({"at_period_end": false});
    let ended = call("cancel-subscription", bob.id, now).await;
    assert_eq!(ended.ok(200)["status"], "canceled");
    assert_eq!(shown(&of_bob).await["status"], "canceled");
    data.home.mail("subscription_cancelled", &bob.email).await;
    // It tells of that, too.
    eventually("the event of the end", async || {
        let kinds = data.rows("select kind from auth.payment_events").await;
        let told = kinds
            .iter()
            .any(|kind| kind == "customer.subscription.deleted");
        told.then_some(())
    })
    .await;
    let over = call("cancel-subscription", bob.id, json!({})).await;
    over.refused(404, "not_subscribed");

    let gone = service.delete("/auth/users/delete-account");
    let gone = gone.json(json!({"password": PASSWORD}));
    gone.by(&cleo).await.ok(200);
    // The first thing that a process does.
    let second = start().await;
    eventually("the end of the subscription", async || {
        (shown(&of_cleo).await["status"] == "canceled").then_some(())
    })
    .await;
    for service in [service, second] {
        let ended = service.stop().await;
        assert!(ended.status.success(), "{ended:?}");
    }
    let listed = data.service().args("stripe events").run().await;
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
}
