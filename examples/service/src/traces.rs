//! A span for each request, by OTLP over HTTP (feature `otel`).
//!
//! 1. A span has what a line of the log has, without the client and the user: method, template of the route, status, code and request id.
//! 2. Spans wait in a bounded queue, and a thread of its own sends them in batches. What does not fit is dropped: no request waits.
//! 3. A stop sends what waits, for a few seconds.
//! 4. A peer of `TRUSTED_PROXIES` may name the parent of a span (`traceparent`, W3C Trace Context). From anybody else the field is ignored: whoever could
//!    name a parent would put spans into the traces of others, and have as many of them kept as they like.

use std::{collections::HashMap, time::Duration};

use auth_tower::{PeerAddr, TrustedProxies};
use http::request::Parts;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{Span, SpanKind, Status, Tracer as _, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan},
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{BoxError, settings::Settings};

/// For spans that wait when the service stops.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// What exports spans.
#[must_use = "spans that wait are lost without `finish`"]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    proxies: TrustedProxies,
}

impl Traces {
    /// Begins, if the settings name a collector.
    pub(crate) fn start(settings: &Settings) -> Result<Option<Self>, BoxError> {
        let Some(traces) = &settings.traces else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", traces.endpoint))
            .with_headers(traces.headers.clone())
            .build()?;
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
            .with_batch_exporter(exporter)
            .build();
        Ok(Some(Self {
            provider,
            proxies: settings.server.proxies.clone(),
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
        let last = spawn_blocking(move || self.provider.shutdown_with_timeout(LAST_SPANS));
        if !matches!(timeout(LAST_SPANS, last).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans did not reach OTEL_EXPORTER_OTLP_ENDPOINT");
        }
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
