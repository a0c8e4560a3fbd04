use auth_core::{ChangeEmail, types::Email};

use super::answers::Message;
use crate::{
    proof::VerifiedUser,
    read::{attempt, secret},
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn request_email_change(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let new_email = fields.required("new_email", Email::parse);
    let current = fields.required("current_password", attempt);
    let (new_email, current) = fields.finish((new_email, current))?;
    let cmd = ChangeEmail { new_email, current };
    ctx.auth
        .request_email_change(who.authenticated(), cmd, &ctx.client)
        .await?;
    Reply::accepted(&Message::new(
        "The address changes when the link in the mail to it is opened.",
    ))
}

pub(crate) async fn cancel_email_change(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let token = fields.required("token", secret);
    let token = fields.finish(token)?;
    ctx.auth
        .cancel_email_change(&token, &ctx.client)
        .await
        .map_err(Problem::of_mailed_token)?;
    Reply::ok(&Message::new(
        "The address stays as it was, and every session has ended.",
    ))
}
