//! Limits on how much one client asks for.
//!
//! 1. Every client has one budget for `/auth/*` and `/update-password` ([`RateClass::Auth`]) and one for the rest ([`RateClass::Default`]): 100 and 1000
//!    requests a minute by default, as many at once, refilled evenly (GCRA). `/health` and `/health/ready` take from none.
//! 2. A client is an IPv4 address or an IPv6 /64, as [`ClientIp`] finds it. Those whose address is not known share one budget.
//! 3. A request over the budget is answered 429 `rate_limited` before anything of it is looked at, and takes nothing from the budget.
//! 4. Every answer under a limit says how the budget stands: `RateLimit-Policy: "auth";q=100;w=60` and `RateLimit: "auth";r=99;t=1`, `t` being the seconds
//!    until `r` is one more; a 429 says the same in `Retry-After`.
//!
//! Our own endpoints are under these limits unless [`AuthRouter::without_rate_limits`](crate::AuthRouter::without_rate_limits) says otherwise.
//! [`layer`](RateLimits::layer) puts a host's own routes under the same budgets.
//!
//! # Deployment
//! Tell the router where the client's address is to be found ([`AuthRouter::client_ip`](crate::AuthRouter::client_ip)), or all clients share one budget.
//! Budgets are kept in the memory of the process, at most 64 MiB whoever asks; [`over`](RateLimits::over) shares them among several processes.
//!
//! # Example
//! ```
//! use std::convert::Infallible;
//!
//! use auth_tower::{
//!     ClientIp,
//!     rate_limit::{RateClass, RateLimits},
//! };
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, service_fn};
//!
//! let limits = RateLimits::default();
//! let search = ServiceBuilder::new()
//!     .layer(limits.layer(RateClass::Default, ClientIp::peer()))
//!     .service(service_fn(|_: Request<String>| async {
//!         Ok::<_, Infallible>(Response::new("found".to_owned()))
//!     }));
//! ```

mod future;
mod layer;
mod service;

use std::{fmt, num::NonZeroU32, sync::Arc};

use auth_core::{
    adapters::LocalLimits,
    ports::{Clock, Quota, RateLimiter, Standing, SystemClock},
    time::OffsetDateTime,
    types::Network,
};
use metrics::{Counter, counter, describe_counter};

pub use self::{future::RateLimitFuture, layer::RateLimitLayer, service::RateLimit};
use crate::client_ip::ClientIp;

/// Which budget a route takes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateClass {
    /// What guesses and mails can be made with.
    Auth,
    /// Everything else.
    Default,
}

impl RateClass {
    /// As the header fields name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Default => "default",
        }
    }

    /// Requests that were refused. Budgets are often made before any recorder is there, so the counter is looked up, which allocates nothing.
    fn refused(self) -> Counter {
        match self {
            Self::Auth => counter!("auth_rate_limit_refused_total", "class" => "auth"),
            Self::Default => counter!("auth_rate_limit_refused_total", "class" => "default"),
        }
    }

    /// Has the counters there from the beginning.
    pub(crate) fn register_counters() {
        describe_counter!(
            "auth_rate_limit_refused_total",
            "Requests refused because the client's budget was used up"
        );
        for class in [Self::Auth, Self::Default] {
            class.refused().increment(0);
        }
    }

    /// Of a route, by its path without prefix. Health is in none: who looks after the service must hear of it, however much others ask from the same
    /// address.
    pub(crate) fn of(path: &str) -> Option<Self> {
        if path.starts_with("/auth/") || path == "/update-password" {
            Some(Self::Auth)
        } else if matches!(path, "/health" | "/health/ready") {
            None
        } else {
            Some(Self::Default)
        }
    }
}

impl fmt::Display for RateClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The budgets of all clients. Clones share them.
#[derive(Clone)]
pub struct RateLimits {
    auth: Quota,
    default: Quota,
    clock: Arc<dyn Clock>,
    limiter: Arc<dyn RateLimiter>,
}

impl RateLimits {
    /// So many requests a minute of each class, counted in this process.
    pub fn per_minute(auth: NonZeroU32, default: NonZeroU32) -> Self {
        Self {
            auth: Quota::per_minute(auth),
            default: Quota::per_minute(default),
            clock: Arc::new(SystemClock),
            limiter: Arc::new(LocalLimits::new()),
        }
    }

    /// Where budgets are kept.
    #[must_use]
    pub fn over(mut self, limiter: impl RateLimiter) -> Self {
        self.limiter = Arc::new(limiter);
        self
    }

    /// Where the time comes from; the system by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Puts a host's own service under the budgets of that class.
    pub fn layer(&self, class: RateClass, client_ip: ClientIp) -> RateLimitLayer {
        RateLimitLayer::new(self.clone(), class, client_ip)
    }

    /// Takes one request from the budget of a client.
    pub(crate) async fn take(&self, class: RateClass, client: Network) -> Limited {
        let quota = match class {
            RateClass::Auth => self.auth,
            RateClass::Default => self.default,
        };
        let now: OffsetDateTime = self.clock.now();
        let standing = self.limiter.take(class.as_str(), client, quota, now).await;
        if !standing.is_admitted {
            class.refused().increment(1);
        }
        Limited {
            class,
            quota,
            standing,
        }
    }
}

/// 100 and 1000 a minute.
impl Default for RateLimits {
    fn default() -> Self {
        const AUTH: NonZeroU32 = NonZeroU32::new(100).unwrap();
        const DEFAULT: NonZeroU32 = NonZeroU32::new(1000).unwrap();
        Self::per_minute(AUTH, DEFAULT)
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits")
            .field("auth", &self.auth)
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

/// What became of a request under a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limited {
    pub(crate) class: RateClass,
    pub(crate) quota: Quota,
    pub(crate) standing: Standing,
}
