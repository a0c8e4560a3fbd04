use auth_tests::{
    App, StoreKind,
    stripe_api::{StripeApi, Trouble, declined},
};
use serde_json::json;

use super::{
    CUSTOMERS, LIST, SESSIONS, SETUPS, SUBSCRIPTIONS, UPDATE, call, change, checkout, subscribe,
    word,
};

auth_tests::on_each_store! {
    an_answer_that_is_lost_doubles_nothing
    trouble_that_passes_is_not_told
    trouble_that_stays_is_told_without_words_of_stripe
}

async fn an_answer_that_is_lost_doubles_nothing(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    // Stripe does it, and the connection breaks: three times, so that the caller hears of it.
    let lost = |what: &str| (0..3).for_each(|_| stripe.trouble(what, Trouble::CutAfterwards));
    lost(CUSTOMERS);
    let setup = || call(&app, "setup-intent", &ada, json!({}));
    let answer = setup().await;
    answer.refused(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
    let customer = word(&setup().await, "customer_id");
    assert_eq!(stripe.customers(), 1);

    let card = stripe.attach_card(&customer, true);
    let pay = || {
        let body = json!({"plan": "basic", "payment_method_id": card});
        call(&app, "create-subscription", &ada, body)
    };
    lost(SUBSCRIPTIONS);
    pay().await.refused(503, "unavailable");
    // It has begun, and that is what the caller learns.
    pay().await.refused(409, "already_subscribed");
    assert_eq!(stripe.living().len(), 1);

    lost(UPDATE);
    change(&app, &ada, "professional")
        .await
        .refused(503, "unavailable");
    assert_eq!(
        change(&app, &ada, "professional").await.ok(200)["plan"],
        "professional"
    );
    let subscription = &stripe.living()[0];
    assert_eq!(stripe.invoice_of(subscription)["amount_paid"], 3000);

    let named = || {
        let call = checkout(&app, &ada, json!({"credit_pack": "small"}));
        call.header("idempotency-key", "attempt-1")
    };
    lost(SESSIONS);
    named().await.refused(503, "unavailable");
    let page = word(&named().await, "session_id");
    assert_eq!(word(&named().await, "session_id"), page);
}

async fn trouble_that_passes_is_not_told(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    for (what, trouble) in [
        (CUSTOMERS, Trouble::Busy),
        (SETUPS, Trouble::Cut),
        (LIST, Trouble::Busy),
        (SUBSCRIPTIONS, Trouble::CutAfterwards),
    ] {
        stripe.trouble(what, trouble);
    }
    call(&app, "setup-intent", &ada, json!({})).await.ok(200);
    subscribe(&app, &ada, "basic").await.ok(200);
    assert_eq!((stripe.customers(), stripe.living().len()), (1, 1));
    for what in [CUSTOMERS, SETUPS, SUBSCRIPTIONS] {
        let asked = stripe.asked(what);
        assert_eq!(asked.len(), 2, "{what}");
        assert_eq!(asked[0].key, asked[1].key);
    }
}

async fn trouble_that_stays_is_told_without_words_of_stripe(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let error = |kind: &str, code: &str| json!({"error": {"type": kind, "code": code, "message": "about sk_test_***789 and ada@example.org"}});
    for (trouble, tries, status, code) in [
        (Trouble::Busy, 3, 503, "unavailable"),
        (Trouble::Cut, 3, 503, "unavailable"),
        (
            Trouble::Say(500, error("api_error", "")),
            3,
            502,
            "payment_provider_error",
        ),
        (
            Trouble::Say(503, json!("<html>not of Stripe</html>")),
            3,
            502,
            "payment_provider_error",
        ),
        (
            Trouble::Say(200, json!({"object": "setup_intent"})),
            1,
            502,
            "payment_provider_error",
        ),
        (
            Trouble::Say(200, json!("<html>not of Stripe</html>")),
            1,
            502,
            "payment_provider_error",
        ),
        (
            Trouble::Say(401, error("invalid_request_error", "api_key_expired")),
            1,
            502,
            "payment_provider_error",
        ),
        (
            Trouble::Say(402, declined()),
            1,
            502,
            "payment_provider_error",
        ),
        (
            Trouble::Say(400, error("a_new_type", "a_new_code")),
            1,
            502,
            "payment_provider_error",
        ),
    ] {
        for _ in 0..tries {
            stripe.trouble(SETUPS, trouble.clone());
        }
        let before = stripe.asked(SETUPS).len();
        let answer = call(&app, "setup-intent", &ada, json!({})).await;
        answer.refused(status, code);
        assert_eq!(stripe.asked(SETUPS).len() - before, tries, "{trouble:?}");
        for word in ["sk_test", "ada@example", "declined", "html"] {
            assert!(!answer.text().contains(word), "{}", answer.text());
        }
    }
}

/// A Stripe that never answers: the caller hears of it within the time limit, and what was done is done once.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stripe_is_not_waited_for() {
    let app = App::start().await;
    let stripe = StripeApi::start(app.clock.clone()).await;
    let provider = stripe
        .provider()
        .timeout(std::time::Duration::from_millis(300));
    let app = app.sold_through(provider);
    let ada = app.verified("ada").await;
    stripe.trouble(CUSTOMERS, Trouble::Hang);
    let setup = || call(&app, "setup-intent", &ada, json!({}));
    let answer = setup().await;
    answer.refused(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
    setup().await.ok(200);
    assert_eq!(stripe.customers(), 1);
}
