//! How the workers of this process are, for health checks and metrics.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration as StdDuration,
};

use time::Duration;
use tokio::time::Instant;

use crate::{auth::Auth, error::Error};

/// Longer than a step of work can take.
const STUCK: StdDuration = StdDuration::from_mins(2);

/// The workers of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailWorkers {
    /// How they are.
    pub state: WorkerState,
    /// Mails that were accepted.
    pub sent: u64,
    /// Tries that failed, the last ones of dead letters too.
    pub failed: u64,
    /// Mails that became dead letters.
    pub given_up: u64,
    /// Mails that were not sent, because their links had been used or killed meanwhile.
    pub withdrawn: u64,
}

/// How workers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// They work.
    Alive,
    /// Nobody asked for any in this process, or all that were asked for were told to stop.
    NotAsked,
    /// Dropped without being told to stop: nobody sends mails here.
    Stopped,
    /// They were asked for, and one of their tasks has made no sign for two minutes, or dies again and again.
    Stuck,
}

/// The queue of mails, which all processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailQueue {
    /// Waiting, or being sent; up to [`MOST_COUNTED`](crate::ports::MOST_COUNTED).
    pub queued: u64,
    /// Dead letters; up to [`MOST_COUNTED`](crate::ports::MOST_COUNTED).
    pub dead: u64,
    /// How long ago the one was queued that waits for longest: of those that are counted, which are due first.
    pub oldest: Option<Duration>,
}

impl Auth {
    /// How the workers of this process are, and what they did since it began. Every number only grows.
    pub fn mail_workers(&self) -> MailWorkers {
        let duty = &self.shared.duty;
        MailWorkers {
            state: duty.state(),
            sent: duty.sent.load(Relaxed),
            failed: duty.failed.load(Relaxed),
            given_up: duty.given_up.load(Relaxed),
            withdrawn: duty.withdrawn.load(Relaxed),
        }
    }

    /// How long the queue of mails is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`].
    pub async fn mail_queue(&self) -> Result<MailQueue, Error> {
        let counts = self.store.mail_counts().await?;
        let now = self.now();
        Ok(MailQueue {
            queued: counts.queued,
            dead: counts.dead,
            oldest: counts.oldest.map(|at| (now - at).max(Duration::ZERO)),
        })
    }
}

/// What the workers tell of themselves.
#[derive(Default)]
pub(crate) struct Duty {
    roster: Mutex<Roster>,
    sent: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    withdrawn: AtomicU64,
}

#[derive(Default)]
struct Roster {
    on_duty: usize,
    deserted: bool,
    /// By when the next sign of each role is due, in the order of [`Role::ALL`].
    signs_due: [Option<Instant>; Role::ALL.len()],
}

/// What the tasks of the workers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Sweeper,
    Watcher,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Sender, Self::Sweeper, Self::Watcher];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Sweeper => "sweeper",
            Self::Watcher => "watcher",
        }
    }
}

impl Duty {
    /// Workers were asked for; they are gone when what this gives is dropped before its `end`.
    pub(crate) fn begin(&self) -> OnDuty<'_> {
        self.change(|roster| {
            roster.on_duty += 1;
            roster.deserted = false;
            roster.signs_due = [None; Role::ALL.len()];
        });
        OnDuty { duty: self }
    }

    /// The role is filled, and rests for so long now.
    pub(crate) fn is_alive(&self, role: Role, rest: StdDuration) {
        self.change(|roster| roster.signs_due[role as usize] = Some(Instant::now() + rest + STUCK));
    }

    /// The role is filled by somebody who may wait for any time.
    pub(crate) fn needs_no_sign(&self, role: Role) {
        self.change(|roster| roster.signs_due[role as usize] = None);
    }

    /// Whoever begins in the role, or follows in it, has two minutes to make a sign; who follows them then has no more.
    pub(crate) fn owes_a_sign(&self, role: Role) {
        let by = Instant::now() + STUCK;
        self.change(|roster| {
            let due = &mut roster.signs_due[role as usize];
            *due = Some(due.map_or(by, |due| due.min(by)));
        });
    }

    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, for_good: bool) {
        self.failed.fetch_add(1, Relaxed);
        self.given_up.fetch_add(for_good.into(), Relaxed);
    }

    pub(super) fn given_up(&self) {
        self.given_up.fetch_add(1, Relaxed);
    }

    pub(super) fn withdrawn(&self) {
        self.withdrawn.fetch_add(1, Relaxed);
    }

    fn state(&self) -> WorkerState {
        self.change(|roster| {
            let now = Instant::now();
            let is_missed = roster.signs_due.iter().flatten().any(|due| *due <= now);
            match roster.on_duty {
                0 if roster.deserted => WorkerState::Stopped,
                0 => WorkerState::NotAsked,
                _ if is_missed => WorkerState::Stuck,
                _ => WorkerState::Alive,
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        change(&mut self.roster.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct OnDuty<'a> {
    duty: &'a Duty,
}

impl OnDuty<'_> {
    pub(crate) fn end(self) {
        self.duty.change(|roster| roster.on_duty -= 1);
        std::mem::forget(self);
    }
}

impl Drop for OnDuty<'_> {
    fn drop(&mut self) {
        self.duty.change(|roster| {
            roster.on_duty -= 1;
            roster.deserted = true;
        });
    }
}
