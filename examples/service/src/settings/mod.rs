//! The settings of the service: the only code that reads the environment.
//!
//! A name comes from the environment, else from `.env`; `NAME_FILE` names a file that holds the value. Every fault is collected, so that one start
//! shows them all.

mod accounts;
mod database;
mod logs;
mod mail;
mod payments;
mod reader;
mod server;
mod shown;
mod sign_in;
mod traces;

use std::{io, path::Path, str::FromStr};

use auth_core::{TemplateError, Templates};

use self::reader::{Reader, is_of_system};
pub(crate) use self::{
    accounts::Accounts,
    database::Database,
    logs::Logs,
    mail::{Mail, Relay},
    payments::Payments,
    server::Server,
    shown::{Setting, Source},
    sign_in::SignIn,
    traces::Traces,
};
use crate::{
    chain,
    secrets::{self, Generated},
};

/// Everything that can be set, checked.
pub(crate) struct Settings {
    pub(crate) accounts: Accounts,
    pub(crate) database: Database,
    pub(crate) environment: Environment,
    pub(crate) logs: Logs,
    pub(crate) mail: Mail,
    /// `None`: nothing is sold.
    pub(crate) payments: Option<Payments>,
    pub(crate) server: Server,
    pub(crate) sign_in: SignIn,
    /// `None`: the built-in ones.
    pub(crate) templates: Option<Templates>,
    /// `None`: no spans are exported.
    pub(crate) traces: Option<Traces>,
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

type ReadSecrets = fn(&Path) -> io::Result<Generated>;

/// What is wrong with the settings.
#[derive(Debug)]
pub(crate) struct Faults {
    /// One a fault.
    pub(crate) lines: Vec<String>,
    /// Whether one is of a file that could not be read or written, and so may pass without another setting.
    pub(crate) may_pass: bool,
}

/// The settings as they stand, right or wrong.
pub(crate) struct Look {
    pub(crate) outcome: Result<Settings, Faults>,
    /// Everything that was asked for, by name.
    pub(crate) settings: Vec<Setting>,
}

impl Settings {
    /// Reads the environment, `.env` and, in development, the generated secrets beside the database.
    ///
    /// # Errors
    /// All faults.
    pub(crate) fn read() -> Result<Self, Faults> {
        Self::with(&mut Reader::from_environment()?, secrets::read_or_generate)
    }

    /// As [`read`](Self::read), and makes no file.
    pub(crate) fn look() -> Look {
        match Reader::from_environment() {
            Ok(mut reader) => Look {
                outcome: Self::with(&mut reader, secrets::read_or_draw),
                settings: reader.settings(),
            },
            Err(faults) => Look {
                outcome: Err(faults),
                settings: Vec::new(),
            },
        }
    }

    fn with(reader: &mut Reader, secrets: ReadSecrets) -> Result<Self, Faults> {
        match Self::parse(reader, secrets) {
            Some(settings) if reader.faults.is_empty() => Ok(settings),
            _ => Err(Faults {
                lines: std::mem::take(&mut reader.faults),
                may_pass: reader.may_pass,
            }),
        }
    }

