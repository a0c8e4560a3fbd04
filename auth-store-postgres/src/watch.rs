//! News of mails from other processes and from transactions of a host.

use auth_core::ports::StoreError;
use sqlx::postgres::{PgListener, PgPoolOptions};

use crate::{PgScope, PgStore, classify::classify};

/// The trigger `outbox_queued` tells it when a mail is committed.
const CHANNEL: &str = "auth_outbox";

impl PgStore {
    /// Listens on a connection of its own: one out of the pool would be missing there, and a host's pool may have no more than one.
    pub(crate) async fn watch(&self, wake: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with((*self.lender.pool.connect_options()).clone());
        let mut listener = PgListener::connect_with(&pool).await.map_err(classify)?;
        listener.listen(CHANNEL).await.map_err(classify)?;
        loop {
            // Also after a connection that was lost and is back: who knows what was said meanwhile.
            wake();
            listener.try_recv().await.map_err(classify)?;
        }
    }
}

impl PgScope {
    /// What others commit is none of the host's transaction.
    #[allow(clippy::unused_self, clippy::unused_async)] // as the store has it
    pub(crate) async fn watch(&self, _: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
        Ok(())
    }
}
