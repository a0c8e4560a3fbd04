//! `auth-service stripe`: what Stripe told and what came to nothing, who owes what, and whether Stripe and the ledger tell the same.

use std::process::ExitCode;

use auth_core::{
    Links,
    ports::{BillingStore, Clock, SystemClock},
    time::{self, OffsetDateTime, format_description::well_known::Rfc3339},
};
use clap::Subcommand;
use humantime::DurationError;
use tokio::time::Instant;

use crate::{
    BoxError,
    console::{Report, complain, say},
    database::{self, Database},
    mailing::Mailing,
    migrate,
    settings::Settings,
    status,
};

/// Of a comparison that found something.
const DIFFERENT: u8 = 3;
/// Stripe told nothing to anybody before.
const FIRST_YEAR: i32 = 2010;

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
        /// Since when: a time such as `2026-11-20T00:00:00Z`, or how far back, such as `3 days`
        #[arg(long, default_value = "30 days", value_parser = moment)]
        since: OffsetDateTime,
        /// The most that are listed of either
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Compare what Stripe tells with the ledger: list payments without entries and entries without payments; status 3 when any is left
    Reconcile {
        /// Since when: a time such as `2026-11-20T00:00:00Z`, or how far back, such as `7 days`
        #[arg(long, value_parser = moment)]
        since: OffsetDateTime,
        /// Apply what is missing, as far as Stripe has its events: for 30 days
        #[arg(long)]
        apply: bool,
    },
}

/// Does it; a failure when somebody should look.
pub(crate) async fn run(what: &Stripe, settings: &Settings) -> Result<ExitCode, BoxError> {
    let deadline = Instant::now() + database::PATIENCE;
    let database = Database::open(&settings.database.url, 2, deadline, complain).await?;
    let payments = database.payments();
    let done = match what {
        Stripe::Debts { limit } => debts(payments, *limit).await.map(status),
        Stripe::Events { since, limit } => events(payments, *since, *limit).await.map(status),
        Stripe::Reconcile { since, apply } => {
            let is_even = reconcile(&database, settings, *since, *apply).await;
            is_even.map(|is_even| {
                if is_even {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(DIFFERENT)
                }
            })
        }
    };
    database.close().await;
    done
}

/// A time, or how long ago it was.
fn moment(text: &str) -> Result<OffsetDateTime, &'static str> {
    let now = SystemClock.now();
    let at = match (
        OffsetDateTime::parse(text, &Rfc3339),
        humantime::parse_duration(text),
    ) {
        (Ok(at), _) => at,
        (_, Ok(ago)) => now.saturating_sub(ago.try_into().unwrap_or(time::Duration::MAX)),
        (_, Err(DurationError::NumberOverflow)) => now.saturating_sub(time::Duration::MAX),
        _ => {
            return Err(
                "must be a time such as `2026-11-20T00:00:00Z`, or a duration such as `7 days`",
            );
        }
    };
    // Nothing differs there, whatever does here.
    if at > now {
        return Err("lies in the future");
    }
    if at.year() < FIRST_YEAR {
        return Err("lies before 2010: there was no Stripe");
    }
    Ok(at)
}

async fn debts(payments: &dyn BillingStore, limit: u32) -> Result<bool, BoxError> {
    let debts = payments.debts(limit).await?;
    for (user, debt) in &debts {
        say(&format!("{user}: {debt}"))?;
    }
    say(&format!("{} user(s) owe credits", debts.len()))?;
    // Their next purchases settle it: nobody has to look.
    Ok(true)
}

async fn events(
    payments: &dyn BillingStore,
    since: OffsetDateTime,
    limit: u32,
) -> Result<bool, BoxError> {
    let events = payments.alarming_events(since, limit).await?;
    let abandoned = payments.abandoned_subscriptions(limit).await?;
    for event in &events {
        say(&format!(
            "{} {}: {} ({})",
            event.received_at.format(&Rfc3339)?,
            event.id,
            event.kind,
            event.outcome.as_str()
        ))?;
    }
    for subscription in &abandoned {
        say(&format!(
            "subscription {subscription}: its user is gone, and it still has to be cancelled"
        ))?;
    }
    say(&format!(
        "{} event(s) to look at, {} subscription(s) without a user",
        events.len(),
        abandoned.len()
    ))?;
    Ok(events.is_empty() && abandoned.is_empty())
}

async fn reconcile(
    database: &Database,
    settings: &Settings,
    since: OffsetDateTime,
    apply: bool,
) -> Result<bool, BoxError> {
    migrate::require_newest(database).await?;
    // What is applied may queue mails. Those who send them know better where their links lead.
    let links = match &settings.server.frontend {
        Some(links) => links.clone(),
        None => Links::to("http://localhost")?,
    };
    let builder = database.auth(settings.accounts.signing_keys.clone());
    let auth = if apply {
        Mailing::of(settings)?.offer(builder, links).build()?
    } else {
        builder.build()?
    };
    let mut billing = database.billing(&auth);
    if let Some(payments) = &settings.payments {
        billing = billing.stripe(payments.stripe.clone());
    }
    let mut report = Report::new();
    let counted = billing
        .reconcile(since, apply, |it| report.line(it))
        .await?;
    report.end()?;
    say(&format!(
        "{} told by Stripe, {} of them without an entry, {} of these applied; {} entries without a payment",
        counted.told, counted.without_entry, counted.applied, counted.without_payment
    ))?;
    if counted.payments_alone {
        say("that long ago, refunds, disputes and subscriptions are not compared")?;
    }
    Ok(counted.is_even())
}
