//! The JSON paths: HTTP and JSON in, gRPC inside, JSON out, as gRPC-gateway does it.
//!
//! Everything is read from a descriptor set and its `google.api.http` annotations; no
//! service is known by name or type. [`Gateway::handle`] is the way of a request: find
//! its route (`route`), make its message from the body (`json_read`) or the query string
//! (`query`), call the service in-process (`call`), and write the answer (`json_write`,
//! or `stream` for many messages). Whatever fails becomes a status in JSON (`error`).

mod apart;
mod body;
mod call;
mod error;
mod exact;
mod json_read;
mod json_scan;
mod json_write;
mod metadata;
mod param;
mod query;
mod route;
mod stream;
#[cfg(test)]
mod tests;

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, request::Parts};
use prost::Message as _;
use prost_reflect::{
    DescriptorError, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    ReflectMessage as _, Value,
};
use tonic::{Code, body::Body, service::Routes};

pub use self::error::error_response;
use self::{
    apart::Apart,
    call::{Answer, Call},
    error::{Failure, json_response},
    route::{Match, Route, RouteTable, Variables},
    stream::{Format, Writer},
};
pub use json_write::{Unwritable, to_json};

/// How a gateway differs from a plain one.
#[derive(Clone, Debug)]
pub struct Options {
    /// Stands before every path of the annotations, `/v2`; empty for none.
    pub prefix: String,
    /// The most bytes of a body, and of the message made from a request.
    pub max_body: usize,
    /// Whether a JSON number that a double would change is refused.
    pub exact_numbers: bool,
    /// Headers that pass to the service as metadata of the same name.
    pub header_allow_list: Vec<HeaderName>,
    /// The string field of a stream's messages that becomes the id of a Server-Sent
    /// Event, and that of the request which takes up `Last-Event-ID`.
    pub event_stream_id_field: Option<String>,
    /// More to say about a request that no route takes: its method and its path,
    /// decoded and without the prefix.
    pub hint: fn(&Method, &str) -> Option<String>,
}

/// Serves a service's annotated RPCs as HTTP and JSON. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    pool: DescriptorPool,
    table: RouteTable,
    routes: Routes,
    options: Options,
    apart: Apart,
}

/// Why a gateway cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The descriptor set does not decode or does not hold together.
    #[error("the descriptor set cannot be read")]
    Descriptors(#[from] DescriptorError),
    /// The service is not in the set.
    #[error("the descriptor set has no service {0}")]
    NoService(String),
    /// The set does not declare the extension `google.api.http`.
    #[error("the descriptor set has no google.api.http annotations")]
    NoAnnotations,
    /// An annotation asks for what this gateway cannot do.
    #[error("the HTTP annotation of {rpc} needs {what}, which is not supported")]
    Unsupported {
        /// The RPC's full name.
        rpc: String,
        /// What it needs.
        what: String,
    },
    /// The prefix is neither empty nor a path without a slash at its end.
    #[error("the prefix {0:?} does not start with a slash, or ends with one")]
    Prefix(String),
}

impl Default for Options {
    /// A plain gateway, with bodies of up to 1 MiB.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            max_body: 1 << 20,
            exact_numbers: false,
            header_allow_list: Vec::new(),
            event_stream_id_field: None,
            hint: |_, _| None,
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway for one service of `descriptor_set`, which has to be complete and to
    /// hold its annotations still. Calls go to `routes`.
    pub fn new(
        descriptor_set: &[u8],
        service_full_name: &str,
        routes: Routes,
        options: Options,
    ) -> Result<Self, BuildError> {
        let prefix = &options.prefix;
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/')) {
            return Err(BuildError::Prefix(prefix.clone()));
        }
        let pool = DescriptorPool::decode(descriptor_set)?;
        let table = RouteTable::new(&pool, service_full_name)?;
        Ok(Self(Arc::new(Inner { pool, table, routes: routes.prepare(), options, apart: Apart::new() })))
    }

    /// Answers a request. Its extensions are handed to the service. Dropping the
    /// future, or the body of the answer, cancels the call.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.0.serve(request).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(&self.0.pool),
        }
    }
}

// === impl Inner ===

