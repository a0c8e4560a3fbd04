use std::collections::BTreeSet;

use auth_core::ports::BillingStore;
use auth_tests::{ALLOWED_PAGE, App, OTHER_API_KEY, StoreKind, at_once, stripe::event};
use serde_json::json;

use super::{CUSTOMERS, SESSIONS, call, cancel, change, checkout, subscribe, subscribed, word};

auth_tests::on_each_store! {
    a_pack_is_sold_on_a_page_of_stripe
    a_plan_is_sold_on_a_page_of_stripe
    an_attempt_that_has_a_name_makes_one_page
    only_allowed_pages_are_returned_to
    what_nobody_sells_and_who_is_not_there_are_told
}

async fn a_pack_is_sold_on_a_page_of_stripe(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let answer = checkout(&app, &ada, json!({"credit_pack": "small"})).await;
    let session = word(&answer, "session_id");
    let url = word(&answer, "url");
    assert_eq!(url, format!("https://checkout.stripe.com/c/pay/{session}"));

    let asked = stripe.asked(SESSIONS);
    let form = &asked[0].form;
    let user = ada.id.to_string();
    let metadata = json!({"user_id": user, "item": "small"});
    assert_eq!(form["mode"], "payment");
    assert_eq!(form["client_reference_id"], user);
    assert_eq!(form["metadata"], metadata);
    assert_eq!(form["payment_intent_data"]["metadata"], metadata);
    assert_eq!(
        form["line_items"],
        json!({"0": {"price": "price_small", "quantity": "1"}})
    );
    // Stripe learns who pays by an id of ours, and nothing else of them.
    let made = &stripe.asked(CUSTOMERS)[0];
    assert_eq!(made.form, json!({"metadata": {"user_id": user}}));
    assert_eq!(made.key.as_deref(), Some(&*format!("customer-{user}")));
    let kept = app.store.customer(ada.id).await.unwrap();
    assert_eq!(form["customer"], kept.unwrap().as_str());

    // What Stripe tells of that session then is granted.
    let paid = json!({
        "id": session, "mode": "payment", "payment_status": "paid", "payment_intent": "pi_1", "customer": form["customer"],
        "client_reference_id": form["client_reference_id"], "metadata": form["metadata"], "amount_total": 900, "currency": "eur",
    });
    let paid = event("evt_1", "checkout.session.completed", app.seconds(), &paid);
    assert_eq!(app.delivery(&paid).await.ok(200)["processed"], true);
    stripe.judge();
}

async fn a_plan_is_sold_on_a_page_of_stripe(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    checkout(&app, &ada, json!({"plan": "basic"})).await.ok(200);
    let asked = stripe.asked(SESSIONS);
    let form = &asked[0].form;
    let metadata = json!({"user_id": ada.id.to_string(), "item": "basic"});
    assert_eq!(form["mode"], "subscription");
    assert_eq!(form["metadata"], metadata);
    assert_eq!(form["subscription_data"]["metadata"], metadata);
    assert_eq!(form["line_items"]["0"]["price"], "price_basic");
    stripe.judge();

    // Two plans at once would be paid twice.
    let (bob, _) = subscribed(&app, &stripe, "bob", "basic").await;
    let second = checkout(&app, &bob, json!({"plan": "professional"})).await;
    second.refused(409, "already_subscribed");
    checkout(&app, &bob, json!({"credit_pack": "small"}))
        .await
        .ok(200);
}

