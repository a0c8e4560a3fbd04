//! What runs in the background, when a host asks for it: three tasks, none of which can stall or take down another.

use std::{pin::pin, time::Duration as StdDuration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{auth::Auth, mail::Role, sweep::Sweep};

/// The pause after a first death; each further one in a row doubles it.
const PAUSE: StdDuration = StdDuration::from_secs(5);
const LONGEST_PAUSE: StdDuration = StdDuration::from_mins(5);

/// Before the first sweep, at the most: replicas that start together do not sweep together.
const FIRST_SWEEP: StdDuration = StdDuration::from_secs(10);
/// From one sweep to the next, up to a half longer.
const SWEEP: StdDuration = StdDuration::from_mins(10);
/// The most steps of a round: rests let others at the store.
const STEPS: u32 = 100;
/// Between two rounds of one sweep.
const REST: StdDuration = StdDuration::from_secs(1);
/// After which a watch is begun anew: on a connection that ended without a word it would hear of nothing for ever.
const WATCH: StdDuration = StdDuration::from_mins(10);
/// How long an account that is held is passed over.
const PASSED_OVER: StdDuration = StdDuration::from_hours(24);

/// Is changed, or closed, when the work is to end.
pub(crate) type Stopped = watch::Receiver<()>;

impl Auth {
    /// Sends queued mails and sweeps what time has ended, until `shutdown` is ready and the mails in hand are done.
    ///
    /// Nothing runs in the background unless the host runs this. Several workers, in one process or in many, share the work. One that dies, by a bug in a
    /// store or a mailer, is followed by another, after a pause that grows; [`mail_workers`](Self::mail_workers) tells how they are.
    ///
    /// A mail is sent by one worker and once. It is sent again, with the same id, when its worker died or lost the store between the server's answer and
    /// the moment when that was kept.
    pub async fn run_workers(&self, shutdown: impl Future<Output = ()>) {
        let duty = self.shared.duty.begin();
        let (stop, stopped) = watch::channel(());
        // In a set, so that they end with us when we are dropped.
        let mut tasks = JoinSet::new();
        for role in Role::ALL {
            tasks.spawn(self.clone().fill(role, stopped.clone()));
        }
        pin!(shutdown).await;
        drop(stop);
        while tasks.join_next().await.is_some() {}
        duty.end();
    }

    /// Has a role filled: who dies in it is followed by another.
    async fn fill(self, role: Role, mut stopped: Stopped) {
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            let mut task = JoinSet::new();
            match role {
                Role::Sender => task.spawn(self.clone().send_mails(stopped.clone())),
                Role::Sweeper => task.spawn(self.clone().keep_swept(stopped.clone())),
                Role::Watcher => task.spawn(self.clone().watch(stopped.clone())),
            };
            let Some(Err(death)) = task.join_next().await else {
                return;
            };
            self.shared.duty.owes_a_sign(role);
            self.shared.meters.restarted(role);
            if began.elapsed() > LONGEST_PAUSE {
                pause = PAUSE;
            }
            tracing::error!(
                error = &death as &dyn std::error::Error,
                ?role,
                ?pause,
                "a worker died; another one follows"
            );
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                () = sleep(pause) => {}
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn keep_swept(self, mut stopped: Stopped) {
        let duty = &self.shared.duty;
        let mut after = None;
        let mut begun = Instant::now();
        let mut rest = FIRST_SWEEP.mul_f64(self.chance());
        duty.owes_a_sign(Role::Sweeper);
        loop {
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                () = sleep(rest) => {}
            }
            if begun.elapsed() > PASSED_OVER {
                after = None;
                begun = Instant::now();
            }
            let mut sweep = Sweep::of(&self, after);
            let mut steps = 0..STEPS;
            let round = loop {
                if !matches!(stopped.has_changed(), Ok(false)) {
                    return;
                }
                if steps.next().is_none() {
                    break Ok(true);
                }
                let step = sweep.step(&*self.store).await;
                duty.is_alive(Role::Sweeper, StdDuration::ZERO);
                match step {
                    Ok(true) => {}
                    done => break done,
                }
            };
            after = sweep.after;
            let swept = sweep.swept;
            if swept.held > 0 {
                tracing::warn!(
                    ?swept,
                    "accounts that were never verified cannot be deleted: something of the host refers to them"
                );
            } else {
                tracing::debug!(?swept, "swept");
            }
            rest = match round {
                Ok(true) => REST,
                Ok(false) => SWEEP.mul_f64(1.0 + self.chance() / 2.0),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "sweeping failed");
                    SWEEP.mul_f64(1.0 + self.chance() / 2.0)
                }
            };
            duty.is_alive(Role::Sweeper, rest);
        }
    }

    /// Wakes a sender for mails that are not queued by this process.
    async fn watch(self, mut stopped: Stopped) {
        let duty = &self.shared.duty;
        let wake = || {
            duty.needs_no_sign(Role::Watcher);
            self.shared.mail_queued.notify_one();
        };
        loop {
            // Until it calls for the first time it is beginning, and must get there.
            duty.owes_a_sign(Role::Watcher);
            let watched = tokio::select! {
                biased;
                _ = stopped.changed() => return,
                watched = timeout(WATCH, self.store.watch_mails(&wake)) => watched,
            };
            let error = match watched {
                Ok(Ok(())) => return duty.needs_no_sign(Role::Watcher),
                Ok(Err(error)) => error,
                Err(_) => continue,
            };
            duty.needs_no_sign(Role::Watcher);
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "mails of others are not heard of for a moment"
            );
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// From 0 to 1: what keeps replicas apart.
    fn chance(&self) -> f64 {
        let mut byte = [0];
        self.random().fill(&mut byte);
        f64::from(byte[0]) / 255.0
    }
}
