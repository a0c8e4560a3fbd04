use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
};

use auth_core::{
    Error,
    ports::{EVENTS_KEPT, PaymentProvider, PurchaseState, Retelling},
    time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339},
    types::{EventOutcome, KeptPurchase, PaymentEvent, PaymentFact, PaymentRef},
};
use serde_json::Value;

use super::{Stripe, event::KINDS, fields::text};
use crate::Billing;

/// Purchases that are held at once.
const PAGE: u32 = 1000;
/// Who counts thirty days back does so before this is called.
const A_MOMENT: Duration = Duration::minutes(1);

/// Where the provider and the ledger do not tell the same.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The provider tells what has had no effect here.
    NoEntry {
        /// The event; the invoice or the session where the provider has no events any more.
        id: PaymentRef,
        /// As the provider names its kind.
        kind: String,
        /// When it happened, by the provider's clock; UTC.
        created_at: OffsetDateTime,
        /// What became of it now, or what would if it was applied.
        outcome: EventOutcome,
        /// Whether it was to be applied.
        was_tried: bool,
    },
    /// The provider tells what is no event, so nobody knows what it is about. Nothing of it is kept.
    NoEvent {
        /// Its name, if it has one.
        id: Option<PaymentRef>,
    },
    /// Credits were granted for what nobody paid, as far as the provider knows.
    NoPayment {
        /// What was granted.
        purchase: KeptPurchase,
        /// What the provider says.
        state: PurchaseState,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry {
                id,
                kind,
                created_at,
                outcome,
                was_tried,
            } => {
                let word = if outcome.is_processed() && !was_tried {
                    "missing"
                } else {
                    outcome.as_str()
                };
                write!(f, "{} {id}: {kind} ({word})", at(*created_at))
            }
            Self::NoEvent { id } => {
                let name = id.as_ref().map(PaymentRef::as_str);
                let name = name.unwrap_or("something without a name");
                let word = EventOutcome::Unreadable.as_str();
                write!(f, "{name}: no event ({word})")
            }
            Self::NoPayment { purchase, state } => write!(
                f,
                "{} {}: {} credits for {} to {} ({})",
                at(purchase.created_at),
                purchase.id,
                purchase.granted,
                purchase.item,
                purchase.user,
                state.as_str()
            ),
        }
    }
}

fn at(time: OffsetDateTime) -> String {
    // Years of four digits are all that is read.
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

/// What a comparison saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// What the provider told.
    pub told: u64,
    /// What of it had had no effect.
    pub without_entry: u64,
    /// What of that has had all of its effect now.
    pub applied: u64,
    /// Purchases that nobody paid.
    pub without_payment: u64,
    /// Whether payments alone were compared: it was too long ago for what was given back, and for how subscriptions went.
    pub payments_alone: bool,
}

impl Reconciled {
    /// Whether nobody has to look.
    pub const fn is_even(&self) -> bool {
        self.without_entry == self.applied && self.without_payment == 0
    }
}

/// Why a comparison was not finished. What it told is so, and what it applied stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// The store or the provider failed, or nothing is configured: see there.
    #[error(transparent)]
    Core(#[from] Error),
    /// A list of the provider begins again where it should end, so nobody knows what happened first. Nothing of it was applied.
    #[error("a list of the payment provider does not end: it goes in circles")]
    Endless,
    /// Nothing happened since a time that is still to come, whatever differs.
    #[error("a time in the future: nothing happened since")]
    InTheFuture,
    /// The provider tells of live money where money is for tests, or the other way round: its key is not that of these books.
    #[error("the payment provider's key is for the other mode, live or test, than these books")]
    OtherMode,
    /// The provider does not keep its events that long.
    #[error("what happened more than {} days ago cannot be applied: the payment provider has no events of it any more", EVENTS_KEPT.whole_days())]
    TooLongAgo,
}

