use std::fmt;

use time::OffsetDateTime;

use super::{Amount, Credits, EntryId, EntryKind, Invalid, MailId, UserId};

/// What the payment provider calls one of its things: an event, a session, an invoice, a payment, a customer, a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentRef(String);

impl PaymentRef {
    /// Reads it.
    ///
    /// # Errors
    /// [`Invalid`]: `invalid_payment_reference`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        if (1..=255).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(raw.to_owned()))
        } else {
            Err(Invalid::new(
                "invalid_payment_reference",
                "A reference of the payment provider has 1 to 255 visible ASCII characters.",
            ))
        }
    }

    /// As the provider spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PaymentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that the payment provider says happened, once its signature is checked and its fields are read.
#[derive(Debug, Clone)]
pub struct PaymentEvent {
    /// The same on each delivery.
    pub id: PaymentRef,
    /// As the provider names it: `invoice.paid`.
    pub kind: String,
    /// When it happened, by the provider's clock; UTC.
    pub created_at: OffsetDateTime,
    /// When it was delivered here first; UTC.
    pub received_at: OffsetDateTime,
    /// What it means for us.
    pub fact: PaymentFact,
    /// Of the request that brought it, if there was one; kept with what it moves.
    pub request_id: Option<String>,
    /// For the entries of the ledger that it may make.
    pub entries: EntryIds,
    /// For the mail that it may cause; `None` where nobody would send it.
    pub mail: Option<MailId>,
}

/// The ids of the entries that an event may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryIds {
    /// Of the one that gives credits.
    pub gives: EntryId,
    /// Of the one that settles debt out of what was given.
    pub settles: EntryId,
    /// Of the one that takes credits back.
    pub takes: EntryId,
}

/// What an event means for us.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PaymentFact {
    /// A payment is disputed, or was.
    Disputed(KeptDispute),
    /// A payment of a subscription failed.
    Failed(FailedPayment),
    /// A checkout made somebody a customer, and perhaps a subscriber; nothing moves.
    Linked(Link),
    /// Nothing moves, and that is as it should be, or an operator has to look: the outcome says which.
    Noted(EventOutcome),
    /// Something was paid.
    Paid(Purchase),
    /// A payment turns out to be what paid a purchase.
    PaidBy {
        /// The purchase.
        purchase: PaymentRef,
        /// What paid it, alone or with others.
        part: PaidPart,
    },
    /// A payment was given back, in part or whole.
    Refunded {
        /// Which.
        payment: PaymentRef,
        /// What was paid, in the least unit of its currency.
        amount: u64,
        /// How much of it was given back by now, in all.
        refunded: u64,
    },
    /// A subscription is as this says.
    Subscription(SubscriptionChange),
}

impl PaymentFact {
    /// The payment that it gives back or holds, whose purchase may be unknown.
    pub const fn payment(&self) -> Option<&PaymentRef> {
        match self {
            Self::Disputed(dispute) => Some(&dispute.payment),
            Self::Refunded { payment, .. } => Some(payment),
            _ => None,
        }
    }
}

/// Who pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// As we wrote it on what the provider made for us.
    pub user: Option<UserId>,
    /// The provider's customer.
    pub customer: Option<PaymentRef>,
    /// The subscription that is paid for, if it is one.
    pub subscription: Option<PaymentRef>,
}

/// What a checkout of a subscription says: whose the [customer](Payer::customer) is, and whose the [subscription](Payer::subscription).
#[derive(Debug, Clone)]
pub struct Link {
    /// Who went through it.
    pub payer: Payer,
    /// The name of the plan; `None` when it is not in the catalogue.
    pub item: Option<String>,
    /// Whether the first period is paid.
    pub is_paid: bool,
}

/// Something that was paid and is to be granted, once.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// Names it: the session, or the invoice.
    pub id: PaymentRef,
    /// Who paid.
    pub payer: Payer,
    /// A first period, a renewal, an upgrade or a pack.
    pub kind: EntryKind,
    /// The name of the pack or plan in the catalogue.
    pub item: String,
    /// What is granted for it, by the catalogue, unless its period granted some of it before.
    pub credits: Amount,
    /// What paid it, as far as the event tells: refunds and disputes name these.
    pub payments: Vec<PaidPart>,
    /// What it cost, in the least unit of its currency, whatever it was paid with.
    pub total: u64,
    /// How much money came for it now, in the least unit of its currency: what the payer had with the provider already is no part of it.
    pub paid: u64,
    /// For the mail.
    pub price: Price,
    /// The paid period, of a plan.
    pub term: Option<Term>,
    /// The plan before, of an upgrade.
    pub old_item: Option<String>,
    /// Whether the same money paid for something else, too, that nobody here can account for.
    pub has_more: bool,
}

