use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tracing::{Instrument, Span};

/// Does work that nobody cuts in half: when whoever awaits it is gone, it goes on in a task of its own.
///
/// A client that hangs up drops the future of its request at some await, and with it all that was left to do. Stores and handlers wrap in this what must
/// be done whole once it has begun. As long as it is awaited it runs in place, which spares a task and its switches. What has not begun does not begin.
///
/// It goes on only while it is polled, as every future: who holds it and looks elsewhere holds up the work.
///
/// # Panics
/// Outside of a runtime of tokio, and when the work does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
///
/// let (go_on, wait) = tokio::sync::oneshot::channel();
/// let (done, was_done) = tokio::sync::oneshot::channel();
/// let work = auth_core::to_its_end(async {
///     let _: Result<(), _> = wait.await;
///     let _ = done.send("whole");
/// });
/// let given_up = tokio::time::timeout(Duration::from_millis(1), work).await;
/// assert!(given_up.is_err());
/// let _ = go_on.send(());
/// assert_eq!(was_done.await, Ok("whole"));
/// # }
/// ```
pub fn to_its_end<W>(work: W) -> impl Future<Output = W::Output> + Send
where
    W: Future<Output: Send> + Send + 'static,
{
    ToItsEnd {
        work: Some(Box::pin(work)),
        begun: None,
    }
}

struct ToItsEnd<W: Future<Output: Send> + Send + 'static> {
    /// Not there while it is polled: what panics is not polled again.
    work: Option<Pin<Box<W>>>,
    /// Where it began, and so where it goes on.
    begun: Option<(Handle, Span)>,
}

impl<W: Future<Output: Send> + Send + 'static> Future for ToItsEnd<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        self.begun
            .get_or_insert_with(|| (Handle::current(), Span::current()));
        let Some(mut work) = self.work.take() else {
            unreachable!("polled after its end");
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<W: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<W> {
    fn drop(&mut self) {
        if let (Some(work), Some((runtime, span))) = (self.work.take(), self.begun.take()) {
            runtime.spawn(work.instrument(span));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, poll_fn},
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::Poll,
        thread,
        time::Duration,
    };

    use tokio::{
        runtime::Runtime,
        sync::oneshot::{self, Receiver, Sender},
        task::yield_now,
        time::timeout,
    };

    use super::to_its_end;

    /// Work that waits for us, and tells when it is done.
    fn work() -> (
        Sender<()>,
        impl Future<Output = ()> + Send + Unpin,
        Receiver<()>,
    ) {
        let (go_on, wait) = oneshot::channel();
        let (done, was_done) = oneshot::channel();
        let work = to_its_end(async move {
            let _: Result<(), _> = wait.await;
            let _ = done.send(());
        });
        (go_on, Box::pin(work), was_done)
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_is_gone() {
        let (go_on, work, was_done) = work();
        assert!(timeout(Duration::ZERO, work).await.is_err());
        go_on.send(()).unwrap();
        was_done.await.expect("the work came to its end");
    }

    #[test]
    fn it_goes_on_where_it_began() {
        let runtime = Runtime::new().unwrap();
        let (go_on, mut work, was_done) = work();
        let given_up = runtime.block_on(async { timeout(Duration::ZERO, &mut work).await });
        assert!(given_up.is_err());
        // On a thread that knows of no runtime.
        thread::spawn(move || drop(work)).join().unwrap();
        go_on.send(()).unwrap();
        runtime
            .block_on(was_done)
            .expect("the work came to its end");
    }

    #[tokio::test]
    async fn what_has_not_begun_does_not_begin() {
        let (go_on, work, was_done) = work();
        drop(work);
        assert!(go_on.send(()).is_err());
        assert!(was_done.await.is_err());
    }

    #[tokio::test]
    async fn what_panics_is_not_done_again() {
        let polls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&polls);
        let work = to_its_end(poll_fn(move |cx| -> Poll<()> {
            cx.waker().wake_by_ref();
            assert_eq!(counted.fetch_add(1, Ordering::Relaxed), 0, "on purpose");
            Poll::Pending
        }));
        let panicked = tokio::spawn(work).await.unwrap_err();
        assert!(panicked.is_panic());
        yield_now().await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}
