//! From the JSON of an event to what it means for us.

use auth_core::{
    time::OffsetDateTime,
    types::{
        Dispute, EntryKind, EventOutcome, FailedPayment, Link, PaymentFact, PaymentRef, Purchase,
        Subscription, SubscriptionChange,
    },
};
use serde_json::Value;

use super::{
    fields::{list, moment, number, payer, reference, text},
    money::price,
};
use crate::{Catalogue, Plan};

/// What an event of a kind means, by its object.
pub(super) fn fact(
    kind: &str,
    object: &Value,
    created_at: OffsetDateTime,
    catalogue: &Catalogue,
) -> PaymentFact {
    let read = match kind {
        "charge.refunded" => refunded(object),
        // The last two are how an inquiry becomes a dispute, and how its money comes back.
        "charge.dispute.created"
        | "charge.dispute.closed"
        | "charge.dispute.updated"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => disputed(object),
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            session(object, catalogue)
        }
        "customer.subscription.created" => subscription(object, created_at, 0, catalogue),
        "customer.subscription.updated" => subscription(object, created_at, 1, catalogue),
        "customer.subscription.deleted" => subscription(object, created_at, 2, catalogue),
        "invoice.paid" => invoice(object, catalogue),
        "invoice.payment_failed" => failed(object, catalogue),
        // Since 2025-03-31 neither an invoice nor a charge names the other: this does.
        "invoice_payment.paid" => paid_by(object),
        _ => return PaymentFact::Noted(EventOutcome::Ignored),
    };
    read.unwrap_or_else(PaymentFact::Noted)
}

type Read = Result<PaymentFact, EventOutcome>;

const UNREADABLE: EventOutcome = EventOutcome::Unreadable;

/// What refunds and disputes have in common with what they concern: the payment intent, or the charge where there is none.
const PAYMENT: [&str; 2] = ["/payment_intent", "/charge"];

fn session(session: &Value, catalogue: &Catalogue) -> Read {
    let is_subscription = match text(session, &["/mode"]) {
        Some("payment") => false,
        Some("subscription") => true,
        // It grants nothing.
        Some("setup") => return Ok(PaymentFact::Noted(EventOutcome::Ignored)),
        _ => return Err(UNREADABLE),
    };
    let is_paid = match text(session, &["/payment_status"]) {
        Some("paid" | "no_payment_required") => true,
        Some("unpaid") => false,
        _ => return Err(UNREADABLE),
    };
    if !is_subscription && !is_paid {
        // The money may come later: then another event says so.
        return Ok(PaymentFact::Noted(EventOutcome::Ignored));
    }
    let payer = payer(session, &["/metadata/user_id"], &["/subscription"]);
    // A buyer writes `client_reference_id` into the address of a payment link: alone it proves nothing, and with another one it is not ours.
    let referred = text(session, &["/client_reference_id"]);
    let user = text(session, &["/metadata/user_id"]);
    if payer.user.is_none() || referred.is_some() && referred != user {
        return Err(EventOutcome::UnknownUser);
    }
    let item = text(session, &["/metadata/item"]).unwrap_or_default();
    if is_subscription {
        // Its credits come with its invoices.
        if payer.subscription.is_none() {
            return Err(UNREADABLE);
        }
        return Ok(PaymentFact::Linked(Link {
            payer,
            item: catalogue.plan(item).map(|plan| plan.name.clone()),
            is_paid,
        }));
    }
    let pack = catalogue.pack(item).ok_or(EventOutcome::UnknownItem)?;
    Ok(PaymentFact::Paid(Purchase {
        id: reference(session, &["/id"]).ok_or(UNREADABLE)?,
        payer,
        kind: EntryKind::OneTimePurchase,
        item: pack.name.clone(),
        credits: pack.credits,
        payments: reference(session, &["/payment_intent"])
            .into_iter()
            .collect(),
        price: price(
            number(session, "/amount_total").unwrap_or(0),
            text(session, &["/currency"]).unwrap_or_default(),
        ),
        period_end: None,
        old_item: None,
    }))
}

/// Where the subscription's own metadata stands in an invoice, of newer and of older API versions.
const INVOICE_USER: [&str; 3] = [
    "/parent/subscription_details/metadata/user_id",
    "/subscription_details/metadata/user_id",
    "/lines/data/0/metadata/user_id",
];

