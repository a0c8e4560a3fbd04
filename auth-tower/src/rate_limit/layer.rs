use tower_layer::Layer;

use super::{RateClass, RateLimit, RateLimits};
use crate::client_ip::ClientIp;

/// Puts a host's service under a limit; [`RateLimits::layer`] makes it.
#[derive(Debug, Clone)]
pub struct RateLimitLayer {
    limits: RateLimits,
    class: RateClass,
    client_ip: ClientIp,
}

impl RateLimitLayer {
    pub(super) const fn new(limits: RateLimits, class: RateClass, client_ip: ClientIp) -> Self {
        Self {
            limits,
            class,
            client_ip,
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(
            self.limits.clone(),
            self.class,
            self.client_ip.clone(),
            inner,
        )
    }
}
