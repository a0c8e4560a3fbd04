//! `auth-service migrate`: the schema by hand.

use std::{error::Error as StdError, time::Duration};

use clap::{ArgGroup, Args, Subcommand, value_parser};
use tokio::time::{Instant, sleep_until};

use crate::{
    chain,
    console::{complain, say},
    database::{self, Database, DatabaseUrl},
};

/// The newest version that this program knows; each database has as many steps as the other.
const NEWEST: i64 = auth_migrations::POSTGRES[auth_migrations::POSTGRES.len() - 1].version;

/// Between two looks at what another process may have done.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub(crate) enum Migrate {
    /// Take the schema to the newest version, or to an older one that it has not reached
    Up {
        /// The version to stop at
        #[arg(long, value_parser = value_parser!(i64).range(0..=NEWEST))]
        to: Option<i64>,
    },
    /// Take the schema back; the data of dropped tables is lost
    Down(Down),
    /// Tell which steps are done; status 1 when one is not
    Status,
    /// Wait until the schema is the newest, as another process migrates it; status 1 when nobody does
    Wait {
        /// In seconds; for the database to answer, too
        #[arg(long, default_value_t = database::PATIENCE.as_secs())]
        timeout: u64,
    },
}

#[derive(Args)]
#[command(group = ArgGroup::new("target").required(true))]
pub(crate) struct Down {
    /// The version to keep
    #[arg(long, group = "target", value_parser = value_parser!(i64).range(0..=NEWEST))]
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
    let patience = match what {
        Migrate::Wait { timeout } => Duration::from_secs(*timeout),
        _ => database::PATIENCE,
    };
    let deadline = Instant::now() + patience;
    let database = Database::open(url, 2, deadline, complain).await?;
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
        Migrate::Status => database.schema_version().await? == NEWEST,
        Migrate::Wait { timeout } => {
            let version = wait(&database, deadline).await?;
            if version < NEWEST {
                complain(&format!(
                    "auth-service: the schema is at version {version}, and nobody took it to {NEWEST} in {timeout} s"
                ));
            }
            version == NEWEST
        }
    };
    let version = database.schema_version().await?;
    for step in database.known_steps() {
        let state = if step.version <= version {
            "done"
        } else {
            "to do"
        };
        say(&format!("{:04} {:<24} {state}", step.version, step.name))?;
    }
    database.close().await;
    Ok(done)
}

/// For what works on a schema that somebody else takes care of.
pub(crate) async fn require_newest(
    database: &Database,
) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let version = database.schema_version().await?;
    if version == NEWEST {
        return Ok(());
    }
    Err(format!(
        "the schema is at version {version}, and this program works on version {NEWEST}: \
         `auth-service migrate up` takes an older one there"
    )
    .into())
}

/// The version when it is the newest, or time is over.
async fn wait(
    database: &Database,
    deadline: Instant,
) -> Result<i64, Box<dyn StdError + Send + Sync>> {
    loop {
        let is_over = Instant::now() >= deadline;
        match database.schema_version().await {
            Ok(version) if version == NEWEST || is_over => return Ok(version),
            // A newer program was faster: this one cannot serve.
            Ok(version) if version > NEWEST => database.migrate().await?,
            Ok(_) => {}
            Err(error) if database::is_unavailable(&*error) && !is_over => {
                complain(&format!("waiting for the database: {}", chain(&*error)));
            }
            Err(error) => return Err(error),
        }
        sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)).await;
    }
}
