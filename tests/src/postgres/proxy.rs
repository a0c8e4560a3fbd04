//! A wire between the store and its server that counts, and that can be cut.

use std::{
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use auth_store_postgres::sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

use super::Database;

/// Forwards connections for the rest of the test. Clones are one proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The same database, by way of the proxy.
    pub database: Database,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    /// The types of the messages that clients sent, by connection in no order (postgresql.org/docs/current/protocol-message-formats.html).
    sent: Mutex<Vec<u8>>,
    /// The next so many messages pass; with the one after them all is cut.
    passes: AtomicUsize,
}

impl Proxy {
    /// Between the clients of its [`database`](Self::database) and this one.
    pub async fn before(database: &Database) -> Self {
        let server = PgConnectOptions::from_str(&database.url).unwrap();
        let server = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Arc::new(Wire {
            sent: Mutex::new(Vec::new()),
            passes: AtomicUsize::new(usize::MAX),
        });
        let forwarding = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await;
                if let (Ok(server), true) = (server, forwarding.is_whole()) {
                    tokio::spawn(connection(client, server, Arc::clone(&forwarding)));
                }
            }
        });

        let (scheme, rest) = database.url.split_once("://").unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let name = name.split('?').next().unwrap();
        let login = host
            .rsplit_once('@')
            .map(|(login, _)| format!("{login}@"))
            .unwrap_or_default();
        Self {
            database: Database {
                url: format!("{scheme}://{login}127.0.0.1:{port}/{name}?sslmode=disable"),
            },
            wire,
        }
    }

    /// Cuts all connections after so many more messages, and refuses new ones, until it is mended.
    pub fn cut_after(&self, messages: usize) {
        self.wire.passes.store(messages, Ordering::SeqCst);
    }

    /// Lets messages and connections pass again.
    pub fn mend(&self) {
        self.wire.passes.store(usize::MAX, Ordering::SeqCst);
    }

    /// What clients sent since the last call: how many statements were executed, and in how many round trips.
    pub fn take_counts(&self) -> Counts {
        let sent = std::mem::take(&mut *self.wire.sent.lock().unwrap());
        let count = |types: &[u8]| sent.iter().filter(|sent| types.contains(sent)).count();
        let executed = count(b"E");
        Counts {
            statements: executed + count(b"Q"),
            prepared: count(b"P"),
            // What prepares a statement and what executes it are sent with a Sync each.
            tests: count(b"S").saturating_sub(executed + count(b"P")),
        }
    }
}

/// What clients sent through a [`Proxy`].
#[derive(Debug, PartialEq, Eq)]
pub struct Counts {
    /// Each is a round trip.
    pub statements: usize,
    /// One more each, the first time on a connection.
    pub prepared: usize,
    /// Of a connection that goes back to its pool: one more each, for which nobody waits.
    pub tests: usize,
}

impl Wire {
    fn is_whole(&self) -> bool {
        self.passes.load(Ordering::SeqCst) > 0
    }

    /// Whether a message passes.
    fn pass(&self, kind: u8) -> bool {
        self.sent.lock().unwrap().push(kind);
        self.passes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                usize::MAX => Some(left),
                left => left.checked_sub(1),
            })
            .is_ok()
    }
}

async fn connection(client: TcpStream, server: TcpStream, wire: Arc<Wire>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::select! {
        _ = messages(from_client, to_server, &wire) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

/// Forwards what a client sends, message by message.
async fn messages(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    wire: &Wire,
) -> std::io::Result<()> {
    // The first message has no type.
    let mut kind = None;
    loop {
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        if let Some(kind) = kind {
            if !wire.pass(kind) {
                return Ok(());
            }
            server.write_u8(kind).await?;
        }
        server.write_u32(length).await?;
        server.write_all(&body).await?;
        server.flush().await?;
        kind = Some(client.read_u8().await?);
    }
}
