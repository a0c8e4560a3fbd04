use auth_core::{TemplateReport, WorkerState};
use serde::Serialize;

use crate::{
    proof::Operator,
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
    dependencies: Vec<Dependency>,
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

/// What we need serves, too. Mails that wait make nobody unready: with the mail server away, every replica would leave its service at once.
///
/// # Security
/// Their number is not told: it would rise when a reset was asked for an address that has an account.
pub(crate) async fn ready(ctx: Ctx) -> Result<Reply, Problem> {
    let mut dependencies = Vec::new();
    let mut is_ready = true;
    let mut depends_on = |name, status| dependencies.push(Dependency { name, status });
    match ctx.auth.ready().await {
        Ok(()) => depends_on("store", "ok"),
        Err(error) => {
            log_failure(&error, ctx.client.request_id.as_deref());
            depends_on("store", "unavailable");
            is_ready = false;
        }
    }
    let worker = match ctx.auth.mail_workers().state {
        WorkerState::NotAsked => None,
        WorkerState::Alive => Some("ok"),
        WorkerState::Stuck => Some("stuck"),
        _ => Some("stopped"),
    };
    if let Some(status) = worker {
        depends_on("worker", status);
        is_ready &= status == "ok";
    }
    if is_ready {
        Reply::ok(&Readiness {
            status: "ready",
            dependencies,
        })
    } else {
        Reply::unavailable(&Readiness {
            status: "unavailable",
            dependencies,
        })
    }
}

#[derive(Serialize)]
struct Sent<'a> {
    message: &'static str,
    to: &'a str,
}

/// Never to an address of the request: it would be a way to mail anybody.
pub(crate) async fn test_email(ctx: Ctx, _: Operator) -> Result<Reply, Problem> {
    let to = ctx.auth.send_test_mail(&ctx.client).await?;
    Reply::ok(&Sent {
        message: "The mail was handed over.",
        to: to.as_str(),
    })
}

#[derive(Serialize)]
struct Checked {
    templates: Vec<Template>,
}

#[derive(Serialize)]
struct Template {
    name: &'static str,
    locale: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<TemplateReport> for Template {
    fn from(report: TemplateReport) -> Self {
        Self {
            name: report.name,
            locale: report.locale,
            ok: report.error.is_none(),
            error: report.error,
        }
    }
}

pub(crate) async fn verify_email_templates(ctx: Ctx, _: Operator) -> Result<Reply, Problem> {
    let reports = ctx.auth.check_mail_templates().into_iter();
    Reply::ok(&Checked {
        templates: reports.map(Template::from).collect(),
    })
}
