use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
};

use auth_core::{
    Links,
    adapters::{InvalidRedis, RedisLimits},
    types::Secret,
};
use auth_tower::{ClientIp, InternalKeys, RateLimits, TrustedProxies};

use http::{HeaderValue, Uri};

use super::{is_placeholder, reader::Reader};
use crate::edge::Origins;

/// Where the service is found, and by whom.
pub(crate) struct Server {
    pub(crate) client_ip: ClientIp,
    /// `None`: pages of other origins read nothing.
    pub(crate) cors: Option<Origins>,
    /// `None`: the service's own address.
    pub(crate) frontend: Option<Links>,
    pub(crate) host: IpAddr,
    pub(crate) internal_keys: InternalKeys,
    /// `None`: nobody is told numbers.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) port: u16,
    pub(crate) proxies: TrustedProxies,
    pub(crate) rate_limits: RateLimits,
    /// `None`: this process counts for itself.
    pub(crate) redis: Option<RedisLimits>,
    pub(crate) service_name: String,
}

impl Server {
    pub(super) fn read(
        reader: &mut Reader,
        production: bool,
        generated_key: Option<String>,
    ) -> Self {
        let proxies = reader
            .optional("TRUSTED_PROXIES", TrustedProxies::parse)
            .unwrap_or_default();
        let redis = redis(reader, production);
        let mut rate_limits = RateLimits::per_minute(
            per_minute(reader, "RATE_LIMIT_AUTH_PER_MINUTE", 100),
            per_minute(reader, "RATE_LIMIT_DEFAULT_PER_MINUTE", 1000),
        );
        if let Some(redis) = &redis {
            rate_limits = rate_limits.over(redis.clone());
        }
        Self {
            client_ip: ClientIp::behind(proxies.clone()),
            cors: origins(reader, production),
            frontend: frontend(reader, production),
            host: reader.or("HOST", IpAddr::V4(Ipv4Addr::LOCALHOST), |text| {
                text.parse().map_err(|_| "must be an IP address")
            }),
            internal_keys: internal_keys(reader, generated_key, production),
            metrics: reader.optional("METRICS_ADDRESS", |text| metrics(text, production)),
            port: reader.or("PORT", 8080, |text| {
                text.parse().map_err(|_| "must be a number from 0 to 65535")
            }),
            proxies,
            rate_limits,
            redis,
            service_name: reader.or("SERVICE_NAME", "authService".to_owned(), |text| {
                let fits = text.chars().count() <= 60 && !text.chars().any(char::is_control);
                fits.then(|| text.to_owned())
                    .ok_or("must be one line of at most 60 characters")
            }),
        }
    }
}

/// Numbers are told without a key, so production tells none at an address of the internet. All addresses are taken: a container listens so, and no further
/// than its own network.
fn metrics(text: &str, production: bool) -> Result<SocketAddr, &'static str> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:9464")?;
    let is_private = match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            // RFC 6598: between a provider and its clients.
            let is_shared = matches!(ip.octets(), [100, 64..=127, ..]);
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || is_shared
        }
        IpAddr::V6(ip) => {
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    };
    if production && !is_private {
        return Err("must not be an address of the internet in production: it asks for no key");
    }
    Ok(address)
}

fn origins(reader: &mut Reader, production: bool) -> Option<Origins> {
    let origins = reader.optional("CORS_ALLOWED_ORIGINS", |text| {
        if text.trim() == "*" {
            return Ok(Origins::Any);
        }
        text.split(',')
            .map(|entry| origin(entry.trim()))
            .collect::<Option<_>>()
            .map(Origins::Listed)
            .ok_or("must be origins such as `https://app.example.org`, without a path, with commas between them")
    });
    if production && matches!(origins, Some(Origins::Any)) {
        reader.fault(
            "CORS_ALLOWED_ORIGINS",
            "must name the origins in production",
        );
    }
    origins
}

/// As a browser sends it in `Origin`: scheme, host and port, in lower case.
fn origin(text: &str) -> Option<HeaderValue> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let is_origin = matches!(scheme, "http" | "https")
        && !authority.as_str().contains('@')
        && text == format!("{scheme}://{authority}").to_ascii_lowercase();
    is_origin.then(|| text.parse().ok())?
}

fn redis(reader: &mut Reader, production: bool) -> Option<RedisLimits> {
    let url = reader.get("REDIS_URL");
    let roots = reader.file("REDIS_CA_FILE");
    let url = url?;
    if production && !is_private(&url) {
        reader.fault(
            "REDIS_URL",
            "must be rediss:// in production, unless the server is on this machine",
        );
    }
    let url = Secret::new(url);
    let limits = match roots {
        Some(roots) => RedisLimits::open_trusting(&url, &roots),
        None => RedisLimits::open(&url),
    };
    limits
        .map_err(|error| match error {
            InvalidRedis::Roots => reader.fault("REDIS_CA_FILE", error),
            _ => reader.fault("REDIS_URL", error),
        })
        .ok()
}

/// Whether nobody between us and the server reads along, or has a word in it.
fn is_private(redis: &str) -> bool {
    let Ok(uri) = redis.parse::<Uri>() else {
        // A socket has no host; what is no address is refused as such.
        return true;
    };
    matches!(uri.scheme_str(), Some("rediss" | "valkeys"))
        || matches!(uri.host(), None | Some("127.0.0.1" | "localhost" | "[::1]"))
}

fn per_minute(reader: &mut Reader, name: &str, default: u32) -> NonZeroU32 {
    let most = reader.or(name, default, |text| {
        text.parse()
            .ok()
            .filter(|most| (1..=1_000_000).contains(most))
            .ok_or("must be a number from 1 to 1000000")
    });
    NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN)
}

fn frontend(reader: &mut Reader, production: bool) -> Option<Links> {
    let frontend = reader.optional("FRONTEND_URL", Links::to);
    match &frontend {
        None if production => reader.require(
            "FRONTEND_URL",
            "must be set in production: mailed links lead there",
        ),
        Some(links) if production && !links.base().starts_with("https://") => reader.fault(
            "FRONTEND_URL",
            "must be https in production: mailed links carry tokens",
        ),
        _ => {}
    }
    frontend
}

/// `INTERNAL_API_KEYS` is `name:key,name:key`; `INTERNAL_API_KEY` is the key named `default`.
fn internal_keys(reader: &mut Reader, generated: Option<String>, production: bool) -> InternalKeys {
    let list = reader.get("INTERNAL_API_KEYS");
    let single = reader
        .get("INTERNAL_API_KEY")
        .or(if list.is_none() { generated } else { None });
    let mut keys: Vec<(String, Secret<String>)> = Vec::new();
    let single = single.map(|key| ("INTERNAL_API_KEY", Some(("default".to_owned(), key))));
    let listed = list.iter().flat_map(|list| list.split(',')).map(|entry| {
        let pair = entry
            .trim()
            .split_once(':')
            .map(|(name, key)| (name.to_owned(), key.to_owned()));
        ("INTERNAL_API_KEYS", pair)
    });
    for (setting, pair) in single.into_iter().chain(listed) {
        let Some((name, key)) = pair else {
            reader.fault(setting, "must be name:key,name:key");
            continue;
        };
        if production && is_placeholder(&key) {
            reader.fault(
                setting,
                format_args!("the key named {name:?} looks like a placeholder"),
            );
        }
        keys.push((name.clone(), Secret::new(key)));
        if let Err(error) = InternalKeys::parse(keys.clone()) {
            reader.fault(setting, error);
            keys.pop();
        }
    }
    InternalKeys::parse(keys).unwrap_or_default()
}
