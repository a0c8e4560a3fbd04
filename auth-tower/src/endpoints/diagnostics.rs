use serde::Serialize;

use crate::{
    respond::{Problem, Reply, log_failure},
    router::Ctx,
};

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    dependencies: [Dependency; 1],
}

#[derive(Serialize)]
struct Dependency {
    name: &'static str,
    status: &'static str,
}

/// The process serves; nothing else is asked.
pub(crate) async fn health(_: Ctx) -> Result<Reply, Problem> {
    Reply::ok(&Health { status: "ok" })
}

/// What we need serves, too.
pub(crate) async fn ready(ctx: Ctx) -> Result<Reply, Problem> {
    let readiness = |status, store| Readiness {
        status,
        dependencies: [Dependency {
            name: "store",
            status: store,
        }],
    };
    match ctx.auth.ready().await {
        Ok(()) => Reply::ok(&readiness("ready", "ok")),
        Err(error) => {
            log_failure(&error, ctx.client.request_id.as_deref());
            Reply::unavailable(&readiness("unavailable", "unavailable"))
        }
    }
}
