//! Ships lines over TCP to Logstash, or to whatever takes JSON lines.
//!
//! 1. A request never waits for the receiver: its lines go into a queue that is bounded in bytes. What does not fit is dropped, counted and told.
//! 2. One task owns the connection. It connects again after longer and longer pauses, and sends the line that was cut off once more.
//! 3. A stop ships what waits, for a few seconds.
//!
//! TCP tells nobody what the receiver has read: what was on its way when a connection broke may be lost, or there twice. On its way is
//! what was sent before the news came that the receiver has gone. What waits in the queue is not touched by that: before each batch, and all
//! through the silence between two, the task looks whether the receiver is still there.

use std::{
    collections::VecDeque,
    fmt, io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use auth_core::types::Secret;
use futures_util::FutureExt;
use metrics::{Counter, counter};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::{JoinHandle, yield_now},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::{BoxError, console::complain};

/// Of lines that wait.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Sent at once.
const BATCH_BYTES: usize = 64 * 1024;
/// A line that is longer is dropped.
const LINE_BYTES: usize = 256 * 1024;
/// For a connection, and for the receiver to take something of what is sent.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two reports of trouble.
const REPORT: Duration = Duration::from_secs(10);
/// For what waits when the service stops.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Where lines go.
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Tls>,
}

/// Whom to trust.
pub(crate) enum Tls {
    /// PEM of authorities.
    Of(Secret<Vec<u8>>),
    /// The web's authorities.
    Web,
}

impl Destination {
    /// Whether a connection can be begun.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        self.connector().map(drop)
    }

    fn connector(&self) -> Result<Option<(TlsConnector, ServerName<'static>)>, BoxError> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        match tls {
            Tls::Of(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.expose()) {
                    roots.add(certificate?)?;
                }
            }
            Tls::Web => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        if roots.is_empty() {
            return Err("SYSLOG_CA_FILE has no certificate".into());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone())?;
        Ok(Some((TlsConnector::from(Arc::new(config)), name)))
    }
}

/// For the operator.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() {
            " (with TLS)"
        } else {
            ""
        };
        write!(f, "{}:{}{tls}", self.host, self.port)
    }
}

/// Lines that wait. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Notify,
    dropped: Counter,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    dropped: u64,
    is_closed: bool,
}

