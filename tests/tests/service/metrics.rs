//! The numbers that the service tells its operators, as Prometheus' own parser reads them.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use auth_core::ports::Store;
use auth_store_postgres::{
    PgStore,
    sqlx::{self, Connection},
};
use auth_store_sqlite::SqliteStore;
use auth_tests::{
    API_KEY, PASSWORD, Person,
    postgres::{self, Cluster, Database},
    process::{Home, Launch, Service, eventually},
    redis::Redis,
    stripe::{WEBHOOK_SECRET, signature},
    telemetry::Metrics,
};
use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    data::Data,
    stripe::{NO_STRIPE, deliver, unix_seconds},
};

pub(crate) fn told(launch: Launch) -> Launch {
    launch.set("METRICS_ADDRESS", "127.0.0.1:0")
}

/// Where the numbers are, as the greeting says.
fn address(service: &Service) -> String {
    address_in(&service.greeting())
}

fn address_in(text: &str) -> String {
    let line = text.lines().find(|line| line.contains("/metrics"));
    let (_, address) = line.unwrap().split_once("http://").unwrap();
    address.strip_suffix("/metrics").unwrap().to_owned()
}

async fn page(service: &Service) -> String {
    let url = format!("http://{}/metrics", address(service));
    let answer = service.http().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = &answer.headers()["content-type"];
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.unwrap()
}

/// When the numbers say what is waited for: a page is good for a second, and a look at the database for five.
pub(crate) async fn numbers(
    service: &Service,
    what: &str,
    is_so: impl Fn(&Metrics) -> bool,
) -> Metrics {
    eventually(what, async || {
        let numbers = Metrics::parse(&page(service).await);
        is_so(&numbers).then_some(numbers)
    })
    .await
}

/// The table of the README: names and labels.
fn documented() -> Vec<(String, Vec<String>)> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, table) = readme.split_once("<!-- metrics").unwrap();
    let (table, _) = table.split_once("<!-- /metrics -->").unwrap();
    let quoted = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let rows = table.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1);
        let name = quoted(cells.next().unwrap()).remove(0);
        (name, quoted(cells.next().unwrap()))
    })
    .collect()
}

/// What clients do, and what they get wrong.
async fn traffic(service: &Service) -> Person {
    let ada = service.verified("ada").await;
    for _ in 0..3 {
        service.get("/auth/me").by(&ada).await.ok(200);
    }
    let wrong = json!({"username": "ada", "password": "a wrong guess"});
    service
        .post("/auth/login", wrong)
        .await
        .refused(401, "invalid_credentials");
    for path in ["/no/such/ada@example.org", "/nor/this", "/nor/that"] {
        service.get(path).await.refused(404, "not_found");
    }
    service
        .call("BREW", "/auth/login")
        .await
        .refused(405, "method_not_allowed");
    service.get("/").await;
    for (path, amount, key, status) in [
        ("/credits/add", "10.00", "one", 200),
        ("/credits/add", "10.00", "one", 200),
        ("/credits/use", "4.00", "two", 200),
        ("/credits/use", "400.00", "three", 402),
    ] {
        let body = json!({"user_id": ada.id.to_string(), "amount": amount});
        let call = service.post(path, body).header("idempotency-key", key);
        assert_eq!(call.by_service().await.status, status, "{path} {amount}");
    }
    let mut refused = 0;
    for _ in 0..200 {
        let guess = json!({"username": "nobody", "password": PASSWORD});
        let answer = service.post("/auth/login", guess).await;
        refused += u32::from(answer.status == 429 && answer.code() == "rate_limited");
        if refused == 5 {
            return ada;
        }
    }
    panic!("of 230 requests at once {refused} were refused, where 30 may pass in a minute");
}

