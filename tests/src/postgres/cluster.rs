//! A server from the binaries of this machine.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{INSTRUCTIONS, SETTINGS, life_line::LifeLine};

/// What a server may take to come up or to go on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server of its own for one test, which may [`stop`](Self::stop) or [`kill`](Self::kill) it and [`resume`](Self::resume) it at the same address, with
/// the same data. It keeps what it acknowledged as a server in production does.
///
/// It is stopped, and its files are deleted, when it is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct Cluster {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    settings: &'static [&'static str],
    _life_line: LifeLine,
}

impl Cluster {
    /// A new one, up.
    ///
    /// # Panics
    /// With instructions, when this machine has no binaries of a server or it does not start.
    pub fn start() -> Self {
        Self::with_settings(&["max_connections=200"])
            .unwrap_or_else(|reason| panic!("{reason}\n{INSTRUCTIONS}"))
    }

    /// One that trades durability for speed, or the reason why there is none.
    pub(super) fn for_throw_away_data() -> Result<Self, String> {
        Self::with_settings(&SETTINGS)
    }

    fn with_settings(settings: &'static [&'static str]) -> Result<Self, String> {
        let binaries = binaries().ok_or("this machine has no initdb and pg_ctl")?;
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
        let stop = pg_ctl(&binaries, &directory);
        let life_line = LifeLine::new(
            // One that was paused would not hear that it is to stop.
            "directory=$1; shift; kill -CONT $(head -n 1 \"$directory/data/postmaster.pid\"); \"$@\" -m immediate stop; rm -rf \"$directory\"",
            [directory.as_os_str(), stop.get_program()]
                .into_iter()
                .chain(stop.get_args()),
        );
        let mut cluster = Self {
            binaries,
            directory,
            port: 0,
            settings,
            _life_line: life_line,
        };
        for _ in 0..5 {
            // Free now; somebody may take it before the server does.
            cluster.port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .unwrap()
                .port();
            if cluster.try_resume().is_ok() {
                return Ok(cluster);
            }
        }
        let log = fs::read_to_string(cluster.directory.join("log")).unwrap_or_default();
        panic!("the server for tests does not start:\n{log}\n{INSTRUCTIONS}");
    }

    /// Where its programs are.
    pub(super) fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// Of its database `postgres`, whose owner connects.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// As an operator stops it: clients are thrown out, nothing that was committed is lost.
    pub fn stop(&self) {
        run(self.pg_ctl().args(["-m", "fast", "-w", "stop"]));
    }

    /// From now on it does not answer, and nobody hears that it does not: as a machine that hangs. It goes on when the pause is dropped.
    pub fn pause(&self) -> Pause {
        let pause = Pause(self.processes());
        pause.signal(Signal::STOP);
        pause
    }

    /// As a crash ends it, with `kill -9` for each of its processes in the middle of their work.
    pub fn kill(&self) {
        let killed = self.processes();
        signal(&killed, Signal::KILL);
        let deadline = Instant::now() + PATIENCE;
        while killed.iter().any(|process| is_running(*process)) {
            assert!(Instant::now() < deadline, "{killed:?} cannot be killed");
            thread::yield_now();
        }
        // Where nobody collects the dead, the next server would take the old one for alive.
        fs::remove_file(self.main_file()).unwrap();
    }

    fn main_file(&self) -> PathBuf {
        self.directory.join("data/postmaster.pid")
    }

    /// The main one first.
    fn processes(&self) -> Vec<i32> {
        let main = fs::read_to_string(self.main_file()).unwrap();
        let main = main.lines().next().unwrap().parse().unwrap();
        [main].into_iter().chain(children(main)).collect()
    }

    /// Starts it again, at the same address.
    pub fn resume(&self) {
        self.try_resume().unwrap();
    }

    fn try_resume(&self) -> io::Result<()> {
        let mut options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories=",
            self.port
        );
        for setting in self.settings {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        let patience = PATIENCE.as_secs().to_string();
        try_run(
            self.pg_ctl()
                .arg("-l")
                .arg(self.directory.join("log"))
                .args(["-o", &options, "-w", "-t", &patience, "start"]),
        )
    }

    fn pg_ctl(&self) -> Command {
        pg_ctl(&self.binaries, &self.directory)
    }
}

/// A server whose processes are stopped.
#[derive(Debug)]
#[must_use = "it goes on when this is dropped"]
pub struct Pause(Vec<i32>);

impl Pause {
    fn signal(&self, what: Signal) {
        signal(&self.0, what);
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
    }
}

/// One that has ended by itself since is passed over.
fn signal(processes: &[i32], signal: Signal) {
    for process in processes {
        let _ = kill_process(Pid::from_raw(*process).unwrap(), signal);
    }
}

fn pg_ctl(binaries: &Path, directory: &Path) -> Command {
    let mut command = as_server(&binaries.join("pg_ctl"), directory);
    command.arg("-D").arg(directory.join("data"));
    command
}

pub(super) fn dump_schema(url: &str) -> String {
    let binaries = binaries().unwrap_or_else(|| panic!("{INSTRUCTIONS}"));
    let dumped = Command::new(binaries.join("pg_dump"))
        .args(["--schema-only", url])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&dumped.stderr);
    assert!(dumped.status.success(), "{told}");
    let text = String::from_utf8(dumped.stdout).unwrap();
    // Newer versions put a word that they draw round the rest.
    let lines = text.lines().filter(|line| !line.contains("restrict "));
    lines.fold(String::new(), |all, line| all + line + "\n")
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
pub(super) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The processes that a process has started.
fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process| status(*process).is_some_and(|(_, its_parent)| its_parent == parent))
        .collect()
}

/// A process that has ended may still be listed until somebody asks how.
fn is_running(process: i32) -> bool {
    status(process).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// State and parent of a process, as proc(5) has them after the name in brackets.
fn status(process: i32) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, fields.next()?.parse().ok()?))
}

/// A command as the user that owns the cluster.
pub(super) fn as_server(program: &Path, directory: &Path) -> Command {
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

pub(super) fn run(command: &mut Command) {
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
