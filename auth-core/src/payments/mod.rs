//! How an event of the payment provider moves credits: the same steps over every store.
//!
//! 1. An event is kept once. What follows happens in the same transaction, and events take turns. One that came to nothing is applied again when it is
//!    sent again: what it lacked may be there by now.
//! 2. A purchase is granted once, whatever tells of it and how often.
//! 3. What is taken back is computed from all that is known of a purchase's payments, and compared with what was taken already. So a refund that
//!    comes before its purchase, twice, or after a greater one, leads to the same balance.
//! 4. A period of a subscription grants no more than the dearest plan that was paid in it, whatever way its plan went.
//! 5. What the balance cannot give is debt, which the next purchase settles before its user has the rest.

mod paid;
mod rows;
mod subscription;
mod take_back;

pub use rows::PaymentRows;
use time::OffsetDateTime;

use crate::types::{
    EventOutcome, KeptPayment, Letter, MailId, Payer, PaymentEvent, PaymentFact, PaymentRef,
    Processed, QueuedMail, Subscription, SubscriptionChange, SubscriptionEnd, User, UserId,
};

/// Keeps an event and applies it. For stores: in one transaction, which `rows` writes to, and which is rolled back on an error.
///
/// # Errors
/// Those of `rows`.
pub async fn apply<R: PaymentRows>(
    rows: &mut R,
    event: &PaymentEvent,
) -> Result<Processed, R::Error> {
    rows.take_turn().await?;
    let kept = rows.event(&event.id).await?;
    if let Some(outcome) = kept.filter(|outcome| outcome.is_final()) {
        return Ok(Processed {
            outcome,
            is_replay: true,
        });
    }
    let outcome = match &event.fact {
        PaymentFact::Disputed(told) => {
            let mut dispute = told.clone();
            if let Some(known) = rows.dispute(&told.id).await? {
                dispute.state = dispute.state.max(known.state);
            }
            rows.put_dispute(&dispute).await?;
            let known = payment_of(rows, &dispute.payment).await?;
            take_back::because_of(rows, event, known).await?
        }
        PaymentFact::Failed(failed) => subscription::failed(rows, event, failed).await?,
        PaymentFact::Linked(link) => subscription::link(rows, link).await?,
        PaymentFact::Noted(outcome) => *outcome,
        PaymentFact::Paid(purchase) => paid::grant(rows, event, purchase).await?,
        PaymentFact::PaidBy { purchase, part } => {
            let mut known = payment_of(rows, &part.payment).await?;
            known.amount = known.amount.max(part.amount);
            // What is known already stays: one payment pays one purchase.
            known.purchase.get_or_insert_with(|| purchase.clone());
            match take_back::because_of(rows, event, known).await? {
                // The purchase comes later, and finds its payment.
                EventOutcome::UnknownPayment => EventOutcome::Applied,
                outcome => outcome,
            }
        }
        PaymentFact::Refunded {
            payment,
            amount,
            refunded,
        } => {
            let mut known = payment_of(rows, payment).await?;
            known.amount = known.amount.max(*amount);
            known.refunded = known.refunded.max(*refunded);
            take_back::because_of(rows, event, known).await?
        }
        PaymentFact::Subscription(change) => {
            let before = rows.subscription(&change.subscription.id).await?;
            subscription::change(rows, event.into(), before, change).await?
        }
    };
    rows.put_event(event, outcome).await?;
    Ok(Processed {
        outcome,
        is_replay: false,
    })
}

/// Keeps that a subscription has ended, as the event would that tells it: that one changes nothing then, and mails nobody again. Nothing happens where the
/// subscription is not known, or its end is. For stores, as [`apply`].
///
/// # Errors
/// Those of `rows`.
pub async fn end_subscription<R: PaymentRows>(
    rows: &mut R,
    end: &SubscriptionEnd,
) -> Result<(), R::Error> {
    rows.take_turn().await?;
    let known = rows.subscription(&end.id).await?;
    let Some(known) = known.filter(|known| !known.has_ended()) else {
        return Ok(());
    };
    let at = known
        .cancel_at
        .map_or(end.at, |settled| settled.min(end.at));
    let change = SubscriptionChange {
        // Whose it is, is known.
        payer: Payer {
            user: None,
            customer: None,
            subscription: None,
        },
        subscription: Subscription {
            item: end.item.clone().or_else(|| known.item.clone()),
            status: "canceled".to_owned(),
            cancel_at: Some(at),
            told: (end.at, subscription::ENDED),
            ..known.clone()
        },
    };
    let cause = Cause {
        mail: end.mail,
        at: end.received_at,
    };
    subscription::change(rows, cause, Some(known), &change).await?;
    Ok(())
}

async fn payment_of<R: PaymentRows>(
    rows: &mut R,
    id: &PaymentRef,
) -> Result<KeptPayment, R::Error> {
    Ok(rows.payment(id).await?.unwrap_or_else(|| KeptPayment {
        id: id.clone(),
        purchase: None,
        amount: 0,
        refunded: 0,
    }))
}

/// Who pays: as we wrote it, or as the customer or the subscription is known; nobody where two of these disagree.
async fn user_of<R: PaymentRows>(rows: &mut R, payer: &Payer) -> Result<Option<UserId>, R::Error> {
    let by_customer = match &payer.customer {
        Some(customer) => rows.user_of_customer(customer).await?,
        None => None,
    };
    let by_subscription = match &payer.subscription {
        Some(id) => rows.subscription(id).await?.and_then(|known| known.user),
        None => None,
    };
    let mut told = [payer.user, by_customer, by_subscription]
        .into_iter()
        .flatten();
    let first = told.next();
    Ok(first.filter(|first| told.all(|other| other == *first)))
}

/// What a mail comes of.
#[derive(Clone, Copy)]
struct Cause {
    /// Of the mail; `None` where nobody would send it.
    mail: Option<MailId>,
    at: OffsetDateTime,
}

impl From<&PaymentEvent> for Cause {
    fn from(event: &PaymentEvent) -> Self {
        Self {
            mail: event.mail,
            at: event.received_at,
        }
    }
}

async fn mail_to<R: PaymentRows>(
    rows: &mut R,
    cause: Cause,
    user: &User,
    letter: Letter,
) -> Result<(), R::Error> {
    let queued = |id: MailId| QueuedMail {
        id,
        user_id: Some(user.id),
        to: user.email.clone(),
        locale: user.locale.clone(),
        letter,
        created_at: cause.at,
    };
    match cause.mail.map(queued) {
        Some(mail) => rows.queue_mail(&mail).await,
        None => Ok(()),
    }
}