impl Billing {
    /// Compares what the provider tells since a time with the ledger, in both directions, and applies what is missing if it is told to, what happened first
    /// of each kind before what happened later. What it finds is told at once. Two pages are held at a time, of others that miss something a place, and of
    /// each page and of what was paid a number, so that millions fit.
    ///
    /// 1. What had no effect is applied as its delivery would be: once, whatever is delivered meanwhile or later, and as far as it can be. A comparison
    ///    that ended half-way is made again; one that ended while it read a list has applied nothing of that.
    /// 2. Credits without a payment are told and stay: whoever forged them has used them, and who did not would be robbed.
    /// 3. More than [`EVENTS_KEPT`] ago the provider has its invoices and sessions, and no events: payments are compared, and nothing is applied. What was
    ///    given back since, and how subscriptions went, is not known then.
    /// 4. An event has the version of the provider's API that was the account's when it happened. All are read that a delivery may have; what is not
    ///    understood is told as [`EventOutcome::Unreadable`], and kept as that if it is to be applied; what is no event is told and not kept.
    ///
    /// # Errors
    /// [`ReconcileError`].
    ///
    /// # Security
    /// Credits that were granted by forged events, as by one who knows the signing secret, are found by it where nobody paid. That more was granted for a
    /// payment than it was for, or to somebody else, is not; nor what was granted for what cost nothing.
    pub async fn reconcile(
        &self,
        since: OffsetDateTime,
        apply: bool,
        tell: impl FnMut(&Difference) + Send,
    ) -> Result<Reconciled, ReconcileError> {
        let stripe = self.selling()?;
        let provider = stripe.port()?;
        let now = self.auth.now();
        if since > now {
            return Err(ReconcileError::InTheFuture);
        }
        let has_events = now - since <= EVENTS_KEPT + A_MOMENT;
        if apply && !has_events {
            return Err(ReconcileError::TooLongAgo);
        }
        let mut run = Run {
            billing: self,
            stripe,
            provider,
            apply,
            // Nobody was paid before, and not every database knows such times.
            since: since.max(OffsetDateTime::UNIX_EPOCH),
            paid: Told::default(),
            counted: Reconciled {
                payments_alone: !has_events,
                ..Reconciled::default()
            },
            tell,
        };
        if has_events {
            for kinds in KINDS {
                run.told(Retelling::Events(kinds)).await?;
            }
        } else {
            run.told(Retelling::PaidSessions).await?;
            run.told(Retelling::PaidInvoices).await?;
        }
        run.granted().await?;
        Ok(run.counted)
    }
}

/// Names that were told: of each a number, which hangs on a secret of its own, so that nobody can make a name with the number of another one.
#[derive(Default)]
struct Told {
    numbers: HashSet<u64>,
    hasher: RandomState,
}

impl Told {
    /// Whether it is new.
    fn note(&mut self, id: &PaymentRef) -> bool {
        self.numbers.insert(self.hasher.hash_one(id))
    }

    fn has(&self, id: &PaymentRef) -> bool {
        self.numbers.contains(&self.hasher.hash_one(id))
    }
}

/// The name of what is no event.
fn name(body: &[u8]) -> Option<PaymentRef> {
    let document: Value = serde_json::from_slice(body).ok()?;
    PaymentRef::parse(text(&document, &["/id"])?).ok()
}

/// What no entry says; of what is no event its name, if it has one.
type Missing = Result<PaymentEvent, Option<PaymentRef>>;

/// A page of what the provider tells.
struct Page {
    told: u64,
    /// The oldest first.
    missing: Vec<Missing>,
    next: Option<PaymentRef>,
}

struct Run<'a, T> {
    billing: &'a Billing,
    stripe: &'a Stripe,
    provider: &'a dyn PaymentProvider,
    apply: bool,
    since: OffsetDateTime,
    paid: Told,
    counted: Reconciled,
    tell: T,
}

