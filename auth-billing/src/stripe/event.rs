//! From the JSON of an event to what it means for us.

use auth_core::{
    time::OffsetDateTime,
    types::{
        Amount, Dispute, EntryKind, EventOutcome, FailedPayment, KeptDispute, Link, PaidPart,
        PaymentFact, Purchase, Subscription, SubscriptionChange, Term,
    },
};
use serde_json::Value;

use super::{
    fields::{list, moment, money, number, payer, reference, text, word},
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
    if !event_kinds().any(|known| known == kind) {
        return PaymentFact::Noted(EventOutcome::Ignored);
    }
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
        FAILED => failed(object, catalogue),
        // Since 2025-03-31 neither an invoice nor a charge names the other: this does.
        "invoice_payment.paid" => paid_by(object),
        _ => return PaymentFact::Noted(EventOutcome::Ignored),
    };
    read.unwrap_or_else(PaymentFact::Noted)
}

/// The kinds that move or settle something, in the order in which each finds what it rests on. That a payment failed is news for a while, and no more.
pub(super) const KINDS: [&[&str]; 5] = [
    &[
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
    ],
    &[
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
    ],
    &["invoice.paid"],
    &["invoice_payment.paid"],
    &[
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.closed",
        "charge.dispute.updated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    ],
];

const FAILED: &str = "invoice.payment_failed";

/// The kinds of events that mean something here: those that the endpoint at Stripe is to be sent. All others are kept and ignored.
pub fn event_kinds() -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().flatten().copied().chain([FAILED])
}

type Read = Result<PaymentFact, EventOutcome>;

const UNREADABLE: EventOutcome = EventOutcome::Unreadable;

/// What refunds and disputes have in common with what they concern: the payment intent, or the charge where there is none.
const PAYMENT: [&str; 2] = ["/payment_intent", "/charge"];

/// Statuses are words, and pages addresses that fit into a mail: what is longer is none.
const MAX_STATUS: usize = 64;
const MAX_PAGE: usize = 2048;