/// A payment of a purchase, which several may have paid together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidPart {
    /// Which.
    pub payment: PaymentRef,
    /// What it paid of the purchase, in the least unit of its currency; 0 when nobody told.
    pub amount: u64,
}

/// The period of a subscription that a purchase pays, or what is left of it after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Whose period it is.
    pub subscription: PaymentRef,
    /// UTC.
    pub start: OffsetDateTime,
    /// UTC; the next one begins with it.
    pub end: OffsetDateTime,
    /// What the plan that was paid grants for a whole period.
    pub worth: Credits,
}

/// An amount of money, as mails show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// A decimal such as `9.00`.
    pub amount: String,
    /// ISO 4217, such as `EUR`.
    pub currency: String,
}

/// A payment of a subscription that did not go through.
#[derive(Debug, Clone)]
pub struct FailedPayment {
    /// What should be paid: the name of the purchase that it would be.
    pub invoice: PaymentRef,
    /// Who should pay.
    pub payer: Payer,
    /// The name of the plan.
    pub item: String,
    /// What is owed.
    pub price: Price,
    /// When it is tried again, if it is; UTC.
    pub retry_at: Option<OffsetDateTime>,
    /// The provider's page that takes the payment.
    pub page: Option<String>,
}

/// How far a dispute is. What is later replaces what is earlier, in whatever order it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dispute {
    /// None, or an inquiry that moved no money.
    None,
    /// The money is away.
    Open,
    /// It came back.
    Won,
    /// It is gone for good.
    Lost,
}

impl Dispute {
    /// For stores.
    pub const fn rank(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Open => 1,
            Self::Won => 2,
            Self::Lost => 3,
        }
    }

    /// For stores; `None` for what no version writes.
    pub const fn from_rank(rank: i16) -> Option<Self> {
        Some(match rank {
            0 => Self::None,
            1 => Self::Open,
            2 => Self::Won,
            3 => Self::Lost,
            _ => return None,
        })
    }

    /// Whether it holds the money.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Open | Self::Lost)
    }
}

/// What an event says of a subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionChange {
    /// Whose.
    pub payer: Payer,
    /// How it is now.
    pub subscription: Subscription,
}

/// A subscription, as the newest event about it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// Whose; [`SubscriptionChange::payer`] decides in an event.
    pub user: Option<UserId>,
    /// The name of its plan; `None` when its price is not in the catalogue.
    pub item: Option<String>,
    /// As the provider spells it: `active`, `past_due`, `canceled`.
    pub status: String,
    /// End of the period that is paid, or is being paid; UTC.
    pub period_end: Option<OffsetDateTime>,
    /// When it ends, if that is settled; UTC.
    pub cancel_at: Option<OffsetDateTime>,
    /// Which event said so, as [`order`](Self::order) compares them.
    pub told: (OffsetDateTime, i16),
}

impl Subscription {
    /// Whether it is over: it never lives again.
    pub fn has_ended(&self) -> bool {
        matches!(&*self.status, "canceled" | "incomplete_expired")
    }

    /// Of two statements about one subscription, the greater one holds, in whatever order they come: an end is final, then the later event, then,
    /// within one second, a change after a creation.
    pub fn order(&self) -> (bool, OffsetDateTime, i16) {
        (self.has_ended(), self.told.0, self.told.1)
    }
}

/// The end of a subscription, as an answer of the provider tells it, and no event yet.
#[derive(Debug, Clone)]
pub struct SubscriptionEnd {
    /// Which.
    pub id: PaymentRef,
    /// The name of the plan that it had then; `None` where the answer or the catalogue has none, and what is known here stands.
    pub item: Option<String>,
    /// When it ended, at the latest; UTC.
    pub at: OffsetDateTime,
    /// When the answer was given; UTC.
    pub received_at: OffsetDateTime,
    /// For the mail that it may cause; `None` where nobody would send it.
    pub mail: Option<MailId>,
}

