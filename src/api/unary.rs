//! The service trait: each RPC from request to answer. Streams have files of their own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::{
    call::{Caller, Door},
    engine::{Outcome, Proof, Registered, Registration, embedded::hash_token},
    proto::{self, registry_server, wire},
    types::{LeaseId, Target},
    wire::Encoder,
};

use super::{
    MAX_MESSAGE, Registry, convert, encode,
    keepalive::Answers,
    refuse::{invalid, log_refusal, shorten},
    scope,
    watch::Watch,
};

/// The most registrations in one batch.
const MAX_BATCH: usize = 1000;

#[tonic::async_trait]
impl registry_server::Registry for Registry {
    async fn register(
        &self,
        request: Request<wire::RegisterRequest>,
    ) -> Result<Response<wire::RegisterResponse>, Status> {
        let (caller, request) = opened(request);
        let refused = self.refused_registration("Register", &caller);
        let registration = convert::registration(&request.0, &caller.actor(), "");
        let registration = registration.map_err(invalid).map_err(&refused)?;
        scope::check(&caller, registration.content.service()).map_err(&refused)?;
        let registered = self.engine.register(vec![registration]).await.map_err(Status::from)?;
        let registered = registered.into_iter().next();
        let registered = registered.ok_or_else(|| Status::internal("the engine gave no answer"))?;
        let registered = registered.map_err(|refusal| self.refusal(refusal)).map_err(&refused)?;
        let mut response = Response::new(self.registered(&registered, &caller));
        if caller.door == Door::Names {
            // Its clients are told what the message does not say.
            response.extensions_mut().insert(registered.outcome);
        }
        Ok(response)
    }

    async fn batch_register(
        &self,
        request: Request<proto::BatchRegisterRequest>,
    ) -> Result<Response<wire::BatchRegisterResponse>, Status> {
        let (caller, request) = opened(request);
        let refused = self.refused_registration("BatchRegister", &caller);
        let count = request.requests.len();
        if count > MAX_BATCH {
            let text = format!("are {count}; at most {MAX_BATCH} are taken in one call");
            return Err(refused(invalid(vec![convert::violation("requests", text)])));
        }
        let by = caller.actor();
        let mut good = Vec::with_capacity(count);
        let mut results: Vec<Option<Status>> = Vec::with_capacity(count);
        for (index, entry) in request.requests.iter().enumerate() {
            let registration = convert::registration(entry, &by, &format!("requests[{index}]."));
            let registration = registration.map_err(invalid).and_then(|registration| {
                scope::check(&caller, registration.content.service()).map(|()| registration)
            });
            match registration {
                Ok(registration) => {
                    good.push(registration);
                    results.push(None);
                }
                Err(status) => results.push(Some(refused(status))),
            }
        }
        self.check_answer_fits(&good, &results, &caller).map_err(&refused)?;
        let mut registered = self.engine.register(good).await.map_err(Status::from)?.into_iter();
        let result = |bad: Option<Status>| match bad {
            Some(status) => wire::Outcome::Error(rpc_status(&status)),
            None => match registered.next() {
                Some(Ok(registered)) => wire::Outcome::Response(self.registered(&registered, &caller)),
                Some(Err(refusal)) => wire::Outcome::Error(rpc_status(&refused(self.refusal(refusal)))),
                None => wire::Outcome::Error(rpc_status(&Status::internal("the engine gave no answer"))),
            },
        };
        let results = results.into_iter().map(result);
        let results = results.map(|result| wire::BatchResult { result: Some(result) }).collect();
        Ok(Response::new(wire::BatchRegisterResponse { results }))
    }

    async fn ping(
        &self,
        request: Request<proto::PingRequest>,
    ) -> Result<Response<proto::PingResponse>, Status> {
        let (caller, request) = opened(request);
        let refused = log_refusal("Ping", &caller);
        let proto::PingRequest { id, lease_token } = request;
        let target = convert::target(&id).map_err(invalid).map_err(&refused)?;
        self.check_target(&caller, &target).map_err(&refused)?;
        let proof = proof(&lease_token, &caller);
        self.check_renewal(&target, &proof, &caller).map_err(&refused)?;
        let renewed = self.engine.renew(target, proof).await;
        let renewed = renewed.map_err(Status::from).map_err(&refused)?;
        Ok(Response::new(proto::PingResponse {
            id: renewed.id.to_string(),
            status: "alive".to_owned(),
            last_ping_at: Some(convert::timestamp(self.engine.wall(renewed.times.renewed))),
            expires_at: Some(convert::timestamp(self.engine.wall(renewed.times.deadline))),
            ttl_seconds: renewed.ttl_seconds,
        }))
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let caller = caller(request.extensions());
        let answer = self.list_page(request.into_inner(), &caller).await;
        answer.map_err(log_refusal("List", &caller))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<wire::Instance>, Status> {
        let caller = caller(request.extensions());
        let refused = log_refusal("Get", &caller);
        let id = request.into_inner().id;
        let target = convert::target(&id).map_err(invalid).map_err(&refused)?;
        self.check_read(&caller, &target).map_err(&refused)?;
        let found = {
            match &target {
                Target::Id(id) => self
                    .engine
                    .service_of(*id)
                    .and_then(|service| self.engine.view().read().get(&service, *id).cloned()),
                Target::Name(name) => self.engine.view().read().newest(name).cloned(),
            }
        };
        match found {
            Some(instance) => Ok(Response::new(convert::current(&*self.engine, &instance))),
            None => Err(refused(Status::not_found(format!("{:?} is not registered", shorten(&id))))),
        }
    }

    type WatchStream = Watch;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(request.extensions());
        let refused = log_refusal("Watch", &caller);
        self.start_watch(request.into_inner(), &caller).map(Response::new).map_err(refused)
    }

