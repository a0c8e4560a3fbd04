use super::{PaymentRows, mail_to, payment_of, take_back, user_of};
use crate::{
    ports::Booking,
    types::{
        Credits, Direction, EntryKind, EventOutcome, KeptPurchase, Letter, PaidPeriod,
        PaymentEvent, Purchase, User,
    },
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
    let credits = purchase.credits.credits();
    let reference = purchase.id.as_str();
    let entry = take_back::entry(
        event,
        user.id,
        purchase.kind,
        Direction::Credit,
        credits,
        reference,
    );
    let booked = match rows.book(&entry).await? {
        Booking::Done(booked) | Booking::Replayed(booked) => booked,
        Booking::Overflow => return Ok(EventOutcome::Overflow),
        // Neither is possible for an entry that adds under a reference of the provider, unless a host wrote one like it.
        Booking::Conflict | Booking::Insufficient(_) => return Ok(EventOutcome::Unreadable),
        Booking::UnknownUser => return Ok(EventOutcome::UnknownUser),
    };
    let mut kept = KeptPurchase {
        id: purchase.id.clone(),
        user: user.id,
        kind: purchase.kind,
        item: purchase.item.clone(),
        granted: credits,
        taken: Credits::ZERO,
        created_at: event.received_at,
    };
    rows.put_purchase(&kept).await?;
    for id in &purchase.payments {
        let mut payment = payment_of(rows, id).await?;
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
    if let Some(letter) = letter(&user, purchase, balance) {
        mail_to(rows, event, &user, letter).await?;
    }
    Ok(EventOutcome::Applied)
}

fn letter(user: &User, purchase: &Purchase, balance: Credits) -> Option<Letter> {
    let username = user.username.as_str().to_owned();
    let balance = balance.to_string();
    let credits = purchase.credits.to_string();
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
        period_end: purchase.period_end?,
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
