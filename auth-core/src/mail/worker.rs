use std::{pin::pin, time::Duration as StdDuration};

use time::{Duration, OffsetDateTime};
use tokio::time::{Instant, sleep, timeout};

use super::Post;
use crate::{
    auth::Auth,
    error::Error,
    ports::{ClaimedMail, MailerError, StoreError, Swept},
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
            // A task of its own: a mailer that panics must not end the worker.
            let auth = self.clone();
            idle = match tokio::spawn(async move { auth.send_due_mails().await }).await {
                Ok(Ok(0)) => POLL,
                Ok(Ok(_)) => StdDuration::ZERO,
                Ok(Err(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the outbox cannot be read"
                    );
                    PAUSE
                }
                Err(_) => {
                    tracing::error!("sending a mail panicked");
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
        let Some(post) = &self.shared.post else {
            return Ok(0);
        };
        let now = self.now();
        let claimed = self.store.claim_mails(now, now + LEASE, BATCH).await?;
        for claim in &claimed {
            if let Err(error) = self.try_mail(post, claim).await {
                // It is claimed again when the lease is over; the others need not wait for that.
                tracing::error!(error = &error as &dyn std::error::Error, mail = %claim.mail.id, "what became of a mail was not kept");
            }
        }
        Ok(claimed.len())
    }

    async fn try_mail(&self, post: &Post, claim: &ClaimedMail) -> Result<(), StoreError> {
        let ClaimedMail {
            mail,
            attempts,
            lease,
        } = claim;
        let Failure { temporary, reason } = match self.send(post, claim).await {
            Ok(()) => {
                self.store.mail_sent(mail.id, *lease).await?;
                return Ok(());
            }
            Err(failure) => failure,
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

    async fn send(&self, post: &Post, claim: &ClaimedMail) -> Result<(), Failure> {
        if claim
            .mail
            .letter
            .token()
            .is_some_and(|token| token.expires_at <= self.now().unix_timestamp())
        {
            return Err(Failure {
                temporary: false,
                reason: "its link has expired".to_owned(),
            });
        }
        let outgoing = post
            .write(&claim.mail, &self.shared.keys)
            .map_err(|error| Failure::permanent(&error))?;
        match timeout(SEND_TIMEOUT, post.mailer.send(&outgoing)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ MailerError::Permanent(_))) => Err(Failure::permanent(&error)),
            Ok(Err(error @ MailerError::Temporary(_))) => Err(Failure {
                temporary: true,
                reason: chain(&error),
            }),
            Err(_) => Err(Failure {
                temporary: true,
                reason: "the mailer took too long".to_owned(),
            }),
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
