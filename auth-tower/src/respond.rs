//! What goes out. No other file knows statuses, challenges or the problem document (RFC 9457).

use std::{error::Error as StdError, fmt::Write};

use auth_core::{
    Error, InvalidField,
    time::Duration,
    types::{Credits, UserId},
};
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER,
        SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::{
    body::AuthBody,
    rate_limit::Limited,
    refusal::Refusal,
    request_id::{RequestId, X_REQUEST_ID},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const PROBLEM_JSON: HeaderValue =
    HeaderValue::from_static("application/problem+json; charset=utf-8");
const IDEMPOTENT_REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");
/// Of a provider of sign-ins: for ten seconds after a failure it is not even asked.
const PROVIDER_RETRY_AFTER: Duration = Duration::seconds(10);

/// An answer that is no problem.
pub(crate) struct Reply {
    status: StatusCode,
    content: Option<(HeaderValue, Content)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Whose it is, for the log.
    pub(crate) user: Option<UserId>,
}

enum Content {
    Bytes(Vec<u8>),
    /// Of a HEAD request whose GET would have an effect: nobody knows what it would say.
    Unknown,
}

impl Reply {
    /// 200
    pub(crate) fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        Self::json(StatusCode::OK, body)
    }

    /// It was given before, and nothing was done now.
    pub(crate) fn replayed(mut self) -> Self {
        self.headers
            .push((IDEMPOTENT_REPLAY, HeaderValue::from_static("true")));
        self
    }

    /// Opened for a user, whom nothing in the request had proven before.
    pub(crate) const fn about(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// 201
    pub(crate) fn created(body: &impl Serialize) -> Result<Self, Problem> {
        Self::json(StatusCode::CREATED, body)
    }

    /// 202: whether anything is done is not said.
    pub(crate) fn accepted(body: &impl Serialize) -> Result<Self, Problem> {
        Self::json(StatusCode::ACCEPTED, body)
    }

    /// 204
    pub(crate) const fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            content: None,
            headers: Vec::new(),
            user: None,
        }
    }

    /// 302
    pub(crate) fn found(location: &str) -> Result<Self, Problem> {
        let location =
            HeaderValue::try_from(location).map_err(|error| Error::Internal(Box::new(error)))?;
        Ok(Self {
            status: StatusCode::FOUND,
            content: None,
            headers: vec![(LOCATION, location)],
            user: None,
        })
    }

    /// With a cookie for the browser.
    pub(crate) fn with_cookie(mut self, cookie: HeaderValue) -> Self {
        self.headers.push((SET_COOKIE, cookie));
        self
    }

    /// 503 that is a report and no failure of ours.
    pub(crate) fn unavailable(body: &impl Serialize) -> Result<Self, Problem> {
        let mut reply = Self::json(StatusCode::SERVICE_UNAVAILABLE, body)?;
        reply.headers.push((RETRY_AFTER, RETRY_AFTER_SECONDS));
        Ok(reply)
    }

    /// What OPTIONS gets on a known path.
    pub(crate) fn options(allow: &str) -> Self {
        Self {
            headers: allow_header(allow).into_iter().collect(),
            ..Self::no_content()
        }
    }

    /// What HEAD gets where GET would have an effect (RFC 9110 §9.2.1: HEAD is safe).
    pub(crate) const fn without_effect() -> Self {
        Self {
            status: StatusCode::OK,
            content: Some((JSON, Content::Unknown)),
            headers: Vec::new(),
            user: None,
        }
    }

    fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::Internal(Box::new(error)))?;
        Ok(Self {
            status,
            content: Some((JSON, Content::Bytes(bytes))),
            headers: Vec::new(),
            user: None,
        })
    }
}