impl Queue {
    fn new() -> Self {
        Self(Arc::new(Shared {
            waiting: Mutex::default(),
            changed: Notify::new(),
            dropped: counter!(
                description: "Lines of the log that were never shipped",
                "auth_log_lines_dropped_total"
            ),
        }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Never waits for the receiver.
    pub(crate) fn push(&self, line: &str) {
        let mut waiting = self.waiting();
        if waiting.is_closed || line.len() > LINE_BYTES || waiting.bytes + line.len() > QUEUE_BYTES
        {
            waiting.dropped += 1;
            self.0.dropped.increment(1);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// How many lines were never shipped.
    pub(crate) fn dropped(&self) -> u64 {
        self.waiting().dropped
    }

    fn close(&self) {
        self.waiting().is_closed = true;
        self.0.changed.notify_one();
    }

    /// Moves lines into an empty batch; `false` when it stays empty.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut waiting = self.waiting();
        while let Some(line) = waiting.lines.front() {
            if !batch.is_empty() && batch.len() + line.len() > BATCH_BYTES {
                break;
            }
            batch.extend_from_slice(line.as_bytes());
            waiting.bytes -= line.len();
            waiting.lines.pop_front();
        }
        !batch.is_empty()
    }

    /// Ready when there is something to send, or never will be.
    async fn changed(&self) {
        loop {
            let changed = self.0.changed.notified();
            {
                let waiting = self.waiting();
                if waiting.is_closed || !waiting.lines.is_empty() {
                    return;
                }
            }
            changed.await;
        }
    }

    fn is_done(&self) -> bool {
        let waiting = self.waiting();
        waiting.is_closed && waiting.lines.is_empty()
    }
}

/// The task that ships, and its queue.
pub(crate) struct Shipping {
    queue: Queue,
    task: JoinHandle<()>,
}

impl Shipping {
    pub(crate) fn start(destination: &Destination) -> Result<Self, BoxError> {
        let queue = Queue::new();
        let shipper = Shipper {
            address: (destination.host.clone(), destination.port),
            tls: destination.connector()?,
            queue: queue.clone(),
            batch: Vec::new(),
            told: None,
            dropped: 0,
        };
        let task = tokio::spawn(shipper.run());
        Ok(Self { queue, task })
    }

    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    pub(crate) async fn finish(self) {
        self.queue.close();
        let abort = self.task.abort_handle();
        if timeout(LAST_LINES, self.task).await.is_err() {
            abort.abort();
        }
        let left = self.queue.waiting().lines.len() as u64;
        let lost = self.queue.dropped() + left;
        if lost > 0 {
            complain(&format!(
                "auth-service: {lost} line(s) of the log did not reach SYSLOG_HOST"
            ));
        }
    }
}

trait Link: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

struct Shipper {
    address: (String, u16),
    tls: Option<(TlsConnector, ServerName<'static>)>,
    queue: Queue,
    /// What is on its way: whole lines.
    batch: Vec<u8>,
    told: Option<Instant>,
    dropped: u64,
}

impl Shipper {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.batch.is_empty() {
                self.queue.changed().await;
                if self.queue.is_done() {
                    return;
                }
            }
            let ended = match self.connect().await {
                Ok(mut link) => {
                    let before = Instant::now();
                    let ended = self.ship(&mut *link).await;
                    if before.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                    ended
                }
                Err(error) => Err(error),
            };
            let Err(error) = ended else { return };
            self.tell(&error);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Link>> {
        let connecting = async {
            let stream = TcpStream::connect(&self.address).await?;
            Ok(match &self.tls {
                None => Box::new(stream) as Box<dyn Link>,
                Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            })
        };
        timeout(PATIENCE, connecting).await?
    }

    /// Until the queue is closed and empty, or the link breaks: then `batch` holds what has to be sent again.
    async fn ship(&mut self, link: &mut dyn Link) -> io::Result<()> {
        let mut heard = [0; 256];
        loop {
            if self.batch.is_empty() && !self.queue.take(&mut self.batch) {
                self.tell_drops();
                if self.queue.is_done() {
                    return timeout(PATIENCE, link.shutdown()).await?;
                }
                tokio::select! {
                    biased;
                    read = link.read(&mut heard) => still_there(read)?,
                    () = self.queue.changed() => {}
                }
                continue;
            }
            // A receiver that has gone says so; the first write after that would succeed and be lost.
            // What it said is known here only after the runtime has looked at its sockets, which it does when a task yields.
            yield_now().await;
            if let Some(read) = link.read(&mut heard).now_or_never() {
                still_there(read)?;
            }
            let mut sent = 0;
            let written = loop {
                if sent == self.batch.len() {
                    break timeout(PATIENCE, link.flush())
                        .await
                        .unwrap_or_else(too_slow);
                }
                match timeout(PATIENCE, link.write(&self.batch[sent..])).await {
                    Ok(Ok(0)) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(Ok(some)) => sent += some,
                    Ok(Err(error)) => break Err(error),
                    Err(late) => break too_slow(late),
                }
            };
            // The line that was cut goes out whole the next time.
            let whole = match written {
                Ok(()) => self.batch.len(),
                Err(_) => self.batch[..sent]
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1),
            };
            self.batch.drain(..whole);
            written?;
        }
    }

    /// To the other outputs, and, when it can be reached again, to the receiver itself.
    fn tell(&mut self, error: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= REPORT) {
            self.told = Some(Instant::now());
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the receiver of the log cannot be reached; lines wait"
            );
        }
        self.tell_drops();
    }

    fn tell_drops(&mut self) {
        let dropped = self.queue.dropped();
        if mem::replace(&mut self.dropped, dropped) != dropped {
            tracing::warn!(
                dropped,
                "lines of the log are dropped: they were never shipped"
            );
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // as `unwrap_or_else` gives it
fn too_slow(late: tokio::time::error::Elapsed) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::TimedOut, late))
}

/// Receivers say nothing; what they say all the same is passed over.
fn still_there(read: io::Result<usize>) -> io::Result<()> {
    match read? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, duplex},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::{Destination, LINE_BYTES, QUEUE_BYTES, Queue, Shipper, Shipping};

    /// What takes longer is a fault.
    const LIMIT: Duration = Duration::from_mins(1);

    async fn receiver() -> (TcpListener, Shipping) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = Destination {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            tls: None,
        };
        let shipping = Shipping::start(&destination).unwrap();
        (listener, shipping)
    }

