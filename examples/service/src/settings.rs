//! The settings of the service: the only code that reads the environment.
//!
//! A name comes from the environment, else from `.env`; `NAME_FILE` names a file that holds the value. Every fault is collected, so that one start
//! shows them all.

use std::{
    collections::HashMap,
    fmt::Display,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    str::FromStr,
};

use auth_core::{Algorithm, Hashing, Links, SigningKeys, time::Duration, types::Secret};
use auth_tower::InternalKeys;
use lettre::message::Mailbox;
use tracing_subscriber::EnvFilter;

use crate::{database::DatabaseUrl, secrets};

/// Everything that can be set, checked.
pub(crate) struct Settings {
    pub(crate) access_token_lifetime: Duration,
    pub(crate) database: DatabaseUrl,
    /// Of Postgres.
    pub(crate) database_connections: u32,
    pub(crate) enumeration_protection: bool,
    pub(crate) environment: Environment,
    /// `None`: the service's own address.
    pub(crate) frontend: Option<Links>,
    pub(crate) hashing: Hashing,
    pub(crate) host: IpAddr,
    pub(crate) internal_keys: InternalKeys,
    pub(crate) json_logs: bool,
    pub(crate) log_filter: EnvFilter,
    pub(crate) mail_from: Mailbox,
    pub(crate) port: u16,
    pub(crate) service_name: String,
    pub(crate) signing_keys: SigningKeys,
    pub(crate) unverified_account_lifetime: Duration,
    /// For the operator: what was set and has no effect.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Environment {
    Development,
    Production,
    Staging,
    Test,
}

impl Environment {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Test => "test",
        }
    }
}

impl FromStr for Environment {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [
            Self::Development,
            Self::Production,
            Self::Staging,
            Self::Test,
        ]
        .into_iter()
        .find(|environment| environment.as_str() == name)
        .ok_or("must be development, test, staging or production")
    }
}

/// What the service does not do yet. Set in production, it stops the start; elsewhere it is told.
const NOT_OBEYED: &[&str] = &[
    "ALLOWED_REDIRECTS",
    "CATALOG_FILE",
    "CORS_ALLOWED_ORIGINS",
    "ENABLE_LOGSTASH",
    "GOOGLE_CLIENT_ID",
    "GOOGLE_CLIENT_SECRET",
    "GOOGLE_ISSUER",
    "GOOGLE_REDIRECT_URI",
    "LOG_RETENTION",
    "MAIL_CA_FILE",
    "MAIL_PASSWORD",
    "MAIL_PORT",
    "MAIL_SERVER",
    "MAIL_SSL_TLS",
    "MAIL_STARTTLS",
    "MAIL_TEST_TO",
    "MAIL_USERNAME",
    "RATE_LIMIT_AUTH_PER_MINUTE",
    "RATE_LIMIT_DEFAULT_PER_MINUTE",
    "REDIS_URL",
    "STRIPE_API_BASE",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "SYSLOG_HOST",
    "SYSLOG_PORT",
    "TRUSTED_PROXIES",
];

impl Settings {
    /// Reads the environment, `.env` and, in development, the generated secrets beside the database.
    ///
    /// # Errors
    /// One line a fault, all of them.
    pub(crate) fn read() -> Result<Self, Vec<String>> {
        let mut reader = Reader::from_environment()?;
        let settings = Self::parse(&mut reader);
        match settings {
            Some(settings) if reader.faults.is_empty() => Ok(settings),
            _ => Err(reader.faults),
        }
    }

