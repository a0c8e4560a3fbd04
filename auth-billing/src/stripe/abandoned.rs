use std::{pin::pin, time::Duration};

use auth_core::{Error, ports::PaymentProviderError};
use tokio::time::sleep;

use super::keys;
use crate::Billing;

/// From one round to the next; twice as long after each that failed, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);
/// The most subscriptions of a round.
const LIMIT: u32 = 500;

/// What became of subscriptions whose users are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// They have ended.
    pub ended: u32,
    /// The provider did not end them: they are tried again.
    pub left: u32,
}

impl Billing {
    /// Ends, at the provider, the subscriptions of users who are gone. A subscription is one of these from the commit on that deletes the account, and until
    /// its end is known: none is lost by a provider that fails, or by a process that dies.
    ///
    /// # Errors
    /// [`Error::PaymentsNotConfigured`]; those of the store. What the provider did not do is no error, and is counted.
    pub async fn cancel_abandoned(&self) -> Result<Abandoned, Error> {
        let provider = self.selling()?.port()?;
        let mut all = self.store.abandoned_subscriptions(LIMIT).await?.into_iter();
        let mut counted = Abandoned::default();
        for id in all.by_ref() {
            let key = keys::of_moment("abandoned", self.auth.random())?;
            match provider.cancel_now(&id, &key).await {
                Ok(Some(state)) if !state.has_ended() => counted.left += 1,
                // One that the provider does not know any more has ended, too.
                Ok(_) => {
                    self.has_ended(id, None, self.auth.now()).await?;
                    counted.ended += 1;
                }
                Err(error) => {
                    tracing::warn!(
                        subscription = id.as_str(),
                        error = crate::stripe::chain(&error),
                        "the subscription of a user who is gone is not cancelled yet"
                    );
                    counted.left += 1;
                    if matches!(error, PaymentProviderError::Unavailable(_)) {
                        break;
                    }
                }
            }
        }
        // What was not tried, as what failed, is left.
        counted.left = counted
            .left
            .saturating_add(u32::try_from(all.len()).unwrap_or(u32::MAX));
        Ok(counted)
    }

    /// Does [`cancel_abandoned`](Self::cancel_abandoned) once a minute, less often while it fails, until `shutdown` is ready. Several processes may run it.
    ///
    /// A call that is under way then is dropped: whether it had its effect does not matter, because it is made again after the next start.
    pub async fn run_workers(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        if self.selling().and_then(|stripe| stripe.port()).is_err() {
            return shutdown.await;
        }
        let mut pause = PAUSE;
        loop {
            let round = async {
                let outcome = self.cancel_abandoned().await;
                pause = match &outcome {
                    Ok(counted) if counted.left == 0 => PAUSE,
                    _ => (2 * pause).min(LONGEST_PAUSE),
                };
                if let Err(error) = outcome {
                    tracing::error!(
                        error = crate::stripe::chain(&error),
                        "the subscriptions of users who are gone are not looked at"
                    );
                }
                sleep(pause).await;
            };
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = round => {}
            }
        }
    }
}
