use std::path::PathBuf;

use auth_core::types::Secret;
use tracing_subscriber::EnvFilter;

use super::reader::{Reader, flag};
use crate::logs::{Destination, Tls};

/// What is written about the service's work, how, and where to.
pub(crate) struct Logs {
    pub(crate) files: Option<Files>,
    pub(crate) filter: EnvFilter,
    pub(crate) json: bool,
    pub(crate) logstash: Option<Destination>,
}

/// A file a day.
pub(crate) struct Files {
    /// How many are kept.
    pub(crate) days: u16,
    pub(crate) folder: PathBuf,
}

impl Logs {
    pub(super) fn read(reader: &mut Reader, production: bool) -> Self {
        let debug = reader.or("DEBUG", false, flag);
        if debug && production {
            reader.fault("DEBUG", "must be false in production");
        }
        let default = if debug { "debug" } else { "info" };
        let level = reader.or("LOG_LEVEL", default, level);
        Self {
            files: files(reader),
            filter: EnvFilter::try_new(format!("{level},sqlx=warn,hyper=warn")).unwrap_or_default(),
            json: reader.or("JSON_LOGS", production, flag),
            logstash: logstash(reader),
        }
    }
}

/// With either of the two settings.
fn files(reader: &mut Reader) -> Option<Files> {
    let folder = reader.get("LOG_DIR").map(PathBuf::from);
    let days = reader.optional("LOG_RETENTION", |text| {
        let days = humantime::parse_duration(text)
            .ok()
            .map(|time| time.as_secs().div_ceil(24 * 60 * 60))
            .filter(|days| (1..=3650).contains(days))
            .and_then(|days| u16::try_from(days).ok());
        days.ok_or("must be a duration such as `7 days`, up to ten years")
    });
    if folder.is_none() && days.is_none() {
        return None;
    }
    Some(Files {
        days: days.unwrap_or(7),
        folder: folder.unwrap_or_else(|| "logs".into()),
    })
}

fn logstash(reader: &mut Reader) -> Option<Destination> {
    let is_enabled = reader.or("ENABLE_LOGSTASH", false, flag);
    let host = reader.get("SYSLOG_HOST");
    let port = reader.or("SYSLOG_PORT", 5141, |text| {
        let port = text.parse().ok().filter(|port| *port > 0);
        port.ok_or("must be a number from 1 to 65535")
    });
    let ca = reader.file("SYSLOG_CA_FILE").map(Secret::new);
    let tls = reader.or("SYSLOG_TLS", false, flag);
    if !is_enabled {
        return None;
    }
    let Some(host) = host else {
        reader.require("SYSLOG_HOST", "must be set where ENABLE_LOGSTASH is true");
        return None;
    };
    let destination = Destination {
        host,
        port,
        tls: tls.then(|| ca.map_or(Tls::Web, Tls::Of)),
    };
    if let Err(error) = destination.check() {
        reader.fault("SYSLOG_TLS", error);
    }
    Some(destination)
}

fn level(text: &str) -> Result<&'static str, &'static str> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warn" | "warning" => "warn",
        "error" | "critical" => "error",
        _ => return Err("must be trace, debug, info, warn or error"),
    })
}
