use std::{
    collections::BTreeSet, convert::Infallible, fmt, net::SocketAddr, pin::Pin, time::Duration,
};

use auth_tower::{AuthBody, BoxError, PeerAddr};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Body;
use serde_json::Value;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use crate::{API_KEY, Person};

/// A request that is not answered by then has failed; the test runner would wait for ever.
const PATIENCE: Duration = Duration::from_mins(1);

/// Sends requests into a service, without a network.
#[derive(Clone)]
pub struct Client {
    service: BoxCloneSyncService<Request<AuthBody>, Response<AuthBody>, Infallible>,
}

impl Client {
    /// A client of any service: ours, or a host's that mounts it.
    pub fn of<S, B>(service: S) -> Self
    where
        S: Service<Request<AuthBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service.map_response(|response| response.map(AuthBody::new));
        Self {
            service: BoxCloneSyncService::new(service),
        }
    }

    /// A request to be filled and awaited.
    ///
    /// # Panics
    /// When a server could not even read such a method or path.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str) -> Call {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .body(AuthBody::empty())
            .unwrap_or_else(|error| panic!("{path:?}: {error}"));
        Call {
            client: self.clone(),
            request,
        }
    }

    /// GET
    #[track_caller]
    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    /// POST of a JSON document.
    #[track_caller]
    pub fn post(&self, path: &str, json: impl Into<Value>) -> Call {
        self.call("POST", path).json(json)
    }

    /// PUT of a JSON document.
    #[track_caller]
    pub fn put(&self, path: &str, json: impl Into<Value>) -> Call {
        self.call("PUT", path).json(json)
    }

    /// DELETE, without a body.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

/// A request that is sent when it is awaited.
#[must_use = "a request is sent when it is awaited"]
pub struct Call {
    client: Client,
    request: Request<AuthBody>,
}

impl Call {
    /// Adds a header; any bytes that a header can carry.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.request.headers_mut().append(name, value);
        self
    }

    /// With an access token.
    #[track_caller]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// With the access token of somebody.
    #[track_caller]
    pub fn by(self, person: &Person) -> Self {
        self.bearer(&person.access_token)
    }

    /// With an API key of [`App`](crate::App).
    #[track_caller]
    pub fn by_service(self) -> Self {
        self.header("x-api-key", API_KEY)
    }

    /// From an address, as the host's accept loop would tell it.
    pub fn from(mut self, peer: &str) -> Self {
        let peer = SocketAddr::new(peer.parse().unwrap(), 50_000);
        self.request.extensions_mut().insert(PeerAddr(peer));
        self
    }

    /// With a JSON document and its type.
    #[track_caller]
    pub fn json(self, json: impl Into<Value>) -> Self {
        self.header("content-type", "application/json")
            .raw(json.into().to_string())
    }

    /// With a urlencoded form and its type.
    #[track_caller]
    pub fn form(self, form: impl Into<String>) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .raw(form.into())
    }

    /// With bytes, whatever they are; their type is not said.
    pub fn raw(self, bytes: impl Into<Bytes>) -> Self {
        self.stream(AuthBody::from(bytes.into()))
    }

    /// With a body that comes as it comes.
    pub fn stream<B>(mut self, body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        *self.request.body_mut() = AuthBody::new(body);
        self
    }

    async fn send(self) -> Answer {
        let what = format!("{} {}", self.request.method(), self.request.uri());
        let is_head = self.request.method() == Method::HEAD;
        let answer = async {
            let Ok(response) = self.client.service.oneshot(self.request).await;
            let (parts, body) = response.into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        };
        let Ok((parts, bytes)) = tokio::time::timeout(PATIENCE, answer).await else {
            panic!("no answer: {what}");
        };
        Answer {
            what,
            is_head,
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            bytes,
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.request.method(), self.request.uri())
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// What came back.
#[derive(Clone)]
pub struct Answer {
    what: String,
    is_head: bool,
    /// The status code.
    pub status: u16,
    /// All of them.
    pub headers: HeaderMap,
    /// The body.
    pub bytes: Bytes,
    /// The body as JSON; `null` when it is none.
    pub json: Value,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, status, .. } = self;
        write!(f, "{what}: {status} {} {:?}", self.text(), self.headers)
    }
}

