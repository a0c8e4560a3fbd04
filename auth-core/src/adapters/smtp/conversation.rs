//! One conversation with a server after another, over connections that are kept for a while.

use std::{
    error::Error,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use lettre::{
    address::Envelope,
    transport::smtp::{
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Noop, Quit, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    },
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::plain::LineByLine;

/// Servers end what is idle for longer, some of them without a word.
const IDLE: Duration = Duration::from_secs(20);
const MAX_IDLE: usize = 8;
/// For one address of the server, of which it may have several, and some of them unreachable.
const CONNECT: Duration = Duration::from_secs(8);
/// For the answer that tells whether a connection that was idle is still there.
const STILL_THERE: Duration = Duration::from_secs(5);

pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
    pub(super) login: Option<Credentials>,
    pub(super) hello: ClientId,
    /// For a whole conversation.
    pub(super) patience: Duration,
    pub(super) idle: Mutex<Vec<Idle>>,
}

pub(super) enum Encryption {
    ClearText,
    Implicit(TlsParameters),
    StartTls(TlsParameters),
}

pub(super) struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

/// Where a conversation was when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    StartTls,
    Login,
    Sender,
    Recipient,
    Data,
    Message,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::StartTls => "STARTTLS",
            Self::Login => "AUTH",
            Self::Sender => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::Message => "the message",
        }
    }

    /// What is refused earlier says nothing about a mail: not even MAIL FROM, which names no more than our own address.
    const fn concerns_the_mail(self) -> bool {
        matches!(self, Self::Recipient | Self::Data | Self::Message)
    }
}

/// How a conversation ended early.
#[derive(Debug)]
pub(super) struct Failure {
    step: Step,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Network(io::Error),
    /// The server does not take addresses outside of ASCII (RFC 6531).
    NoUnicodeAddresses,
    Silence,
    Smtp(lettre::transport::smtp::Error),
}

impl Failure {
    /// Whether the server will never take this mail. A refused login is not of this kind, even when it is told late (RFC 4954 §6): the next one may do.
    pub(super) fn is_permanent(&self) -> bool {
        let concerns_login = |code: u16| matches!(code, 530 | 534 | 535 | 538);
        match &self.cause {
            Cause::Network(_) | Cause::Silence => false,
            Cause::NoUnicodeAddresses => true,
            Cause::Smtp(error) => {
                self.step.concerns_the_mail()
                    && error.is_permanent()
                    && !error
                        .status()
                        .is_some_and(|code| concerns_login(code.into()))
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.step.as_str())?;
        match &self.cause {
            Cause::Network(error) => error.fmt(f),
            Cause::NoUnicodeAddresses => {
                f.write_str("the server takes no address outside of ASCII")
            }
            Cause::Silence => f.write_str("no answer in time"),
            Cause::Smtp(error) => {
                if let Some(code) = error.status() {
                    write!(f, "{code} ")?;
                }
                f.write_str(&without_links(&innermost(error).to_string()))
            }
        }
    }
}

// Without a source: what is displayed has it already.
impl Error for Failure {}

/// What lettre wraps, in up to three layers that say the same.
fn innermost<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// The first words of an answer, but for those that are long enough to be a link of the mail: servers quote what they refuse.
fn without_links(answer: &str) -> String {
    let words = answer
        .split_whitespace()
        .map(|word| if word.len() > 40 { "…" } else { word });
    words.take(50).collect::<Vec<_>>().join(" ")
}

impl Server {
    /// Hands a message over.
    ///
    /// A connection is kept for the next one only when nothing is left unsaid on it. When this is dropped half-way, or fails, the connection is closed:
    /// answers that are still to come would be taken for those to the next message.
    pub(super) async fn deliver(
        self: &Arc<Self>,
        envelope: &Envelope,
        message: &[u8],
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + self.patience;
        let mut connection = match self.idle_connection(deadline).await {
            Some(connection) => connection,
            None => self.connect(deadline).await?,
        };
        hand_over(&mut connection, envelope, message, deadline).await?;
        self.keep(connection);
        Ok(())
    }

