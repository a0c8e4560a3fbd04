//! `auth-service migrate`: the schema by hand.

use std::error::Error as StdError;

use clap::{ArgGroup, Args, Subcommand};

use crate::{
    database::{Database, DatabaseUrl},
    say,
};

#[derive(Subcommand)]
pub(crate) enum Migrate {
    /// Take the schema to the newest version, or to an older one that it has not reached
    Up {
        /// The version to stop at
        #[arg(long)]
        to: Option<i64>,
    },
    /// Take the schema back; the data of dropped tables is lost
    Down(Down),
    /// Tell which steps are done; status 1 when one is not
    Status,
    /// Wait until the schema is the newest, as another process migrates it
    Wait,
}

#[derive(Args)]
#[command(group = ArgGroup::new("target").required(true))]
pub(crate) struct Down {
    /// The version to keep
    #[arg(long, group = "target")]
    to: Option<i64>,
    /// Keep nothing
    #[arg(long, group = "target")]
    all: bool,
}

/// Does it; `false` when the answer is no.
pub(crate) async fn run(
    what: &Migrate,
    url: &DatabaseUrl,
) -> Result<bool, Box<dyn StdError + Send + Sync>> {
    let database = Database::open(url, 2, crate::complain).await?;
    let newest = database.known_steps().last().map_or(0, |step| step.version);
    let done = match what {
        Migrate::Up { to: None } => {
            database.migrate().await?;
            true
        }
        Migrate::Up { to: Some(version) } => {
            database.migrate_up(*version).await?;
            true
        }
        Migrate::Down(down) => {
            database.migrate_down(down.to.unwrap_or(0)).await?;
            true
        }
        Migrate::Status => database.schema_version().await? == newest,
        Migrate::Wait => wait(&database, newest).await?,
    };
    let version = database.schema_version().await?;
    for step in database.known_steps() {
        let state = if step.version <= version {
            "done"
        } else {
            "to do"
        };
        say(&format!("{:04} {:<24} {state}", step.version, step.name));
    }
    database.close().await;
    Ok(done)
}

async fn wait(database: &Database, newest: i64) -> Result<bool, Box<dyn StdError + Send + Sync>> {
    let deadline = tokio::time::Instant::now() + crate::database::PATIENCE;
    while database.schema_version().await? < newest {
        if tokio::time::Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    Ok(true)
}
