//! Serves over hyper: with a time limit for headers, a bound on connections and a deadline for the shutdown, none of which `axum::serve` has.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use auth_tower::PeerAddr;
use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tower::ServiceExt;

/// From the first byte of a request, or the end of the one before, to the end of its headers.
const HEADERS: Duration = Duration::from_secs(15);
/// For requests under way when the service is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Further clients wait in the kernel's queue.
const CONNECTIONS: usize = 1024;

/// Serves until `shutdown` is ready, then finishes what is under way. `false` when the deadline cut something off.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let mut shutdown = pin!(shutdown);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let app = app.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            answer(app.clone(), request, PeerAddr(peer))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection ended early");
            }
        });
    }
    drop(listener);
    timeout(DRAIN, graceful.shutdown()).await.is_ok()
}

async fn answer(
    app: Router,
    request: Request<Incoming>,
    peer: PeerAddr,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    app.oneshot(request).await
}

/// Out of file descriptors, say: accepting again at once would spin.
async fn pause_after(error: &io::Error) {
    if !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "no connection can be accepted"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