    fn parse(reader: &mut Reader, secrets: ReadSecrets) -> Option<Self> {
        let environment = reader.or("ENVIRONMENT", Environment::Development, str::parse);
        let production = environment == Environment::Production;
        let database = Database::read(reader, production);
        let generated = match database.url.secrets_file() {
            // Not for a guess: with a wrong ENVIRONMENT this would be one.
            Some(file) if environment == Environment::Development && reader.faults.is_empty() => {
                secrets(&file).unwrap_or_else(|error| {
                    reader.may_pass |= is_of_system(&error);
                    reader.faults.push(format!("{}: {error}", file.display()));
                    Generated::default()
                })
            }
            _ => Generated::default(),
        };
        let logs = Logs::read(reader, production);
        let mail = Mail::read(reader, production);
        let server = Server::read(reader, production, generated.internal_api_key);
        let sign_in = SignIn::read(reader, production);
        let payments = Payments::read(reader, production);
        let templates = templates(reader);
        let accounts = Accounts::read(reader, environment, generated.secret_key);
        let mut notes = Vec::new();
        let traces = Traces::read(reader, production, &mut notes);
        // Everything is read: what is missing is told.
        let (accounts, mail) = (accounts?, mail?);
        if mail.relay.as_ref().is_some_and(Relay::is_clear_text) {
            notes.push(
                "mails and their tokens can be read on their way (MAIL_STARTTLS=true)".to_owned(),
            );
        }
        Some(Self {
            accounts,
            database,
            environment,
            logs,
            mail,
            payments,
            server,
            sign_in,
            templates,
            traces,
            notes,
        })
    }
}

fn templates(reader: &mut Reader) -> Option<Templates> {
    const NAME: &str = "MAIL_TEMPLATES";
    let folder = reader.get(NAME)?;
    let templates = Templates::with_overrides(folder.as_ref());
    templates
        .map_err(|error| {
            if let TemplateError::Unreadable { source, .. } = &error {
                reader.may_pass |= is_of_system(source);
            }
            reader.fault(NAME, chain(&error));
        })
        .ok()
}

/// Words that stand in examples, and keys with hardly any entropy.
fn is_placeholder(secret: &str) -> bool {
    let mut distinct: Vec<char> = secret.to_ascii_lowercase().chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() < 10 || has_placeholder_word(secret)
}

/// Of a secret that others choose, whose strength is theirs.
fn has_placeholder_word(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    [
        "changeme",
        "change-me",
        "change_me",
        "example",
        "placeholder",
        "secret-key",
        "secret_key",
        "your-",
        "password",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Environment, Faults, Reader, Settings};
    use crate::secrets::read_or_generate;

    fn parse(values: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        read(values).map_err(|faults| faults.lines)
    }

    fn read(values: &[(&str, &str)]) -> Result<Settings, Faults> {
        let values: HashMap<_, _> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut reader = Reader {
            values,
            ..Reader::default()
        };
        Settings::with(&mut reader, read_or_generate)
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
            ("RATE_LIMIT_AUTH_PER_MINUTE", "0"),
            ("RATE_LIMIT_DEFAULT_PER_MINUTE", "hunter2"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,hunter2"),
            ("CORS_ALLOWED_ORIGINS", "https://app.test.org,hunter2"),
            ("REDIS_URL", "hunter2"),
            ("METRICS_ADDRESS", "hunter2"),
        ])
        .err()
        .unwrap();
        assert_eq!(faults.len(), 19, "{faults:#?}");
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
            ("CORS_ALLOWED_ORIGINS", "*"),
            ("CORS_ALLOWED_ORIGINS", "https://app.test.org, *"),
            ("CORS_ALLOWED_ORIGINS", "https://app.test.org/"),
            ("CORS_ALLOWED_ORIGINS", "https://App.test.org"),
            ("CORS_ALLOWED_ORIGINS", "https://eve@app.test.org"),
            ("CORS_ALLOWED_ORIGINS", "app.test.org"),
            ("CORS_ALLOWED_ORIGINS", "null"),
            ("REDIS_URL", "redis://redis.test.org"),
            ("REDIS_URL", "redis://:secret@10.0.0.1:6379/1"),
            ("REDIS_URL", "rediss://redis.test.org/#insecure"),
            ("SECRET_KEY_PREVIOUS", strong),
            ("SECRET_KEY_PREVIOUS", "short"),
            (
                "SECRET_KEY_PREVIOUS",
                "your-secret-key-here-your-secret-key-here",
            ),
            ("DEBUG", "True"),
            ("FRONTEND_URL", "http://app.test.org"),
            ("FRONTEND_URL", ""),
            ("BCRYPT_COST", "9"),
            ("INTERNAL_API_KEY", "changemechangemechangemechangeme"),
            ("MAIL_TEST_TO", "ada"),
            ("ALLOWED_REDIRECTS", "http://app.test.org/welcome"),
            ("DATABASE_URL", "postgres://db.test.org/app"),
            ("UNVERIFIED_ACCOUNT_TTL", "100000 years"),
            ("METRICS_ADDRESS", "198.51.100.7:9464"),
            ("METRICS_ADDRESS", "[::ffff:198.51.100.7]:9464"),
            ("METRICS_ADDRESS", "[2001:db8::7]:9464"),
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
        for ours in [
            "0.0.0.0:9464",
            "10.0.0.1:9464",
            "[::1]:9464",
            "[fd00::1]:9464",
        ] {
            let told = good.into_iter().chain([("METRICS_ADDRESS", ours)]);
            assert!(parse(&told.collect::<Vec<_>>()).is_ok(), "{ours}");
        }
    }

