use std::{io::Write, process::Stdio};

use auth_billing::check_ledger;
use auth_core::{
    ports::{BillingStore, CreditStore, History},
    time::{Duration, OffsetDateTime},
};
use auth_tests::{
    API_KEY, Answer, App, Fault, PASSWORD, Person, StoreKind, at_once, signing_keys,
    stripe::{CATALOGUE, OLD_WEBHOOK_SECRET, WEBHOOK_SECRET, event, python, signature},
};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    a_paid_pack_is_granted_and_mailed_once
    a_checkout_of_a_subscription_tells_whose_invoices_come
    an_unpaid_session_grants_when_it_is_paid
    a_subscription_is_paid_by_its_invoices_alone
    a_refund_and_a_dispute_take_back_what_was_granted
    an_upgrade_grants_the_difference_once_in_a_period
    a_paid_change_of_plan_is_granted_or_told
    a_paid_period_is_granted_or_told
    an_invoice_of_more_lines_than_are_told_is_told
    a_refund_of_a_part_takes_back_its_part
    what_is_signed_and_strange_is_no_failure_of_ours
    what_an_event_moves_names_its_request
    twenty_deliveries_at_once_have_one_effect
    what_stripes_sdk_signs_is_accepted
    what_is_not_signed_changes_nothing
    what_is_signed_and_no_event_is_malformed
    what_is_not_ours_is_kept_and_grants_nothing
    an_event_that_lacks_what_it_should_have_is_kept
    an_event_that_came_to_nothing_is_applied_when_it_is_sent_again
    a_refund_finds_a_purchase_whose_invoice_was_told_first
    a_failed_store_makes_stripe_try_again
    the_end_of_an_account_leaves_its_purchases_without_effect
}

fn session(user: &Person, id: &str) -> Value {
    json!({
        "id": id,
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "status": "complete",
        "client_reference_id": user.id.to_string(),
        "metadata": {"user_id": user.id.to_string(), "item": "small"},
        "customer": null,
        "payment_intent": format!("pi_{id}"),
        "amount_total": 900,
        "currency": "eur",
        "livemode": false,
    })
}

/// An invoice as API versions before 2025-03-31 have it.
fn older_invoice(user: &Person, id: &str, reason: &str) -> Value {
    json!({
        "id": id,
        "object": "invoice",
        "billing_reason": reason,
        "subscription": "sub_1",
        "subscription_details": {"metadata": {"user_id": user.id.to_string(), "item": "basic"}},
        "customer": "cus_1",
        "charge": format!("ch_{id}"),
        "payment_intent": format!("pi_{id}"),
        "amount_paid": 1900,
        "amount_due": 1900,
        "currency": "eur",
        "lines": {"object": "list", "data": [{
            "id": "il_1",
            "amount": 1900,
            "price": {"id": "price_basic", "object": "price"},
            "proration": false,
            "period": {"start": 1_767_225_600, "end": 1_769_904_000},
            "metadata": {"user_id": user.id.to_string()},
        }]},
    })
}

/// The same as later API versions have it: what paid it is told by another event.
fn newer_invoice(user: &Person, id: &str, reason: &str) -> Value {
    json!({
        "id": id,
        "object": "invoice",
        "billing_reason": reason,
        "parent": {
            "type": "subscription_details",
            "subscription_details": {
                "subscription": "sub_1",
                "metadata": {"user_id": user.id.to_string(), "item": "basic"},
            },
        },
        "customer": "cus_1",
        "amount_paid": 1900,
        "amount_due": 1900,
        "currency": "eur",
        "lines": {"object": "list", "data": [{
            "id": "il_1",
            "amount": 1900,
            "pricing": {"type": "price_details", "price_details": {"price": "price_basic", "product": "prod_1"}},
            "parent": {"type": "subscription_item_details", "subscription_item_details": {"proration": false}},
            "period": {"start": 1_769_904_000, "end": 1_772_323_200},
            "metadata": {},
        }]},
    })
}

fn charge(payment: &str, refunded: i64) -> Value {
    json!({
        "id": format!("ch_{payment}"),
        "object": "charge",
        "payment_intent": payment,
        "amount": 900,
        "amount_refunded": refunded,
        "refunded": refunded == 900,
    })
}

/// Delivers an event of now; whether it had its effect.
async fn deliver(app: &App, id: &str, kind: &str, object: &Value) -> bool {
    deliver_of(app, id, kind, app.seconds(), object).await
}

async fn deliver_of(app: &App, id: &str, kind: &str, created: i64, object: &Value) -> bool {
    let answer = app.delivery(&event(id, kind, created, object)).await;
    processed(&answer, id)
}

fn processed(answer: &Answer, id: &str) -> bool {
    let told = answer.ok(200);
    assert_eq!(
        (&told["received"], &told["event_id"]),
        (&json!(true), &json!(id))
    );
    told["processed"].as_bool().unwrap()
}

async fn balance(app: &App, user: &Person) -> String {
    let checked = check_ledger(&app.store, |breach| panic!("{breach}")).await;
    assert_eq!(checked.unwrap().breaches, 0);
    let path = format!("/credits/balance?user_id={}", user.id);
    let answer = app.get(&path).by_service().await;
    answer.ok(200)["balance"].as_str().unwrap().to_owned()
}

