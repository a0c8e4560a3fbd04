//! The reference service: every auth-tower endpoint in one binary, on SQLite or Postgres.

mod config;
mod console;
mod database;
mod edge;
mod fake_stripe;
mod keys;
mod ledger;
mod logs;
mod mail;
mod mail_folder;
mod mailing;
mod meters;
mod migrate;
mod pages;
mod panics;
mod requests;
mod secrets;
mod server;
mod settings;
mod stripe;
#[cfg_attr(not(feature = "otel"), path = "no_traces.rs")]
mod traces;
mod user;

use std::{
    error::Error as StdError,
    fmt::{self, Write as _},
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use auth_billing::Billing;
use auth_core::{
    Auth, Links,
    types::{ProviderName, RedirectUri},
};
use auth_tower::{AuthRouter, TrustedProxies};
use axum::{body::Body, http::Request};
use clap::{Parser, Subcommand};
use settings::{Environment, Settings};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout},
};
use tower::ServiceExt;

use crate::{
    config::Config,
    console::{complain, complain_of, say},
    database::Database,
    fake_stripe::FakeStripe,
    keys::Keys,
    ledger::Ledger,
    logs::Logs,
    mail::Mail,
    mailing::Mailing,
    meters::{Meters, Outside},
    migrate::Migrate,
    pages::{Pages, Shop},
    server::{App, Places},
    stripe::Stripe,
    traces::{Tracer, Traces},
    user::User,
};

/// How long a stop waits for the mails in hand.
const LAST_MAIL: Duration = Duration::from_secs(10);
/// And then for the database to take leave: one that hangs would keep us.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How wrong settings end the program: `EX_CONFIG` of sysexits.h. Started again, it would end so again, which the unit of systemd knows.
const WRONG_SETTINGS: u8 = 78;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Accounts and sessions as a service. Settings come from the environment and from `.env`; with none it runs for development.
#[derive(Parser)]
#[command(name = "auth-service", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default)
    Serve,
    /// Tell what is set, and whether it is right
    #[command(subcommand)]
    Config(Config),
    /// Draw secrets
    #[command(subcommand)]
    Keys(Keys),
    /// Look after the ledger of credits
    #[command(subcommand)]
    Ledger(Ledger),
    /// See to the mails that were given up
    #[command(subcommand)]
    Mail(Mail),
    /// Change the schema of the database, or tell its state
    #[command(subcommand)]
    Migrate(Migrate),
    /// See to what Stripe told
    #[command(subcommand)]
    Stripe(Stripe),
    /// Print the endpoints as an `OpenAPI` 3.1 document
    Openapi,
    /// Make accounts, and change what only an operator may
    #[command(subcommand)]
    User(User),
}

/// What needs more than its own words.
enum Task {
    Ledger(Ledger),
    Mail(Mail),
    Migrate(Migrate),
    Serve,
    Stripe(Stripe),
    User(User),
}

