//! The small name registry's dialect: `POST /register`, `/heartbeat` and `/deregister` with a
//! service and an address, `GET /discover/{service}`, `/services` and `/health`, on a listener of its
//! own. It is a door to the same registry: writes are calls of the gRPC service, made in-process, so
//! that keys, limits and logs are those of every other door; reads look at the same view.
//!
//! Its clients' names and addresses are any texts, and come back as they were sent. How they are kept
//! as a service and a url is said in `pair`, which is the heart of it. docs/name-registry.md has the
//! dialect as its clients see it.

mod answer;
mod body;
mod call;
mod pair;
mod read;
mod turns;
mod write;

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use prost_reflect::{DescriptorError, DescriptorPool};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, service::Routes};

use crate::{
    api::{Gate, LATE},
    call::{Caller, Door},
    engine::Engine,
    proto::FILE_DESCRIPTOR_SET,
    transport::{Entry, Handler, Origin},
};

use answer::Refusal;
use body::Reader;
use turns::Turns;

/// The dialect over one registry.
pub struct NameRegistry {
    engine: Arc<dyn Engine>,
    /// The gRPC service, gate and all.
    routes: Routes,
    gate: Arc<Gate>,
    entry: Entry,
    bodies: Reader,
    /// Long lists are written on a thread apart, one at a time.
    lists: Arc<Semaphore>,
    turns: Turns,
    /// Cancelled when the server begins to drain.
    stopping: CancellationToken,
}

impl NameRegistry {
    /// A dialect that calls `routes`, which stand behind `gate`, and reads `engine`'s view, for
    /// whom `entry` admits. Once `stopping` is cancelled, it is not healthy.
    pub fn new(
        engine: Arc<dyn Engine>,
        routes: Routes,
        gate: Arc<Gate>,
        entry: Entry,
        stopping: CancellationToken,
    ) -> Result<Self, DescriptorError> {
        let bodies = Reader::new(&DescriptorPool::decode(FILE_DESCRIPTOR_SET)?);
        let (lists, turns) = (Arc::new(Semaphore::new(1)), Turns::default());
        Ok(Self { engine, routes, gate, entry, bodies, lists, turns, stopping })
    }

    async fn answer(&self, mut request: Request<Body>, origin: Origin) -> Response<Body> {
        if let Err(status) = self.entry.admit(&mut request, origin, Door::Names) {
            return Refusal::from(status).into_response();
        }
        let (mut head, body) = request.into_parts();
        // What is encoded counts as if it were not, slashes included; of slashes at the start one
        // counts: clients put their paths behind a base that ends with one.
        let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
        let path = format!("/{}", path.trim_start_matches('/'));
        let Some(endpoint) = Endpoint::of(&path) else {
            let shown: String = path.chars().take(100).collect();
            let text = format!("there is nothing at {shown}; see /services, /discover/{{service}}, /health");
            return answer::error(StatusCode::NOT_FOUND, &text);
        };
        if head.method == Method::OPTIONS {
            return answer::options(endpoint.methods());
        }
        if !endpoint.takes(&head.method) {
            return answer::wrong_method(&head.method, &path, endpoint.methods());
        }
        let Some(mut caller) = head.extensions.remove::<Caller>() else {
            return answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the caller is not known");
        };
        let peer = caller.peer.ip();
        if endpoint != Endpoint::Health
            && let Err(status) =
                self.gate.count_early(endpoint.name(), endpoint == Endpoint::Heartbeat, &mut caller)
        {
            tokio::time::sleep(LATE).await;
            return Refusal::from(status).into_response();
        }
        let ask = Ask { headers: head.headers, caller };
        let answered = match endpoint {
            Endpoint::Health => return self.health(),
            Endpoint::Services => self.services(ask).await,
            Endpoint::Discover(service) => self.discover(ask, service).await,
            Endpoint::Register => self.register(ask, body).await,
            Endpoint::Heartbeat => self.heartbeat(ask, body).await,
            Endpoint::Deregister => self.deregister(ask, body).await,
        };
        answered.unwrap_or_else(|refusal| {
            refusal.log(endpoint.name(), peer);
            refusal.into_response()
        })
    }
}

impl Handler for NameRegistry {
    async fn handle(&self, request: Request<Body>, origin: Origin) -> Response<Body> {
        self.entry.with_page(request, |request| self.answer(request, origin)).await
    }
}

/// A request that was let in: who asks, and with which headers.
struct Ask {
    headers: HeaderMap,
    caller: Caller,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint<'a> {
    Register,
    Heartbeat,
    Deregister,
    /// Of the service named so.
    Discover(&'a str),
    Services,
    Health,
}

impl<'a> Endpoint<'a> {
    /// What is at a path, decoded. All that follows `/discover/` is a name: names may have slashes.
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/register" => Self::Register,
            "/heartbeat" => Self::Heartbeat,
            "/deregister" => Self::Deregister,
            "/services" => Self::Services,
            "/health" => Self::Health,
            _ => Self::Discover(path.strip_prefix("/discover/").filter(|service| !service.is_empty())?),
        })
    }

    /// As the log names it.
    fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Heartbeat => "heartbeat",
            Self::Deregister => "deregister",
            Self::Discover(_) => "discover",
            Self::Services => "services",
            Self::Health => "health",
        }
    }

    /// As an `Allow` header says it.
    fn methods(self) -> &'static str {
        match self {
            Self::Register | Self::Heartbeat | Self::Deregister => "OPTIONS, POST",
            Self::Discover(_) | Self::Services | Self::Health => "GET, HEAD, OPTIONS",
        }
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Register | Self::Heartbeat | Self::Deregister => method == Method::POST,
            Self::Discover(_) | Self::Services | Self::Health => {
                matches!(*method, Method::GET | Method::HEAD)
            }
        }
    }
}
