use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::{
    body::{AuthBody, BoxError},
    router::AuthFuture,
};

pin_project! {
    /// An answer of ours or of the host's service.
    #[must_use = "futures do nothing unless polled"]
    pub struct MountFuture<F> {
        #[pin]
        answer: Answer<F>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Inner { #[pin] future: F },
        Ours { future: AuthFuture },
    }
}

impl<F> MountFuture<F> {
    pub(super) const fn inner(future: F) -> Self {
        Self {
            answer: Answer::Inner { future },
        }
    }

    pub(super) const fn ours(future: AuthFuture) -> Self {
        Self {
            answer: Answer::Ours { future },
        }
    }
}

impl<F> fmt::Debug for MountFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MountFuture(..)")
    }
}

impl<F, R, E> Future for MountFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<AuthBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            AnswerProjection::Inner { future } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(response.map(AuthBody::new)))
            }
            AnswerProjection::Ours { future } => future.poll_answer(cx).map(Ok),
        }
    }
}
