//! The numbers of the service, as Prometheus reads them: at an address of their own, which is not for clients.
//!
//! 1. Whoever counts asks the facade `metrics`. What is installed here is there before anything that counts is made, and answers while the service still
//!    waits for its database.
//! 2. A page is made at most once a second, and asks the database two short questions at most every five: however many ask, and however often.
//! 3. A database that is away or slow is a number, too: no page waits longer than a second for it, or fails. Postgres is asked over connections of their
//!    own: that all others are in use says nothing about it. SQLite is asked over those that everybody reads by.
//! 4. A scraper is a client like others: its connections are bounded in number and time.
//!
//! # Security
//! Nothing here names a user, an address or a secret, and every label has few values. The numbers still tell how busy the service is, and how often it was
//! attacked: the address belongs into a network of operators.

use std::{
    future::pending,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use auth_core::{Auth, WorkerState, ports::MailCounts, time::Duration as Age};
use auth_tower::TrustedProxies;
use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use metrics::{Counter, Gauge, Unit, counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::TcpListener,
    sync::{Mutex, oneshot},
    task::JoinHandle,
    time::{interval, timeout},
};

use crate::{
    BoxError,
    database::Database,
    server::{self, Places},
};

/// Upper bounds of histograms, in seconds: from a look-up to a client that was given up.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// How long a page is good.
const PAGE: Duration = Duration::from_secs(1);
/// How long a look at the database is good.
const LOOK: Duration = Duration::from_secs(5);
/// For an answer of the database.
const PATIENCE: Duration = Duration::from_secs(1);
/// Single measurements are kept until they are sorted into buckets, which a page does; without one it is done as often as this.
const UPKEEP: Duration = Duration::from_secs(5);

/// What keeps the numbers of this process.
pub(crate) struct Meters {
    kept: PrometheusHandle,
    listener: TcpListener,
}

impl Meters {
    /// Keeps what is counted from now on. Once a process.
    pub(crate) async fn install(address: SocketAddr) -> Result<Self, BoxError> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            format!("METRICS_ADDRESS: {address} cannot be listened on: {error}")
        })?;
        let recorder = PrometheusBuilder::new()
            .set_buckets(BUCKETS)?
            .build_recorder();
        let kept = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        gauge!(
            description: "1; the version is in the label",
            "auth_build_info",
            "version" => env!("CARGO_PKG_VERSION")
        )
        .set(1);
        is_up().set(0);
        Ok(Self { kept, listener })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, BoxError> {
        Ok(self.listener.local_addr()?)
    }

    /// Tells the numbers at `/metrics`, until it is dropped; those from outside once there is something to look at.
    pub(crate) async fn serve(self, opened: oneshot::Receiver<Outside>) {
        let kept = self.kept.clone();
        let page = Page {
            kept: self.kept,
            opened,
            outside: None,
            last: None,
        };
        let app = Router::new()
            .route("/metrics", get(show))
            .with_state(Arc::new(Mutex::new(page)));
        let proxies = TrustedProxies::default();
        let upkeep = async {
            let mut turns = interval(UPKEEP);
            loop {
                turns.tick().await;
                kept.run_upkeep();
            }
        };
        tokio::select! {
            _ = server::serve(self.listener, app, Places::OF_SCRAPERS, &proxies, pending()) => {}
            () = upkeep => {}
        }
    }
}

