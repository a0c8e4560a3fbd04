use std::fmt;

use time::OffsetDateTime;

use super::{Credits, EntryId, Invalid, UserId};

/// An entry of the ledger before it is booked: what moves, why, and on whose word.
///
/// Entries are never changed or deleted, so they are their own audit log: who ([`Caller`]), when, in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its own, unlike the number that booking gives it.
    pub id: EntryId,
    /// Whose balance it moves.
    pub user_id: UserId,
    /// Why.
    pub kind: EntryKind,
    /// Up or down.
    pub direction: Direction,
    /// Above zero.
    pub amount: Credits,
    /// What it is for; one effect a user and kind.
    pub reference: Option<ReferenceId>,
    /// For people. It goes with the account, because it may name somebody.
    pub description: Option<Description>,
    /// Names the attempt; one effect a caller. Only what is booked uses it up: an attempt that is refused leaves it free, and so does one that is answered by
    /// its reference, which another attempt was booked for.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Who asked.
    pub caller: Caller,
    /// In which request.
    pub request_id: Option<String>,
    /// UTC.
    pub created_at: OffsetDateTime,
}

impl Entry {
    /// Whether it asks for what `booked` did. Who asks, when and under which key is no part of that.
    pub fn asks_for_the_same_as(&self, booked: &Self) -> bool {
        self.user_id == booked.user_id
            && self.kind == booked.kind
            && self.direction == booked.direction
            && self.amount == booked.amount
            && self.reference == booked.reference
            && self.description == booked.description
    }

    /// Whether both have one key of one caller, or one reference of one user and kind: at most one of them is booked.
    pub fn repeats(&self, other: &Self) -> bool {
        let same_key = self.idempotency_key.is_some()
            && self.idempotency_key == other.idempotency_key
            && self.caller == other.caller;
        let same_reference = self.reference.is_some()
            && (self.user_id, self.kind, &self.reference)
                == (other.user_id, other.kind, &other.reference);
        same_key || same_reference
    }

    /// What it adds to the balance, in hundredths.
    pub const fn change(&self) -> i64 {
        match self.direction {
            Direction::Credit => self.amount.as_hundredths(),
            Direction::Debit => -self.amount.as_hundredths(),
        }
    }

    /// The balance after it: `None` where it does not fit.
    pub const fn applied_to(&self, balance: Credits) -> Option<Credits> {
        match self.direction {
            Direction::Credit => balance.checked_add(self.amount),
            Direction::Debit => balance.checked_sub(self.amount),
        }
    }
}

/// An entry that is in the ledger for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedEntry {
    /// What was asked for.
    pub entry: Entry,
    /// Counts the entries of one user, from 1 and without a gap.
    pub number: i64,
    /// The balance after it.
    pub new_balance: Credits,
}

/// Which way an entry moves a balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Up.
    Credit,
    /// Down.
    Debit,
}

impl Direction {
    /// As the contract spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Debit => "debit",
        }
    }
}

macro_rules! entry_kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal),* $(,)?) => {
        /// Why a balance moved.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EntryKind { $($(#[$doc])* $variant),* }

        impl EntryKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Stable and `snake_case`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Reads a name.
            ///
            /// # Errors
            /// [`Invalid`]: `invalid_type`.
            pub fn parse(raw: &str) -> Result<Self, Invalid> {
                match raw {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(Invalid::new("invalid_type", "There is no such type of transaction.")),
                }
            }
        }
    };
}

entry_kinds! {
    /// Put right by hand, or by a dispute that was lost or won.
    Adjustment => "adjustment",
    /// Another service, or the host, added credits.
    CreditAdded => "credit_added",
    /// Another service, or the host, used credits.
    CreditUsed => "credit_used",
    /// A pack was paid.
    OneTimePurchase => "one_time_purchase",
    /// The first period of a plan was paid.
    PlanPurchase => "plan_purchase",
    /// A later period of a plan was paid.
    PlanRenewal => "plan_renewal",
    /// The difference to a dearer plan was paid.
    PlanUpgrade => "plan_upgrade",
    /// A payment was given back, and its credits were taken.
    Refund => "refund",
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $code:literal, $rule:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// Reads it.
            ///
            /// # Errors
            #[doc = concat!("[`Invalid`]: `", $code, "`.")]
            pub fn parse(raw: &str) -> Result<Self, Invalid> {
                let fits: fn(&str) -> bool = $fits;
                if fits(raw) {
                    Ok(Self(raw.to_owned()))
                } else {
                    Err(Invalid::new($code, $rule))
                }
            }

            /// As it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// Who may move balances: the name of an API key, or of a part of the host. Both share one set of names, and with it the scope of their
    /// idempotency keys.
    Caller,
    "invalid_caller",
    "A caller's name has 1 to 64 letters A-Z, digits, `_`, `.` and `-`.",
    |raw| (1..=64).contains(&raw.len())
        && raw
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
);
text!(
    /// A line for people.
    Description,
    "invalid_description",
    "A description has 1 to 500 characters, none of them a control character.",
    |raw| is_line(raw, 500)
);
text!(
    /// What a caller names an attempt, so that it can send it again when the answer was lost.
    IdempotencyKey,
    "invalid_idempotency_key",
    "An idempotency key has 1 to 255 visible ASCII characters.",
    |raw| (1..=255).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_graphic())
);
text!(
    /// What an entry is for, in the caller's own words: an order, an invoice. It outlives the account, so it must not name a person.
    ReferenceId,
    "invalid_reference_id",
    "A reference has 1 to 255 characters, none of them a control character.",
    |raw| is_line(raw, 255)
);

fn is_line(raw: &str, most: usize) -> bool {
    // Bytes first: characters of a long text are not worth counting.
    raw.len() <= most * 4
        && (1..=most).contains(&raw.chars().count())
        && !raw.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::{Caller, Description, EntryKind, IdempotencyKey, ReferenceId};

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in EntryKind::ALL {
            assert_eq!(EntryKind::parse(kind.as_str()), Ok(*kind));
        }
        for raw in ["", "Credit_added", "credit_added ", "credit"] {
            assert!(EntryKind::parse(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn texts_have_their_bounds() {
        let long = |n: usize| "\u{1f980}".repeat(n);
        assert!(ReferenceId::parse(&long(255)).is_ok() && Description::parse(&long(500)).is_ok());
        assert!(ReferenceId::parse(&long(256)).is_err() && Description::parse(&long(501)).is_err());
        for raw in ["", "a\0", "a\nb", "\u{85}"] {
            assert!(ReferenceId::parse(raw).is_err(), "{raw:?}");
            assert!(Description::parse(raw).is_err(), "{raw:?}");
        }
        assert!(IdempotencyKey::parse(&"!".repeat(255)).is_ok());
        for raw in ["", "a b", "\u{e9}", "a\t", &"a".repeat(256)] {
            assert!(IdempotencyKey::parse(raw).is_err(), "{raw:?}");
        }
        assert!(Caller::parse("billing-2027.a_b").is_ok());
        for raw in ["", "a b", "a/b", &"a".repeat(65)] {
            assert!(Caller::parse(raw).is_err(), "{raw:?}");
        }
    }
}
