//! From the declared routes to a layer or a service.

mod dispatch;
mod prefix;
mod route;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod unit_of_work;

use std::sync::{Arc, Once};

use auth_billing::Billing;
use auth_core::Auth;

pub(crate) use self::{
    dispatch::Dispatch,
    route::{Ctx, Route},
};
use self::{dispatch::Paths, table::declared};
pub use self::{
    prefix::{InvalidPrefix, Prefix},
    route::{Class, RouteInfo},
    service::{AuthFuture, AuthService},
    table::{Endpoint, routes},
};
use crate::{
    client_ip::ClientIp,
    internal_keys::InternalKeys,
    mount::AuthLayer,
    rate_limit::{RateClass, RateLimits},
};

/// Puts the endpoints together: all that [`routes`] names, but those that need mail when [`Auth`] has no mailer, and those of credits and payments without
/// [`billing`](Self::billing).
///
/// ```
/// # use auth_core::{Auth, types::Secret};
/// use auth_tower::{AuthRouter, ClientIp, Endpoint, InternalKeys, Prefix};
///
/// # fn mount(auth: &Auth, key: Secret<String>) -> Result<(), Box<dyn std::error::Error>> {
/// let layer = AuthRouter::new(auth)
///     .prefix(Prefix::parse("/api")?)
///     .internal_keys(InternalKeys::parse([("billing", key)])?)
///     .client_ip(ClientIp::peer())
///     .without(Endpoint::DeleteAccount)
///     .into_layer();
/// # Ok(())
/// # }
/// ```
///
/// # Runtime
/// A handler goes on in a task of its own when its client hangs up, so that nothing is left half done: requests must be served inside a
/// tokio runtime. Bodies are bounded in size, not in time: the server that holds the connection sets the time-outs.
#[derive(Debug, Clone)]
#[must_use = "it mounts nothing until it is made a layer or a service"]
pub struct AuthRouter {
    auth: Auth,
    billing: Option<Billing>,
    client_ip: ClientIp,
    keys: InternalKeys,
    limits: Option<RateLimits>,
    prefix: Prefix,
    unprotected: bool,
    without: Vec<Endpoint>,
}

impl AuthRouter {
    /// All endpoints, under the default [limits](crate::rate_limit), without a prefix or an internal key; clients are the other ends of connections.
    pub fn new(auth: &Auth) -> Self {
        Self {
            auth: auth.clone(),
            billing: None,
            client_ip: ClientIp::peer(),
            keys: InternalKeys::none(),
            limits: Some(RateLimits::default()),
            prefix: Prefix::default(),
            unprotected: false,
            without: Vec::new(),
        }
    }

    /// Mounts the endpoints of credits and payments.
    pub fn billing(mut self, billing: Billing) -> Self {
        self.billing = Some(billing);
        self
    }

    /// How the client's address is found; [`ClientIp::peer`] by default, for which the host puts a [`PeerAddr`](crate::PeerAddr) into each request.
    ///
    /// # Security
    /// Clients whose address is not known are one to all limits: they share one budget, and ten wrong passwords of one of them keep all of them from an
    /// account. It is logged when the first of them comes.
    pub fn client_ip(mut self, client_ip: ClientIp) -> Self {
        self.client_ip = client_ip;
        self
    }

    /// Opens the diagnostic routes to everybody, which ask for an internal key otherwise: for development.
    ///
    /// # Security
    /// Then anybody has test mails sent to the operator, and sees how this host's mails are made.
    pub fn diagnostics_unprotected(mut self) -> Self {
        self.unprotected = true;
        self
    }

    /// The keys that open internal routes. Without them those answer 401.
    pub fn internal_keys(mut self, keys: InternalKeys) -> Self {
        self.keys = keys;
        self
    }

    /// Where to mount, as paths arrive here: not what an outer router has taken off already.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// How much one client may ask for; 100 requests a minute of what guesses can be made with, and 1000 of the rest, by default.
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Leaves limits to what stands before this router.
    ///
    /// # Security
    /// Without any, whoever asks often enough keeps the hashing threads busy and tries many passwords on many accounts.
    pub fn without_rate_limits(mut self) -> Self {
        self.limits = None;
        self
    }

    /// Leaves an endpoint out. A path without any is the host's own again.
    pub fn without(mut self, endpoint: Endpoint) -> Self {
        self.without.push(endpoint);
        self
    }

    /// The routes that this router mounts.
    pub fn routes(&self) -> impl Iterator<Item = RouteInfo> {
        self.active().map(|route| route.info)
    }

    /// A layer: our paths are answered, every other request goes on to the host's service untouched.
    pub fn into_layer(self) -> AuthLayer {
        AuthLayer::new(self.into_dispatch())
    }

    /// A service of its own, which answers 404 to paths that are not ours.
    pub fn into_service(self) -> AuthService {
        AuthService::new(self.into_dispatch())
    }

    fn into_dispatch(self) -> Arc<Dispatch> {
        let paths = Paths::new(self.prefix.as_str(), self.active());
        if self.limits.is_some() {
            RateClass::register_counters();
        }
        Arc::new(Dispatch {
            auth: self.auth,
            billing: self.billing,
            client_ip: self.client_ip,
            is_blind: Once::new(),
            keys: self.keys,
            limits: self.limits,
            paths,
        })
    }

    fn active(&self) -> impl Iterator<Item = Route> {
        let (has_billing, has_mailer) = (self.billing.is_some(), self.auth.has_mailer());
        declared()
            .into_iter()
            .filter(move |route| {
                (has_billing || !route.info.needs_billing)
                    && (has_mailer || !route.info.needs_mailer)
                    && !self.without.contains(&route.info.endpoint)
            })
            .map(|route| {
                if self.unprotected {
                    route.unprotected()
                } else {
                    route
                }
            })
    }
}
