use crate::{
    endpoints::answers::TokenAnswer,
    read::secret,
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn exchange(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let code = fields.required("code", secret);
    let code = fields.finish(code)?;
    let tokens = ctx.auth.oauth_exchange(&code, &ctx.client).await?;
    Reply::ok(&TokenAnswer::from(&tokens))
}