/// A purchase as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPurchase {
    /// The session or the invoice.
    pub id: PaymentRef,
    /// Whose.
    pub user: UserId,
    /// Why credits were granted.
    pub kind: EntryKind,
    /// The name of the pack or plan.
    pub item: String,
    /// What was granted.
    pub granted: Credits,
    /// How much of it is taken back, out of the balance or as debt.
    pub taken: Credits,
    /// What it cost, in the least unit of its currency; 0 when nobody told.
    pub total: u64,
    /// The paid period, of a plan.
    pub term: Option<Term>,
    /// UTC.
    pub created_at: OffsetDateTime,
}

/// A payment as it is kept: what refunds say about it, whether or not its purchase is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPayment {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// What it paid, when that is known.
    pub purchase: Option<PaymentRef>,
    /// In the least unit of its currency; 0 until somebody tells it.
    pub amount: u64,
    /// How much of it was given back.
    pub refunded: u64,
}

/// A dispute of a payment, which may have had others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDispute {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// What is disputed.
    pub payment: PaymentRef,
    /// How far it is.
    pub state: Dispute,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal),* $(,)?) => {
        /// What became of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventOutcome { $($(#[$doc])* $variant),* }

        impl EventOutcome {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Stable and `snake_case`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// For stores.
            ///
            /// # Errors
            /// [`Invalid`]: `invalid_outcome`.
            pub fn parse(raw: &str) -> Result<Self, Invalid> {
                match raw {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(Invalid::new("invalid_outcome", "There is no such outcome of an event.")),
                }
            }
        }
    };
}

outcomes! {
    /// It had its effect.
    Applied => "applied",
    /// It is none that concerns us, or it says what was known.
    Ignored => "ignored",
    /// It tells of live money here, where money is for tests, or the other way round.
    OtherMode => "other_mode",
    /// It is of an account at the provider that is connected to ours.
    OtherAccount => "other_account",
    /// The balance would be above what a balance can hold.
    Overflow => "overflow",
    /// It had its effect, and its money paid for more than that: it is known what for a part of it alone.
    Partly => "partly",
    /// Money was paid for a subscription, and what for is not known: it has several plans or quantities, or grants nothing.
    Unaccounted => "unaccounted",
    /// It lacks what events of its kind have.
    Unreadable => "unreadable",
    /// Money was paid for what the catalogue does not have.
    UnknownItem => "unknown_item",
    /// A refund or a dispute of a payment that granted nothing, so far: it counts when the purchase becomes known.
    UnknownPayment => "unknown_payment",
    /// It concerns nobody that we know, or an account that is gone.
    UnknownUser => "unknown_user",
}

impl EventOutcome {
    /// Whether it had its effect.
    pub const fn is_processed(self) -> bool {
        matches!(self, Self::Applied | Self::Partly)
    }

    /// Whether it has come to an end. What has not is applied again when it is sent again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Applied | Self::Ignored | Self::Partly)
    }

    /// Whether an operator should look.
    pub const fn is_alarming(self) -> bool {
        !matches!(self, Self::Applied | Self::Ignored)
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processed {
    /// What became of the event.
    pub outcome: EventOutcome,
    /// It had come to an end before, and nothing was done now.
    pub is_replay: bool,
}

/// An event as it is kept, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvent {
    /// The provider's name for it.
    pub id: PaymentRef,
    /// As the provider names its kind.
    pub kind: String,
    /// What became of it.
    pub outcome: EventOutcome,
    /// When it was delivered first; UTC.
    pub received_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::{Dispute, EventOutcome, PaymentRef};

    #[test]
    fn an_outcome_is_read_as_it_is_written() {
        for outcome in EventOutcome::ALL {
            assert_eq!(EventOutcome::parse(outcome.as_str()), Ok(*outcome));
        }
        assert!(EventOutcome::parse("Applied").is_err());
    }

    #[test]
    fn a_dispute_is_read_as_it_is_written() {
        for rank in 0..4 {
            assert_eq!(Dispute::from_rank(rank).map(Dispute::rank), Some(rank));
        }
        assert_eq!(Dispute::from_rank(4), None);
    }

    #[test]
    fn a_reference_is_visible_ascii() {
        assert!(PaymentRef::parse("cs_test_a1").is_ok());
        for raw in ["", "a b", "\u{e9}", "a\n", &"a".repeat(256)] {
            assert!(PaymentRef::parse(raw).is_err(), "{raw:?}");
        }
    }
}
