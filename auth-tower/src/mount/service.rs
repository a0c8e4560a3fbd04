use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::MountFuture;
use crate::{
    body::{AuthBody, BoxError},
    router::{AuthFuture, Dispatch},
};

/// A host's service with the endpoints before it.
#[derive(Clone)]
pub struct Mount<S> {
    dispatch: Arc<Dispatch>,
    inner: S,
}

impl<S> Mount<S> {
    pub(super) const fn new(dispatch: Arc<Dispatch>, inner: S) -> Self {
        Self { dispatch, inner }
    }
}

impl<S: fmt::Debug> fmt::Debug for Mount<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for Mount<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<AuthBody>;
    type Error = S::Error;
    type Future = MountFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(hit) = self.dispatch.paths.find(request.uri().path()) else {
            // Called at once, so it is the one that was ready.
            return MountFuture::inner(self.inner.call(request));
        };
        // Whatever the inner service reserved to become ready (a permit, a slot) is not used by us: a clone has reserved nothing.
        let unready = self.inner.clone();
        self.inner = unready;
        let dispatch = Arc::clone(&self.dispatch);
        MountFuture::ours(AuthFuture::new(async move {
            dispatch.answer(Some(hit), request).await
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http::{Request, Response};
    use http_body::{Body, Frame};
    use tower::{Layer, Service, ServiceExt, service_fn};

    use super::Mount;
    use crate::{
        AuthService,
        testing::{Host, Permit, send},
    };

    /// A body type that only the host knows.
    struct OwnBody(String);

    impl Body for OwnBody {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }
    }

    async fn host(request: Request<OwnBody>) -> Result<Response<String>, Infallible> {
        let said = (
            request.method().as_str(),
            request.uri().path(),
            &request.body().0,
            request.extensions().get::<u8>(),
        );
        let mut response = Response::new(format!("{said:?}"));
        response.headers_mut().insert("x-host", 1.into());
        Ok(response)
    }

    fn request(path: &str) -> Request<OwnBody> {
        Request::builder()
            .method("PUT")
            .uri(path)
            .extension(7_u8)
            .body(OwnBody("own".to_owned()))
            .unwrap()
    }

    #[test]
    fn routers_can_hold_it() {
        fn held<T: Clone + Send + Sync + 'static>() {}
        held::<AuthService>();
        held::<Mount<AuthService>>();
    }

    #[tokio::test]
    async fn what_is_not_ours_goes_to_the_host_untouched() {
        let service = Host::start().router().into_layer().layer(service_fn(host));
        for path in ["/", "/reports", "/auth/login/", "/auth", "*"] {
            let answer = send(service.clone(), request(path)).await;
            let said = format!(r#"("PUT", "{path}", "own", Some(7))"#);
            assert_eq!((answer.status, &answer.bytes[..]), (200, said.as_bytes()));
            assert_eq!(answer.headers.len(), 1, "added: {:?}", answer.headers);
        }
    }

    #[tokio::test]
    async fn what_is_ours_never_reaches_the_host() {
        let service = Host::start().router().into_layer().layer(service_fn(host));
        let answer = send(service, request("/auth/login")).await;
        assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    }

    #[tokio::test]
    async fn an_answer_of_ours_keeps_no_permit_of_the_host() {
        let mut service = Host::start().router().into_layer().layer(Permit::default());
        let service = ServiceExt::<Request<OwnBody>>::ready(&mut service)
            .await
            .unwrap();
        let _ = service.call(request("/health")).await;
        assert!(!service.inner.is_held);
        let service = ServiceExt::<Request<OwnBody>>::ready(service)
            .await
            .unwrap();
        assert!(service.call(request("/own")).await.is_ok());
    }

    #[tokio::test]
    async fn the_layer_is_ready_when_the_host_is() {
        let full = Permit {
            is_full: true,
            ..Permit::default()
        };
        let mut service = Host::start().router().into_layer().layer(full);
        let ready = ServiceExt::<Request<OwnBody>>::ready(&mut service);
        assert!(ready.now_or_never().is_none());
    }
}
