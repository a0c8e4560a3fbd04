//! `localstripe` as a process: a Stripe that somebody else wrote, with what it knows of the API.
//!
//! It is looked for in `target/localstripe`, where `.ci/localstripe` puts it.

use std::{fmt, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    installed::installed, process::Service, stripe::WEBHOOK_SECRET, stripe_api::STRIPE_KEY,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// Its own command would listen on every address of this machine, and keep a copy of everything in a place that all runs share.
const START: &str = "
import socket
from aiohttp import web
from localstripe.resources import Store
from localstripe.server import app
Store.dump_to_disk = lambda store: None
listener = socket.create_server(('127.0.0.1', 0))
print('http://127.0.0.1:%d' % listener.getsockname()[1], flush=True)
web.run_app(app, sock=listener, access_log=None, print=None)
";

/// A running one, which is killed when it is dropped. It takes every secret key.
pub struct LocalStripe {
    address: String,
    http: reqwest::Client,
    _child: Child,
}

impl LocalStripe {
    /// One that knows nothing yet.
    ///
    /// # Panics
    /// When it is not installed, with what installs it; when it does not come up.
    pub async fn start() -> Self {
        let python = installed("localstripe/bin/python3", ".ci/localstripe");
        let mut child = Command::new(python)
            .args(["-c", START])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, lines.next_line()).await;
        let address = first.expect("it comes up in time").unwrap();
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        Self {
            address: address.expect("it prints its address"),
            http: http.build().unwrap(),
            _child: child,
        }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it shows.
    pub async fn get(&self, path: &str) -> Value {
        self.answer(self.http.get(self.url(path)), path).await
    }

    /// Asks it for something, as a host's own code or a browser would.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let request = self
            .http
            .post(self.url(path))
            .header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(serde_urlencoded::to_string(form).unwrap());
        self.answer(request, path).await
    }

    /// From now on it tells a service what happens, signed, a second after it happened.
    pub async fn tells(&self, service: &Service) {
        let url = format!("{}/stripe/webhook", service.base());
        let form = [("url", &*url), ("secret", WEBHOOK_SECRET)];
        let form = serde_urlencoded::to_string(form).unwrap();
        let request = self.http.post(self.url("/_config/webhooks/ours"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    async fn answer(&self, request: reqwest::RequestBuilder, path: &str) -> Value {
        let answer = request.bearer_auth(STRIPE_KEY).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

impl fmt::Debug for LocalStripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStripe({})", self.address)
    }
}
