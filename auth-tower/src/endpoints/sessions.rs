use std::net::IpAddr;

use auth_core::{
    time::OffsetDateTime,
    types::{Session, SessionId},
};
use serde::Serialize;

use crate::{
    proof::VerifiedUser,
    respond::{Problem, Reply},
    router::Ctx,
};

#[derive(Serialize)]
struct Answer<'a> {
    sessions: Vec<SessionAnswer<'a>>,
}

#[derive(Serialize)]
struct SessionAnswer<'a> {
    id: SessionId,
    #[serde(with = "auth_core::time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "auth_core::time::serde::rfc3339")]
    last_used_at: OffsetDateTime,
    #[serde(with = "auth_core::time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    ip: Option<IpAddr>,
    user_agent: Option<&'a str>,
    current: bool,
}

impl<'a> SessionAnswer<'a> {
    fn of(session: &'a Session, current: SessionId) -> Self {
        Self {
            id: session.id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            ip: session.ip,
            user_agent: session.user_agent.as_deref(),
            current: session.id == current,
        }
    }
}

pub(crate) async fn sessions(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let sessions = ctx.auth.sessions(who.authenticated()).await?;
    let current = who.session().id;
    Reply::ok(&Answer {
        sessions: sessions
            .iter()
            .map(|session| SessionAnswer::of(session, current))
            .collect(),
    })
}

pub(crate) async fn end_session(ctx: Ctx, who: VerifiedUser) -> Result<Reply, Problem> {
    let mut fields = ctx.fields;
    let id = fields.path("id", SessionId::parse);
    let id = fields.finish(id)?;
    ctx.auth
        .end_session(who.authenticated(), id, &ctx.client)
        .await?;
    Ok(Reply::no_content())
}
