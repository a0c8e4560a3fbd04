//! The real `auth-service`, a process with a directory of its own and nothing in its environment but what a test sets.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use auth_tests::process::Service;
//!
//! let service = Service::start().await;
//! service.get("/health").await.ok(200);
//! # }
//! ```
//!
//! Each has a port that the system chose, and is killed when it is dropped.

use std::{
    convert::Infallible,
    fmt, fs,
    io::{self, PipeWriter},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command as Build, ExitStatus, Stdio},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use auth_core::types::Email;
use auth_tower::AuthBody;
use http::{Request, Response};
use http_body_util::BodyExt;
use mail_parser::MessageParser;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::{
    API_KEY, Client, Mail, PASSWORD, Person, email_of,
    mailbox::template_of,
    stripe::{CATALOGUE, WEBHOOK_SECRET},
    stripe_api::STRIPE_KEY,
};

/// For what takes a moment on an idle machine. A busy one gets there, too; what never happens fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at what nobody tells us about.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits for something that is looked for again and again.
///
/// # Panics
/// When it does not come.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("in vain waited for {what}"))
}

/// The executable, built once for all tests, with every feature: what one adds is off until it is set.
fn executable() -> &'static Path {
    static EXECUTABLE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match EXECUTABLE.get_or_init(build) {
        Ok(path) => path,
        Err(output) => panic!("auth-service does not build:\n{output}"),
    }
}

/// Builds with the profile of this test and into its target directory.
fn build() -> Result<PathBuf, String> {
    // <target directory>/<profile>/deps/<test>
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let place = |nth| test.ancestors().nth(nth).filter(|path| path.is_dir());
    let (Some(profile), Some(target)) = (place(2), place(3)) else {
        return Err(format!("{} is not where tests are", test.display()));
    };
    let profile = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => return Err(format!("{} has no profile", test.display())),
    };
    let output = Build::new(env!("CARGO"))
        .args([
            "build",
            "--package",
            "auth-service",
            "--bin",
            "auth-service",
            "--all-features",
        ])
        .args(["--profile", profile, "--message-format", "json"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", env!("CARGO")))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    if !output.status.success() {
        let told: String = messages
            .filter_map(|message| Some(message["message"]["rendered"].as_str()?.to_owned()))
            .collect();
        return Err(told + &String::from_utf8_lossy(&output.stderr));
    }
    messages
        .filter(|message| message["target"]["name"] == "auth-service")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo names no executable".to_owned())
}

/// A pipe whose reader has gone away, as that of `head` does.
pub fn closed_pipe() -> PipeWriter {
    let (_, writer) = io::pipe().unwrap();
    writer
}

/// A directory that a service works in. It is deleted with its last clone.
#[derive(Debug, Clone)]
pub struct Home(Arc<TempDir>);

