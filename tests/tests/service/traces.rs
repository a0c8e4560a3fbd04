//! Spans that the service exports, as OpenTelemetry's own messages read them.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use auth_tests::{
    PASSWORD,
    process::{Home, Launch, Signal},
    telemetry::python,
};
use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::metrics::{numbers, told};

/// Reads one batch and writes it as JSON.
const DECODE: &str = "
import sys
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
print(MessageToJson(ExportTraceServiceRequest.FromString(sys.stdin.buffer.read())))
";

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// What takes batches, and its address.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let kept = Arc::clone(&received);
    let take = post(move |headers: HeaderMap, body: Bytes| {
        kept.lock().unwrap().push((headers, body));
        async {}
    });
    let app = Router::new().route("/v1/traces", take);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, received)
}

fn decode(batch: &[u8]) -> Value {
    let mut decoder = Command::new(python())
        .args(["-c", DECODE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = decoder.stdin.take().unwrap();
    stdin.write_all(batch).unwrap();
    drop(stdin);
    let output = decoder.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All spans of a resource, each with its attributes by name.
fn spans(received: &Received) -> Vec<(Value, Value)> {
    let batches = received.lock().unwrap();
    let batches: Vec<Value> = batches.iter().map(|(_, body)| decode(body)).collect();
    let resources = batches
        .iter()
        .flat_map(|batch| batch["resourceSpans"].as_array().unwrap());
    let scopes = resources.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
    scopes
        .flat_map(|scope| scope["spans"].as_array().unwrap())
        .map(|span| (span.clone(), attributes(&span["attributes"])))
        .collect()
}

fn attributes(list: &Value) -> Value {
    let pairs = list.as_array().unwrap().iter().map(|pair| {
        let name = pair["key"].as_str().unwrap().to_owned();
        let (_, value) = pair["value"].as_object().unwrap().iter().next().unwrap();
        (name, value.clone())
    });
    Value::Object(pairs.collect())
}

fn traced(home: &Home, address: &str) -> Launch {
    let launch = home.service().quick();
    launch.set("OTEL_EXPORTER_OTLP_ENDPOINT", address)
}

/// As JSON has bytes: base64.
fn base64(hex: &str) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let bytes = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    BASE64_STANDARD.encode(bytes.collect::<Vec<_>>())
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_that_names_nobody_and_no_client_chooses_its_trace() {
    let (address, received) = collector().await;
    let home = Home::new();
    let service = traced(&home, &address)
        .set("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=the%20shop")
        .set("OTEL_SERVICE_NAME", "shop-auth")
        .set("JSON_LOGS", "true")
        .start()
        .await;
    assert!(service.greeting().contains(&address));
    let ada = service.verified("ada").await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let me = service.get("/auth/me").by(&ada);
    let me = me
        .header("x-request-id", "mine")
        .header("traceparent", traceparent);
    me.await.ok(200);
    service
        .get("/no/such/ada@example.org")
        .await
        .refused(404, "not_found");
    // At once: what waits is sent by the stop.
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");

    let spans = spans(&received);
    let named = |name: &str| {
        let mut found = spans.iter().filter(|(span, _)| span["name"] == name);
        found.next().unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    };
    let (span, about) = named("GET /auth/me");
    assert_eq!(span["kind"], "SPAN_KIND_SERVER");
    assert_eq!(
        *about,
        json!({
            "auth.request_id": "mine",
            "http.request.method": "GET",
            "http.response.status_code": "200",
            "http.route": "/auth/me",
        })
    );
    assert!(span["parentSpanId"].is_null(), "{span}");
    assert_ne!(span["traceId"], base64(TRACE));
    let (_, about) = named("GET none");
    assert_eq!(about["error.type"], "not_found");
    named("POST /auth/register");

    // The log names the trace.
    let lines = ended.stderr.lines();
    let line = lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["request_id"] == "mine")
        .unwrap();
    assert_eq!(base64(line["trace_id"].as_str().unwrap()), span["traceId"]);

    let batches = received.lock().unwrap();
    for (headers, body) in batches.iter() {
        assert_eq!(headers["x-tenant"], "the shop");
        let resource = attributes(&decode(body)["resourceSpans"][0]["resource"]["attributes"]);
        assert_eq!(resource["service.name"], "shop-auth");
        let text = String::from_utf8_lossy(body);
        let id = ada.id.to_string();
        for secret in [
            &*ada.access_token,
            PASSWORD,
            &id,
            "example.org",
            "127.0.0.1",
        ] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_names_the_parent_and_nonsense_is_none() {
    let (address, received) = collector().await;
    let home = Home::new();
    let launch = traced(&home, &address).set("TRUSTED_PROXIES", "127.0.0.1");
    let service = launch.set("TRUST_TRACEPARENT", "true").start().await;
    let right = format!("00-{TRACE}-{PARENT}-01");
    let ask = |id: &str| service.get("/health").header("x-request-id", id);
    ask("right").header("traceparent", &right).await.ok(200);
    for (id, nonsense) in [
        ("zero", format!("00-{}-{PARENT}-01", "0".repeat(32))),
        ("short", format!("00-{TRACE}-{PARENT}")),
        ("long", right.repeat(1000)),
        ("bytes", "\u{e4}\u{f6}\u{fc}".to_owned()),
    ] {
        ask(id).header("traceparent", nonsense).await.ok(200);
    }
    let twice = ask("twice").header("traceparent", &right);
    twice.header("traceparent", &right).await.ok(200);
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");

    let spans = spans(&received);
    for id in ["right", "zero", "short", "long", "bytes", "twice"] {
        let (span, _) = spans
            .iter()
            .find(|(_, about)| about["auth.request_id"] == id)
            .unwrap_or_else(|| panic!("{id}: {spans:#?}"));
        let is_in_trace = span["traceId"] == base64(TRACE);
        assert_eq!(is_in_trace, id == "right", "{id}");
        if is_in_trace {
            assert_eq!(span["parentSpanId"], base64(PARENT));
        } else {
            assert!(span["parentSpanId"].is_null(), "{span}");
        }
    }
}

/// A proxy may pass on what clients send: that it is believed about their addresses says nothing about their traces.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_believed_about_addresses_alone_names_no_parent() {
    let (address, received) = collector().await;
    let home = Home::new();
    let launch = traced(&home, &address).set("TRUSTED_PROXIES", "127.0.0.1");
    let service = launch.start().await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let asked = service.get("/health").header("traceparent", parent);
    asked.header("x-request-id", "passed-on").await.ok(200);
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    let spans = spans(&received);
    let (span, _) = spans
        .iter()
        .find(|(_, about)| about["auth.request_id"] == "passed-on")
        .unwrap();
    assert_ne!(span["traceId"], base64(TRACE));
    assert!(span["parentSpanId"].is_null(), "{span}");
}

/// Those of all signals may be the keys of another collector.
#[tokio::test(flavor = "multi_thread")]
async fn headers_for_traces_are_sent_alone_wherever_they_and_others_are_set() {
    let own = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=100%2525");
    let general = (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "x-key=hunter2,x-tenant=hunter2,user-agent=hunter2,content-type=hunter2",
    );
    let file = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE", "headers");
    for (dot_env, environment) in [
        (&[own][..], &[general][..]),
        (&[], &[own, general]),
        (&[general], &[own]),
        (&[own, general], &[]),
        (&[], &[file, general]),
    ] {
        let (address, received) = collector().await;
        let home = Home::new();
        let put = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
        let lines = dot_env
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        put(".env", &lines.collect::<String>());
        put("headers", own.1);
        let launch = environment
            .iter()
            .fold(traced(&home, &address), |launch, (name, value)| {
                launch.set(name, value)
            });
        let service = launch.start().await;
        let ended = service.stop().await;
        assert!(ended.status.success(), "{ended:?}");
        let case = format!("{dot_env:?} {environment:?}");
        let batches = received.lock().unwrap();
        assert!(!batches.is_empty(), "{case}: {ended:?}");
        for (headers, _) in batches.iter() {
            assert_eq!(headers["x-key"], "100%25", "{case}");
            assert_eq!(headers["content-type"], "application/x-protobuf", "{case}");
            let said = format!("{headers:?}");
            assert!(!said.contains("hunter2"), "{case}: {said}");
        }
    }
}

/// It would read them, and the keys with them.
#[tokio::test(flavor = "multi_thread")]
async fn spans_take_no_way_through_a_proxy_of_the_machine() {
    let (address, received) = collector().await;
    let (proxy, passed) = collector().await;
    let home = Home::new();
    let service = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"]
        .into_iter()
        .fold(traced(&home, &address), |launch, name| {
            launch.set(name, &proxy)
        })
        .start()
        .await;
    service.get("/health").await.ok(200);
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!received.lock().unwrap().is_empty(), "{ended:?}");
    assert!(passed.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_env_file_says_of_sampling_is_obeyed() {
    let (address, received) = collector().await;
    let home = Home::new();
    fs::write(home.path().join(".env"), "OTEL_TRACES_SAMPLER=always_off\n").unwrap();
    let service = traced(&home, &address).start().await;
    service.get("/health").await.ok(200);
    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(received.lock().unwrap().is_empty());
    assert!(!ended.stderr.contains("did not reach"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_silent_holds_up_nobody_and_drops_are_told() {
    const REQUESTS: u16 = 200;
    const PLACES: u16 = 16;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [&silent, &gone].map(|it| it.local_addr().unwrap());
    drop(gone);
    for address in addresses {
        let home = Home::new();
        let service = told(traced(&home, &format!("http://{address}")))
            .set("OTEL_BSP_MAX_QUEUE_SIZE", &PLACES.to_string())
            .set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
            .set("OTEL_BSP_SCHEDULE_DELAY", "50")
            .set("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")
            .start()
            .await;
        let began = Instant::now();
        for _ in 0..REQUESTS {
            service.get("/health").await.ok(200);
        }
        // One that waited for the silent one would wait for a minute.
        assert!(began.elapsed() < Duration::from_secs(40));
        // But for those that wait and one batch on its way.
        let least = f64::from(REQUESTS - PLACES - 4);
        numbers(&service, "dropped spans", |numbers| {
            numbers.get("auth_spans_dropped_total", &[]) >= Some(least)
        })
        .await;
        if address != addresses[0] {
            service.logged("spans are dropped").await;
        }
        let stopped = Instant::now();
        let ended = service.stop().await;
        assert!(ended.status.success(), "{ended:?}");
        assert!(stopped.elapsed() < Duration::from_secs(20), "{ended:?}");
        let told = "spans of this process did not reach";
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_twice_does_not_wait_for_a_silent_collector() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = Home::new();
    let service = traced(&home, &format!("http://{}", silent.local_addr().unwrap()))
        .start()
        .await;
    // Without its end it keeps the first stop from ending.
    let mut endless = TcpStream::connect(service.authority()).await.unwrap();
    let head = "POST /auth/register HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    endless.write_all(head.as_bytes()).await.unwrap();
    service.get("/health").await.ok(200);
    service.signal(Signal::TERM);
    service.logged("asked to stop").await;
    let asked = Instant::now();
    service.signal(Signal::TERM);
    let ended = service.end().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    // The last spans would have five seconds.
    assert!(asked.elapsed() < Duration::from_secs(4), "{ended:?}");
}
