//! A gateway: HTTP and JSON in, gRPC inside, JSON out, as gRPC-gateway does it.
//!
//! Everything is read from a descriptor set and its `google.api.http` annotations; no
//! service is known by name or type, so any tonic service can sit behind it
//! ([`Gateway::new`]; `examples/gateway_echo.rs` shows how).
//!
//! The way of a request, and where each step lives: its method and path choose a binding
//! (`dispatch`, from `route`, `binding` and `template`); its body, path and query become
//! one encoded message (`request`, from `json`, `path`, `query` and `fieldmask`); the
//! service is called in-process (`call`); the answer is written back (`respond`, or
//! `stream` for many messages). Whatever fails becomes a status in JSON (`error`).
//!
//! Messages are never built in memory: `json` goes straight between text and the wire
//! format, along a layout of all message types that is made once (`schema`).

mod apart;
mod binding;
mod body;
mod call;
mod dispatch;
mod draft;
mod error;
mod fieldmask;
mod form;
mod health;
pub mod json;
mod metadata;
pub mod openapi;
mod options;
mod param;
mod path;
mod query;
mod request;
mod respond;
mod route;
mod rule;
#[cfg(test)]
mod sample;
pub mod schema;
mod stream;
mod template;
#[cfg(test)]
mod tests;

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, Uri, request::Parts};
use prost_reflect::{DescriptorError, DescriptorPool};
use tonic::{Code, body::Body, service::Routes};

use crate::{call::AUDITED, wire};

use self::{
    apart::Apart, binding::Binding, body::Unread, call::Call, dispatch::Target, error::Failure,
    openapi::OpenApi, route::RouteTable,
};
pub use self::{
    error::{error_response, status_response},
    json::{Json, JsonOptions, Unwritable},
    options::{EventStreams, Options, RemoteAddr},
};

/// Serves the annotated RPCs of services as HTTP and JSON. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    pool: DescriptorPool,
    json: Arc<Json>,
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
    /// An annotation makes no sense, or asks for what a gateway cannot do.
    #[error("the HTTP annotation of {rpc}: {what}")]
    Unfit {
        /// The RPC's full name.
        rpc: String,
        /// What is wrong.
        what: String,
    },
    /// The prefix is neither empty nor a path without a slash at its end.
    #[error("the prefix {0:?} does not start with a slash, or ends with one")]
    Prefix(String),
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway for `services` (full names) of `descriptor_set`, which has to be complete
    /// and to hold its annotations still: what went through prost-types has lost them.
    /// Calls go to `routes`.
    ///
    /// Of two bindings that fit a request, the one declared later wins; services count in
    /// the order in which they are named.
    pub fn new(
        descriptor_set: &[u8],
        services: &[&str],
        routes: Routes,
        options: Options,
    ) -> Result<Self, BuildError> {
        let prefix = &options.prefix;
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/')) {
            return Err(BuildError::Prefix(prefix.clone()));
        }
        let pool = DescriptorPool::decode(descriptor_set)?;
        let json = Json::new(&pool, options.json);
        let bindings = binding::read(&pool, json.schema(), services, options.unbound_methods)?;
        Ok(Self(Arc::new(Inner {
            pool,
            json: Arc::new(json),
            table: RouteTable::new(bindings),
            routes: routes.prepare(),
            options,
            apart: Apart::new(),
        })))
    }

    /// The OpenAPI document of these services, which this gateway has to serve.
    pub fn openapi(&self, services: &[&str], about: &OpenApi) -> Result<String, BuildError> {
        openapi::document(&self.0.pool, services, &self.0.options, about)
    }

    /// Answers a request. Its extensions are handed to the service. Dropping the
    /// future, or the body of the answer, cancels the call.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let Ok(path) = form::unescape(head.uri.path().as_bytes()) else {
            return self.0.bad_escape(&head);
        };
        let trailers = respond::takes_trailers(&head.headers);
        match self.0.serve(&path, head, body).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(&self.0.json, trailers),
        }
    }
}

// === impl Inner ===

impl Inner {
    async fn serve<B>(&self, path: &[u8], head: Parts, body: B) -> Result<Response<Body>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let trailers = respond::takes_trailers(&head.headers);
        let seen = Seen::new(&head);
        match self.prepare(path, head, body).await.inspect_err(|failure| seen.log_refusal(failure))? {
            Prepared::Health(call) => self.health(call).await,
            Prepared::Rpc(binding, format, call) => {
                let answer = call.start(self.routes.clone()).await?;
                if binding.server_streaming {
                    self.stream(&binding, format, answer).await
                } else {
                    self.unary(&binding, answer, trailers).await
                }
            }
        }
    }

    fn bad_escape(&self, head: &Parts) -> Response<Body> {
        let what = format!("the path {:?}: {}", head.uri.path(), form::BadEscape);
        let failure = Failure::invalid(what);
        Seen::new(head).log_refusal(&failure);
        if self.options.explain_bad_text {
            failure.into_response(&self.json, false)
        } else {
            error::bad_request_line()
        }
    }

    /// Makes a call of a request. The headers are read first: what is wrong with them
    /// ends the request before its body is read.
    async fn prepare<B>(&self, path: &[u8], mut head: Parts, body: B) -> Result<Prepared, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut body = Unread::new(body, self.options.max_body);
        let turn = match self.dispatch(path, &mut head, &mut body).await? {
            Target::Health => return self.health_call(head).map(Prepared::Health),
            Target::Rpc(turn) => turn,
        };
        let binding = Arc::clone(&turn.binding);
        let metadata = metadata::incoming(&head, &self.options.header_allow_list)?;
        let deadline = metadata::deadline(&head.headers)?;
        let format = self.format(&binding, &head.headers);
        let messages = call::by(deadline, self.messages(turn, format, &head, body)).await??;
        let path = binding.grpc_path.clone();
        let call = Call { path, messages, metadata, extensions: head.extensions, deadline };
        Ok(Prepared::Rpc(binding, format, call))
    }
}

/// A call that is ready to be made.
enum Prepared {
    Rpc(Arc<Binding>, stream::Format, Call),
    /// Of the health service.
    Health(Call),
}

/// How much of a path is logged, in bytes.
const MAX_LOGGED: usize = 200;

/// What is kept of a request for the log.
struct Seen {
    method: Method,
    uri: Uri,
    peer: Option<RemoteAddr>,
}

impl Seen {
    fn new(head: &Parts) -> Self {
        let peer = head.extensions.get().copied();
        Self { method: head.method.clone(), uri: head.uri.clone(), peer }
    }

    /// One line for a request that no service gets to see. Neither the query nor the reason
    /// is in it: both may hold a token.
    fn log_refusal(&self, failure: &Failure) {
        let peer = self.peer.map(|addr| tracing::field::display(addr.0.ip()));
        let (method, path, code) = (&self.method, self.uri.path(), Code::from_i32(failure.code));
        let path = &path[..path.floor_char_boundary(MAX_LOGGED)];
        tracing::info!(target: AUDITED, peer, %method, path, ?code, "refused");
    }
}
