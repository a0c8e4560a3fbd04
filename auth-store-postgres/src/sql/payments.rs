use async_trait::async_trait;
use auth_core::{
    payments::PaymentRows,
    ports::Booking,
    types::{
        Credits, Dispute, Entry, EntryKind, EventOutcome, KeptEvent, KeptPayment, KeptPurchase,
        PaymentEvent, PaymentRef, QueuedMail, Record, Subscription, User, UserId,
    },
};
use sqlx::{PgConnection, Row, postgres::PgRow};
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
        "id, user_id, kind, item, granted, taken, created_at"
    };
}

/// One transaction.
pub(crate) struct Rows<'c>(pub(crate) &'c mut PgConnection);

#[async_trait]
impl PaymentRows for Rows<'_> {
    type Error = sqlx::Error;

    async fn take_turn(&mut self) -> sqlx::Result<()> {
        // Before the first row is read. It conflicts with itself, and with no reader; the statements after it see what the turn before committed.
        sqlx::query("lock table auth.payment_events in share row exclusive mode")
            .execute(&mut *self.0)
            .await?;
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
            "insert into auth.payment_events (id, kind, outcome, created_at, received_at) values ($1, $2, $3, $4, $5)
             on conflict (id) do update set outcome = excluded.outcome",
        )
        .bind(event.id.as_str())
        .bind(&*event.kind)
        .bind(outcome.as_str())
        .bind(event.created_at)
        .bind(event.received_at)
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
        sqlx::query(concat!(
            "insert into auth.purchases (",
            purchase_columns!(),
            ") values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do update set taken = excluded.taken"
        ))
        .bind(purchase.id.as_str())
        .bind(purchase.user.as_uuid())
        .bind(purchase.kind.as_str())
        .bind(&*purchase.item)
        .bind(purchase.granted.as_hundredths())
        .bind(purchase.taken.as_hundredths())
        .bind(purchase.created_at)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn payment(&mut self, id: &PaymentRef) -> sqlx::Result<Option<KeptPayment>> {
        let row = sqlx::query(
            "select id, purchase, amount, refunded, dispute from auth.payments where id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(&mut *self.0)
        .await?;
        row.as_ref().map(payment).transpose()
    }

    async fn payments_of(&mut self, purchase: &PaymentRef) -> sqlx::Result<Vec<KeptPayment>> {
        let rows = sqlx::query(
            "select id, purchase, amount, refunded, dispute from auth.payments where purchase = $1",
        )
        .bind(purchase.as_str())
        .fetch_all(&mut *self.0)
        .await?;
        rows.iter().map(payment).collect()
    }

    async fn put_payment(&mut self, payment: &KeptPayment) -> sqlx::Result<()> {
        sqlx::query(
            "insert into auth.payments (id, purchase, amount, refunded, dispute) values ($1, $2, $3, $4, $5)
             on conflict (id) do update set purchase = excluded.purchase, amount = excluded.amount, refunded = excluded.refunded,
                 dispute = excluded.dispute",
        )
        .bind(payment.id.as_str())
        .bind(payment.purchase.as_ref().map(PaymentRef::as_str))
        .bind(money(payment.amount))
        .bind(money(payment.refunded))
        .bind(payment.dispute.rank())
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

pub(crate) async fn debt(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Credits> {
    let debt = sqlx::query("select debt from auth.payment_accounts where user_id = $1")
        .bind(user.as_uuid())
        .fetch_optional(connection)
        .await?;
    debt.map_or(Ok(Credits::ZERO), |row| credits::credits(&row, "debt"))
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
        created_at: moment(row, "created_at")?,
    })
}

fn payment(row: &PgRow) -> sqlx::Result<KeptPayment> {
    let amount = |column| {
        row.try_get::<i64, _>(column)
            .map(|amount| u64::try_from(amount).unwrap_or(0))
    };
    let dispute = Dispute::from_rank(row.try_get("dispute")?);
    Ok(KeptPayment {
        id: text(row, "id", PaymentRef::parse)?,
        purchase: reference(row, "purchase")?,
        amount: amount("amount")?,
        refunded: amount("refunded")?,
        dispute: dispute.ok_or_else(|| sqlx::Error::Decode("no such dispute".into()))?,
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