impl<T: FnMut(&Difference) + Send> Run<'_, T> {
    /// What the provider tells, and no entry says: the oldest first, because what comes later may rest on what came before.
    ///
    /// The provider's lists begin with the newest. So a list is read to its end, and what is missing is settled on the way back. Held meanwhile are what
    /// is missing of the newest page, before which others may come, and of every other page that misses something the place: it is asked for again.
    async fn told(&mut self, what: Retelling<'_>) -> Result<(), ReconcileError> {
        let newest = self.look(what, None).await?;
        self.counted.told += newest.told;
        let mut next = newest.next;
        let mut asked = Told::default();
        let mut places = Vec::new();
        while let Some(place) = next {
            if !asked.note(&place) {
                return Err(ReconcileError::Endless);
            }
            let page = self.look(what, Some(&place)).await?;
            self.counted.told += page.told;
            next = page.next;
            if !page.missing.is_empty() {
                places.push(place);
            }
        }
        while let Some(place) = places.pop() {
            let page = self.look(what, Some(&place)).await?;
            self.settle_all(page.missing).await?;
        }
        self.settle_all(newest.missing).await
    }

    /// What of a page has not come to an end here: one look at the store.
    async fn look(
        &mut self,
        what: Retelling<'_>,
        after: Option<&PaymentRef>,
    ) -> Result<Page, ReconcileError> {
        let page = self.provider.retell(what, self.since, after).await;
        let page = page.map_err(Error::from)?;
        let mut missing = Vec::with_capacity(page.bodies.len());
        let mut names = Vec::new();
        for body in page.bodies.into_iter().rev() {
            let now = self.billing.auth.now();
            let Some(event) = self.billing.read(self.stripe, &body, now) else {
                missing.push(Err(name(&body)));
                continue;
            };
            match &event.fact {
                PaymentFact::Noted(EventOutcome::OtherMode) => {
                    return Err(ReconcileError::OtherMode);
                }
                PaymentFact::Paid(purchase) => {
                    self.paid.note(&purchase.id);
                    names.push(purchase.id.clone());
                }
                // Whether that was told cannot be seen, without the name of its event.
                PaymentFact::Linked(_) if what == Retelling::PaidSessions => continue,
                _ => {}
            }
            names.push(event.id.clone());
            missing.push(Ok(event));
        }
        let told = missing.len() as u64;
        let settled = self.billing.store.settled_payments(&names).await;
        let settled: HashSet<_> = settled.map_err(Error::from)?.into_iter().collect();
        missing.retain(|it| {
            let Ok(event) = it else { return true };
            let is_granted = match &event.fact {
                PaymentFact::Paid(purchase) => settled.contains(&purchase.id),
                _ => false,
            };
            !is_granted && !settled.contains(&event.id)
        });
        Ok(Page {
            told,
            missing,
            next: page.next,
        })
    }

    async fn settle_all(&mut self, missing: Vec<Missing>) -> Result<(), ReconcileError> {
        for it in missing {
            match it {
                Ok(event) => self.settle(event).await?,
                Err(id) => {
                    self.counted.without_entry += 1;
                    (self.tell)(&Difference::NoEvent { id });
                }
            }
        }
        Ok(())
    }

    async fn settle(&mut self, event: PaymentEvent) -> Result<(), ReconcileError> {
        let (id, kind, created_at) = (event.id.clone(), event.kind.clone(), event.created_at);
        let processed = if self.apply {
            self.billing.apply(event).await?
        } else {
            let tried = self.billing.store.try_payment_event(event).await;
            tried.map_err(Error::from)?
        };
        let outcome = processed.outcome;
        // A delivery came in between, or nothing was missing but the event itself.
        if processed.is_replay || outcome == EventOutcome::Ignored {
            return Ok(());
        }
        self.counted.without_entry += 1;
        if self.apply && !outcome.is_alarming() {
            self.counted.applied += 1;
        }
        (self.tell)(&Difference::NoEntry {
            id,
            kind,
            created_at,
            outcome,
            was_tried: self.apply,
        });
        Ok(())
    }

    /// What was granted, and the provider knows of no payment. What it did not tell, because it was made before or paid since, is asked for one by one.
    async fn granted(&mut self) -> Result<(), ReconcileError> {
        let mut after = None;
        loop {
            let store = &self.billing.store;
            let page = store.purchases(self.since, after, PAGE).await;
            let page = page.map_err(Error::from)?;
            after = page.last().map(|it| (it.created_at, it.id.clone()));
            for purchase in page {
                if self.paid.has(&purchase.id) {
                    continue;
                }
                let state = self.provider.purchase(&purchase.id).await;
                let state = state.map_err(Error::from)?;
                if state != PurchaseState::Paid {
                    self.counted.without_payment += 1;
                    (self.tell)(&Difference::NoPayment { purchase, state });
                }
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
