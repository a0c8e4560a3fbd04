//! A span for each request, by OTLP over HTTP (feature `otel`).
//!
//! 1. A span has what a line of the log has, without the client and the user: method, template of the route, status, code and request id.
//! 2. Spans wait in a bounded queue, and a thread of its own sends them in batches. What does not fit, or is not taken, is dropped, counted and told: no
//!    request waits.
//! 3. A stop sends what waits, for a few seconds.
//! 4. With `TRUST_TRACEPARENT`, a peer of `TRUSTED_PROXIES` may name the parent of a span (`traceparent`, W3C Trace Context). From anybody else the field is
//!    ignored: whoever could name a parent would put spans into the traces of others, and have as many of them kept as they like.
//! 5. What is set in `.env` counts as what is set in the environment: everything is given to OpenTelemetry's code, which reads the environment alone. Headers
//!    are often keys: those of the settings are sent, and none that are in the environment for another collector.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use auth_tower::{PeerAddr, TrustedProxies};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE, request::Parts};
use metrics::{Counter, counter};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{Span, SpanKind, Status, Tracer as _, TracerProvider},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
        Span as SdkSpan, SpanData, SpanExporter as Export, SpanProcessor,
    },
};
use reqwest::{blocking::Client, redirect::Policy};
use tokio::{
    task::{block_in_place, spawn_blocking},
    time::timeout,
};

use crate::{
    BoxError, chain,
    settings::{self, Settings},
};

/// For spans that wait when the service stops.
const LAST_SPANS: Duration = Duration::from_secs(5);
/// Between two reports of dropped spans.
const REPORT: Duration = Duration::from_secs(10);

/// What exports spans.
#[must_use = "spans that wait are lost without `finish`"]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    /// Who may name parents.
    proxies: TrustedProxies,
    tally: Arc<Tally>,
}

impl Traces {
    /// Begins, if the settings name a collector.
    pub(crate) fn start(settings: &Settings) -> Result<Option<Self>, BoxError> {
        let Some(traces) = &settings.traces else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(&traces.endpoint)
            .with_http_client(Collector::of(traces)?)
            .with_timeout(traces.timeout)
            .build()?;
        let tally = Arc::new(Tally::of(traces.queue));
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(traces.queue)
            .with_max_export_batch_size(traces.batch)
            .with_scheduled_delay(traces.delay)
            .build();
        let exporter = Exporter {
            inner: exporter,
            tally: Arc::clone(&tally),
        };
        let processor = Processor {
            inner: BatchSpanProcessor::new(exporter, batches),
            tally: Arc::clone(&tally),
        };
        let share = Sampler::TraceIdRatioBased(traces.sampling.share);
        let sampler = if traces.sampling.follows_parents {
            Sampler::ParentBased(Box::new(share))
        } else {
            share
        };
        let name = traces.service_name.as_ref();
        let name = name.unwrap_or(&settings.server.service_name).clone();
        let resource = Resource::builder()
            .with_service_name(name)
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("deployment.environment.name", settings.environment.as_str()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_span_processor(processor)
            .build();
        let proxies = if traces.trusts_parents {
            settings.server.proxies.clone()
        } else {
            TrustedProxies::default()
        };
        Ok(Some(Self {
            provider,
            proxies,
            tally,
        }))
    }

    pub(crate) fn tracer(&self) -> Tracer {
        Tracer {
            sdk: self.provider.tracer("auth-service"),
            proxies: self.proxies.clone(),
        }
    }

    /// Leaves unsent what waits: dropped, the provider would wait for its collector.
    pub(crate) fn abandon(self) {
        std::mem::forget(self.provider);
    }

    pub(crate) async fn finish(self) {
        let ending = spawn_blocking(move || self.provider.shutdown_with_timeout(LAST_SPANS));
        // Whether it went well is seen in what arrived.
        let _ = timeout(LAST_SPANS, ending).await;
        let lost = self.tally.lost();
        if lost > 0 {
            tracing::warn!(
                spans = lost,
                "spans of this process did not reach their collector"
            );
        }
    }
}

/// The way to whom spans are for. The exporter names headers of the environment on top, which are replaced.
#[derive(Debug)]
struct Collector {
    client: Client,
    headers: HeaderMap,
}

impl Collector {
    fn of(traces: &settings::Traces) -> Result<Self, BoxError> {
        let client = Client::builder()
            .timeout(traces.timeout)
            // Keys are for that address alone.
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("auth-service/", env!("CARGO_PKG_VERSION")));
        // It waits for a thread of its own.
        let client = block_in_place(|| client.build())
            .map_err(|error| format!("spans cannot be sent: {}", chain(&error)))?;
        let mut headers = traces.headers.clone();
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, protobuf);
        Ok(Self { client, headers })
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, mut batch: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        *batch.headers_mut() = self.headers.clone();
        self.client.send_bytes(batch).await
    }
}

