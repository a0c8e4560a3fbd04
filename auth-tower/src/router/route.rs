//! What a route is. Its class decides which proof its handler takes, so that a handler under the wrong class does not compile.

use std::{fmt, pin::Pin};

use auth_billing::{Billing, Signature};
use auth_core::{
    Auth,
    types::{Client, UserId},
};
use http::{HeaderMap, Method};

use super::table::Endpoint;
use crate::{
    internal_keys::InternalKeys,
    proof::{self, InternalCaller, Operator, VerifiedUser},
    rate_limit::RateClass,
    read::{Cookies, Fields, Input},
    respond::{Problem, Reply},
};

/// What every handler gets.
pub(crate) struct Ctx {
    pub(crate) auth: Auth,
    pub(crate) client: Client,
    pub(crate) cookies: Cookies,
    pub(crate) fields: Fields,
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// Whoever holds a token and sends it in the body.
    AuthenticatedByBody,
    /// Operators, as [`Internal`](Self::Internal), until [`diagnostics_unprotected`](crate::AuthRouter::diagnostics_unprotected) makes it
    /// [`Public`](Self::Public).
    Diagnostic,
    /// Other services, by `X-API-Key`.
    Internal,
    /// Anybody.
    Public,
    /// The payment provider, by a signature over the body. Whoever passes it on may show an `X-API-Key`, which must be right then.
    Signed,
    /// A user with a live session and a verified e-mail address, by bearer token.
    Verified,
}

impl Class {
    /// As documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthenticatedByBody => "Authenticated by its body",
            Self::Diagnostic => "Internal; Public in development",
            Self::Internal => "Internal",
            Self::Public => "Public",
            Self::Signed => "Internal, by its signature",
            Self::Verified => "Verified",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is declared of a route.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouteInfo {
    /// What it is for; its name for [`AuthRouter::without`](crate::AuthRouter::without).
    pub endpoint: Endpoint,
    /// `GET` routes answer `HEAD` as well, and all of them `OPTIONS`.
    pub method: Method,
    /// Without the host's prefix; parameters as `{name}`.
    pub path: &'static str,
    /// Who may call it.
    pub class: Class,
    /// Which budget its requests take from, if they do.
    pub rate_class: Option<RateClass>,
    /// Where its fields come from.
    pub input: Input,
    /// The most bytes of a body.
    pub body_limit: usize,
    /// It is there only with billing.
    pub needs_billing: bool,
    /// It is there only with a mailer.
    pub needs_mailer: bool,
    /// It is `GET` and yet changes something; `HEAD` does not.
    pub has_effect: bool,
    /// One line for people.
    pub summary: &'static str,
}

pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;
/// A handler that has its proof and waits for the rest of the request; and the user who proved to be one.
pub(crate) type Admitted<'a> = (Box<dyn FnOnce(Ctx) -> Work + Send + 'a>, Option<UserId>);

type Plain = Box<dyn Fn(Ctx) -> Work + Send + Sync>;
type With<Proof> = Box<dyn Fn(Ctx, Proof) -> Work + Send + Sync>;
type Paid = Box<dyn Fn(Ctx, InternalCaller, Billing) -> Work + Send + Sync>;
type Signed = Box<dyn Fn(Ctx, Signature, Billing) -> Work + Send + Sync>;

enum Handler {
    Billing(Paid),
    Diagnostic(With<Operator>),
    Internal(With<InternalCaller>),
    Open(Plain),
    Signed(Signed),
    Verified(With<VerifiedUser>),
}

/// A declared route and what answers it.
pub(crate) struct Route {
    pub(crate) info: RouteInfo,
    handler: Handler,
}

pub(crate) fn public<F, W>(
    endpoint: Endpoint,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Ctx) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let handler = Handler::Open(Box::new(move |ctx| Box::pin(handler(ctx))));
    Route::new(endpoint, method, path, Class::Public, handler)
}

/// The token in the body is the proof, and the core is asked about it by the handler itself.
pub(crate) fn authenticated_by_body<F, W>(
    endpoint: Endpoint,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Ctx) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let handler = Handler::Open(Box::new(move |ctx| Box::pin(handler(ctx))));
    Route::new(endpoint, method, path, Class::AuthenticatedByBody, handler)
}

pub(crate) fn verified<F, W>(
    endpoint: Endpoint,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Ctx, VerifiedUser) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let handler = Handler::Verified(Box::new(move |ctx, who| Box::pin(handler(ctx, who))));
    Route::new(endpoint, method, path, Class::Verified, handler)
}