    fn parse(reader: &mut Reader) -> Option<Self> {
        let environment = reader.or("ENVIRONMENT", Environment::Development, str::parse);
        let production = environment == Environment::Production;
        let debug = reader.or("DEBUG", false, flag);
        if debug && production {
            reader.fault("DEBUG", "must be false in production");
        }
        let database = reader.or(
            "DATABASE_URL",
            DatabaseUrl::SqliteFile("auth-service.db".into()),
            str::parse,
        );
        reader.refuse_open_transport(&database, production);
        let generated = match database.secrets_file() {
            // Not for a guess: with a wrong ENVIRONMENT this would be one.
            Some(file) if environment == Environment::Development && reader.faults.is_empty() => {
                reader.generated(&file)
            }
            _ => secrets::Generated::default(),
        };

        let signing_keys = reader.signing_keys(environment, generated.secret_key);
        let internal_keys = reader.internal_keys(generated.internal_api_key, production);

        let level = reader.or(
            "LOG_LEVEL",
            if debug {
                "debug".to_owned()
            } else {
                "info".to_owned()
            },
            log_level,
        );
        let log_filter =
            EnvFilter::try_new(format!("{level},sqlx=warn,hyper=warn")).unwrap_or_default();
        let default_from = Mailbox::new(None, "auth-service@localhost.localdomain".parse().ok()?);
        let minutes = |minutes: i64| Duration::minutes(minutes);
        let settings = Self {
            access_token_lifetime: reader.or("ACCESS_TOKEN_EXPIRE_MINUTES", minutes(60), |text| {
                text.parse()
                    .ok()
                    .filter(|m| (1..=1440).contains(m))
                    .map(minutes)
                    .ok_or("must be a number of minutes from 1 to 1440")
            }),
            database,
            database_connections: reader.or("DB_MAX_CONNECTIONS", 10, |text| {
                text.parse()
                    .ok()
                    .filter(|n| (1..=1000).contains(n))
                    .ok_or("must be a number from 1 to 1000")
            }),
            enumeration_protection: reader.or("ENUMERATION_PROTECTION", false, flag),
            environment,
            frontend: reader.frontend(production),
            hashing: reader.or("BCRYPT_COST", Hashing::default(), |text| {
                let least = if production { 10 } else { 4 };
                let cost = text
                    .parse()
                    .ok()
                    .filter(|cost| (least..=20).contains(cost))
                    .unwrap_or(0);
                Hashing::bcrypt(cost)
                    .map_err(|_| "must be a number from 10 to 20 (from 4 outside of production)")
            }),
            host: reader.or("HOST", IpAddr::V4(Ipv4Addr::LOCALHOST), |text| {
                text.parse().map_err(|_| "must be an IP address")
            }),
            internal_keys,
            json_logs: reader.or("JSON_LOGS", production, flag),
            log_filter,
            mail_from: reader.or("MAIL_FROM", default_from, |text| {
                text.parse().map_err(|_| "must be an e-mail address")
            }),
            port: reader.or("PORT", 8080, |text| {
                text.parse().map_err(|_| "must be a number from 0 to 65535")
            }),
            service_name: reader.or("SERVICE_NAME", "authService".to_owned(), |text| {
                let fits = text.chars().count() <= 60 && !text.chars().any(char::is_control);
                fits.then(|| text.to_owned())
                    .ok_or("must be one line of at most 60 characters")
            }),
            unverified_account_lifetime: reader.or(
                "UNVERIFIED_ACCOUNT_TTL",
                Duration::days(7),
                |text| {
                    let ttl = humantime::parse_duration(text)
                        .map_err(|_| "must be a duration such as `7 days` or `36h`")?;
                    Duration::try_from(ttl)
                        .ok()
                        .filter(|ttl| (Duration::HOUR..Duration::days(3650)).contains(ttl))
                        .ok_or("must be from one hour to ten years")
                },
            ),
            notes: reader.not_obeyed(production),
            // Last: what comes before it collects its faults first.
            signing_keys: signing_keys?,
        };
        Some(settings)
    }
}

/// Looks names up and collects what is wrong.
struct Reader {
    values: HashMap<String, String>,
    faults: Vec<String>,
    /// Names whose values are not UTF-8.
    unreadable: Vec<String>,
}