impl Home {
    /// An empty one.
    pub fn new() -> Self {
        Self(Arc::new(TempDir::new().unwrap()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A service in it, to be started.
    pub fn service(&self) -> Launch {
        let mut command = Command::new(executable());
        command
            .current_dir(self.path())
            .env_clear()
            .env("PORT", "0")
            // Clients of tests ask more than people do; the tests of limits set their own.
            .env("RATE_LIMIT_AUTH_PER_MINUTE", "1000000")
            .env("RATE_LIMIT_DEFAULT_PER_MINUTE", "1000000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Launch {
            command,
            home: self.clone(),
            input: Vec::new(),
        }
    }

    /// A look into the database from outside.
    pub async fn database(&self) -> SqliteConnection {
        let file = self.path().join("auth-service.db");
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file))
            .await
            .unwrap()
    }

    /// Every mail in the folder, the oldest first.
    ///
    /// # Panics
    /// When one cannot be read: whatever is there under this name is whole.
    pub fn mails(&self) -> Vec<Mail> {
        let Ok(folder) = fs::read_dir(self.path().join("auth-service-mail")) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = folder
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "eml"))
            .collect();
        files.sort();
        files.iter().map(|file| read_mail(file)).collect()
    }

    /// As [`mails`](Self::mails), and takes them away.
    pub fn take_mails(&self) -> Vec<Mail> {
        let mails = self.mails();
        for mail in &mails {
            let file = format!("auth-service-mail/{}.eml", mail.id);
            fs::remove_file(self.path().join(file)).unwrap();
        }
        mails
    }

    /// The mails to an address, the oldest first.
    pub fn mails_to(&self, address: &str) -> Vec<Mail> {
        let mut mails = self.mails();
        mails.retain(|mail| mail.to.as_str() == address);
        mails
    }

    /// The newest mail of a template to an address, when there are as many of them.
    pub async fn nth_mail(&self, nth: usize, template: &str, address: &str) -> Mail {
        let what = format!("mail {nth} {template} to {address}");
        eventually(&what, async || {
            let mut mails = self.mails_to(address);
            mails.retain(|mail| mail.template == template);
            assert!(mails.len() <= nth, "more than {nth}: {mails:?}");
            mails.into_iter().nth(nth - 1)
        })
        .await
    }

    /// The only mail of a template to an address, when it has come.
    pub async fn mail(&self, template: &str, address: &str) -> Mail {
        self.nth_mail(1, template, address).await
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

fn read_mail(file: &Path) -> Mail {
    let bytes = fs::read(file).unwrap();
    let mail = MessageParser::default().parse(&bytes).unwrap();
    let to = mail.to().and_then(|to| to.first()?.address()).unwrap();
    let subject = mail.subject().unwrap().to_owned();
    Mail {
        id: file.file_stem().unwrap().to_str().unwrap().to_owned(),
        to: Email::parse(to).unwrap(),
        template: template_of(&subject),
        html: mail.body_html(0).unwrap().into_owned(),
        text: mail.body_text(0).unwrap().into_owned(),
        subject,
    }
}

/// A service that is about to be started.
#[derive(Debug)]
#[must_use = "it is started by `start` or `run`"]
pub struct Launch {
    command: Command,
    home: Home,
    input: Vec<u8>,
}

impl Launch {
    /// Sets a name of the environment.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Hashes passwords so fast that a test does not wait for it.
    pub fn quick(self) -> Self {
        self.set("BCRYPT_COST", "4")
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments, separated by spaces.
    pub fn args(mut self, arguments: &str) -> Self {
        self.command.args(arguments.split(' '));
        self
    }

    /// Sells what tests sell, by a Stripe at this address, and takes the API key of an [`App`](crate::App).
    pub fn selling(self, stripe: &str) -> Self {
        let catalogue = self.home.path().join("catalogue.toml");
        fs::write(&catalogue, CATALOGUE).unwrap();
        self.set("INTERNAL_API_KEY", API_KEY)
            .set("STRIPE_SECRET_KEY", STRIPE_KEY)
            .set("STRIPE_API_BASE", stripe)
            .set("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
            .set("CATALOG_FILE", catalogue.to_str().unwrap())
    }

    /// What it reads from standard input when it is [run](Self::run); nothing else.
    pub fn input(mut self, text: &str) -> Self {
        self.input = text.into();
        self
    }

    /// Where its standard output goes: a test does not hear it then.
    pub fn output(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Where its standard error goes: a test does not hear it then.
    pub fn log(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stderr(to);
        self
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it does not; with all that it said.
    pub async fn start(self) -> Service {
        let service = self.listen().await;
        service.get("/health").await.ok(200);
        service
    }

    /// Waits until it listens, and sends nothing.
    ///
    /// # Panics
    /// When it does not; with all that it said.
    pub async fn listen(self) -> Service {
        self.begin().listen().await
    }

    /// Waits for nothing.
    pub fn begin(mut self) -> Starting {
        let mut child = self.command.spawn().unwrap();
        Starting {
            output: Output::of(&mut child),
            child,
            home: self.home,
        }
    }

    /// Waits until it has ended by itself.
    pub async fn run(mut self) -> Ended {
        if !self.input.is_empty() {
            self.command.stdin(Stdio::piped());
        }
        let mut child = self.command.spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading is judged by how it ended.
            let _ = stdin.write_all(&self.input).await;
        }
        let output = Output::of(&mut child);
        output.end(child).await
    }
}

/// A service that may not serve yet. It is killed when it is dropped.
#[must_use = "it serves in time"]
pub struct Starting {
    child: Child,
    home: Home,
    output: Output,
}

impl fmt::Debug for Starting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "auth-service in {}", self.home.path().display())
    }
}

impl Starting {
    /// Waits for a word in its log: all that there is then.
    pub async fn logged(&self, word: &str) -> String {
        self.output.logged(word).await
    }

    /// Whether it listens by now.
    pub fn is_listening(&self) -> bool {
        self.output.stdout.borrow().contains(" listens on ")
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// When it does not; with all that it said.
    pub async fn listen(mut self) -> Service {
        let Some(base) = self.output.address().await else {
            let _ = self.child.start_kill();
            let ended = self.output.end(self.child).await;
            panic!("auth-service does not come up: {ended:?}");
        };
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Service {
            client: over(http.clone(), base.clone()),
            base,
            child: Some(self.child),
            home: self.home,
            http,
            output: Some(self.output),
        }
    }
}

/// A [`Client`] whose requests go over TCP.
fn over(http: reqwest::Client, base: String) -> Client {
    Client::of(tower::service_fn(move |request: Request<AuthBody>| {
        let http = http.clone();
        let (parts, body) = request.into_parts();
        let url = format!("{base}{}", parts.uri);
        async move {
            let body = body.collect().await.unwrap().to_bytes();
            let mut request = http.request(parts.method, url).headers(parts.headers);
            if !body.is_empty() {
                request = request.body(body);
            }
            let response = request.send().await.unwrap();
            Ok::<_, Infallible>(Response::<reqwest::Body>::from(response))
        }
    }))
}

/// What a process says, read as it comes: a full pipe would stop it.
struct Output {
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
}

fn read(source: Option<impl AsyncRead + Unpin + Send + 'static>) -> watch::Receiver<String> {
    let (said, text) = watch::channel(String::new());
    let Some(source) = source else {
        return text;
    };
    tokio::spawn(async move {
        let mut lines = BufReader::new(source).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            said.send_modify(|text| {
                text.push_str(&line);
                text.push('\n');
            });
        }
    });
    text
}

impl Output {
    fn of(child: &mut Child) -> Self {
        Self {
            stdout: read(child.stdout.take()),
            stderr: read(child.stderr.take()),
        }
    }

    /// From the first line of the greeting.
    async fn address(&mut self) -> Option<String> {
        let greeting = self.stdout.wait_for(|text| text.contains('\n'));
        let greeting = timeout(PATIENCE, greeting).await.ok()?.ok()?;
        let (_, address) = greeting.lines().next()?.split_once(" listens on ")?;
        Some(address.to_owned())
    }

    async fn logged(&self, word: &str) -> String {
        let mut log = self.stderr.clone();
        let seen = timeout(PATIENCE, log.wait_for(|text| text.contains(word))).await;
        match seen {
            Ok(Ok(text)) => text.clone(),
            _ => panic!(
                "{word:?} is not in the log: {}",
                self.stderr.borrow().as_str()
            ),
        }
    }

    /// Until the process has ended.
    async fn end(mut self, mut child: Child) -> Ended {
        let ending = async {
            let status = child.wait().await.unwrap();
            // The pipes are read to their ends.
            while self.stdout.changed().await.is_ok() {}
            while self.stderr.changed().await.is_ok() {}
            status
        };
        let status = timeout(PATIENCE, ending).await;
        let (stdout, stderr) = (self.stdout.borrow().clone(), self.stderr.borrow().clone());
        let Ok(status) = status else {
            panic!("the process does not end: {stdout}{stderr}");
        };
        Ended {
            status,
            stdout,
            stderr,
        }
    }
}

/// A process that is over.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All of it.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}{}", self.status, self.stdout, self.stderr)
    }
}

