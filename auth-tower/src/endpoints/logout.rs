use auth_core::{LogoutScope, types::Invalid};

use super::answers::Message;
use crate::{
    proof::VerifiedUser,
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn logout(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let scope = fields.optional("scope", scope);
    let scope = fields.finish(scope)?.unwrap_or_default();
    ctx.auth
        .logout(who.authenticated(), scope, &ctx.client)
        .await?;
    Reply::ok(&Message::new(match scope {
        LogoutScope::All => "Every session has ended.",
        LogoutScope::Current => "The session has ended.",
        LogoutScope::Others => "Every other session has ended.",
    }))
}

fn scope(raw: &str) -> Result<LogoutScope, Invalid> {
    match raw {
        "all" => Ok(LogoutScope::All),
        "current" => Ok(LogoutScope::Current),
        "others" => Ok(LogoutScope::Others),
        _ => Err(Invalid::new(
            "invalid_scope",
            "The scope is `all`, `current` or `others`.",
        )),
    }
}
