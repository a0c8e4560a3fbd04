use auth_core::VerifiedStatus;
use serde::Serialize;

use super::answers::UserAnswer;
use crate::{
    read::secret,
    respond::{Problem, Reply},
    router::Ctx,
};

#[derive(Serialize)]
struct Answer<'a> {
    message: &'static str,
    status: &'static str,
    user: UserAnswer<'a>,
}

/// By link or by button: the table says where the token comes from.
pub(crate) async fn verify_email(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let token = fields.required("token", secret);
    let token = fields.finish(token)?;
    let verified = ctx
        .auth
        .verify_email(&token, &ctx.client)
        .await
        .map_err(Problem::of_mailed_token)?;
    let (status, message) = match verified.status {
        VerifiedStatus::AlreadyVerified => (
            "already_verified",
            "The e-mail address was verified before.",
        ),
        VerifiedStatus::Verified => ("verified", "The e-mail address is verified."),
    };
    Reply::ok(&Answer {
        message,
        status,
        user: UserAnswer::from(&verified.user),
    })
}
