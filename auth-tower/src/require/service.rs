use std::{
    mem,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{RequireFuture, layer::Guard};
use crate::{
    body::{AuthBody, BoxError},
    request_id::RequestId,
    respond::respond,
};

/// A host's service behind a guard.
#[derive(Debug, Clone)]
pub struct Require<S> {
    guard: Guard,
    inner: S,
}

impl<S> Require<S> {
    pub(super) const fn new(guard: Guard, inner: S) -> Self {
        Self { guard, inner }
    }
}

impl<S, B, R> Service<Request<B>> for Require<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<AuthBody>;
    type Error = S::Error;
    type Future = RequireFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready is called after the check; a clone of it has not become ready yet.
        let unready = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, unready);
        let guard = self.guard.clone();
        RequireFuture::new(async move {
            let (mut parts, body) = request.into_parts();
            match guard.admit(&mut parts).await {
                Ok(()) => {
                    let response = inner.call(Request::from_parts(parts, body)).await?;
                    Ok(response.map(AuthBody::new))
                }
                Err(problem) => {
                    let request_id = RequestId::of(&parts.headers);
                    Ok(respond(Err(problem), &parts.method, &request_id))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use tower::{Layer, service_fn};

    use crate::{
        AuthenticatedUser, InternalCaller, VerifiedUser, require,
        testing::{API_KEY, Host, Permit, keys, request, send, with_header},
    };

    async fn host(request: Request<Full<Bytes>>) -> Result<Response<String>, Infallible> {
        let extensions = request.extensions();
        let who = extensions
            .get::<AuthenticatedUser>()
            .map(|who| format!("authenticated {}", who.user().username))
            .or_else(|| {
                let who = extensions.get::<VerifiedUser>()?;
                Some(format!("verified {}", who.user().username))
            })
            .or_else(|| {
                let who = extensions.get::<InternalCaller>()?;
                Some(format!("internal {}", who.name()))
            });
        Ok(Response::new(
            format!("{who:?}").replace("Some(", "").replace(')', ""),
        ))
    }

    #[tokio::test]
    async fn a_request_passes_with_its_proof_or_is_answered() {
        let app = Host::start();
        let ada = format!("Bearer {}", app.registered("ada").await);
        let eve = format!("Bearer {}", app.verified("eve").await);
        let none = ("x-nothing", "");
        for (name, guard, (header, value), expected) in [
            (
                "nobody",
                require::authenticated(&app.auth),
                none,
                Err((401, "missing_token")),
            ),
            (
                "nobody",
                require::verified(&app.auth),
                none,
                Err((401, "missing_token")),
            ),
            (
                "nobody",
                require::internal(&keys()),
                none,
                Err((401, "invalid_api_key")),
            ),
            (
                "a forger",
                require::verified(&app.auth),
                ("authorization", "Bearer a.b.c"),
                Err((401, "invalid_token")),
            ),
            (
                "ada",
                require::authenticated(&app.auth),
                ("authorization", &ada),
                Ok("authenticated ada"),
            ),
            (
                "eve",
                require::verified(&app.auth),
                ("authorization", &eve),
                Ok("verified eve"),
            ),
            (
                "a service",
                require::internal(&keys()),
                ("x-api-key", API_KEY),
                Ok("internal tests"),
            ),
            (
                "a user among services",
                require::internal(&keys()),
                ("authorization", &eve),
                Err((401, "invalid_api_key")),
            ),
        ] {
            let service = guard.layer(service_fn(host));
            let request = with_header(request("GET", "/reports"), header, value);
            let answer = send(service, request).await;
            match expected {
                Ok(who) => assert_eq!(answer.body, who, "{name}"),
                Err((status, code)) => {
                    assert_eq!((answer.status, answer.code()), (status, code), "{name}");
                    assert!(answer.headers.contains_key("www-authenticate"), "{name}");
                    assert!(answer.headers.contains_key("x-request-id"), "{name}");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_service_that_was_ready_is_the_one_that_is_called() {
        let service = require::internal(&keys()).layer(Permit::default());
        let request = with_header(request("GET", "/reports"), "x-api-key", API_KEY);
        assert_eq!(send(service, request).await.status, 200);
    }

    #[tokio::test]
    async fn an_unproven_address_is_told_to_prove_it() {
        let app = Host::start();
        let ada = format!("Bearer {}", app.registered("ada").await);
        let service = require::verified(&app.auth).layer(service_fn(host));
        let request = with_header(request("GET", "/reports"), "authorization", &ada);
        let answer = send(service, request).await;
        assert_eq!((answer.status, answer.code()), (403, "email_not_verified"));
    }
}
