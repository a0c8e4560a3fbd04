use auth_billing::{Billing, Signature, WebhookError};
use auth_core::Error;
use serde::Serialize;

use crate::{
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
