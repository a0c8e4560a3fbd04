use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Where clients come from, as limits count them.
///
/// # Security
/// An IPv6 host has 2⁶⁴ addresses at the least, so a /64 counts as one. Clients whose address is not known count as one, too: an address that is hidden must
/// not be a way round. Where no address is known at all, anybody's wrong passwords are everybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// The address is not known.
    Unknown,
    /// An IPv4 address or network, the host part being zero.
    V4([u8; 4]),
    /// An IPv6 /64, or a wider network, the rest being zero.
    V6([u8; 8]),
}

impl Network {
    /// For limits on requests: an IPv4 address, or an IPv6 /64.
    pub fn of_client(ip: Option<IpAddr>) -> Self {
        match ip.map(|ip| ip.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V4(ip)) => Self::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&ip.octets()[..8]);
                Self::V6(prefix)
            }
        }
    }

    /// For limits on guesses: an IPv4 /24, which is what one owner has at the least in the routing of the Internet, or an IPv6 /56, which is what
    /// one line has (RFC 6177).
    pub fn of_neighbours(ip: Option<IpAddr>) -> Self {
        match Self::of_client(ip) {
            Self::V4([a, b, c, _]) => Self::V4([a, b, c, 0]),
            Self::V6(mut prefix) => {
                prefix[7] = 0;
                Self::V6(prefix)
            }
            Self::Unknown => Self::Unknown,
        }
    }
}

/// Its first address, or `unknown`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::V4(octets) => Ipv4Addr::from(*octets).fmt(f),
            Self::V6(prefix) => {
                Ipv6Addr::from(u128::from(u64::from_be_bytes(*prefix)) << 64).fmt(f)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn addresses_of_one_host_are_one_network() {
        let client = |ip: &str| Network::of_client(Some(ip.parse().unwrap()));
        let neighbours = |ip: &str| Network::of_neighbours(Some(ip.parse().unwrap()));
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(neighbours("192.0.2.1"), neighbours("192.0.2.255"));
        assert_ne!(neighbours("192.0.2.1"), neighbours("192.0.3.1"));
        assert_eq!(
            neighbours("2001:db8:0:1::1"),
            neighbours("2001:db8:0:ff::1")
        );
        assert_ne!(
            neighbours("2001:db8:0:1::1"),
            neighbours("2001:db8:0:100::1")
        );
        assert_ne!(client("0.0.0.0"), Network::of_client(None));
        assert_eq!(neighbours("192.0.2.9").to_string(), "192.0.2.0");
        assert_eq!(client("2001:db8:0:1::9").to_string(), "2001:db8:0:1::");
    }
}
