//! A Postgres server for the tests of one process, and a database for each test.
//!
//! 1. `TEST_DATABASE_URL`, when it is set: a server for tests, with a role that may create databases. What earlier runs left there is dropped.
//! 2. Otherwise a private cluster from the binaries of this machine, in a directory that goes with the process.
//!
//! With neither, tests fail and say what is missing.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use auth_store_postgres::{
    PgStore,
    sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection},
};
use tokio::sync::OnceCell;

/// One database for one test.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    /// Another process' worth of connections.
    pub(crate) async fn store(&self) -> PgStore {
        PgStore::connect(&self.url).await.unwrap()
    }

    /// A look from outside.
    pub(crate) async fn raw(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

/// A database with our schema.
pub(crate) async fn database() -> Database {
    let server = server().await;
    server.create(Some(&server.template)).await
}

/// A database with nothing in it.
pub(crate) async fn empty_database() -> Database {
    server().await.create(None).await
}

struct Server {
    /// Of a database that is there already.
    url: String,
    template: String,
    /// Ends with the process.
    _cluster: Option<Cluster>,
}

async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(Server::begin).await
}

impl Server {
    async fn begin() -> Self {
        #[allow(clippy::disallowed_methods)] // the settings of a test run
        let given = std::env::var("TEST_DATABASE_URL").ok();
        let (url, cluster) = if let Some(url) = given {
            drop_leftovers(&url).await;
            (url, None)
        } else {
            let cluster = Cluster::start();
            (cluster.url(), Some(cluster))
        };
        let mut server = Self {
            url,
            template: String::new(),
            _cluster: cluster,
        };
        let template = server.create(None).await;
        let store = template.store().await;
        store.migrate().await.unwrap();
        store.close().await;
        server.template = template
            .url
            .split('?')
            .next()
            .and_then(|address| address.rsplit('/').next())
            .unwrap()
            .to_owned();
        server
    }

    async fn create(&self, template: Option<&str>) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("auth_test_{}_{number}", std::process::id());
        let template = template.unwrap_or("template0");
        admin(
            &self.url,
            format!("create database {name} template {template}"),
        )
        .await;
        Database {
            url: with_database(&self.url, &name),
        }
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

const INSTRUCTIONS: &str = "The tests of the Postgres store need a server, one of:\n\
    - TEST_DATABASE_URL, the URL of a server for tests (the role must be allowed to create databases);\n\
    - the server's binaries on this machine, in /usr/lib/postgresql/*/bin or where pg_config says (Debian: apt-get install postgresql). \
    As root, a user \"postgres\" too, because the server refuses to run as root.";

/// A private server. It is stopped, and its files are deleted, when it is dropped or the process ends in whatever way.
pub(crate) struct Cluster {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    /// The process at the other end cleans up when this is closed.
    _life_line: ChildStdin,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let binaries = binaries().unwrap_or_else(|| panic!("{INSTRUCTIONS}"));
        let directory = tempfile::Builder::new()
            .prefix("auth-test-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(&directory));
        }
        run(as_server(&binaries.join("initdb"), &directory)
            .arg("-D")
            .arg(directory.join("data"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync"]));
        let life_line = life_line(&binaries, &directory);
        let mut cluster = Self {
            binaries,
            directory,
            port: 0,
            _life_line: life_line,
        };
        for _ in 0..5 {
            // Free now; somebody may take it before the server does.
            cluster.port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .unwrap()
                .port();
            if cluster.try_resume().is_ok() {
                return cluster;
            }
        }
        let log = fs::read_to_string(cluster.directory.join("log")).unwrap_or_default();
        panic!("the server for tests does not start:\n{log}\n{INSTRUCTIONS}");
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// As an operator stops it: clients are thrown out, nothing that was committed is lost.
    pub(crate) fn stop(&self) {
        run(self.pg_ctl().args(["-m", "fast", "-w", "stop"]));
    }

    /// Starts it again, at the same address.
    pub(crate) fn resume(&self) {
        self.try_resume().unwrap();
    }

    fn try_resume(&self) -> io::Result<()> {
        // Durable against a crash of the server, not of the machine.
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories= -c max_connections=300 -c fsync=off \
             -c full_page_writes=off -c autovacuum=off",
            self.port
        );
        try_run(
            self.pg_ctl()
                .arg("-l")
                .arg(self.directory.join("log"))
                .args(["-o", &options, "-w", "-t", "60", "start"]),
        )
    }

    fn pg_ctl(&self) -> Command {
        let mut command = as_server(&self.binaries.join("pg_ctl"), &self.directory);
        command.arg("-D").arg(self.directory.join("data"));
        command
    }
}

fn binaries() -> Option<PathBuf> {
    let packaged = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"));
    let configured = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    packaged
        .chain(configured)
        .filter(|directory| directory.join("initdb").exists() && directory.join("pg_ctl").exists())
        .max()
}

/// Whoever owns this process' entry runs it.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A command as the user that owns the cluster.
fn as_server(program: &Path, directory: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid=postgres",
                "--regid=postgres",
                "--init-groups",
                "--",
            ])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(directory);
    command
}

/// A shell that waits until this process is gone, however it goes, and takes the cluster away. In a group of its own: an interrupt from the keyboard is
/// not for it.
fn life_line(binaries: &Path, directory: &Path) -> ChildStdin {
    let stop = as_server(&binaries.join("pg_ctl"), directory);
    Command::new("sh")
        .arg("-c")
        .arg("cat > /dev/null; directory=$1; shift; \"$@\"; cd /; rm -rf \"$directory\"")
        .arg("sh")
        .arg(directory)
        .arg(stop.get_program())
        .args(stop.get_args())
        .arg("-D")
        .arg(directory.join("data"))
        .args(["-m", "immediate", "stop"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
        .stdin
        .unwrap()
}

fn run(command: &mut Command) {
    try_run(command).unwrap_or_else(|error| panic!("{command:?}: {error}\n{INSTRUCTIONS}"));
}

fn try_run(command: &mut Command) -> io::Result<()> {
    // Not through pipes: the server would hold them open.
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(status.to_string()))
    }
}
