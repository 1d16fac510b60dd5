//! Traces, as a collector gets them.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use leasehold::proto::{GetRequest, WatchRequest};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use super::{
    SPAN, TRACE, TRACEPARENT,
    support::{SOON, Server, replica, wait_for, within},
};

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let name =
                attributes.iter().find(|one| one.key == "service.name").and_then(|one| one.value.clone());
            assert_eq!(text(name.as_ref()), "leasehold");
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// One that listens, and where.
    async fn start() -> (Self, SocketAddr) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(collector.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (collector, addr)
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("neither text nor number: {other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|one| one.key == key);
    text(found.unwrap_or_else(|| panic!("{key} in {span:?}")).value.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Ends a server, which sends what it has left.
async fn stop(mut server: Server) {
    server.signal("TERM");
    let stopped = tokio::task::spawn_blocking(move || server.wait_exit(SOON).success());
    assert!(within("the server to stop", 2 * SOON, stopped).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_a_span_of_its_callers_trace() {
    let (collector, addr) = Collector::start().await;
    let endpoint = format!("http://{addr}");
    let server = Server::start(&["--otlp-endpoint", &endpoint]);
    let traced =
        |unsampled: bool| if unsampled { TRACEPARENT.replace("-01", "-00") } else { TRACEPARENT.to_owned() };

    // One of its own, one in a trace of each door, one that nobody wants recorded, a stream.
    server.register(replica("a", "http://a:1")).await;
    assert_eq!(server.http("GET", "/services/nobody", &[("traceparent", TRACEPARENT)], b"").status, 404);
    let mut registry = server.registry().await;
    for unsampled in [false, true] {
        let mut request = Request::new(GetRequest { id: "a".to_owned() });
        request.metadata_mut().insert("traceparent", traced(unsampled).parse().unwrap());
        registry.get(request).await.unwrap();
    }
    let watch = registry.watch(WatchRequest::default()).await.unwrap();
    drop(watch);
    wait_for("the stream to end", SOON, || {
        let counted = "leasehold_rpcs_handled_total{method=\"Watch\",code=\"CANCELLED\"} 1";
        server.get("/metrics").text().contains(counted).then_some(())
    });
    stop(server).await;

    // Scrapes are none.
    let spans = collector.spans();
    let told: Vec<(&str, String, String)> = spans
        .iter()
        .map(|span| {
            assert_eq!(span.kind, SpanKind::Server as i32);
            assert_eq!(attribute(span, "rpc.system.name"), "grpc");
            assert_eq!(attribute(span, "rpc.method"), span.name);
            assert_eq!(attribute(span, "client.address"), "127.0.0.1");
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            let code = attribute(span, "rpc.response.status_code");
            (span.name.as_str(), attribute(span, "leasehold.door"), code)
        })
        .collect();
    let told: Vec<(&str, &str, &str)> =
        told.iter().map(|(name, door, code)| (*name, &**door, &**code)).collect();
    assert_eq!(
        told,
        [
            ("leasehold.v1.Registry/Register", "grpc", "OK"),
            ("leasehold.v1.Registry/Get", "json", "NOT_FOUND"),
            ("leasehold.v1.Registry/Get", "grpc", "OK"),
            ("leasehold.v1.Registry/Watch", "grpc", "CANCELLED"),
        ]
    );
    let parents: Vec<(String, String)> =
        spans.iter().map(|span| (hex(&span.trace_id), hex(&span.parent_span_id))).collect();
    let caller = (TRACE.to_owned(), SPAN.to_owned());
    assert_eq!((&parents[1], &parents[2]), (&caller, &caller));
    assert!(parents[0].1.is_empty() && parents[0].0 != TRACE, "{parents:?}");
    assert_eq!(attribute(&spans[1], "rpc.grpc.status_code"), "5");
    // A refusal is no fault of the server's.
    let failed =
        |span: &Span| span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32);
    assert!(!spans.iter().any(failed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_of_ones_own_is_named_in_the_log() {
    let (collector, addr) = Collector::start().await;
    let endpoint = format!("http://{addr}");
    let server = Server::start(&["--otlp-endpoint", &endpoint]);
    server.register(replica("a", "http://a:1")).await;
    let logged = wait_for("the line of the registration", SOON, || {
        let stderr = server.stderr();
        let lines = stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut registered = lines.filter(|line| line["message"] == "registered");
        Some(registered.next()?["trace_id"].as_str()?.to_owned())
    });
    stop(server).await;
    assert!(collector.spans().iter().any(|span| hex(&span.trace_id) == logged), "{logged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_costs_a_line_of_the_log() {
    // Bound, so that nobody else listens there; and never accepted from.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let server = Server::start(&["--otlp-endpoint", &endpoint]);
    for n in 1..100 {
        server.register(replica("a", &format!("http://a:{n}"))).await;
    }
    let complaints = |server: &Server| server.stderr().matches("the collector takes no traces").count();
    tokio::task::block_in_place(|| {
        wait_for("a complaint", 2 * SOON, || (complaints(&server) > 0).then_some(()));
    });
    assert_eq!(complaints(&server), 1, "{}", server.stderr());
    let mut server = server;
    server.signal("TERM");
    assert!(server.wait_exit(2 * SOON).success());
}