/// Type, direction, amount and reference of each movement, the oldest first.
async fn movements(app: &App, user: &Person) -> Vec<[String; 4]> {
    let path = format!("/credits/transactions?user_id={}", user.id);
    let answer = app.get(&path).by_service().await;
    let mut all: Vec<_> = answer.ok(200)["transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            ["type", "direction", "amount", "reference_id"]
                .map(|member| it[member].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    all.reverse();
    all
}

async fn alarms(app: &App) -> Vec<(String, &'static str)> {
    let since = OffsetDateTime::UNIX_EPOCH;
    let events = app.store.alarming_events(since, 100).await.unwrap();
    let mut events: Vec<_> = events
        .iter()
        .map(|event| (event.id.to_string(), event.outcome.as_str()))
        .collect();
    events.sort();
    events
}

async fn a_paid_pack_is_granted_and_mailed_once(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let paid = session(&ada, "cs_1");
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_1", completed, &paid).await);
    // Again, and hours later.
    assert!(deliver(&app, "evt_1", completed, &paid).await);
    app.clock.advance(Duration::hours(5));
    assert!(deliver(&app, "evt_1", completed, &paid).await);
    // The same session by another event.
    let later = "checkout.session.async_payment_succeeded";
    assert!(!deliver(&app, "evt_2", later, &paid).await);
    assert_eq!(balance(&app, &ada).await, "100.00");
    let expected = ["one_time_purchase", "credit", "100.00", "cs_1"].map(str::to_owned);
    assert_eq!(movements(&app, &ada).await, [expected]);
    let mail = app.mails_to(&ada.email).await.pop().unwrap();
    assert_eq!(mail.template, "credit_purchase");
    for part in ["small", "100.00", "9.00", "EUR"] {
        assert!(mail.text.contains(part), "{part}: {}", mail.text);
    }
    assert_eq!(
        app.templates_to(&ada.email).await,
        ["welcome", "credit_purchase"]
    );
    assert_eq!(alarms(&app).await, []);
}

async fn an_unpaid_session_grants_when_it_is_paid(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let mut paid = session(&ada, "cs_1");
    paid["payment_status"] = json!("unpaid");
    assert!(!deliver(&app, "evt_1", "checkout.session.completed", &paid).await);
    assert_eq!(balance(&app, &ada).await, "0.00");
    paid["payment_status"] = json!("paid");
    let later = "checkout.session.async_payment_succeeded";
    assert!(deliver(&app, "evt_2", later, &paid).await);
    assert_eq!(balance(&app, &ada).await, "100.00");
    // A voucher over the whole price.
    let mut free = session(&ada, "cs_2");
    free["payment_status"] = json!("no_payment_required");
    free["payment_intent"] = Value::Null;
    assert!(deliver(&app, "evt_3", "checkout.session.completed", &free).await);
    assert_eq!(balance(&app, &ada).await, "200.00");
    assert_eq!(alarms(&app).await, []);
}

async fn a_subscription_is_paid_by_its_invoices_alone(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let mut checkout = session(&ada, "cs_1");
    checkout["mode"] = json!("subscription");
    checkout["metadata"]["item"] = json!("basic");
    checkout["subscription"] = json!("sub_1");
    checkout["customer"] = json!("cus_1");
    assert!(deliver(&app, "evt_1", "checkout.session.completed", &checkout).await);
    assert_eq!(balance(&app, &ada).await, "0.00");

    let mut subscription = json!({
        "id": "sub_1",
        "object": "subscription",
        "status": "active",
        "customer": "cus_1",
        "metadata": {"user_id": ada.id.to_string(), "item": "basic"},
        "cancel_at_period_end": false,
        "cancel_at": null,
        "items": {"data": [{
            "id": "si_1",
            "price": {"id": "price_basic"},
            "current_period_end": app.seconds() + 86_400,
        }]},
    });
    assert!(
        deliver(
            &app,
            "evt_2",
            "customer.subscription.created",
            &subscription
        )
        .await
    );
    let first = older_invoice(&ada, "in_1", "subscription_create");
    assert!(deliver(&app, "evt_3", "invoice.paid", &first).await);
    let second = newer_invoice(&ada, "in_2", "subscription_cycle");
    assert!(deliver(&app, "evt_4", "invoice.paid", &second).await);
    assert!(deliver(&app, "evt_4", "invoice.paid", &second).await);
    assert!(!deliver(&app, "evt_5", "invoice.paid", &second).await);
    let mut by_hand = older_invoice(&ada, "in_3", "manual");
    by_hand["lines"]["data"][0]["price"]["id"] = json!("price_of_advice");
    assert!(!deliver(&app, "evt_6", "invoice.paid", &by_hand).await);
    let expected = [
        ["plan_purchase", "credit", "120.00", "in_1"].map(str::to_owned),
        ["plan_renewal", "credit", "120.00", "in_2"].map(str::to_owned),
    ];
    assert_eq!(movements(&app, &ada).await, expected);

    let mut failed = newer_invoice(&ada, "in_4", "subscription_cycle");
    failed["next_payment_attempt"] = json!(app.seconds() + 3600);
    failed["hosted_invoice_url"] = json!("https://invoice.stripe.com/i/1");
    assert!(deliver(&app, "evt_7", "invoice.payment_failed", &failed).await);
    subscription["cancel_at_period_end"] = json!(true);
    let updated = "customer.subscription.updated";
    assert!(deliver(&app, "evt_8", updated, &subscription).await);
    let known = app.store.subscriptions(ada.id).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].cancel_at, known[0].period_end);
    subscription["status"] = json!("canceled");
    let deleted = "customer.subscription.deleted";
    assert!(deliver(&app, "evt_9", deleted, &subscription).await);
    assert_eq!(app.store.subscriptions(ada.id).await.unwrap(), []);
    let expected = [
        "welcome",
        "subscription_started",
        "subscription_renewed",
        "payment_failed",
        "subscription_cancelled",
    ];
    assert_eq!(app.templates_to(&ada.email).await, expected);
    assert_eq!(balance(&app, &ada).await, "240.00");
    assert_eq!(alarms(&app).await, []);
}

