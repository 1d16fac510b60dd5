//! What stands before every RPC, whichever door it comes in by: gRPC's from the network, and
//! those that the JSON paths and the name registry's make in-process. It finds out whose key
//! the caller shows, whether that is good for the call at all, and whether the caller asks too
//! often. Whether the key is good for the very service, the call itself asks.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status, body::Body, server::NamedService};
use tower::Service;

use crate::{
    auth::{Grant, Keys, Scope},
    call::Caller,
    limits::{Exceeded, Limits},
};

use super::{
    observe::{Call, Observed},
    refuse,
};

/// What stands before the RPCs of one server.
#[derive(Debug)]
pub struct Gate {
    /// Whose keys are whose.
    pub keys: Arc<Keys>,
    /// Whether reading needs a key.
    pub protect_reads: bool,
    /// How much each may ask for.
    pub limits: Arc<Limits>,
    /// What notes the calls.
    pub observed: Arc<Observed>,
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
    /// Its place among all there are.
    pub number: usize,
}

const fn rpc(name: &'static str, scope: Option<Scope>, streams: bool) -> Rpc {
    Rpc { name, scope, renews: false, streams, number: 0 }
}

/// All that this server serves, and what stands for the rest.
static RPCS: [(&str, Rpc); 16] = [
    ("/leasehold.v1.Registry/Register", rpc("Register", Some(Scope::Register), false)),
    ("/leasehold.v1.Registry/BatchRegister", rpc("BatchRegister", Some(Scope::Register), false)),
    ("/leasehold.v1.Registry/Ping", Rpc { renews: true, ..rpc("Ping", Some(Scope::Register), false) }),
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

/// Whoever asks too often hears so this much later: a client that asks again as soon as it is answered
/// would have us do nothing else but refuse.
pub const LATE: Duration = Duration::from_millis(50);

/// What this server does not serve.
const UNKNOWN: Rpc = rpc("Unknown", None, false);

impl Rpc {
    /// The RPC, or other thing to be read, of this path.
    pub fn of(path: &str) -> Self {
        let number = RPCS.iter().position(|(known, _)| *known == path).unwrap_or(RPCS.len() - 1);
        Self { number, ..RPCS[number].1 }
    }

    /// `package.Service/Method`, or what stands for all that this server does not serve.
    pub fn method(self) -> &'static str {
        RPCS[self.number].0.strip_prefix('/').unwrap_or("_OTHER")
    }

    /// Whether it is a call; else it is a path that is only read.
    pub fn is_call(self) -> bool {
        RPCS[self.number].0.rfind('/') != Some(0)
    }

    /// All there are, by their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        RPCS.iter().enumerate().map(|(number, (_, rpc))| Self { number, ..*rpc })
    }
}

impl Gate {
    /// Lets a caller in, and notes in it what its key is good for; or says why not, which is
    /// logged. Every request passes once.
    pub fn admit(&self, rpc: Rpc, headers: &HeaderMap, caller: &mut Caller) -> Result<(), Status> {
        self.decide(rpc, headers, caller).inspect_err(|status| refuse::log(rpc.name, caller, status))
    }

    /// Counts a request of its peer before it is known what it is for, which takes its body to be
    /// read; it is not counted again. A renewal (`renews`) goes on, and is judged when its lease is
    /// known. `what` names it in the log.
    pub fn count_early(&self, what: &'static str, renews: bool, caller: &mut Caller) -> Result<(), Status> {
        self.count_peer(renews, caller).inspect_err(|status| refuse::log(what, caller, status))
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
            // What its peer may not ask any more does not use up a key's share.
            self.count_peer(rpc.renews, caller)?;
            let key = caller.grant.as_ref().map(|grant| grant.name());
            let met = key.map_or(Ok(()), |key| self.limits.key_request(key));
            self.meet(met, rpc.renews, caller)?;
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

    fn count_peer(&self, renews: bool, caller: &mut Caller) -> Result<(), Status> {
        if !caller.counted {
            caller.counted = true;
            let met = self.limits.peer_request(caller.peer.ip());
            return self.meet(met, renews, caller);
        }
        match caller.exceeded {
            Some(exceeded) => self.meet(Err(exceeded), renews, caller),
            None => Ok(()),
        }
    }

    fn meet(&self, met: Result<(), Exceeded>, renews: bool, caller: &mut Caller) -> Result<(), Status> {
        match met {
            Ok(()) => Ok(()),
            Err(exceeded) if renews => {
                caller.exceeded = Some(exceeded);
                Ok(())
            }
            Err(exceeded) => {
                self.limits.refused(exceeded.limit);
                Err(too_much(exceeded))
            }
        }
    }
}

/// A good key, used beyond what it is good for: the same words whether what was meant exists or not.
pub(super) fn beyond(grant: &Grant) -> Status {
    Status::permission_denied(format!("the key {:?} is not good for this", grant.name()))
}

/// A limit is met.
pub(super) fn too_much(exceeded: Exceeded) -> Status {
    refuse::exhausted(exceeded.to_string(), exceeded.retry_after)
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
        let mut call = self.gate.observed.begin(rpc, request.headers(), &mut caller);
        let admitted = self.gate.admit(rpc, request.headers(), &mut caller);
        call.by(&caller);
        if let Err(status) = admitted {
            call.end(status.code());
            return match status.code() {
                Code::ResourceExhausted => Answering::Late(Box::pin(sleep(LATE)), Some(status)),
                _ => Answering::Refused(Some(status)),
            };
        }
        request.extensions_mut().insert(caller);
        Answering::Called(self.service.call(request), Some(call))
    }
}

/// An RPC's answer, on its way.
pub enum Answering<F> {
    /// It was not let in.
    Refused(Option<Status>),
    /// It was one too many.
    Late(Pin<Box<Sleep>>, Option<Status>),
    /// It was.
    Called(F, Option<Call>),
}

impl<F: Future<Output = Result<Response<Body>, Infallible>> + Unpin> Future for Answering<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Called(answer, call) => {
                let Ok(response) = ready!(Pin::new(answer).poll(context));
                Poll::Ready(Ok(match call.take() {
                    Some(call) => call.answered(response),
                    None => response,
                }))
            }
            Self::Late(late, status) => {
                ready!(late.as_mut().poll(context));
                Poll::Ready(Ok(said(status)))
            }
            Self::Refused(status) => Poll::Ready(Ok(said(status))),
        }
    }
}

fn said(status: &mut Option<Status>) -> Response<Body> {
    status.take().unwrap_or_else(|| Status::new(Code::Internal, "asked twice")).into_http()
}
