//! Limits that several processes share.

mod link;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use redis::{Client, Script, ScriptInvocation, TlsCertificates};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::{Duration, OffsetDateTime};

use self::link::Link;
use crate::{
    adapters::LocalLimits,
    ports::{
        Attempt, AttemptLimiter, Quota, REMEMBERED, RateLimiter, SLOW, Standing, WINDOW,
        WRONG_FROM_A_NETWORK, WRONG_IN_A_ROW,
    },
    types::{Network, Secret},
};

/// Budgets and counts in a Redis server, for all processes that name the same one. Clones share them.
///
/// 1. A request is one script, and thereby one atomic step.
/// 2. A server that is away, slow (a quarter of a second), full or not ours to write to is gone without: each process counts for itself then, in
///    [`LocalLimits`], and looks for the server once a second. No request fails or waits because of it, but the one or those that notice.
/// 3. An outage is one error in the log, and its end is one line.
///
/// Times are those of the processes, whose clocks agree within the seconds that tokens need anyway.
///
/// # Security
/// The server learns client addresses and SHA-256 digests of names, and whoever writes to it lifts limits: it belongs behind a password, and behind TLS
/// (`rediss:`) on the way over a network. While it is away, every process grants the whole of each limit by itself.
#[derive(Clone)]
pub struct RedisLimits(Arc<Shared>);

struct Shared {
    attempt: Script,
    link: Arc<Link>,
    local: LocalLimits,
    take: Script,
}

/// Why limits cannot lie in a Redis server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRedis {
    /// The authorities are no certificates as PEM, or none is needed.
    #[error("must be certificates as PEM, for an address that begins with rediss://")]
    Roots,
    /// The address is none.
    #[error("must be redis://[:password@]host[:port][/database], or rediss:// for TLS")]
    Url,
}

impl RedisLimits {
    /// Limits in the server at this address. Nothing is sent yet: see [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`InvalidRedis::Url`].
    pub fn open(url: &Secret<String>) -> Result<Self, InvalidRedis> {
        Ok(Self::over(client(url)?))
    }

    /// As [`open`](Self::open), by TLS, to a server for which one of these authorities vouches: certificates as PEM, instead of the web's.
    ///
    /// # Errors
    /// [`InvalidRedis`].
    pub fn open_trusting(url: &Secret<String>, roots: &[u8]) -> Result<Self, InvalidRedis> {
        let info = client(url)?.get_connection_info().clone();
        if !matches!(CertificateDer::pem_slice_iter(roots).next(), Some(Ok(_))) {
            return Err(InvalidRedis::Roots);
        }
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(roots.to_vec()),
        };
        let client = Client::build_with_tls(info, certificates).map_err(|_| InvalidRedis::Roots)?;
        Ok(Self::over(client))
    }

    fn over(client: Client) -> Self {
        // Or the first connection by TLS panics where a host's features bring none or two; whoever was first may stay.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self(Arc::new(Shared {
            attempt: Script::new(include_str!("attempt.lua")),
            link: Arc::new(Link::new(client)),
            local: LocalLimits::new(),
            take: Script::new(include_str!("take.lua")),
        }))
    }

    /// Looks for the server, for two seconds at most. Without this the first requests do, and are counted locally meanwhile; a server that is away is told
    /// in the log, and no error.
    pub async fn connect(&self) {
        self.0.link.look().await;
    }

    /// What one of these says of an attempt: `look`, `right` or `wrong`.
    async fn attempt(&self, step: &str, attempt: &Attempt) -> Option<Option<Duration>> {
        let mut script = self.0.attempt.prepare_invoke();
        for key in keys(attempt) {
            script.key(key);
        }
        script.arg(step).arg(milliseconds(since_epoch(attempt.now)));
        script
            .arg(WRONG_FROM_A_NETWORK)
            .arg(milliseconds(WINDOW))
            .arg(WRONG_IN_A_ROW)
            .arg(milliseconds(SLOW))
            .arg(milliseconds(REMEMBERED));
        let wait: i64 = self.0.link.ask(&script).await?;
        Some((wait > 0).then(|| Duration::milliseconds(wait)))
    }
}

impl fmt::Debug for RedisLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisLimits(..)")
    }
}

#[async_trait]
impl RateLimiter for RedisLimits {
    async fn take(
        &self,
        budget: &'static str,
        client: Network,
        quota: Quota,
        now: OffsetDateTime,
    ) -> Standing {
        // Rounded up: a burst is never more than was said.
        let interval = quota.interval().div_ceil(1000);
        let mut script: ScriptInvocation<'_> = self.0.take.prepare_invoke();
        script
            .key(format!("auth-tower:budget:{budget}:{client}"))
            .arg(since_epoch(now).whole_microseconds())
            .arg(interval)
            .arg(interval.saturating_mul(u64::from(quota.burst())));
        match self.0.link.ask::<(u8, u64)>(&script).await {
            Some((is_admitted, owed)) => {
                quota.standing(is_admitted == 1, owed.saturating_mul(1000))
            }
            None => self.0.local.take(budget, client, quota, now).await,
        }
    }
}

#[async_trait]
impl AttemptLimiter for RedisLimits {
    async fn wait(&self, attempt: &Attempt) -> Option<Duration> {
        match self.attempt("look", attempt).await {
            Some(wait) => wait,
            None => self.0.local.wait(attempt).await,
        }
    }

    async fn settle(&self, attempt: &Attempt, is_right: bool) -> Option<Duration> {
        let step = if is_right { "right" } else { "wrong" };
        match self.attempt(step, attempt).await {
            Some(wait) => wait,
            None => self.0.local.settle(attempt, is_right).await,
        }
    }

    async fn forget(&self, attempt: &Attempt) {
        let script = Script::new("return redis.call('DEL', KEYS[1], KEYS[2])");
        let [wrong, row, _] = keys(attempt);
        let mut script = script.key(wrong);
        script.key(row);
        let _: Option<i64> = self.0.link.ask(&script).await;
        self.0.local.forget(attempt).await;
    }
}

/// Without a fragment: `#insecure` would be TLS with anybody.
fn client(url: &Secret<String>) -> Result<Client, InvalidRedis> {
    let url = url.expose().as_str();
    if url.contains('#') {
        return Err(InvalidRedis::Url);
    }
    Client::open(url).map_err(|_| InvalidRedis::Url)
}

/// The wrong ones from there, those in a row, and whether a right one came from there. In braces stands what they have in common: a cluster keeps them
/// together.
fn keys(attempt: &Attempt) -> [String; 3] {
    let account = BASE64_URL_SAFE_NO_PAD.encode(attempt.account.as_bytes());
    let network = attempt.network;
    [
        format!("auth-tower:{{{account}}}:wrong:{network}"),
        format!("auth-tower:{{{account}}}:row"),
        format!("auth-tower:{{{account}}}:known:{network}"),
    ]
}

fn since_epoch(time: OffsetDateTime) -> Duration {
    time - OffsetDateTime::UNIX_EPOCH
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.whole_milliseconds()).unwrap_or(i64::MAX)
}