pub(crate) fn diagnostic<F, W>(
    endpoint: Endpoint,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Ctx, Operator) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let handler = Handler::Diagnostic(Box::new(move |ctx, who| Box::pin(handler(ctx, who))));
    Route::new(endpoint, method, path, Class::Diagnostic, handler)
}

pub(crate) fn internal<F, W>(
    endpoint: Endpoint,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Ctx, InternalCaller) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let handler = Handler::Internal(Box::new(move |ctx, who| Box::pin(handler(ctx, who))));
    Route::new(endpoint, method, path, Class::Internal, handler)
}

/// For other services, where the host has billing.
pub(crate) fn billing<F, W>(
    endpoint: Endpoint,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Ctx, InternalCaller, Billing) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let handler = Handler::Billing(Box::new(move |ctx, who, billing| {
        Box::pin(handler(ctx, who, billing))
    }));
    let mut route = Route::new(endpoint, method, path, Class::Internal, handler);
    route.info.needs_billing = true;
    route
}

/// For the payment provider. The handler gets the signature as it was sent, and the body is what it has to be checked against.
pub(crate) fn signed<F, W>(
    endpoint: Endpoint,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Ctx, Signature, Billing) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let handler = Handler::Signed(Box::new(move |ctx, signature, billing| {
        Box::pin(handler(ctx, signature, billing))
    }));
    let mut route = Route::new(endpoint, method, path, Class::Signed, handler);
    route.info.needs_billing = true;
    route
}

impl Route {
    /// Of a body, unless a route says otherwise.
    const BODY_LIMIT: usize = 64 * 1024;

    fn new(
        endpoint: Endpoint,
        method: Method,
        path: &'static str,
        class: Class,
        handler: Handler,
    ) -> Self {
        let info = RouteInfo {
            endpoint,
            method,
            path,
            class,
            rate_class: RateClass::of(path),
            input: Input::None,
            body_limit: Self::BODY_LIMIT,
            needs_billing: false,
            needs_mailer: false,
            has_effect: false,
            summary: "",
        };
        Self { info, handler }
    }

    pub(crate) const fn json(mut self) -> Self {
        self.info.input = Input::Json;
        self
    }

    pub(crate) const fn json_or_form(mut self) -> Self {
        self.info.input = Input::JsonOrForm;
        self
    }

    pub(crate) const fn raw(mut self, limit: usize) -> Self {
        self.info.input = Input::Raw;
        self.info.body_limit = limit;
        self
    }

    pub(crate) const fn query(mut self) -> Self {
        self.info.input = Input::Query;
        self
    }

    pub(crate) const fn by_mail(mut self) -> Self {
        self.info.needs_mailer = true;
        self
    }

    pub(crate) const fn with_effect(mut self) -> Self {
        self.info.has_effect = true;
        self
    }

    pub(crate) const fn says(mut self, summary: &'static str) -> Self {
        self.info.summary = summary;
        self
    }

    /// A diagnostic route for everybody; others stay as they are.
    pub(crate) fn unprotected(mut self) -> Self {
        if self.info.class == Class::Diagnostic {
            self.info.class = Class::Public;
        }
        self
    }

    /// Checks the class; what comes back can be run without another check.
    pub(crate) async fn admit(
        &self,
        auth: &Auth,
        billing: Option<&Billing>,
        keys: &InternalKeys,
        headers: &HeaderMap,
    ) -> Result<Admitted<'_>, Problem> {
        Ok(match &self.handler {
            Handler::Billing(run) => {
                let who = proof::internal(keys, headers)?;
                let billing = billing.cloned().ok_or(Problem::NotFound)?;
                (Box::new(move |ctx| run(ctx, who, billing)), None)
            }
            Handler::Diagnostic(run) => {
                let is_open = self.info.class == Class::Public;
                let who = proof::operator(is_open, keys, headers)?;
                (Box::new(move |ctx| run(ctx, who)), None)
            }
            Handler::Internal(run) => {
                let who = proof::internal(keys, headers)?;
                (Box::new(move |ctx| run(ctx, who)), None)
            }
            Handler::Open(run) => (Box::new(run), None),
            Handler::Signed(run) => {
                let signature = proof::claimed_signature(keys, headers)?;
                let billing = billing.cloned().ok_or(Problem::NotFound)?;
                (Box::new(move |ctx| run(ctx, signature, billing)), None)
            }
            Handler::Verified(run) => {
                let who = proof::verified(auth, headers).await?;
                let user = who.user().id;
                (Box::new(move |ctx| run(ctx, who)), Some(user))
            }
        })
    }
}
