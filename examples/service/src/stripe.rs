//! `auth-service stripe`: what Stripe told and what came to nothing.

use std::time::Duration;

use auth_core::{
    ports::{Clock, SystemClock},
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
    /// List the events that had no effect and should have had one, the newest first, and the subscriptions of users who are gone; status 1 when there is any
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
    let Stripe::Events { since, limit } = what;
    let database = Database::open(url, 2, Instant::now() + database::PATIENCE, complain).await?;
    let payments = database.payments();
    let since = (*since).try_into().unwrap_or(time::Duration::MAX);
    let since = SystemClock.now().saturating_sub(since);
    let events = payments.alarming_events(since, *limit).await?;
    let abandoned = payments.abandoned_subscriptions(*limit).await?;
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
        "{} event(s) without effect, {} subscription(s) without a user",
        events.len(),
        abandoned.len()
    ));
    database.close().await;
    Ok(events.is_empty() && abandoned.is_empty())
}