async fn an_attempt_that_has_a_name_makes_one_page(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let named = |pack: &str| {
        let call = checkout(&app, &ada, json!({"credit_pack": pack}));
        call.header("idempotency-key", "attempt-1")
    };
    let answers = at_once((0..8).map(|_| named("small"))).await;
    let sessions: BTreeSet<_> = answers.iter().map(|it| word(it, "session_id")).collect();
    assert_eq!(sessions.len(), 1);
    // Another wish under that name gets no page of the first one.
    let plan = checkout(&app, &ada, json!({"plan": "basic"}));
    let other = plan.header("idempotency-key", "attempt-1").await;
    other.refused(409, "idempotency_conflict");
    // A name is its caller's own, and without one each call is a wish of its own.
    let mut all = sessions;
    let body = json!({
        "user_id": ada.id.to_string(), "credit_pack": "small", "success_url": ALLOWED_PAGE, "cancel_url": ALLOWED_PAGE,
    });
    let others = app.post("/stripe/create-checkout-session", body);
    let others = others
        .header("x-api-key", OTHER_API_KEY)
        .header("idempotency-key", "attempt-1");
    all.insert(word(&others.await, "session_id"));
    for _ in 0..2 {
        let unnamed = checkout(&app, &ada, json!({"credit_pack": "small"})).await;
        all.insert(word(&unnamed, "session_id"));
    }
    assert_eq!(all.len(), 4);
    let keys: BTreeSet<_> = stripe
        .asked(SESSIONS)
        .into_iter()
        .map(|it| it.key.unwrap())
        .collect();
    assert_eq!(keys.len(), 4);
}

async fn only_allowed_pages_are_returned_to(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    for (page, code) in [
        ("https://evil.example.org/welcome", "redirect_not_allowed"),
        ("https://app.example.org/welcome/", "redirect_not_allowed"),
        ("https://app.example.org", "redirect_not_allowed"),
        ("http://app.example.org/welcome", "redirect_not_allowed"),
        (
            "https://app.example.org/welcome?to=evil",
            "invalid_redirect_uri",
        ),
        ("javascript:alert(1)", "invalid_redirect_uri"),
        ("", "invalid_redirect_uri"),
    ] {
        for field in ["success_url", "cancel_url"] {
            let answer = checkout(&app, &ada, json!({"credit_pack": "small", field: page})).await;
            answer.refused(422, "validation_failed");
            assert_eq!(answer.faults(), [(field, code)], "{page}");
        }
    }
    let both = checkout(&app, &ada, json!({"credit_pack": "small", "plan": "basic"})).await;
    assert_eq!(
        both.refused(422, "validation_failed").faults(),
        [("credit_pack", "mutually_exclusive")]
    );
    let typed = call(
        &app,
        "cancel-subscription",
        &ada,
        json!({"at_period_end": "true"}),
    )
    .await;
    assert_eq!(
        typed.refused(422, "validation_failed").faults(),
        [("at_period_end", "invalid_type")]
    );
    assert!(stripe.journal().is_empty());
    assert_eq!(app.store.customer(ada.id).await.unwrap(), None);
}

async fn what_nobody_sells_and_who_is_not_there_are_told(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    for item in [
        json!({"plan": "small"}),
        json!({"credit_pack": "basic"}),
        json!({"plan": ""}),
        json!({"plan": "price_basic"}),
    ] {
        checkout(&app, &ada, item)
            .await
            .refused(404, "unknown_plan");
    }
    subscribe(&app, &ada, "small")
        .await
        .refused(404, "unknown_plan");
    change(&app, &ada, "small")
        .await
        .refused(404, "unknown_plan");
    change(&app, &ada, "basic")
        .await
        .refused(409, "not_subscribed");
    cancel(&app, &ada).await.refused(404, "not_subscribed");

    let gone = app.verified("gone").await;
    let body = json!({"password": gone.password});
    app.delete("/auth/users/delete-account")
        .json(body)
        .by(&gone)
        .await
        .ok(200);
    let methods = format!("/stripe/payment-methods?user_id={}", gone.id);
    for call in [
        checkout(&app, &gone, json!({"credit_pack": "small"})),
        call(&app, "setup-intent", &gone, json!({})),
        app.get(&methods).by_service(),
        subscribe(&app, &gone, "basic"),
        change(&app, &gone, "basic"),
        cancel(&app, &gone),
    ] {
        call.await.refused(404, "user_not_found");
    }
    assert!(stripe.journal().is_empty());

    let without = App::on(store).await;
    let ada = without.verified("ada").await;
    let methods = format!("/stripe/payment-methods?user_id={}", ada.id);
    for call in [
        checkout(&without, &ada, json!({"credit_pack": "small"})),
        call(&without, "setup-intent", &ada, json!({})),
        without.get(&methods).by_service(),
        subscribe(&without, &ada, "basic"),
        change(&without, &ada, "basic"),
        cancel(&without, &ada),
    ] {
        call.await.refused(501, "payments_not_configured");
    }
}
