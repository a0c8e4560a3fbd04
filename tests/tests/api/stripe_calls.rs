use std::collections::BTreeSet;

use auth_billing::Abandoned;
use auth_core::{
    ports::{BillingStore, NewSubscription, PaymentProvider},
    time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339},
    types::{IdempotencyKey, PaymentRef},
};
use auth_tests::{
    ALLOWED_PAGE, Answer, App, Call, OTHER_API_KEY, Person, StoreKind, at_once,
    stripe::event,
    stripe_api::{Layout, PERIOD, StripeApi, Trouble, declined},
};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    a_pack_is_sold_on_a_page_of_stripe
    a_plan_is_sold_on_a_page_of_stripe
    an_attempt_that_has_a_name_makes_one_page
    only_allowed_pages_are_returned_to
    what_nobody_sells_and_who_is_not_there_are_told
    a_customer_is_made_once_by_many_at_once
    a_customer_that_was_deleted_is_made_anew_once
    a_payment_method_is_left_and_listed
    a_subscription_is_begun_and_paid_at_once
    a_subscription_waits_for_its_first_payment
    of_subscriptions_asked_for_at_once_one_begins
    of_two_plans_asked_for_at_once_one_begins
    a_subscription_that_lives_is_not_begun_again
    a_refused_payment_is_told_and_may_be_tried_again
    an_answer_of_another_day_is_not_taken_for_a_new_one
    a_dearer_plan_comes_at_once_for_its_whole_difference
    a_dearer_plan_waits_until_it_is_paid
    a_cheaper_plan_comes_when_the_period_ends
    a_subscription_ends_with_its_period_or_now
    a_subscription_that_a_host_sold_by_itself_is_found
    a_deleted_account_has_no_subscription_left
    an_answer_that_is_lost_doubles_nothing
    trouble_that_passes_is_not_told
    trouble_that_stays_is_told_without_words_of_stripe
}

const CUSTOMERS: &str = "POST /v1/customers";
const SESSIONS: &str = "POST /v1/checkout/sessions";
const SETUPS: &str = "POST /v1/setup_intents";
const SUBSCRIPTIONS: &str = "POST /v1/subscriptions";
const LIST: &str = "GET /v1/subscriptions";
const UPDATE: &str = "POST /v1/subscriptions/{id}";

fn checkout(app: &App, user: &Person, mut body: Value) -> Call {
    for page in ["success_url", "cancel_url"] {
        if body[page].is_null() {
            body[page] = ALLOWED_PAGE.into();
        }
    }
    call(app, "create-checkout-session", user, body)
}

fn call(app: &App, what: &str, user: &Person, mut body: Value) -> Call {
    body["user_id"] = user.id.to_string().into();
    app.post(&format!("/stripe/{what}"), body).by_service()
}

fn rfc3339(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at).unwrap();
    at.format(&Rfc3339).unwrap()
}

fn subscribe(app: &App, user: &Person, plan: &str) -> Call {
    call(app, "create-subscription", user, json!({"plan": plan}))
}

fn change(app: &App, user: &Person, plan: &str) -> Call {
    call(app, "change-subscription", user, json!({"plan": plan}))
}

fn cancel(app: &App, user: &Person) -> Call {
    call(app, "cancel-subscription", user, json!({}))
}

fn word(answer: &Answer, member: &str) -> String {
    let told = answer.ok(200);
    let word = told[member].as_str();
    word.unwrap_or_else(|| panic!("no {member}: {told}"))
        .to_owned()
}

/// A user with a card and a subscription that is paid.
async fn subscribed(app: &App, stripe: &StripeApi, name: &str, plan: &str) -> (Person, String) {
    let user = app.verified(name).await;
    let setup = call(app, "setup-intent", &user, json!({})).await;
    let card = stripe.attach_card(&word(&setup, "customer_id"), true);
    let body = json!({"plan": plan, "payment_method_id": card});
    let begun = call(app, "create-subscription", &user, body).await;
    assert_eq!(word(&begun, "status"), "active");
    (user, word(&begun, "subscription_id"))
}