fn has_moved(after: &Metrics) {
    let request = |route: &str, method: &str, status: &str| {
        let labels = [("route", route), ("method", method), ("status", status)];
        after.get("auth_http_requests_total", &labels)
    };
    assert_eq!(request("/auth/register", "POST", "201"), Some(1.0));
    assert_eq!(request("/auth/me", "GET", "200"), Some(3.0));
    assert_eq!(request("none", "GET", "404"), Some(3.0));
    assert_eq!(request("/auth/login", "other", "405"), Some(1.0));
    assert_eq!(request("page", "GET", "200"), Some(1.0));
    assert_eq!(request("/credits/use", "POST", "402"), Some(1.0));
    for (name, labels, least) in [
        ("auth_db_connection_wait_seconds_count", &[][..], 10.0),
        ("auth_db_connections", &[("state", "idle")], 1.0),
        ("auth_db_up", &[], 1.0),
        ("auth_hashing_duration_seconds_count", &[], 2.0),
        ("auth_hashing_wait_seconds_count", &[], 2.0),
        ("auth_redis_up", &[], 1.0),
        ("auth_workers_up", &[], 1.0),
    ] {
        let value = after.get(name, labels);
        assert!(value >= Some(least), "{name}: {value:?}");
    }
    let me = [("route", "/auth/me"), ("method", "GET")];
    let seconds = after.get("auth_http_request_duration_seconds_sum", &me);
    assert!(seconds > Some(0.0) && seconds < Some(60.0), "{seconds:?}");
    for (name, labels, value) in [
        (
            "auth_ledger_entries_total",
            &[("kind", "credit_added")][..],
            1.0,
        ),
        ("auth_ledger_entries_total", &[("kind", "credit_used")], 1.0),
        (
            "auth_ledger_refused_total",
            &[("reason", "insufficient")],
            1.0,
        ),
        ("auth_ledger_replayed_total", &[], 1.0),
        ("auth_hashing_queue_length", &[], 0.0),
        ("auth_http_requests_in_flight", &[], 0.0),
        ("auth_log_lines_dropped_total", &[], 0.0),
    ] {
        assert_eq!(after.get(name, labels), Some(value), "{name} {labels:?}");
    }
}

/// How long something took; a gauge of an age is none.
fn is_time(name: &str) -> bool {
    name.ends_with("_seconds") && name != "auth_mail_queue_oldest_seconds"
}