/// For mails, which say nothing rather than what is no currency.
fn currency(object: &Value) -> &str {
    word(object, "/currency", 3).unwrap_or_default()
}

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
    let total = money(session, "/amount_total").unwrap_or(0);
    let pack = catalogue.pack(item).ok_or(EventOutcome::UnknownItem)?;
    Ok(PaymentFact::Paid(Purchase {
        id: reference(session, &["/id"]).ok_or(UNREADABLE)?,
        payer,
        kind: EntryKind::OneTimePurchase,
        item: pack.name.clone(),
        credits: pack.credits,
        payments: reference(session, &["/payment_intent"])
            .into_iter()
            .map(|payment| PaidPart {
                payment,
                amount: total,
            })
            .collect(),
        total,
        paid: total,
        price: price(
            number(session, "/amount_total").unwrap_or(0),
            currency(session),
        ),
        term: None,
        old_item: None,
        has_more: false,
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
    let reason = text(invoice, &["/billing_reason"]).ok_or(UNREADABLE)?;
    let lines = lines(invoice, catalogue);
    let paid = money(invoice, "/amount_paid").unwrap_or(0);
    let bought = match reason {
        // An event has the first lines of a long invoice only.
        _ if invoice.pointer("/lines/has_more") == Some(&Value::Bool(true)) => {
            Err(EventOutcome::Unaccounted)
        }
        "subscription_create" => whole_period(&lines, EntryKind::PlanPurchase),
        "subscription_cycle" => whole_period(&lines, EntryKind::PlanRenewal),
        "subscription_update" => changed(&lines),
        // Written by hand, say, about something else.
        _ if lines.iter().all(|line| line.plan.is_none()) => Ok(None),
        _ => Err(EventOutcome::Unaccounted),
    };
    let bought = match bought {
        Err(EventOutcome::Unaccounted) if paid == 0 => None,
        bought => bought?,
    };
    let Some(bought) = bought else {
        return Ok(PaymentFact::Noted(EventOutcome::Ignored));
    };
    let payer = payer(invoice, &INVOICE_USER, &INVOICE_SUBSCRIPTION);
    let term = Term {
        subscription: payer.subscription.clone().ok_or(UNREADABLE)?,
        start: moment(bought.line, "/period/start").ok_or(UNREADABLE)?,
        end: moment(bought.line, "/period/end").ok_or(UNREADABLE)?,
        worth: bought.plan.credits.credits(),
    };
    Ok(PaymentFact::Paid(Purchase {
        id: reference(invoice, &["/id"]).ok_or(UNREADABLE)?,
        payer,
        kind: bought.kind,
        item: bought.plan.name.clone(),
        credits: bought.credits,
        payments: paid_invoice_by(invoice, paid),
        total: money(invoice, "/total").unwrap_or(0).max(paid),
        paid,
        price: price(
            number(invoice, "/amount_paid").unwrap_or(0),
            currency(invoice),
        ),
        term: Some(term),
        old_item: bought.old.map(|old| old.name.clone()),
        has_more: bought.has_more,
    }))
}

/// A line of an invoice, as far as it tells what is paid.
struct Line<'a, 'c> {
    value: &'a Value,
    /// `None` when its price is not in the catalogue.
    plan: Option<&'c Plan>,
    amount: i64,
    /// It is a part of a period that a change left, or began.
    is_proration: bool,
}

impl Line<'_, '_> {
    /// The catalogue says what one plan is worth.
    fn is_of_one(&self) -> bool {
        self.value
            .get("quantity")
            .is_none_or(|quantity| quantity.is_null() || quantity.as_i64() == Some(1))
    }
}

fn lines<'a, 'c>(invoice: &'a Value, catalogue: &'c Catalogue) -> Vec<Line<'a, 'c>> {
    let read = |line| Line {
        value: line,
        plan: plan_of(line, catalogue),
        amount: number(line, "/amount").unwrap_or(0),
        is_proration: is_proration(line),
    };
    list(invoice, "/lines/data").iter().map(read).collect()
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

/// What an invoice of a subscription pays.
struct Bought<'a, 'c> {
    line: &'a Value,
    plan: &'c Plan,
    kind: EntryKind,
    credits: Amount,
    /// The plan before, of an upgrade.
    old: Option<&'c Plan>,
    has_more: bool,
}

/// What grants nothing is `None`, and what cannot be accounted for an error.
type Account<'a, 'c> = Result<Option<Bought<'a, 'c>>, EventOutcome>;

/// The period that an invoice pays, of one plan.
fn whole_period<'a, 'c>(lines: &[Line<'a, 'c>], kind: EntryKind) -> Account<'a, 'c> {
    let (parts, whole): (Vec<_>, Vec<_>) = lines
        .iter()
        .filter_map(|line| Some((line, line.plan?)))
        .partition(|(line, _)| line.is_proration);
    let [(line, plan)] = whole[..] else {
        return Err(if whole.is_empty() {
            EventOutcome::UnknownItem
        } else {
            EventOutcome::Unaccounted
        });
    };
    if !line.is_of_one() {
        return Err(EventOutcome::Unaccounted);
    }
    if line.amount == 0 {
        // A trial: what costs nothing grants nothing. With a voucher, the line has its price all the same.
        return Ok(None);
    }
    Ok(Some(Bought {
        line: line.value,
        plan,
        kind,
        credits: plan.credits,
        old: None,
        // Changes of the period before, which are paid with this one.
        has_more: parts.iter().any(|(line, _)| !line.is_of_one())
            || step(&parts).is_none_or(|(old, new)| is_dearer(old, new)),
    }))
}

/// What a change of a subscription pays: the way from one plan to another one, over however many others.
fn changed<'a, 'c>(lines: &[Line<'a, 'c>]) -> Account<'a, 'c> {
    let known: Vec<_> = lines
        .iter()
        .filter_map(|line| Some((line, line.plan?)))
        .collect();
    let cannot = if lines.iter().all(|line| line.plan.is_some()) {
        EventOutcome::Unaccounted
    } else {
        EventOutcome::UnknownItem
    };
    if known.iter().any(|(line, _)| !line.is_of_one()) {
        return Err(EventOutcome::Unaccounted);
    }
    let (old, new) = step(&known).ok_or(cannot)?;
    match (old, new) {
        (Some(old), Some(new)) => {
            let Some(credits) = difference(old, new) else {
                return Err(EventOutcome::Unaccounted);
            };
            let line = known
                .iter()
                .find(|(line, plan)| line.amount > 0 && plan.name == new.name);
            let (line, _) = line.ok_or(cannot)?;
            Ok(Some(Bought {
                line: line.value,
                plan: new,
                kind: EntryKind::PlanUpgrade,
                credits,
                old: Some(old),
                has_more: false,
            }))
        }
        // A period that begins now, and nothing for the one that it cut short.
        (None, Some(_)) if known.iter().any(|(line, _)| !line.is_proration) => {
            whole_period(lines, EntryKind::PlanRenewal)
        }
        _ => Err(cannot),
    }
}

/// The plan that lines lead away from, which is credited, and the one that they lead to, which is charged, without those on the way; `None` when there
/// are several of either.
fn step<'c>(lines: &[(&Line<'_, 'c>, &'c Plan)]) -> Option<(Option<&'c Plan>, Option<&'c Plan>)> {
    let mut old: Vec<&Plan> = Vec::new();
    let mut new: Vec<&Plan> = Vec::new();
    for (line, plan) in lines {
        match line.amount.signum() {
            -1 => old.push(plan),
            1 => new.push(plan),
            _ => {}
        }
    }
    old.retain(|plan| {
        let place = new.iter().position(|other| other.name == plan.name);
        place.map(|place| new.swap_remove(place)).is_none()
    });
    match (&old[..], &new[..]) {
        ([], []) => Some((None, None)),
        ([old], []) => Some((Some(old), None)),
        ([], [new]) => Some((None, Some(new))),
        ([old], [new]) => Some((Some(old), Some(new))),
        _ => None,
    }
}