/// A host may write the user on the session alone: what Stripe makes of it then names a customer and a subscription, and no user.
async fn a_checkout_of_a_subscription_tells_whose_invoices_come(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let eve = app.registered("eve").await;
    let mut checkout = session(&ada, "cs_1");
    checkout["mode"] = json!("subscription");
    checkout["metadata"]["item"] = json!("basic");
    checkout["customer"] = json!("cus_1");
    let completed = "checkout.session.completed";
    assert!(!deliver(&app, "evt_0", completed, &checkout).await);
    checkout["subscription"] = json!("sub_1");
    assert!(deliver(&app, "evt_1", completed, &checkout).await);
    let known = app.store.subscriptions(ada.id).await.unwrap();
    let known: Vec<_> = known
        .iter()
        .map(|it| (it.id.as_str(), &*it.status))
        .collect();
    assert_eq!(known, [("sub_1", "active")]);
    let unnamed = |mut invoice: Value| {
        for place in [
            "/subscription_details/metadata",
            "/parent/subscription_details/metadata",
            "/lines/data/0/metadata",
        ] {
            if let Some(metadata) = invoice.pointer_mut(place) {
                *metadata = json!({});
            }
        }
        invoice
    };
    let first = unnamed(older_invoice(&ada, "in_1", "subscription_create"));
    assert!(deliver(&app, "evt_2", "invoice.paid", &first).await);
    let mut second = unnamed(newer_invoice(&ada, "in_2", "subscription_cycle"));
    second["customer"] = json!("cus_of_another_checkout");
    assert!(deliver(&app, "evt_3", "invoice.paid", &second).await);
    // A checkout of Eve's that names Ada's customer or subscription takes nothing over.
    let mut taken = session(&eve, "cs_2");
    taken["mode"] = json!("subscription");
    for (id, customer, subscription) in [("evt_4", "cus_1", "sub_2"), ("evt_5", "cus_2", "sub_1")] {
        taken["customer"] = json!(customer);
        taken["subscription"] = json!(subscription);
        assert!(!deliver(&app, id, completed, &taken).await);
    }
    assert_eq!(app.store.subscriptions(eve.id).await.unwrap(), []);
    assert_eq!(app.store.customer(eve.id).await.unwrap(), None);
    assert_eq!(balance(&app, &ada).await, "240.00");
    let expected = [
        "evt_0 unreadable",
        "evt_4 unknown_user",
        "evt_5 unknown_user",
    ];
    let known: Vec<_> = alarms(&app)
        .await
        .iter()
        .map(|(id, it)| format!("{id} {it}"))
        .collect();
    assert_eq!(known, expected);
}

async fn a_refund_and_a_dispute_take_back_what_was_granted(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_1", completed, &session(&ada, "cs_1")).await);
    let refund = charge("pi_cs_1", 300);
    assert!(deliver(&app, "evt_2", "charge.refunded", &refund).await);
    assert_eq!(balance(&app, &ada).await, "66.66");

    // Of a later API version: the refund, the dispute and the invoice meet over the payment, the link comes last.
    assert!(!deliver(&app, "evt_3", "charge.refunded", &charge("pi_2", 450)).await);
    let mut invoice = newer_invoice(&ada, "in_2", "subscription_cycle");
    invoice["amount_paid"] = json!(900);
    assert!(deliver(&app, "evt_4", "invoice.paid", &invoice).await);
    assert_eq!(balance(&app, &ada).await, "186.66");
    let link = json!({
        "id": "inpay_1",
        "object": "invoice_payment",
        "invoice": "in_2",
        "payment": {"type": "payment_intent", "payment_intent": "pi_2"},
        "status": "paid",
    });
    assert!(deliver(&app, "evt_5", "invoice_payment.paid", &link).await);
    assert_eq!(balance(&app, &ada).await, "126.66");
    let dispute = |status: &str| {
        json!({
            "id": "dp_1",
            "object": "dispute",
            "status": status,
            "charge": "ch_pi_2",
            "payment_intent": "pi_2",
            "amount": 900,
        })
    };
    for (id, kind, status, expected) in [
        (
            "evt_6",
            "charge.dispute.created",
            "warning_needs_response",
            "126.66",
        ),
        ("evt_7", "charge.dispute.created", "needs_response", "66.66"),
        ("evt_8", "charge.dispute.closed", "won", "126.66"),
    ] {
        assert!(deliver(&app, id, kind, &dispute(status)).await);
        assert_eq!(balance(&app, &ada).await, expected, "{status}");
    }
    let kinds: Vec<_> = movements(&app, &ada)
        .await
        .into_iter()
        .map(|[kind, direction, amount, _]| format!("{kind} {direction} {amount}"))
        .collect();
    let expected = [
        "one_time_purchase credit 100.00",
        "refund debit 33.34",
        "plan_renewal credit 120.00",
        "refund debit 60.00",
        "adjustment debit 60.00",
        "adjustment credit 60.00",
    ];
    assert_eq!(kinds, expected);
    // The refund that came before its purchase has had its effect by now.
    assert_eq!(alarms(&app).await, []);
}

