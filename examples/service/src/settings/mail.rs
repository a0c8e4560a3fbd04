use std::fmt;

use auth_core::{
    adapters::{Sender, SmtpEncryption, SmtpError, SmtpMailer},
    types::{Email, Secret},
};

use super::{
    has_placeholder_word,
    reader::{Reader, flag},
};

/// How mails leave.
pub(crate) struct Mail {
    pub(crate) sender: Sender,
    /// `None`: they stay on the machine, or there are none.
    pub(crate) relay: Option<Relay>,
    /// Who gets test mails.
    pub(crate) test_to: Email,
}

/// The server that takes mails in.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) mailer: SmtpMailer,
    encryption: SmtpEncryption,
    host: String,
    port: u16,
}

impl Relay {
    pub(crate) fn is_clear_text(&self) -> bool {
        self.encryption == SmtpEncryption::ClearText
    }
}

/// For the operator.
impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        let encryption = match self.encryption {
            SmtpEncryption::Implicit => "with TLS",
            SmtpEncryption::ClearText => "in clear text",
            _ => "with STARTTLS",
        };
        write!(f, "sent by {host}:{port} ({encryption})")
    }
}

/// What says nothing without a server.
const OF_THE_SERVER: [&str; 6] = [
    "MAIL_CA_FILE",
    "MAIL_PASSWORD",
    "MAIL_PORT",
    "MAIL_SSL_TLS",
    "MAIL_STARTTLS",
    "MAIL_USERNAME",
];

impl Mail {
    pub(super) fn read(reader: &mut Reader, production: bool) -> Option<Self> {
        let sender = reader.optional("MAIL_FROM", Sender::parse);
        let test_to = reader.optional("MAIL_TEST_TO", |text| {
            Email::parse(text).map_err(|_| "must be an e-mail address")
        });
        let relay = if reader.is_set("MAIL_SERVER") {
            reader.require("MAIL_FROM", "must be set where MAIL_SERVER is");
            Some(relay(reader, sender.as_ref(), production)?)
        } else {
            for name in OF_THE_SERVER {
                if production && reader.is_set(name) {
                    reader.fault(name, "is set, and MAIL_SERVER is not");
                }
            }
            None
        };
        let sender = sender.or_else(|| Sender::parse("auth-service@localhost.localdomain").ok())?;
        Some(Self {
            test_to: test_to.unwrap_or_else(|| sender.email().clone()),
            sender,
            relay,
        })
    }
}

fn host(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    // One colon is before a port, more are an IPv6 address.
    if text.chars().all(fits) && text.matches(':').count() != 1 {
        Ok(text.to_owned())
    } else {
        Err("must be a host name or an IP address; the port is MAIL_PORT")
    }
}

/// `None` when something is missing or wrong, after everything was looked at.
fn relay(reader: &mut Reader, sender: Option<&Sender>, production: bool) -> Option<Relay> {
    let host = reader.optional("MAIL_SERVER", host);
    let port = reader.optional("MAIL_PORT", |text| {
        text.parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("must be a number from 1 to 65535")
    });
    let encryption = encryption(reader, port);
    if production && encryption == SmtpEncryption::ClearText {
        reader.fault(
            "MAIL_STARTTLS",
            "must be true in production, or MAIL_SSL_TLS: mails carry tokens",
        );
    }
    let port = port.unwrap_or(encryption.usual_port());
    let (username, password) = (reader.get("MAIL_USERNAME"), reader.get("MAIL_PASSWORD"));
    for (name, other) in [
        ("MAIL_USERNAME", "MAIL_PASSWORD"),
        ("MAIL_PASSWORD", "MAIL_USERNAME"),
    ] {
        if reader.is_set(other) {
            reader.require(name, format_args!("must be set where {other} is"));
        }
    }
    if production && password.as_deref().is_some_and(has_placeholder_word) {
        reader.fault("MAIL_PASSWORD", "looks like a placeholder");
    }
    let roots = reader.file("MAIL_CA_FILE");

    let host = host?;
    let mut builder = SmtpMailer::builder(&host, sender?.clone())
        .encryption(encryption)
        .port(port);
    if let (Some(username), Some(password)) = (username, password) {
        builder = builder.login(username, Secret::new(password));
    }
    if let Some(pem) = roots {
        builder = builder.root_certificates(pem);
    }
    match builder.build() {
        Ok(mailer) => Some(Relay {
            mailer,
            encryption,
            host,
            port,
        }),
        Err(error) => {
            let name = match error {
                SmtpError::Certificates => "MAIL_CA_FILE",
                _ => "MAIL_SERVER",
            };
            reader.fault(name, crate::chain(&error));
            None
        }
    }
}

