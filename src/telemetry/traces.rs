//! Traces: a span for each RPC, sent to a collector by OTLP over gRPC. A collector that is not
//! there costs the spans, and a line in the log now and then.

use std::{
    fmt,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{info, warn};

use super::TraceParent;
use crate::types::TraceId;

/// How long what is left may take when the server stops.
const FLUSH: Duration = Duration::from_secs(2);
/// How often a collector that does not answer is complained about at most.
const COMPLAIN_EVERY: Duration = Duration::from_mins(5);

/// Sends spans.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to {endpoint}: {error}")]
pub struct TracesError {
    endpoint: String,
    error: String,
}

/// The span of one RPC; it ends with [`Span::end`].
#[derive(Debug)]
pub struct Span(opentelemetry_sdk::trace::Span);

impl Traces {
    /// Sends to the collector at this endpoint, from the current tokio runtime; it need not be there.
    pub fn start(endpoint: &str) -> Result<Self, TracesError> {
        let exporter = OtlpExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter
            .map_err(|error| TracesError { endpoint: endpoint.to_owned(), error: error.to_string() })?;
        let exporter =
            Spoken { exporter, endpoint: endpoint.to_owned(), trouble: Mutex::new(Trouble::default()) };
        let resource = Resource::builder_empty()
            .with_service_name(env!("CARGO_PKG_NAME"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Self { provider, tracer })
    }

    /// Begins the span of a call of `method`, `package.Service/Method`, as a part of its
    /// caller's trace, or of one of its own.
    pub fn span(
        &self,
        method: &'static str,
        parent: Option<TraceParent>,
        peer: IpAddr,
        door: &'static str,
    ) -> Span {
        let context = parent.map_or_else(Context::new, |parent| {
            let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
            let (trace, span) = (parent.trace.0.into(), SpanId::from(parent.span));
            Context::new().with_remote_span_context(SpanContext::new(
                trace,
                span,
                flags,
                true,
                TraceState::NONE,
            ))
        });
        // https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", method),
            KeyValue::new("client.address", peer.to_string()),
            KeyValue::new("leasehold.door", door),
        ];
        let builder = self.tracer.span_builder(method).with_kind(SpanKind::Server);
        Span(builder.with_attributes(attributes).start_with_context(&self.tracer, &context))
    }

    /// Sends what is left, as far as the collector takes it in time.
    pub async fn stop(self) {
        let stop = move || self.provider.shutdown_with_timeout(FLUSH);
        // Who waits for a collector waits on a thread of its own.
        let _ = tokio::time::timeout(FLUSH, tokio::task::spawn_blocking(stop)).await;
    }
}

impl Span {
    /// The trace that it is a part of.
    pub fn trace(&self) -> TraceId {
        TraceId(u128::from_be_bytes(self.0.span_context().trace_id().to_bytes()))
    }

    /// Notes whose key the caller showed.
    pub fn key(&mut self, name: &str) {
        self.0.set_attribute(KeyValue::new("leasehold.key", name.to_owned()));
    }

    /// Ends it with gRPC's code, by its number and its name.
    pub fn end(mut self, code: i32, name: &'static str) {
        self.0.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(code)));
        self.0.set_attribute(KeyValue::new("rpc.response.status_code", name));
        // Of a server, only these are its own fault.
        if matches!(code, 2 | 4 | 12 | 13 | 14 | 15) {
            self.0.set_attribute(KeyValue::new("error.type", name));
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

/// An exporter that says when it fails, not too often, and when it works again.
struct Spoken {
    exporter: OtlpExporter,
    endpoint: String,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    lost: usize,
    complained: Option<Instant>,
}

impl SpanExporter for Spoken {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.note(&result, spans);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl Spoken {
    fn note(&self, result: &OTelSdkResult, spans: usize) {
        let mut trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let endpoint = &*self.endpoint;
        match result {
            Ok(()) if trouble.complained.is_some() => {
                info!(endpoint, lost_spans = trouble.lost, "the collector takes traces again");
                *trouble = Trouble::default();
            }
            Ok(()) => {}
            Err(error) => {
                trouble.lost += spans;
                if trouble.complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    trouble.complained = Some(Instant::now());
                    warn!(endpoint, %error, lost_spans = trouble.lost, "the collector takes no traces");
                }
            }
        }
    }
}

impl fmt::Debug for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spoken").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
