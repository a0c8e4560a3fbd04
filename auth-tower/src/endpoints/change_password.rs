use auth_core::{ChangePassword, types::Password};

use super::answers::TokenAnswer;
use crate::{
    proof::VerifiedUser,
    read::attempt,
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn change_password(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let current = fields.required("current_password", attempt);
    let new = fields.required("new_password", Password::parse);
    let (current, new) = fields.finish((current, new))?;
    let cmd = ChangePassword { current, new };
    let tokens = ctx
        .auth
        .change_password(who.authenticated(), cmd, &ctx.client)
        .await?;
    Reply::ok(&TokenAnswer::from(&tokens))
}