    async fn connect(&self, deadline: Instant) -> Result<AsyncSmtpConnection, Failure> {
        let mut connection = match &self.encryption {
            Encryption::Implicit(tls) => {
                let address = (&*self.host, self.port);
                let connecting = AsyncSmtpConnection::connect_tokio1(
                    address,
                    Some(CONNECT),
                    &self.hello,
                    Some(tls.clone()),
                    None,
                );
                in_time(deadline, Step::Connect, connecting).await?
            }
            Encryption::ClearText => self.connect_plain(deadline).await?,
            Encryption::StartTls(tls) => {
                let mut connection = self.connect_plain(deadline).await?;
                let starting = connection.starttls(tls.clone(), &self.hello);
                in_time(deadline, Step::StartTls, starting).await?;
                connection
            }
        };
        if let Some(login) = &self.login {
            let login = connection.auth(DEFAULT_MECHANISMS, login);
            in_time(deadline, Step::Login, login).await?;
        }
        Ok(connection)
    }

    async fn connect_plain(&self, deadline: Instant) -> Result<AsyncSmtpConnection, Failure> {
        let step = Step::Connect;
        let stream = timeout_at(deadline, self.connect_tcp())
            .await
            .map_err(|_| Cause::Silence)
            .and_then(|connected| connected.map_err(Cause::Network))
            .map_err(|cause| Failure { step, cause })?;
        let stream = Box::new(LineByLine(stream));
        let greeting = AsyncSmtpConnection::connect_with_transport(stream, &self.hello);
        in_time(deadline, step, greeting).await
    }

    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let mut failure = io::ErrorKind::AddrNotAvailable.into();
        for address in lookup_host((&*self.host, self.port)).await? {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failure)
    }

    /// A connection that is still there, if any.
    async fn idle_connection(&self, deadline: Instant) -> Option<AsyncSmtpConnection> {
        loop {
            let Idle {
                mut connection,
                since,
            } = self.idle().pop()?;
            if since.elapsed() >= IDLE {
                continue;
            }
            let patience = deadline.min(Instant::now() + STILL_THERE);
            match timeout_at(patience, connection.command(Noop)).await {
                Ok(Ok(_)) => return Some(connection),
                Ok(Err(_)) => {}
                // Silence on one is silence on all: something between us has forgotten them.
                Err(_) => self.idle().clear(),
            }
        }
    }

    fn keep(self: &Arc<Self>, connection: AsyncSmtpConnection) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            let since = Instant::now();
            idle.push(Idle { connection, since });
            tokio::spawn(farewell(Arc::downgrade(self)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what nobody used for a while.
async fn farewell(server: Weak<Server>) {
    sleep(IDLE).await;
    let Some(server) = server.upgrade() else {
        return;
    };
    let ended: Vec<Idle> = server
        .idle()
        .extract_if(.., |idle| idle.since.elapsed() >= IDLE)
        .collect();
    drop(server);
    for mut idle in ended {
        // It is closed whether or not the server says goodbye.
        let _ = timeout(STILL_THERE, idle.connection.command(Quit)).await;
    }
}

async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    message: &[u8],
    deadline: Instant,
) -> Result<(), Failure> {
    let supports = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    let mut addresses = envelope.to().iter().chain(envelope.from());
    if addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
        if !supports(Extension::SmtpUtfEight) {
            return Err(Failure {
                step: Step::Sender,
                cause: Cause::NoUnicodeAddresses,
            });
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if supports(Extension::EightBitMime) && !message.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let sender = connection.command(Mail::new(envelope.from().cloned(), parameters));
    in_time(deadline, Step::Sender, sender).await?;
    for recipient in envelope.to() {
        let recipient = connection.command(Rcpt::new(recipient.clone(), Vec::new()));
        in_time(deadline, Step::Recipient, recipient).await?;
    }
    in_time(deadline, Step::Data, connection.command(Data)).await?;
    in_time(deadline, Step::Message, connection.message(message)).await?;
    Ok(())
}

async fn in_time<T>(
    deadline: Instant,
    step: Step,
    work: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, Failure> {
    timeout_at(deadline, work)
        .await
        .map_err(|_| Cause::Silence)
        .and_then(|done| done.map_err(Cause::Smtp))
        .map_err(|cause| Failure { step, cause })
}