/// A part of a period that a change of the plan left: what is credited is below zero.
fn proration(price: &str, amount: i64, start: i64) -> Value {
    json!({
        "amount": amount,
        "quantity": 1,
        "pricing": {"price_details": {"price": price}},
        "parent": {"subscription_item_details": {"proration": true}},
        "period": {"start": start, "end": 1_772_323_200},
    })
}

fn change_of_plan(user: &Person, id: &str, paid: i64, lines: &[Value]) -> Value {
    let mut invoice = newer_invoice(user, id, "subscription_update");
    invoice["amount_paid"] = json!(paid);
    invoice["lines"]["data"] = json!(lines);
    invoice
}

async fn an_upgrade_grants_the_difference_once_in_a_period(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let first = newer_invoice(&ada, "in_0", "subscription_cycle");
    assert!(deliver(&app, "evt_0", "invoice.paid", &first).await);
    let up = |id: &str, paid, start| {
        let lines = [
            proration("price_basic", -1900, start),
            proration("price_professional", 4900, start),
        ];
        change_of_plan(&ada, id, paid, &lines)
    };
    let upgrade = up("in_1", 3000, 1_769_904_000);
    assert!(deliver(&app, "evt_1", "invoice.paid", &upgrade).await);
    let expected = [
        ["plan_renewal", "credit", "120.00", "in_0"].map(str::to_owned),
        ["plan_upgrade", "credit", "380.00", "in_1"].map(str::to_owned),
    ];
    assert_eq!(movements(&app, &ada).await, expected);
    // The way down gives no credits, and takes none; what it gave back pays the way up again.
    let down = [
        proration("price_professional", -4900, 1_770_000_000),
        proration("price_basic", 1900, 1_770_000_000),
    ];
    let down = change_of_plan(&ada, "in_2", 0, &down);
    assert!(!deliver(&app, "evt_2", "invoice.paid", &down).await);
    let again = up("in_3", 0, 1_770_000_100);
    assert!(!deliver(&app, "evt_3", "invoice.paid", &again).await);
    assert_eq!(balance(&app, &ada).await, "500.00");
    assert_eq!(alarms(&app).await, []);
    // Down and up on one invoice.
    let both = change_of_plan(
        &ada,
        "in_4",
        3000,
        &[
            proration("price_professional", -4900, 1_770_000_200),
            proration("price_basic", 1900, 1_770_000_200),
            proration("price_basic", -1900, 1_770_000_300),
            proration("price_professional", 4900, 1_770_000_300),
        ],
    );
    assert!(!deliver(&app, "evt_4", "invoice.paid", &both).await);
    assert_eq!(balance(&app, &ada).await, "500.00");
    assert_eq!(alarms(&app).await, [("evt_4".to_owned(), "unaccounted")]);
    let expected = ["welcome", "subscription_renewed", "plan_upgrade"];
    assert_eq!(app.templates_to(&ada.email).await, expected);
}

/// A name, why the invoice was made, its lines and what came for it; then what it is told as, and what it grants.
type Case = (
    &'static str,
    &'static str,
    Vec<Value>,
    i64,
    &'static str,
    &'static str,
);

/// Each by a user of its own.
async fn assert_granted_or_told(app: &App, cases: Vec<Case>) {
    for (name, reason, lines, paid, outcome, granted) in cases {
        let user = app.registered(&name.replace(' ', "-")).await;
        let id = format!("evt_{}", user.id);
        let mut invoice = change_of_plan(&user, &format!("in_{}", user.id), paid, &lines);
        invoice["billing_reason"] = json!(reason);
        for place in ["customer", "subscription"] {
            invoice[place] = json!(format!("{place}_{}", user.id));
        }
        invoice["parent"]["subscription_details"]["subscription"] = invoice["subscription"].clone();
        let is_processed = deliver(app, &id, "invoice.paid", &invoice).await;
        assert_eq!(is_processed, granted != "0.00", "{name}");
        assert_eq!(balance(app, &user).await, granted, "{name}");
        let told = alarms(app)
            .await
            .into_iter()
            .find(|(alarm, _)| *alarm == id);
        assert_eq!(told.map_or("", |(_, outcome)| outcome), outcome, "{name}");
    }
}

const PERIOD: i64 = 1_769_904_000;

fn part_of(price: &str, amount: i64) -> Value {
    proration(price, amount, PERIOD)
}

fn whole(price: &str, amount: i64) -> Value {
    let mut line = part_of(price, amount);
    line["parent"]["subscription_item_details"]["proration"] = json!(false);
    line
}

fn several(mut line: Value, quantity: Value) -> Value {
    line["quantity"] = quantity;
    line
}

