use super::{Cause, PaymentRows, mail_to, user_of};
use crate::types::{
    EventOutcome, FailedPayment, Letter, Link, PaymentEvent, Subscription, SubscriptionChange,
};

/// Of statements of one second, that of an end.
pub(super) const ENDED: i16 = 2;

/// Keeps how a subscription is, unless something later was told `before`; its credits come with its invoices.
pub(super) async fn change<R: PaymentRows>(
    rows: &mut R,
    cause: Cause,
    before: Option<Subscription>,
    change: &SubscriptionChange,
) -> Result<EventOutcome, R::Error> {
    if before
        .as_ref()
        .is_some_and(|before| before.order() >= change.subscription.order())
    {
        return Ok(EventOutcome::Ignored);
    }
    let known = before.as_ref().and_then(|before| before.user);
    let Some(id) = user_of(rows, &change.payer).await?.or(known) else {
        return Ok(EventOutcome::UnknownUser);
    };
    let now = Subscription {
        user: Some(id),
        ..change.subscription.clone()
    };
    rows.put_subscription(&now).await?;
    let Some(user) = rows.user(id).await? else {
        // Whoever is gone has no subscription: it is abandoned, and will be cancelled.
        return Ok(if now.has_ended() {
            EventOutcome::Applied
        } else {
            EventOutcome::UnknownUser
        });
    };
    let was_told = before.as_ref().is_some_and(|before| end(before).is_some());
    if let (Some(ends_at), Some(plan), false) = (end(&now), now.item.clone(), was_told) {
        let letter = Letter::SubscriptionCancelled {
            username: user.username.as_str().to_owned(),
            plan,
            ends_at,
        };
        mail_to(rows, cause, &user, letter).await?;
    }
    Ok(EventOutcome::Applied)
}

/// Keeps whose a customer and a subscription are, for the events that tell no user.
pub(super) async fn link<R: PaymentRows>(
    rows: &mut R,
    link: &Link,
) -> Result<EventOutcome, R::Error> {
    let user = match user_of(rows, &link.payer).await? {
        Some(id) => rows.user(id).await?,
        None => None,
    };
    let Some(user) = user else {
        return Ok(EventOutcome::UnknownUser);
    };
    if let Some(customer) = &link.payer.customer {
        // One user may have several: a checkout that is given none makes another one. The first stays, and the subscription tells the user of the others.
        rows.keep_customer(user.id, customer).await?;
    }
    if let Some(id) = &link.payer.subscription
        && rows.subscription(id).await?.is_none()
    {
        let status = if link.is_paid { "active" } else { "incomplete" };
        let linked = Subscription {
            id: id.clone(),
            user: Some(user.id),
            item: link.item.clone(),
            status: status.to_owned(),
            period_end: None,
            cancel_at: None,
            // Whatever an event of the subscription itself says is newer.
            told: (time::OffsetDateTime::UNIX_EPOCH, -1),
        };
        rows.put_subscription(&linked).await?;
    }
    Ok(EventOutcome::Applied)
}

/// When a subscription ends or ended, if that is settled. One whose first payment never came has not begun.
fn end(subscription: &Subscription) -> Option<time::OffsetDateTime> {
    match &*subscription.status {
        "incomplete_expired" => None,
        "canceled" => Some(subscription.cancel_at.unwrap_or(subscription.told.0)),
        _ => subscription.cancel_at,
    }
}

/// Tells the user that a payment failed, unless it went through since.
pub(super) async fn failed<R: PaymentRows>(
    rows: &mut R,
    event: &PaymentEvent,
    failed: &FailedPayment,
) -> Result<EventOutcome, R::Error> {
    if rows.purchase(&failed.invoice).await?.is_some() {
        // It was told late: the invoice has been paid since.
        return Ok(EventOutcome::Ignored);
    }
    let user = match user_of(rows, &failed.payer).await? {
        Some(id) => rows.user(id).await?,
        None => None,
    };
    let Some(user) = user else {
        return Ok(EventOutcome::UnknownUser);
    };
    let letter = Letter::PaymentFailed {
        username: user.username.as_str().to_owned(),
        plan: failed.item.clone(),
        price: failed.price.amount.clone(),
        currency: failed.price.currency.clone(),
        retry_at: failed.retry_at,
        link: failed.page.clone(),
    };
    mail_to(rows, event.into(), &user, letter).await?;
    Ok(EventOutcome::Applied)
}