impl Reader {
    #[allow(clippy::disallowed_methods)] // the one place that asks the environment
    fn from_environment() -> Result<Self, Vec<String>> {
        let mut values = HashMap::new();
        // Of this folder only: one that somebody else can write to must not be searched for.
        match dotenvy::from_path_iter(".env") {
            Ok(entries) => {
                for entry in entries {
                    let (name, value) =
                        entry.map_err(|_| vec![".env: cannot be parsed".to_owned()])?;
                    values.insert(name, value);
                }
            }
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Err(vec![".env: cannot be read".to_owned()]),
        }
        let mut reader = Self {
            values,
            faults: Vec::new(),
            unreadable: Vec::new(),
        };
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(reader.values.insert(name, value)),
                // The system has many variables; only ours are ours to judge.
                Err(_) => reader.unreadable.push(name),
            }
        }
        Ok(reader)
    }

    /// Never with the value: it may be a secret.
    fn fault(&mut self, name: &str, what: impl Display) {
        self.faults.push(format!("{name}: {what}"));
    }

    /// The value of a name or of the file that `NAME_FILE` names; empty is unset.
    fn get(&mut self, name: &str) -> Option<String> {
        if self.unreadable.iter().any(|unreadable| unreadable == name) {
            self.fault(name, "is not valid UTF-8");
        }
        let set = |values: &HashMap<String, String>, name: &str| {
            values.get(name).filter(|value| !value.is_empty()).cloned()
        };
        let value = set(&self.values, name);
        let file_name = format!("{name}_FILE");
        let Some(file) = set(&self.values, &file_name) else {
            return value;
        };
        if value.is_some() {
            self.fault(
                name,
                format_args!("is set, and so is {file_name}: one of the two"),
            );
        }
        match fs::read_to_string(&file) {
            Ok(text) => {
                Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())
            }
            Err(error) => {
                self.fault(
                    &file_name,
                    format_args!("the file cannot be read ({})", error.kind()),
                );
                None
            }
        }
    }

    fn optional<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.get(name)?;
        parse(&value).map_err(|error| self.fault(name, error)).ok()
    }

    fn or<T, E: Display>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    fn generated(&mut self, path: &Path) -> secrets::Generated {
        secrets::read_or_generate(path).unwrap_or_else(|error| {
            self.faults.push(format!("{}: {error}", path.display()));
            secrets::Generated::default()
        })
    }

    fn refuse_open_transport(&mut self, database: &DatabaseUrl, production: bool) {
        let DatabaseUrl::Postgres(url) = database else {
            return;
        };
        match auth_store_postgres::is_private(url.expose()) {
            Ok(false) if production => self.fault(
                "DATABASE_URL",
                "must have ?sslmode=verify-full in production, unless the server is on this machine",
            ),
            Ok(_) => {}
            Err(error) => self.fault("DATABASE_URL", crate::chain(&error)),
        }
    }

    fn signing_keys(
        &mut self,
        environment: Environment,
        generated: Option<String>,
    ) -> Option<SigningKeys> {
        let algorithm = self.or("ALGORITHM", Algorithm::default(), Algorithm::parse);
        let secret = match self.get("SECRET_KEY").or(generated) {
            Some(secret) => Secret::new(secret),
            // A database in memory: nothing outlives the process, its key neither.
            None if environment == Environment::Development => Secret::new(secrets::draw()),
            None => {
                self.fault(
                    "SECRET_KEY",
                    "must be set outside of development; `openssl rand -base64 48` makes one",
                );
                return None;
            }
        };
        if environment == Environment::Production && is_placeholder(secret.expose()) {
            self.fault(
                "SECRET_KEY",
                "looks like a placeholder; `openssl rand -base64 48` makes a good one",
            );
        }
        SigningKeys::with_algorithm(algorithm, secret.expose())
            .map_err(|error| self.fault("SECRET_KEY", error))
            .ok()
    }

    fn frontend(&mut self, production: bool) -> Option<Links> {
        let frontend = self.optional("FRONTEND_URL", Links::to);
        match &frontend {
            None if production && self.get("FRONTEND_URL").is_none() => {
                self.fault(
                    "FRONTEND_URL",
                    "must be set in production: mailed links lead there",
                );
            }
            Some(links) if production && !links.base().starts_with("https://") => {
                self.fault(
                    "FRONTEND_URL",
                    "must be https in production: mailed links carry tokens",
                );
            }
            _ => {}
        }
        frontend
    }

    /// `INTERNAL_API_KEYS` is `name:key,name:key`; `INTERNAL_API_KEY` is the key named `default`.
    fn internal_keys(&mut self, generated: Option<String>, production: bool) -> InternalKeys {
        let list = self.get("INTERNAL_API_KEYS");
        let single = self
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
                self.fault(setting, "must be name:key,name:key");
                continue;
            };
            if production && is_placeholder(&key) {
                self.fault(
                    setting,
                    format_args!("the key named {name:?} looks like a placeholder"),
                );
            }
            keys.push((name.clone(), Secret::new(key)));
            if let Err(error) = InternalKeys::parse(keys.clone()) {
                self.fault(setting, error);
                keys.pop();
            }
        }
        InternalKeys::parse(keys).unwrap_or_default()
    }

    fn not_obeyed(&mut self, production: bool) -> Vec<String> {
        let set: Vec<&str> = NOT_OBEYED
            .iter()
            .copied()
            .filter(|name| self.get(name).is_some())
            .collect();
        if !production {
            return set
                .iter()
                .map(|name| format!("{name} is set, and this version does not use it"))
                .collect();
        }
        for name in set {
            self.fault(name, "is set, and this version does not use it");
        }
        Vec::new()
    }
}

fn flag(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Ok(true),
        "0" | "off" | "false" | "no" => Ok(false),
        _ => Err("must be true or false"),
    }
}

