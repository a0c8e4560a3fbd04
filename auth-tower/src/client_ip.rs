use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::request::Parts;

/// How the client's address is found: it names sessions and audit entries, and limits count by it.
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

    /// Nobody's address is known, so that everybody is one client to limits.
    pub fn none() -> Self {
        Self::from_fn(|_| None)
    }

    /// The other end of the connection: the [`PeerAddr`] that the host put into the request's extensions.
    ///
    /// Behind a proxy that is the proxy: see [`behind`](Self::behind).
    pub fn peer() -> Self {
        Self::from_fn(peer)
    }

    /// The other end of the connection, or, when that is one of these proxies, the last address of `X-Forwarded-For` that is none of them.
    ///
    /// Proxies write the address that they see behind what they were sent, so the list is read from its end, over all of its lines, and only as far as
    /// trusted hands wrote it: whatever a client sends stands before that. Behind something that is no address, nobody is asked: the proxy that passed it
    /// on is taken for the client then.
    pub fn behind(proxies: TrustedProxies) -> Self {
        Self::from_fn(move |parts| {
            let mut nearest = peer(parts)?.to_canonical();
            let lines = parts.headers.get_all("x-forwarded-for").iter().rev();
            let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
            while proxies.contains(nearest) {
                let Some(further) = entries.next().and_then(address) else {
                    break;
                };
                nearest = further.to_canonical();
            }
            Some(nearest)
        })
    }

    /// The address of the client that sent this request, `None` when it is not known.
    pub fn find(&self, parts: &Parts) -> Option<IpAddr> {
        // One address, one spelling: `::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 §2.5.5.2).
        (self.0)(parts).map(|ip| ip.to_canonical())
    }
}

fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip())
}

/// An entry of `X-Forwarded-For`: an address, with or without a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let text = text.trim_matches([' ', '\t']);
    text.parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|it| it.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// The addresses of proxies whose word on `X-Forwarded-For` counts.
///
/// ```
/// let proxies = auth_tower::TrustedProxies::parse("10.0.0.0/8, 2001:db8:7::/48, 192.0.2.4")?;
/// # Ok::<(), auth_tower::InvalidProxies>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<Range>);

/// Why a list of proxies is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProxies {
    /// An entry is no address and no `address/bits`.
    #[error("an entry is not an IP address or a range such as 10.0.0.0/8")]
    Entry,
    /// A range of all addresses: everybody could say to be anybody.
    #[error("a range of all addresses trusts everybody")]
    Everybody,
}

impl TrustedProxies {
    /// Reads addresses and ranges (CIDR), with commas between them.
    ///
    /// # Errors
    /// [`InvalidProxies`].
    pub fn parse(list: &str) -> Result<Self, InvalidProxies> {
        list.split(',')
            .map(Range::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it is the address of one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|range| range.contains(ip))
    }
}