/// Where its subscription is named.
const INVOICE_SUBSCRIPTION: [&str; 4] = [
    "/parent/subscription_details/subscription",
    "/subscription",
    "/lines/data/0/parent/subscription_item_details/subscription",
    "/lines/data/0/subscription",
];

fn invoice(invoice: &Value, catalogue: &Catalogue) -> Read {
    let kind = match text(invoice, &["/billing_reason"]) {
        Some("subscription_create") => EntryKind::PlanPurchase,
        Some("subscription_cycle") => EntryKind::PlanRenewal,
        Some("subscription_update") => EntryKind::PlanUpgrade,
        Some(_) => return Ok(PaymentFact::Noted(EventOutcome::Ignored)),
        None => return Err(UNREADABLE),
    };
    let payer = payer(invoice, &INVOICE_USER, &INVOICE_SUBSCRIPTION);
    let lines = list(invoice, "/lines/data");
    let (line, plan, old) = if kind == EntryKind::PlanUpgrade {
        let Some(upgrade) = upgraded(lines, catalogue)? else {
            return Ok(PaymentFact::Noted(EventOutcome::Ignored));
        };
        upgrade
    } else {
        let (line, plan) = period(lines, catalogue)?;
        (line, plan, None)
    };
    let credits = match old {
        None => plan.credits,
        Some(old) => match difference(plan, old) {
            Some(credits) => credits,
            // Another price and no more credits: nothing to grant.
            None => return Ok(PaymentFact::Noted(EventOutcome::Ignored)),
        },
    };
    Ok(PaymentFact::Paid(Purchase {
        id: reference(invoice, &["/id"]).ok_or(UNREADABLE)?,
        payer,
        kind,
        item: plan.name.clone(),
        credits,
        payments: paid_invoice_by(invoice),
        price: price(
            number(invoice, "/amount_paid").unwrap_or(0),
            text(invoice, &["/currency"]).unwrap_or_default(),
        ),
        period_end: moment(line, "/period/end"),
        old_item: old.map(|old| old.name.clone()),
    }))
}

/// The price of a line, of newer and of older API versions.
fn plan_of<'a>(line: &Value, catalogue: &'a Catalogue) -> Option<&'a Plan> {
    let places = ["/pricing/price_details/price", "/price/id", "/plan/id"];
    catalogue.plan_by_price(text(line, &places)?)
}

fn is_proration(line: &Value) -> bool {
    let places = [
        "/parent/subscription_item_details/proration",
        "/parent/invoice_item_details/proration",
        "/proration",
    ];
    places
        .iter()
        .any(|place| line.pointer(place).and_then(Value::as_bool) == Some(true))
}

/// The line of the period that an invoice pays, and its plan.
fn period<'a, 'c>(
    lines: &'a [Value],
    catalogue: &'c Catalogue,
) -> Result<(&'a Value, &'c Plan), EventOutcome> {
    lines
        .iter()
        .filter(|line| !is_proration(line))
        .find_map(|line| Some((line, plan_of(line, catalogue)?)))
        .ok_or(EventOutcome::UnknownItem)
}

