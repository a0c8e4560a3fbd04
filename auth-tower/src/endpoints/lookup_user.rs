use auth_core::types::{Email, UserId};
use serde::Serialize;

use super::answers::UserAnswer;
use crate::{
    proof::InternalCaller,
    respond::{Problem, Reply},
    router::Ctx,
};

#[derive(Serialize)]
struct EmailAnswer<'a> {
    user_id: UserId,
    email: &'a str,
    is_verified: bool,
}

pub(crate) async fn email_of_user(ctx: Ctx, _: InternalCaller) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let id = fields.path("user_id", UserId::parse);
    let user = ctx.auth.user(fields.finish(id)?).await?;
    Reply::ok(&EmailAnswer {
        user_id: user.id,
        email: user.email.as_str(),
        is_verified: user.is_verified,
    })
}

pub(crate) async fn user_by_email(ctx: Ctx, _: InternalCaller) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let email = fields.path("email", Email::parse);
    let user = ctx.auth.user_by_email(&fields.finish(email)?).await?;
    Reply::ok(&UserAnswer::from(&user))
}