/// Money came, and it is not known what for: somebody has to look.
async fn a_paid_change_of_plan_is_granted_or_told(store: StoreKind) {
    let app = App::on(store).await;
    let update = "subscription_update";
    let old = || part_of("price_basic", -1900);
    let new = || part_of("price_professional", 4900);
    let cases = vec![
        // Without a line that credits the plan before: a period that begins now is paid in full, and a part of one is of who knows what.
        (
            "begun",
            update,
            vec![whole("price_basic", 1900)],
            1900,
            "",
            "120.00",
        ),
        (
            "part",
            update,
            vec![part_of("price_basic", 950)],
            950,
            "unaccounted",
            "0.00",
        ),
        (
            "free",
            update,
            vec![part_of("price_basic", 0)],
            0,
            "",
            "0.00",
        ),
        (
            "unknown",
            update,
            vec![part_of("price_x", 950)],
            950,
            "unknown_item",
            "0.00",
        ),
        (
            "from unknown",
            update,
            vec![part_of("price_x", -1), part_of("price_basic", 2)],
            1,
            "unknown_item",
            "0.00",
        ),
        ("empty", update, vec![], 950, "unaccounted", "0.00"),
        (
            "cheaper",
            update,
            vec![part_of("price_professional", -1), part_of("price_basic", 2)],
            1,
            "unaccounted",
            "0.00",
        ),
        (
            "several",
            update,
            vec![several(old(), json!(3)), new()],
            3000,
            "unaccounted",
            "0.00",
        ),
        // By way of another plan, whose parts are not of one price.
        (
            "two ways at once",
            update,
            vec![
                part_of("price_basic", -1900),
                part_of("price_basic", -1900),
                part_of("price_professional", 4900),
            ],
            1100,
            "unaccounted",
            "0.00",
        ),
    ];
    assert_granted_or_told(&app, cases).await;
}

/// Or for less than came.
async fn a_paid_period_is_granted_or_told(store: StoreKind) {
    let app = App::on(store).await;
    let cycle = "subscription_cycle";
    let old = || part_of("price_basic", -1900);
    let new = || part_of("price_professional", 4900);
    let cases = vec![
        (
            "a trial",
            "subscription_create",
            vec![whole("price_basic", 0)],
            0,
            "",
            "0.00",
        ),
        (
            "seats",
            cycle,
            vec![several(whole("price_basic", 5700), json!(3))],
            5700,
            "unaccounted",
            "0.00",
        ),
        (
            "odd",
            cycle,
            vec![several(whole("price_basic", 1900), json!("1"))],
            1900,
            "unaccounted",
            "0.00",
        ),
        (
            "nulled",
            cycle,
            vec![several(whole("price_basic", 1900), Value::Null)],
            1900,
            "",
            "120.00",
        ),
        (
            "two plans",
            cycle,
            vec![
                whole("price_basic", 1900),
                whole("price_professional", 4900),
            ],
            6800,
            "unaccounted",
            "0.00",
        ),
        (
            "other things",
            cycle,
            vec![whole("price_x", 500), whole("price_basic", 1900)],
            2400,
            "",
            "120.00",
        ),
        // A change of the period before, paid with the next one.
        (
            "upgraded before",
            cycle,
            vec![old(), new(), whole("price_professional", 4900)],
            7900,
            "partly",
            "500.00",
        ),
        (
            "downgraded before",
            cycle,
            vec![
                part_of("price_professional", -4900),
                part_of("price_basic", 1900),
                whole("price_basic", 1900),
            ],
            0,
            "",
            "120.00",
        ),
        (
            "by hand",
            "manual",
            vec![whole("price_basic", 1900)],
            1900,
            "unaccounted",
            "0.00",
        ),
        (
            "of another kind",
            "manual",
            vec![whole("price_x", 1900)],
            1900,
            "",
            "0.00",
        ),
    ];
    assert_granted_or_told(&app, cases).await;
}

/// An event has the first lines only.
async fn an_invoice_of_more_lines_than_are_told_is_told(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let mut long = newer_invoice(&ada, "in_long", "subscription_cycle");
    long["lines"]["has_more"] = json!(true);
    assert!(!deliver(&app, "evt_long", "invoice.paid", &long).await);
    let known = alarms(&app).await;
    assert!(
        known.contains(&("evt_long".to_owned(), "unaccounted")),
        "{known:?}"
    );
    assert_eq!(balance(&app, &ada).await, "0.00");
}

/// As API versions tell it that let an invoice be paid in parts.
async fn a_refund_of_a_part_takes_back_its_part(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let mut invoice = newer_invoice(&ada, "in_1", "subscription_cycle");
    invoice["total"] = json!(1900);
    assert!(deliver(&app, "evt_1", "invoice.paid", &invoice).await);
    for (id, payment, paid) in [("evt_2", "pi_1", 950), ("evt_3", "pi_2", 950)] {
        let link = json!({
            "id": format!("inpay_{payment}"),
            "invoice": "in_1",
            "amount_paid": paid,
            "payment": {"type": "payment_intent", "payment_intent": payment},
            "status": "paid",
        });
        assert!(deliver(&app, id, "invoice_payment.paid", &link).await);
    }
    let mut refund = charge("pi_1", 950);
    refund["amount"] = json!(950);
    assert!(deliver(&app, "evt_4", "charge.refunded", &refund).await);
    assert_eq!(balance(&app, &ada).await, "60.00");
    // Two disputes of the other one: the first is won, the second is not.
    for (id, dispute, status, expected) in [
        ("evt_5", "dp_1", "needs_response", "0.00"),
        ("evt_6", "dp_2", "needs_response", "0.00"),
        ("evt_7", "dp_1", "won", "0.00"),
        ("evt_8", "dp_2", "won", "60.00"),
    ] {
        let dispute = json!({"id": dispute, "status": status, "payment_intent": "pi_2"});
        assert!(deliver(&app, id, "charge.dispute.updated", &dispute).await);
        assert_eq!(balance(&app, &ada).await, expected, "{id}");
    }
    let unknown = json!({"id": "dp_3", "status": "of_tomorrow", "payment_intent": "pi_2"});
    assert!(!deliver(&app, "evt_9", "charge.dispute.updated", &unknown).await);
    assert_eq!(alarms(&app).await, [("evt_9".to_owned(), "unreadable")]);
}

