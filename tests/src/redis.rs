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
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const INSTRUCTIONS: &str =
    "The tests of shared limits need Redis (Debian: apt-get install redis-server).";
/// Between two looks at whether it answers.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(1);

/// A server on a port of its own, with a password. It ends when it is dropped or the test's process ends in whatever way.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
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
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let directory = TempDir::new().unwrap();
        let password = format!("of-{}-{port}", std::process::id());
        let process = run(&directory, port, &password);
        Self {
            directory,
            password,
            port,
            process,
        }
    }

    /// As `REDIS_URL` takes it.
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}", self.password, self.port)
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
        self.process = run(&self.directory, self.port, &self.password);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.process.id, signal).unwrap();
    }
}

fn run(directory: &TempDir, port: u16, password: &str) -> Process {
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "\"$@\" >&2 & echo $!; cat > /dev/null; kill -9 $!",
            "sh",
        ])
        .args([
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
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
    while !answers(port, password) {
        assert!(begin.elapsed() < PATIENCE, "{INSTRUCTIONS}");
        thread::sleep(LOOK_AGAIN);
    }
    process
}

/// Nobody else has our password.
fn answers(port: u16, password: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = [0; 5];
    let asked = stream.write_all(format!("AUTH {password}\r\n").as_bytes());
    asked.and_then(|()| stream.read_exact(&mut answer)).is_ok() && &answer == b"+OK\r\n"
}
