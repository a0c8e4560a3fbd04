use http::{HeaderMap, Method, Response};

use crate::{
    body::AuthBody,
    request_id::RequestId,
    respond::{Problem, respond},
};

/// Why a host's own layers turn a request away before any endpoint sees it: with [`answer`](Self::answer) in the words of this crate.
///
/// ```
/// use auth_tower::Refusal;
/// use http::{HeaderMap, Method};
///
/// let answer = Refusal::Overloaded.answer(&Method::GET, &HeaderMap::new());
/// assert_eq!(answer.status(), 503);
/// assert!(answer.headers().contains_key("retry-after"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 400 `bad_request`: not what HTTP allows, such as two `Host` fields.
    BadRequest,
    /// 500 `internal`: something broke; the host has logged what.
    Internal,
    /// 503 `overloaded`: too many requests are under way.
    Overloaded,
    /// 503 `unavailable`: the answer took too long. Whether anything was done is not known.
    TimedOut,
}

impl Refusal {
    /// The problem document (RFC 9457) for a request of that method and these headers, with its request id.
    pub fn answer(self, method: &Method, headers: &HeaderMap) -> Response<AuthBody> {
        let request_id = RequestId::of(headers);
        respond(Err(Problem::Host(self)), method, &request_id)
    }
}
