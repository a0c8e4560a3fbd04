use super::PaymentRows;
use crate::{
    ports::Booking,
    types::{
        BookedEntry, Caller, Credits, Description, Direction, Entry, EntryKind, EventOutcome,
        KeptPayment, KeptPurchase, PaymentEvent, ReferenceId, UserId,
    },
};

/// Who asks for what an event moves, in the ledger.
const CALLER: &str = "payments";

/// What the history of a user says of an entry that settles what they owe.
const SETTLES: &str = "Settles credits that were used and then given back.";

/// Keeps what is known of a payment by now, and takes back, or gives again, what that means for its purchase.
pub(super) async fn because_of<R: PaymentRows>(
    rows: &mut R,
    event: &PaymentEvent,
    payment: KeptPayment,
) -> Result<EventOutcome, R::Error> {
    rows.put_payment(&payment).await?;
    let purchase = match &payment.purchase {
        Some(id) => rows.purchase(id).await?,
        None => None,
    };
    let Some(mut purchase) = purchase else {
        return Ok(EventOutcome::UnknownPayment);
    };
    if rows.user(purchase.user).await?.is_none() {
        return Ok(EventOutcome::UnknownUser);
    }
    let (due, kind) = due(rows, &purchase).await?;
    let debt = rows.debt(purchase.user).await?;
    if due > purchase.taken {
        let more = minus(due, purchase.taken);
        let entry = entry(event, purchase.user, kind, Direction::Debit, more);
        let (unpaid, _) = debit(rows, entry).await?;
        rows.set_debt(purchase.user, plus(debt, unpaid)).await?;
    } else if due < purchase.taken {
        // What is still owed is not given first and owed on.
        let less = minus(purchase.taken, due);
        let settled = less.min(debt);
        let given = minus(less, settled);
        if given > Credits::ZERO {
            let kind = EntryKind::Adjustment;
            let entry = entry(event, purchase.user, kind, Direction::Credit, given);
            if book(rows, entry).await?.is_none() {
                return Ok(EventOutcome::Overflow);
            }
        }
        rows.set_debt(purchase.user, minus(debt, settled)).await?;
    }
    purchase.taken = due;
    rows.put_purchase(&purchase).await?;
    rows.settle_events(&payment.id).await?;
    Ok(EventOutcome::Applied)
}

/// Takes back of a purchase, which was granted just now, what was given back before it came, and settles out of the rest what its user owes. The
/// balance after that, when it took anything.
pub(super) async fn after_grant<R: PaymentRows>(
    rows: &mut R,
    event: &PaymentEvent,
    purchase: &mut KeptPurchase,
) -> Result<Option<Credits>, R::Error> {
    let user = purchase.user;
    let (due, kind) = due(rows, purchase).await?;
    let debt = rows.debt(user).await?;
    let settled = debt.min(minus(purchase.granted, due));
    let mut balance = None;
    let mut owed = minus(debt, settled);
    if due > Credits::ZERO {
        let entry = entry(event, user, kind, Direction::Debit, due);
        let (unpaid, left) = debit(rows, entry).await?;
        owed = plus(owed, unpaid);
        balance = left;
        purchase.taken = due;
        rows.put_purchase(purchase).await?;
    }
    if settled > Credits::ZERO {
        let entry = Entry {
            id: event.entries.settles,
            reference: ReferenceId::parse(purchase.id.as_str()).ok(),
            description: Description::parse(SETTLES).ok(),
            ..entry(
                event,
                user,
                EntryKind::Adjustment,
                Direction::Debit,
                settled,
            )
        };
        let (unpaid, left) = debit(rows, entry).await?;
        owed = plus(owed, unpaid);
        balance = left.or(balance);
    }
    if owed != debt {
        rows.set_debt(user, owed).await?;
    }
    for payment in rows.payments_of(&purchase.id).await? {
        rows.settle_events(&payment.id).await?;
    }
    Ok(balance)
}

/// How much of a purchase refunds take back for good.
pub(super) async fn refunded<R: PaymentRows>(
    rows: &mut R,
    purchase: &KeptPurchase,
) -> Result<Credits, R::Error> {
    let payments = rows.payments_of(&purchase.id).await?;
    let shares = payments.iter().fold(Credits::ZERO, |sum, payment| {
        plus(sum, share(purchase, payment, payment.refunded))
    });
    Ok(shares.min(purchase.granted))
}

/// How much of a purchase is to be taken back by all that is known now, and as what.
async fn due<R: PaymentRows>(
    rows: &mut R,
    purchase: &KeptPurchase,
) -> Result<(Credits, EntryKind), R::Error> {
    let mut kind = EntryKind::Refund;
    let mut sum = Credits::ZERO;
    for payment in rows.payments_of(&purchase.id).await? {
        let disputes = rows.disputes_of(&payment.id).await?;
        let away = if disputes.iter().any(|dispute| dispute.state.holds()) {
            kind = EntryKind::Adjustment;
            // A disputed payment is away as a whole, whatever it says about its amount in another currency.
            u64::MAX
        } else {
            payment.refunded
        };
        sum = plus(sum, share(purchase, &payment, away));
    }
    // Never more than was granted.
    Ok((sum.min(purchase.granted), kind))
}