    async fn deregister(
        &self,
        request: Request<proto::DeregisterRequest>,
    ) -> Result<Response<wire::DeregisterResponse>, Status> {
        let (caller, request) = opened(request);
        let refused = log_refusal("Deregister", &caller);
        let proto::DeregisterRequest { id, lease_token } = request;
        let target = convert::target(&id).map_err(invalid).map_err(&refused)?;
        self.check_target(&caller, &target).map_err(&refused)?;
        let departed = self.engine.deregister(target, proof(&lease_token, &caller)).await;
        let departed = departed.map_err(Status::from).map_err(&refused)?;
        Ok(Response::new(wire::DeregisterResponse {
            status: "deregistered".to_owned(),
            service: Some(convert::encoded(&*self.engine, &departed.instance, departed.times)),
        }))
    }

    type KeepAliveStream = Answers;

    async fn keep_alive(
        &self,
        request: Request<Streaming<wire::KeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        let caller = caller(request.extensions());
        let refused = log_refusal("KeepAlive", &caller);
        self.start_keepalive(request.into_inner(), caller).map(Response::new).map_err(refused)
    }
}

impl Registry {
    /// Whether a batch's answer stays below a message's bound, whatever the engine says:
    /// afterwards nobody could learn what was registered.
    fn check_answer_fits(
        &self,
        good: &[Registration],
        bad: &[Option<Status>],
        caller: &Caller,
    ) -> Result<(), Status> {
        let ping_url = self.ping_url(LeaseId(0), &"0".repeat(32), caller).len();
        // Ids, times, tags and the message's own words come to less.
        let fixed = 400 + ping_url;
        let good = good.iter().map(|one| {
            let content = one.content.view();
            fixed + content.url().len() + 2 * content.service().as_str().len()
        });
        let bad = bad.iter().flatten().map(|status| 32 + 2 * status.message().len() + status.details().len());
        let bytes: usize = good.chain(bad).sum();
        if bytes > MAX_MESSAGE {
            let text = format!("would be answered with {bytes} bytes, more than a message holds; send fewer");
            return Err(invalid(vec![convert::violation("requests", text)]));
        }
        Ok(())
    }

    /// Logs and counts the refusal of a registration, or of a batch of them.
    fn refused_registration(&self, rpc: &'static str, caller: &Caller) -> impl Fn(Status) -> Status + use<> {
        let (refused, log) = (self.metrics.registrations.refused.clone(), log_refusal(rpc, caller));
        move |status| {
            refused.inc();
            log(status)
        }
    }

    fn registered(&self, registered: &Registered, caller: &Caller) -> wire::RegisterResponse {
        let outcomes = &self.metrics.registrations;
        match registered.outcome {
            Outcome::New => &outcomes.new,
            Outcome::Updated => &outcomes.updated,
            Outcome::Unchanged => &outcomes.unchanged,
            Outcome::Revived => &outcomes.revived,
        }
        .inc();
        let instance = &registered.instance;
        let (service, url) = (instance.service.as_str(), instance.content().url());
        let ttl = instance.ttl.0;
        let what = match registered.outcome {
            Outcome::New => "is registered",
            Outcome::Updated => "is updated",
            Outcome::Unchanged => "was registered already",
            Outcome::Revived => "is registered again",
        };
        let mut out = Encoder::with_capacity(320 + url.len() + 2 * service.len());
        encode::id(&mut out, 1, instance.id);
        out.bytes(2, b"registered");
        encode::text(&mut out, 3, url);
        encode::text(&mut out, 4, &format!("{service} {what}; renew it within {ttl} s"));
        encode::number(&mut out, 5, ttl.into());
        encode::text(&mut out, 6, &self.ping_url(instance.id, &registered.token, caller));
        encode::text(&mut out, 7, service);
        encode::text(&mut out, 8, &registered.token);
        encode::timestamp(&mut out, 9, self.engine.wall(registered.times.deadline));
        encode::number(&mut out, 10, instance.revision.0);
        wire::RegisterResponse(out.finish().into())
    }

    fn ping_url(&self, id: LeaseId, token: &str, caller: &Caller) -> String {
        let prefix = &self.http.prefix;
        let token = if self.require_lease_token { token } else { "" };
        let query = if token.is_empty() { "" } else { "?lease_token=" };
        if let Some(base) = &self.http.public_url {
            return format!("{base}{prefix}/services/{id}/$ping{query}{token}");
        }
        let (scheme, authority) = (caller.scheme, &caller.authority);
        format!("{scheme}://{authority}{prefix}/services/{id}/$ping{query}{token}")
    }
}

/// Who calls. The server always says; without one, as in tests of the service alone, it
/// is this machine.
pub(super) fn caller(extensions: &Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_else(this_machine)
}

/// Who calls, and what is said.
fn opened<T>(request: Request<T>) -> (Caller, T) {
    let (_, mut extensions, message) = request.into_parts();
    (extensions.remove::<Caller>().unwrap_or_else(this_machine), message)
}

pub(super) fn this_machine() -> Caller {
    Caller {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        proxied: false,
        scheme: "http",
        authority: "localhost".to_owned(),
        door: Door::Grpc,
        grant: None,
        trace: None,
        counted: false,
        exceeded: None,
        connection: Arc::default(),
    }
}

fn proof(lease_token: &str, caller: &Caller) -> Proof {
    let token = (!lease_token.is_empty()).then(|| hash_token(lease_token));
    Proof { token, by: caller.actor() }
}

fn rpc_status(status: &Status) -> tonic_types::Status {
    use prost::Message as _;
    // Details, when there are any, are a whole google.rpc.Status.
    let whole = tonic_types::Status::decode(status.details()).unwrap_or_default();
    tonic_types::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: whole.details,
    }
}
