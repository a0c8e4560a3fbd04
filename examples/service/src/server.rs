//! Serves over hyper: with a time limit for headers and bodies, a bound on connections and a deadline for the shutdown, none of which `axum::serve` has.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use auth_core::types::Network;
use auth_tower::{PeerAddr, TrustedProxies};
use axum::body::{Body, Bytes, HttpBody};
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{Semaphore, watch},
    time::{Sleep, sleep, timeout},
};
use tower::{Service, ServiceExt};

use crate::BoxError;

/// From the first byte of a request, or the end of the one before, to the end of its headers.
const HEADERS: Duration = Duration::from_secs(15);
/// From the end of the headers to the end of the body, which is small here.
const BODY: Duration = Duration::from_secs(30);
/// For requests under way when the service is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// After that, how long a connection may go without a request under way: half a head is none.
const QUIET: Duration = Duration::from_secs(1);
/// How long a client may take nothing of an answer that is ready for it.
const WRITE: Duration = Duration::from_secs(30);

/// How many connections there may be; further clients wait in the kernel's queue.
pub(crate) struct Places {
    all: usize,
    /// Of one client (an IPv6 /64 is one), so that four of them are needed to take every place. Proxies have many clients, and are not counted.
    of_one: usize,
}

impl Places {
    pub(crate) const OF_CLIENTS: Self = Self {
        all: 1024,
        of_one: 256,
    };
    pub(crate) const OF_SCRAPERS: Self = Self { all: 16, of_one: 4 };
}

/// What answers every request, cloned for each of them.
pub(crate) trait App:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> App for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Serves until `shutdown` is ready, then finishes what is under way. `false` when the deadline cut something off.
pub(crate) async fn serve(
    listener: TcpListener,
    app: impl App,
    places: Places,
    proxies: &TrustedProxies,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let mut shutdown = pin!(shutdown);
    let graceful = GracefulShutdown::new();
    let (stop, stopped) = watch::channel(());
    let peers = Peers::new(places.of_one);
    let places = Arc::new(Semaphore::new(places.all));
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
        let seat = if proxies.contains(peer.ip()) {
            None
        } else {
            let Some(seat) = peers.seat(peer.ip()) else {
                tracing::debug!(%peer, "a connection too many of one client is closed");
                continue;
            };
            Some(seat)
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
            .serve_connection(TokioIo::new(WriteInTime::new(stream)), service);
        let connection = graceful.watch(connection);
        let stopped = stopped.clone();
        tokio::spawn(async move {
            let (_place, _seat) = (place, seat);
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

/// How many connections each client has.
#[derive(Clone)]
struct Peers {
    most: usize,
    seats: Arc<Mutex<HashMap<Network, usize>>>,
}

impl Peers {
    fn new(most: usize) -> Self {
        Self {
            most,
            seats: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more for that client, if it has not too many.
    fn seat(&self, ip: IpAddr) -> Option<Seat> {
        let client = Network::of_client(Some(ip));
        let mut seats = self.lock();
        let taken = seats.entry(client).or_default();
        if *taken >= self.most {
            return None;
        }
        *taken += 1;
        Some(Seat {
            peers: self.clone(),
            client,
        })
    }
}

/// One connection of a client.
struct Seat {
    peers: Peers,
    client: Network,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.peers.lock();
        if let Some(taken) = seats.get_mut(&self.client) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.client);
            }
        }
    }
}

/// A connection that breaks when its client takes nothing for too long: hyper would wait for ever.
struct WriteInTime<S> {
    stream: S,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteInTime<S> {
    const fn new(stream: S) -> Self {
        Self {
            stream,
            stalled: None,
        }
    }

    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteInTime<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteInTime<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    app: impl App,
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

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr};

    use tokio::{io::AsyncWriteExt, time::Instant};

    use super::{Peers, Places, WRITE, WriteInTime};

    #[test]
    fn one_client_cannot_take_every_place() {
        let most = Places::OF_CLIENTS.of_one;
        let peers = Peers::new(most);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut seats: Vec<_> = (0..most)
            .map(|n| peers.seat(ip(&format!("2001:db8::{n:x}"))).unwrap())
            .collect();
        assert!(peers.seat(ip("2001:db8::ffff")).is_none());
        assert!(peers.seat(ip("2001:db8:0:1::1")).is_some());
        seats.pop();
        assert!(peers.seat(ip("2001:db8::ffff")).is_some());
        drop(seats);
        assert!(peers.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut ours = WriteInTime::new(ours);
        ours.write_all(b"12345678").await.unwrap();
        let stalled = Instant::now();
        let error = ours.write_all(b"9").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(stalled.elapsed(), WRITE);
    }
}
