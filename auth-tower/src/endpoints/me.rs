use super::answers::UserAnswer;
use crate::{
    proof::VerifiedUser,
    respond::{Problem, Reply},
    router::Ctx,
};

pub(crate) async fn me(_: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    Reply::ok(&UserAnswer::from(who.user()))
}