/// Both true: TLS from the start at port 465, and STARTTLS at any other. One that is not set is the opposite of the other, and with neither both are true.
fn encryption(reader: &mut Reader, port: Option<u16>) -> SmtpEncryption {
    let tls = reader.optional("MAIL_SSL_TLS", flag);
    let starttls = reader.optional("MAIL_STARTTLS", flag);
    match (
        tls.or(starttls.map(|on| !on)),
        starttls.or(tls.map(|on| !on)),
    ) {
        (Some(false), Some(false)) => SmtpEncryption::ClearText,
        (Some(true), Some(false)) => SmtpEncryption::Implicit,
        (Some(false), Some(true)) => SmtpEncryption::StartTls,
        _ if port == Some(465) => SmtpEncryption::Implicit,
        _ => SmtpEncryption::StartTls,
    }
}

#[cfg(test)]
mod tests {
    use super::{Mail, Reader};

    fn read(values: &[(&str, &str)], production: bool) -> Result<String, Vec<String>> {
        let mut reader = Reader::default();
        for (name, value) in values {
            reader
                .values
                .insert((*name).to_owned(), (*value).to_owned());
        }
        match Mail::read(&mut reader, production) {
            Some(mail) if reader.faults.is_empty() => Ok(mail
                .relay
                .map_or_else(String::new, |relay| relay.to_string())),
            _ => Err(reader.faults),
        }
    }

    const SERVER: [(&str, &str); 2] = [("MAIL_SERVER", "mail.test"), ("MAIL_FROM", "a@test.org")];

    #[test]
    fn two_flags_and_the_port_say_how_the_way_is_protected() {
        for (tls, starttls, port, expected) in [
            ("", "", "", "mail.test:587 (with STARTTLS)"),
            ("", "", "465", "mail.test:465 (with TLS)"),
            ("True", "True", "587", "mail.test:587 (with STARTTLS)"),
            ("True", "True", "465", "mail.test:465 (with TLS)"),
            ("True", "True", "2525", "mail.test:2525 (with STARTTLS)"),
            ("true", "", "", "mail.test:465 (with TLS)"),
            ("true", "false", "2525", "mail.test:2525 (with TLS)"),
            ("", "true", "465", "mail.test:465 (with STARTTLS)"),
            ("false", "", "", "mail.test:587 (with STARTTLS)"),
            ("", "false", "", "mail.test:465 (with TLS)"),
            ("false", "false", "", "mail.test:587 (in clear text)"),
        ] {
            let flags = [
                ("MAIL_SSL_TLS", tls),
                ("MAIL_STARTTLS", starttls),
                ("MAIL_PORT", port),
            ];
            let told = read(&[&SERVER[..], &flags].concat(), false).unwrap();
            assert_eq!(told, format!("sent by {expected}"), "{flags:?}");
        }
    }

    #[test]
    fn what_cannot_work_or_is_read_by_others_is_refused() {
        for (name, value, at) in [
            ("MAIL_SERVER", "smtp://mail.test", "MAIL_SERVER"),
            ("MAIL_SERVER", "mail.test:587", "MAIL_SERVER"),
            ("MAIL_SERVER", "", "MAIL_PORT"),
            ("MAIL_FROM", "", "MAIL_FROM"),
            ("MAIL_PORT", "0", "MAIL_PORT"),
            ("MAIL_USERNAME", "a", "MAIL_PASSWORD"),
            ("MAIL_PASSWORD", "a", "MAIL_USERNAME"),
            ("MAIL_CA_FILE", "/nowhere/at/all", "MAIL_CA_FILE"),
            ("MAIL_CA_FILE", "/dev/null", "MAIL_CA_FILE"),
            ("MAIL_SSL_TLS", "perhaps", "MAIL_SSL_TLS"),
            ("MAIL_SSL_TLS", "false", "MAIL_STARTTLS"),
        ] {
            let good = [
                ("MAIL_PORT", "587"),
                ("MAIL_STARTTLS", "false"),
                ("MAIL_SSL_TLS", "true"),
            ];
            let values: Vec<_> = SERVER
                .into_iter()
                .chain(good)
                .filter(|(n, _)| *n != name)
                .chain([(name, value)])
                .collect();
            let faults = read(&values, true).unwrap_err();
            assert!(
                faults
                    .iter()
                    .any(|fault| fault.starts_with(&format!("{at}: "))),
                "{name}={value}: {faults:?}"
            );
            // What was set is not called missing.
            let is_false = |fault: &&String| {
                !value.is_empty() && fault.contains("MAIL_SERVER is not") && name == "MAIL_SERVER"
            };
            assert_eq!(faults.iter().find(is_false), None);
        }
        let many = [
            ("MAIL_SERVER", "a:b"),
            ("MAIL_PORT", "x"),
            ("MAIL_SSL_TLS", "x"),
            ("MAIL_CA_FILE", "/nowhere/at/all"),
        ];
        assert_eq!(
            read(&many, false).unwrap_err().len(),
            5,
            "and MAIL_FROM is missing"
        );

        let placeholder = [
            ("MAIL_USERNAME", "a"),
            ("MAIL_PASSWORD", "your-email-password"),
        ];
        assert!(read(&[&SERVER[..], &placeholder].concat(), true).is_err());
        assert!(read(&[&SERVER[..], &placeholder].concat(), false).is_ok());
    }
}
