//! Payments by Stripe: what it tells us, and what we ask of it, over a Stripe that can be scripted.

mod begin_subscription;
mod change_subscription;
mod checkout;
mod customers;
mod end_subscription;
mod events;
mod invoices;
mod purchases;
mod refunds;
mod signatures;
mod trouble;
mod versions;

use auth_billing::check_ledger;
use auth_core::{
    ports::BillingStore,
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use auth_tests::{ALLOWED_PAGE, Answer, App, Call, Person, stripe::event, stripe_api::StripeApi};
use serde_json::{Value, json};

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

/// A user, and a card that pays for them.
async fn with_card(app: &App, stripe: &StripeApi, name: &str) -> (Person, String) {
    let user = app.verified(name).await;
    let setup = call(app, "setup-intent", &user, json!({})).await;
    let card = stripe.attach_card(&word(&setup, "customer_id"), true);
    (user, card)
}

/// A user with a card and a subscription that is paid.
async fn subscribed(app: &App, stripe: &StripeApi, name: &str, plan: &str) -> (Person, String) {
    let (user, card) = with_card(app, stripe, name).await;
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
