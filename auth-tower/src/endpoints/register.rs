use auth_core::{
    Register, Registration,
    types::{Email, Password, Username},
};

use super::answers::{Message, TokenAnswer};
use crate::{
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn register(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let username = fields.required("username", Username::parse);
    let email = fields.required("email", Email::parse);
    let password = fields.required("password", Password::parse);
    let (username, email, password) = fields.finish((username, email, password))?;
    let cmd = Register {
        username,
        email,
        password,
    };
    match ctx.auth.register(cmd, &ctx.client).await? {
        Registration::Accepted => Reply::accepted(&Message::new(
            "If the username and the address are free, a mail with a link is on its way.",
        )),
        Registration::Opened(tokens) => {
            Ok(Reply::created(&TokenAnswer::from(&*tokens))?.about(tokens.user.id))
        }
    }
}
