//! `auth-service mail`: the mails that were given up.

use std::time::Duration;

use auth_core::{
    ports::{Clock, DeadMail, DeadMails, MOST_COUNTED, SystemClock},
    types::MailId,
    uuid::Uuid,
};
use clap::{ArgGroup, Args, Subcommand};
use tokio::time::Instant;

use crate::{
    BoxError,
    console::{Unsaid, complain, say},
    database::{self, Database, DatabaseUrl},
};

#[derive(Subcommand)]
pub(crate) enum Mail {
    /// List the mails that were given up, the oldest first
    List {
        /// The most that are listed
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Queue what was given up once more, as if it had been written now; a running service sends it
    Retry(Which),
    /// Delete what was given up
    Drop(Which),
}

#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub(crate) struct Which {
    /// Of one mail
    #[arg(group = "which")]
    id: Option<Uuid>,
    /// Every one
    #[arg(long, group = "which")]
    all: bool,
}

impl Which {
    fn meant(&self) -> DeadMails {
        self.id
            .map_or(DeadMails::All, |id| DeadMails::One(MailId::from_uuid(id)))
    }
}

/// Does it; `false` when there is no such mail.
pub(crate) async fn run(what: &Mail, url: &DatabaseUrl) -> Result<bool, BoxError> {
    let deadline = Instant::now() + database::PATIENCE;
    let database = Database::open(url, 2, deadline, complain).await?;
    let outbox = database.outbox();
    let now = SystemClock.now();
    let done = match what {
        Mail::List { limit } => {
            for mail in outbox.dead_mails(*limit).await? {
                let age = Duration::try_from(now - mail.created_at).unwrap_or_default();
                say(&line(&mail, age))?;
            }
            let counts = outbox.mail_counts().await?;
            let [dead, queued] = [counts.dead, counts.queued].map(counted);
            say(&format!("{dead} given up, {queued} queued"))?;
            true
        }
        Mail::Retry(which) => {
            let count = outbox.retry_dead_mails(which.meant(), now).await?;
            told(which, count, "queued")?
        }
        Mail::Drop(which) => {
            let count = outbox.drop_dead_mails(which.meant()).await?;
            told(which, count, "deleted")?
        }
    };
    database.close().await;
    Ok(done)
}

/// What is not counted any further is not told as if it were.
fn counted(count: u64) -> String {
    if count < MOST_COUNTED.into() {
        count.to_string()
    } else {
        format!("{MOST_COUNTED} or more")
    }
}

fn told(which: &Which, count: u64, done: &str) -> Result<bool, Unsaid> {
    if count == 0 && !which.all {
        complain("no mail of this id was given up");
        return Ok(false);
    }
    say(&format!("{count} {done}"))?;
    Ok(true)
}

fn line(mail: &DeadMail, age: Duration) -> String {
    let DeadMail {
        id,
        template,
        attempts,
        reason,
        ..
    } = mail;
    let to = masked(&mail.to);
    let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
    let tries = if *attempts == 1 { "try" } else { "tries" };
    format!("{id}  {to}  {template}  {attempts} {tries}  {age} old  {reason}")
}

/// Enough to know it again: a terminal is read over shoulders, and its output is pasted into tickets.
fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first = local.chars().next().map(String::from).unwrap_or_default();
    format!("{first}\u{2026}@{domain}")
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn an_address_is_told_by_its_first_letter_and_its_domain() {
        assert_eq!(masked("ada@example.org"), "a\u{2026}@example.org");
        assert_eq!(masked("\u{e9}@example.org"), "\u{e9}\u{2026}@example.org");
        assert_eq!(masked(""), "\u{2026}@");
    }
}
