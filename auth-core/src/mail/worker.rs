use std::{pin::pin, sync::Arc, time::Duration as StdDuration};

use time::{Duration, OffsetDateTime};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    auth::Auth,
    error::Error,
    ports::{ClaimedMail, MailerError, StoreError, Swept},
    types::{Digest, QueuedMail},
};

/// Mails that one worker holds at once; each is being sent.
const AT_ONCE: usize = 8;
/// Longer than a mail can take, so that it is claimed again only when its worker died.
const LEASE: StdDuration = StdDuration::from_mins(2);
/// How long a worker sleeps when nobody wakes it: retries, and mails of other processes that a store cannot tell of.
const POLL: StdDuration = StdDuration::from_secs(5);
/// After a fault of the store, or a death.
const PAUSE: StdDuration = StdDuration::from_secs(5);
/// Between two tries to keep what became of a mail.
const KEEP_AGAIN: StdDuration = StdDuration::from_secs(1);
const SWEEP: StdDuration = StdDuration::from_mins(10);
/// A mail that did not leave by then is a dead letter.
const GIVE_UP: Duration = Duration::DAY;
/// The most of a reason that is kept, in characters.
const REASON: usize = 300;

impl Auth {
    /// Sends queued mails and sweeps what time has ended, until `shutdown` is ready and the mails in hand are done.
    ///
    /// Nothing runs in the background unless the host runs this. Several workers, in one process or in many, share the work. One that dies, by a bug in a
    /// store or a mailer, is followed by another; [`mail_workers`](Self::mail_workers) tells how they are.
    ///
    /// A mail is sent by one worker and once. It is sent again, with the same id, when its worker died or lost the store between the server's answer and
    /// the moment when that was kept.
    pub async fn run_workers(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let duty = self.shared.duty.begin();
        let (stop, stopped) = watch::channel(());
        // In a set, so that it ends with us when we are dropped.
        let mut worker = JoinSet::new();
        worker.spawn(self.clone().work(stopped.clone()));
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = worker.join_next() => {
                    tracing::error!(error = ?ended.err(), "a worker died; another one follows");
                    let next = self.clone().work(stopped.clone());
                    worker.spawn(async move {
                        sleep(PAUSE).await;
                        next.await;
                    });
                }
            }
        }
        drop(stop);
        while worker.join_next().await.is_some() {}
        duty.end();
    }

    async fn work(self, mut stopped: watch::Receiver<()>) {
        let mut watching = JoinSet::new();
        watching.spawn(self.clone().watch());
        let mut sending = JoinSet::new();
        let mut next_sweep = Instant::now();
        let mut idle = StdDuration::ZERO;
        loop {
            let is_free = sending.len() < AT_ONCE;
            // Work is never cut: only the waiting races with the shutdown, which comes first.
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                Some(_) = sending.join_next(), if !is_free => {}
                () = self.shared.mail_queued.notified(), if is_free => {}
                () = sleep(idle), if is_free => {}
            }
            while sending.try_join_next().is_some() {}
            if Instant::now() >= next_sweep {
                next_sweep = Instant::now() + SWEEP;
                self.sweep_and_tell().await;
            }
            let free = AT_ONCE - sending.len();
            idle = match self.claim(free).await {
                Ok(claimed) => {
                    let is_all = claimed.len() < free;
                    for claim in claimed {
                        sending.spawn(self.clone().try_mail(claim));
                    }
                    if is_all { POLL } else { StdDuration::ZERO }
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the outbox cannot be read"
                    );
                    PAUSE
                }
            };
            self.shared.duty.is_alive();
        }
        while sending.join_next().await.is_some() {}
    }

    /// Wakes a worker for mails that are not queued by this process.
    async fn watch(self) {
        let wake = || self.shared.mail_queued.notify_one();
        while let Err(error) = self.store.watch_mails(&wake).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "mails of others are not heard of for a moment"
            );
            sleep(PAUSE).await;
        }
    }

    /// Tries a few due mails once, one after the other, the oldest first; says how many. For a host that runs no workers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`] when the outbox fails. A mail that fails is counted in the outbox, not here.
    pub async fn send_due_mails(&self) -> Result<usize, Error> {
        for count in 0..AT_ONCE {
            // Each when its turn comes: a claim is for the time that one mail can take.
            let Some(claim) = self.claim(1).await?.pop() else {
                return Ok(count);
            };
            self.clone().try_mail(claim).await;
        }
        Ok(AT_ONCE)
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claim>, Error> {
        if !self.has_mailer() {
            return Ok(Vec::new());
        }
        let now = self.now();
        let until = Instant::now() + LEASE;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let claimed = self.store.claim_mails(now, now + LEASE, limit).await?;
        Ok(claimed
            .into_iter()
            .map(|mail| Claim { mail, until })
            .collect())
    }

    async fn try_mail(self, claim: Claim) {
        let mail = Arc::new(claim.mail.mail.clone());
        // A task of its own: a mailer that panics fails this mail, not the worker. In a set, so that it ends with us.
        let mut sending = JoinSet::new();
        let (auth, sent) = (self.clone(), Arc::clone(&mail));
        sending.spawn(async move { auth.send(&sent).await });
        let outcome = match sending.join_next().await {
            Some(Ok(outcome)) => outcome,
            _ => Outcome::failed_for_now("the mailer panicked"),
        };
        let duty = &self.shared.duty;
        let fate = match outcome {
            Outcome::Sent => {
                duty.sent();
                Fate::Done
            }
            Outcome::Withdrawn => {
                duty.withdrawn();
                tracing::info!(mail = %mail.id, "the link in a mail is used or killed: it is not sent");
                Fate::Done
            }
            Outcome::Failed { for_now, reason } => {
                let attempts = claim.mail.attempts;
                let retry_at = Some(self.now() + backoff(attempts, self.jitter()))
                    .filter(|at| for_now && *at < mail.created_at + GIVE_UP);
                duty.failed(retry_at.is_none());
                if retry_at.is_none() {
                    tracing::error!(mail = %mail.id, reason, "a mail is given up");
                } else {
                    tracing::warn!(mail = %mail.id, reason, attempts, "a mail was not accepted; it is tried again");
                }
                Fate::Failed { retry_at, reason }
            }
        };
        if let Err(error) = self.keep(&claim, &fate).await {
            // It is claimed again when the lease is over.
            tracing::error!(error = &error as &dyn std::error::Error, mail = %mail.id, "what became of a mail was not kept");
        }
    }

    /// Writes what became of a mail; while the store is away and the claim is ours, again and again. A mail that was sent and not marked is sent twice.
    async fn keep(&self, claim: &Claim, fate: &Fate) -> Result<(), StoreError> {
        let ClaimedMail { mail, lease, .. } = &claim.mail;
        loop {
            let kept = match fate {
                Fate::Done => self.store.mail_sent(mail.id, *lease).await,
                Fate::Failed { retry_at, reason } => {
                    self.store
                        .mail_failed(mail.id, *lease, *retry_at, reason)
                        .await
                }
            };
            match kept {
                Ok(_) => return Ok(()),
                Err(StoreError::Unavailable(_)) if Instant::now() + KEEP_AGAIN < claim.until => {
                    sleep(KEEP_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&self, mail: &QueuedMail) -> Outcome {
        let Some(post) = &self.shared.post else {
            return Outcome::failed_for_now("there is no mailer");
        };
        if let Some(token) = mail.letter.token() {
            let now = self.now();
            if token.expires_at <= now.unix_timestamp() {
                return Outcome::failed_for_good("its link has expired");
            }
            let digest = Digest::of(&token.jti);
            match self.store.pending_token(&digest, token.purpose, now).await {
                Ok(Some(_)) => {}
                Ok(None) => return Outcome::Withdrawn,
                Err(error) => return Outcome::failed_for_now(&chain(&error)),
            }
        }
        let outgoing = match post.write(mail, &self.shared.keys) {
            Ok(outgoing) => outgoing,
            Err(error) => return Outcome::failed_for_good(&chain(&error)),
        };
        match post.hand_over(&outgoing).await {
            Ok(()) => Outcome::Sent,
            Err(error @ MailerError::Permanent(_)) => Outcome::failed_for_good(&chain(&error)),
            Err(error @ MailerError::Temporary(_)) => Outcome::failed_for_now(&chain(&error)),
        }
    }

    async fn sweep_and_tell(&self) {
        match self.sweep().await {
            Ok(swept) if swept.held > 0 => tracing::warn!(
                ?swept,
                "accounts that were never verified cannot be deleted: something of the host refers to them"
            ),
            Ok(swept) => tracing::debug!(?swept, "swept"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "sweeping failed");
            }
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

/// A mail that is ours until a moment of our own, whatever the clocks of others say.
struct Claim {
    mail: ClaimedMail,
    until: Instant,
}

/// What the store is told of a mail.
enum Fate {
    /// It can go.
    Done,
    Failed {
        retry_at: Option<OffsetDateTime>,
        reason: String,
    },
}

/// What became of one try.
enum Outcome {
    Failed {
        for_now: bool,
        reason: String,
    },
    Sent,
    /// Its link opens nothing any more.
    Withdrawn,
}

impl Outcome {
    fn failed_for_now(reason: &str) -> Self {
        Self::Failed {
            for_now: true,
            reason: presentable(reason),
        }
    }

    fn failed_for_good(reason: &str) -> Self {
        Self::Failed {
            for_now: false,
            reason: presentable(reason),
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

/// One short line for logs and terminals. A server that quotes the mail it refuses must not bring a token there.
fn presentable(reason: &str) -> String {
    const TOKEN: &str = "token=";
    reason
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(|word| match word.find(TOKEN) {
            Some(at) => &word[..at + TOKEN.len()],
            None => word,
        })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(REASON)
        .collect()
}

/// 5 s, 10 s, 20 s … up to an hour, each up to a half longer, so that workers do not come back together.
fn backoff(attempts: u32, jitter: u8) -> Duration {
    let step = Duration::seconds(5 << attempts.min(10)).min(Duration::HOUR);
    step + step * f64::from(jitter) / 512.0
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::{backoff, presentable};

    #[test]
    fn waiting_doubles_up_to_an_hour_with_jitter() {
        assert_eq!(backoff(0, 0), Duration::seconds(5));
        assert_eq!(backoff(3, 0), Duration::seconds(40));
        assert!(backoff(3, 255) < Duration::seconds(60) && backoff(3, 255) > Duration::seconds(59));
        assert_eq!(backoff(u32::MAX, 0), Duration::HOUR);
    }

    #[test]
    fn a_reason_is_one_short_line_without_tokens() {
        let said = "550 5.7.1\r\n\u{1b}[31mblocked:\thttps://app.example.org/verify-email?token=eyJ0.e30.AbC bad";
        assert_eq!(
            presentable(said),
            "550 5.7.1 [31mblocked: https://app.example.org/verify-email?token= bad"
        );
        assert_eq!(presentable(&"\u{e9}".repeat(1000)).chars().count(), 300);
    }
}
