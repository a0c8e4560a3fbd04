use auth_core::types::Email;

use super::answers::Message;
use crate::{
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn resend_verification(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let email = fields.required("email", Email::parse);
    let email = fields.finish(email)?;
    ctx.auth.resend_verification(email, &ctx.client).await?;
    if ctx.auth.enumeration_protection() {
        Reply::accepted(&Message::new(
            "If the address waits to be verified, a mail with a link is on its way.",
        ))
    } else {
        Reply::ok(&Message::new(
            "A mail with a verification link is on its way, unless one was sent a moment ago.",
        ))
    }
}
