//! Calls of the gRPC service, made in-process: whatever stands before it stands before the dialect.

use http::{HeaderMap, HeaderName, StatusCode, header::AUTHORIZATION, uri::PathAndQuery};
use prost::Message;
use tonic::{Request, Response, Status, client::Grpc, metadata::MetadataMap};
use tonic_prost::ProstCodec;

use crate::{api::Rpc, auth::Scope, types::ServiceName};

use super::{Ask, NameRegistry, answer::Refusal};

/// An RPC of the registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method(&'static str);

pub(super) const REGISTER: Method = Method("/leasehold.v1.Registry/Register");
pub(super) const PING: Method = Method("/leasehold.v1.Registry/Ping");
pub(super) const DEREGISTER: Method = Method("/leasehold.v1.Registry/Deregister");
pub(super) const LIST: Method = Method("/leasehold.v1.Registry/List");

/// What of a request's headers the service reads.
const HEADERS: [HeaderName; 5] = [
    AUTHORIZATION,
    HeaderName::from_static("x-service-key"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

impl NameRegistry {
    /// Makes a call.
    pub(super) async fn call<Q, A>(&self, method: Method, ask: Ask, message: Q) -> Result<Response<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut headers = HeaderMap::new();
        for name in HEADERS {
            for value in ask.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        request.extensions_mut().insert(ask.caller);
        let mut service = Grpc::new(self.routes.clone());
        service.ready().await.map_err(|never| Status::internal(never.to_string()))?;
        service.unary(request, PathAndQuery::from_static(method.0), ProstCodec::default()).await
    }

    /// Passes the gate for a call that is not made, about a service or all of them.
    pub(super) fn pass(
        &self,
        method: Method,
        ask: &mut Ask,
        service: Option<&ServiceName>,
    ) -> Result<(), Refusal> {
        // It renews nothing, so it is not spared as a renewal would be.
        let rpc = Rpc { renews: false, ..Rpc::of(method.0) };
        self.gate.admit(rpc, &ask.headers, &mut ask.caller)?;
        let is_free = rpc.scope == Some(Scope::Read) && !self.gate.protect_reads;
        match (service, &ask.caller.grant) {
            (Some(service), Some(grant)) if !is_free && !grant.covers(service) => {
                let text = format!("the key {:?} is not good for this", grant.name());
                Err(Refusal::new(StatusCode::FORBIDDEN, text))
            }
            _ => Ok(()),
        }
    }
}
