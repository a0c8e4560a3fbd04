use auth_core::{
    Error,
    ports::Booking,
    types::{
        Amount, BookedEntry, Caller, Description, Direction, Entry, EntryId, EntryKind,
        IdempotencyKey, Invalid, ReferenceId, UserId,
    },
};

use crate::Billing;

/// What to move.
#[derive(Debug, Clone)]
pub struct Movement {
    /// Whose balance.
    pub user: UserId,
    /// How much.
    pub amount: Amount,
    /// What it is for: the same user is credited, or debited, for it once.
    pub reference: Option<ReferenceId>,
    /// For people.
    pub description: Option<Description>,
    /// Names this attempt: the same caller can send it again.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl Movement {
    /// Without a reference, a description or a key: sent twice, it has two effects.
    pub const fn of(user: UserId, amount: Amount) -> Self {
        Self {
            user,
            amount,
            reference: None,
            description: None,
            idempotency_key: None,
        }
    }
}

/// On whose word something moves; kept with the entry.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The name of an API key, or of a part of the host.
    pub caller: Caller,
    /// Of the request, if there is one.
    pub request_id: Option<String>,
}

impl Origin {
    /// Outside of any request.
    pub const fn of(caller: Caller) -> Self {
        Self {
            caller,
            request_id: None,
        }
    }
}

/// What a movement gave.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// As it is in the ledger.
    pub booked: BookedEntry,
    /// It was booked before, and nothing moved now.
    pub is_replay: bool,
}

impl Billing {
    pub(super) async fn book(
        &self,
        kind: EntryKind,
        direction: Direction,
        movement: Movement,
        origin: &Origin,
    ) -> Result<Receipt, Error> {
        let now = self.auth.now();
        let entry = Entry {
            id: EntryId::generate(now, self.auth.random()),
            user_id: movement.user,
            kind,
            direction,
            amount: movement.amount.credits(),
            reference: movement.reference,
            description: movement.description,
            idempotency_key: movement.idempotency_key,
            caller: origin.caller.clone(),
            request_id: origin.request_id.clone(),
            created_at: now,
        };
        let booking = self.store.book(entry).await?;
        if let Some(meters) = &self.meters {
            meters.booked(kind, &booking);
        }
        let (booked, is_replay) = match booking {
            Booking::Conflict => return Err(Error::IdempotencyConflict),
            Booking::Done(booked) => (booked, false),
            Booking::Insufficient(balance) => return Err(Error::InsufficientCredits { balance }),
            Booking::Overflow => {
                return Err(Error::invalid(
                    "amount",
                    Invalid::new("balance_overflow", "The balance would be too large."),
                ));
            }
            Booking::Replayed(booked) => (booked, true),
            Booking::UnknownUser => return Err(Error::UserNotFound),
        };
        Ok(Receipt { booked, is_replay })
    }
}
