use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::dispatch::Dispatch;
use crate::body::{AuthBody, BoxError};

/// The endpoints as a service of its own; [`AuthRouter::into_service`](crate::AuthRouter::into_service) makes it. Cheap to clone, always ready.
#[derive(Clone)]
pub struct AuthService {
    dispatch: Arc<Dispatch>,
}

impl AuthService {
    pub(super) const fn new(dispatch: Arc<Dispatch>) -> Self {
        Self { dispatch }
    }
}

impl fmt::Debug for AuthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthService(..)")
    }
}

impl<B> Service<Request<B>> for AuthService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<AuthBody>;
    type Error = Infallible;
    type Future = AuthFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> AuthFuture {
        let dispatch = Arc::clone(&self.dispatch);
        let hit = dispatch.paths.find(request.uri().path());
        AuthFuture::new(async move { dispatch.answer(hit, request).await })
    }
}

/// An answer of ours that is on its way.
#[must_use = "futures do nothing unless polled"]
pub struct AuthFuture(Pin<Box<dyn Future<Output = Response<AuthBody>> + Send>>);

impl AuthFuture {
    pub(crate) fn new(answer: impl Future<Output = Response<AuthBody>> + Send + 'static) -> Self {
        Self(Box::pin(answer))
    }

    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Response<AuthBody>> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for AuthFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthFuture(..)")
    }
}

impl Future for AuthFuture {
    type Output = Result<Response<AuthBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_answer(cx).map(Ok)
    }
}
