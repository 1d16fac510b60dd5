//! `/register`, `/heartbeat` and `/deregister`.

use http::{Response, StatusCode};
use tonic::{Code, body::Body};

use crate::{
    engine::Outcome,
    proto::{self, wire},
    types::LeaseId,
    wire::Encoder,
};

use super::{
    Ask, NameRegistry,
    answer::{self, Refusal},
    body::Sent,
    call::{DEREGISTER, Method, PING, REGISTER},
    pair::{Pair, Place, service_of},
};

type Answered = Result<Response<Body>, Refusal>;

impl NameRegistry {
    pub(super) async fn register(&self, ask: Ask, body: Body) -> Answered {
        let Sent { service, address, metadata } = self.bodies.read(&ask.headers, body).await?;
        let place = Pair::new(&service, &address).place()?;
        let mut message = Encoder::new();
        message.bytes(2, place.url.as_bytes());
        message.bytes(3, &metadata);
        message.bytes(4, place.service.as_bytes());
        let message = wire::RegisterRequest(message.finish().into());
        let registered = self.call::<_, wire::RegisterResponse>(REGISTER, ask, message).await?;
        Ok(match registered.extensions().get::<Outcome>() {
            Some(Outcome::Updated | Outcome::Unchanged) => {
                let text = format!("Service {service} at {address} heartbeat updated");
                answer::said(StatusCode::OK, "updated", &text)
            }
            Some(Outcome::New | Outcome::Revived) | None => {
                let text = format!("Service {service} registered at {address}");
                answer::said(StatusCode::CREATED, "registered", &text)
            }
        })
    }

    pub(super) async fn heartbeat(&self, ask: Ask, body: Body) -> Answered {
        let sent = self.bodies.read(&ask.headers, body).await?;
        // One that has lapsed is to register again: its clients are told so, as they were.
        let listed = self
            .known(&sent)
            .filter(|(place, id)| self.engine.view().read().get(&place.service, *id).is_some());
        let message = listed.map(|(_, id)| proto::PingRequest { id: id.to_string(), ..Default::default() });
        if self.done::<_, proto::PingResponse>(PING, ask, &sent, message).await? {
            return Ok(answer::said(StatusCode::OK, "ok", "Heartbeat updated"));
        }
        let Sent { service, address, .. } = &sent;
        Ok(if self.is_known(service) {
            let text = format!("Instance {address} not found for service {service}");
            answer::said(StatusCode::NOT_FOUND, "not_found", &text)
        } else {
            service_not_found(service)
        })
    }

    pub(super) async fn deregister(&self, ask: Ask, body: Body) -> Answered {
        let sent = self.bodies.read(&ask.headers, body).await?;
        let message = self
            .known(&sent)
            .map(|(_, id)| proto::DeregisterRequest { id: id.to_string(), ..Default::default() });
        let done = self.done::<_, wire::DeregisterResponse>(DEREGISTER, ask, &sent, message).await?;
        let Sent { service, address, .. } = &sent;
        // An instance that is not there is one that is not there any more, if its service is.
        Ok(if done || self.is_known(service) {
            let text = format!("Service {service} at {address} deregistered");
            answer::said(StatusCode::OK, "deregistered", &text)
        } else {
            service_not_found(service)
        })
    }

    /// Makes a call about an instance, if there is one. False if there is none, which callers
    /// learn only about services that they may touch.
    async fn done<Q, A>(
        &self,
        method: Method,
        mut ask: Ask,
        sent: &Sent,
        message: Option<Q>,
    ) -> Result<bool, Refusal>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let Some(message) = message else {
            self.pass(method, &mut ask, service_of(&sent.service).as_ref())?;
            return Ok(false);
        };
        match self.call::<Q, A>(method, ask, message).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    /// Where a pair is kept, and the id that it has, or had last.
    fn known(&self, sent: &Sent) -> Option<(Place, LeaseId)> {
        let place = Pair::new(&sent.service, &sent.address).place().ok()?;
        let id = self.engine.id_of(&place.service, &place.url)?;
        Some((place, id))
    }
}

fn service_not_found(service: &str) -> Response<Body> {
    answer::said(StatusCode::NOT_FOUND, "not_found", &format!("Service {service} not found"))
}
