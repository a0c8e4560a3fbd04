//! One line of the log for each request, under the id that its answer carries; and what is counted of it.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use auth_tower::{Answered, ClientIp, RequestId};
use axum::{
    extract::Request,
    http::{HeaderValue, Method},
    response::Response,
};
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use tower::{ServiceExt, service_fn};
use tracing::{Instrument, Span};

use crate::{
    server::App,
    traces::{Open, Tracer},
};

/// Outside of everything else, so that what the edge refuses is seen, too.
pub(crate) fn observe(app: impl App, client_ip: ClientIp, tracer: Option<Tracer>) -> impl App {
    let observer = Arc::new(Observer {
        client_ip,
        meters: Meters::register(),
        tracer,
    });
    service_fn(move |request| observed(Arc::clone(&observer), request, app.clone()))
}

struct Observer {
    client_ip: ClientIp,
    meters: Meters,
    tracer: Option<Tracer>,
}

async fn observed(
    observer: Arc<Observer>,
    request: Request,
    app: impl App,
) -> Result<Response, Infallible> {
    let (mut parts, body) = request.into_parts();
    let id = RequestId::of(&parts.headers);
    let begin = |tracer: &Tracer| tracer.begin(&parts, id.as_str());
    let traced = observer.tracer.as_ref().map(begin);
    let span = tracing::info_span!(
        "request",
        request_id = id.as_str(),
        trace_id = traced.as_ref().map(Open::trace_id)
    );
    // Of letters, digits and the like: the conversion cannot fail.
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        parts.headers.insert(RequestId::HEADER, id);
    }
    observer.meters.in_flight.increment(1);
    let mut line = Line {
        client_ip: observer.client_ip.find(&parts),
        observer,
        traced,
        method: known(&parts.method),
        started: Instant::now(),
        span: span.clone(),
        answer: None,
    };
    let answer = app
        .oneshot(Request::from_parts(parts, body))
        .instrument(span)
        .await?;
    let answered = answer.extensions().get::<Answered>().copied();
    line.answer = Some((answer.status().as_u16(), answered));
    Ok(answer)
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
    observer: Arc<Observer>,
    traced: Option<Open>,
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
        let took = self.started.elapsed();
        let meters = &self.observer.meters;
        meters.in_flight.decrement(1);
        match (route, status) {
            (Some(route), Some(status)) => {
                meters.answered((route, self.method, status), took);
            }
            _ => meters.abandoned.increment(1),
        }
        let code = answered.and_then(|answered| answered.code);
        if let Some(traced) = self.traced.take() {
            traced.end(self.method, route, status, code);
        }
        let duration_ms = took.as_secs_f64() * 1000.0;
        tracing::info!(
            parent: &self.span,
            method = self.method,
            route,
            status,
            duration_ms,
            code,
            user_id = answered.and_then(|answered| answered.user).map(tracing::field::display),
            client_ip = self.client_ip.map(tracing::field::display),
            "{}",
            if self.answer.is_some() { "answered" } else { "the client went away" }
        );
    }
}

/// Route, method and status: each is one of few, whatever clients send.
type Kind = (&'static str, &'static str, u16);

/// What is counted of requests.
struct Meters {
    abandoned: Counter,
    /// Each is looked up once, so that counting allocates nothing.
    answered: RwLock<HashMap<Kind, (Counter, Histogram)>>,
    in_flight: Gauge,
}

impl Meters {
    fn register() -> Self {
        Self {
            abandoned: counter!(
                description: "Requests whose client went away before the answer",
                "auth_http_requests_abandoned_total"
            ),
            answered: RwLock::default(),
            in_flight: gauge!(
                description: "Requests under way",
                "auth_http_requests_in_flight"
            ),
        }
    }

    fn answered(&self, kind: Kind, took: Duration) {
        let count = |(counter, histogram): &(Counter, Histogram)| {
            counter.increment(1);
            histogram.record(took);
        };
        let known = self.answered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meters) = known.get(&kind) {
            return count(meters);
        }
        drop(known);
        let (route, method, status) = kind;
        let meters = (
            counter!(
                description: "Requests that were answered",
                "auth_http_requests_total",
                "route" => route, "method" => method, "status" => status.to_string()
            ),
            histogram!(
                description: "From the end of a request's headers to the begin of its answer",
                unit: Unit::Seconds,
                "auth_http_request_duration_seconds",
                "route" => route, "method" => method
            ),
        );
        count(&meters);
        let mut known = self
            .answered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(kind, meters);
    }
}
