use std::{sync::Arc, time::Duration as StdDuration};

use time::{Duration, OffsetDateTime};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    auth::Auth,
    error::Error,
    mail::{Role, SEND_TIMEOUT},
    ports::{ClaimedMail, GIVE_UP_AFTER, MailerError, StoreError},
    types::Digest,
    workers::Stopped,
};

/// Mails that one worker holds at once; each is being sent.
const AT_ONCE: usize = 8;
/// Longer than a mail can take, so that it is claimed again only when its worker died.
const LEASE: Duration = Duration::minutes(2);
/// How long a worker sleeps when nobody wakes it: retries, and mails of other processes that a store cannot tell of.
const POLL: StdDuration = StdDuration::from_secs(5);
/// After a fault of the store.
const PAUSE: StdDuration = StdDuration::from_secs(5);
/// Between two tries to keep what became of a mail.
const KEEP_AGAIN: StdDuration = StdDuration::from_secs(1);
/// The most of a reason that is kept, in characters.
const REASON: usize = 300;

impl Auth {
    /// The work of a sender, until it is told to stop.
    pub(crate) async fn send_mails(self, mut stopped: Stopped) {
        let mut sending = JoinSet::new();
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
            let free = AT_ONCE - sending.len();
            idle = match self.claim(free).await {
                Ok((claimed, more)) => {
                    let is_all = claimed.len() < free && !more;
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
            self.shared.duty.is_alive(Role::Sender, idle);
        }
        while sending.join_next().await.is_some() {}
    }

    /// Tries a few due mails once, one after the other, the oldest first; says how many. For a host that runs no workers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`] when the outbox fails. A mail that fails is counted in the outbox, not here.
    pub async fn send_due_mails(&self) -> Result<usize, Error> {
        for count in 0..AT_ONCE {
            // Each when its turn comes: a claim is for the time that one mail can take.
            match self.next_claim().await? {
                Some(claim) => self.clone().try_mail(claim).await,
                None => return Ok(count),
            }
        }
        Ok(AT_ONCE)
    }

    /// One mail, also behind many that nobody can read: those are put off meanwhile, so there is an end.
    async fn next_claim(&self) -> Result<Option<Claim>, Error> {
        loop {
            let (mut claimed, more) = self.claim(1).await?;
            let claim = claimed.pop();
            if claim.is_some() || !more {
                return Ok(claim);
            }
        }
    }

    /// Also whether it stopped looking before it knew that there are no others.
    async fn claim(&self, limit: usize) -> Result<(Vec<Claim>, bool), Error> {
        if !self.has_mailer() {
            return Ok((Vec::new(), false));
        }
        let now = self.now();
        let until = Instant::now() + LEASE.unsigned_abs();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let claims = self.store.claim_mails(now, LEASE, limit).await?;
        for mail in claims.given_up {
            self.shared.duty.given_up();
            tracing::error!(%mail, "a mail is given up: nobody could read it, or every worker that tried it was lost");
        }
        let claim = |mail| Claim {
            mail,
            until,
            until_by_clock: now + LEASE,
        };
        Ok((claims.mails.into_iter().map(claim).collect(), claims.more))
    }

    async fn try_mail(self, claim: Claim) {
        let claim = Arc::new(claim);
        let mail = &claim.mail.mail;
        // A task of its own: a mailer that panics fails this mail, not the worker. In a set, so that it ends with us.
        let mut sending = JoinSet::new();
        let (auth, of) = (self.clone(), Arc::clone(&claim));
        sending.spawn(async move { auth.send(&of).await });
        let outcome = match sending.join_next().await {
            Some(Ok(outcome)) => outcome,
            _ => Outcome::failed_for_now("the mailer panicked"),
        };
        let duty = &self.shared.duty;
        let fate = match outcome {
            Outcome::Late => {
                tracing::warn!(mail = %mail.id, "a mail is left to a later claim: too little of this one was left to hand it over");
                return;
            }
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
                let ClaimedMail {
                    attempts,
                    first_try_at,
                    ..
                } = claim.mail;
                let (now, end) = (self.now(), first_try_at + GIVE_UP_AFTER);
                // The last try is at the end, and not before.
                let retry_at = (for_now && now < end)
                    .then(|| end.min(now + backoff(attempts.saturating_sub(1), self.jitter())));
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
                Err(StoreError::Backend(cause)) => {
                    tracing::error!(error = &*cause as &dyn std::error::Error, mail = %mail.id, "what became of a mail cannot be kept");
                    // Perhaps what failed is the deletion, or the reason: a mail that was sent and stays due is sent again and again.
                    let (retry_at, reason) = match fate {
                        Fate::Done => (None, "it is done with, and could not be deleted"),
                        Fate::Failed { retry_at, .. } => {
                            (*retry_at, "it failed, and the reason could not be kept")
                        }
                    };
                    return self
                        .store
                        .mail_failed(mail.id, *lease, retry_at, reason)
                        .await
                        .map(drop);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&self, claim: &Claim) -> Outcome {
        let mail = &claim.mail.mail;
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
        if !claim.has_time_for(SEND_TIMEOUT, self.now()) {
            return Outcome::Late;
        }
        match post.hand_over(&outgoing).await {
            Ok(()) => Outcome::Sent,
            Err(error @ MailerError::Permanent(_)) => Outcome::failed_for_good(&chain(&error)),
            Err(error @ MailerError::Temporary(_)) => Outcome::failed_for_now(&chain(&error)),
        }
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
    until_by_clock: OffsetDateTime,
}

impl Claim {
    /// Asks two clocks: the steady one stands still while a machine is suspended.
    fn has_time_for(&self, work: StdDuration, now: OffsetDateTime) -> bool {
        Instant::now() + work <= self.until && now + work <= self.until_by_clock
    }
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
    /// It was not handed over, because another worker may have it in a moment.
    Late,
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
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |chain, source| {
            format!("{chain}: {source}")
        })
}

/// One short line for logs and terminals. A server that quotes the mail it refuses, whole or wrapped or encoded, must not bring a token there: what looks like
/// a piece of one is left out, and of an address all but its first letter and its domain.
pub(super) fn presentable(reason: &str) -> String {
    const TOKEN: &str = "token=";
    reason
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(|word| match (word.find(TOKEN), word.rsplit_once('@')) {
            (Some(at), _) => word[..at + TOKEN.len()].to_owned(),
            (None, Some((local, domain))) => {
                let first = local.chars().next().map(String::from).unwrap_or_default();
                format!("{first}\u{2026}@{}", without_pieces(domain))
            }
            (None, None) => without_pieces(word),
        })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(REASON)
        .collect()
}

/// Host names, words and codes are shorter, or have no digits.
fn without_pieces(word: &str) -> String {
    const PIECE: usize = 20;
    let is_encoded = |c: char| c.is_ascii_alphanumeric() || "-_+/=".contains(c);
    let mut kept = String::new();
    for part in word.split_inclusive(|c| !is_encoded(c)) {
        let piece = part.trim_end_matches(|c| !is_encoded(c));
        if piece.len() >= PIECE && piece.contains(|c: char| c.is_ascii_digit()) {
            kept.push('\u{2026}');
            kept += &part[piece.len()..];
        } else {
            kept += part;
        }
    }
    kept
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

    #[test]
    fn a_server_tells_no_address_of_those_it_refuses() {
        assert_eq!(
            presentable("550 5.1.1 <ada@example.org>: no such user here"),
            "550 5.1.1 <\u{2026}@example.org>: no such user here"
        );
        assert_eq!(
            presentable("rcpt=ada+x@b@example.org"),
            "r\u{2026}@example.org"
        );
    }

    #[test]
    fn a_token_that_a_server_wrapped_quoted_or_encoded_is_left_out() {
        let header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
        let payload = "eyJqdGkiOiJrVDBfLWFiY2RlZmdoaWoiLCJleHAiOjE3NjcyMjU2MDB9";
        let signature = "rT1aVb2Xc3Yd4Ze5Af6Bg7Ch8Di9Ej0Fk1Gl2Hm3In4";
        for said in [
            format!(
                "554 spam in \"https://example.org/v?token\u{3d}\r\n {header}.{payload}.{signature}\""
            ),
            format!("554 spam: token=3D{header}.=\r\n554-{payload}=\r\n554 .{signature}"),
            format!("554 <{header}.{payload}.{signature}>"),
            format!(
                "554 https://example.org/v?t%6Fken={header}.{}\r\n {} refused",
                &payload[..30],
                &payload[30..]
            ),
        ] {
            let shown = presentable(&said);
            for part in [header, payload, signature] {
                assert!(!shown.contains(&part[..20]), "{shown}");
                assert!(!shown.contains(&part[part.len() - 20..]), "{shown}");
            }
            assert!(shown.starts_with("554"), "{shown}");
        }
        let harmless = "550-5.7.26 mail-wm1-f41.google.com: see https://support.example.com/mail/?p=UnauthenticatedSender 4XyZ12aBcDz";
        assert_eq!(presentable(harmless), harmless);
    }
}