    async fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
        let accepted = timeout(LIMIT, listener.accept()).await;
        BufReader::new(accepted.unwrap().unwrap().0)
    }

    async fn line(link: &mut BufReader<TcpStream>) -> String {
        let mut text = String::new();
        let read = timeout(LIMIT, link.read_line(&mut text)).await;
        read.unwrap().unwrap();
        text
    }

    #[tokio::test]
    async fn lines_arrive_in_order_also_after_the_receiver_came_back() {
        let (listener, shipping) = receiver().await;
        let queue = shipping.queue();
        queue.push("one\n");
        let mut link = accept(&listener).await;
        assert_eq!(line(&mut link).await, "one\n");
        // It goes away in the middle of silence, which is noticed: the other side closes, too.
        link.get_mut().shutdown().await.unwrap();
        assert_eq!(line(&mut link).await, "");
        drop(link);
        for text in ["two\n", "three\n"] {
            queue.push(text);
        }
        let mut link = accept(&listener).await;
        assert_eq!(line(&mut link).await, "two\n");
        assert_eq!(line(&mut link).await, "three\n");
        queue.push("four\n");
        shipping.finish().await;
        let mut rest = String::new();
        let read = timeout(LIMIT, link.read_to_string(&mut rest)).await;
        read.unwrap().unwrap();
        assert_eq!(rest, "four\n");
        assert_eq!(queue.dropped(), 0);
    }

    #[tokio::test]
    async fn lines_that_wait_are_not_given_to_a_receiver_that_has_gone() {
        let queue = Queue::new();
        let mut shipper = Shipper {
            address: ("127.0.0.1".to_owned(), 0),
            tls: None,
            queue: queue.clone(),
            batch: Vec::new(),
            told: None,
            dropped: 0,
        };
        let (mut link, receiver) = duplex(1024);
        queue.push("two\n");
        queue.push("three\n");
        // Before anybody can have noticed.
        drop(receiver);
        let ended = timeout(LIMIT, shipper.ship(&mut link)).await.unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(shipper.batch, b"two\nthree\n");
    }

    #[tokio::test]
    async fn a_receiver_that_does_not_read_costs_bounded_memory_and_what_is_dropped_is_counted() {
        let (listener, shipping) = receiver().await;
        let queue = shipping.queue();
        let text = format!("{}\n", "x".repeat(9_999));
        queue.push(&text);
        let mut link = accept(&listener).await;
        let lines = 4 * QUEUE_BYTES / text.len();
        for _ in 0..lines {
            queue.push(&text);
        }
        assert!(queue.waiting().bytes <= QUEUE_BYTES);
        queue.push(&"x".repeat(LINE_BYTES + 1));
        let dropped = queue.dropped();
        assert!(dropped > 0);
        // It wakes up and reads: everything that was not dropped is there, whole.
        let reading = tokio::spawn(async move {
            let mut all = String::new();
            link.read_to_string(&mut all).await.unwrap();
            all
        });
        shipping.finish().await;
        let all = reading.await.unwrap();
        assert!(all.lines().all(|line| line.len() == 9_999));
        let arrived = all.lines().count() as u64;
        assert_eq!(arrived + dropped, lines as u64 + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_receiver_nothing_waits_for_ever() {
        let (listener, shipping) = receiver().await;
        drop(listener);
        let queue = shipping.queue();
        queue.push("never\n");
        timeout(Duration::from_secs(6), shipping.finish())
            .await
            .unwrap();
    }
}
