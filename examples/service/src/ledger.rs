//! `auth-service ledger`: whether the books are right.

use auth_billing::check_ledger;
use clap::Subcommand;
use tokio::time::Instant;

use crate::{
    BoxError,
    console::{Report, complain, say},
    database::{self, Database, DatabaseUrl},
};

#[derive(Subcommand)]
pub(crate) enum Ledger {
    /// Check that every balance is the sum of its entries and that none is missing; status 1 when one is wrong
    Verify,
}

/// Does it; `false` when the answer is no.
pub(crate) async fn run(what: &Ledger, url: &DatabaseUrl) -> Result<bool, BoxError> {
    match what {
        Ledger::Verify => verify(url).await,
    }
}

async fn verify(url: &DatabaseUrl) -> Result<bool, BoxError> {
    let database = Database::open(url, 2, Instant::now() + database::PATIENCE, complain).await?;
    let mut report = Report::new();
    let checked = check_ledger(database.ledger(), |breach| report.line(&breach)).await?;
    database.close().await;
    report.end()?;
    say(&format!(
        "{} balance(s), {} entries, {} breach(es)",
        checked.accounts, checked.entries, checked.breaches
    ))?;
    Ok(checked.breaches == 0)
}
