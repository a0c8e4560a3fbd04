//! What `config show` may show.

use std::fmt;

use super::reader::Reader;
use crate::database::DatabaseUrl;

/// Settings whose values are nobody's secret. A name that is not here is a secret until somebody says otherwise.
const PLAIN: &[&str] = &[
    "ACCESS_TOKEN_EXPIRE_MINUTES",
    "ALGORITHM",
    "ALLOWED_REDIRECTS",
    "BCRYPT_COST",
    "CATALOG_FILE",
    "CORS_ALLOWED_ORIGINS",
    "DB_MAX_CONNECTIONS",
    "DEBUG",
    "ENABLE_LOGSTASH",
    "ENUMERATION_PROTECTION",
    "ENVIRONMENT",
    "FRONTEND_URL",
    "GOOGLE_CLIENT_ID",
    "GOOGLE_ISSUER",
    "GOOGLE_REDIRECT_URI",
    "HOST",
    "JSON_LOGS",
    "LOG_DIR",
    "LOG_LEVEL",
    "LOG_RETENTION",
    "MAIL_CA_FILE",
    "MAIL_FROM",
    "MAIL_PORT",
    "MAIL_SERVER",
    "MAIL_SSL_TLS",
    "MAIL_STARTTLS",
    "MAIL_TEMPLATES",
    "MAIL_TEST_TO",
    "METRICS_ADDRESS",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "PORT",
    "RATE_LIMIT_AUTH_PER_MINUTE",
    "RATE_LIMIT_DEFAULT_PER_MINUTE",
    "REDIS_CA_FILE",
    "SERVICE_NAME",
    "STRIPE_API_BASE",
    "STRIPE_MODE",
    "SYSLOG_CA_FILE",
    "SYSLOG_HOST",
    "SYSLOG_PORT",
    "SYSLOG_TLS",
    "TRUSTED_PROXIES",
    "TRUST_TRACEPARENT",
    "UNVERIFIED_ACCOUNT_TTL",
];

/// One setting as it was found.
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// `None`: there is none, or it is not for the eyes of whoever looks over the shoulder.
    pub(crate) shown: Option<String>,
}

/// Where a value comes from.
pub(crate) enum Source {
    Default,
    DotEnv,
    Environment,
    /// Its path.
    File(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::DotEnv => f.write_str(".env"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => f.write_str(path),
        }
    }
}

impl Reader {
    /// Everything that was asked for by now, by name.
    pub(super) fn settings(&mut self) -> Vec<Setting> {
        let names = self.asked.clone();
        names
            .into_iter()
            .map(|name| Setting {
                source: self.source(&name),
                shown: self.get(&name).and_then(|value| shown(&name, value)),
                name,
            })
            .collect()
    }

    pub(super) fn source(&mut self, name: &str) -> Source {
        if !self.is_set(name) {
            Source::Default
        } else if let Some(file) = self.set(&format!("{name}_FILE")) {
            Source::File(file)
        } else if self.is_in_dot_env(name) {
            Source::DotEnv
        } else {
            Source::Environment
        }
    }
}

fn shown(name: &str, value: String) -> Option<String> {
    if name == "DATABASE_URL" {
        return value.parse().ok().map(|url: DatabaseUrl| url.to_string());
    }
    PLAIN.contains(&name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{PLAIN, shown};

    #[test]
    fn no_name_that_sounds_like_a_secret_is_shown() {
        for name in PLAIN {
            for word in ["KEY", "SECRET", "PASSWORD", "USERNAME"] {
                assert!(!name.contains(word), "{name}");
            }
        }
        let url = "postgres://app:hunter2@db/app?password=hunter2".to_owned();
        assert_eq!(
            shown("DATABASE_URL", url).as_deref(),
            Some("Postgres, db/app")
        );
        for name in ["DATABASE_URL", "REDIS_URL", "SECRET_KEY", "A_NEW_ONE"] {
            assert_eq!(shown(name, "hunter2".to_owned()), None, "{name}");
        }
    }
}
