//! What operators' tools take from us: Prometheus' own parser, and a receiver of lines over OpenSSL, in the Python that `.ci/telemetry` installs.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

use crate::{installed::installed, smtp::certify};

/// Reads a page and writes its families as JSON. A value is text, because JSON has no NaN.
const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([
    {'name': family.name, 'kind': family.type, 'help': family.documentation,
     'samples': [{'name': it.name, 'labels': it.labels, 'value': str(it.value)} for it in family.samples]}
    for family in parse(sys.stdin.read())]))
";

/// A page of `/metrics`, as Prometheus understands it.
#[derive(Debug)]
pub struct Metrics {
    families: BTreeMap<String, Value>,
}

impl Metrics {
    /// Reads a page.
    ///
    /// # Panics
    /// When the parser is not installed, or does not take the page.
    pub fn parse(page: &str) -> Self {
        let mut parser = Command::new(python())
            .args(["-c", PARSE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It reads all of it before it writes anything.
        let mut stdin = parser.stdin.take().unwrap();
        stdin.write_all(page.as_bytes()).unwrap();
        drop(stdin);
        let output = parser.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{page}");
        let families: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let named = families
            .into_iter()
            .map(|family| (full_name(&family), family));
        Self {
            families: named.collect(),
        }
    }

    /// Every metric: its full name, its kind and what it says of itself.
    pub fn families(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.families.iter().map(|(name, family)| {
            let text = |member: &str| family[member].as_str().unwrap();
            (name.as_str(), text("kind"), text("help"))
        })
    }

    /// The labels of every sample of a metric.
    pub fn labels(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let samples = self.samples(name);
        samples
            .iter()
            .map(|sample| serde_json::from_value(sample["labels"].clone()).unwrap())
            .collect()
    }

    /// The value of the sample that has these labels, and perhaps others; of a histogram, `NAME_count` or `NAME_sum`. `None` when there is none.
    ///
    /// # Panics
    /// When there are several.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let of = name
            .strip_suffix("_count")
            .or_else(|| name.strip_suffix("_sum"))
            .filter(|name| self.families.contains_key(*name));
        let mut found = self.samples(of.unwrap_or(name)).iter().filter(|sample| {
            let has = |(label, value): &(&str, &str)| sample["labels"][*label] == *value;
            sample["name"] == name && labels.iter().all(has)
        });
        let value = found.next()?["value"].as_str().unwrap();
        assert!(found.next().is_none(), "{name} {labels:?} is ambiguous");
        Some(value.parse().unwrap())
    }

    fn samples(&self, name: &str) -> &[Value] {
        let family = self
            .families
            .get(name)
            .unwrap_or_else(|| panic!("there is no {name}"));
        family["samples"].as_array().unwrap()
    }
}

/// The parser leaves the suffix of counters out.
fn full_name(family: &Value) -> String {
    let name = family["name"].as_str().unwrap();
    match family["kind"].as_str() {
        Some("counter") => format!("{name}_total"),
        _ => name.to_owned(),
    }
}

/// Takes lines over TLS and writes them to standard output, after its port. It ends with its standard input.
const RECEIVE: &str = "
import os, socket, ssl, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('certificate.pem', 'key.pem')
server = socket.create_server(('127.0.0.1', 0))
print(server.getsockname()[1], flush=True)
while True:
    plain, _ = server.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as link:
            for line in link.makefile('r', encoding='utf-8'):
                print(line, end='', flush=True)
    except OSError:
        pass
";

/// A receiver of the log over TLS, with a certificate for 127.0.0.1.
#[derive(Debug)]
pub struct TlsReceiver {
    folder: TempDir,
    lines: Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    pub port: u16,
    _process: Child,
}

impl TlsReceiver {
    /// Starts one.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        certify("127.0.0.1", folder.path());
        let mut process = tokio::process::Command::new(python())
            .args(["-c", RECEIVE])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap();
        Self {
            folder,
            lines,
            port: port.parse().unwrap(),
            _process: process,
        }
    }

    /// PEM of the authority that made its certificate.
    pub fn roots_file(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// The next line that it got.
    pub async fn line(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap();
        serde_json::from_str(&line.expect("it lives")).unwrap()
    }
}

/// The Python that reads metrics and traces.
///
/// # Panics
/// When it is not installed, with what installs it.
pub fn python() -> PathBuf {
    installed("telemetry/bin/python3", ".ci/telemetry")
}
