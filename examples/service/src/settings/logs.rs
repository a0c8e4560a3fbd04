use tracing_subscriber::EnvFilter;

use super::reader::{Reader, flag};

/// What is written about the service's work, and how.
pub(crate) struct Logs {
    pub(crate) filter: EnvFilter,
    pub(crate) json: bool,
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
            filter: EnvFilter::try_new(format!("{level},sqlx=warn,hyper=warn")).unwrap_or_default(),
            json: reader.or("JSON_LOGS", production, flag),
        }
    }
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
