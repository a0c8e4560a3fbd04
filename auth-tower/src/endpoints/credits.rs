use auth_billing::{Billing, Movement, Origin, Receipt, Transactions};
use auth_core::{
    time::OffsetDateTime,
    types::{
        Amount, BookedEntry, Credits, Description, EntryId, EntryKind, Invalid, ReferenceId, UserId,
    },
};
use serde::Serialize;

use crate::{
    proof::InternalCaller,
    respond::{Problem, Reply},
    router::Ctx,
};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

#[derive(Serialize)]
struct BalanceAnswer {
    user_id: UserId,
    balance: Credits,
    #[serde(with = "auth_core::time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

#[derive(Serialize)]
struct TransactionAnswer<'a> {
    id: EntryId,
    user_id: UserId,
    r#type: &'static str,
    direction: &'static str,
    amount: Credits,
    new_balance: Credits,
    reference_id: Option<&'a str>,
    description: Option<&'a str>,
    #[serde(with = "auth_core::time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Serialize)]
struct TransactionsAnswer<'a> {
    transactions: Vec<TransactionAnswer<'a>>,
    next_cursor: Option<String>,
    total_count: u64,
}

impl<'a> From<&'a BookedEntry> for TransactionAnswer<'a> {
    fn from(booked: &'a BookedEntry) -> Self {
        let entry = &booked.entry;
        Self {
            id: entry.id,
            user_id: entry.user_id,
            r#type: entry.kind.as_str(),
            direction: entry.direction.as_str(),
            amount: entry.amount,
            new_balance: booked.new_balance,
            reference_id: entry.reference.as_ref().map(ReferenceId::as_str),
            description: entry.description.as_ref().map(Description::as_str),
            created_at: entry.created_at,
        }
    }
}

pub(crate) async fn balance(
    ctx: Ctx,
    _: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let found = billing.balance(fields.finish(user)?).await?;
    Reply::ok(&BalanceAnswer {
        user_id: found.user_id,
        balance: found.balance,
        updated_at: found.updated_at,
    })
}

pub(crate) async fn add(ctx: Ctx, who: InternalCaller, billing: Billing) -> Result<Reply, Problem> {
    let (movement, origin) = movement(ctx, &who)?;
    receipt(&billing.add(movement, &origin).await?)
}

pub(crate) async fn spend(
    ctx: Ctx,
    who: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let (movement, origin) = movement(ctx, &who)?;
    receipt(&billing.spend(movement, &origin).await?)
}

pub(crate) async fn transactions(
    ctx: Ctx,
    _: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let kind = fields.optional("type", EntryKind::parse);
    let limit = fields.optional("limit", limit);
    let cursor = fields.optional("cursor", cursor);
    let (user, kind, (limit, cursor)) = fields.finish((user, kind, (limit, cursor)))?;
    let page = billing
        .transactions(Transactions {
            user,
            kind,
            cursor,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
        })
        .await?;
    Reply::ok(&TransactionsAnswer {
        transactions: page.entries.iter().map(TransactionAnswer::from).collect(),
        next_cursor: page.next_cursor.map(|number| number.to_string()),
        total_count: page.total,
    })
}

fn movement(ctx: Ctx, who: &InternalCaller) -> Result<(Movement, Origin), Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let amount = fields.required_decimal("amount", Amount::parse);
    let reference = fields.optional("reference_id", ReferenceId::parse);
    let description = fields.optional("description", Description::parse);
    let key = fields.idempotency_key();
    let ((user, amount), (reference, description), idempotency_key) =
        fields.finish(((user, amount), (reference, description), key))?;
    let origin = Origin {
        caller: who.caller()?,
        request_id: ctx.client.request_id,
    };
    let movement = Movement {
        user,
        amount,
        reference,
        description,
        idempotency_key,
    };
    Ok((movement, origin))
}

fn receipt(receipt: &Receipt) -> Result<Reply, Problem> {
    let reply = Reply::ok(&TransactionAnswer::from(&receipt.booked))?;
    Ok(if receipt.is_replay {
        reply.replayed()
    } else {
        reply
    })
}

fn limit(raw: &str) -> Result<u32, Invalid> {
    digits(raw)
        .and_then(|limit| u32::try_from(limit).ok())
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or(Invalid::new("out_of_range", "A limit is 1 to 200."))
}

fn cursor(raw: &str) -> Result<i64, Invalid> {
    digits(raw).filter(|number| *number > 0).ok_or(Invalid::new(
        "invalid_cursor",
        "A cursor is the `next_cursor` of the page before.",
    ))
}

fn digits(raw: &str) -> Option<i64> {
    let are_digits = raw.bytes().all(|b| b.is_ascii_digit());
    are_digits.then(|| raw.parse().ok()).flatten()
}
