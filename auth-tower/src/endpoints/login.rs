use auth_core::{Login, types::Invalid};

use super::answers::TokenAnswer;
use crate::{
    read::{attempt, text},
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn login(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let name = fields.either(("username", text), ("email", text));
    let password = fields.required("password", attempt);
    if fields.is_form() {
        // What OAuth2 clients add to a password form (RFC 6749 §4.3.2).
        fields.check("grant_type", password_grant);
        for name in ["scope", "client_id", "client_secret"] {
            fields.ignore(name);
        }
    }
    let (name, password) = fields.finish((name, password))?;
    let tokens = ctx
        .auth
        .login(Login { name, password }, &ctx.client)
        .await?;
    Ok(Reply::ok(&TokenAnswer::from(&tokens))?.about(tokens.user.id))
}

fn password_grant(raw: &str) -> Result<(), Invalid> {
    match raw {
        "" | "password" => Ok(()),
        _ => Err(Invalid::new(
            "unsupported_grant_type",
            "The only grant type here is `password`.",
        )),
    }
}