async fn twenty_deliveries_at_once_have_one_effect(store: StoreKind) {
    let app = App::on(store).await;
    let other = app.replica(signing_keys(), |auth| auth).await;
    let ada = app.registered("ada").await;
    let paid = event(
        "evt_1",
        "checkout.session.completed",
        app.seconds(),
        &session(&ada, "cs_1"),
    );
    let calls = (0..20).map(|number| {
        let app = if number % 2 == 0 { &app } else { &other };
        app.delivery(&paid)
    });
    for answer in at_once(calls).await {
        assert!(processed(&answer, "evt_1"));
    }
    assert_eq!(balance(&app, &ada).await, "100.00");
    assert_eq!(movements(&app, &ada).await.len(), 1);
    assert_eq!(
        app.templates_to(&ada.email).await,
        ["welcome", "credit_purchase"]
    );
}

/// Signs by Stripe's own SDK, and has it check what is signed by us.
fn by_the_sdk(secret: &str, at: i64, body: &str) -> String {
    const SCRIPT: &str = "
import sys, stripe
secret, at = sys.argv[1], int(sys.argv[2])
body = sys.stdin.read()
header = stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=at)
stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None)
stripe.WebhookSignature.verify_header(body, sys.argv[3], secret, tolerance=None)
print(header, end='')
";
    let ours = signature(secret, at, body.as_bytes());
    let mut sdk = std::process::Command::new(python())
        .args(["-c", SCRIPT, secret, &at.to_string(), &ours])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sdk.stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    let output = sdk.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn what_stripes_sdk_signs_is_accepted(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    for (id, secret) in [("cs_1", WEBHOOK_SECRET), ("cs_2", OLD_WEBHOOK_SECRET)] {
        let paid = session(&ada, id);
        let kind = "checkout.session.completed";
        let body = event(&format!("evt_{id}"), kind, app.seconds(), &paid);
        // As Stripe writes it: the bytes count, not the document.
        let body = serde_json::to_string_pretty(&body).unwrap();
        let header = by_the_sdk(secret, app.seconds(), &body);
        let deliver = |body: &str, header: &str| {
            app.call("POST", "/stripe/webhook")
                .header("stripe-signature", header)
                .raw(body.to_owned())
        };
        let compact = body.replace('\n', "");
        deliver(&compact, &header)
            .await
            .refused(401, "invalid_signature");
        let foreign = by_the_sdk("whsec_of_somebody_else", app.seconds(), &body);
        deliver(&body, &foreign)
            .await
            .refused(401, "invalid_signature");
        let old = by_the_sdk(secret, app.seconds() - 301, &body);
        deliver(&body, &old).await.refused(401, "invalid_signature");
        let relayed = deliver(&body, &header).header("x-api-key", API_KEY);
        assert!(processed(&relayed.await, &format!("evt_{id}")));
    }
    assert_eq!(balance(&app, &ada).await, "200.00");
}

async fn what_is_not_signed_changes_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    let now = app.seconds();
    let paid = session(&ada, "cs_1");
    let body = event("evt_1", "checkout.session.completed", now, &paid).to_string();
    let good = signature(WEBHOOK_SECRET, now, body.as_bytes());
    let call = || app.call("POST", "/stripe/webhook").raw(body.clone());
    let long = format!("{good},{}", "v0=x,".repeat(2000));
    for header in [
        "",
        "t=,v1=",
        "nonsense",
        &signature("", now, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now - 301, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now + 301, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now, b"{}"),
        &good.replace("v1=", "v0="),
        &long,
    ] {
        let answer = call().header("stripe-signature", header).await;
        answer.refused(401, "invalid_signature");
        assert_eq!(answer.header("www-authenticate"), "Signature");
    }
    call().await.refused(401, "invalid_signature");
    // A key of ours is not a signature of Stripe's, and a wrong one spoils a good signature.
    call().by_service().await.refused(401, "invalid_signature");
    let wrong = call()
        .header("stripe-signature", &good)
        .header("x-api-key", "x".repeat(40));
    wrong.await.refused(401, "invalid_api_key");
    let twice = call()
        .header("stripe-signature", &good)
        .header("stripe-signature", &good);
    twice.await.refused(401, "invalid_signature");
    let bytes = call().header("stripe-signature", b"t=1,v1=\xff".as_slice());
    bytes.await.refused(401, "invalid_signature");
    // Unsigned megabytes are not read.
    let large = app
        .call("POST", "/stripe/webhook")
        .header("stripe-signature", &good)
        .raw(vec![b' '; 512 * 1024 + 1]);
    large.await.refused(413, "payload_too_large");
    assert_eq!(balance(&app, &ada).await, "0.00");
    assert_eq!(app.state_of(&ada).await, state);
    assert_eq!(alarms(&app).await, []);
}

