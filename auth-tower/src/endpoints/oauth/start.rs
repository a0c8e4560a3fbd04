use auth_core::{
    StartSignIn,
    types::{CodeChallenge, Invalid},
};

use super::{Departure, cookie};
use crate::{
    read::text,
    respond::{Problem, Reply},
    router::Ctx,
};

/// How the browser is sent away.
enum Mode {
    /// By the page that asks.
    Json,
    /// By us.
    Redirect,
}

pub(crate) async fn start(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let provider = fields.path("provider", text);
    let redirect_to = fields.optional("redirect_to", text);
    let code_challenge = fields.optional("code_challenge", CodeChallenge::parse);
    let code_challenge_method = fields.optional("code_challenge_method", s256);
    let mode = fields.optional("mode", mode);
    let ((provider, redirect_to), (code_challenge, _), mode) = fields.finish((
        (provider, redirect_to),
        (code_challenge, code_challenge_method),
        mode,
    ))?;
    let cmd = StartSignIn {
        redirect_to,
        code_challenge,
    };
    let sign_in = ctx.auth.oauth_start(&provider, cmd).await?;
    let authorization_url = &*sign_in.authorization_url;
    let reply = match mode.unwrap_or(Mode::Redirect) {
        Mode::Json => Reply::ok(&Departure { authorization_url })?,
        Mode::Redirect => Reply::found(authorization_url)?,
    };
    cookie::bind(reply, &ctx.auth, &provider, &sign_in)
}

/// Of RFC 7636, whose clients say it; what is left out is the same here.
fn s256(raw: &str) -> Result<(), Invalid> {
    match raw {
        "S256" => Ok(()),
        _ => Err(Invalid::new(
            "invalid_code_challenge_method",
            "The only method is `S256`.",
        )),
    }
}

fn mode(raw: &str) -> Result<Mode, Invalid> {
    match raw {
        "json" => Ok(Mode::Json),
        _ => Err(Invalid::new("invalid_mode", "The only mode is `json`.")),
    }
}
