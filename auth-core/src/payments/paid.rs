use super::{
    PaymentRows, mail_to, payment_of,
    take_back::{self, minus},
    user_of,
};
use crate::types::{
    Credits, Direction, Entry, EntryKind, EventOutcome, KeptPurchase, Letter, PaidPeriod,
    PaymentEvent, Purchase, ReferenceId, Term, User,
};

/// Grants what was paid for: the credits, less what its user owes and less what was given back already.
pub(super) async fn grant<R: PaymentRows>(
    rows: &mut R,
    event: &PaymentEvent,
    purchase: &Purchase,
) -> Result<EventOutcome, R::Error> {
    let user = match user_of(rows, &purchase.payer).await? {
        Some(id) => rows.user(id).await?,
        None => None,
    };
    let Some(user) = user else {
        return Ok(EventOutcome::UnknownUser);
    };
    if rows.purchase(&purchase.id).await?.is_some() {
        return Ok(EventOutcome::Ignored);
    }
    let mut granted = purchase.credits.credits();
    if let Some(term) = &purchase.term {
        granted = granted.min(left(rows, term, purchase.kind).await?);
    }
    let is_paid = purchase.paid > 0;
    if granted == Credits::ZERO {
        // The way up again after a way down is paid by what the way down gave back. Where money came for it, somebody should know.
        return Ok(if is_paid {
            EventOutcome::Unaccounted
        } else {
            EventOutcome::Ignored
        });
    }
    let entry = Entry {
        reference: ReferenceId::parse(purchase.id.as_str()).ok(),
        ..take_back::entry(event, user.id, purchase.kind, Direction::Credit, granted)
    };
    let Some(booked) = take_back::book(rows, entry).await? else {
        return Ok(EventOutcome::Overflow);
    };
    let mut kept = KeptPurchase {
        id: purchase.id.clone(),
        user: user.id,
        kind: purchase.kind,
        item: purchase.item.clone(),
        granted,
        taken: Credits::ZERO,
        total: purchase.total,
        term: purchase.term.clone(),
        created_at: event.received_at,
    };
    rows.put_purchase(&kept).await?;
    for part in &purchase.payments {
        let mut payment = payment_of(rows, &part.payment).await?;
        payment.amount = payment.amount.max(part.amount);
        // An invoice that only documents a checkout may have been named first: it is no purchase.
        let is_taken = match &payment.purchase {
            Some(other) => rows.purchase(other).await?.is_some(),
            None => false,
        };
        if !is_taken {
            payment.purchase = Some(purchase.id.clone());
        }
        rows.put_payment(&payment).await?;
    }
    let balance = take_back::after_grant(rows, event, &mut kept)
        .await?
        .unwrap_or(booked.new_balance);
    if let Some(letter) = letter(&user, purchase, granted, balance) {
        mail_to(rows, event.into(), &user, letter).await?;
    }
    let is_short = granted < purchase.credits.credits();
    Ok(if purchase.has_more || is_short && is_paid {
        EventOutcome::Partly
    } else {
        EventOutcome::Applied
    })
}

/// What a period may still grant: as much as the dearest plan that was paid in it, less what it granted and refunds did not take back. Whoever goes down
/// and up again in a period has the difference once.
async fn left<R: PaymentRows>(
    rows: &mut R,
    term: &Term,
    kind: EntryKind,
) -> Result<Credits, R::Error> {
    let mut dearest = term.worth;
    let mut granted = Vec::new();
    for other in rows.terms(&term.subscription, term.start, term.end).await? {
        let Some(known) = &other.term else { continue };
        // A change may begin a period of its own, which is paid for the old one's rest: all that overlaps is one period for it. A whole period that is
        // paid in full has nothing to do with the rest of another one.
        if kind == EntryKind::PlanUpgrade || known.end == term.end {
            dearest = dearest.max(known.worth);
            granted.push(minus(
                other.granted,
                take_back::refunded(rows, &other).await?,
            ));
        }
    }
    Ok(granted.into_iter().fold(dearest, minus))
}

fn letter(user: &User, purchase: &Purchase, granted: Credits, balance: Credits) -> Option<Letter> {
    let username = user.username.as_str().to_owned();
    let balance = balance.to_string();
    let credits = granted.to_string();
    let price = purchase.price.clone();
    if purchase.kind == EntryKind::OneTimePurchase {
        return Some(Letter::CreditPurchase {
            username,
            item: purchase.item.clone(),
            credits,
            balance,
            price: price.amount,
            currency: price.currency,
        });
    }
    let paid = PaidPeriod {
        plan: purchase.item.clone(),
        credits,
        balance,
        price: price.amount,
        currency: price.currency,
        period_end: purchase.term.as_ref()?.end,
    };
    Some(match purchase.kind {
        EntryKind::PlanRenewal => Letter::SubscriptionRenewed { username, paid },
        EntryKind::PlanUpgrade => Letter::PlanUpgrade {
            username,
            old_plan: purchase.old_item.clone()?,
            paid,
        },
        _ => Letter::SubscriptionStarted { username, paid },
    })
}