type Upgrade<'a, 'c> = (&'a Value, &'c Plan, Option<&'c Plan>);

/// The line of the new plan, that plan and the one before: what is charged, and what is credited for it. `None` where no plan changed.
fn upgraded<'a, 'c>(
    lines: &'a [Value],
    catalogue: &'c Catalogue,
) -> Result<Option<Upgrade<'a, 'c>>, EventOutcome> {
    let is_credit = |line: &&Value| number(line, "/amount").is_some_and(|amount| amount < 0);
    let Some(credited) = lines.iter().find(is_credit) else {
        return Ok(None);
    };
    let old = plan_of(credited, catalogue).ok_or(EventOutcome::UnknownItem)?;
    let charged = lines.iter().find(|line| !is_credit(line));
    let charged = charged.ok_or(EventOutcome::UnknownItem)?;
    let new = plan_of(charged, catalogue).ok_or(EventOutcome::UnknownItem)?;
    Ok(Some((charged, new, Some(old))))
}

fn difference(new: &Plan, old: &Plan) -> Option<auth_core::types::Amount> {
    let more = new.credits.credits().checked_sub(old.credits.credits())?;
    auth_core::types::Amount::new(more).ok()
}

/// What paid an invoice, as far as it tells: older API versions name it, newer ones list it where it is expanded.
fn paid_invoice_by(invoice: &Value) -> Vec<PaymentRef> {
    let own = reference(invoice, &PAYMENT);
    let listed = list(invoice, "/payments/data").iter().filter_map(|paid| {
        let places = ["/payment/payment_intent", "/payment/charge"];
        reference(paid, &places)
    });
    own.into_iter().chain(listed).collect()
}

fn paid_by(paid: &Value) -> Read {
    let places = ["/payment/payment_intent", "/payment/charge"];
    Ok(PaymentFact::PaidBy {
        purchase: reference(paid, &["/invoice"]).ok_or(UNREADABLE)?,
        payment: reference(paid, &places).ok_or(UNREADABLE)?,
    })
}

fn failed(invoice: &Value, catalogue: &Catalogue) -> Read {
    let plan = list(invoice, "/lines/data")
        .iter()
        .find_map(|line| plan_of(line, catalogue));
    Ok(PaymentFact::Failed(FailedPayment {
        payer: payer(invoice, &INVOICE_USER, &INVOICE_SUBSCRIPTION),
        item: plan.ok_or(EventOutcome::UnknownItem)?.name.clone(),
        price: price(
            number(invoice, "/amount_due").unwrap_or(0),
            text(invoice, &["/currency"]).unwrap_or_default(),
        ),
        retry_at: moment(invoice, "/next_payment_attempt"),
        page: text(invoice, &["/hosted_invoice_url"])
            // It becomes a link in a mail.
            .filter(|page| page.starts_with("https://"))
            .map(str::to_owned),
    }))
}

fn refunded(charge: &Value) -> Read {
    let amount = |place| {
        number(charge, place)
            .and_then(|amount| u64::try_from(amount).ok())
            .ok_or(UNREADABLE)
    };
    Ok(PaymentFact::Refunded {
        payment: reference(charge, &["/payment_intent", "/id"]).ok_or(UNREADABLE)?,
        amount: amount("/amount")?,
        refunded: amount("/amount_refunded")?,
    })
}

fn disputed(dispute: &Value) -> Read {
    let how_far = match text(dispute, &["/status"]).ok_or(UNREADABLE)? {
        "needs_response" | "under_review" => Dispute::Open,
        "won" => Dispute::Won,
        "lost" => Dispute::Lost,
        // An inquiry, or one that was settled before any money moved.
        _ => Dispute::None,
    };
    Ok(PaymentFact::Disputed {
        payment: reference(dispute, &PAYMENT).ok_or(UNREADABLE)?,
        dispute: how_far,
    })
}

fn subscription(
    object: &Value,
    created_at: OffsetDateTime,
    rank: i16,
    catalogue: &Catalogue,
) -> Read {
    let item = list(object, "/items/data").first().unwrap_or(&Value::Null);
    let places = ["/price/id", "/plan/id"];
    let plan = text(item, &places).and_then(|price| catalogue.plan_by_price(price));
    // Newer API versions have periods on items, older ones on the whole.
    let period_end =
        moment(item, "/current_period_end").or_else(|| moment(object, "/current_period_end"));
    let at_period_end = object.get("cancel_at_period_end").and_then(Value::as_bool);
    let cancel_at = moment(object, "/ended_at")
        .or_else(|| moment(object, "/cancel_at"))
        .or(if at_period_end == Some(true) {
            period_end
        } else {
            None
        });
    Ok(PaymentFact::Subscription(SubscriptionChange {
        payer: payer(object, &["/metadata/user_id"], &["/id"]),
        subscription: Subscription {
            id: reference(object, &["/id"]).ok_or(UNREADABLE)?,
            user: None,
            item: plan.map(|plan| plan.name.clone()),
            status: text(object, &["/status"]).ok_or(UNREADABLE)?.to_owned(),
            period_end,
            cancel_at,
            told: (created_at, rank),
        },
    }))
}