async fn show(State(page): State<Arc<Mutex<Page>>>) -> impl IntoResponse {
    let text = page.lock().await.text().await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

/// There from the beginning: until the database is open, it is not up.
fn is_up() -> Gauge {
    gauge!(
        description: "1 when the database answered the last look at it, else 0",
        "auth_db_up"
    )
}

struct Page {
    kept: PrometheusHandle,
    opened: oneshot::Receiver<Outside>,
    outside: Option<Outside>,
    last: Option<(Instant, axum::body::Bytes)>,
}

impl Page {
    async fn text(&mut self) -> axum::body::Bytes {
        if let Some((made, text)) = &self.last
            && made.elapsed() < PAGE
        {
            return text.clone();
        }
        if let Ok(outside) = self.opened.try_recv() {
            self.outside = Some(outside);
        }
        if let Some(outside) = &mut self.outside {
            outside.look().await;
        }
        let text = axum::body::Bytes::from(self.kept.render());
        self.last = Some((Instant::now(), text.clone()));
        text
    }
}

/// Numbers that nobody counts: they are looked for when somebody asks.
pub(crate) struct Outside {
    auth: Auth,
    /// Whose connections are counted.
    database: Database,
    /// Who is asked.
    watched: Database,
    looked: Option<Instant>,
    answers: Question<()>,
    queue: Question<MailCounts>,
    connections: [Gauge; 2],
    dead: Gauge,
    failed: Counter,
    given_up: Counter,
    is_up: Gauge,
    most_connections: Gauge,
    oldest: Gauge,
    queued: Gauge,
    sent: Counter,
    withdrawn: Counter,
    workers: Gauge,
}

impl Outside {
    /// `watched` is what [`Database::to_watch`] gives.
    pub(crate) fn register(auth: Auth, database: Database, watched: Database) -> Self {
        Self {
            auth,
            database,
            watched,
            looked: None,
            answers: Question::default(),
            queue: Question::default(),
            connections: ["idle", "used"].map(|state| {
                gauge!(
                    description: "Open connections to the database",
                    "auth_db_connections",
                    "state" => state
                )
            }),
            dead: gauge!(
                description: "Mails that were given up and wait for a person, of all processes; up to 10000",
                "auth_mail_dead_letters"
            ),
            failed: counter!(
                description: "Tries to send a mail that failed",
                "auth_mail_tries_failed_total"
            ),
            given_up: counter!(
                description: "Mails that became dead letters",
                "auth_mails_given_up_total"
            ),
            is_up: is_up(),
            most_connections: gauge!(
                description: "The most connections that this process may open",
                "auth_db_connections_max"
            ),
            oldest: gauge!(
                description: "How long ago the mail was queued that waits for longest, of those that are counted; 0 without one",
                unit: Unit::Seconds,
                "auth_mail_queue_oldest_seconds"
            ),
            queued: gauge!(
                description: "Mails that wait or are being sent, of all processes; up to 10000",
                "auth_mail_queue_length"
            ),
            sent: counter!(
                description: "Mails that a server accepted",
                "auth_mails_sent_total"
            ),
            withdrawn: counter!(
                description: "Mails not sent because their links were used meanwhile",
                "auth_mails_withdrawn_total"
            ),
            workers: gauge!(
                description: "1 while the background workers of this process are well, else 0",
                "auth_workers_up"
            ),
        }
    }

    async fn look(&mut self) {
        let workers = self.auth.mail_workers();
        self.failed.absolute(workers.failed);
        self.given_up.absolute(workers.given_up);
        self.sent.absolute(workers.sent);
        self.withdrawn.absolute(workers.withdrawn);
        self.workers
            .set(u8::from(workers.state == WorkerState::Alive));

        let connections = self.database.connections();
        let [idle, used] = &self.connections;
        idle.set(number(connections.idle));
        used.set(number(connections.open.saturating_sub(connections.idle)));
        self.most_connections.set(number(connections.most));

        if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.ask().await;
            self.looked = Some(Instant::now());
        }
    }

    async fn ask(&mut self) {
        let (watched, counted) = (self.watched.clone(), self.watched.clone());
        let (answers, queue) = tokio::join!(
            self.answers.ask(async move { watched.ping().await.ok() }),
            self.queue
                .ask(async move { counted.outbox().mail_counts().await.ok() }),
        );
        self.is_up.set(u8::from(answers.is_some()));
        // Not the numbers of a while ago: an alarm would take them for those of now.
        let unknown = [f64::NAN; 3];
        let [queued, dead, oldest] = queue.map_or(unknown, |queue| {
            let age = queue.oldest.map_or(Age::ZERO, |at| self.auth.now() - at);
            let age = age.max(Age::ZERO).as_seconds_f64();
            [number(queue.queued), number(queue.dead), age]
        });
        self.queued.set(queued);
        self.dead.set(dead);
        self.oldest.set(oldest);
    }
}

/// Something that is asked again and again. What takes longer than it is waited for goes on, and is not asked once more beside that.
struct Question<T>(Option<(Instant, JoinHandle<Option<T>>)>);

impl<T> Default for Question<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Question<T> {
    /// `None` when there is no answer now.
    async fn ask(
        &mut self,
        question: impl Future<Output = Option<T>> + Send + 'static,
    ) -> Option<T> {
        // What was found a while ago is not how things are.
        let is_stale = |asked: &mut (Instant, JoinHandle<_>)| {
            asked.1.is_finished() && asked.0.elapsed() >= LOOK
        };
        drop(self.0.take_if(is_stale));
        let (_, asked) = self
            .0
            .get_or_insert_with(|| (Instant::now(), tokio::spawn(question)));
        let answer = timeout(PATIENCE, asked).await.ok()?;
        self.0 = None;
        answer.ok()?
    }
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use auth_core::SigningKeys;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::{sync::oneshot, time::Instant};

    use super::{Outside, Page};
    use crate::database::{Database, DatabaseUrl};

    /// It would make a busy pool look idle.
    #[tokio::test]
    async fn who_asks_for_the_numbers_is_not_among_those_who_wait_for_a_connection() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let kept = recorder.handle();
        let _until_the_end = metrics::set_default_local_recorder(&recorder);
        let (url, now) = (DatabaseUrl::SqliteMemory, Instant::now());
        let database = Database::open(&url, 1, now, |_| {}).await.unwrap();
        database.migrate().await.unwrap();
        let watched = database.to_watch(&url, now, |_| {}).await.unwrap();
        let keys = SigningKeys::parse("0123456789abcdef0123456789abcdef").unwrap();
        let auth = database.auth(keys).build().unwrap();
        let (opened, open) = oneshot::channel();
        let outside = Outside::register(auth, database.clone(), watched);
        assert!(opened.send(outside).is_ok());
        let mut page = Page {
            kept: kept.clone(),
            opened: open,
            outside: None,
            last: None,
        };
        let waits = || {
            let page = kept.render();
            let mut lines = page.lines();
            let count =
                lines.find_map(|line| line.strip_prefix("auth_db_connection_wait_seconds_count "));
            count.map_or(0, |count| count.parse::<u64>().unwrap())
        };

        let before = waits();
        let told = page.text().await;
        let told = std::str::from_utf8(&told).unwrap();
        assert!(told.contains("\nauth_db_up 1\n"), "{told}");
        assert!(told.contains("\nauth_mail_queue_length 0\n"), "{told}");
        assert_eq!(waits(), before);
        database.ping().await.unwrap();
        assert_eq!(waits(), before + 1);
    }
}
