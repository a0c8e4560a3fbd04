use auth_billing::{
    Billing, CreateCheckout, CreateSubscription, Item, Once, Signature, WebhookError,
};
use auth_core::{
    Error,
    ports::{Card, PaymentMethod},
    time::OffsetDateTime,
    types::{IdempotencyKey, PaymentRef, RedirectUri, UserId},
};
use serde::Serialize;

use crate::{
    proof::InternalCaller,
    read::text,
    respond::{Problem, Reply},
    router::Ctx,
};

#[derive(Serialize)]
struct WebhookAnswer<'a> {
    received: bool,
    event_id: &'a str,
    processed: bool,
}

pub(crate) async fn webhook(
    ctx: Ctx,
    signature: Signature,
    billing: Billing,
) -> Result<Reply, Problem> {
    let body = ctx.fields.into_raw();
    let delivered = billing
        .receive(&signature, &body, ctx.client.request_id)
        .await;
    let delivered = delivered.map_err(|error| match error {
        WebhookError::Core(error) => error.into(),
        WebhookError::Malformed => Problem::MalformedEvent,
        WebhookError::NotConfigured => Error::PaymentsNotConfigured.into(),
        // What this version does not know is not believed.
        _ => Problem::InvalidSignature,
    })?;
    Reply::ok(&WebhookAnswer {
        received: true,
        event_id: &delivered.event_id,
        processed: delivered.outcome.is_processed(),
    })
}

#[derive(Serialize)]
struct CheckoutAnswer<'a> {
    session_id: &'a str,
    url: &'a str,
}

pub(crate) async fn create_checkout_session(
    ctx: Ctx,
    who: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let item = fields.either(
        ("plan", |name: &str| text(name).map(Item::Plan)),
        ("credit_pack", |name: &str| text(name).map(Item::Pack)),
    );
    let success_url = fields.required("success_url", RedirectUri::parse);
    let cancel_url = fields.required("cancel_url", RedirectUri::parse);
    let key = fields.idempotency_key();
    let ((user, item), (success_url, cancel_url), key) =
        fields.finish(((user, item), (success_url, cancel_url), key))?;
    let page = billing
        .create_checkout(CreateCheckout {
            user,
            item,
            success_url,
            cancel_url,
            once: once(&who, key)?,
        })
        .await?;
    Reply::ok(&CheckoutAnswer {
        session_id: page.session.as_str(),
        url: &page.url,
    })
}

#[derive(Serialize)]
struct SetupIntentAnswer<'a> {
    setup_intent_id: &'a str,
    client_secret: &'a str,
    customer_id: &'a str,
}

pub(crate) async fn setup_intent(
    ctx: Ctx,
    who: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let key = fields.idempotency_key();
    let (user, key) = fields.finish((user, key))?;
    let once = once(&who, key)?;
    let setup = billing.create_setup_intent(user, once.as_ref()).await?;
    Reply::ok(&SetupIntentAnswer {
        setup_intent_id: setup.intent.id.as_str(),
        client_secret: setup.intent.client_secret.expose(),
        customer_id: setup.customer.as_str(),
    })
}

#[derive(Serialize)]
struct PaymentMethodsAnswer<'a> {
    payment_methods: Vec<PaymentMethodAnswer<'a>>,
}

#[derive(Serialize)]
struct PaymentMethodAnswer<'a> {
    id: &'a str,
    r#type: &'a str,
    card: Option<CardAnswer<'a>>,
    is_default: bool,
}

#[derive(Serialize)]
struct CardAnswer<'a> {
    brand: &'a str,
    last4: &'a str,
    exp_month: i64,
    exp_year: i64,
}

impl<'a> From<&'a PaymentMethod> for PaymentMethodAnswer<'a> {
    fn from(method: &'a PaymentMethod) -> Self {
        let shown = |card: &'a Card| CardAnswer {
            brand: &card.brand,
            last4: &card.last4,
            exp_month: card.exp_month,
            exp_year: card.exp_year,
        };
        Self {
            id: method.id.as_str(),
            r#type: &method.kind,
            card: method.card.as_ref().map(shown),
            is_default: method.is_default,
        }
    }
}

pub(crate) async fn payment_methods(
    ctx: Ctx,
    _: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let methods = billing.payment_methods(fields.finish(user)?).await?;
    Reply::ok(&PaymentMethodsAnswer {
        payment_methods: methods.iter().map(PaymentMethodAnswer::from).collect(),
    })
}

#[derive(Serialize)]
struct SubscriptionAnswer<'a> {
    subscription_id: &'a str,
    status: &'a str,
    #[serde(with = "auth_core::time::serde::rfc3339::option")]
    current_period_end: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
}

pub(crate) async fn create_subscription(
    ctx: Ctx,
    _: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let plan = fields.required("plan", text);
    let payment_method = fields.optional("payment_method_id", PaymentRef::parse);
    let (user, plan, payment_method) = fields.finish((user, plan, payment_method))?;
    let begun = billing
        .create_subscription(CreateSubscription {
            user,
            plan,
            payment_method,
        })
        .await?;
    Reply::ok(&SubscriptionAnswer {
        subscription_id: begun.id.as_str(),
        status: &begun.status,
        current_period_end: begun.period_end,
        client_secret: begun.client_secret.as_ref().map(|it| it.expose().as_str()),
    })
}

#[derive(Serialize)]
struct ChangeAnswer<'a> {
    subscription_id: &'a str,
    status: &'a str,
    plan: Option<&'a str>,
}

pub(crate) async fn change_subscription(
    ctx: Ctx,
    _: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let plan = fields.required("plan", text);
    let (user, plan) = fields.finish((user, plan))?;
    let changed = billing.change_subscription(user, &plan).await?;
    Reply::ok(&ChangeAnswer {
        subscription_id: changed.id.as_str(),
        status: &changed.status,
        plan: changed.plan.as_deref(),
    })
}

#[derive(Serialize)]
struct CancelAnswer<'a> {
    subscription_id: &'a str,
    status: &'a str,
    #[serde(with = "auth_core::time::serde::rfc3339::option")]
    cancel_at: Option<OffsetDateTime>,
}

pub(crate) async fn cancel_subscription(
    ctx: Ctx,
    _: InternalCaller,
    billing: Billing,
) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let user = fields.required("user_id", UserId::parse);
    let at_period_end = fields.optional_flag("at_period_end");
    let (user, at_period_end) = fields.finish((user, at_period_end))?;
    let ended = billing
        .cancel_subscription(user, at_period_end.unwrap_or(true))
        .await
        .map_err(|error| match error {
            Error::NotSubscribed => Problem::NothingToCancel,
            error => error.into(),
        })?;
    Reply::ok(&CancelAnswer {
        subscription_id: ended.id.as_str(),
        status: &ended.status,
        cancel_at: ended.cancel_at,
    })
}

fn once(who: &InternalCaller, key: Option<IdempotencyKey>) -> Result<Option<Once>, Problem> {
    let caller = who.caller()?;
    Ok(key.map(|key| Once { caller, key }))
}
