//! What this crate counts, through the facade `metrics`: see the documentation of `auth_core`.

use auth_core::{
    ports::Booking,
    types::{EntryKind, EventOutcome, Processed},
};
use metrics::{Counter, counter};

use crate::WebhookError;

/// Of one [`Billing`](crate::Billing), over a store that commits by itself: what is counted is there.
pub(crate) struct Meters {
    booked: [Counter; EntryKind::ALL.len()],
    conflict: Counter,
    events: [Counter; EventOutcome::ALL.len()],
    events_failed: Counter,
    events_replayed: Counter,
    insufficient: Counter,
    malformed: Counter,
    overflow: Counter,
    replayed: Counter,
    signature: Counter,
    unknown_user: Counter,
}

impl Meters {
    pub(crate) fn register() -> Self {
        let refused = |reason: &'static str| {
            counter!(
                description: "Movements that the ledger refused",
                "auth_ledger_refused_total",
                "reason" => reason
            )
        };
        let event_refused = |reason: &'static str| {
            counter!(
                description: "Deliveries of payment events that were not kept",
                "auth_payment_events_refused_total",
                "reason" => reason
            )
        };
        Self {
            booked: std::array::from_fn(|index| {
                counter!(
                    description: "Entries that were booked in the ledger, but for those of payments and of transactions of the host",
                    "auth_ledger_entries_total",
                    "kind" => EntryKind::ALL[index].as_str()
                )
            }),
            conflict: refused("conflict"),
            events: std::array::from_fn(|index| {
                counter!(
                    description: "Payment events that were kept, by what became of them",
                    "auth_payment_events_total",
                    "outcome" => EventOutcome::ALL[index].as_str()
                )
            }),
            events_failed: event_refused("failed"),
            events_replayed: counter!(
                description: "Payment events that came again and had no second effect",
                "auth_payment_events_replayed_total"
            ),
            insufficient: refused("insufficient"),
            malformed: event_refused("malformed"),
            overflow: refused("overflow"),
            replayed: counter!(
                description: "Movements that came again and had no second effect",
                "auth_ledger_replayed_total"
            ),
            signature: event_refused("signature"),
            unknown_user: refused("unknown_user"),
        }
    }

    pub(crate) fn booked(&self, kind: EntryKind, booking: &Booking) {
        let counter = match booking {
            Booking::Conflict => &self.conflict,
            Booking::Done(_) => &self.booked[kind as usize],
            Booking::Insufficient(_) => &self.insufficient,
            Booking::Overflow => &self.overflow,
            Booking::Replayed(_) => &self.replayed,
            Booking::UnknownUser => &self.unknown_user,
        };
        counter.increment(1);
    }

    pub(crate) fn received(&self, processed: Processed) {
        let counter = if processed.is_replay {
            &self.events_replayed
        } else {
            &self.events[processed.outcome as usize]
        };
        counter.increment(1);
    }

    pub(crate) fn refused(&self, error: &WebhookError) {
        let counter = match error {
            WebhookError::Core(_) => &self.events_failed,
            WebhookError::Malformed => &self.malformed,
            WebhookError::Signature => &self.signature,
            // Nobody was meant to call.
            WebhookError::NotConfigured => return,
        };
        counter.increment(1);
    }
}