/// Why a request does not get what it asked for.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Another one, for the page that a browser came from: one of the allowed addresses.
    AtPage(Box<Problem>, String),
    /// As the core says.
    Core(Error),
    /// As a host's own layer says.
    Host(Refusal),
    /// No `X-API-Key`, or none of ours; which of the two is not said.
    InvalidApiKey,
    /// Not signed by whom the host trusts, or not within five minutes.
    InvalidSignature,
    /// A token out of a mail proves no session: what is wrong with it is wrong with the request.
    MailedToken(Error),
    /// A body that is no JSON, or that ended early.
    MalformedBody,
    /// It is signed, and no event.
    MalformedEvent,
    /// The path is known; the methods that it has.
    MethodNotAllowed(String),
    /// No bearer token.
    MissingToken,
    /// No such path.
    NotFound,
    /// There is no subscription: where one was to end, what was asked for is not there.
    NothingToCancel,
    /// A body over the cap.
    PayloadTooLarge,
    /// The client's budget is used up; how long until there is one more.
    RateLimited(Duration),
    /// A body of another or no type.
    UnsupportedMediaType,
    /// Another one, with a cookie for the browser.
    WithCookie(Box<Problem>, HeaderValue),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl Problem {
    /// For endpoints that take a token out of a mail.
    pub(crate) fn of_mailed_token(error: Error) -> Self {
        match error {
            Error::InvalidToken | Error::TokenExpired => Self::MailedToken(error),
            _ => Self::Core(error),
        }
    }

    /// Status and sentence.
    fn sheet(&self) -> (StatusCode, &'static str) {
        match self {
            Self::AtPage(problem, _) => (StatusCode::FOUND, problem.sheet().1),
            Self::Core(error) => core_sheet(error),
            Self::Host(refusal) => host_sheet(*refusal),
            Self::InvalidApiKey => (
                StatusCode::UNAUTHORIZED,
                "A valid API key is required in the X-API-Key header.",
            ),
            Self::InvalidSignature => (
                StatusCode::UNAUTHORIZED,
                "A valid signature, made within five minutes, is required in the Stripe-Signature header.",
            ),
            Self::MailedToken(error) => (StatusCode::BAD_REQUEST, core_sheet(error).1),
            Self::MalformedBody => (
                StatusCode::BAD_REQUEST,
                "The body is not well-formed JSON with unique member names.",
            ),
            Self::MalformedEvent => (
                StatusCode::BAD_REQUEST,
                "The body is not an event of the payment provider.",
            ),
            Self::MethodNotAllowed(_) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "This path has other methods; the Allow header names them.",
            ),
            Self::MissingToken => (
                StatusCode::UNAUTHORIZED,
                "An access token is required in the Authorization header.",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "There is nothing at this path."),
            Self::NothingToCancel => (StatusCode::NOT_FOUND, NOT_SUBSCRIBED),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            Self::RateLimited(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests came from this address; the Retry-After header says when the next one is answered.",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The Content-Type of the body is missing or not one that this endpoint reads.",
            ),
            Self::WithCookie(problem, _) => problem.sheet(),
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Core(error) | Self::MailedToken(error) => error.code(),
            Self::Host(Refusal::BadRequest) => "bad_request",
            Self::Host(Refusal::Internal) => "internal",
            Self::Host(Refusal::Overloaded) => "overloaded",
            Self::Host(Refusal::TimedOut) => "unavailable",
            Self::InvalidApiKey => "invalid_api_key",
            Self::InvalidSignature => "invalid_signature",
            Self::MalformedBody => "malformed_json",
            Self::MalformedEvent => "malformed_event",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::MissingToken => "missing_token",
            Self::NotFound => "not_found",
            Self::NothingToCancel => "not_subscribed",
            Self::PayloadTooLarge => "payload_too_large",
            Self::RateLimited(_) => "rate_limited",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::AtPage(problem, _) | Self::WithCookie(problem, _) => problem.code(),
        }
    }

    /// RFC 9110 §11.6.1: a 401 says what would be accepted. RFC 6750 §3.1: an error code only where a token was sent.
    fn challenge(&self) -> Option<HeaderValue> {
        let challenge = match self {
            Self::Core(Error::InvalidToken | Error::TokenExpired | Error::TokenReused) => {
                r#"Bearer error="invalid_token""#
            }
            Self::Core(Error::EmailNotVerified) => r#"Bearer error="insufficient_scope""#,
            Self::Core(Error::InvalidCredentials) | Self::MissingToken => "Bearer",
            Self::InvalidApiKey => "ApiKey",
            Self::InvalidSignature => "Signature",
            _ => return None,
        };
        Some(HeaderValue::from_static(challenge))
    }

    /// How long the client has to wait, where that is known.
    fn wait(&self) -> Option<Duration> {
        match self {
            Self::Core(Error::Throttled(wait) | Error::TooManyAttempts(wait))
            | Self::RateLimited(wait) => Some(*wait),
            Self::Core(Error::ProviderUnavailable(_)) => Some(PROVIDER_RETRY_AFTER),
            _ => None,
        }
    }

    fn errors(&self) -> Vec<FieldError<'_>> {
        match self {
            Self::Core(Error::Invalid(fields)) => fields.iter().map(FieldError::of).collect(),
            Self::Core(Error::UserExists(unique)) => vec![FieldError {
                field: unique.as_str(),
                code: "taken",
                message: "Another account has it.",
            }],
            _ => Vec::new(),
        }
    }

    fn balance(&self) -> Option<Credits> {
        match self {
            Self::Core(Error::InsufficientCredits { balance }) => Some(*balance),
            _ => None,
        }
    }

    /// Logs what an operator must see: once, here, with everything that led to it.
    fn log(&self, status: StatusCode, request_id: &RequestId) {
        match self {
            // How the host configured it is no failure.
            Self::Core(Error::OAuthNotConfigured | Error::PaymentsNotConfigured) => {}
            Self::Core(error) | Self::MailedToken(error) if status.is_server_error() => {
                log_failure(error, Some(request_id.as_str()));
            }
            // ASVS 16.3.1
            Self::Core(Error::TooManyAttempts(_)) => tracing::warn!(
                request_id = request_id.as_str(),
                "a password is not looked at: too many wrong ones came before it"
            ),
            // ASVS 16.3.2
            Self::InvalidApiKey => tracing::info!(
                request_id = request_id.as_str(),
                "a request without a valid API key is refused"
            ),
            Self::InvalidSignature => tracing::info!(
                request_id = request_id.as_str(),
                "an event without a valid signature is refused"
            ),
            _ => {}
        }
    }
}

