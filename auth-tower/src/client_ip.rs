use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::request::Parts;

/// How the client's address is found: it names sessions and audit entries.
///
/// # Security
/// A header that clients can set proves nothing. Read one only if a proxy of yours overwrites it (ASVS 4.1.3, 15.3.4).
#[derive(Clone)]
pub struct ClientIp(Arc<Find>);

type Find = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

impl ClientIp {
    /// What `find` says of a request.
    ///
    /// ```
    /// # use std::net::IpAddr;
    /// # use auth_tower::ClientIp;
    /// #[derive(Clone)]
    /// struct Connection(IpAddr);
    ///
    /// let client_ip = ClientIp::from_fn(|parts| parts.extensions.get::<Connection>().map(|it| it.0));
    /// ```
    pub fn from_fn(find: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// Nobody's address is known.
    pub fn none() -> Self {
        Self::from_fn(|_| None)
    }

    /// The other end of the connection: the [`PeerAddr`] that the host put into the request's extensions.
    ///
    /// Behind a proxy that is the proxy.
    pub fn peer() -> Self {
        Self::from_fn(|parts| parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip()))
    }

    pub(crate) fn find(&self, parts: &Parts) -> Option<IpAddr> {
        // One address, one spelling: `::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 §2.5.5.2).
        (self.0)(parts).map(|ip| ip.to_canonical())
    }
}

impl Default for ClientIp {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIp(..)")
    }
}

/// The socket address of the other end, as the host's accept loop saw it; a request extension for [`ClientIp::peer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::{ClientIp, PeerAddr};

    #[test]
    fn a_mapped_peer_is_its_ipv4_address() {
        let peer: SocketAddr = "[::ffff:192.0.2.7]:443".parse().unwrap();
        let (parts, ()) = http::Request::builder()
            .extension(PeerAddr(peer))
            .body(())
            .unwrap()
            .into_parts();
        let expected = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(ClientIp::peer().find(&parts), Some(expected));
        assert_eq!(ClientIp::default().find(&parts), None);
    }
}