/// What becomes of spans.
#[derive(Debug)]
struct Tally {
    /// How many may wait.
    most: usize,
    waiting: AtomicUsize,
    ended: AtomicU64,
    arrived: AtomicU64,
    dropped: AtomicU64,
    counter: Counter,
    /// How many drops were told, and when.
    told: Mutex<(u64, Option<Instant>)>,
}

impl Tally {
    fn of(most: usize) -> Self {
        Self {
            most,
            waiting: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            counter: counter!(
                description: "Spans that never reached the collector",
                "auth_spans_dropped_total"
            ),
            told: Mutex::default(),
        }
    }

    /// A span has ended; `false` when there is no place for it.
    fn ended(&self) -> bool {
        self.ended.fetch_add(1, Relaxed);
        let fits = |waiting| (waiting < self.most).then_some(waiting + 1);
        let has_place = self.waiting.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if !has_place {
            self.dropped(1);
        }
        has_place
    }

    fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Relaxed);
        self.counter.increment(count);
    }

    /// How many did not arrive, those on their way included.
    fn lost(&self) -> u64 {
        let arrived = self.arrived.load(Relaxed);
        self.ended.load(Relaxed).saturating_sub(arrived)
    }

    fn tell(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, when) = *told;
        let dropped = self.dropped.load(Relaxed);
        if dropped > count && when.is_none_or(|when| when.elapsed() >= REPORT) {
            *told = (dropped, Some(Instant::now()));
            tracing::warn!(
                spans = dropped - count,
                "spans are dropped: their collector does not take them, or not fast enough"
            );
        }
    }
}

/// Takes as many spans as have a place: what the queue of OpenTelemetry drops, it does not tell.
#[derive(Debug)]
struct Processor {
    inner: BatchSpanProcessor,
    tally: Arc<Tally>,
}

impl SpanProcessor for Processor {
    fn on_start(&self, span: &mut SdkSpan, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.tally.ended() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sees what leaves the queue, and what arrives.
#[derive(Debug)]
struct Exporter {
    inner: SpanExporter,
    tally: Arc<Tally>,
}

impl Export for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.tally.waiting.fetch_sub(count, Relaxed);
        let exported = self.inner.export(batch).await;
        if exported.is_ok() {
            self.tally.arrived.fetch_add(count as u64, Relaxed);
        } else {
            self.tally.dropped(count as u64);
        }
        self.tally.tell();
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Begins spans.
#[derive(Clone)]
pub(crate) struct Tracer {
    sdk: SdkTracer,
    proxies: TrustedProxies,
}

impl Tracer {
    pub(crate) fn begin(&self, parts: &Parts, request_id: &str) -> Open {
        let span = self
            .sdk
            .span_builder("request")
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("auth.request_id", request_id.to_owned())]);
        Open(self.sdk.build_with_context(span, &self.parent(parts)))
    }

    /// What a peer may name as the parent of its request: one, and without what other systems say of it (`tracestate`).
    fn parent(&self, parts: &Parts) -> Context {
        let peer = parts.extensions.get::<PeerAddr>();
        if !peer.is_some_and(|peer| self.proxies.contains(peer.0.ip())) {
            return Context::new();
        }
        let mut named = parts.headers.get_all("traceparent").iter();
        let (Some(parent), None) = (named.next(), named.next()) else {
            return Context::new();
        };
        let parent = parent.to_str().unwrap_or_default().to_owned();
        let carrier = HashMap::from([("traceparent".to_owned(), parent)]);
        TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
    }
}

/// The span of a request that is under way.
pub(crate) struct Open(SdkSpan);

impl Open {
    /// For the log.
    pub(crate) fn trace_id(&self) -> String {
        self.0.span_context().trace_id().to_string()
    }

    /// Names as OpenTelemetry's conventions for HTTP have them.
    pub(crate) fn end(
        mut self,
        method: &'static str,
        route: Option<&'static str>,
        status: Option<u16>,
        code: Option<&'static str>,
    ) {
        let method = if method == "other" { "_OTHER" } else { method };
        self.0
            .set_attribute(KeyValue::new("http.request.method", method));
        if let Some(route) = route {
            self.0.update_name(format!("{method} {route}"));
            self.0.set_attribute(KeyValue::new("http.route", route));
        }
        match status {
            Some(status) => {
                let code = KeyValue::new("http.response.status_code", i64::from(status));
                self.0.set_attribute(code);
                if status >= 500 {
                    self.0.set_status(Status::error(""));
                }
            }
            None => self
                .0
                .set_attribute(KeyValue::new("error.type", "abandoned")),
        }
        if let Some(code) = code {
            self.0.set_attribute(KeyValue::new("error.type", code));
        }
        self.0.end();
    }
}
