use auth_core::Error;
use tracing::Instrument;

use crate::respond::Problem;

/// Why work did not come to its end. The message of a panic may hold what it was about: it is left to the panic hook.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the handler panicked")]
    Panicked,
    #[error("the runtime stopped before the handler was done")]
    ShutDown,
}

/// Runs work in a task of its own: when the client hangs up, the caller of this is dropped and the work is not, so that nothing is done
/// by halves. A panic ends the work, and only the work.
pub(crate) async fn run_to_end<W, T>(work: W) -> Result<T, Problem>
where
    W: Future<Output = Result<T, Problem>> + Send + 'static,
    T: Send + 'static,
{
    match tokio::spawn(work.in_current_span()).await {
        Ok(outcome) => outcome,
        Err(stopped) if stopped.is_panic() => {
            Err(Error::Internal(Box::new(Stopped::Panicked)).into())
        }
        Err(_) => Err(Error::Unavailable(Box::new(Stopped::ShutDown)).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth_core::Error;
    use tokio::sync::oneshot;

    use super::run_to_end;
    use crate::respond::Problem;

    #[tokio::test]
    async fn work_goes_on_when_its_caller_is_gone() {
        let (go_on, wait) = oneshot::channel();
        let (done, was_done) = oneshot::channel();
        let mut caller = Box::pin(run_to_end(async move {
            let _: Result<(), _> = wait.await;
            let _ = done.send(());
            Ok(())
        }));
        // One poll starts the work; it waits for us, so the caller is not done.
        assert!(
            tokio::time::timeout(Duration::ZERO, &mut caller)
                .await
                .is_err()
        );
        drop(caller);
        go_on.send(()).unwrap();
        was_done.await.expect("the work came to its end");
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let outcome = run_to_end::<_, ()>(async { panic!("on purpose") }).await;
        assert!(matches!(outcome, Err(Problem::Core(Error::Internal(_)))));
    }
}
