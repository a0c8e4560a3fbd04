//! What the fake tells, in the shapes of Stripe's API version 2025-03-31 and later: those of their members that this service or a reader may look at.

use auth_core::{ports::Sale, time::OffsetDateTime, types::UserId};
use serde_json::{Value, json};

use super::state::{Payment, Session, Subscription};

/// An event, but for its id.
pub(super) struct Event {
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

/// Why an invoice was made.
#[derive(Clone, Copy)]
pub(super) enum Reason<'a> {
    Begin,
    Renew,
    /// From a plan of this price and amount.
    Upgrade(&'a str, i64),
}

fn metadata(user: UserId, item: &str) -> Value {
    json!({ "user_id": user.to_string(), "item": item })
}

pub(super) fn session_paid(
    id: &str,
    session: &Session,
    paid_by: Option<&str>,
    subscription: Option<&str>,
) -> Event {
    Event {
        kind: "checkout.session.completed",
        object: json!({
            "id": id,
            "object": "checkout.session",
            "mode": match session.sale {
                Sale::Once => "payment",
                Sale::Subscription => "subscription",
            },
            "status": "complete",
            "payment_status": "paid",
            "client_reference_id": session.user.to_string(),
            "metadata": metadata(session.user, &session.item),
            "customer": session.customer,
            "amount_total": session.amount,
            "currency": super::CURRENCY,
            "payment_intent": paid_by,
            "subscription": subscription,
        }),
    }
}

pub(super) fn subscription(
    kind: &'static str,
    id: &str,
    subscription: &Subscription,
    now: OffsetDateTime,
) -> Event {
    let has_ended = subscription.status == "canceled";
    Event {
        kind,
        object: json!({
            "id": id,
            "object": "subscription",
            "status": subscription.status,
            "customer": subscription.customer,
            "metadata": metadata(subscription.user, &subscription.item),
            "cancel_at_period_end": subscription.ends_with_period && !has_ended,
            "ended_at": has_ended.then(|| now.unix_timestamp()),
            "items": { "object": "list", "data": [{
                "id": format!("si_{id}"),
                "object": "subscription_item",
                "price": { "id": subscription.price, "object": "price" },
                "current_period_start": subscription.period.0.unix_timestamp(),
                "current_period_end": subscription.period.1.unix_timestamp(),
            }] },
        }),
    }
}

/// An invoice of a subscription, paid or not, and where it is paid, what paid it.
pub(super) fn invoice(
    id: &str,
    about: (&str, &Subscription),
    reason: Reason<'_>,
    paid_by: Option<&str>,
) -> Vec<Event> {
    let (name, subscription) = about;
    let line = |price: &str, amount: i64, is_proration: bool| {
        json!({
            "object": "line_item",
            "amount": amount,
            "currency": super::CURRENCY,
            "metadata": metadata(subscription.user, &subscription.item),
            "period": {
                "start": subscription.period.0.unix_timestamp(),
                "end": subscription.period.1.unix_timestamp(),
            },
            "parent": {
                "type": "subscription_item_details",
                "subscription_item_details": { "subscription": name, "proration": is_proration },
            },
            "pricing": { "type": "price_details", "price_details": { "price": price } },
            "quantity": 1,
        })
    };
    let new = |is_proration| line(&subscription.price, subscription.amount, is_proration);
    let (reason, lines) = match reason {
        Reason::Begin => ("subscription_create", vec![new(false)]),
        Reason::Renew => ("subscription_cycle", vec![new(false)]),
        Reason::Upgrade(price, amount) => (
            "subscription_update",
            vec![line(price, -amount, true), new(true)],
        ),
    };
    let amount: i64 = lines
        .iter()
        .filter_map(|line| line["amount"].as_i64())
        .sum();
    let object = json!({
        "id": id,
        "object": "invoice",
        "billing_reason": reason,
        "customer": subscription.customer,
        "currency": super::CURRENCY,
        "amount_due": amount,
        "amount_paid": if paid_by.is_some() { amount } else { 0 },
        "status": if paid_by.is_some() { "paid" } else { "open" },
        "parent": {
            "type": "subscription_details",
            "subscription_details": { "subscription": name, "metadata": metadata(subscription.user, &subscription.item) },
        },
        "lines": { "object": "list", "data": lines },
    });
    let Some(payment) = paid_by else {
        return vec![Event {
            kind: "invoice.payment_failed",
            object,
        }];
    };
    vec![
        Event {
            kind: "invoice.paid",
            object,
        },
        Event {
            kind: "invoice_payment.paid",
            object: json!({
                "object": "invoice_payment",
                "invoice": id,
                "status": "paid",
                "payment": { "type": "payment_intent", "payment_intent": payment },
            }),
        },
    ]
}

pub(super) fn refunded(id: &str, payment: &Payment) -> Event {
    Event {
        kind: "charge.refunded",
        object: json!({
            "id": format!("ch_{id}"),
            "object": "charge",
            "payment_intent": id,
            "amount": payment.amount,
            "amount_refunded": payment.amount,
            "currency": super::CURRENCY,
            "refunded": true,
        }),
    }
}
