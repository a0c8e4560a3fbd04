//! An [`Auth`] over memory, its users, and a client.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::OnceLock,
    task::{Context, Poll},
};

use async_trait::async_trait;
use auth_billing::Billing;
use auth_core::{
    Auth, Hashing, Links, SigningKeys, Templates,
    adapters::MemoryStore,
    ports::{Clock, Mailer, MailerError, Outbox, OutgoingMail, SystemClock, UserStore},
    time::Duration,
    types::{Change, Digest, Letter, Record, Secret},
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

use crate::{AuthBody, AuthRouter, BoxError, InternalKeys};

pub(crate) const API_KEY: &str = "an-api-key-0123456789abcdef0123456789";

struct NoMailer;

#[async_trait]
impl Mailer for NoMailer {
    async fn send(&self, _: &OutgoingMail) -> Result<(), MailerError> {
        Ok(())
    }
}

/// Proved once: that takes a while in a debug build.
fn templates() -> Templates {
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    TEMPLATES
        .get_or_init(|| Templates::builtin().unwrap())
        .clone()
}

/// A host with everything on.
pub(crate) struct Host {
    pub(crate) auth: Auth,
    store: MemoryStore,
}

impl Host {
    pub(crate) fn start() -> Self {
        let store = MemoryStore::default();
        let auth = Auth::builder(store.clone(), signing_keys())
            .hashing(Hashing::bcrypt(4).unwrap())
            .templates(templates())
            .mailer(NoMailer, Links::to("https://app.example.org").unwrap())
            .build()
            .unwrap();
        Self { auth, store }
    }

    pub(crate) fn without_mailer() -> Auth {
        Auth::builder(MemoryStore::default(), signing_keys())
            .hashing(Hashing::bcrypt(4).unwrap())
            .build()
            .unwrap()
    }

    pub(crate) fn router(&self) -> AuthRouter {
        AuthRouter::new(&self.auth)
            .billing(Billing::new(&self.auth, self.store.clone()))
            .internal_keys(keys())
    }

    /// Registers over HTTP; the access token.
    pub(crate) async fn registered(&self, name: &str) -> String {
        let body = json!({
            "username": name,
            "email": format!("{name}@example.org"),
            "password": "correct horse battery",
        });
        let request = post("/auth/register", &body);
        let answer = send(self.router().into_service(), request).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["access_token"].as_str().unwrap().to_owned()
    }

    /// Registers and has the address verified; the access token.
    pub(crate) async fn verified(&self, name: &str) -> String {
        let token = self.registered(name).await;
        let now = SystemClock.now();
        let claims = self
            .store
            .claim_mails(now, Duration::MINUTE, 100)
            .await
            .unwrap();
        for mail in claims.mails {
            if let Letter::Welcome { token, .. } = mail.mail.letter {
                self.store
                    .redeem(
                        &Digest::of(&token.jti),
                        token.user_id,
                        Change::VerifyEmail,
                        now,
                        Record::default(),
                    )
                    .await
                    .unwrap();
            }
        }
        token
    }
}

fn signing_keys() -> SigningKeys {
    SigningKeys::parse("a secret for tests that is long enough").unwrap()
}

pub(crate) fn keys() -> InternalKeys {
    InternalKeys::parse([("tests", Secret::new(API_KEY.to_owned()))]).unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    /// `null` when it is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

pub(crate) async fn send<S, B>(service: S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<AuthBody>, Error = Infallible>,
    B: Body<Error: Into<BoxError>>,
{
    let Ok(response) = service.oneshot(request).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        bytes,
    }
}

pub(crate) fn request(method: &str, path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Full::default())
        .unwrap()
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::builder()
        .method("POST")
        .uri(path)
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

pub(crate) fn with_header(
    mut request: Request<Full<Bytes>>,
    name: &'static str,
    value: &str,
) -> Request<Full<Bytes>> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// A host's service that must be asked before each call, as one that takes a permit; a clone holds none.
#[derive(Default)]
pub(crate) struct Permit {
    pub(crate) is_held: bool,
    pub(crate) is_full: bool,
}

impl Clone for Permit {
    fn clone(&self) -> Self {
        Self {
            is_held: false,
            is_full: self.is_full,
        }
    }
}

impl<B> Service<Request<B>> for Permit {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_held = !self.is_full;
        if self.is_held {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(self.is_held, "called without being ready");
        self.is_held = false;
        ready(Ok(Response::new(String::new())))
    }
}
