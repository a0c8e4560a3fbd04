use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;

use crate::body::AuthBody;

/// An answer of the host's service, or of the limit before it.
#[must_use = "futures do nothing unless polled"]
pub struct RateLimitFuture<E>(Pin<Box<dyn Future<Output = Result<Response<AuthBody>, E>> + Send>>);

impl<E> RateLimitFuture<E> {
    pub(super) fn new(
        answer: impl Future<Output = Result<Response<AuthBody>, E>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(answer))
    }
}

impl<E> fmt::Debug for RateLimitFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RateLimitFuture(..)")
    }
}

impl<E> Future for RateLimitFuture<E> {
    type Output = Result<Response<AuthBody>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}