/// Writes an error and its sources into one entry of the log.
pub(crate) fn log_failure(error: &Error, request_id: Option<&str>) {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // A String takes any text.
        let _ = write!(chain, ": {cause}");
        source = cause.source();
    }
    let code = error.code();
    // A full queue is a state that passes, under an attack many times a second.
    if matches!(error, Error::Overloaded) {
        tracing::warn!(request_id, code, error = chain, "a request was refused");
    } else {
        tracing::error!(request_id, code, error = chain, "a request failed");
    }
}

const FAILED: &str = "Something failed; the request id helps to find out what.";
const NOT_SUBSCRIBED: &str = "There is no subscription that has not ended.";
const OVERLOADED: &str = "Too much is asked at once; try again in a moment.";

#[allow(clippy::too_many_lines)] // one table
fn core_sheet(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::AccountExists => (
            StatusCode::CONFLICT,
            "An account has this e-mail address already; log in and link it.",
        ),
        Error::AlreadySubscribed => (
            StatusCode::CONFLICT,
            "There is a subscription that has not ended; change or cancel it.",
        ),
        Error::CurrentPasswordInvalid => {
            (StatusCode::BAD_REQUEST, "The current password is wrong.")
        }
        Error::EmailNotVerified => (
            StatusCode::FORBIDDEN,
            "The e-mail address has to be verified first.",
        ),
        Error::EmailTaken => (
            StatusCode::CONFLICT,
            "Another account has this e-mail address.",
        ),
        Error::IdentityInUse => (
            StatusCode::CONFLICT,
            "Another account is linked to it, or this account is linked to another one of the provider.",
        ),
        Error::IdempotencyConflict => (
            StatusCode::CONFLICT,
            "The idempotency key or the reference was used for something else.",
        ),
        Error::InsufficientCredits { .. } => (
            StatusCode::PAYMENT_REQUIRED,
            "The balance does not suffice; nothing was used.",
        ),
        Error::Invalid(_) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The request has fields that are not valid.",
        ),
        Error::InvalidCode => (StatusCode::BAD_REQUEST, "The code is not valid."),
        Error::InvalidCredentials => (StatusCode::UNAUTHORIZED, "Username or password is wrong."),
        Error::InvalidIdToken => (StatusCode::BAD_REQUEST, "The ID token is not valid."),
        Error::InvalidState => (
            StatusCode::BAD_REQUEST,
            "This browser did not begin this sign-in, or it has ended; begin again.",
        ),
        Error::InvalidToken => (StatusCode::UNAUTHORIZED, "The token is not valid."),
        Error::LastSignInMethod => (
            StatusCode::CONFLICT,
            "Nothing else opens the account; set a password first.",
        ),
        Error::MailFailed(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The mail could not be sent; the request id helps to find out why.",
        ),
        Error::NotLinked => (
            StatusCode::NOT_FOUND,
            "The account is not linked to the provider.",
        ),
        Error::NotSubscribed => (StatusCode::CONFLICT, NOT_SUBSCRIBED),
        Error::OAuthNotConfigured => (
            StatusCode::NOT_IMPLEMENTED,
            "There is no such provider here.",
        ),
        Error::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, OVERLOADED),
        Error::PaymentProviderFailed(_) => (
            StatusCode::BAD_GATEWAY,
            "The payment provider did not do it; the request id helps to find out why.",
        ),
        Error::PaymentProviderUnavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The payment provider does not answer; the same request may be sent again.",
        ),
        Error::PaymentsNotConfigured => {
            (StatusCode::NOT_IMPLEMENTED, "No payments are taken here.")
        }
        Error::ProviderEmailNotVerified => (
            StatusCode::BAD_REQUEST,
            "The provider has not verified an e-mail address of yours.",
        ),
        Error::ProviderFailed(_) => (
            StatusCode::BAD_GATEWAY,
            "The provider gave an answer that cannot be used.",
        ),
        Error::ProviderRefused(_) => (
            StatusCode::BAD_REQUEST,
            "The provider did not confirm who you are.",
        ),
        Error::ProviderUnavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The provider does not answer; begin again in a moment.",
        ),
        Error::ReauthenticationRequired => {
            (StatusCode::FORBIDDEN, "A fresh login is required for this.")
        }
        Error::RedirectNotAllowed => (
            StatusCode::BAD_REQUEST,
            "The address to return to is not one of the allowed ones.",
        ),
        Error::SessionNotFound => (StatusCode::NOT_FOUND, "There is no such session."),
        Error::Throttled(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            "This was asked for too often; the Retry-After header says when it may be again.",
        ),
        Error::TokenExpired => (StatusCode::UNAUTHORIZED, "The token has expired."),
        Error::TokenReused => (
            StatusCode::UNAUTHORIZED,
            "The refresh token was used before; the session is over.",
        ),
        Error::TooManyAttempts(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many wrong passwords were sent; the Retry-After header says when the next one is looked at.",
        ),
        Error::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The service is unavailable; try again in a moment.",
        ),
        Error::UnknownPlan => (
            StatusCode::NOT_FOUND,
            "The catalogue has no plan or credit pack of this name.",
        ),
        Error::UserExists(_) => (
            StatusCode::CONFLICT,
            "The username or the e-mail address is taken.",
        ),
        Error::UserNotFound => (StatusCode::NOT_FOUND, "There is no such user."),
        // Error::Internal, and what this version does not know: never more than that it failed.
        _ => (StatusCode::INTERNAL_SERVER_ERROR, FAILED),
    }
}

