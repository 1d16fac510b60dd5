//! What can be set about a gateway.

use std::net::SocketAddr;

use http::{HeaderName, Method};

use super::json::JsonOptions;

/// How a gateway differs from a plain one.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    /// Stands before every path of the annotations, `/v2`; empty for none.
    pub prefix: String,
    /// The most bytes of a body, and of the message made from a request.
    pub max_body: usize,
    /// How messages are spelled.
    pub json: JsonOptions,
    /// Headers that pass to the service as metadata of the same name.
    pub header_allow_list: Vec<HeaderName>,
    /// Serves streams as Server-Sent Events to those whose `Accept` names
    /// `text/event-stream`; else all get lines.
    pub event_streams: Option<EventStreams>,
    /// Whether a POST of a form may name another method in `X-HTTP-Method-Override`. Off
    /// unless asked for: a page of another origin can send a form.
    pub method_override: bool,
    /// Whether a POST of a form to a path that knows only GET is that GET, with the
    /// form's fields as query parameters.
    pub form_fallback: bool,
    /// The name of response metadata that sets the HTTP status of an answer, `x-http-code`.
    pub http_code_metadata: Option<HeaderName>,
    /// Where `grpc.health.v1.Health/Check` is answered in JSON, `/healthz`; the prefix does
    /// not apply. The routes have to serve it.
    pub healthz: Option<String>,
    /// Whether RPCs without an annotation are served too, as `POST /package.Service/Method`.
    pub unbound_methods: bool,
    /// Whether a path with a `%` that starts no escape, and text that is not UTF-8 in a path
    /// or a query, are `INVALID_ARGUMENT` and say so. gRPC-gateway leaves the one to Go's
    /// HTTP server, which answers in plain text, and calls the other an internal error.
    pub explain_bad_text: bool,
    /// More to say about a request that no route takes: its method and its path,
    /// decoded and without the prefix.
    pub hint: fn(&Method, &str) -> Option<String>,
}

/// How Server-Sent Events are made of a stream's messages.
#[derive(Clone, Debug)]
pub struct EventStreams {
    /// The string field of the messages that becomes an event's `id`, and that of the
    /// request which takes up `Last-Event-ID`.
    pub id_field: String,
}

/// The address of the client, as an extension of a request: it is added to
/// `x-forwarded-for`, as proxies do. None is added without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddr(pub SocketAddr);

impl Default for Options {
    /// A plain gateway, with bodies of up to 1 MiB and no health path.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            max_body: 1 << 20,
            json: JsonOptions::default(),
            header_allow_list: Vec::new(),
            event_streams: None,
            method_override: false,
            form_fallback: false,
            http_code_metadata: None,
            healthz: None,
            unbound_methods: false,
            explain_bad_text: false,
            hint: |_, _| None,
        }
    }
}
