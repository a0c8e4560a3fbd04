//! What a page answers when it cannot be shown, and the id of each request.

use auth_tower::RequestId;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, Response, StatusCode, header},
    middleware::Next,
};
use minijinja::context;

use super::Pages;

/// Gives the answer its request id, and a refusal without words a page that says what to do.
pub(super) async fn explain(
    State(pages): State<Pages>,
    mut request: Request,
    next: Next,
) -> axum::response::Response {
    let id = RequestId::of(request.headers());
    // Of letters, digits and the like: the conversion cannot fail.
    let value = HeaderValue::from_str(id.as_str()).ok();
    if let Some(value) = value.clone() {
        request.headers_mut().insert(RequestId::HEADER, value);
    }
    let mut answer = next.run(request).await;
    let is_refusal = answer.status().is_client_error() || answer.status().is_server_error();
    if is_refusal && !has_words(&answer) {
        let page = pages.problem(answer.status(), &id);
        let allow = answer.headers_mut().remove(header::ALLOW);
        answer = page;
        answer
            .headers_mut()
            .extend(allow.map(|allow| (header::ALLOW, allow)));
    }
    if let Some(value) = value {
        answer.headers_mut().insert(RequestId::HEADER, value);
    }
    answer
}

/// A page, or a problem of the API that shares the path.
fn has_words<B>(answer: &Response<B>) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            kind.starts_with("text/html") || kind.starts_with("application/problem+json")
        })
}

impl Pages {
    fn problem(&self, status: StatusCode, id: &RequestId) -> axum::response::Response {
        let (title, message) = match status {
            StatusCode::NOT_FOUND => (
                "There is nothing here",
                "Perhaps the address is not complete.",
            ),
            StatusCode::METHOD_NOT_ALLOWED => (
                "This page cannot do that",
                "It can be opened, or its form sent, and nothing else.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => ("That is too much", "Send less at once."),
            status if status.is_client_error() => (
                "This was not understood",
                "Open the link from the mail again, and use the form of its page.",
            ),
            _ => (
                "Something went wrong here",
                "Go back and try again in a moment.",
            ),
        };
        let values = context! { title, message, request_id => id.as_str() };
        self.show(status, "problem.html", values)
    }
}