/// The share of what was granted that is taken back when so much of a payment went back, rounded up to a hundredth.
fn share(purchase: &KeptPurchase, payment: &KeptPayment, away: u64) -> Credits {
    if away == 0 {
        return Credits::ZERO;
    }
    // Of a payment whose amount nobody told, any part may be all of it.
    let away = match payment.amount {
        0 => away,
        amount => away.min(amount),
    };
    // One of several payments is a part of the price; one that paid for more than this purchase, too, went back by its own share.
    let whole = u128::from(purchase.total.max(payment.amount));
    let granted = u128::from(purchase.granted.as_hundredths().unsigned_abs());
    // i64 times u64 fits into u128. Nothing paid, and yet given back: all of it.
    let share = if whole == 0 {
        granted
    } else {
        (granted * u128::from(away)).div_ceil(whole)
    };
    i64::try_from(share)
        .ok()
        .and_then(Credits::from_hundredths)
        .unwrap_or(purchase.granted)
        .min(purchase.granted)
}

/// Takes what the balance has, up to the amount of an entry: what it did not have, and the balance after it, when it took anything.
async fn debit<R: PaymentRows>(
    rows: &mut R,
    entry: Entry,
) -> Result<(Credits, Option<Credits>), R::Error> {
    let amount = entry.amount;
    let take = amount.min(rows.hold_balance(entry.user_id).await?);
    if take == Credits::ZERO {
        return Ok((amount, None));
    }
    let entry = Entry {
        amount: take,
        ..entry
    };
    // The balance is held, so it has what it had.
    Ok(match book(rows, entry).await? {
        Some(booked) => (minus(amount, take), Some(booked.new_balance)),
        None => (amount, None),
    })
}

/// Books an entry; `None` when the balance would be above what a balance can hold.
pub(super) async fn book<R: PaymentRows>(
    rows: &mut R,
    mut entry: Entry,
) -> Result<Option<BookedEntry>, R::Error> {
    let mut booking = rows.book(&entry).await?;
    if let Booking::Conflict = booking {
        // Something of the host's has a reference like the provider's. That an event has one effect does not hang on it.
        entry.reference = None;
        booking = rows.book(&entry).await?;
    }
    Ok(match booking {
        Booking::Done(booked) | Booking::Replayed(booked) => Some(booked),
        // All but the first are impossible: the user and the balance are held.
        Booking::Overflow | Booking::Conflict | Booking::Insufficient(_) | Booking::UnknownUser => {
            None
        }
    })
}

/// An entry of the ledger that an event makes, under the event's name.
pub(super) fn entry(
    event: &PaymentEvent,
    user: UserId,
    kind: EntryKind,
    direction: Direction,
    amount: Credits,
) -> Entry {
    Entry {
        id: match direction {
            Direction::Credit => event.entries.gives,
            Direction::Debit => event.entries.takes,
        },
        user_id: user,
        kind,
        direction,
        amount,
        // What the provider's references are made of, a reference takes.
        reference: ReferenceId::parse(event.id.as_str()).ok(),
        description: None,
        idempotency_key: None,
        caller: caller(),
        request_id: event.request_id.clone(),
        created_at: event.received_at,
    }
}

#[allow(clippy::expect_used)]
fn caller() -> Caller {
    Caller::parse(CALLER).expect("the name is made of letters")
}

fn plus(one: Credits, other: Credits) -> Credits {
    one.checked_add(other).unwrap_or(Credits::MAX)
}

/// Zero where it would be below.
pub(super) fn minus(one: Credits, other: Credits) -> Credits {
    one.checked_sub(other).unwrap_or(Credits::ZERO)
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::{SETTLES, share};
    use crate::{
        ports::OsRandom,
        types::{Credits, Description, EntryKind, KeptPayment, KeptPurchase, PaymentRef, UserId},
    };

    #[test]
    fn a_share_is_rounded_up_to_a_hundredth_and_never_more_than_the_whole() {
        for (granted, total, amount, away, expected) in [
            ("100.00", 900, 900, 0, "0.00"),
            ("100.00", 900, 900, 450, "50.00"),
            ("100.00", 900, 900, 300, "33.34"),
            ("0.01", 900, 900, 1, "0.01"),
            ("100.00", 900, 900, 900, "100.00"),
            ("100.00", 900, 900, 901, "100.00"),
            ("100.00", 900, 900, u64::MAX, "100.00"),
            // One of several payments, and one whose amount nobody told.
            ("100.00", 900, 300, 300, "33.34"),
            ("100.00", 900, 300, u64::MAX, "33.34"),
            ("100.00", 900, 0, 300, "33.34"),
            ("100.00", 900, 0, u64::MAX, "100.00"),
            // A price that nobody told, or that was a part of what was paid at once.
            ("100.00", 0, 900, 450, "50.00"),
            ("100.00", 450, 900, 450, "50.00"),
            ("100.00", 0, 0, 1, "100.00"),
            ("100.00", u64::MAX, u64::MAX, u64::MAX, "100.00"),
            ("92233720368547758.07", u64::MAX, 1, 1, "0.01"),
        ] {
            let purchase = KeptPurchase {
                id: PaymentRef::parse("in_1").unwrap(),
                user: UserId::generate(OffsetDateTime::UNIX_EPOCH, &OsRandom),
                kind: EntryKind::PlanPurchase,
                item: "basic".to_owned(),
                granted: Credits::parse(granted).unwrap(),
                taken: Credits::ZERO,
                total,
                term: None,
                created_at: OffsetDateTime::UNIX_EPOCH,
            };
            let payment = KeptPayment {
                id: PaymentRef::parse("pi_1").unwrap(),
                purchase: None,
                amount,
                refunded: 0,
            };
            let taken = share(&purchase, &payment, away);
            assert_eq!(taken.to_string(), expected, "{away} of {amount} of {total}");
        }
    }

    #[test]
    fn what_settles_debt_is_described() {
        assert!(Description::parse(SETTLES).is_ok());
    }
}
