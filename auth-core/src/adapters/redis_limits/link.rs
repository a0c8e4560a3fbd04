use std::{
    error::Error as StdError,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, RedisError, ScriptInvocation,
    aio::MultiplexedConnection,
};
use tokio::time::{Instant, timeout};

use crate::meters;

/// For an answer. A server in the same network needs a thousandth of it.
const ANSWER: Duration = Duration::from_millis(250);
/// For a connection, which no request waits for.
const CONNECT: Duration = Duration::from_secs(2);
/// Between two looks for a server that is away.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The way to the server. It breaks at the first fault, so that no second request waits for it, and somebody looks for the server again while the others go
/// without.
pub(super) struct Link {
    client: Client,
    state: Mutex<State>,
}

struct State {
    /// With its number, by which a late fault is told from one of the next connection.
    connection: Option<(u64, MultiplexedConnection)>,
    connections: u64,
    is_alarmed: bool,
    is_looking: bool,
    next_look: Instant,
}

/// Why nothing was heard.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("Redis refused or hung up")]
    Redis(#[from] RedisError),
    #[error("Redis does not answer in time")]
    Silent,
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            state: Mutex::new(State {
                connection: None,
                connections: 0,
                is_alarmed: false,
                is_looking: false,
                next_look: Instant::now(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a script says, or nothing when the server is away.
    pub(super) async fn ask<T: FromRedisValue>(
        self: &Arc<Self>,
        script: &ScriptInvocation<'_>,
    ) -> Option<T> {
        let connection = self.lock().connection.clone();
        let Some((number, mut connection)) = connection else {
            self.look_again();
            return None;
        };
        let fault = match timeout(ANSWER, script.invoke_async(&mut connection)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => Fault::Redis(error),
            Err(_) => Fault::Silent,
        };
        let mut state = self.lock();
        if matches!(state.connection, Some((current, _)) if current == number) {
            state.miss(&fault);
        }
        None
    }

    /// Looks for the server, and tells what came of it.
    pub(super) async fn look(&self) {
        let found = timeout(CONNECT, self.connect()).await;
        let mut state = self.lock();
        state.is_looking = false;
        match found {
            Ok(Ok(connection)) => state.found(connection),
            Ok(Err(error)) => state.miss(&Fault::Redis(error)),
            Err(_) => state.miss(&Fault::Silent),
        }
    }

    /// In a task of its own, which ends by itself.
    fn look_again(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.is_looking || Instant::now() < state.next_look {
            return;
        }
        state.is_looking = true;
        drop(state);
        let link = Arc::clone(self);
        tokio::spawn(async move { link.look().await });
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        // The limits on time are ours.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        // Whoever wants a password says so to the first question only.
        let _: () = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(connection)
    }
}

impl State {
    fn found(&mut self, connection: MultiplexedConnection) {
        self.connections += 1;
        self.connection = Some((self.connections, connection));
        meters::redis_is_up(true);
        if self.is_alarmed {
            self.is_alarmed = false;
            tracing::info!("limits are shared by Redis again");
        }
    }

    /// Told once an outage.
    fn miss(&mut self, fault: &Fault) {
        self.connection = None;
        meters::redis_is_up(false);
        self.next_look = Instant::now() + LOOK_AGAIN;
        if !self.is_alarmed {
            self.is_alarmed = true;
            tracing::error!(
                error = fault as &dyn StdError,
                "limits are those of this process alone until Redis answers"
            );
        }
    }
}
