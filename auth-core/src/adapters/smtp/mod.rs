//! Mails by SMTP.

mod conversation;
mod plain;
mod sender;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use lettre::transport::smtp::{
    authentication::Credentials,
    client::{Certificate, CertificateStore, TlsParameters},
    extension::ClientId,
};

use self::conversation::{Encryption, Server};
pub use self::sender::{InvalidSender, Sender};
use crate::{
    ports::{Mailer, MailerError, OutgoingMail},
    types::Secret,
};

/// Sends mails over a server that takes them in: a relay, or a provider's submission host. Clones share its connections.
///
/// ```
/// use auth_core::{
///     adapters::{Sender, SmtpMailer},
///     types::Secret,
/// };
///
/// let sender = Sender::parse("Example <no-reply@example.org>")?;
/// let mailer = SmtpMailer::builder("smtp.example.org", sender)
///     .login("no-reply", Secret::new("a password".to_owned()))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// 1. The server's certificate and its name are verified, with the web's roots or with those of [`root_certificates`](SmtpMailerBuilder::root_certificates).
///    Where encryption is asked for, nothing is ever sent without it.
/// 2. What the server answers to a recipient or to the message itself with 5xx is [permanent](MailerError::Permanent). Everything else is
///    [temporary](MailerError::Temporary), a refused login or sender too: a wrong setting says nothing about the mail.
/// 3. Each try of a mail has the same Message-ID, made from the mail's id and the sender's domain. When a server accepts a mail and its answer is
///    lost, the mail is sent again, and receivers can tell by that.
/// 4. A mail and its answers have 25 seconds, whatever the server does, of which each of its addresses has 8 to be reached.
///
/// # Security
/// It logs nothing, and its errors hold what the server said, but for words that may be links, and never a password. But a host that switches lettre's feature `tracing` on has passwords and
/// mails with their links in its log at the level `debug`.
#[derive(Clone)]
pub struct SmtpMailer {
    sender: Sender,
    server: Arc<Server>,
}

/// How the way to the server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SmtpEncryption {
    /// Not at all.
    ///
    /// # Security
    /// Whoever is on the way reads the password and the mails with their links. For a server on the same machine.
    ClearText,
    /// TLS from the first byte, usually at port 465.
    Implicit,
    /// TLS by STARTTLS, usually at port 587; a server that does not offer it gets nothing.
    #[default]
    StartTls,
}

impl SmtpEncryption {
    /// The usual port: 465 with TLS from the start, otherwise 587 (RFC 6409; 25 is for servers among themselves).
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::ClearText | Self::StartTls => 587,
        }
    }
}

/// Why an [`SmtpMailer`] could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmtpError {
    /// No certificate, or one that is damaged.
    #[error("the root certificates cannot be read: PEM is expected")]
    Certificates,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sets up an [`SmtpMailer`].
#[must_use = "it sends nothing until it is built"]
pub struct SmtpMailerBuilder {
    encryption: SmtpEncryption,
    host: String,
    login: Option<(String, Secret<String>)>,
    patience: Duration,
    port: Option<u16>,
    roots: Option<Vec<u8>>,
    sender: Sender,
}

impl fmt::Debug for SmtpMailerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailerBuilder")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

impl SmtpMailerBuilder {
    /// How the way to the server is protected; STARTTLS by default.
    pub const fn encryption(mut self, encryption: SmtpEncryption) -> Self {
        self.encryption = encryption;
        self
    }

    /// Who we are to the server (AUTH PLAIN or LOGIN); by default it is not told.
    pub fn login(mut self, username: impl Into<String>, password: Secret<String>) -> Self {
        self.login = Some((username.into(), password));
        self
    }

    /// How long the server has for a mail, from the connection to the last answer; 25 seconds by default, less than the workers give a mailer.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The port; the usual one of the encryption by default.
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// PEM of the authorities that are trusted instead of the web's.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Builds it; nobody is connected to before the first mail.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub fn build(self) -> Result<SmtpMailer, SmtpError> {
        let tls = || tls(&self.host, self.roots.as_deref());
        let encryption = match self.encryption {
            SmtpEncryption::ClearText => Encryption::ClearText,
            SmtpEncryption::Implicit => Encryption::Implicit(tls()?),
            SmtpEncryption::StartTls => Encryption::StartTls(tls()?),
        };
        let login = self
            .login
            .map(|(username, password)| Credentials::new(username, password.expose().clone()));
        let server = Server {
            port: self.port.unwrap_or(self.encryption.usual_port()),
            host: self.host,
            encryption,
            login,
            // Not the name of the machine, which the server need not know and often refuses.
            hello: ClientId::Domain(self.sender.domain().to_owned()),
            patience: self.patience,
            idle: Mutex::default(),
        };
        Ok(SmtpMailer {
            sender: self.sender,
            server: Arc::new(server),
        })
    }
}

fn tls(host: &str, roots: Option<&[u8]>) -> Result<TlsParameters, SmtpError> {
    let mut tls = TlsParameters::builder(host.to_owned());
    match roots {
        None => tls = tls.certificate_store(CertificateStore::WebpkiRoots),
        Some(pem) => {
            // A file without any would leave nobody to trust, and say so at the first mail only.
            if !pem.windows(PEM_MARK.len()).any(|part| part == PEM_MARK) {
                return Err(SmtpError::Certificates);
            }
            let roots = Certificate::from_pem(pem).map_err(|_| SmtpError::Certificates)?;
            tls = tls
                .certificate_store(CertificateStore::None)
                .add_root_certificate(roots);
        }
    }
    tls.build_rustls()
        .map_err(|error| SmtpError::Tls(error.into()))
}

const PEM_MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";

impl SmtpMailer {
    /// Starts to set one up: for a host name or an IP address, which the server's certificate must have.
    pub fn builder(host: impl Into<String>, sender: Sender) -> SmtpMailerBuilder {
        SmtpMailerBuilder {
            encryption: SmtpEncryption::default(),
            host: host.into(),
            login: None,
            patience: Duration::from_secs(25),
            port: None,
            roots: None,
            sender,
        }
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailer")
            .field("host", &self.server.host)
            .field("port", &self.server.port)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        let message = self.sender.message(mail)?;
        self.server
            .deliver(message.envelope(), &message.formatted())
            .await
            .map_err(|failure| {
                if failure.is_permanent() {
                    MailerError::Permanent(failure.into())
                } else {
                    MailerError::Temporary(failure.into())
                }
            })
    }
}
