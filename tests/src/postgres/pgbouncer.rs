//! A `PgBouncer` between a store and its server.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use auth_store_postgres::sqlx::postgres::PgConnectOptions;

use super::{
    Database,
    cluster::{as_server, is_root, run},
};

const PROGRAM: &str = "/usr/sbin/pgbouncer";
const INSTRUCTIONS: &str =
    "The tests of poolers need PgBouncer (Debian: apt-get install pgbouncer).";

/// Between two looks at whether it listens.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(1);

/// A pooler. It ends when it is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct PgBouncer {
    /// The same database, by way of the pooler.
    pub database: Database,
    /// The process at the other end stops it when this is closed.
    _life_line: ChildStdin,
}

impl PgBouncer {
    /// Before a database, with these lines in its settings.
    ///
    /// # Panics
    /// With instructions, when this machine has none or it does not start.
    pub fn before(database: &Database, settings: &[&str]) -> Self {
        assert!(Path::new(PROGRAM).exists(), "{INSTRUCTIONS}");
        let server = PgConnectOptions::from_str(&database.url).unwrap();
        let (_, rest) = database.url.split_once("://").unwrap();
        let (login, _) = rest.split_once('@').unwrap_or_default();
        let password = login.split_once(':').map(|(_, password)| password);
        let password = password.map_or(String::new(), |password| format!("password='{password}'"));
        let (host, port) = (server.get_host(), server.get_port());
        let user = server.get_username();

        let directory = tempfile::Builder::new()
            .prefix("auth-test-pgbouncer-")
            .tempdir()
            .unwrap()
            .keep();
        let own_port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let text = format!(
            "[databases]\n* = host={host} port={port} user={user} {password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own_port}\nunix_socket_dir =\nauth_type = any\n\
             logfile = {}\n{}\n",
            directory.join("log").display(),
            settings.join("\n")
        );
        let file = directory.join("pgbouncer.ini");
        fs::write(&file, text).unwrap();
        if is_root() {
            run(Command::new("chown")
                .args(["-R", "postgres:"])
                .arg(&directory));
        }
        let start = as_server(Path::new(PROGRAM), &directory);
        let life_line = Command::new("sh")
            .arg("-c")
            .arg("directory=$1; shift; \"$@\" & cat > /dev/null; kill $!; cd /; rm -rf \"$directory\"")
            .arg("sh")
            .arg(&directory)
            .arg(start.get_program())
            .args(start.get_args())
            .arg("-q")
            .arg(&file)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap()
            .stdin
            .unwrap();
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", own_port)).is_err() {
            let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
            assert!(begin.elapsed() < PATIENCE, "{}\n{INSTRUCTIONS}", log());
            thread::sleep(LOOK_AGAIN);
        }
        let (_, name) = rest.rsplit_once('/').unwrap();
        Self {
            database: Database {
                url: format!("postgres://{user}@127.0.0.1:{own_port}/{name}"),
            },
            _life_line: life_line,
        }
    }
}