async fn what_is_signed_and_no_event_is_malformed(store: StoreKind) {
    let app = App::on(store).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"id": "evt_1"}"#,
        r#"{"id": 1, "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "", "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt 1", "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a b", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": "1", "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1e300, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 9223372036854775807, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": -1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": -377705116799, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 253402300800, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a\u0000", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1, "data": {"object": []}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1, "data": {}}"#,
        &deep,
    ] {
        let answer = app.signed_delivery(body).await;
        answer.refused(400, "malformed_event");
    }
    assert_eq!(alarms(&app).await, []);
}

async fn what_is_not_ours_is_kept_and_grants_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let good = session(&ada, "cs_1");
    let with = |member: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(member).unwrap() = value;
        changed
    };
    let nobody = "0197f1f0-0000-7000-8000-000000000000";
    let completed = "checkout.session.completed";
    for (id, object, outcome) in [
        ("evt_a", with("/metadata", json!({})), "unknown_user"),
        ("evt_b", with("/metadata", Value::Null), "unknown_user"),
        (
            "evt_c",
            with("/metadata/user_id", json!(nobody)),
            "unknown_user",
        ),
        // A buyer can write this into the address of a payment link.
        (
            "evt_d",
            with("/client_reference_id", json!(nobody)),
            "unknown_user",
        ),
        (
            "evt_e",
            with("/metadata/item", json!("large")),
            "unknown_item",
        ),
        (
            "evt_f",
            with("/metadata/item", json!("basic")),
            "unknown_item",
        ),
        ("evt_g", with("/metadata/item", json!(7)), "unknown_item"),
    ] {
        assert!(!deliver(&app, id, completed, &object).await, "{id}");
        // Visible, and once.
        assert!(!deliver(&app, id, completed, &object).await, "{id}");
        let known = alarms(&app).await;
        assert!(known.contains(&(id.to_owned(), outcome)), "{id}: {known:?}");
    }
    let mut foreign = older_invoice(&ada, "in_1", "subscription_create");
    foreign["lines"]["data"][0]["price"]["id"] = json!("price_of_another_product");
    assert!(!deliver(&app, "evt_h", "invoice.paid", &foreign).await);

    let mut live = event("evt_i", completed, app.seconds(), &good);
    live["livemode"] = json!(true);
    assert!(!processed(&app.delivery(&live).await, "evt_i"));
    live["id"] = json!("evt_j");
    live.as_object_mut().unwrap().remove("livemode");
    assert!(!processed(&app.delivery(&live).await, "evt_j"));
    let mut connected = event("evt_k", completed, app.seconds(), &good);
    connected["account"] = json!("acct_1");
    assert!(!processed(&app.delivery(&connected).await, "evt_k"));
    assert!(!deliver(&app, "evt_l", "product.created", &json!({"id": "prod_1"})).await);

    let known = alarms(&app).await;
    let expected = [
        ("evt_h", "unknown_item"),
        ("evt_i", "other_mode"),
        ("evt_j", "other_mode"),
        ("evt_k", "other_account"),
    ];
    assert_eq!(known.len(), 7 + expected.len(), "{known:?}");
    for (id, outcome) in expected {
        assert!(known.contains(&(id.to_owned(), outcome)), "{known:?}");
    }
    assert_eq!(balance(&app, &ada).await, "0.00");
    assert!(CATALOGUE.contains("small"));
}

async fn an_event_that_lacks_what_it_should_have_is_kept(store: StoreKind) {
    let app = App::on(store).await;
    let kinds = [
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice_payment.paid",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.closed",
    ];
    let shapes = [
        json!({}),
        json!({"id": 7, "mode": [], "payment_status": {}, "lines": "x", "items": 1, "status": null}),
        json!({"id": "x y", "mode": "payment", "payment_status": "paid", "billing_reason": "subscription_cycle"}),
        json!({"id": "x", "payment_intent": {"id": 1}, "amount": -1, "amount_refunded": 1e99, "status": "won"}),
    ];
    for kind in kinds {
        for (number, shape) in shapes.iter().enumerate() {
            let id = format!("evt_{kind}_{number}");
            assert!(!deliver(&app, &id, kind, shape).await, "{id}");
        }
    }
    let known = alarms(&app).await;
    assert_eq!(known.len(), kinds.len() * shapes.len(), "{known:?}");
}

async fn an_event_that_came_to_nothing_is_applied_when_it_is_sent_again(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let completed = "checkout.session.completed";
    // What the catalogue does not have yet.
    let mut unknown = session(&ada, "cs_1");
    unknown["metadata"]["item"] = json!("tomorrows");
    assert!(!deliver(&app, "evt_1", completed, &unknown).await);
    assert_eq!(alarms(&app).await.len(), 1);
    for _ in 0..2 {
        assert!(deliver(&app, "evt_1", completed, &session(&ada, "cs_1")).await);
        assert_eq!(balance(&app, &ada).await, "100.00");
    }
    assert_eq!(alarms(&app).await, []);
}