/// The addresses that begin with the first bits of `network`.
#[derive(Debug, Clone, Copy)]
struct Range {
    network: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Result<Self, InvalidProxies> {
        let text = text.trim();
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| InvalidProxies::Entry)?;
        let width = if written.is_ipv4() { 32 } else { 128 };
        let mut bits: u32 = match bits {
            // Nothing but digits: `parse` would take a plus sign.
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| InvalidProxies::Entry)?
            }
            Some(_) => return Err(InvalidProxies::Entry),
            None => width,
        };
        if bits > width {
            return Err(InvalidProxies::Entry);
        }
        // `::ffff:10.0.0.0/104` is 10.0.0.0/8: addresses are compared in that form.
        let network = written.to_canonical();
        if network.is_ipv4() && written.is_ipv6() {
            bits = bits.checked_sub(96).ok_or(InvalidProxies::Entry)?;
        }
        if bits == 0 {
            return Err(InvalidProxies::Everybody);
        }
        Ok(Self { network, bits })
    }

    fn contains(self, ip: IpAddr) -> bool {
        match (self.network, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                (network.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                (network.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

impl Default for ClientIp {
    fn default() -> Self {
        Self::peer()
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

    use super::{ClientIp, InvalidProxies, PeerAddr, TrustedProxies};

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
        assert_eq!(ClientIp::default().find(&parts), Some(expected));
        assert_eq!(ClientIp::none().find(&parts), None);
    }

    fn found(peer: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::parse("10.0.0.0/8, 2001:db8:7::/48,192.0.2.4").unwrap();
        let peer: SocketAddr = peer.parse().unwrap();
        let mut request = http::Request::builder().extension(PeerAddr(peer));
        for line in forwarded {
            request = request.header("x-forwarded-for", *line);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let ip = ClientIp::behind(proxies).find(&parts).unwrap();
        ip.to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        for (peer, forwarded, client) in [
            ("10.0.0.1:1", &["198.51.100.7"][..], "198.51.100.7"),
            // What the client made up stands before what the proxies wrote.
            ("10.0.0.1:1", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            (
                "10.0.0.1:1",
                &["6.6.6.6", "198.51.100.7,10.2.3.4"],
                "198.51.100.7",
            ),
            (
                "10.0.0.1:1",
                &["10.9.9.9, 198.51.100.7 , 192.0.2.4"],
                "198.51.100.7",
            ),
            // Who comes directly is believed nothing.
            ("198.51.100.7:1", &["6.6.6.6"], "198.51.100.7"),
            ("192.0.2.5:1", &["6.6.6.6"], "192.0.2.5"),
            ("[2001:db8:8::1]:1", &["6.6.6.6"], "2001:db8:8::1"),
            // Mapped, with a port, in brackets.
            (
                "[::ffff:10.0.0.1]:1",
                &["::ffff:198.51.100.7"],
                "198.51.100.7",
            ),
            ("[2001:db8:7::1]:1", &["[2001:db8::9]:443"], "2001:db8::9"),
            ("10.0.0.1:1", &["[2001:db8::9]"], "2001:db8::9"),
            ("10.0.0.1:1", &["198.51.100.7:4711"], "198.51.100.7"),
            // Nothing, or something that is no address: the proxy that passed it on.
            ("10.0.0.1:1", &[], "10.0.0.1"),
            ("10.0.0.1:1", &[""], "10.0.0.1"),
            ("10.0.0.1:1", &["198.51.100.7, unknown"], "10.0.0.1"),
            (
                "10.0.0.1:1",
                &["198.51.100.7, unknown, 10.0.0.2"],
                "10.0.0.2",
            ),
            ("10.0.0.1:1", &["198.51.100.7,"], "10.0.0.1"),
            ("10.0.0.1:1", &["198.51.100.7\u{a0}"], "10.0.0.1"),
            // Nothing but proxies: the farthest one.
            ("10.0.0.1:1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            assert_eq!(found(peer, forwarded), client, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_list_of_proxies_is_read_or_refused() {
        for list in [
            "10.0.0.0/8",
            "::1",
            "::ffff:10.0.0.0/104",
            " 10.1.2.3 ,fd00::/8 ",
        ] {
            assert!(TrustedProxies::parse(list).is_ok(), "{list}");
        }
        for list in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.1/",
            "10.0.0.1/+8",
            "proxy",
            "10.0.0.1;10.0.0.2",
            "::ffff:10.0.0.0/8",
            "10.0.0.1,",
        ] {
            let refused = TrustedProxies::parse(list).unwrap_err();
            assert_eq!(refused, InvalidProxies::Entry, "{list}");
        }
        for list in ["0.0.0.0/0", "10.0.0.1, ::/0", "::ffff:0.0.0.0/96"] {
            let refused = TrustedProxies::parse(list).unwrap_err();
            assert_eq!(refused, InvalidProxies::Everybody, "{list}");
        }
        let mapped = TrustedProxies::parse("::ffff:10.0.0.0/104").unwrap();
        assert!(mapped.contains("10.200.0.1".parse().unwrap()));
        assert!(!mapped.contains("11.0.0.1".parse().unwrap()));
    }
}