/// Whether a step is to a plan that grants more.
fn is_dearer(old: Option<&Plan>, new: Option<&Plan>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => difference(old, new).is_some(),
        (_, new) => new.is_some(),
    }
}

fn difference(old: &Plan, new: &Plan) -> Option<Amount> {
    let more = new.credits.credits().checked_sub(old.credits.credits())?;
    Amount::new(more).ok()
}

/// Where a payment of an invoice is named.
const INVOICE_PAYMENT: [&str; 2] = ["/payment/payment_intent", "/payment/charge"];

/// What paid an invoice, as far as it tells: older API versions name the one, newer ones list them where they are expanded.
fn paid_invoice_by(invoice: &Value, paid: u64) -> Vec<PaidPart> {
    let listed: Vec<_> = list(invoice, "/payments/data")
        .iter()
        .filter(|payment| text(payment, &["/status"]).is_none_or(|status| status == "paid"))
        .filter_map(paid_part)
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    let own = reference(invoice, &PAYMENT);
    own.into_iter()
        .map(|payment| PaidPart {
            payment,
            amount: paid,
        })
        .collect()
}

fn paid_part(payment: &Value) -> Option<PaidPart> {
    Some(PaidPart {
        payment: reference(payment, &INVOICE_PAYMENT)?,
        amount: money(payment, "/amount_paid").unwrap_or(0),
    })
}

fn paid_by(paid: &Value) -> Read {
    Ok(PaymentFact::PaidBy {
        purchase: reference(paid, &["/invoice"]).ok_or(UNREADABLE)?,
        part: paid_part(paid).ok_or(UNREADABLE)?,
    })
}

fn failed(invoice: &Value, catalogue: &Catalogue) -> Read {
    let plan = list(invoice, "/lines/data")
        .iter()
        .find_map(|line| plan_of(line, catalogue));
    Ok(PaymentFact::Failed(FailedPayment {
        invoice: reference(invoice, &["/id"]).ok_or(UNREADABLE)?,
        payer: payer(invoice, &INVOICE_USER, &INVOICE_SUBSCRIPTION),
        item: plan.ok_or(EventOutcome::UnknownItem)?.name.clone(),
        price: price(
            number(invoice, "/amount_due").unwrap_or(0),
            currency(invoice),
        ),
        retry_at: moment(invoice, "/next_payment_attempt"),
        page: word(invoice, "/hosted_invoice_url", MAX_PAGE)
            // It becomes a link in a mail.
            .filter(|page| page.starts_with("https://"))
            .map(str::to_owned),
    }))
}

fn refunded(charge: &Value) -> Read {
    Ok(PaymentFact::Refunded {
        payment: reference(charge, &["/payment_intent", "/id"]).ok_or(UNREADABLE)?,
        amount: money(charge, "/amount").ok_or(UNREADABLE)?,
        refunded: money(charge, "/amount_refunded").ok_or(UNREADABLE)?,
    })
}

fn disputed(dispute: &Value) -> Read {
    let state = match text(dispute, &["/status"]).ok_or(UNREADABLE)? {
        "needs_response" | "under_review" => Dispute::Open,
        "won" => Dispute::Won,
        "lost" => Dispute::Lost,
        // An inquiry, or one that was settled before any money moved.
        "warning_needs_response"
        | "warning_under_review"
        | "warning_closed"
        | "prevented"
        | "charge_refunded" => Dispute::None,
        _ => return Err(UNREADABLE),
    };
    Ok(PaymentFact::Disputed(KeptDispute {
        id: reference(dispute, &["/id"]).ok_or(UNREADABLE)?,
        payment: reference(dispute, &PAYMENT).ok_or(UNREADABLE)?,
        state,
    }))
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
            status: word(object, "/status", MAX_STATUS)
                .ok_or(UNREADABLE)?
                .to_owned(),
            period_end,
            cancel_at,
            told: (created_at, rank),
        },
    }))
}

#[cfg(test)]
mod tests {
    use auth_core::{
        time::OffsetDateTime,
        types::{EventOutcome, PaymentFact},
    };
    use serde_json::json;

    use super::{event_kinds, fact};
    use crate::Catalogue;

    #[test]
    fn every_kind_that_is_to_be_sent_is_one_that_is_read() {
        let catalogue = Catalogue::parse("").unwrap();
        for kind in event_kinds() {
            let read = fact(kind, &json!({}), OffsetDateTime::UNIX_EPOCH, &catalogue);
            assert!(
                matches!(read, PaymentFact::Noted(EventOutcome::Unreadable)),
                "{kind}"
            );
        }
    }
}
