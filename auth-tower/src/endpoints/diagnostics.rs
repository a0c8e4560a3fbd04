use auth_core::{Error, MailQueue, TemplateReport, WorkerState, time::Duration};
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
    #[serde(flatten)]
    queue: Option<Queue>,
}

#[derive(Serialize)]
struct Queue {
    queued: u64,
    dead: u64,
    oldest_seconds: Option<i64>,
}

impl Dependency {
    const fn new(name: &'static str, status: &'static str) -> Self {
        Self {
            name,
            status,
            queue: None,
        }
    }

    fn of(queue: MailQueue) -> Self {
        Self {
            queue: Some(Queue {
                queued: queue.queued,
                dead: queue.dead,
                oldest_seconds: queue.oldest.map(Duration::whole_seconds),
            }),
            ..Self::new("mail_queue", "ok")
        }
    }
}

/// The process serves; nothing else is asked.
pub(crate) async fn health(_: Ctx) -> Result<Reply, Problem> {
    Reply::ok(&Health { status: "ok" })
}

/// What we need serves, too. Mails that wait make nobody unready: with the mail server away, every replica would leave its service at once.
pub(crate) async fn ready(ctx: Ctx) -> Result<Reply, Problem> {
    let mut dependencies = Vec::new();
    let mut is_ready = true;
    match store(&ctx).await {
        Ok(queue) => {
            dependencies.push(Dependency::new("store", "ok"));
            dependencies.extend(queue.map(Dependency::of));
        }
        Err(error) => {
            log_failure(&error, ctx.client.request_id.as_deref());
            dependencies.push(Dependency::new("store", "unavailable"));
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
        dependencies.push(Dependency::new("worker", status));
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

async fn store(ctx: &Ctx) -> Result<Option<MailQueue>, Error> {
    ctx.auth.ready().await?;
    if ctx.auth.has_mailer() {
        Ok(Some(ctx.auth.mail_queue().await?))
    } else {
        Ok(None)
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