fn host_sheet(refusal: Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::BadRequest => (
            StatusCode::BAD_REQUEST,
            "The request is not one that HTTP allows.",
        ),
        Refusal::Internal => (StatusCode::INTERNAL_SERVER_ERROR, FAILED),
        Refusal::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, OVERLOADED),
        Refusal::TimedOut => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The answer took too long; look whether anything was done, and try again in a moment.",
        ),
    }
}

/// RFC 9457 §3. With `about:blank` the title is the status's own (§4.2.1).
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Credits>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError<'a>>,
}

#[derive(Serialize)]
struct FieldError<'a> {
    field: &'a str,
    code: &'static str,
    message: &'static str,
}

impl<'a> FieldError<'a> {
    fn of(invalid: &'a InvalidField) -> Self {
        Self {
            field: &invalid.field,
            code: invalid.reason.code,
            message: invalid.reason.message,
        }
    }
}

/// The response to a request of this method and id.
pub(crate) fn respond(
    outcome: Result<Reply, Problem>,
    method: &Method,
    request_id: &RequestId,
) -> Response<AuthBody> {
    let reply = outcome.unwrap_or_else(|problem| match problem {
        Problem::WithCookie(problem, cookie) => reply_of(&problem, request_id).with_cookie(cookie),
        problem => reply_of(&problem, request_id),
    });
    let mut response = Response::new(AuthBody::empty());
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.extend(reply.headers);
    // Any answer of ours may hold a token, a secret or what led to one (RFC 6749 §5.1, ASVS 14.3.2).
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // And so may the address that was asked.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some((content_type, content)) = reply.content {
        headers.insert(CONTENT_TYPE, content_type);
        if let Content::Bytes(bytes) = content {
            // Set by us, so that HEAD says what GET would send (RFC 9110 §9.3.2).
            headers.insert(CONTENT_LENGTH, bytes.len().into());
            if method != Method::HEAD {
                *response.body_mut() = AuthBody::from(bytes::Bytes::from(bytes));
            }
        }
    }
    response
}

