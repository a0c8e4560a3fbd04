//! `auth-service stripe`: what Stripe told and what came to nothing, and who owes what.

use std::time::Duration;

use auth_core::{
    ports::{BillingStore, Clock, SystemClock},
    time::{self, format_description::well_known::Rfc3339},
};
use clap::Subcommand;
use tokio::time::Instant;

use crate::{
    BoxError, complain,
    database::{self, Database, DatabaseUrl},
    say,
};

#[derive(Subcommand)]
pub(crate) enum Stripe {
    /// List who owes credits that were used and then given back, the greatest debts first
    Debts {
        /// The most that are listed
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// List the events that did not have the effect that they should, the newest first, and the subscriptions of users who are gone; status 1 when there is any
    Events {
        /// How far back, such as `3 days`
        #[arg(long, default_value = "30 days", value_parser = humantime::parse_duration)]
        since: Duration,
        /// The most that are listed of either
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

/// Does it; `false` when somebody should look.
pub(crate) async fn run(what: &Stripe, url: &DatabaseUrl) -> Result<bool, BoxError> {
    let database = Database::open(url, 2, Instant::now() + database::PATIENCE, complain).await?;
    let payments = database.payments();
    let is_well = match what {
        Stripe::Debts { limit } => debts(payments, *limit).await?,
        Stripe::Events { since, limit } => events(payments, *since, *limit).await?,
    };
    database.close().await;
    Ok(is_well)
}

async fn debts(payments: &dyn BillingStore, limit: u32) -> Result<bool, BoxError> {
    let debts = payments.debts(limit).await?;
    for (user, debt) in &debts {
        say(&format!("{user}: {debt}"));
    }
    say(&format!("{} user(s) owe credits", debts.len()));
    // Their next purchases settle it: nobody has to look.
    Ok(true)
}

async fn events(
    payments: &dyn BillingStore,
    since: Duration,
    limit: u32,
) -> Result<bool, BoxError> {
    let since = since.try_into().unwrap_or(time::Duration::MAX);
    let since = SystemClock.now().saturating_sub(since);
    let events = payments.alarming_events(since, limit).await?;
    let abandoned = payments.abandoned_subscriptions(limit).await?;
    for event in &events {
        say(&format!(
            "{} {}: {} ({})",
            event.received_at.format(&Rfc3339)?,
            event.id,
            event.kind,
            event.outcome.as_str()
        ));
    }
    for subscription in &abandoned {
        say(&format!(
            "subscription {subscription}: its user is gone, and it still has to be cancelled"
        ));
    }
    say(&format!(
        "{} event(s) to look at, {} subscription(s) without a user",
        events.len(),
        abandoned.len()
    ));
    Ok(events.is_empty() && abandoned.is_empty())
}
