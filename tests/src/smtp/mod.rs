//! A real mail server: aiosmtpd in a process of its own, which a test can make refuse, hang, drop, stop and come back.
//!
//! `.ci/smtp-server` installs it. Where it is not there, a test that needs it fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{installed::installed, process::eventually};

/// The one account of every server that asks for a login.
pub const USERNAME: &str = "mailer";
/// Its password.
pub const PASSWORD: &str = "the mailer's password";

/// How a server protects its connections. Without encryption it asks for no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    Clear,
    /// TLS from the first byte.
    Implicit,
    /// TLS by STARTTLS.
    StartTls,
}

/// A running server on 127.0.0.1, with a certificate for the name it was started with.
#[derive(Debug)]
pub struct SmtpServer {
    child: Option<Child>,
    encryption: Encryption,
    folder: TempDir,
    port: u16,
    roots: String,
}

impl SmtpServer {
    /// Starts one that is known as `localhost`.
    pub async fn start(encryption: Encryption) -> Self {
        Self::named("localhost", encryption).await
    }

    /// Starts one whose certificate is for another name.
    pub async fn named(name: &str, encryption: Encryption) -> Self {
        let folder = TempDir::new().unwrap();
        let roots = certify(name, folder.path());
        let mut server = Self {
            child: None,
            encryption,
            folder,
            port: 0,
            roots,
        };
        server.behave("accept");
        server.come_back().await;
        server
    }

    /// Where it listens, also while it is away.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// PEM of the authority that made its certificate.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// The same, as a file.
    pub fn roots_file(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// What it does from now on: `accept`; `hang COMMAND`; `COMMAND 451 4.7.1 later`, which is its answer to that command (`MAIL`, `RCPT`, `DATA`);
    /// `drop`, which ends the connection instead of accepting a mail; `lose-answer`, which accepts it and ends the connection.
    pub fn behave(&self, behaviour: &str) {
        let file = self.folder.path().join("behaviour");
        let part = file.with_extension("part");
        fs::write(&part, behaviour).unwrap();
        fs::rename(part, file).unwrap();
    }

    /// Goes away: nobody listens.
    pub async fn go_away(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Listens again, where it did before.
    pub async fn come_back(&mut self) {
        let encryption = match self.encryption {
            Encryption::Clear => "clear",
            Encryption::Implicit => "implicit",
            Encryption::StartTls => "starttls",
        };
        let mut child = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/smtp/server.py"))
            .arg(self.folder.path())
            .arg(self.port.to_string())
            .arg(encryption)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let line = BufReader::new(stdout).lines().next_line().await.unwrap();
        self.port = line.and_then(|port| port.parse().ok()).unwrap();
        self.child = Some(child);
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect();
        files.sort();
        files
    }

    /// How many mails it accepted.
    pub fn received_count(&self) -> usize {
        self.files().len()
    }

    /// Every mail that it accepted, in that order.
    pub fn received(&self) -> Vec<Received> {
        let files = self.files();
        let read = |file: &PathBuf| serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        files.iter().map(|file| Received(read(file))).collect()
    }

    /// The first mail to an address, when it has come.
    pub async fn mail_to(&self, address: &str) -> Received {
        eventually(&format!("a mail to {address}"), async || {
            let mut received = self.received().into_iter();
            received.find(|mail| mail.0["to"][0] == address)
        })
        .await
    }
}

/// A mail as the server has it, and as Python reads it.
#[derive(Debug, Clone)]
pub struct Received(Value);

impl Received {
    /// Whether it came over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.0["encrypted"] == true
    }

    /// Whether its sender was logged in.
    pub fn is_authenticated(&self) -> bool {
        self.0["authenticated"] == true
    }

    /// The address in the envelope.
    pub fn to(&self) -> &str {
        self.0["to"][0].as_str().unwrap()
    }

    /// As it came.
    pub fn raw(&self) -> Vec<u8> {
        let text = self.0["raw"].as_str().unwrap();
        text.chars().map(|c| u8::try_from(c).unwrap()).collect()
    }

    /// The values of a header, in lower case, decoded.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let headers = self.0["parsed"]["headers"].as_array().unwrap();
        headers
            .iter()
            .filter(|header| header[0] == name)
            .map(|header| header[1].as_str().unwrap())
            .collect()
    }

    /// What the parser found wrong, the type of the whole, the text and the HTML.
    pub fn parsed(&self) -> &Value {
        &self.0["parsed"]
    }
}

/// Writes a certificate for a name and its key into a folder, and gives the authority that made it.
pub(crate) fn certify(name: &str, folder: &Path) -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    let roots = authority.pem();
    fs::write(folder.join("roots.pem"), &roots).unwrap();
    roots
}

/// A Python that has the server.
fn python() -> PathBuf {
    installed("smtp-server/bin/python3", ".ci/smtp-server")
}