impl Answer {
    /// Method and path of the request.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// One header; empty when it is missing.
    ///
    /// # Panics
    /// When it comes twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} comes twice: {self:?}");
        value
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// `code` of a problem; empty when there is none.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// The JSON of a success.
    ///
    /// # Panics
    /// When it is another status, or lacks what every success promises.
    #[track_caller]
    pub fn ok(&self, status: u16) -> &Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(status < 400, "that is no success");
        self.promises();
        if !self.bytes.is_empty() {
            let content_type = self.header("content-type");
            assert_eq!(content_type, "application/json; charset=utf-8", "{self:?}");
            assert!(self.json.is_object(), "{self:?}");
        }
        for secret in ["access_token", "refresh_token"] {
            if self.json.get(secret).is_some() {
                assert_eq!(self.header("cache-control"), "no-store", "{self:?}");
            }
        }
        &self.json
    }

    /// A problem (RFC 9457) of this status and code.
    ///
    /// # Panics
    /// When it is another one, or lacks what every problem promises.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Self {
        self.is_problem();
        let seen = (self.status, self.code());
        assert!(
            seen == (status, code) || (self.is_head && self.status == status),
            "expected {status} {code}: {self:?}"
        );
        self
    }

    /// A problem of any status and code.
    ///
    /// # Panics
    /// When it lacks what every problem promises.
    #[track_caller]
    pub fn is_problem(&self) -> &Self {
        self.promises();
        assert!((400..600).contains(&self.status), "no problem: {self:?}");
        let content_type = self.header("content-type");
        let problem_json = "application/problem+json; charset=utf-8";
        assert_eq!(content_type, problem_json, "{self:?}");
        // RFC 9110 §11.6.1, §10.2.1, §10.2.3.
        for (status, header) in [
            (401, "www-authenticate"),
            (405, "allow"),
            (429, "retry-after"),
            (503, "retry-after"),
        ] {
            if self.status == status {
                assert!(!self.header(header).is_empty(), "{header}: {self:?}");
            }
        }
        if self.is_head {
            return self;
        }

        let document = self.json.as_object().unwrap_or_else(|| panic!("{self:?}"));
        let members: BTreeSet<&str> = document.keys().map(String::as_str).collect();
        let mut expected =
            BTreeSet::from(["code", "detail", "request_id", "status", "title", "type"]);
        if matches!(self.code(), "user_exists" | "validation_failed") {
            expected.insert("errors");
        }
        if self.code() == "insufficient_credits" {
            expected.insert("balance");
        }
        assert_eq!(members, expected, "{self:?}");
        assert_eq!(document["status"], self.status, "{self:?}");
        assert_eq!(document["request_id"], self.header("x-request-id"));
        assert!(document["type"].is_string(), "{self:?}");
        for member in ["code", "detail", "title"] {
            let text = document[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member}: {self:?}");
        }
        let is_snake = |b: u8| b.is_ascii_lowercase() || b == b'_';
        assert!(self.code().bytes().all(is_snake), "{self:?}");
        self
    }

    /// Field and code of every fault, in the order of the answer.
    #[track_caller]
    pub fn faults(&self) -> Vec<(&str, &str)> {
        let faults = self.json["errors"].as_array();
        faults
            .unwrap_or_else(|| panic!("no errors: {self:?}"))
            .iter()
            .map(|fault| {
                assert!(fault["message"].is_string(), "{self:?}");
                let text = |member: &str| fault[member].as_str().unwrap();
                (text("field"), text("code"))
            })
            .collect()
    }

    /// What every answer of ours promises.
    #[track_caller]
    fn promises(&self) {
        let id = self.header("x-request-id");
        assert!((1..=128).contains(&id.len()), "{self:?}");
        if self.is_head {
            assert!(self.bytes.is_empty(), "a body for HEAD: {self:?}");
        }
    }
}

/// Sends requests at once, each from a task of its own; the answers in the order of the requests.
pub async fn at_once(calls: impl IntoIterator<Item = Call>) -> Vec<Answer> {
    let tasks: Vec<_> = calls
        .into_iter()
        .map(|call| tokio::spawn(call.send()))
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}
