use async_trait::async_trait;
use auth_core::{
    payments::{PaymentRows, apply},
    ports::Booking,
    types::{
        Credits, Dispute, Entry, EntryKind, EventOutcome, KeptDispute, KeptEvent, KeptPayment,
        KeptPurchase, PaymentEvent, PaymentRef, Processed, QueuedMail, Record, Subscription, Term,
        User, UserId,
    },
};
use sqlx::{Connection, PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;

use super::{append, credits, text, unreadable, users};

/// The statuses of subscriptions that have not ended.
macro_rules! living {
    () => {
        "status not in ('canceled', 'incomplete_expired')"
    };
}

/// What [`subscription`] reads.
macro_rules! subscription_columns {
    () => {
        "id, user_id, item, status, period_end, cancel_at, told_at, told_rank"
    };
}

/// What [`purchase`] reads.
macro_rules! purchase_columns {
    () => {
        "id, user_id, kind, item, granted, taken, created_at, total, subscription, term_start, term_end, worth"
    };
}

/// Kept until the transaction ends; the first number is that of all our locks.
const TURN: &str = "select pg_advisory_xact_lock(1635087464, 2)";

/// One transaction.
pub(crate) struct Rows<'c>(pub(crate) &'c mut PgConnection);

#[async_trait]
impl PaymentRows for Rows<'_> {
    type Error = sqlx::Error;

    async fn take_turn(&mut self) -> sqlx::Result<()> {
        // Before the first row is read; the statements after it see what the turn before committed. No lock of the table, which would ask for rights
        // beyond those of writing rows, and hold up its vacuum.
        sqlx::query(TURN).execute(&mut *self.0).await?;
        Ok(())
    }

    async fn event(&mut self, id: &PaymentRef) -> sqlx::Result<Option<EventOutcome>> {
        let row = sqlx::query("select outcome from auth.payment_events where id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.0)
            .await?;
        row.map(|row| text(&row, "outcome", EventOutcome::parse))
            .transpose()
    }

    async fn put_event(&mut self, event: &PaymentEvent, outcome: EventOutcome) -> sqlx::Result<()> {
        sqlx::query(
            "insert into auth.payment_events (id, kind, outcome, created_at, received_at, payment) values ($1, $2, $3, $4, $5, $6)
             on conflict (id) do update set outcome = excluded.outcome, payment = excluded.payment",
        )
        .bind(event.id.as_str())
        .bind(&*event.kind)
        .bind(outcome.as_str())
        .bind(event.created_at)
        .bind(event.received_at)
        .bind(event.fact.payment().map(PaymentRef::as_str))
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn settle_events(&mut self, payment: &PaymentRef) -> sqlx::Result<()> {
        sqlx::query(
            "update auth.payment_events set outcome = 'applied' where payment = $1 and outcome = 'unknown_payment'",
        )
        .bind(payment.as_str())
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn user(&mut self, id: UserId) -> sqlx::Result<Option<User>> {
        users::hold(self.0, id).await
    }

    async fn user_of_customer(&mut self, customer: &PaymentRef) -> sqlx::Result<Option<UserId>> {
        let id =
            sqlx::query_scalar("select user_id from auth.payment_accounts where customer = $1")
                .bind(customer.as_str())
                .fetch_optional(&mut *self.0)
                .await?;
        Ok(id.map(UserId::from_uuid))
    }

    async fn keep_customer(
        &mut self,
        user: UserId,
        customer: &PaymentRef,
    ) -> sqlx::Result<Option<PaymentRef>> {
        keep_customer(self.0, user, customer).await
    }

    async fn purchase(&mut self, id: &PaymentRef) -> sqlx::Result<Option<KeptPurchase>> {
        let row = sqlx::query(concat!(
            "select ",
            purchase_columns!(),
            " from auth.purchases where id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(&mut *self.0)
        .await?;
        row.as_ref().map(purchase).transpose()
    }

    async fn put_purchase(&mut self, purchase: &KeptPurchase) -> sqlx::Result<()> {
        let term = purchase.term.as_ref();
        sqlx::query(concat!(
            "insert into auth.purchases (",
            purchase_columns!(),
            ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (id) do update set taken = excluded.taken"
        ))
        .bind(purchase.id.as_str())
        .bind(purchase.user.as_uuid())
        .bind(purchase.kind.as_str())
        .bind(&*purchase.item)
        .bind(purchase.granted.as_hundredths())
        .bind(purchase.taken.as_hundredths())
        .bind(purchase.created_at)
        .bind(money(purchase.total))
        .bind(term.map(|term| term.subscription.as_str()))
        .bind(term.map(|term| term.start))
        .bind(term.map(|term| term.end))
        .bind(term.map(|term| term.worth.as_hundredths()))
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn terms(
        &mut self,
        subscription: &PaymentRef,
        start: OffsetDateTime,
        end: OffsetDateTime,
    ) -> sqlx::Result<Vec<KeptPurchase>> {
        let rows = sqlx::query(concat!(
            "select ",
            purchase_columns!(),
            " from auth.purchases where subscription = $1 and term_start < $3 and term_end > $2"
        ))
        .bind(subscription.as_str())
        .bind(start)
        .bind(end)
        .fetch_all(&mut *self.0)
        .await?;
        rows.iter().map(purchase).collect()
    }

    async fn payment(&mut self, id: &PaymentRef) -> sqlx::Result<Option<KeptPayment>> {
        let row =
            sqlx::query("select id, purchase, amount, refunded from auth.payments where id = $1")
                .bind(id.as_str())
                .fetch_optional(&mut *self.0)
                .await?;
        row.as_ref().map(payment).transpose()
    }

    async fn payments_of(&mut self, purchase: &PaymentRef) -> sqlx::Result<Vec<KeptPayment>> {
        let rows = sqlx::query(
            "select id, purchase, amount, refunded from auth.payments where purchase = $1",
        )
        .bind(purchase.as_str())
        .fetch_all(&mut *self.0)
        .await?;
        rows.iter().map(payment).collect()
    }

    async fn put_payment(&mut self, payment: &KeptPayment) -> sqlx::Result<()> {
        sqlx::query(
            "insert into auth.payments (id, purchase, amount, refunded) values ($1, $2, $3, $4)
             on conflict (id) do update set purchase = excluded.purchase, amount = excluded.amount, refunded = excluded.refunded",
        )
        .bind(payment.id.as_str())
        .bind(payment.purchase.as_ref().map(PaymentRef::as_str))
        .bind(money(payment.amount))
        .bind(money(payment.refunded))
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn dispute(&mut self, id: &PaymentRef) -> sqlx::Result<Option<KeptDispute>> {
        let row = sqlx::query("select id, payment, state from auth.disputes where id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *self.0)
            .await?;
        row.as_ref().map(dispute).transpose()
    }

    async fn disputes_of(&mut self, payment: &PaymentRef) -> sqlx::Result<Vec<KeptDispute>> {
        let rows = sqlx::query("select id, payment, state from auth.disputes where payment = $1")
            .bind(payment.as_str())
            .fetch_all(&mut *self.0)
            .await?;
        rows.iter().map(dispute).collect()
    }

    async fn put_dispute(&mut self, dispute: &KeptDispute) -> sqlx::Result<()> {
        sqlx::query(
            "insert into auth.disputes (id, payment, state) values ($1, $2, $3)
             on conflict (id) do update set payment = excluded.payment, state = excluded.state",
        )
        .bind(dispute.id.as_str())
        .bind(dispute.payment.as_str())
        .bind(dispute.state.rank())
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn debt(&mut self, user: UserId) -> sqlx::Result<Credits> {
        debt(self.0, user).await
    }

    async fn set_debt(&mut self, user: UserId, debt: Credits) -> sqlx::Result<()> {
        sqlx::query(
            "insert into auth.payment_accounts (user_id, debt) values ($1, $2) on conflict (user_id) do update set debt = excluded.debt",
        )
        .bind(user.as_uuid())
        .bind(debt.as_hundredths())
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn subscription(&mut self, id: &PaymentRef) -> sqlx::Result<Option<Subscription>> {
        let row = sqlx::query(concat!(
            "select ",
            subscription_columns!(),
            " from auth.subscriptions where id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(&mut *self.0)
        .await?;
        row.as_ref().map(subscription).transpose()
    }

    async fn put_subscription(&mut self, subscription: &Subscription) -> sqlx::Result<()> {
        sqlx::query(concat!(
            "insert into auth.subscriptions (",
            subscription_columns!(),
            ") values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (id) do update set user_id = excluded.user_id, item = excluded.item, status = excluded.status,
                 period_end = excluded.period_end, cancel_at = excluded.cancel_at, told_at = excluded.told_at, told_rank = excluded.told_rank"
        ))
        .bind(subscription.id.as_str())
        .bind(subscription.user.map(|user| user.as_uuid()))
        .bind(subscription.item.as_deref())
        .bind(&*subscription.status)
        .bind(subscription.period_end)
        .bind(subscription.cancel_at)
        .bind(subscription.told.0)
        .bind(subscription.told.1)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn hold_balance(&mut self, user: UserId) -> sqlx::Result<Credits> {
        let row = sqlx::query(
            "select balance from auth.credit_accounts where user_id = $1 for no key update",
        )
        .bind(user.as_uuid())
        .fetch_optional(&mut *self.0)
        .await?;
        row.map_or(Ok(Credits::ZERO), |row| credits::credits(&row, "balance"))
    }

    async fn book(&mut self, entry: &Entry) -> sqlx::Result<Booking> {
        credits::book(self.0, entry).await
    }

    async fn queue_mail(&mut self, mail: &QueuedMail) -> sqlx::Result<()> {
        let record = Record {
            mails: vec![mail.clone()],
            audit: Vec::new(),
        };
        append(self.0, &record).await
    }
}

/// What an event would come to: its steps, and then none of them.
pub(crate) async fn try_event(
    connection: &mut PgConnection,
    event: &PaymentEvent,
) -> sqlx::Result<Processed> {
    let mut trial = connection.begin().await?;
    let processed = apply(&mut Rows(&mut trial), event).await?;
    trial.rollback().await?;
    Ok(processed)
}

/// Which of these names are of events that have come to an end, or of purchases.
pub(crate) async fn settled(
    connection: &mut PgConnection,
    ids: &[String],
) -> sqlx::Result<Vec<PaymentRef>> {
    let rows = sqlx::query(
        "select id from auth.payment_events where id = any($1) and outcome in ('applied', 'ignored', 'partly')
         union select id from auth.purchases where id = any($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| text(row, "id", PaymentRef::parse))
        .collect()
}

pub(crate) async fn customer(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Option<PaymentRef>> {
    let row = sqlx::query(
        "select customer from auth.payment_accounts where user_id = $1 and customer is not null",
    )
    .bind(user.as_uuid())
    .fetch_optional(connection)
    .await?;
    row.map(|row| text(&row, "customer", PaymentRef::parse))
        .transpose()
}

/// Keeps a customer unless there is one, or the customer is another user's; the one that is kept.
pub(crate) async fn keep_customer(
    connection: &mut PgConnection,
    user: UserId,
    customer: &PaymentRef,
) -> sqlx::Result<Option<PaymentRef>> {
    let rows = sqlx::query(
        "with kept as (
             insert into auth.payment_accounts as a (user_id, customer)
             select u.id, $2 from auth.users u where u.id = $1
                 and not exists (select from auth.payment_accounts o where o.customer = $2 and o.user_id <> u.id)
             on conflict (user_id) do update set customer = coalesce(a.customer, excluded.customer) returning customer
         )
         select customer from kept
         union all select a.customer from auth.payment_accounts a join auth.users u on u.id = a.user_id
             where a.user_id = $1 and a.customer is not null
         limit 1",
    )
    .bind(user.as_uuid())
    .bind(customer.as_str())
    .fetch_all(connection)
    .await?;
    rows.first()
        .map(|row| text(row, "customer", PaymentRef::parse))
        .transpose()
}

/// Keeps another customer where this one is kept; the one that is kept now.
pub(crate) async fn replace_customer(
    connection: &mut PgConnection,
    user: UserId,
    gone: &PaymentRef,
    customer: &PaymentRef,
) -> sqlx::Result<Option<PaymentRef>> {
    let rows = sqlx::query(
        "update auth.payment_accounts as a set customer = case when a.customer = $2 then $3 else a.customer end
         where a.user_id = $1 and a.customer is not null and exists (select 1 from auth.users u where u.id = a.user_id) returning customer",
    )
    .bind(user.as_uuid())
    .bind(gone.as_str())
    .bind(customer.as_str())
    .fetch_all(connection)
    .await?;
    rows.first()
        .map(|row| text(row, "customer", PaymentRef::parse))
        .transpose()
}

pub(crate) async fn subscription_wish(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<u32> {
    let wish: Option<i64> =
        sqlx::query_scalar("select wish from auth.payment_accounts where user_id = $1")
            .bind(user.as_uuid())
            .fetch_optional(connection)
            .await?;
    Ok(wish.and_then(|wish| wish.try_into().ok()).unwrap_or(0))
}

pub(crate) async fn pass_subscription_wish(
    connection: &mut PgConnection,
    user: UserId,
    seen: u32,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into auth.payment_accounts as a (user_id, wish) select id, $2 + 1 from auth.users where id = $1
         on conflict (user_id) do update set wish = a.wish + 1 where a.wish = $2",
    )
    .bind(user.as_uuid())
    .bind(i64::from(seen))
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn debt(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Credits> {
    let debt = sqlx::query("select debt from auth.payment_accounts where user_id = $1")
        .bind(user.as_uuid())
        .fetch_optional(connection)
        .await?;
    debt.map_or(Ok(Credits::ZERO), |row| credits::credits(&row, "debt"))
}

/// The greatest first.
pub(crate) async fn debts(
    connection: &mut PgConnection,
    limit: u32,
) -> sqlx::Result<Vec<(UserId, Credits)>> {
    let rows = sqlx::query(
        "select user_id, debt from auth.payment_accounts where debt > 0 order by debt desc, user_id limit $1",
    )
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let user = UserId::from_uuid(row.try_get("user_id")?);
            Ok((user, credits::credits(row, "debt")?))
        })
        .collect()
}

pub(crate) async fn subscriptions(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Vec<Subscription>> {
    let rows = sqlx::query(concat!(
        "select ",
        subscription_columns!(),
        " from auth.subscriptions where user_id = $1 and ",
        living!(),
        " order by id"
    ))
    .bind(user.as_uuid())
    .fetch_all(connection)
    .await?;
    rows.iter().map(subscription).collect()
}

/// Keeps a subscription unless it is known.
pub(crate) async fn keep_subscription(
    connection: &mut PgConnection,
    user: UserId,
    subscription: &Subscription,
) -> sqlx::Result<()> {
    sqlx::query(concat!(
        "insert into auth.subscriptions (",
        subscription_columns!(),
        ") values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing"
    ))
    .bind(subscription.id.as_str())
    .bind(user.as_uuid())
    .bind(subscription.item.as_deref())
    .bind(&*subscription.status)
    .bind(subscription.period_end)
    .bind(subscription.cancel_at)
    .bind(subscription.told.0)
    .bind(subscription.told.1)
    .execute(connection)
    .await?;
    Ok(())
}

/// What is not over, of users who are gone.
pub(crate) async fn abandoned_subscriptions(
    connection: &mut PgConnection,
    limit: u32,
) -> sqlx::Result<Vec<PaymentRef>> {
    let rows = sqlx::query(concat!(
        "select id from auth.subscriptions s where ",
        living!(),
        " and not exists (select 1 from auth.users u where u.id = s.user_id) limit $1"
    ))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| text(row, "id", PaymentRef::parse))
        .collect()
}

pub(crate) async fn alarming_events(
    connection: &mut PgConnection,
    since: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<Vec<KeptEvent>> {
    let rows = sqlx::query(
        "select id, kind, outcome, received_at from auth.payment_events
         where outcome not in ('applied', 'ignored') and received_at >= $1 order by received_at desc, id desc limit $2",
    )
    .bind(since)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(KeptEvent {
                id: text(row, "id", PaymentRef::parse)?,
                kind: row.try_get("kind")?,
                outcome: text(row, "outcome", EventOutcome::parse)?,
                received_at: moment(row, "received_at")?,
            })
        })
        .collect()
}

pub(crate) async fn purchases(
    connection: &mut PgConnection,
    since: OffsetDateTime,
    after: Option<&(OffsetDateTime, PaymentRef)>,
    limit: u32,
) -> sqlx::Result<Vec<KeptPurchase>> {
    // No id is below the empty one.
    let rows = sqlx::query(concat!(
        "select ",
        purchase_columns!(),
        " from auth.purchases where created_at >= $1 and (created_at, id) > ($2, $3) order by created_at, id limit $4"
    ))
    .bind(since)
    .bind(after.map_or(OffsetDateTime::UNIX_EPOCH, |(at, _)| *at))
    .bind(after.map_or("", |(_, id)| id.as_str()))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(purchase).collect()
}

/// Money beyond what a database counts is as much as it counts.
fn money(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn purchase(row: &PgRow) -> sqlx::Result<KeptPurchase> {
    Ok(KeptPurchase {
        id: text(row, "id", PaymentRef::parse)?,
        user: UserId::from_uuid(row.try_get("user_id")?),
        kind: text(row, "kind", EntryKind::parse)?,
        item: row.try_get("item")?,
        granted: credits::credits(row, "granted")?,
        taken: credits::credits(row, "taken")?,
        total: amount(row, "total")?,
        term: term(row)?,
        created_at: moment(row, "created_at")?,
    })
}

/// All of it is there, or nothing.
fn term(row: &PgRow) -> sqlx::Result<Option<Term>> {
    let Some(subscription) = reference(row, "subscription")? else {
        return Ok(None);
    };
    Ok(Some(Term {
        subscription,
        start: moment(row, "term_start")?,
        end: moment(row, "term_end")?,
        worth: credits::credits(row, "worth")?,
    }))
}

fn payment(row: &PgRow) -> sqlx::Result<KeptPayment> {
    Ok(KeptPayment {
        id: text(row, "id", PaymentRef::parse)?,
        purchase: reference(row, "purchase")?,
        amount: amount(row, "amount")?,
        refunded: amount(row, "refunded")?,
    })
}

fn amount(row: &PgRow, column: &'static str) -> sqlx::Result<u64> {
    let amount: i64 = row.try_get(column)?;
    Ok(u64::try_from(amount).unwrap_or(0))
}

fn dispute(row: &PgRow) -> sqlx::Result<KeptDispute> {
    let state = Dispute::from_rank(row.try_get("state")?);
    Ok(KeptDispute {
        id: text(row, "id", PaymentRef::parse)?,
        payment: text(row, "payment", PaymentRef::parse)?,
        state: state.ok_or_else(|| sqlx::Error::Decode("no such state of a dispute".into()))?,
    })
}

fn subscription(row: &PgRow) -> sqlx::Result<Subscription> {
    Ok(Subscription {
        id: text(row, "id", PaymentRef::parse)?,
        user: Some(UserId::from_uuid(row.try_get("user_id")?)),
        item: row.try_get("item")?,
        status: row.try_get("status")?,
        period_end: perhaps(row, "period_end")?,
        cancel_at: perhaps(row, "cancel_at")?,
        told: (moment(row, "told_at")?, row.try_get("told_rank")?),
    })
}

fn reference(row: &PgRow, column: &'static str) -> sqlx::Result<Option<PaymentRef>> {
    row.try_get::<Option<&str>, _>(column)?
        .map(|raw| PaymentRef::parse(raw).map_err(|error| unreadable(column, error)))
        .transpose()
}

fn moment(row: &PgRow, column: &'static str) -> sqlx::Result<OffsetDateTime> {
    row.try_get(column)
}

fn perhaps(row: &PgRow, column: &'static str) -> sqlx::Result<Option<OffsetDateTime>> {
    row.try_get(column)
}