fn main() -> ExitCode {
    // clap ends a wrong call with status 2.
    let command = Arguments::parse().command.unwrap_or(Command::Serve);
    match obey(command) {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("auth-service: {}", chain(&*error)));
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> Result<ExitCode, BoxError> {
    let task = match command {
        Command::Config(what) => return Ok(status(config::run(&what)?)),
        Command::Keys(what) => {
            keys::run(&what)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Openapi => {
            say(&auth_tower::openapi(auth_tower::routes()))?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Ledger(what) => Task::Ledger(what),
        Command::Mail(what) => Task::Mail(what),
        Command::Migrate(what) => Task::Migrate(what),
        Command::Serve => Task::Serve,
        Command::Stripe(what) => Task::Stripe(what),
        Command::User(what) => Task::User(what),
    };
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(faults) => {
            complain_of(&faults.lines);
            return Ok(if faults.may_pass {
                ExitCode::FAILURE
            } else {
                ExitCode::from(WRONG_SETTINGS)
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(run(task, settings));
    // What had to be waited for was: a look-up of a name, say, is not.
    runtime.shutdown_background();
    done
}

fn status(done: bool) -> ExitCode {
    if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Does it; a failure when the answer is no.
async fn run(task: Task, settings: Settings) -> Result<ExitCode, BoxError> {
    let url = &settings.database.url;
    match task {
        Task::Ledger(what) => ledger::run(&what, url).await.map(status),
        Task::Mail(what) => mail::run(&what, url).await.map(status),
        Task::Migrate(what) => migrate::run(&what, url).await.map(status),
        Task::Serve => Box::pin(serve(settings)).await,
        Task::Stripe(what) => stripe::run(&what, &settings).await,
        Task::User(what) => user::run(&what, &settings).await.map(status),
    }
}

/// What goes wrong once there is a log is told there, wherever it goes.
async fn serve(settings: Settings) -> Result<ExitCode, BoxError> {
    // First: what is made before it counts for nobody.
    let meters = match settings.server.metrics {
        Some(address) => Some(Meters::install(address).await?),
        None => None,
    };
    let logs = Logs::start(&settings)?;
    let served = serve_traced(settings, meters).await;
    if let Err(error) = &served {
        tracing::error!(error = %chain(&**error), "the service ends");
    }
    // Whoever asks twice is not kept waiting by those who should take the last words.
    if !matches!(&served, Err(error) if error.is::<AskedTwice>()) {
        logs.finish().await;
    }
    Ok(status(served.is_ok()))
}

async fn serve_traced(settings: Settings, meters: Option<Meters>) -> Result<(), BoxError> {
    let traces = Traces::start(&settings)?;
    let served = serve_watched(settings, meters, traces.as_ref().map(Traces::tracer)).await;
    match (traces, &served) {
        (Some(traces), Err(error)) if error.is::<AskedTwice>() => traces.abandon(),
        (Some(traces), _) => traces.finish().await,
        (None, _) => {}
    }
    served
}

/// Ends the service at once.
#[derive(Debug)]
struct AskedTwice;

impl fmt::Display for AskedTwice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asked twice to stop: what was under way is cut off")
    }
}

impl StdError for AskedTwice {}

async fn serve_watched(
    settings: Settings,
    meters: Option<Meters>,
    tracer: Option<Tracer>,
) -> Result<(), BoxError> {
    let numbers = meters.as_ref().map(Meters::address).transpose()?;
    if let Some(address) = numbers {
        // The greeting comes after the database, which may be waited for.
        tracing::info!(url = %format_args!("http://{address}/metrics"), "numbers are told");
    }
    // In a set, so that it ends with us. Before the database, which may be waited for: that is a number, too.
    let mut watching = JoinSet::new();
    let opened = meters.map(|meters| {
        let (opened, open) = oneshot::channel();
        watching.spawn(meters.serve(open));
        opened
    });
    let url = &settings.database.url;
    let database = Database::open(
        url,
        settings.database.connections,
        Instant::now() + database::PATIENCE,
        complain,
    )
    .await?;
    database.migrate().await?;

    let listener = TcpListener::bind((settings.server.host, settings.server.port))
        .await
        .map_err(|error| {
            format!(
                "{}:{} cannot be listened on: {error}",
                settings.server.host, settings.server.port
            )
        })?;
    let address = listener.local_addr()?;
    let own_address = format!("http://{}", reachable(address));
    let mailing = Mailing::of(&settings)?;
    let auth = accounts(&settings, &database, &mailing, &own_address).await?;

    let mut billing = database.billing(&auth);
    if let Some(payments) = &settings.payments {
        billing = billing.stripe(payments.stripe.clone());
    }
    let mut routes = AuthRouter::new(&auth)
        .billing(billing.clone())
        .internal_keys(settings.server.internal_keys.clone())
        .client_ip(settings.server.client_ip.clone())
        .rate_limits(settings.server.rate_limits.clone());
    if settings.environment == Environment::Development {
        routes = routes.diagnostics_unprotected();
    }
    let shown = mailing
        .folder()
        .cloned()
        .filter(|_| settings.environment == Environment::Development);
    let api = routes.clone().into_service();
    let api = ServiceExt::<Request<Body>>::map_response(api, pages::beside_a_page);
    let mut pages = Pages::new(auth.clone(), shown, routes.routes(), &settings.server)?;
    let fake = settings.payments.as_ref().and_then(|it| it.fake.as_ref());
    if let Some(stripe) = fake {
        stripe.open(&own_address, routes.clone().into_service());
        pages = pages.selling(Shop {
            billing: billing.clone(),
            stripe: stripe.clone(),
            back: FakeStripe::page(&own_address)?,
        });
    }
    let app = pages
        .router(|page| page.fallback_service(api))
        .fallback_service(routes.into_service());
    let https = settings
        .server
        .frontend
        .as_ref()
        .is_some_and(|links| links.base().starts_with("https://"));
    let app = edge::guard(app, settings.server.cors.clone(), https);
    let app = requests::observe(app, settings.server.client_ip.clone(), tracer);

    if let Some(opened) = opened {
        let deadline = Instant::now() + database::PATIENCE;
        let watched = database.to_watch(url, deadline, complain).await?;
        // Who takes it lives as long as we do.
        drop(opened.send(Outside::register(auth.clone(), database.clone(), watched)));
    }
    // Before the greeting: whoever reads it may ask at once.
    let mut signals = Signals::listen()?;
    if let Err(error) = say(&greeting(&settings, address, &mailing, numbers)) {
        // It serves all the same.
        tracing::warn!(error = &error as &dyn StdError, "nobody was greeted");
    }
    let (stop, stopped) = oneshot::channel();
    let proxies = &settings.server.proxies;
    let mut life = pin!(live(
        auth, billing, listener, app, proxies, database, stopped
    ));
    tokio::select! {
        ended = &mut life => return ended,
        () = signals.next() => tracing::info!("asked to stop: finishing what is under way"),
    }
    drop(stop);
    tokio::select! {
        ended = &mut life => ended,
        () = signals.next() => Err(AskedTwice.into()),
    }
}

/// Accounts as they are set.
async fn accounts(
    settings: &Settings,
    database: &Database,
    mailing: &Mailing,
    own_address: &str,
) -> Result<Auth, BoxError> {
    let links = match &settings.server.frontend {
        Some(links) => links.clone(),
        None => Links::to(own_address)?,
    };

    let mut builder = database
        .auth(settings.accounts.signing_keys.clone())
        .access_token_lifetime(settings.accounts.access_token_lifetime)
        .enumeration_protection(settings.accounts.enumeration_protection)
        .hashing(settings.accounts.hashing)
        .service_name(&settings.server.service_name)
        .test_mail_to(settings.mail.test_to.clone())
        .unverified_account_lifetime(settings.accounts.unverified_lifetime);
    if let Some(templates) = &settings.templates {
        builder = builder.templates(templates.clone());
    }
    if let Some(google) = &settings.sign_in.google {
        let callback = match &google.callback {
            Some(callback) => callback.clone(),
            None => RedirectUri::parse(&format!("{own_address}/auth/oauth/google/callback"))?,
        };
        let name = ProviderName::parse("google")?;
        builder = builder.oauth_provider(name, callback, google.provider.clone());
    }
    if let Some(redis) = &settings.server.redis {
        redis.connect().await;
        builder = builder.attempt_limiter(redis.clone());
    }
    let fake = settings.payments.as_ref().and_then(|it| it.fake.as_ref());
    let shop = fake.map(|_| FakeStripe::page(own_address)).transpose()?;
    let allowed = settings.sign_in.allowed_redirects.iter().chain(&shop);
    let builder = builder.allowed_redirects(allowed.cloned());
    Ok(mailing.offer(builder, links).build()?)
}

/// Serves until `stopped`, then ends in order: requests, mails in hand, the databases.
async fn live(
    auth: Auth,
    billing: Billing,
    listener: TcpListener,
    app: impl App,
    proxies: &TrustedProxies,
    database: Database,
    stopped: oneshot::Receiver<()>,
) -> Result<(), BoxError> {
    let (answered, all_answered) = oneshot::channel::<()>();
    let workers = tokio::spawn(async move {
        auth.run_workers(async { drop(all_answered.await) }).await;
    });
    let cancelling = tokio::spawn(async move { billing.run_workers(pending()).await });
    let in_time = server::serve(listener, app, Places::OF_CLIENTS, proxies, async {
        drop(stopped.await);
    })
    .await;
    drop(answered);
    // What it was at is done again after the next start.
    cancelling.abort();
    // A mail that is being handed over may take half a minute; it is claimed again after the next start.
    if let Ok(worked) = timeout(LAST_MAIL, workers).await {
        worked?;
    }
    let is_closed = timeout(LAST_WORD, database.close()).await.is_ok();
    if in_time && is_closed {
        Ok(())
    } else if in_time {
        Err("stopped before the database took leave".into())
    } else {
        Err("stopped before every request was answered".into())
    }
}

/// What runs, where, and what does not.
fn greeting(
    settings: &Settings,
    address: SocketAddr,
    mailing: &Mailing,
    numbers: Option<SocketAddr>,
) -> String {
    let here = reachable(address);
    let mut text = format!(
        "{} ({}) listens on http://{address}\n",
        settings.server.service_name,
        settings.environment.as_str()
    );
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<14}{value}");
    };
    if here != address {
        line("this machine", &format!("http://{here}"));
    }
    line("database", &settings.database.url.to_string());
    line("mail", &mailing.to_string());
    if settings.server.redis.is_some() {
        line("limits", "shared over Redis");
    }
    match settings.database.url.secrets_file() {
        _ if settings.environment != Environment::Development => {}
        Some(file) => {
            let file = file.display();
            line(
                "secrets",
                &format!("where not set: {file} (SECRET_KEY, INTERNAL_API_KEY)"),
            );
        }
        None => line(
            "secrets",
            "a SECRET_KEY that is not set is drawn for this run",
        ),
    }
    line(
        "enumeration",
        if settings.accounts.enumeration_protection {
            "protected"
        } else {
            "not protected (ENUMERATION_PROTECTION=true)"
        },
    );
    match &settings.sign_in.google {
        Some(google) => line("google", &format!("sign-in by {}", google.issuer)),
        None => line("google", "off (GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET)"),
    }
    if let Some(files) = &settings.logs.files {
        line("log files", &files.folder.display().to_string());
    }
    if let Some(logstash) = &settings.logs.logstash {
        line("log shipping", &logstash.to_string());
    }
    match &settings.payments {
        Some(payments) => {
            let catalogue = payments.stripe.catalogue();
            let (plans, packs) = (catalogue.plans().len(), catalogue.packs().len());
            let sold = format!("{plans} plan(s) and {packs} credit pack(s)");
            let fake = payments.fake.is_some();
            line(
                "stripe",
                &if fake {
                    format!(
                        "a fake that takes no money, for {sold}: http://{here}{}",
                        fake_stripe::PATH
                    )
                } else {
                    sold
                },
            );
        }
        None => line(
            "stripe",
            "off (STRIPE_MODE=fake, or STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, CATALOG_FILE)",
        ),
    }
    if let Some(address) = numbers {
        let here = reachable(address);
        let mut told = format!("http://{address}/metrics");
        if here != address {
            let _ = write!(told, " (this machine: http://{here}/metrics)");
        }
        line("metrics", &told);
    }
    if let Some(traces) = &settings.traces {
        line("traces", &traces.endpoint);
    }
    for note in &settings.notes {
        line("note", note);
    }
    text
}

/// Where a client on this machine finds what listens there: all addresses are none to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Not every system hears IPv4 there.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What asks the service to stop. They are taken over at once: none is lost between two calls of `next`.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What asks the service to stop.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[allow(clippy::unnecessary_wraps)] // as where there are signals
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let _ = write!(text, ": {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn who_listens_on_all_addresses_is_found_at_the_one_of_this_machine() {
        for (listens_on, found_at) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let found = reachable(listens_on.parse().unwrap());
            assert_eq!(found.to_string(), found_at, "{listens_on}");
        }
    }
}
