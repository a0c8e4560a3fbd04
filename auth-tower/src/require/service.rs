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
