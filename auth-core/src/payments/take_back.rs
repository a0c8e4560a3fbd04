use super::PaymentRows;
use crate::{
    ports::Booking,
    types::{
        Caller, Credits, Direction, Entry, EntryKind, EventOutcome, KeptPayment, KeptPurchase,
        PaymentEvent, ReferenceId, UserId,
    },
};

/// Who asks for what an event moves, in the ledger.
const CALLER: &str = "payments";

/// How often a debit is tried with what the balance is by then.
const TRIES: u32 = 8;

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
    if let Some(more) = due
        .checked_sub(purchase.taken)
        .filter(|more| *more > Credits::ZERO)
    {
        let (unpaid, _) = debit(rows, event, purchase.user, kind, more).await?;
        rows.set_debt(purchase.user, plus(debt, unpaid)).await?;
    } else if let Some(less) = purchase
        .taken
        .checked_sub(due)
        .filter(|less| *less > Credits::ZERO)
    {
        // What is still owed is not given first and owed on.
        let settled = less.min(debt);
        let given = minus(less, settled);
        if given > Credits::ZERO {
            let reference = event.id.as_str();
            let entry = entry(
                event,
                purchase.user,
                EntryKind::Adjustment,
                Direction::Credit,
                given,
                reference,
            );
            if let Booking::Overflow = rows.book(&entry).await? {
                return Ok(EventOutcome::Overflow);
            }
        }
        rows.set_debt(purchase.user, minus(debt, settled)).await?;
    }
    purchase.taken = due;
    rows.put_purchase(&purchase).await?;
    Ok(EventOutcome::Applied)
}

/// Settles what its user owes out of a purchase that was granted just now, and takes back what was given back before it came. The balance after
/// that, when it took anything.
pub(super) async fn after_grant<R: PaymentRows>(
    rows: &mut R,
    event: &PaymentEvent,
    purchase: &mut KeptPurchase,
) -> Result<Option<Credits>, R::Error> {
    let (due, kind) = due(rows, purchase).await?;
    let debt = rows.debt(purchase.user).await?;
    if (due, debt) == (Credits::ZERO, Credits::ZERO) {
        return Ok(None);
    }
    let settled = debt.min(minus(purchase.granted, due));
    let (unpaid, balance) = debit(rows, event, purchase.user, kind, plus(due, settled)).await?;
    rows.set_debt(purchase.user, plus(minus(debt, settled), unpaid))
        .await?;
    purchase.taken = due;
    rows.put_purchase(purchase).await?;
    Ok(balance)
}

/// How much of a purchase is to be taken back by all that is known now, and as what.
async fn due<R: PaymentRows>(
    rows: &mut R,
    purchase: &KeptPurchase,
) -> Result<(Credits, EntryKind), R::Error> {
    let payments = rows.payments_of(&purchase.id).await?;
    if payments.iter().any(|payment| payment.dispute.holds()) {
        return Ok((purchase.granted, EntryKind::Adjustment));
    }
    let shares = payments.iter().fold(Credits::ZERO, |sum, payment| {
        plus(sum, share(purchase.granted, payment))
    });
    // Never more than was granted.
    Ok((shares.min(purchase.granted), EntryKind::Refund))
}

/// The share of what was granted that a payment's refunds take back, rounded up to a hundredth.
fn share(granted: Credits, payment: &KeptPayment) -> Credits {
    if payment.refunded == 0 {
        return Credits::ZERO;
    }
    let (paid, refunded) = (u128::from(payment.amount), u128::from(payment.refunded));
    let whole = u128::from(granted.as_hundredths().unsigned_abs());
    // i64 times u64 fits into u128. Nothing paid, and yet given back: all of it.
    let share = if paid == 0 {
        whole
    } else {
        (whole * refunded).div_ceil(paid)
    };
    i64::try_from(share)
        .ok()
        .and_then(Credits::from_hundredths)
        .unwrap_or(granted)
        .min(granted)
}

/// Takes what the balance has, up to an amount; what it did not have, and the balance after it. Others use the balance meanwhile: the ledger decides.
async fn debit<R: PaymentRows>(
    rows: &mut R,
    event: &PaymentEvent,
    user: UserId,
    kind: EntryKind,
    amount: Credits,
) -> Result<(Credits, Option<Credits>), R::Error> {
    let mut take = amount;
    for _ in 0..TRIES {
        if take == Credits::ZERO {
            break;
        }
        let reference = event.id.as_str();
        let entry = entry(event, user, kind, Direction::Debit, take, reference);
        match rows.book(&entry).await? {
            Booking::Done(booked) | Booking::Replayed(booked) => {
                return Ok((minus(amount, take), Some(booked.new_balance)));
            }
            Booking::Insufficient(balance) => take = take.min(balance),
            Booking::Conflict | Booking::Overflow | Booking::UnknownUser => break,
        }
    }
    Ok((amount, None))
}

/// An entry of the ledger that an event makes.
pub(super) fn entry(
    event: &PaymentEvent,
    user: UserId,
    kind: EntryKind,
    direction: Direction,
    amount: Credits,
    reference: &str,
) -> Entry {
    let [gives, takes] = event.entries;
    Entry {
        id: match direction {
            Direction::Credit => gives,
            Direction::Debit => takes,
        },
        user_id: user,
        kind,
        direction,
        amount,
        // What the provider's references are made of, a reference takes.
        reference: ReferenceId::parse(reference).ok(),
        description: None,
        idempotency_key: None,
        caller: caller(),
        request_id: None,
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
fn minus(one: Credits, other: Credits) -> Credits {
    one.checked_sub(other).unwrap_or(Credits::ZERO)
}

#[cfg(test)]
mod tests {
    use super::share;
    use crate::types::{Credits, Dispute, KeptPayment, PaymentRef};

    #[test]
    fn a_share_is_rounded_up_to_a_hundredth_and_never_more_than_the_whole() {
        for (granted, amount, refunded, expected) in [
            ("100.00", 900, 0, "0.00"),
            ("100.00", 900, 450, "50.00"),
            ("100.00", 900, 300, "33.34"),
            ("0.01", 900, 1, "0.01"),
            ("100.00", 900, 900, "100.00"),
            ("100.00", 900, 901, "100.00"),
            ("100.00", 900, u64::MAX, "100.00"),
            ("100.00", 0, 1, "100.00"),
            ("100.00", u64::MAX, u64::MAX, "100.00"),
            ("92233720368547758.07", u64::MAX, 1, "0.01"),
        ] {
            let payment = KeptPayment {
                id: PaymentRef::parse("pi_1").unwrap(),
                purchase: None,
                amount,
                refunded,
                dispute: Dispute::None,
            };
            let taken = share(Credits::parse(granted).unwrap(), &payment);
            assert_eq!(taken.to_string(), expected, "{refunded} of {amount}");
        }
    }
}
