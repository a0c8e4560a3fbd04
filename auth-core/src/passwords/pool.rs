use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Instant,
};

use tokio::sync::oneshot;

use super::{Hashing, hashing};
use crate::{
    error::Error,
    meters::HashingMeters,
    ports::Random,
    types::{Password, PasswordAttempt, PasswordHash},
};

type Job = Box<dyn FnOnce() + Send>;

/// Threads of its own for password hashing, as many as cores, behind a bounded queue.
///
/// Async threads are never blocked, however many log in at once; what does not fit the queue is refused at once, so waiting is bounded too.
pub(crate) struct PasswordPool {
    jobs: SyncSender<Job>,
    hashing: Hashing,
    meters: HashingMeters,
    random: Arc<dyn Random>,
}

impl fmt::Debug for PasswordPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordPool")
            .field("hashing", &self.hashing)
            .finish_non_exhaustive()
    }
}

/// What comparing a password with a stored hash gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It matches, and the settings are stronger than those of the stored hash.
    Outdated,
    Match,
    Mismatch,
}

impl PasswordPool {
    /// Starts the threads; they end when the pool is dropped.
    pub(crate) fn start(
        hashing: Hashing,
        queue: usize,
        random: Arc<dyn Random>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(queue);
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..thread::available_parallelism().map_or(1, usize::from) {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("auth-password-{index}"))
                .spawn(move || work(&queue))?;
        }
        Ok(Self {
            jobs,
            hashing,
            meters: HashingMeters::register(),
            random,
        })
    }

    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, Error> {
        let (hashing, random) = (self.hashing, Arc::clone(&self.random));
        self.run(move || hashing.hash(password.text(), &*random))
            .await
    }

    /// Compares with a stored hash, or, with `None`, takes the time of it and says [`Verdict::Mismatch`].
    pub(crate) async fn verify(
        &self,
        attempt: PasswordAttempt,
        stored: Option<PasswordHash>,
    ) -> Result<Verdict, Error> {
        let (hashing, random) = (self.hashing, Arc::clone(&self.random));
        self.run(move || {
            let decoy = || hashing.decoy(&*random);
            let known = stored.is_some();
            let stored = stored.unwrap_or_else(decoy);
            let matches = match hashing::verify(attempt.text(), &stored) {
                Ok(matches) => matches && known,
                Err(error) => {
                    // For its owner it is a wrong password, after the same time, until an operator or a reset mends it.
                    tracing::error!(
                        error = &*error as &dyn std::error::Error,
                        "a stored password hash cannot be read"
                    );
                    hashing::verify(attempt.text(), &decoy())?;
                    false
                }
            };
            Ok(match (matches, matches && hashing.outranks(&stored)) {
                (true, true) => Verdict::Outdated,
                (true, false) => Verdict::Match,
                (false, _) => Verdict::Mismatch,
            })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, result) = oneshot::channel();
        let (meters, queued) = (self.meters.clone(), Instant::now());
        let job: Job = Box::new(move || {
            meters.queue.decrement(1);
            let began = Instant::now();
            meters.waited.record(began - queued);
            // Nobody waits any more: spare the work.
            if !answer.is_closed() {
                let _ = answer.send(work());
                meters.worked.record(began.elapsed());
            }
        });
        // Before anybody can take it out again.
        self.meters.queue.increment(1);
        self.jobs.try_send(job).map_err(|error| {
            self.meters.queue.decrement(1);
            match error {
                TrySendError::Full(_) => {
                    self.meters.refused.increment(1);
                    Error::Overloaded
                }
                TrySendError::Disconnected(_) => {
                    Error::Internal("the password threads are gone".into())
                }
            }
        })?;
        result
            .await
            .map_err(|_| Error::Internal("a password thread panicked".into()))?
            .map_err(Error::Internal)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    // Other threads of the process (the async ones above all) go first.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(10);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic answers its caller by the dropped channel; the thread lives on.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc::channel};

    use super::{PasswordPool, Verdict};
    use crate::{
        error::Error,
        passwords::Hashing,
        ports::OsRandom,
        types::{Password, PasswordAttempt, PasswordHash},
    };

    fn pool(queue: usize) -> PasswordPool {
        PasswordPool::start(Hashing::bcrypt(4).unwrap(), queue, Arc::new(OsRandom)).unwrap()
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_recovers() {
        let pool = Arc::new(pool(1));
        let threads = std::thread::available_parallelism().unwrap().get();
        let (release, gate) = channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let mut waiting = Vec::new();
        // Each thread holds one job and the queue one more.
        for _ in 0..=threads {
            let (task_pool, gate) = (Arc::clone(&pool), Arc::clone(&gate));
            waiting.push(tokio::spawn(async move {
                loop {
                    let gate = Arc::clone(&gate);
                    match task_pool
                        .run(move || Ok(gate.lock().unwrap().recv()?))
                        .await
                    {
                        Err(Error::Overloaded) => tokio::task::yield_now().await,
                        other => return other,
                    }
                }
            }));
        }
        // A call that still finds a place in the queue waits for ever, and leaves it filled.
        let limit = std::time::Duration::from_millis(20);
        while !matches!(
            tokio::time::timeout(limit, pool.verify(PasswordAttempt::new("x"), None)).await,
            Ok(Err(Error::Overloaded))
        ) {}
        for _ in &waiting {
            release.send(()).unwrap();
        }
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        assert_eq!(
            pool.verify(PasswordAttempt::new("x"), None).await.unwrap(),
            Verdict::Mismatch
        );
    }

    #[tokio::test]
    async fn a_panic_answers_its_caller_and_the_pool_lives_on() {
        let pool = pool(8);
        for _ in 0..16 {
            let result: Result<(), Error> = pool.run(|| panic!("on purpose")).await;
            assert!(matches!(result, Err(Error::Internal(_))));
        }
        let hash = pool
            .hash(Password::parse("correct horse").unwrap())
            .await
            .unwrap();
        assert_eq!(
            pool.verify(PasswordAttempt::new("correct horse"), Some(hash))
                .await
                .unwrap(),
            Verdict::Match
        );
    }

    #[tokio::test]
    async fn an_unreadable_hash_is_a_mismatch() {
        let stored = PasswordHash::new("$md5$unknown");
        let verdict = pool(8)
            .verify(PasswordAttempt::new("anything"), Some(stored))
            .await;
        assert_eq!(verdict.unwrap(), Verdict::Mismatch);
    }

    #[tokio::test]
    async fn normal_forms_of_one_text_are_one_password() {
        let pool = pool(8);
        let hash = pool
            .hash(Password::parse("ko\u{308}nigsberg").unwrap())
            .await
            .unwrap();
        assert_eq!(
            pool.verify(PasswordAttempt::new("k\u{f6}nigsberg"), Some(hash))
                .await
                .unwrap(),
            Verdict::Match
        );
    }
}