/// A running service. It is a [`Client`] of itself.
pub struct Service {
    base: String,
    child: Option<Child>,
    client: Client,
    home: Home,
    http: reqwest::Client,
    output: Option<Output>,
}

impl Service {
    /// One in a new directory, with fast hashes and otherwise as an empty environment has it.
    pub async fn start() -> Self {
        Home::new().service().quick().start().await
    }

    /// Its address, without a closing slash.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Where it works.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// For requests that may fail.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// What it printed by now: the greeting.
    pub fn greeting(&self) -> String {
        self.output().stdout.borrow().clone()
    }

    /// What it logged by now.
    pub fn log(&self) -> String {
        self.output().stderr.borrow().clone()
    }

    /// Waits for a word in its log: all that there is then.
    pub async fn logged(&self, word: &str) -> String {
        self.output().logged(word).await
    }

    fn output(&self) -> &Output {
        self.output.as_ref().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).unwrap();
        let id = Pid::from_raw(id.try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Waits until it has ended.
    pub async fn end(mut self) -> Ended {
        let (child, output) = (self.child.take().unwrap(), self.output.take().unwrap());
        output.end(child).await
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end().await
    }

    /// Ends it as a power cut would.
    pub async fn kill(self) {
        self.signal(Signal::KILL);
        self.end().await;
    }

    /// Another one in the same directory with fast hashes, after this one has stopped.
    pub async fn restart(self) -> Self {
        let home = self.home.clone();
        let ended = self.stop().await;
        assert!(ended.status.success(), "{ended:?}");
        home.service().quick().start().await
    }

    /// Somebody who has just registered: the address is not proven.
    pub async fn registered(&self, name: &str) -> Person {
        let answer = self.post(
            "/auth/register",
            json!({"username": name, "email": email_of(name), "password": PASSWORD}),
        );
        Person::of(answer.await.ok(201), PASSWORD)
    }

    /// Somebody who followed the link in the welcome mail.
    pub async fn verified(&self, name: &str) -> Person {
        let person = self.registered(name).await;
        let mail = self.home.mail("welcome", &person.email).await;
        let answer = self.post("/auth/verify-email", json!({"token": mail.token()}));
        assert_eq!(answer.await.ok(200)["status"], "verified");
        person
    }
}

impl Deref for Service {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "auth-service at {}", self.base)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = child.start_kill();
        // It must be gone before its directory is deleted, or it makes a file there meanwhile.
        while let Ok(None) = child.try_wait() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
