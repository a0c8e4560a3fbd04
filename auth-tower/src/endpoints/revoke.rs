use super::answers::Message;
use crate::{
    read::secret,
    respond::{Problem, Reply},
    router::Ctx,
};

/// RFC 7009 §2.2: whatever the token was, it is worth nothing now.
pub(crate) async fn revoke(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let token = fields.required("token", secret);
    if fields.is_form() {
        // RFC 7009 §2.1: a hint only; both kinds are looked up anyway.
        fields.ignore("token_type_hint");
    }
    let token = fields.finish(token)?;
    ctx.auth.revoke(&token, &ctx.client).await?;
    Reply::ok(&Message::new("The token opens no session any more."))
}
