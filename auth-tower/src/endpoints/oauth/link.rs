use auth_core::{LinkIdentity, Linking};

use super::{Changed, Departure, LINKED, cookie};
use crate::{
    endpoints::answers::UserAnswer,
    proof::VerifiedUser,
    read::{attempt, secret, text},
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn link(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let provider = fields.path("provider", text);
    let password = fields.optional("password", attempt);
    let id_token = fields.optional("id_token", secret);
    let redirect_to = fields.optional("redirect_to", text);
    let ((provider, password), (id_token, redirect_to)) =
        fields.finish(((provider, password), (id_token, redirect_to)))?;
    let cmd = LinkIdentity {
        password,
        id_token,
        redirect_to,
    };
    let linking = ctx
        .auth
        .link_identity(who.authenticated(), &provider, cmd, &ctx.client)
        .await?;
    match linking {
        Linking::Done(user) => Reply::ok(&Changed {
            message: LINKED,
            user: UserAnswer::from(&*user),
        }),
        Linking::Started(sign_in) => {
            let reply = Reply::ok(&Departure {
                authorization_url: &sign_in.authorization_url,
            })?;
            cookie::bind(reply, &ctx.auth, &provider, &sign_in)
        }
    }
}
