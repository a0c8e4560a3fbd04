use std::{
    mem,
    task::{Context, Poll},
};

use auth_core::types::Network;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{RateClass, RateLimitFuture, RateLimits};
use crate::{
    body::{AuthBody, BoxError},
    client_ip::ClientIp,
    request_id::RequestId,
    respond::{Problem, respond, show_limit},
};

/// A host's service under a limit.
#[derive(Debug, Clone)]
pub struct RateLimit<S> {
    limits: RateLimits,
    class: RateClass,
    client_ip: ClientIp,
    inner: S,
}

impl<S> RateLimit<S> {
    pub(super) const fn new(
        limits: RateLimits,
        class: RateClass,
        client_ip: ClientIp,
        inner: S,
    ) -> Self {
        Self {
            limits,
            class,
            client_ip,
            inner,
        }
    }
}

impl<S, B, R> Service<Request<B>> for RateLimit<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<AuthBody>;
    type Error = S::Error;
    type Future = RateLimitFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready is called after the look at the budget; a clone of it has not become ready yet.
        let unready = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, unready);
        let (limits, class) = (self.limits.clone(), self.class);
        let (parts, body) = request.into_parts();
        let client = Network::of_client(self.client_ip.find(&parts));
        RateLimitFuture::new(async move {
            let limited = limits.take(class, client).await;
            let mut response = if limited.standing.is_admitted {
                let request = Request::from_parts(parts, body);
                inner.call(request).await?.map(AuthBody::new)
            } else {
                let request_id = RequestId::of(&parts.headers);
                let refused = Err(Problem::RateLimited(limited.standing.next));
                respond(refused, &parts.method, &request_id)
            };
            show_limit(&mut response, &limited);
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, num::NonZeroU32};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use tower::{Layer, service_fn};

    use crate::{
        ClientIp, PeerAddr,
        rate_limit::{RateClass, RateLimits},
        testing::{Permit, request, send},
    };

    fn two_a_minute() -> RateLimits {
        let two = NonZeroU32::new(2).unwrap();
        RateLimits::per_minute(two, two)
    }

    fn from(peer: &str) -> Request<Full<Bytes>> {
        let mut request = request("GET", "/search");
        let peer = PeerAddr(format!("{peer}:1").parse().unwrap());
        request.extensions_mut().insert(peer);
        request
    }

    #[tokio::test]
    async fn a_hosts_own_routes_take_from_the_same_budgets() {
        let limits = two_a_minute();
        let host = service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new("found".to_owned()))
        });
        let first = limits.layer(RateClass::Auth, ClientIp::peer()).layer(host);
        let second = limits.layer(RateClass::Auth, ClientIp::peer()).layer(host);
        let other = limits
            .layer(RateClass::Default, ClientIp::peer())
            .layer(host);
        let answer = send(first.clone(), from("192.0.2.1")).await;
        assert_eq!(answer.headers["ratelimit-policy"], "\"auth\";q=2;w=60");
        assert_eq!(answer.headers["ratelimit"], "\"auth\";r=1;t=30");
        assert_eq!(send(second, from("192.0.2.1")).await.status, 200);
        let answer = send(first.clone(), from("192.0.2.1")).await;
        assert_eq!((answer.status, answer.code()), (429, "rate_limited"));
        assert_eq!(answer.headers["ratelimit"], "\"auth\";r=0;t=30");
        assert_eq!(answer.headers["retry-after"], "30");
        assert_eq!(send(first, from("192.0.2.2")).await.status, 200);
        assert_eq!(send(other, from("192.0.2.1")).await.status, 200);
    }

    #[tokio::test]
    async fn the_service_that_was_ready_is_the_one_that_is_called() {
        let layer = two_a_minute().layer(RateClass::Default, ClientIp::none());
        let service = layer.layer(Permit::default());
        assert_eq!(send(service, request("GET", "/search")).await.status, 200);
    }
}