/// Stripe tells that the newest invoice of a subscription is paid; the balance afterwards.
async fn told_paid(app: &App, stripe: &StripeApi, user: &Person, subscription: &str) -> String {
    let invoice = stripe.invoice_of(subscription);
    let id = format!("evt_{}", invoice["id"].as_str().unwrap());
    let event = event(&id, "invoice.paid", app.seconds(), &invoice);
    app.delivery(&event).await.ok(200);
    let path = format!("/credits/balance?user_id={}", user.id);
    word(&app.get(&path).by_service().await, "balance")
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

async fn a_customer_is_made_once_by_many_at_once(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let other = app.selling_replica(&stripe).await;
    let ada = app.verified("ada").await;
    let calls = (0..16).map(|i| {
        let app = if i % 2 == 0 { &app } else { &other };
        call(app, "setup-intent", &ada, json!({}))
    });
    let answers = at_once(calls).await;
    let customers: BTreeSet<_> = answers.iter().map(|it| word(it, "customer_id")).collect();
    let setups: BTreeSet<_> = answers
        .iter()
        .map(|it| word(it, "setup_intent_id"))
        .collect();
    assert_eq!((customers.len(), setups.len()), (1, 16));
    assert_eq!(stripe.customers(), 1);
    let kept = other.store.customer(ada.id).await.unwrap();
    assert_eq!(kept.unwrap().as_str(), customers.first().unwrap());
}

async fn a_customer_that_was_deleted_is_made_anew_once(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let setup = call(&app, "setup-intent", &ada, json!({})).await;
    let first = word(&setup, "customer_id");
    stripe.delete_customer(&first);
    let path = format!("/stripe/payment-methods?user_id={}", ada.id);
    let methods = app.get(&path).by_service().await;
    assert_eq!(methods.ok(200)["payment_methods"], json!([]));

    let answers = at_once((0..8).map(|_| call(&app, "setup-intent", &ada, json!({})))).await;
    let second: BTreeSet<_> = answers.iter().map(|it| word(it, "customer_id")).collect();
    assert_eq!(second.len(), 1);
    assert!(!second.contains(&first));
    assert_eq!(stripe.customers(), 2);
    // And once more within the day, for which Stripe remembers the key of the one before.
    stripe.delete_customer(second.first().unwrap());
    let third = subscribe(&app, &ada, "basic").await;
    assert_eq!(word(&third, "status"), "incomplete");
    assert_eq!(stripe.customers(), 3);
}

async fn a_payment_method_is_left_and_listed(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let path = format!("/stripe/payment-methods?user_id={}", ada.id);
    let list = || async { app.get(&path).by_service().await.ok(200)["payment_methods"].clone() };
    // A look makes nobody known to Stripe.
    assert_eq!(list().await, json!([]));
    assert_eq!(stripe.customers(), 0);

    let setup = call(&app, "setup-intent", &ada, json!({})).await;
    let intent = word(&setup, "setup_intent_id");
    assert_eq!(word(&setup, "client_secret"), format!("{intent}_secret_1"));
    let form = &stripe.asked(SETUPS)[0].form;
    assert_eq!(form["usage"], "off_session");
    assert_eq!(form["metadata"]["user_id"], ada.id.to_string());

    let customer = word(&setup, "customer_id");
    let (one, other) = (
        stripe.attach_card(&customer, true),
        stripe.attach_card(&customer, false),
    );
    let card = json!({"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2031});
    let method = |id: &str, is_default: bool| json!({"id": id, "type": "card", "card": card, "is_default": is_default});
    assert_eq!(
        list().await,
        json!([method(&other, false), method(&one, true)])
    );
    stripe.judge();
}

async fn a_subscription_is_begun_and_paid_at_once(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    let form = &stripe.asked(SUBSCRIPTIONS)[0].form;
    assert_eq!(
        form["metadata"],
        json!({"user_id": ada.id.to_string(), "item": "basic"})
    );
    assert_eq!(form["payment_behavior"], "allow_incomplete");
    let kept = app.store.subscriptions(ada.id).await.unwrap();
    assert_eq!(kept[0].id.as_str(), subscription);
    assert_eq!(
        (kept[0].item.as_deref(), &*kept[0].status),
        (Some("basic"), "active")
    );
    assert_eq!(
        told_paid(&app, &stripe, &ada, &subscription).await,
        "120.00"
    );
    stripe.judge();
}

async fn a_subscription_waits_for_its_first_payment(store: StoreKind) {
    for layout in [Layout::Older, Layout::Newer] {
        let app = App::on(store).await;
        let stripe = StripeApi::laid_out(app.clock.clone(), layout).await;
        let app = app.sold_by(&stripe);
        let ada = app.verified("ada").await;
        let begun = subscribe(&app, &ada, "basic").await;
        let id = word(&begun, "subscription_id");
        assert_eq!(word(&begun, "status"), "incomplete");
        let end = rfc3339(app.seconds() + PERIOD);
        assert_eq!(word(&begun, "current_period_end"), end);
        let secret = &begun.ok(200)["client_secret"];
        assert_eq!(secret.is_string(), layout == Layout::Newer, "{secret}");
        let form = &stripe.asked(SUBSCRIPTIONS)[0].form;
        assert_eq!(form["payment_behavior"], "default_incomplete");

        // Whoever asks again before it is paid gets it again; for another plan it is replaced.
        let again = subscribe(&app, &ada, "basic").await;
        assert_eq!(word(&again, "subscription_id"), id);
        assert_eq!(&again.ok(200)["client_secret"], secret);
        let other = subscribe(&app, &ada, "professional").await;
        let other = word(&other, "subscription_id");
        assert_ne!(other, id);
        assert_eq!(stripe.living(), std::slice::from_ref(&other));
        change(&app, &ada, "basic")
            .await
            .refused(409, "not_subscribed");
        cancel(&app, &ada).await.refused(404, "not_subscribed");
        stripe.pay(&other);
        subscribe(&app, &ada, "professional")
            .await
            .refused(409, "already_subscribed");
        assert_eq!(word(&cancel(&app, &ada).await, "subscription_id"), other);
        stripe.judge();
    }
}

async fn of_subscriptions_asked_for_at_once_one_begins(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let other = app.selling_replica(&stripe).await;
    let ada = app.verified("ada").await;
    let setup = call(&app, "setup-intent", &ada, json!({})).await;
    let card = stripe.attach_card(&word(&setup, "customer_id"), true);
    let calls = (0..12).map(|i| {
        let app = if i % 2 == 0 { &app } else { &other };
        let body = json!({"plan": "basic", "payment_method_id": card});
        call(app, "create-subscription", &ada, body)
    });
    let mut begun = BTreeSet::new();
    for answer in at_once(calls).await {
        if answer.status == 200 {
            begun.insert(word(&answer, "subscription_id"));
        } else {
            answer.refused(409, "already_subscribed");
        }
    }
    assert_eq!(begun.len(), 1);
    assert_eq!(stripe.living(), Vec::from_iter(begun));
}

async fn of_two_plans_asked_for_at_once_one_begins(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let other = app.selling_replica(&stripe).await;
    let ada = app.verified("ada").await;
    let setup = call(&app, "setup-intent", &ada, json!({})).await;
    let card = stripe.attach_card(&word(&setup, "customer_id"), true);
    let calls = (0..12).map(|i| {
        let (app, plan) = if i % 2 == 0 {
            (&app, "basic")
        } else {
            (&other, "professional")
        };
        call(
            app,
            "create-subscription",
            &ada,
            json!({"plan": plan, "payment_method_id": card}),
        )
    });
    let answers = at_once(calls).await;
    assert!(answers.iter().any(|it| it.status == 200));
    for answer in answers.iter().filter(|it| it.status != 200) {
        answer.refused(409, "already_subscribed");
    }
    assert_eq!(stripe.living().len(), 1);
}

async fn a_subscription_that_lives_is_not_begun_again(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    for plan in ["basic", "professional"] {
        subscribe(&app, &ada, plan)
            .await
            .refused(409, "already_subscribed");
    }
    // Known here alone: Stripe is not even asked.
    let asked = stripe.journal().len();
    subscribe(&app, &ada, "basic")
        .await
        .refused(409, "already_subscribed");
    assert_eq!(stripe.journal().len(), asked);
    // Known to Stripe alone, as while its event is on its way.
    let told = |status: &str, created: i64| {
        let object = json!({"id": subscription, "status": status, "metadata": {"user_id": ada.id.to_string()}});
        event(
            &format!("evt_{status}"),
            "customer.subscription.deleted",
            created,
            &object,
        )
    };
    app.delivery(&told("canceled", app.seconds())).await.ok(200);
    subscribe(&app, &ada, "basic")
        .await
        .refused(409, "already_subscribed");
    assert_eq!(stripe.living(), [subscription]);
}

async fn a_refused_payment_is_told_and_may_be_tried_again(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let ada = app.verified("ada").await;
    let setup = call(&app, "setup-intent", &ada, json!({})).await;
    let card = stripe.attach_card(&word(&setup, "customer_id"), true);
    let pay = || {
        let body = json!({"plan": "basic", "payment_method_id": card});
        call(&app, "create-subscription", &ada, body)
    };
    stripe.trouble(SUBSCRIPTIONS, Trouble::Say(402, declined()));
    pay().await.refused(502, "payment_provider_error");
    assert_eq!(stripe.asked(SUBSCRIPTIONS).len(), 1);
    // Stripe keeps the refusal under its key for a day, and the next try is another wish.
    assert_eq!(word(&pay().await, "status"), "active");
    assert_eq!(stripe.living().len(), 1);

    // Nobody pays with the card of somebody else.
    let body = json!({"plan": "basic", "payment_method_id": card});
    let bob = app.verified("bob").await;
    call(&app, "create-subscription", &bob, body)
        .await
        .refused(502, "payment_provider_error");
}

async fn an_answer_of_another_day_is_not_taken_for_a_new_one(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, first) = subscribed(&app, &stripe, "ada", "basic").await;
    let card = stripe.subscription(&first)["default_payment_method"].clone();
    call(
        &app,
        "cancel-subscription",
        &ada,
        json!({"at_period_end": false}),
    )
    .await
    .ok(200);
    let object =
        json!({"id": first, "status": "canceled", "metadata": {"user_id": ada.id.to_string()}});
    let ended = event(
        "evt_1",
        "customer.subscription.deleted",
        app.seconds(),
        &object,
    );
    app.delivery(&ended).await.ok(200);
    // The same wish within a day: under the key of the first one Stripe would show that again.
    let body = json!({"plan": "basic", "payment_method_id": card});
    let second = call(&app, "create-subscription", &ada, body).await;
    assert_eq!(word(&second, "status"), "active");
    assert_ne!(word(&second, "subscription_id"), first);
    assert_eq!(stripe.living(), [word(&second, "subscription_id")]);
}

async fn a_dearer_plan_comes_at_once_for_its_whole_difference(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    assert_eq!(
        told_paid(&app, &stripe, &ada, &subscription).await,
        "120.00"
    );
    let began = app.seconds();
    // Late in the period, when a share of the difference would be a fraction of it.
    app.clock.advance(Duration::seconds(PERIOD - 1000));
    let answers = at_once((0..4).map(|_| change(&app, &ada, "professional"))).await;
    for answer in &answers {
        let told =
            json!({"subscription_id": subscription, "status": "active", "plan": "professional"});
        assert_eq!(answer.ok(200), &told);
    }
    let asked = stripe.asked(UPDATE);
    assert_eq!(asked[0].form["proration_date"], began.to_string());
    assert_eq!(asked[0].form["proration_behavior"], "always_invoice");
    let invoice = stripe.invoice_of(&subscription);
    assert_eq!(invoice["amount_paid"], 4900 - 1900);
    assert_eq!(
        told_paid(&app, &stripe, &ada, &subscription).await,
        "500.00"
    );
    // Once more, and nothing is charged or granted.
    change(&app, &ada, "professional").await.ok(200);
    assert_eq!(stripe.invoice_of(&subscription)["id"], invoice["id"]);
    stripe.judge();
}

async fn a_dearer_plan_waits_until_it_is_paid(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    stripe.decline(true);
    let waiting = change(&app, &ada, "professional").await;
    assert_eq!(waiting.ok(200)["plan"], "basic");
    assert_eq!(
        stripe.asked(UPDATE)[0].form["payment_behavior"],
        "pending_if_incomplete"
    );
    // With a better card it is tried again: not answered with what was kept.
    stripe.decline(false);
    let changed = change(&app, &ada, "professional").await;
    assert_eq!(changed.ok(200)["plan"], "professional");
    assert!(stripe.asked(UPDATE).iter().all(|it| !it.is_replay));
    assert_eq!(stripe.invoice_of(&subscription)["amount_paid"], 3000);
}

async fn a_cheaper_plan_comes_when_the_period_ends(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "professional").await;
    let began = app.seconds();
    app.clock.advance(Duration::days(3));
    for _ in 0..2 {
        let told = change(&app, &ada, "basic").await;
        assert_eq!(told.ok(200)["plan"], "professional");
    }
    let schedule = stripe.schedule_of(&subscription).unwrap();
    let phase = |place: usize, member: &str| schedule["phases"][place][member].clone();
    assert_eq!(schedule["end_behavior"], "release");
    assert_eq!(phase(0, "items")[0]["price"], "price_professional");
    assert_eq!(phase(1, "items")[0]["price"], "price_basic");
    assert_eq!(
        (phase(0, "start_date"), phase(0, "end_date")),
        (json!(began), json!(began + PERIOD))
    );
    assert_eq!(phase(1, "start_date"), began + PERIOD);
    assert_eq!(phase(1, "proration_behavior"), "none");
    // Nothing is charged, and the plan that it has may be kept after all.
    assert_eq!(
        stripe.invoice_of(&subscription)["billing_reason"],
        "subscription_create"
    );
    assert_eq!(
        change(&app, &ada, "professional").await.ok(200)["plan"],
        "professional"
    );
    assert_eq!(stripe.schedule_of(&subscription), None);
    assert_eq!(
        stripe.invoice_of(&subscription)["billing_reason"],
        "subscription_create"
    );
    // And be given up again, within the day.
    change(&app, &ada, "basic").await.ok(200);
    assert!(stripe.schedule_of(&subscription).is_some());
    // What is scheduled stands in the way of nothing.
    assert!(cancel(&app, &ada).await.ok(200)["cancel_at"].is_string());
    assert_eq!(stripe.schedule_of(&subscription), None);
    stripe.judge();
}

async fn a_subscription_ends_with_its_period_or_now(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    let end = rfc3339(app.seconds() + PERIOD);
    for _ in 0..2 {
        let told = json!({"subscription_id": subscription, "status": "active", "cancel_at": end});
        assert_eq!(cancel(&app, &ada).await.ok(200), &told);
    }
    app.clock.advance(Duration::hours(1));
    let now = call(
        &app,
        "cancel-subscription",
        &ada,
        json!({"at_period_end": false}),
    )
    .await;
    let told = json!({"subscription_id": subscription, "status": "canceled", "cancel_at": rfc3339(app.seconds())});
    assert_eq!(now.ok(200), &told);
    assert!(stripe.living().is_empty());
    cancel(&app, &ada).await.refused(404, "not_subscribed");
    change(&app, &ada, "professional")
        .await
        .refused(409, "not_subscribed");
    stripe.judge();
}

async fn a_subscription_that_a_host_sold_by_itself_is_found(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let bob = app.verified("bob").await;
    // Of a customer that nobody here has made.
    let (provider, key) = (stripe.provider(), |key| IdempotencyKey::parse(key).unwrap());
    let customer = provider.create_customer(bob.id, &key("host-1")).await;
    let customer = customer.unwrap();
    let card = PaymentRef::parse(&stripe.attach_card(customer.as_str(), true)).unwrap();
    let new = NewSubscription {
        user: bob.id,
        customer: &customer,
        item: "basic",
        price: "price_basic",
        payment_method: Some(&card),
    };
    let begun = provider.create_subscription(&new, &key("host-2")).await;
    let subscription = begun.unwrap().id.to_string();
    cancel(&app, &bob).await.refused(404, "not_subscribed");
    let object = json!({"id": subscription, "status": "active", "metadata": {"user_id": bob.id.to_string()}});
    let told = event(
        "evt_1",
        "customer.subscription.updated",
        app.seconds() + 5,
        &object,
    );
    app.delivery(&told).await.ok(200);
    assert_eq!(
        word(&cancel(&app, &bob).await, "subscription_id"),
        subscription
    );
    // Of a name that Stripe does not know, nothing is found.
    let eve = app.verified("eve").await;
    let object = json!({"id": "sub_unknown", "status": "active", "metadata": {"user_id": eve.id.to_string()}});
    let told = event(
        "evt_2",
        "customer.subscription.created",
        app.seconds(),
        &object,
    );
    app.delivery(&told).await.ok(200);
    cancel(&app, &eve).await.refused(404, "not_subscribed");
    stripe.judge();
}

async fn a_deleted_account_has_no_subscription_left(store: StoreKind) {
    let (app, stripe) = App::selling(store).await;
    let (ada, subscription) = subscribed(&app, &stripe, "ada", "basic").await;
    let (_, other) = subscribed(&app, &stripe, "bob", "basic").await;
    let asked = stripe.journal().len();
    let body = json!({"password": ada.password});
    let gone = app.delete("/auth/users/delete-account").json(body);
    gone.by(&ada).await.ok(200);
    // The deletion waits for nobody, and no failure of Stripe's lets it be forgotten.
    assert_eq!(stripe.journal().len(), asked);
    let end = "DELETE /v1/subscriptions/{id}";
    let round = || async { app.billing.cancel_abandoned().await.unwrap() };
    for (trouble, tries) in [(Trouble::Busy, 3), (Trouble::Say(402, declined()), 1)] {
        (0..tries).for_each(|_| stripe.trouble(end, trouble.clone()));
        assert_eq!(round().await, Abandoned { ended: 0, left: 1 });
        assert_eq!(stripe.living(), [subscription.clone(), other.clone()]);
    }
    let second = app.selling_replica(&stripe).await;
    let (one, two) = tokio::join!(
        app.billing.cancel_abandoned(),
        second.billing.cancel_abandoned()
    );
    assert!(one.unwrap().ended + two.unwrap().ended >= 1);
    assert_eq!(stripe.living(), [other]);
    assert_eq!(round().await, Abandoned::default());

    // One that begins when its user is gone, on a page that was open: its event tells of it.
    let object =
        json!({"id": "sub_late", "status": "active", "metadata": {"user_id": ada.id.to_string()}});
    let late = event(
        "evt_late",
        "customer.subscription.created",
        app.seconds(),
        &object,
    );
    app.delivery(&late).await.ok(200);
    // Stripe does not know it any more.
    assert_eq!(round().await, Abandoned { ended: 1, left: 0 });
    assert_eq!(round().await, Abandoned::default());
    stripe.judge();
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
