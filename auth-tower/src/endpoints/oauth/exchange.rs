use crate::{
    endpoints::answers::TokenAnswer,
    read::secret,
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn exchange(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let code = fields.required("code", secret);
    let verifier = fields.optional("code_verifier", secret);
    let (code, verifier) = fields.finish((code, verifier))?;
    let tokens = ctx
        .auth
        .oauth_exchange(&code, verifier.as_ref(), &ctx.client)
        .await?;
    Ok(Reply::ok(&TokenAnswer::from(&tokens))?.about(tokens.user.id))
}
