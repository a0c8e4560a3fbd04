//! What every request passes on its way in, and every answer on its way out, whichever page or endpoint it is about.
//!
//! From the outside in:
//! 1. The answer gets the headers that browsers heed.
//! 2. A request with two `Host` fields, or with none where HTTP/1.1 asks for one, is refused (RFC 9112 §3.2).
//! 3. Pages of the origins that are set may read the answer (CORS).
//! 4. There is a bound on the requests under way. Whoever comes on top is told so at once; health is asked without a place.
//! 5. There is a bound on their time.
//! 6. A panic is an answer, too.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use auth_tower::{Refusal, RequestId};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, Version, header},
    response::Response,
};
use futures_util::FutureExt;
use metrics::{Counter, counter};
use tokio::{sync::Semaphore, time::timeout};
use tower::{Layer, ServiceExt, service_fn, util::Either};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::server::App;

/// Requests under way.
const UNDER_WAY: usize = 512;
/// For an answer: longer than a body may take, and a full queue of hashes.
const ANSWER: Duration = Duration::from_mins(1);

/// Whose pages may read answers.
#[derive(Clone)]
pub(crate) enum Origins {
    /// Every page, without what the browser knows of the user.
    Any,
    /// These, compared letter by letter.
    Listed(Vec<HeaderValue>),
}

/// Puts the app behind all of it. `https` says whether its public address is so.
///
/// All of it is one future of each request: a layer of axum would box another one, and clone all that lies below.
pub(crate) fn guard(app: Router, origins: Option<Origins>, https: bool) -> impl App {
    let bounds = Bounds {
        places: Semaphore::new(UNDER_WAY),
        shed: counter!(
            description: "Requests refused because too many were under way",
            "auth_http_requests_shed_total"
        ),
        late: counter!(
            description: "Requests given up because their answer took too long",
            "auth_http_requests_timed_out_total"
        ),
    };
    let bounds = Arc::new(bounds);
    let app = service_fn(move |request| bound(Arc::clone(&bounds), request, app.clone()));
    let app = match origins {
        Some(origins) => Either::Left(across_origins(app, origins)),
        None => Either::Right(app),
    };
    service_fn(move |request| check(https, request, app.clone()))
}

struct Bounds {
    places: Semaphore,
    shed: Counter,
    late: Counter,
}

/// An OPTIONS that is no preflight is the app's to answer: the layer would answer it for every path, whether there is anything or not.
fn across_origins(app: impl App, origins: Origins) -> impl App {
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
    let cors = CorsLayer::new()
        .allow_methods(methods)
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            RequestId::HEADER,
        ])
        .expose_headers([
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            RequestId::HEADER,
            header::HeaderName::from_static("ratelimit"),
            header::HeaderName::from_static("ratelimit-policy"),
        ])
        .max_age(Duration::from_mins(10));
    let cors = match origins {
        Origins::Any => cors.allow_origin(tower_http::cors::Any),
        Origins::Listed(list) => cors
            // A list would be copied for each request.
            .allow_origin(AllowOrigin::predicate(move |it, _| list.contains(it)))
            .allow_credentials(true),
    };
    let crossed = cors.layer(app.clone());
    service_fn(move |request: Request| {
        let is_preflight = request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let app = if request.method() == Method::OPTIONS && !is_preflight {
            Either::Left(app.clone())
        } else {
            Either::Right(crossed.clone())
        };
        app.oneshot(request)
    })
}

/// What of a request is needed to refuse it.
struct Asked {
    method: Method,
    headers: HeaderMap,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let id = request.headers().get(RequestId::HEADER).cloned();
        Self {
            method: request.method().clone(),
            headers: id.into_iter().map(|id| (RequestId::HEADER, id)).collect(),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        refusal.answer(&self.method, &self.headers).map(Body::new)
    }
}

async fn check(https: bool, request: Request, app: impl App) -> Result<Response, Infallible> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let least = usize::from(request.version() >= Version::HTTP_11);
    let mut answer = if (least..=1).contains(&hosts) {
        app.oneshot(request).await?
    } else {
        Asked::of(&request).refuse(Refusal::BadRequest)
    };
    show_headers(answer.headers_mut(), https);
    Ok(answer)
}

