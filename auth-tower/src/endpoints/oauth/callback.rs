use auth_core::{Callback, CallbackError, SignedIn};

use super::{Changed, LINKED, cookie};
use crate::{
    endpoints::answers::{TokenAnswer, UserAnswer},
    read::{secret, text},
    respond::{Problem, Reply},
    router::Ctx,
};

impl From<CallbackError> for Problem {
    /// Whoever came from a page goes back to it: a browser would end on JSON.
    fn from(failed: CallbackError) -> Self {
        let problem = Self::from(failed.error);
        match failed.redirect_to {
            Some(page) => Self::AtPage(Box::new(problem), page),
            None => problem,
        }
    }
}

pub(crate) async fn callback(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let provider = fields.path("provider", text);
    let state = fields.optional("state", secret);
    let code = fields.optional("code", secret);
    let error = fields.optional("error", text);
    let issuer = fields.optional("iss", text);
    // RFC 6749 §4.1.2: what else a provider adds is passed over.
    fields.ignore_others();
    let ((provider, state), (code, error, issuer)) =
        fields.finish(((provider, state), (code, error, issuer)))?;
    let callback = Callback {
        state,
        code,
        error,
        issuer,
        binding: cookie::binding(&ctx.auth, &provider, &ctx.cookies),
    };
    let signed_in = ctx
        .auth
        .oauth_callback(&provider, callback, &ctx.client)
        .await
        .map_err(|failed| {
            let is_used_up = failed.is_used_up;
            let problem = Problem::from(failed);
            if is_used_up {
                cookie::release_after(problem, &ctx.auth, &provider)
            } else {
                problem
            }
        })?;
    let reply = match &signed_in {
        SignedIn::Elsewhere(address) => Reply::found(address)?,
        SignedIn::Linked {
            redirect_to: Some(page),
            ..
        } => Reply::found(page)?,
        SignedIn::Linked { user, .. } => Reply::ok(&Changed {
            message: LINKED,
            user: UserAnswer::from(&**user),
        })?,
        SignedIn::Opened(tokens) => Reply::ok(&TokenAnswer::from(&**tokens))?.about(tokens.user.id),
    };
    cookie::release(reply, &ctx.auth, &provider)
}
