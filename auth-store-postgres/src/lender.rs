//! Connections of the pool, and their way back.
//!
//! On that way sqlx 0.9.0 tests each of them, which costs a round trip and cannot be switched off. So where others wait for a connection, it goes from hand
//! to hand.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::Histogram;
use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::meters;

/// How often a connection goes from hand to hand before the pool sees it again, and ends one that is too old.
const MOST_HANDS: u32 = 1000;

pub(crate) struct Lender {
    pub(crate) pool: PgPool,
    /// None on a pool of the host, whose own waiters would be passed over.
    turns: Option<Arc<Turns>>,
    waits: Histogram,
}

/// Whose turn it is: as many as the pool has connections.
struct Turns {
    permits: Semaphore,
    queue: Mutex<Queue>,
}

/// No more are handed on than are waited for.
#[derive(Default)]
struct Queue {
    waiting: usize,
    handed: Vec<Handed>,
}

struct Handed {
    connection: PoolConnection<Postgres>,
    hands: u32,
}

/// One connection, until it is dropped: it goes on only when nothing of the unit of work is left on it, and is closed otherwise.
pub(crate) struct Checkout<'a> {
    lender: &'a Lender,
    /// Taken by the drop alone.
    held: Option<Handed>,
    pub(crate) is_clean: bool,
    /// Given up last: whoever has it next finds the connection.
    _permit: Option<SemaphorePermit<'a>>,
}

impl Lender {
    /// Of a pool that nobody else uses.
    pub(crate) fn of_own(pool: PgPool) -> Self {
        let most = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX);
        Self {
            pool,
            turns: Some(Arc::new(Turns {
                permits: Semaphore::new(most.min(Semaphore::MAX_PERMITS)),
                queue: Mutex::default(),
            })),
            waits: meters::waits(),
        }
    }

    /// Of a pool that the host may use as well.
    pub(crate) fn of_host(pool: PgPool) -> Self {
        Self {
            pool,
            turns: None,
            waits: meters::waits(),
        }
    }

    /// Lends the same connections in the same turns.
    pub(crate) fn unmetered(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            turns: self.turns.clone(),
            waits: Histogram::noop(),
        }
    }

    pub(crate) const fn owns_pool(&self) -> bool {
        self.turns.is_some()
    }

    /// How long the pool lets one wait for a connection.
    pub(crate) fn patience(&self) -> Duration {
        self.pool.options().get_acquire_timeout()
    }

    /// Somebody has waited since then for what a connection is needed for.
    pub(crate) fn waited(&self, since: Instant) {
        self.waits.record(since.elapsed());
    }

    /// Waits for a connection, as long as the pool lets one wait.
    pub(crate) async fn checkout(&self) -> sqlx::Result<Checkout<'_>> {
        let began = Instant::now();
        let checkout = tokio::time::timeout(self.patience(), self.next()).await;
        self.waited(began);
        checkout.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn next(&self) -> sqlx::Result<Checkout<'_>> {
        let (mut permit, mut handed) = (None, None);
        if let Some(turns) = &self.turns {
            let waiter = Waiter::new(turns);
            permit = Some(
                turns
                    .permits
                    .acquire()
                    .await
                    .map_err(|_| sqlx::Error::PoolClosed)?,
            );
            handed = waiter.take();
        }
        let held = match handed {
            Some(handed) => handed,
            None => Handed {
                // Its future has room for opening a connection, and this one is moved about at every call.
                connection: Box::pin(self.pool.acquire()).await?,
                hands: 0,
            },
        };
        Ok(Checkout {
            lender: self,
            held: Some(held),
            is_clean: false,
            _permit: permit,
        })
    }
}

impl Turns {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checkout<'_> {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        match &mut self.held {
            Some(held) => &mut held.connection,
            None => unreachable!("it is there until the drop"),
        }
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        if !self.is_clean {
            held.connection.close_on_drop();
            return;
        }
        held.hands += 1;
        if let Some(turns) = &self.lender.turns
            && held.hands < MOST_HANDS
            && !self.lender.pool.is_closed()
        {
            let mut queue = turns.queue();
            if queue.handed.len() < queue.waiting {
                queue.handed.push(held);
            }
        }
    }
}

/// Somebody who waits for a turn.
struct Waiter<'a> {
    turns: &'a Turns,
}

impl<'a> Waiter<'a> {
    fn new(turns: &'a Turns) -> Self {
        turns.queue().waiting += 1;
        Self { turns }
    }

    /// The turn has come.
    fn take(self) -> Option<Handed> {
        self.turns.queue().handed.pop()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        queue.waiting -= 1;
        // Whoever gave up may have been the one that it was for.
        let left = if queue.handed.len() > queue.waiting {
            queue.handed.pop()
        } else {
            None
        };
        drop(queue);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use auth_tests::postgres;
    use futures_util::FutureExt;
    use sqlx::postgres::PgPoolOptions;

    use super::Lender;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_gives_up_leaves_the_connection_to_others() {
        let database = postgres::database().await;
        let pool = PgPoolOptions::new().max_connections(1);
        let lender = Lender::of_own(pool.connect_lazy(&database.url).unwrap());
        let handed = || lender.turns.as_ref().unwrap().queue().handed.len();

        let mut first = lender.checkout().await.unwrap();
        first.is_clean = true;
        {
            let mut waiter = pin!(lender.next());
            assert!(waiter.as_mut().now_or_never().is_none());
            drop(first);
            assert_eq!(handed(), 1);
            // It never looks.
        }
        assert_eq!(handed(), 0);
        let mut second = lender.checkout().await.unwrap();
        second.is_clean = true;

        let mut waiter = pin!(lender.next());
        assert!(waiter.as_mut().now_or_never().is_none());
        drop(second);
        let mut third = waiter.await.unwrap();
        assert_eq!(third.held.as_ref().unwrap().hands, 1);
        assert_eq!(handed(), 0);

        // What is left in the middle of something is nobody's.
        third.is_clean = false;
        let mut waiter = pin!(lender.next());
        assert!(waiter.as_mut().now_or_never().is_none());
        drop(third);
        assert_eq!(handed(), 0);
        let fourth = waiter.await.unwrap();
        assert_eq!(fourth.held.as_ref().unwrap().hands, 0);
        drop(fourth);
        lender.pool.close().await;
    }
}