impl Inner {
    async fn serve<B>(&self, request: Request<B>) -> Result<Response<Body>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let prepared = self.prepare(head, body).await;
        let (route, format, call) = prepared.inspect_err(|failure| {
            // Without the query: it may carry a token.
            tracing::info!(%method, path, code = failure.code, reason = failure.message, "refused");
        })?;
        let answer = call.start(self.routes.clone()).await;
        if route.server_streaming {
            return Ok(match answer {
                Ok(answer) => stream::respond(answer, self.writer(route, format)),
                Err(failure) => failure.into_stream_response(&self.pool),
            });
        }
        self.unary(route, answer?).await
    }

    /// Makes a call of a request.
    async fn prepare<B>(&self, head: Parts, body: B) -> Result<(&Route, Format, Call), Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (route, variables) = self.route(&head)?;
        let mut message = if route.takes_body {
            let text = body::read(body, &head.headers, self.options.max_body).await?;
            let (input, exact) = (route.input.clone(), self.options.exact_numbers);
            self.apart.work(text.len(), move || json_read::message(&input, &text, exact)).await?
        } else {
            // It is ignored: hyper reads past it or ends the connection.
            drop(body);
            let mut message = DynamicMessage::new(route.input.clone());
            let query = head.uri.query().unwrap_or_default();
            query::bind(&mut message, query, &route.path_fields())?;
            message
        };
        bind_path(&mut message, variables)?;
        let format = Format::asked_for(&head.headers);
        if route.server_streaming && format == Format::Events {
            self.bind_last_event(&mut message, &head.headers);
        }
        let call = self.call(route, &message, head)?;
        Ok((route, format, call))
    }

    async fn unary(&self, route: &Route, answer: Answer) -> Result<Response<Body>, Failure> {
        let Answer { headers, messages } = answer;
        let written = async {
            let encoded = messages.only().await?;
            let output = route.output.clone();
            self.apart.work(encoded.len(), move || json(&output, &encoded)).await
        }
        .await;
        match written {
            Ok(json) => {
                let mut response = json_response(StatusCode::OK, json);
                for (name, value) in &headers {
                    response.headers_mut().append(name, value.clone());
                }
                Ok(response)
            }
            Err(failure) => Err(Failure { headers, ..failure }),
        }
    }

    fn route(&self, head: &Parts) -> Result<(&Route, Variables), Failure> {
        let path = head.uri.path();
        if !path.starts_with('/') {
            return Err(Failure::invalid("Bad Request"));
        }
        let path =
            query::decode(path).map_err(|why| Failure::invalid(format!("the path {path:?}: {why}")))?;
        let Some(path) = path.strip_prefix(&self.options.prefix).filter(|path| path.starts_with('/')) else {
            return Err(Failure::new(Code::NotFound, "Not Found"));
        };
        let (code, message) = match self.table.find(&head.method, path) {
            Match::Found(route, variables) => return Ok((route, variables)),
            Match::OtherMethod => (Code::Unimplemented, "Method Not Allowed"),
            Match::Nothing => (Code::NotFound, "Not Found"),
        };
        Err(match (self.options.hint)(&head.method, path) {
            Some(hint) => Failure::new(code, format!("{message}: {hint}")),
            None => Failure::new(code, message),
        })
    }

    fn call(&self, route: &Route, message: &DynamicMessage, head: Parts) -> Result<Call, Failure> {
        let encoded = message.encode_to_vec();
        if encoded.len() > self.options.max_body {
            return Err(body::too_large(self.options.max_body));
        }
        Ok(Call {
            path: Uri::from_maybe_shared(route.grpc_path.clone())
                .map_err(|error| Failure::new(Code::Internal, error.to_string()))?,
            message: encoded,
            metadata: metadata::incoming(&head.headers, &self.options.header_allow_list)?,
            extensions: head.extensions,
            timeout: metadata::timeout(&head.headers)?,
        })
    }

    fn writer(&self, route: &Route, format: Format) -> Writer {
        Writer {
            pool: self.pool.clone(),
            output: route.output.clone(),
            format,
            event_id: self.id_field(&route.output),
            apart: self.apart.clone(),
        }
    }

    /// A browser that connects again says where it was. It repeats the first URL's query
    /// then, so the header has precedence.
    fn bind_last_event(&self, message: &mut DynamicMessage, headers: &HeaderMap) {
        let id = headers.get("last-event-id").and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let field = self.id_field(&message.descriptor());
        if let (Some(id), Some(field)) = (id, field) {
            message.set_field(&field, Value::String(id.to_owned()));
        }
    }

    fn id_field(&self, descriptor: &MessageDescriptor) -> Option<FieldDescriptor> {
        let name = self.options.event_stream_id_field.as_ref()?;
        descriptor.get_field_by_name(name).filter(|field| field.kind() == Kind::String && !field.is_list())
    }
}

/// What the path says has precedence over what the body says.
fn bind_path(message: &mut DynamicMessage, variables: Variables) -> Result<(), Failure> {
    for (field, text) in variables {
        let mismatch = |why: String| {
            let name = field.name();
            Failure::invalid(format!("type mismatch, parameter: {name}, error: {why}"))
        };
        let value = param::parse(&field.kind(), &text).map_err(|why| mismatch(why.0))?;
        message.try_set_field(&field, value).map_err(|why| mismatch(why.to_string()))?;
    }
    Ok(())
}

fn json(descriptor: &MessageDescriptor, encoded: &[u8]) -> Result<String, Failure> {
    let message = stream::decode(descriptor, encoded)?;
    let mut json = String::with_capacity(encoded.len() * 2);
    json_write::message(&mut json, &message)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    Ok(json)
}