async fn a_refund_finds_a_purchase_whose_invoice_was_told_first(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let paid = json!({"invoice": "in_9", "payment": {"payment_intent": "pi_cs_1"}});
    assert!(deliver(&app, "evt_1", "invoice_payment.paid", &paid).await);
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_2", completed, &session(&ada, "cs_1")).await);
    assert!(deliver(&app, "evt_3", "charge.refunded", &charge("pi_cs_1", 900)).await);
    assert_eq!(balance(&app, &ada).await, "0.00");
}

/// Texts, times and amounts that a database would refuse, or a mail could not carry.
async fn what_is_signed_and_strange_is_no_failure_of_ours(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let texts = ["a\u{0}b", "\u{202e}", &"x".repeat(100_000)];
    let numbers = [i64::MIN, -62_167_219_201, i64::MAX];
    let strange: Vec<Value> = texts
        .iter()
        .map(|text| json!(text))
        .chain(numbers.map(|number| json!(number)))
        .collect();
    let subscription = json!({
        "id": "sub_1",
        "status": "active",
        "customer": "cus_1",
        "metadata": {"user_id": ada.id.to_string()},
        "cancel_at": 1_772_323_200,
        "items": {"data": [{"price": {"id": "price_basic"}, "current_period_end": 1_772_323_200}]},
    });
    let mut failed = newer_invoice(&ada, "in_1", "subscription_cycle");
    failed["hosted_invoice_url"] = json!("https://invoice.stripe.com/i/1");
    failed["next_payment_attempt"] = json!(1_772_323_200);
    let mut linked = session(&ada, "cs_2");
    linked["mode"] = json!("subscription");
    linked["subscription"] = json!("sub_2");
    let dispute = json!({"id": "dp_1", "status": "lost", "payment_intent": "pi_1"});
    let objects = [
        ("customer.subscription.updated", subscription),
        ("invoice.payment_failed", failed.clone()),
        ("invoice.paid", failed),
        ("checkout.session.completed", session(&ada, "cs_1")),
        ("checkout.session.completed", linked),
        ("charge.refunded", charge("pi_1", 300)),
        ("charge.dispute.closed", dispute),
    ];
    let mut number = 0;
    for (kind, object) in &objects {
        for place in leaves(object) {
            for value in &strange {
                let mut object = object.clone();
                *object.pointer_mut(&place).unwrap() = value.clone();
                number += 1;
                let id = format!("evt_{number}");
                let event = event(&id, kind, app.seconds(), &object);
                let answer = app.delivery(&event).await;
                assert_eq!(answer.status, 200, "{kind} {place} {value:.40}: {answer:?}");
            }
        }
    }
    // What came of it is read again.
    app.store.subscriptions(ada.id).await.unwrap();
    assert!(!alarms(&app).await.is_empty());
    assert!(!app.mails_to(&ada.email).await.is_empty());
    balance(&app, &ada).await;
}

/// The places of what is no object and no list.
fn leaves(value: &Value) -> Vec<String> {
    let inside = |name: String, value: &Value| {
        let inner = leaves(value);
        inner
            .into_iter()
            .map(move |place| format!("/{name}{place}"))
            .collect::<Vec<_>>()
    };
    match value {
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.flat_map(|(place, value)| inside(place.to_string(), value))
                .collect()
        }
        Value::Object(members) => {
            let members = members.iter();
            members
                .flat_map(|(name, value)| inside(name.clone(), value))
                .collect()
        }
        _ => vec![String::new()],
    }
}

async fn what_an_event_moves_names_its_request(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let paid = session(&ada, "cs_1");
    let paid = event("evt_1", "checkout.session.completed", app.seconds(), &paid);
    let delivery = app.delivery(&paid).header("x-request-id", "of-stripe-1");
    assert!(processed(&delivery.await, "evt_1"));
    let history = History {
        user_id: ada.id,
        before: None,
        limit: 10,
        kind: None,
    };
    let page = app.store.history(history).await.unwrap().unwrap();
    assert_eq!(page.entries.len(), 1);
    let entry = &page.entries[0].entry;
    assert_eq!(entry.request_id.as_deref(), Some("of-stripe-1"));
}

async fn a_failed_store_makes_stripe_try_again(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let paid = session(&ada, "cs_1");
    let paid = event("evt_1", "checkout.session.completed", app.seconds(), &paid);
    app.store.fail(Fault::Unavailable);
    app.delivery(&paid).await.refused(503, "unavailable");
    app.store.fail(Fault::Backend);
    app.delivery(&paid).await.refused(500, "internal");
    app.store.fail(None);
    assert!(processed(&app.delivery(&paid).await, "evt_1"));
    assert_eq!(balance(&app, &ada).await, "100.00");
}

async fn the_end_of_an_account_leaves_its_purchases_without_effect(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_1", completed, &session(&ada, "cs_1")).await);
    let body = json!({"password": PASSWORD});
    let delete = app.delete("/auth/users/delete-account").by(&ada);
    delete.json(body).await.ok(200);
    let refund = charge("pi_cs_1", 900);
    assert!(!deliver(&app, "evt_2", "charge.refunded", &refund).await);
    assert!(!deliver(&app, "evt_3", completed, &session(&ada, "cs_2")).await);
    let checked = check_ledger(&app.store, |breach| panic!("{breach}")).await;
    let checked = checked.unwrap();
    assert_eq!((checked.entries, checked.breaches), (1, 0));
    assert!(
        app.mails_to(&ada.email)
            .await
            .iter()
            .all(|mail| mail.template != "payment_failed")
    );
}