    #[test]
    fn an_empty_environment_is_development_on_sqlite() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("x.db").display());
        let settings = parse(&[("DATABASE_URL", &url)]).unwrap();
        assert_eq!(settings.environment, Environment::Development);
        assert!(dir.path().join("x.secrets").exists());
        assert!(settings.server.host.is_loopback());
    }

    #[test]
    fn a_fault_in_a_mail_template_is_told_with_its_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        let values = [
            ("DATABASE_URL", "sqlite::memory:"),
            ("MAIL_TEMPLATES", folder),
        ];
        std::fs::write(
            dir.path().join("fr.ftl"),
            "greeting = Bonjour { $username },",
        )
        .unwrap();
        let templates = parse(&values).unwrap().templates.unwrap();
        assert_eq!(templates.locales(), ["en", "de", "it", "fr"]);

        std::fs::write(dir.path().join("fr.ftl"), "\ngreeting = Bonjour { $nom },").unwrap();
        let faults = parse(&values).err().unwrap();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].starts_with("MAIL_TEMPLATES: fr.ftl, line 2: ") && faults[0].contains("nom"),
            "{faults:?}"
        );
    }

    #[test]
    fn stripe_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("catalogue.toml");
        let pack = "[[credit_packs]]\nname = \"small\"\nprice_id = \"price_1\"\ncredits = \"5\"\n";
        std::fs::write(&file, pack).unwrap();
        let base = [("DATABASE_URL", "sqlite::memory:")];
        let stripe = [
            ("STRIPE_SECRET_KEY", "sk_test_hunter2"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_hunter2_0123456789"),
            ("CATALOG_FILE", file.to_str().unwrap()),
            ("STRIPE_API_BASE", "http://127.0.0.1:9"),
        ];
        assert!(parse(&base).unwrap().payments.is_none());
        let settings = parse(&[&base[..], &stripe].concat()).unwrap();
        assert_eq!(
            settings.payments.unwrap().stripe.catalogue().packs().len(),
            1
        );
        for (place, value) in [
            (0, "hunter2"),
            (0, "pk_test_hunter2"),
            (1, "hunter2"),
            (1, "whsec_hunter2_0123456789,"),
            (2, "/nowhere/at/all"),
            (3, "http://hunter2.example.org"),
            (3, "https://hunter2.example.org/v1"),
        ] {
            let mut changed = stripe;
            changed[place].1 = value;
            let faults = parse(&[&base[..], &changed].concat()).err().unwrap();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(stripe[place].0), "{faults:?}");
            assert!(!faults[0].contains("hunter2"), "{faults:?}");
        }
        assert!(parse(&[&base[..], &stripe[..3]].concat()).is_ok());
        for (place, (name, _)) in stripe[..3].iter().enumerate() {
            let mut rest = stripe.to_vec();
            rest.remove(place);
            let faults = parse(&[&base[..], &rest].concat()).err().unwrap();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(name), "{faults:?}");
        }
        std::fs::write(&file, format!("{pack}{pack}")).unwrap();
        let faults = parse(&[&base[..], &stripe].concat()).err().unwrap();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn google_is_there_whole_or_not_at_all() {
        let base = [("DATABASE_URL", "sqlite::memory:")];
        let google = [
            ("GOOGLE_CLIENT_ID", "an-id"),
            ("GOOGLE_CLIENT_SECRET", "hunter2"),
        ];
        assert!(parse(&base).unwrap().sign_in.google.is_none());
        let settings = parse(&[&base[..], &google].concat()).unwrap();
        let issuer = settings.sign_in.google.unwrap().issuer;
        assert_eq!(issuer, "https://accounts.google.com");
        for (more, names) in [
            (&[google[0]][..], &["GOOGLE_CLIENT_SECRET"][..]),
            (&[google[1]], &["GOOGLE_CLIENT_ID"]),
            (
                &[("GOOGLE_ISSUER", "https://id.test.org")],
                &["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"],
            ),
            (
                &[
                    google[0],
                    google[1],
                    ("GOOGLE_ISSUER", "http://id.test.org"),
                ],
                &["GOOGLE_ISSUER"],
            ),
            (
                &[google[0], google[1], ("GOOGLE_REDIRECT_URI", "/callback")],
                &["GOOGLE_REDIRECT_URI"],
            ),
            (
                &[("ALLOWED_REDIRECTS", "https://app.test.org/a,*")],
                &["ALLOWED_REDIRECTS"],
            ),
        ] {
            let faults = parse(&[&base[..], more].concat()).err().unwrap();
            let told: Vec<_> = faults
                .iter()
                .filter_map(|it| it.split(':').next())
                .collect();
            assert_eq!(told, names, "{faults:?}");
            assert!(!faults.concat().contains("hunter2"), "{faults:?}");
        }
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
        assert_eq!(parse(&base).unwrap().server.service_name, "from a file");
        let both = parse(&[base[0], base[1], ("SERVICE_NAME", "x")])
            .err()
            .unwrap();
        assert!(both[0].contains("SERVICE_NAME_FILE"), "{both:?}");
        let missing = parse(&[base[0], ("SERVICE_NAME_FILE", "/nowhere/at/all")])
            .err()
            .unwrap();
        assert!(missing[0].starts_with("SERVICE_NAME_FILE"), "{missing:?}");
    }

    #[test]
    fn what_must_be_set_and_is_in_a_file_is_one_fault_and_an_empty_file_is_none_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let good = [
            ("ENVIRONMENT", "production"),
            ("SECRET_KEY", "0fX3mN8qLr5tVw2yZb6cKd9eHg1jPs4u"),
            ("FRONTEND_URL", "https://app.test.org"),
            ("MAIL_SERVER", "mail.test.org"),
            ("MAIL_FROM", "auth@test.org"),
        ];
        assert!(parse(&good).is_ok());
        let empty = empty.to_str().unwrap();
        for name in ["SECRET_KEY", "FRONTEND_URL", "MAIL_FROM"] {
            let file = format!("{name}_FILE");
            let with = |path| {
                let rest = good.into_iter().filter(|(it, _)| *it != name);
                let values: Vec<_> = rest.chain([(&*file, path)]).collect();
                parse(&values).err().unwrap()
            };
            let missing = with("/nowhere/at/all");
            assert_eq!(missing.len(), 1, "{missing:?}");
            assert!(missing[0].starts_with(&format!("{file}: ")), "{missing:?}");
            for path in [empty, "/dev/null"] {
                let none = with(path);
                assert_eq!(none.len(), 1, "{path}: {none:?}");
                let told = format!("{name}: must be set");
                assert!(none[0].starts_with(&told), "{path}: {none:?}");
            }
        }
    }

    #[test]
    fn an_empty_device_switches_nothing_on_and_is_missing_where_it_is_needed() {
        let base = [("DATABASE_URL", "sqlite::memory:")];
        let stripe = [
            ("STRIPE_SECRET_KEY", "sk_test_hunter2"),
            ("STRIPE_WEBHOOK_SECRET_FILE", "/dev/null"),
            ("CATALOG_FILE", "/dev/null"),
        ];
        let faults = parse(&[&base[..], &stripe].concat()).err().unwrap();
        let missing = "STRIPE_WEBHOOK_SECRET: is missing";
        assert!(
            faults.iter().any(|fault| fault.starts_with(missing)),
            "{faults:?}"
        );
        for name in [
            "GOOGLE_CLIENT_ID_FILE",
            "MAIL_SERVER_FILE",
            "STRIPE_WEBHOOK_SECRET_FILE",
        ] {
            let settings = parse(&[base[0], (name, "/dev/null")]).unwrap();
            let mail = settings.mail.relay.is_none();
            let others = settings.payments.is_none() && settings.sign_in.google.is_none();
            assert!(mail && others, "{name}");
        }
    }

    /// A service manager that knows better than to start it again would leave it down.
    #[test]
    fn what_cannot_be_read_yet_may_pass_and_what_is_wrong_in_a_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let no_text = dir.path().join("no-text");
        std::fs::write(&no_text, [0xff]).unwrap();
        let no_text = no_text.to_str().unwrap();
        let nowhere = "/nowhere/at/all";
        // Which does not pass, and is no matter beside one that may.
        let wrong = ("PORT", "80000");
        for (name, value, passes) in [
            ("BCRYPT_COST", "3", false),
            ("CATALOG_FILE", nowhere, true),
            ("DATABASE_URL", "sqlite:/nowhere/at/all.db", true),
            ("MAIL_TEMPLATES", nowhere, true),
            ("OTEL_SERVICE_NAME_FILE", nowhere, false),
            ("REDIS_CA_FILE", nowhere, true),
            ("REDIS_CA_FILE", no_text, false),
            ("SERVICE_NAME_FILE", nowhere, true),
            ("SERVICE_NAME_FILE", no_text, false),
            ("SYSLOG_CA_FILE", nowhere, true),
        ] {
            let values = [("DATABASE_URL", "sqlite::memory:"), wrong, (name, value)];
            let faults = read(&values).err().unwrap();
            assert_eq!(faults.may_pass, passes, "{name}={value}: {faults:?}");
        }
    }
}
