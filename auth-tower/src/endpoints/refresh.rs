use auth_core::{Refresh, types::Secret};

use super::answers::TokenAnswer;
use crate::{
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn refresh(ctx: Ctx) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let token = fields.either(
        ("refresh_token", |raw| {
            Ok(Refresh::RefreshToken(Secret::new(raw.to_owned())))
        }),
        ("token", |raw| {
            Ok(Refresh::AccessToken(Secret::new(raw.to_owned())))
        }),
    );
    let token = fields.finish(token)?;
    let tokens = ctx.auth.refresh(token, &ctx.client).await?;
    Ok(Reply::ok(&TokenAnswer::from(&tokens))?.about(tokens.user.id))
}