fn is_documented(told: &Metrics) {
    let documented = documented();
    let names: BTreeSet<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    let names_told: BTreeSet<&str> = told.families().map(|(name, ..)| name).collect();
    assert_eq!(names_told, names, "told, and in the table of README.md");
    for (name, kind, help) in told.families() {
        assert!(!help.is_empty(), "{name} says nothing of itself");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert_eq!(kind == "histogram", is_time(name), "{name}: {kind}");
    }
    for (name, labels) in &documented {
        let labels: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
        for sample in told.labels(name) {
            let has: BTreeSet<&str> = sample.keys().map(String::as_str).collect();
            let has: BTreeSet<&str> = has.into_iter().filter(|label| *label != "le").collect();
            assert_eq!(has, labels, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_documented_moves_and_names_nobody() {
    let redis = Redis::start();
    let home = Home::new();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = gone.local_addr().unwrap().port().to_string();
    drop(gone);
    let service = told(home.service().quick())
        .set("INTERNAL_API_KEY", API_KEY)
        .set("REDIS_URL", &redis.url())
        .set("RATE_LIMIT_AUTH_PER_MINUTE", "30")
        .set("ENABLE_LOGSTASH", "true")
        .set("SYSLOG_HOST", "127.0.0.1")
        .set("SYSLOG_PORT", &port)
        .set("GOOGLE_CLIENT_ID", "nobody-asks-there")
        .set("GOOGLE_CLIENT_SECRET", "hunter2")
        .set("GOOGLE_ISSUER", &format!("http://127.0.0.1:{port}"))
        .set(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("http://127.0.0.1:{port}"),
        )
        .start()
        .await;
    let before = Metrics::parse(&page(&service).await);
    for name in ["auth_panics_total", "auth_mails_sent_total"] {
        assert_eq!(before.get(name, &[]), Some(0.0), "{name}");
    }

    let ada = traffic(&service).await;
    let after = numbers(&service, "the mail that was sent", |numbers| {
        numbers.get("auth_mails_sent_total", &[]) == Some(1.0)
            && numbers.get("auth_mail_queue_length", &[]) == Some(0.0)
            && numbers.get("auth_rate_limit_refused_total", &[("class", "auth")]) >= Some(5.0)
    })
    .await;
    has_moved(&after);
    is_documented(&after);
    let page = page(&service).await;
    let id = ada.id.to_string();
    for secret in [
        &*ada.access_token,
        &ada.refresh_token,
        &id,
        "\"ada",
        "example.org",
        "127.0.0.1",
        API_KEY,
        PASSWORD,
    ] {
        assert!(!page.contains(secret), "{secret}");
    }
    // It is no client's: not on the public port, and nothing of the API beside it.
    service.get("/metrics").await.refused(404, "not_found");
    let beside = format!("http://{}/health", address(&service));
    assert_eq!(
        service.http().get(beside).send().await.unwrap().status(),
        404
    );

    redis.kill();
    service.get("/health").await;
    service.get("/auth/me").by(&ada).await;
    numbers(&service, "that Redis is away", |numbers| {
        numbers.get("auth_redis_up", &[]) == Some(0.0)
    })
    .await;
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
}

/// Until `/metrics` tells another state of the database.
async fn database_is_up(service: &Service, up: f64) -> Metrics {
    numbers(service, "another state of the database", |numbers| {
        numbers.get("auth_db_up", &[]) == Some(up)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_told_while_the_database_is_away_or_hangs() {
    let cluster = Cluster::start();
    let data = Data::of(Some(Database { url: cluster.url() }));
    let service = told(data.service()).start().await;
    let numbers = database_is_up(&service, 1.0).await;
    assert_eq!(numbers.get("auth_mail_queue_length", &[]), Some(0.0));
    cluster.stop();
    let numbers = database_is_up(&service, 0.0).await;
    assert!(numbers.get("auth_mail_queue_length", &[]).unwrap().is_nan());
    // What does not ask the database goes on.
    service.get("/auth/me").await.refused(401, "missing_token");
    cluster.resume();
    database_is_up(&service, 1.0).await;

    // Nobody says that it is away: connections are open, and silent.
    let paused = cluster.pause();
    let asked = Instant::now();
    let numbers = database_is_up(&service, 0.0).await;
    assert!(numbers.get("auth_mail_queue_length", &[]).unwrap().is_nan());
    // A look is good for five seconds, and the next one has one; a statement has fifteen.
    assert!(asked.elapsed() < Duration::from_secs(12));
    let asked = Instant::now();
    page(&service).await;
    assert!(asked.elapsed() < Duration::from_secs(4));
    service.get("/health").await.ok(200);
    let ready = service.get("/health/ready").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    drop(paused);
    database_is_up(&service, 1.0).await;
    eventually("a service that is ready", async || {
        let ready = service.get("/health/ready").await;
        (ready.status == 200).then_some(())
    })
    .await;
    service.registered("ada").await;
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_told_while_the_service_waits_for_its_database() {
    let cluster = Cluster::start();
    cluster.stop();
    let data = Data::of(Some(Database { url: cluster.url() }));
    let starting = told(data.service()).begin();
    let address = address_in(&starting.logged("/metrics").await);
    let page = reqwest::get(format!("http://{address}/metrics"));
    let page = page.await.unwrap().text().await.unwrap();
    assert_eq!(Metrics::parse(&page).get("auth_db_up", &[]), Some(0.0));
    assert!(!starting.is_listening());
    cluster.resume();
    let service = starting.listen().await;
    let numbers = database_is_up(&service, 1.0).await;
    assert_eq!(numbers.get("auth_workers_up", &[]), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_a_long_queue_whose_connections_are_all_in_use_is_up() {
    let database = postgres::empty_database().await;
    let data = Data::of(Some(database.clone()));
    let launch = told(data.service()).set("DB_MAX_CONNECTIONS", "2");
    let service = Arc::new(launch.start().await);
    data.execute(
        "insert into auth.outbox (id, recipient, locale, letter, due_at, created_at, queued_at)
         select gen_random_uuid(), 'ada@example.org', 'en', '{}', now() + interval '1 day', now(), now() - interval '1 hour'
         from generate_series(1, 10500)",
    )
    .await;
    let mut outside = database.raw().await;
    let mut held = outside.begin().await.unwrap();
    sqlx::query("lock table auth.audit_log in access exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let service = Arc::clone(&service);
            tokio::spawn(async move {
                // A lock is waited for some seconds only.
                loop {
                    let login = json!({"username": format!("u{number}"), "password": PASSWORD});
                    let status = service.post("/auth/login", login).await.status;
                    assert!(matches!(status, 401 | 429 | 503), "{status}");
                }
            })
        })
        .collect();
    // That it is told is a look of now.
    data.execute("update auth.outbox set queued_at = queued_at - interval '1 day'")
        .await;
    let numbers = numbers(&service, "a look at a busy database", |numbers| {
        let used = numbers.get("auth_db_connections", &[("state", "used")]);
        used == Some(2.0) && numbers.get("auth_mail_queue_oldest_seconds", &[]) >= Some(86_400.0)
    })
    .await;
    assert_eq!(numbers.get("auth_db_up", &[]), Some(1.0));
    let queued = numbers.get("auth_mail_queue_length", &[]);
    assert_eq!(queued, Some(10_000.0));
    held.rollback().await.unwrap();
    for client in clients {
        assert!(!client.is_finished());
        client.abort();
    }
}

/// They are asked by nobody's request, and would make a busy pool look idle.
#[tokio::test]
async fn how_long_those_who_watch_wait_for_a_connection_is_not_told() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let numbers = recorder.handle();
    let database = postgres::database().await;
    let memory = SqliteConnectOptions::new().in_memory(true);
    let (postgres, sqlite) = with_local_recorder(&recorder, || {
        let pool = PgStore::pool_options().connect_lazy(&database.url).unwrap();
        let only = SqlitePoolOptions::new().max_connections(1);
        let only = only.connect_lazy_with(memory);
        let sqlite = SqliteStore::from_pools(only.clone(), only);
        (PgStore::from_pool(pool), sqlite)
    });
    sqlite.migrate().await.unwrap();
    let watched: [Box<dyn Store>; 2] =
        [Box::new(postgres.unmetered()), Box::new(sqlite.unmetered())];
    let working: [Box<dyn Store>; 2] = [Box::new(postgres), Box::new(sqlite)];
    let told = || {
        let page = numbers.render();
        let mut lines = page.lines();
        let count =
            lines.find_map(|line| line.strip_prefix("auth_db_connection_wait_seconds_count "));
        count.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let before = told();
    for store in watched {
        store.ping().await.unwrap();
    }
    assert_eq!(told(), before);
    for store in working {
        store.ping().await.unwrap();
    }
    assert_eq!(told(), before + 2);
}

/// Whatever name a password comes with, and whatever is told.
#[tokio::test(flavor = "multi_thread")]
async fn every_password_that_is_not_looked_at_is_counted() {
    let service = told(Home::new().service().quick()).start().await;
    let ada = service.registered("ada").await;
    let guess = async |name: &str| {
        let guess = json!({"username": name, "password": "a wrong guess"});
        service.post("/auth/login", guess).await
    };
    for _ in 0..10 {
        guess("ada").await.refused(401, "invalid_credentials");
    }
    let refused = async |count: f64| {
        numbers(&service, "refused passwords", |numbers| {
            numbers.get("auth_password_attempts_refused_total", &[]) == Some(count)
        })
        .await
    };
    refused(0.0).await;
    guess("ada").await.refused(429, "too_many_attempts");
    refused(1.0).await;
    // Told as a wrong one: not even the right one would be looked at.
    guess(&ada.email).await.refused(401, "invalid_credentials");
    refused(2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_payments_are_counted_by_what_became_of_them() {
    let home = Home::new();
    let service = told(home.service().quick().selling(NO_STRIPE))
        .start()
        .await;
    let ada = service.registered("ada").await;
    let bought = |item: &str| {
        json!({
            "id": format!("cs_{item}"),
            "mode": "payment",
            "payment_status": "paid",
            "metadata": {"user_id": ada.id.to_string(), "item": item},
        })
    };
    let completed = "checkout.session.completed";
    for (id, item, is_processed) in [
        ("evt_1", "small", true),
        ("evt_1", "small", true),
        ("evt_2", "unheard of", false),
    ] {
        let processed = deliver(&service, id, completed, &bought(item)).await;
        assert_eq!(processed, is_processed, "{id}");
    }
    let call = || service.call("POST", "/stripe/webhook").raw("{}");
    let forged = signature("whsec_of_nobody", unix_seconds(), b"{}");
    let forged = call().header("stripe-signature", forged);
    forged.await.refused(401, "invalid_signature");
    let signed = signature(WEBHOOK_SECRET, unix_seconds(), b"{}");
    let malformed = call().header("stripe-signature", signed);
    malformed.await.refused(400, "malformed_event");

    let event = |numbers: &Metrics, outcome: &str| {
        numbers.get("auth_payment_events_total", &[("outcome", outcome)])
    };
    let numbers = numbers(&service, "the last event", |numbers| {
        event(numbers, "unknown_item") == Some(1.0)
    })
    .await;
    assert_eq!(event(&numbers, "applied"), Some(1.0));
    assert_eq!(event(&numbers, "unknown_user"), Some(0.0));
    let again = numbers.get("auth_payment_events_replayed_total", &[]);
    assert_eq!(again, Some(1.0));
    for (reason, count) in [("signature", 1.0), ("malformed", 1.0), ("failed", 0.0)] {
        let labels = [("reason", reason)];
        let refused = numbers.get("auth_payment_events_refused_total", &labels);
        assert_eq!(refused, Some(count), "{reason}");
    }
    // What a payment books is told as its event, and as nothing else.
    let added = numbers.get(
        "auth_ledger_entries_total",
        &[("kind", "one_time_purchase")],
    );
    assert_eq!(added, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_scrapers_hurt_neither_clients_nor_the_service() {
    let service = told(Home::new().service().quick()).start().await;
    let address = address(&service);
    // Half requests: of one client four are kept, and a fifth gets nothing, whatever it asks.
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\n")
            .await
            .unwrap();
        idle.push(stream);
    }
    let mut fifth = TcpStream::connect(&address).await.unwrap();
    // It may be closed before all of it is there.
    let _ = fifth
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let mut got = [0; 16];
    let read = tokio::time::timeout(Duration::from_secs(30), fifth.read(&mut got));
    let read = read.await.expect("a connection too many is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?} {got:?}");
    service.get("/health").await.ok(200);
    drop(idle);
    let numbers = numbers_of_anybody(&service).await;
    assert_eq!(numbers.get("auth_panics_total", &[]), Some(0.0));
    for (method, path, status) in [("POST", "/metrics", 405), ("GET", "/metrics/x", 404)] {
        let url = format!("http://{address}{path}");
        let request = service.http().request(method.parse().unwrap(), url);
        assert_eq!(request.send().await.unwrap().status(), status, "{path}");
    }
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
}

/// Once a place is free again.
async fn numbers_of_anybody(service: &Service) -> Metrics {
    let url = format!("http://{}/metrics", address(service));
    eventually("a place for a scraper", async || {
        let answer = service.http().get(&url).send().await.ok()?;
        Some(Metrics::parse(&answer.text().await.ok()?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_told_before_anything_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let launch = Home::new().service().quick();
    let ended = launch.set("METRICS_ADDRESS", &address).run().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("METRICS_ADDRESS"), "{ended:?}");
    assert!(!ended.stdout.contains("listens on"), "{ended:?}");
}
