use auth_core::types::{Email, Password};

use super::answers::Message;
use crate::{
    read::secret,
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn request_password_reset(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let email = fields.required("email", Email::parse);
    let email = fields.finish(email)?;
    ctx.auth.request_password_reset(email, &ctx.client).await?;
    Reply::ok(&Message::new(
        "If the address has an account, a mail with a link is on its way.",
    ))
}

pub(crate) async fn reset_password(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let token = fields.required("token", secret);
    let new = fields.required("new_password", Password::parse);
    let (token, new) = fields.finish((token, new))?;
    ctx.auth
        .reset_password(&token, new, &ctx.client)
        .await
        .map_err(Problem::of_mailed_token)?;
    Reply::ok(&Message::new(
        "The password is changed, and every session has ended.",
    ))
}
