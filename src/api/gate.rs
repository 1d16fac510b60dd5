//! What stands before every RPC, whichever door it comes in by: gRPC's from the network, and
//! those that the JSON paths and the name registry's make in-process. It finds out whose key
//! the caller shows, whether that is good for the call at all, and whether the caller asks too
//! often. Whether the key is good for the very service, the call itself asks.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use tonic::{Code, Status, body::Body, server::NamedService};
use tower::Service;
use tracing::info;

use crate::{
    auth::{Grant, Keys, Scope},
    call::Caller,
    limits::{Exceeded, Limits},
};

use super::refuse;

/// What stands before the RPCs of one server.
#[derive(Debug)]
pub struct Gate {
    /// Whose keys are whose.
    pub keys: Arc<Keys>,
    /// Whether reading needs a key.
    pub protect_reads: bool,
    /// How much each may ask for.
    pub limits: Arc<Limits>,
}

/// An RPC as the gate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rpc {
    /// As metrics and the log name it.
    pub name: &'static str,
    /// What a key has to be good for.
    pub scope: Option<Scope>,
    /// Whether it renews a lease: what keeps the living alive is not refused lightly.
    pub renews: bool,
    /// Whether its answer is a stream.
    pub streams: bool,
}

const fn rpc(name: &'static str, scope: Option<Scope>, streams: bool) -> Rpc {
    Rpc { name, scope, renews: false, streams }
}

/// All that this server serves, and what stands for the rest.
static RPCS: [(&str, Rpc); 16] = [
    ("/leasehold.v1.Registry/Register", rpc("Register", Some(Scope::Register), false)),
    ("/leasehold.v1.Registry/BatchRegister", rpc("BatchRegister", Some(Scope::Register), false)),
    (
        "/leasehold.v1.Registry/Ping",
        Rpc { name: "Ping", scope: Some(Scope::Register), renews: true, streams: false },
    ),
    ("/leasehold.v1.Registry/List", rpc("List", Some(Scope::Read), false)),
    ("/leasehold.v1.Registry/Get", rpc("Get", Some(Scope::Read), false)),
    ("/leasehold.v1.Registry/Watch", rpc("Watch", Some(Scope::Read), true)),
    ("/leasehold.v1.Registry/Deregister", rpc("Deregister", Some(Scope::Register), false)),
    ("/leasehold.v1.Registry/KeepAlive", rpc("KeepAlive", Some(Scope::Register), true)),
    ("/leasehold.v1.Admin/Backup", rpc("Backup", Some(Scope::Admin), true)),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", rpc("Reflection", Some(Scope::Read), true)),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        rpc("Reflection", Some(Scope::Read), true),
    ),
    ("/grpc.health.v1.Health/Check", rpc("HealthCheck", None, false)),
    ("/grpc.health.v1.Health/Watch", rpc("HealthWatch", None, true)),
    // The paths that are no RPCs.
    ("/metrics", rpc("Metrics", Some(Scope::Read), false)),
    ("/openapi.json", rpc("OpenApi", Some(Scope::Read), false)),
    ("", UNKNOWN),
];

/// What this server does not serve.
const UNKNOWN: Rpc = rpc("Unknown", None, false);

impl Rpc {
    /// The RPC, or other thing to be read, of this path.
    pub fn of(path: &str) -> Self {
        RPCS.iter().find(|(known, _)| *known == path).map_or(UNKNOWN, |(_, rpc)| *rpc)
    }

    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        RPCS.iter().map(|(_, rpc)| *rpc)
    }
}

impl Gate {
    /// Lets a caller in, and notes in it what its key is good for; or says why not, which is
    /// logged. Every request passes once.
    pub fn admit(&self, rpc: Rpc, headers: &HeaderMap, caller: &mut Caller) -> Result<(), Status> {
        self.decide(rpc, headers, caller).inspect_err(|status| {
            let (peer, code) = (caller.peer.ip(), status.code());
            let key = caller.grant.as_ref().map(|grant| &**grant.name());
            info!(rpc = rpc.name, %peer, key, ?code, reason = status.message(), "refused");
        })
    }

    fn decide(&self, rpc: Rpc, headers: &HeaderMap, caller: &mut Caller) -> Result<(), Status> {
        let needed = match rpc.scope {
            Some(Scope::Read) if !self.protect_reads => None,
            // Who may make backups without a key, and where, the RPC says.
            scope => scope.filter(|_| self.keys.are_used()),
        };
        let shown = self.keys.identify(headers, caller.connection.subjects());
        // Where no key is needed, a bad one is none.
        caller.grant = shown.as_ref().ok().cloned().flatten();
        if rpc.scope.is_some() {
            self.count(rpc, caller)?;
        }
        let Some(needed) = needed else { return Ok(()) };
        match shown {
            Err(wrong) => Err(Status::unauthenticated(wrong.to_string())),
            Ok(None) => Err(Status::unauthenticated(
                "this needs a key: send it as X-Service-Key, or as Authorization: Bearer",
            )),
            Ok(Some(grant)) if grant.allows(needed) => Ok(()),
            // Where no key is for that, any will do on the server's machine: the RPC sees to it.
            Ok(Some(_)) if needed == Scope::Admin && !self.keys.has_admin() => Ok(()),
            Ok(Some(grant)) => Err(beyond(&grant)),
        }
    }

    fn count(&self, rpc: Rpc, caller: &mut Caller) -> Result<(), Status> {
        let key = caller.grant.as_ref().map(|grant| grant.name());
        match self.limits.request(caller.peer.ip(), key) {
            Ok(()) => Ok(()),
            Err(exceeded) if rpc.renews => {
                caller.exceeded = Some(exceeded);
                Ok(())
            }
            Err(exceeded) => Err(too_much(exceeded)),
        }
    }
}

/// A good key, used beyond what it is good for: the same words whether what was meant exists or not.
pub(super) fn beyond(grant: &Grant) -> Status {
    Status::permission_denied(format!("the key {:?} is not good for this", grant.name()))
}

/// A limit is met.
pub(super) fn too_much(exceeded: Exceeded) -> Status {
    refuse::exhausted(format!("too much at once: {} is met", exceeded.limit), exceeded.retry_after)
}

/// A service behind the gate.
#[derive(Clone, Debug)]
pub struct Gated<S> {
    service: S,
    gate: Arc<Gate>,
}

impl<S> Gated<S> {
    /// Puts `service` behind `gate`.
    pub fn new(service: S, gate: &Arc<Gate>) -> Self {
        Self { service, gate: Arc::clone(gate) }
    }
}

impl<S: NamedService> NamedService for Gated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let rpc = Rpc::of(request.uri().path());
        let mut caller =
            request.extensions_mut().remove::<Caller>().unwrap_or_else(super::unary::this_machine);
        if let Err(status) = self.gate.admit(rpc, request.headers(), &mut caller) {
            return Answering::Refused(Some(status));
        }
        request.extensions_mut().insert(caller);
        Answering::Called(self.service.call(request))
    }
}

/// An RPC's answer, on its way.
pub enum Answering<F> {
    /// It was not let in.
    Refused(Option<Status>),
    /// It was.
    Called(F),
}

impl<F: Future<Output = Result<Response<Body>, Infallible>> + Unpin> Future for Answering<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Called(answer) => Pin::new(answer).poll(context),
            Self::Refused(status) => {
                let status = status.take().unwrap_or_else(|| Status::new(Code::Internal, "asked twice"));
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}