/// Says how the budget stands (draft-ietf-httpapi-ratelimit-headers).
pub(crate) fn show_limit<B>(response: &mut Response<B>, limited: &Limited) {
    let Limited {
        class,
        quota,
        standing,
    } = limited;
    let window = quota.window().whole_seconds();
    let fields = [
        (
            HeaderName::from_static("ratelimit-policy"),
            format!("\"{class}\";q={};w={window}", quota.burst()),
        ),
        (
            HeaderName::from_static("ratelimit"),
            format!(
                "\"{class}\";r={};t={}",
                standing.remaining,
                whole_seconds(standing.next)
            ),
        ),
    ];
    for (name, text) in fields {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// 302 to the page, with why (RFC 6749 §4.1.2.1).
fn sent_back(page: &str, problem: &Problem, request_id: &RequestId) -> Reply {
    let (status, detail) = problem.sheet();
    problem.log(status, request_id);
    let detail = utf8_percent_encode(detail, NON_ALPHANUMERIC);
    let code = problem.code();
    let id = request_id.as_str(); // of plain letters
    Reply::found(&format!(
        "{page}?error={code}&error_description={detail}&request_id={id}"
    ))
    .unwrap_or_else(|problem| reply_of(&problem, request_id))
}

fn reply_of(problem: &Problem, request_id: &RequestId) -> Reply {
    if let Problem::AtPage(problem, page) = problem {
        return sent_back(page, problem, request_id);
    }
    let (status, detail) = problem.sheet();
    problem.log(status, request_id);
    let code = match problem {
        Problem::Core(Error::MailFailed(_)) => problem.code(),
        _ if status == StatusCode::INTERNAL_SERVER_ERROR => "internal",
        _ => problem.code(),
    };
    let document = Document {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail,
        code,
        request_id: request_id.as_str(),
        balance: problem.balance(),
        errors: problem.errors(),
    };
    let mut headers = Vec::new();
    if let Problem::MethodNotAllowed(allow) = problem {
        headers.extend(allow_header(allow));
    }
    if let Some(challenge) = problem.challenge() {
        headers.push((WWW_AUTHENTICATE, challenge));
    }
    if let Some(wait) = problem.wait() {
        headers.push((RETRY_AFTER, whole_seconds(wait).into()));
    } else if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.push((RETRY_AFTER, RETRY_AFTER_SECONDS));
    }
    // Numbers and strings only: this cannot fail, and an empty body with the right status would still be an answer.
    let bytes = serde_json::to_vec(&document).unwrap_or_default();
    Reply {
        status,
        content: Some((PROBLEM_JSON, Content::Bytes(bytes))),
        headers,
        user: None,
    }
}

/// Whole ones, and never too early (RFC 9110 §10.2.3).
fn whole_seconds(wait: Duration) -> i64 {
    (wait.whole_seconds() + i64::from(wait.subsec_nanoseconds() > 0)).max(1)
}

fn allow_header(allow: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(allow)
        .ok()
        .map(|value| (ALLOW, value))
}

#[cfg(test)]
mod tests;
