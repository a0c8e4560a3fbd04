use super::answers::Message;
use crate::{
    proof::VerifiedUser,
    read::attempt,
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn delete_account(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let password = fields.optional("password", attempt);
    let password = fields.finish(password)?;
    ctx.auth
        .delete_account(who.authenticated(), password, &ctx.client)
        .await?;
    Reply::ok(&Message::new("The account is deleted."))
}
