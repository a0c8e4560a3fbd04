//! A Postgres server for all tests of one process, a database for each test, and a [`Cluster`] for a test that breaks its server.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use auth_core::ports::Store;
//! use auth_tests::postgres;
//!
//! let store = postgres::database().await.store().await;
//! store.ping().await.unwrap();
//! # }
//! ```
//!
//! The server is
//! 1. the one that `TEST_DATABASE_URL` names, when it is set: a server for tests, with a role that may create databases. What earlier runs left there
//!    is dropped.
//! 2. Otherwise a container of `TEST_POSTGRES_IMAGE`, when a Docker daemon answers and it starts.
//! 3. Otherwise a private cluster from the binaries of this machine, in a directory that goes with the process.
//!
//! `TEST_DATABASE_SERVER` insists on one of `url`, `container` and `binaries`. What came of it is said on standard error. With none, tests fail and say
//! what is missing.

mod cluster;
mod container;
mod life_line;
mod pgbouncer;
mod proxy;
mod source;

use std::{
    cell::RefCell,
    path::Path,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use auth_store_postgres::{
    PgStore,
    sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection},
};
use tokio::{runtime, sync::OnceCell};

pub use cluster::Cluster;
pub use pgbouncer::PgBouncer;
pub use proxy::{Counts, Proxy};
use source::Source;

const INSTRUCTIONS: &str = "The tests over Postgres need a server, one of:\n\
    - TEST_DATABASE_URL, the URL of a server for tests (the role must be allowed to create databases);\n\
    - a Docker daemon and its client `docker`, and an image that is there or can be had: TEST_POSTGRES_IMAGE, or else postgres:15-alpine;\n\
    - the server's binaries on this machine, in /usr/lib/postgresql/*/bin or where pg_config says (Debian: apt-get install postgresql). \
    As root, a user \"postgres\" too, because the server refuses to run as root.";

/// Of servers that never crash together with their machine, and that a whole suite connects to.
const SETTINGS: [&str; 4] = [
    "autovacuum=off",
    "fsync=off",
    "full_page_writes=off",
    "max_connections=1000",
];

/// A setting of a test run.
#[allow(clippy::disallowed_methods)] // read here and nowhere else
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// One database for one test. It is dropped with the thread that asked for it, which is the test's own.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where it is, with all that is needed to connect.
    pub url: String,
}

impl Database {
    /// Another process' worth of connections.
    pub async fn store(&self) -> PgStore {
        PgStore::connect(&self.url).await.unwrap()
    }

    /// The schemas of it, as statements that would make them again. Two that are the same have the same text.
    pub fn dump_schema(&self) -> String {
        cluster::dump_schema(&self.url)
    }

    /// A look from outside.
    pub async fn raw(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

/// A database with our schema.
pub async fn database() -> Database {
    let server = server().await;
    server.for_this_test(&server.template).await
}

/// A database with nothing in it.
pub async fn empty_database() -> Database {
    server().await.for_this_test(NOTHING).await
}

/// The template without a schema.
const NOTHING: &str = "template0";

thread_local! {
    /// Of the test on this thread: its stores have no hand that could hold them.
    static DATABASES: RefCell<Vec<InUse>> = const { RefCell::new(Vec::new()) };
}

/// Hands its database over when it is dropped.
struct InUse {
    name: String,
    done: Sender<String>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        // Where the process ends, the next one finds it.
        let _ = self.done.send(std::mem::take(&mut self.name));
    }
}

struct Server {
    /// Ends with the process.
    source: Source,
    template: String,
    /// Takes the names of databases that are done with.
    done: Sender<String>,
}

async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(Server::begin).await
}

impl Server {
    async fn begin() -> Self {
        let source = Source::find().await;
        let url = source.url();
        if matches!(source, Source::Url(_)) {
            drop_leftovers(&url).await;
        }
        let template = create(&url, NOTHING).await;
        let store = Database {
            url: with_database(&url, &template),
        }
        .store()
        .await;
        store.migrate().await.unwrap();
        store.close().await;
        let (done, names) = mpsc::channel();
        thread::spawn(move || drop_each(&url, &names));
        Self {
            source,
            template,
            done,
        }
    }

    async fn for_this_test(&self, template: &str) -> Database {
        let name = create(&self.source.url(), template).await;
        let url = with_database(&self.source.url(), &name);
        let done = self.done.clone();
        DATABASES.with_borrow_mut(|databases| databases.push(InUse { name, done }));
        Database { url }
    }
}

/// Makes a database on a server, and tells its name.
async fn create(url: &str, template: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("auth_test_{}_{number}", std::process::id());
    admin(url, format!("create database {name} template {template}")).await;
    name
}

/// Drops databases as long as there may be more of them. `force`: connections may be left of the test's tasks.
fn drop_each(url: &str, names: &Receiver<String>) {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for name in names {
        runtime.block_on(admin(url, format!("drop database {name} with (force)")));
    }
}

async fn admin(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.unwrap_or_else(|error| {
        panic!("the server for tests cannot be reached: {error}\n{INSTRUCTIONS}")
    });
    connection
        .execute(AssertSqlSafe(statement))
        .await
        .unwrap_or_else(|error| panic!("{error}\n{INSTRUCTIONS}"));
}

/// Databases of test processes of this machine that ended.
async fn drop_leftovers(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap_or_else(|error| {
        panic!("TEST_DATABASE_URL cannot be reached: {error}\n{INSTRUCTIONS}")
    });
    let names: Vec<String> = sqlx::query_scalar(
        r"select datname::text from pg_database where datname like 'auth\_test\_%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for name in names {
        let process = name.split('_').nth(2).unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            // Somebody else may be about to do the same.
            let _ = connection
                .execute(AssertSqlSafe(format!("drop database if exists {name}")))
                .await;
        }
    }
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = address.split_once("://").unwrap();
    let host = rest.split('/').next().unwrap();
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    format!("{scheme}://{host}/{name}{query}")
}