/// Pages have stricter ones of their own (ASVS 3.4.1–3.4.6).
fn show_headers(headers: &mut HeaderMap, https: bool) {
    let fields = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    let secure = https.then_some((header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"));
    for (name, value) in fields.into_iter().chain(secure) {
        let field = headers.entry(name);
        field.or_insert(HeaderValue::from_static(value));
    }
}

async fn bound(bounds: Arc<Bounds>, request: Request, app: Router) -> Result<Response, Infallible> {
    let asked = Asked::of(&request);
    // Whoever looks after the service must hear from a busy one that it lives.
    let is_about_health = matches!(request.uri().path(), "/health" | "/health/ready");
    let place = bounds.places.try_acquire();
    if place.is_err() && !is_about_health {
        bounds.shed.increment(1);
        return Ok(asked.refuse(Refusal::Overloaded));
    }
    let answer = AssertUnwindSafe(app.oneshot(request)).catch_unwind();
    match timeout(ANSWER, answer).await {
        Ok(Ok(answer)) => answer,
        // A page that panics takes no connection with it. What it said is in the log by the panic hook.
        Ok(Err(_)) => Ok(asked.refuse(Refusal::Internal)),
        Err(_) => {
            bounds.late.increment(1);
            Ok(asked.refuse(Refusal::TimedOut))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::{
        Router,
        body::Body,
        http::{Method, Request, StatusCode, header},
        response::Response,
        routing::get,
    };
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::{ANSWER, Origins, UNDER_WAY, guard};
    use crate::server::App;

    #[allow(clippy::unused_async)] // a handler is
    async fn panics() -> &'static str {
        panic!("on purpose")
    }

    fn app(origins: Option<Origins>) -> impl App {
        let app = Router::new()
            .route("/", get(|| async { "home" }))
            .route("/health", get(|| async { "ok" }))
            .route("/panic", get(panics))
            .route("/slow", get(pending::<&'static str>));
        guard(app, origins, true)
    }

    fn request(method: Method, path: &str) -> Request<Body> {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header(header::HOST, "localhost")
            .header("x-request-id", "mine");
        request.body(Body::empty()).unwrap()
    }

    async fn send(app: &impl App, request: Request<Body>) -> Response {
        app.clone().oneshot(request).await.unwrap()
    }

    async fn problem(answer: Response) -> (u16, String) {
        assert_eq!(answer.headers()["x-request-id"], "mine");
        assert_eq!(answer.headers()["x-frame-options"], "DENY");
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (_, code) = text.split_once("\"code\":\"").unwrap();
        (status, code.split('"').next().unwrap().to_owned())
    }

    #[tokio::test]
    async fn every_answer_has_the_headers_that_browsers_heed() {
        for path in ["/", "/nowhere", "/panic"] {
            let answer = send(&app(None), request(Method::GET, path)).await;
            let headers = answer.headers();
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers["x-frame-options"], "DENY");
            assert_eq!(headers["referrer-policy"], "no-referrer");
            assert_eq!(headers["strict-transport-security"], "max-age=31536000");
            let policy = "default-src 'none'; frame-ancestors 'none'";
            assert_eq!(headers["content-security-policy"], policy);
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_service_lives_on() {
        let app = app(None);
        let answer = send(&app, request(Method::GET, "/panic")).await;
        assert_eq!(problem(answer).await, (500, "internal".to_owned()));
        let answer = send(&app, request(Method::GET, "/")).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_given_up() {
        let asked = tokio::time::Instant::now();
        let answer = send(&app(None), request(Method::GET, "/slow")).await;
        assert_eq!(problem(answer).await, (503, "unavailable".to_owned()));
        assert!(asked.elapsed() >= ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_too_many_is_told_so_and_health_is_not() {
        let app = app(None);
        let mut waiting: Vec<_> = (0..UNDER_WAY)
            .map(|_| Box::pin(app.clone().oneshot(request(Method::GET, "/slow"))))
            .collect();
        assert!(waiting.iter_mut().all(|it| it.now_or_never().is_none()));
        let answer = send(&app, request(Method::GET, "/")).await;
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(problem(answer).await, (503, "overloaded".to_owned()));
        let health = send(&app, request(Method::GET, "/health")).await;
        assert_eq!(health.status(), StatusCode::OK);
        drop(waiting);
        let answer = send(&app, request(Method::GET, "/")).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn one_host_is_named() {
        let app = app(None);
        let mut two = request(Method::GET, "/");
        two.headers_mut()
            .append(header::HOST, "evil.example".parse().unwrap());
        let mut none = request(Method::GET, "/");
        none.headers_mut().remove(header::HOST);
        for request in [two, none] {
            let answer = send(&app, request).await;
            assert_eq!(problem(answer).await, (400, "bad_request".to_owned()));
        }
    }

    #[tokio::test]
    async fn pages_of_listed_origins_may_read_answers() {
        let listed = Origins::Listed(vec!["https://app.example.org".parse().unwrap()]);
        let app = app(Some(listed));
        let from = |method: Method, origin: &str| {
            let mut request = request(method, "/");
            let headers = request.headers_mut();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            request
        };
        let answer = send(&app, from(Method::GET, "https://app.example.org")).await;
        let headers = answer.headers();
        let origin = &headers["access-control-allow-origin"];
        assert_eq!(origin, "https://app.example.org");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        let mut preflight = from(Method::OPTIONS, "https://app.example.org");
        let put = "PUT".parse().unwrap();
        preflight
            .headers_mut()
            .insert(header::ACCESS_CONTROL_REQUEST_METHOD, put);
        let answer = send(&app, preflight).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let methods = &answer.headers()["access-control-allow-methods"];
        assert!(methods.to_str().unwrap().contains("PUT"));
        // No preflight: the app answers.
        let answer = send(&app, from(Method::OPTIONS, "https://app.example.org")).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        for origin in [
            "https://evil.example",
            "https://app.example.org.evil.example",
            "http://app.example.org",
            "https://APP.example.org",
            "null",
        ] {
            let answer = send(&app, from(Method::GET, origin)).await;
            let headers = answer.headers();
            assert!(
                !headers.contains_key("access-control-allow-origin"),
                "{origin}"
            );
        }
    }

    #[tokio::test]
    async fn any_origin_reads_nothing_of_a_user() {
        let app = app(Some(Origins::Any));
        let mut request = request(Method::GET, "/");
        let origin = "https://evil.example".parse().unwrap();
        request.headers_mut().insert(header::ORIGIN, origin);
        let answer = send(&app, request).await;
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert!(
            !answer
                .headers()
                .contains_key("access-control-allow-credentials")
        );
    }
}
