use super::Changed;
use crate::{
    endpoints::answers::UserAnswer,
    proof::VerifiedUser,
    read::{attempt, text},
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn unlink(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let provider = fields.path("provider", text);
    let password = fields.optional("password", attempt);
    let (provider, password) = fields.finish((provider, password))?;
    let user = ctx
        .auth
        .unlink_identity(who.authenticated(), &provider, password, &ctx.client)
        .await?;
    Reply::ok(&Changed {
        message: "The account cannot be opened through the provider any more.",
        user: UserAnswer::from(&user),
    })
}
