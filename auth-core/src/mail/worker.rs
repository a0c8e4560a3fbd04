use std::{pin::pin, time::Duration as StdDuration};

use time::{Duration, OffsetDateTime};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    auth::Auth,
    error::Error,
    ports::{ClaimedMail, MailerError, StoreError, Swept},
    types::QueuedMail,
};

/// Mails that one worker holds at once.
const BATCH: u32 = 8;
/// For one mail, everything included.
const SEND_TIMEOUT: StdDuration = StdDuration::from_secs(30);
/// Longer than a batch can take, so that a mail is claimed again only when its worker died.
const LEASE: Duration = Duration::minutes(5);
/// How long a worker sleeps when nobody wakes it: mails of other processes, and retries.
const POLL: StdDuration = StdDuration::from_secs(1);
/// After a fault of the store.
const PAUSE: StdDuration = StdDuration::from_secs(5);
const SWEEP: StdDuration = StdDuration::from_mins(10);
/// A mail that did not leave by then is a dead letter.
const GIVE_UP: Duration = Duration::DAY;

impl Auth {
    /// Sends queued mails and sweeps what time has ended, until `shutdown` is ready and the mails in hand are done.
    ///
    /// Nothing runs in the background unless the host runs this. Several workers, in one process or in many, share the work.
    pub async fn run_workers(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut next_sweep = Instant::now();
        let mut idle = StdDuration::ZERO;
        loop {
            // Work is never cut: only the waiting races with the shutdown, which comes first.
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = self.shared.mail_queued.notified() => {}
                () = sleep(idle) => {}
            }
            if Instant::now() >= next_sweep {
                next_sweep = Instant::now() + SWEEP;
                match self.sweep().await {
                    Ok(swept) => tracing::debug!(?swept, "swept"),
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "sweeping failed"
                        );
                    }
                }
            }
            idle = match self.send_due_mails().await {
                Ok(0) => POLL,
                Ok(_) => StdDuration::ZERO,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the outbox cannot be read"
                    );
                    PAUSE
                }
            };
        }
    }

    /// Claims a batch of due mails and tries each once; says how many it claimed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`] when the outbox fails. A mail that fails is counted in the outbox, not here.
    pub async fn send_due_mails(&self) -> Result<usize, Error> {
        if !self.has_mailer() {
            return Ok(0);
        }
        let now = self.now();
        let claimed = self.store.claim_mails(now, now + LEASE, BATCH).await?;
        for claim in &claimed {
            if let Err(error) = self.try_mail(claim).await {
                // It is claimed again when the lease is over; the others need not wait for that.
                tracing::error!(error = &error as &dyn std::error::Error, mail = %claim.mail.id, "what became of a mail was not kept");
            }
        }
        Ok(claimed.len())
    }

    async fn try_mail(&self, claim: &ClaimedMail) -> Result<(), StoreError> {
        let ClaimedMail {
            mail,
            attempts,
            lease,
        } = claim;
        // A task of its own: a mailer that panics fails this mail, not the worker.
        let (auth, sent) = (self.clone(), mail.clone());
        let sent = tokio::spawn(async move { auth.send(&sent).await }).await;
        let Failure { temporary, reason } = match sent {
            Ok(Ok(())) => {
                self.store.mail_sent(mail.id, *lease).await?;
                return Ok(());
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::temporary("the mailer panicked"),
        };
        let now = self.now();
        let retry_at = Some(now + backoff(*attempts, self.jitter()))
            .filter(|at| temporary && *at < mail.created_at + GIVE_UP);
        if retry_at.is_none() {
            tracing::error!(mail = %mail.id, reason, "a mail is given up");
        } else {
            tracing::warn!(mail = %mail.id, reason, attempts, "a mail was not accepted; it is tried again");
        }
        self.store
            .mail_failed(mail.id, *lease, retry_at, &reason)
            .await?;
        Ok(())
    }

    async fn send(&self, mail: &QueuedMail) -> Result<(), Failure> {
        let Some(post) = &self.shared.post else {
            return Err(Failure::temporary("there is no mailer"));
        };
        let now = self.now().unix_timestamp();
        if mail
            .letter
            .token()
            .is_some_and(|token| token.expires_at <= now)
        {
            return Err(Failure {
                temporary: false,
                reason: "its link has expired".to_owned(),
            });
        }
        let outgoing = post
            .write(mail, &self.shared.keys)
            .map_err(|error| Failure::permanent(&error))?;
        match timeout(SEND_TIMEOUT, post.mailer.send(&outgoing)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ MailerError::Permanent(_))) => Err(Failure::permanent(&error)),
            Ok(Err(error @ MailerError::Temporary(_))) => Err(Failure::temporary(chain(&error))),
            Err(_) => Err(Failure::temporary("the mailer took too long")),
        }
    }

    /// Deletes what time has ended: sessions, mailed tokens, and accounts that were not verified in time. [`run_workers`](Self::run_workers) does it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`].
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let now = self.now();
        // Without a mailer nobody can prove an address: then an unproven one says nothing.
        let unverified_before = if self.has_mailer() {
            now - self.shared.settings.unverified_lifetime
        } else {
            OffsetDateTime::UNIX_EPOCH
        };
        Ok(self.store.sweep(now, unverified_before).await?)
    }

    /// From 0 to 255.
    fn jitter(&self) -> u8 {
        let mut byte = [0];
        self.random().fill(&mut byte);
        byte[0]
    }
}

struct Failure {
    temporary: bool,
    reason: String,
}

impl Failure {
    fn temporary(reason: impl Into<String>) -> Self {
        Self {
            temporary: true,
            reason: reason.into(),
        }
    }

    fn permanent(error: &dyn std::error::Error) -> Self {
        Self {
            temporary: false,
            reason: chain(error),
        }
    }
}

/// An error and its sources on one line, for the operator.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |chain, source| {
            format!("{chain}: {source}")
        })
}

/// 5 s, 10 s, 20 s … up to an hour, each up to a half longer, so that workers do not come back together.
fn backoff(attempts: u32, jitter: u8) -> Duration {
    let step = Duration::seconds(5 << attempts.min(10)).min(Duration::HOUR);
    step + step * f64::from(jitter) / 512.0
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::backoff;

    #[test]
    fn waiting_doubles_up_to_an_hour_with_jitter() {
        assert_eq!(backoff(0, 0), Duration::seconds(5));
        assert_eq!(backoff(3, 0), Duration::seconds(40));
        assert!(backoff(3, 255) < Duration::seconds(60) && backoff(3, 255) > Duration::seconds(59));
        assert_eq!(backoff(u32::MAX, 0), Duration::HOUR);
    }
}
