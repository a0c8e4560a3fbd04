use std::panic::AssertUnwindSafe;

use auth_core::{Error, to_its_end};
use futures_util::FutureExt;

use crate::respond::Problem;

/// The message of a panic may hold what it was about: it is left to the panic hook.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked")]
struct Panicked;

/// Does work that a client who hangs up does not cut in half. A panic ends the work, and only the work.
pub(crate) async fn run_to_end<W, T>(work: W) -> Result<T, Problem>
where
    W: Future<Output = Result<T, Problem>> + Send + 'static,
    T: Send + 'static,
{
    AssertUnwindSafe(to_its_end(work))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Error::Internal(Panicked.into()).into()))
}

#[cfg(test)]
mod tests {
    use auth_core::Error;

    use super::run_to_end;
    use crate::respond::Problem;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let outcome = run_to_end::<_, ()>(async { panic!("on purpose") }).await;
        assert!(matches!(outcome, Err(Problem::Core(Error::Internal(_)))));
    }
}
