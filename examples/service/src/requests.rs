//! One line of the log for each request, under the id that its answer carries.

use std::{net::IpAddr, time::Instant};

use auth_tower::{Answered, ClientIp, RequestId};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method},
    middleware::{self, Next},
    response::Response,
};
use tracing::{Instrument, Span};

/// Outside of everything else, so that what the edge refuses is seen, too.
pub(crate) fn observe(app: Router, client_ip: ClientIp) -> Router {
    app.layer(middleware::from_fn_with_state(client_ip, observed))
}

async fn observed(State(client_ip): State<ClientIp>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let id = RequestId::of(&parts.headers);
    let span = tracing::info_span!("request", request_id = id.as_str());
    // Of letters, digits and the like: the conversion cannot fail.
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        parts.headers.insert(RequestId::HEADER, id);
    }
    let mut line = Line {
        method: known(&parts.method),
        client_ip: client_ip.find(&parts),
        started: Instant::now(),
        span: span.clone(),
        answer: None,
    };
    let answer = next
        .run(Request::from_parts(parts, body))
        .instrument(span)
        .await;
    let answered = answer.extensions().get::<Answered>().copied();
    line.answer = Some((answer.status().as_u16(), answered));
    answer
}

/// Anybody can invent methods, and a log is searched by them.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "other",
    }
}

/// Written when it is dropped: also for a client that went away before its answer.
struct Line {
    method: &'static str,
    client_ip: Option<IpAddr>,
    started: Instant,
    span: Span,
    answer: Option<(u16, Option<Answered>)>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let (status, answered) = self.answer.unzip();
        let answered = answered.flatten();
        // Never the path itself: it may hold a token or an address.
        let route = match (self.answer, answered) {
            (None, _) => None,
            (_, None) => Some("page"),
            (_, Some(answered)) => Some(answered.route.unwrap_or("none")),
        };
        let duration_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        tracing::info!(
            parent: &self.span,
            method = self.method,
            route,
            status,
            duration_ms,
            code = answered.and_then(|answered| answered.code),
            user_id = answered.and_then(|answered| answered.user).map(tracing::field::display),
            client_ip = self.client_ip.map(tracing::field::display),
            "{}",
            if self.answer.is_some() { "answered" } else { "the client went away" }
        );
    }
}
