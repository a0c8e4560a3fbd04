//! A private Redis server, for tests of limits that processes share.
//!
//! ```no_run
//! use auth_tests::redis::Redis;
//!
//! let redis = Redis::start();
//! println!("REDIS_URL={}", redis.url());
//! ```

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::smtp::certify;

const INSTRUCTIONS: &str =
    "The tests of shared limits need Redis (Debian: apt-get install redis-server).";
/// Between two looks at whether it answers.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(1);

/// A server on a port of its own, with a password. It ends when it is dropped or the test's process ends in whatever way.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
    /// The name in its certificate.
    name: Option<String>,
    password: String,
    port: u16,
    process: Process,
}

#[derive(Debug)]
struct Process {
    id: Pid,
    /// The shell ends the server when this is closed.
    life_line: Option<ChildStdin>,
    shell: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.life_line.take());
        let _ = self.shell.wait();
    }
}

impl Redis {
    /// An empty one.
    ///
    /// # Panics
    /// With instructions, when this machine has none or it does not start.
    pub fn start() -> Self {
        Self::known_as(None)
    }

    /// One that talks TLS, with a certificate for a name; its authority is in [`roots_file`](Self::roots_file).
    ///
    /// # Panics
    /// As for [`start`](Self::start).
    pub fn start_with_tls(name: &str) -> Self {
        Self::known_as(Some(name))
    }

    fn known_as(name: Option<&str>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let directory = TempDir::new().unwrap();
        let password = format!("of-{}-{port}", std::process::id());
        if let Some(name) = name {
            certify(name, directory.path());
        }
        let process = run(&directory, port, &password, name.is_some());
        Self {
            directory,
            name: name.map(str::to_owned),
            password,
            port,
            process,
        }
    }

    /// As `REDIS_URL` takes it.
    pub fn url(&self) -> String {
        let Self { password, port, .. } = self;
        match &self.name {
            Some(name) => format!("rediss://:{password}@{name}:{port}"),
            None => format!("redis://:{password}@127.0.0.1:{port}"),
        }
    }

    /// PEM of the authority that made its certificate.
    pub fn roots_file(&self) -> PathBuf {
        self.directory.path().join("roots.pem")
    }

    /// Ends it as a power cut would, and all that it knew is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Lets it stand still, with its connections open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it anew on the same port after [`kill`](Self::kill).
    pub fn restart(&mut self) {
        self.process = run(
            &self.directory,
            self.port,
            &self.password,
            self.name.is_some(),
        );
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.process.id, signal).unwrap();
    }
}

fn run(directory: &TempDir, port: u16, password: &str, with_tls: bool) -> Process {
    let listened = port.to_string();
    let ports: &[&str] = if with_tls {
        &["--port", "0", "--tls-port", &listened]
    } else {
        &["--port", &listened]
    };
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "\"$@\" >&2 & echo $!; cat > /dev/null; kill -9 $!",
            "sh",
        ])
        .args(["redis-server", "--bind", "127.0.0.1"])
        .args(ports)
        .args([
            "--tls-cert-file",
            "certificate.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-ca-cert-file",
            "roots.pem",
            "--tls-auth-clients",
            "no",
        ])
        .args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--requirepass",
            password,
        ])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // An interrupt from the keyboard is not for it.
        .process_group(0)
        .spawn()
        .unwrap();
    let mut id = String::new();
    let output = shell.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut id).unwrap();
    let process = Process {
        id: Pid::from_raw(id.trim().parse().unwrap()).unwrap(),
        life_line: shell.stdin.take(),
        shell,
    };
    let begin = Instant::now();
    while !answers(port, password, with_tls) {
        assert!(begin.elapsed() < PATIENCE, "{INSTRUCTIONS}");
        thread::sleep(LOOK_AGAIN);
    }
    process
}

/// Nobody else has our password; one with TLS is asked by those who know its authority.
fn answers(port: u16, password: &str, with_tls: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    if with_tls {
        return true;
    }
    let mut answer = [0; 5];
    let asked = stream.write_all(format!("AUTH {password}\r\n").as_bytes());
    asked.and_then(|()| stream.read_exact(&mut answer)).is_ok() && &answer == b"+OK\r\n"
}
