//! Serves over hyper: with a time limit for headers and bodies, a bound on connections and a deadline for the shutdown, none of which `axum::serve` has.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use auth_tower::PeerAddr;
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::{Sleep, sleep, timeout},
};
use tower::ServiceExt;

use crate::BoxError;

/// From the first byte of a request, or the end of the one before, to the end of its headers.
const HEADERS: Duration = Duration::from_secs(15);
/// From the end of the headers to the end of the body, which is small here.
const BODY: Duration = Duration::from_secs(30);
/// For requests under way when the service is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// After that, how long a connection may go without a request under way: half a head is none.
const QUIET: Duration = Duration::from_secs(1);
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
    let (stop, stopped) = watch::channel(());
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
        let (under_way, requests) = watch::channel(0_usize);
        let service = service_fn(move |request: Request<Incoming>| {
            let under_way = UnderWay::new(&under_way);
            answer(app.clone(), request, PeerAddr(peer), under_way)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        let stopped = stopped.clone();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                biased;
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a connection ended early");
                },
                () = quiet_after(stopped, requests) => {}
            }
        });
    }
    drop((listener, stop));
    timeout(DRAIN, graceful.shutdown()).await.is_ok()
}

/// Ready when nothing more is asked on a connection after the stop. hyper ends a connection without any byte of a request by itself.
async fn quiet_after(mut stopped: watch::Receiver<()>, mut requests: watch::Receiver<usize>) {
    let _ = stopped.changed().await;
    loop {
        if requests.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        // An answer that was made may still be on its way out.
        let next = requests.wait_for(|count| *count > 0);
        if timeout(QUIET, next).await.is_err() {
            return;
        }
    }
}

/// A request, from its last header to the end of its answer.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn new(requests: &watch::Sender<usize>) -> Self {
        requests.send_modify(|count| *count += 1);
        Self(requests.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A body that ends with an error when it does not come to its end in time.
struct InTime {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl InTime {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            deadline: Box::pin(sleep(BODY)),
        }
    }
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err("the body took too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn answer(
    app: Router,
    request: Request<Incoming>,
    peer: PeerAddr,
    under_way: UnderWay,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(|body| Body::new(InTime::new(body)));
    request.extensions_mut().insert(peer);
    let answer = app.oneshot(request).await?;
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &under_way;
            frame
        }))
    }))
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
        sleep(Duration::from_secs(1)).await;
    }
}
