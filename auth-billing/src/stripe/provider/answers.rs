//! What is read of Stripe's answers: a few fields, wherever a version of its API puts them.

use auth_core::{
    ports::{
        Card, CheckoutPage, PaymentMethod, PaymentProviderError, PaymentSetup, PurchaseState,
        Retold, SubscriptionState,
    },
    time::OffsetDateTime,
    types::{PaymentRef, Secret},
};
use serde_json::{Value, json};

use crate::stripe::fields::{list, moment, number, reference, text};

type Read<T> = Result<T, PaymentProviderError>;

/// An answer that lacks what answers of its kind have.
pub(super) fn unusable() -> PaymentProviderError {
    PaymentProviderError::Failed("the answer of Stripe lacks what it should have".into())
}

pub(super) fn id(object: &Value) -> Read<PaymentRef> {
    reference(object, &["/id"]).ok_or_else(unusable)
}

fn words(object: &Value, place: &str) -> Read<String> {
    let found = text(object, &[place]).ok_or_else(unusable)?;
    Ok(found.to_owned())
}

pub(super) fn checkout_page(session: &Value) -> Read<CheckoutPage> {
    let url = words(session, "/url")?;
    Ok(CheckoutPage {
        session: id(session)?,
        url,
    })
}

pub(super) fn setup(intent: &Value) -> Read<PaymentSetup> {
    Ok(PaymentSetup {
        id: id(intent)?,
        client_secret: Secret::new(words(intent, "/client_secret")?),
    })
}

/// What a customer's invoices are paid with.
pub(super) fn default_payment_method(customer: &Value) -> Read<Option<PaymentRef>> {
    // A deleted customer is shown, with nothing but its name.
    if customer.get("deleted").and_then(Value::as_bool) == Some(true) {
        return Err(PaymentProviderError::CustomerGone);
    }
    let place = "/invoice_settings/default_payment_method";
    Ok(reference(customer, &[place]))
}

pub(super) fn payment_methods(
    found: &Value,
    default: Option<&PaymentRef>,
) -> Read<Vec<PaymentMethod>> {
    list(found, "/data")
        .iter()
        .map(|method| {
            let id = id(method)?;
            Ok(PaymentMethod {
                is_default: default == Some(&id),
                id,
                kind: words(method, "/type")?,
                card: method
                    .get("card")
                    .filter(|it| it.is_object())
                    .and_then(card),
            })
        })
        .collect()
}

fn card(card: &Value) -> Option<Card> {
    Some(Card {
        brand: text(card, &["/brand"])?.to_owned(),
        last4: text(card, &["/last4"])?.to_owned(),
        exp_month: number(card, "/exp_month")?,
        exp_year: number(card, "/exp_year")?,
    })
}

pub(super) fn subscriptions(found: &Value) -> Read<Vec<SubscriptionState>> {
    let mut all = list(found, "/data")
        .iter()
        .map(subscription)
        .collect::<Read<Vec<_>>>()?;
    all.sort_by_key(|it| std::cmp::Reverse(it.created_at));
    Ok(all)
}

pub(super) fn subscription(object: &Value) -> Read<SubscriptionState> {
    let line = list(object, "/items/data").first().ok_or_else(unusable)?;
    let price = text(line, &["/price/id", "/plan/id"]).ok_or_else(unusable)?;
    // Newer API versions have periods on items, older ones on the whole.
    let period = |place| moment(line, place).or_else(|| moment(object, place));
    let period_end = period("/current_period_end");
    let at_period_end = object.get("cancel_at_period_end").and_then(Value::as_bool);
    let cancel_at = moment(object, "/ended_at")
        .or_else(|| moment(object, "/cancel_at"))
        .or_else(|| period_end.filter(|_| at_period_end == Some(true)));
    let status = words(object, "/status")?;
    let secret = [
        "/latest_invoice/confirmation_secret/client_secret",
        "/latest_invoice/payment_intent/client_secret",
        "/pending_setup_intent/client_secret",
    ];
    let secret = text(object, &secret).filter(|_| status == "incomplete" || status == "trialing");
    Ok(SubscriptionState {
        id: id(object)?,
        line: words(line, "/id")?,
        price: price.to_owned(),
        created_at: moment(object, "/created").ok_or_else(unusable)?,
        period_start: period("/current_period_start"),
        period_end,
        cancel_at,
        client_secret: secret.map(|secret| Secret::new(secret.to_owned())),
        latest_invoice: reference(object, &["/latest_invoice"]),
        schedule: reference(object, &["/schedule"]),
        status,
    })
}

/// A page of events.
pub(super) fn retold(mut page: Value) -> Read<Retold> {
    let events = data(&mut page)?;
    Ok(Retold {
        next: next(&page, &events)?,
        bodies: events.iter().map(body).collect(),
    })
}

/// A page of what events of a kind are about, as if each was told, down to what is older.
pub(super) fn retold_as(kind: &str, mut page: Value, since: OffsetDateTime) -> Read<Retold> {
    let objects = data(&mut page)?;
    let mut next = next(&page, &objects)?;
    let mut bodies = Vec::with_capacity(objects.len());
    for object in objects {
        if moment(&object, "/created").is_some_and(|at| at < since) {
            next = None;
            continue;
        }
        if is_unfinished(&object) {
            continue;
        }
        bodies.push(body(&json!({
            "id": object["id"],
            "type": kind,
            "created": object["created"],
            "livemode": object["livemode"],
            "data": { "object": object },
        })));
    }
    Ok(Retold { bodies, next })
}

/// A page for checkout that was left, or is not paid: it told nothing yet.
fn is_unfinished(object: &Value) -> bool {
    text(object, &["/payment_status"]) == Some("unpaid")
        || matches!(text(object, &["/status"]), Some("open" | "expired"))
}

/// What a list has. One that has no place for it is none: it does not tell that there is nothing.
fn data(page: &mut Value) -> Read<Vec<Value>> {
    match page.get_mut("data").map(Value::take) {
        Some(Value::Array(data)) => Ok(data),
        _ => Err(unusable()),
    }
}

/// Where the page after this one begins.
fn next(page: &Value, data: &[Value]) -> Read<Option<PaymentRef>> {
    match page.get("has_more").and_then(Value::as_bool) {
        Some(false) => Ok(None),
        Some(true) => id(data.last().ok_or_else(unusable)?).map(Some),
        None => Err(unusable()),
    }
}

fn body(event: &Value) -> Vec<u8> {
    event.to_string().into_bytes()
}

/// How an invoice or a session stands, by the word at that place.
pub(super) fn purchase(found: &Value, place: &str) -> PurchaseState {
    // Any other page for checkout than that of a purchase grants nothing.
    let sells = text(found, &["/mode"]).is_none_or(|mode| mode == "payment");
    match text(found, &[place]) {
        Some("paid" | "no_payment_required") if sells => PurchaseState::Paid,
        _ => PurchaseState::Unpaid,
    }
}