fn log_level(text: &str) -> Result<String, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        level @ ("trace" | "debug" | "info" | "error") => Ok(level.to_owned()),
        "warn" | "warning" => Ok("warn".to_owned()),
        "critical" => Ok("error".to_owned()),
        _ => Err("must be trace, debug, info, warn or error"),
    }
}

/// Words that stand in examples, and keys with hardly any entropy.
fn is_placeholder(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    let words = [
        "changeme",
        "change-me",
        "change_me",
        "example",
        "placeholder",
        "secret-key",
        "secret_key",
        "your-",
        "password",
    ];
    let mut distinct: Vec<char> = lower.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() < 10 || words.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Environment, Reader, Settings};

    fn parse(values: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let values: HashMap<_, _> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut reader = Reader {
            values,
            faults: Vec::new(),
            unreadable: Vec::new(),
        };
        let settings = Settings::parse(&mut reader);
        if reader.faults.is_empty() {
            settings.ok_or(Vec::new())
        } else {
            Err(reader.faults)
        }
    }

    #[test]
    fn every_fault_is_told_at_once_and_no_value_with_it() {
        let faults = parse(&[
            ("ENVIRONMENT", "test"),
            ("DATABASE_URL", "mysql://root:hunter2@localhost"),
            ("SECRET_KEY", "hunter2"),
            ("INTERNAL_API_KEYS", "worker:hunter2,hunter2"),
            ("PORT", "hunter2"),
            ("BCRYPT_COST", "3"),
            ("FRONTEND_URL", "hunter2"),
            ("MAIL_FROM", "hunter2"),
            ("DEBUG", "hunter2"),
            ("LOG_LEVEL", "hunter2"),
            ("UNVERIFIED_ACCOUNT_TTL", "hunter2"),
            ("ACCESS_TOKEN_EXPIRE_MINUTES", "0"),
            ("ALGORITHM", "none"),
        ])
        .err()
        .unwrap();
        assert_eq!(faults.len(), 13, "{faults:#?}");
        assert!(!faults.concat().contains("hunter2"), "{faults:#?}");
    }

    #[test]
    fn production_refuses_what_is_weak() {
        let strong = "0fX3mN8qLr5tVw2yZb6cKd9eHg1jPs4u";
        let good = [
            ("ENVIRONMENT", "production"),
            ("SECRET_KEY", strong),
            ("FRONTEND_URL", "https://app.test.org"),
        ];
        assert!(parse(&good).is_ok());
        for (name, value) in [
            ("SECRET_KEY", "your-secret-key-here-your-secret-key-here"),
            ("SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("SECRET_KEY", ""),
            ("DEBUG", "True"),
            ("FRONTEND_URL", "http://app.test.org"),
            ("FRONTEND_URL", ""),
            ("BCRYPT_COST", "9"),
            ("INTERNAL_API_KEY", "changemechangemechangemechangeme"),
            ("MAIL_SERVER", "smtp.test.org"),
            ("DATABASE_URL", "postgres://db.test.org/app"),
            ("UNVERIFIED_ACCOUNT_TTL", "100000 years"),
        ] {
            let values: Vec<_> = good
                .into_iter()
                .filter(|(n, _)| *n != name)
                .chain([(name, value)])
                .collect();
            let faults = parse(&values)
                .err()
                .unwrap_or_else(|| panic!("{name}={value:?} was taken"));
            assert!(
                faults.iter().all(|fault| fault.starts_with(name)),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn an_empty_environment_is_development_on_sqlite() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("x.db").display());
        let settings = parse(&[("DATABASE_URL", &url)]).unwrap();
        assert_eq!(settings.environment, Environment::Development);
        assert!(dir.path().join("x.secrets").exists());
        assert!(settings.host.is_loopback());
    }

    #[test]
    fn a_value_may_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("name");
        std::fs::write(&file, "from a file\n").unwrap();
        let base = [
            ("DATABASE_URL", "sqlite::memory:"),
            ("SERVICE_NAME_FILE", file.to_str().unwrap()),
        ];
        assert_eq!(parse(&base).unwrap().service_name, "from a file");
        let both = parse(&[base[0], base[1], ("SERVICE_NAME", "x")])
            .err()
            .unwrap();
        assert!(both[0].contains("SERVICE_NAME_FILE"), "{both:?}");
        let missing = parse(&[base[0], ("SERVICE_NAME_FILE", "/nowhere/at/all")])
            .err()
            .unwrap();
        assert!(missing[0].starts_with("SERVICE_NAME_FILE"), "{missing:?}");
    }
}
