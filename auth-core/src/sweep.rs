//! Deleting what time has ended, in small steps: there is no end to what a first sweep may find, and nobody else may wait for it.

use time::OffsetDateTime;

use crate::{
    auth::Auth,
    error::Error,
    ports::{AccountPlace, Removal, Store, StoreError, Sweepable, Swept},
};

/// The most rows that one step deletes; what goes with them comes on top. Far from the time limit of a statement, and no lock is held for long.
const BATCH: u32 = 200;

impl Auth {
    /// Deletes what time has ended: sessions, mailed tokens, and accounts that were not verified in time. [`run_workers`](Self::run_workers) does it, a
    /// part at a time; this goes through all of it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`]; what went before stays gone.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut sweep = Sweep::of(self, None);
        while sweep.step(&*self.store).await? {}
        Ok(sweep.swept)
    }

    /// Accounts made before that moment and never proven are to go.
    fn unverified_before(&self) -> OffsetDateTime {
        // Without a mailer nobody can prove an address: then an unproven one says nothing.
        if self.has_mailer() {
            self.now() - self.shared.settings.unverified_lifetime
        } else {
            OffsetDateTime::UNIX_EPOCH
        }
    }
}

/// One sweep, step by step; each step is one fact of the store.
pub(crate) struct Sweep {
    now: OffsetDateTime,
    unverified_before: OffsetDateTime,
    stage: Stage,
    /// The last account that was dealt with.
    pub(crate) after: Option<AccountPlace>,
    pub(crate) swept: Swept,
}

enum Stage {
    Rows(Sweepable),
    /// Accounts that go together, if nothing holds one of them.
    Accounts,
    /// The accounts of a batch that is held, the first one last: each is tried alone.
    OneByOne(Vec<AccountPlace>),
    Done,
}

impl Sweep {
    /// Accounts up to `after` are passed over.
    pub(crate) fn of(auth: &Auth, after: Option<AccountPlace>) -> Self {
        Self::new(auth.now(), auth.unverified_before(), after)
    }

    pub(crate) fn new(
        now: OffsetDateTime,
        unverified_before: OffsetDateTime,
        after: Option<AccountPlace>,
    ) -> Self {
        Self {
            now,
            unverified_before,
            // Accounts come last: what goes with them counts as theirs, not as expired.
            stage: Stage::Rows(Sweepable::Sessions),
            after,
            swept: Swept::default(),
        }
    }

    /// `false` when nothing is left to do.
    pub(crate) async fn step(&mut self, store: &dyn Store) -> Result<bool, StoreError> {
        match &mut self.stage {
            Stage::Rows(what) => {
                let what = *what;
                let gone = store.sweep(what, self.now, BATCH).await?;
                let (count, next) = match what {
                    Sweepable::Sessions => (
                        &mut self.swept.sessions,
                        Stage::Rows(Sweepable::SpentSecrets),
                    ),
                    Sweepable::SpentSecrets => {
                        (&mut self.swept.spent, Stage::Rows(Sweepable::MailedTokens))
                    }
                    Sweepable::MailedTokens => (&mut self.swept.tokens, Stage::Accounts),
                };
                *count += gone;
                if gone < u64::from(BATCH) {
                    self.stage = next;
                }
            }
            Stage::Accounts => {
                let mut batch = store
                    .unverified_accounts(self.unverified_before, self.after, BATCH)
                    .await?;
                let Some(last) = batch.last().copied() else {
                    self.stage = Stage::Done;
                    return Ok(false);
                };
                let ids: Vec<_> = batch.iter().map(|place| place.id).collect();
                match store.delete_unverified(&ids).await? {
                    Removal::Gone(gone) => {
                        self.swept.accounts += gone;
                        self.after = Some(last);
                    }
                    Removal::Held => {
                        batch.reverse();
                        self.stage = Stage::OneByOne(batch);
                    }
                }
            }
            Stage::OneByOne(left) => match left.pop() {
                Some(place) => {
                    match store.delete_unverified(&[place.id]).await? {
                        Removal::Gone(gone) => self.swept.accounts += gone,
                        Removal::Held => self.swept.held += 1,
                    }
                    self.after = Some(place);
                }
                None => self.stage = Stage::Accounts,
            },
            Stage::Done => return Ok(false),
        }
        Ok(true)
    }
}
