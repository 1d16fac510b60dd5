//! `/discover/{service}`, `/services` and `/health`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;
use tonic::body::Body;

use crate::{
    call::Caller,
    engine::Health,
    gateway::Json,
    types::{Filter, Instance, Status, WallTime},
};

use super::{
    Ask, NameRegistry,
    answer::{self, Refusal},
    body::metadata,
    call::LIST,
    pair::{Pair, service_of},
};

/// Longer lists are written on a thread apart.
const SHORT: usize = 4096;

impl NameRegistry {
    pub(super) async fn discover(&self, mut ask: Ask, name: &str) -> Result<Response<Body>, Refusal> {
        let service = service_of(name);
        self.pass(LIST, &mut ask, service.as_ref())?;
        let mut instances = self.instances(name);
        if instances.is_empty() {
            let body = json!({ "service": name, "instances": [], "message": "Service not found" });
            return Ok(answer::json(StatusCode::NOT_FOUND, body.to_string()));
        }
        instances.retain(is_active);
        let turn = self.turns.next(name, instances.len());
        let now = self.engine.wall(self.engine.now());
        let (name, json) = (name.to_owned(), Arc::clone(self.bodies.json()));
        let text = self.written(instances.len(), move || found(&name, instances, turn, now, &json)).await?;
        Ok(answer::json(StatusCode::OK, text))
    }

    pub(super) async fn services(&self, mut ask: Ask) -> Result<Response<Body>, Refusal> {
        self.pass(LIST, &mut ask, None)?;
        let snapshot = self.engine.view().snapshot(&Filter::default()).map_err(|error| {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
            refusal.retry_after(Duration::from_secs(1))
        })?;
        let sees = self.eyes(ask.caller);
        let count = snapshot.instances().len();
        let text = self.written(count, move || counted(snapshot.instances(), sees)).await?;
        Ok(answer::json(StatusCode::OK, text))
    }

    /// What is written of so many instances: of many on a thread apart.
    async fn written(
        &self,
        count: usize,
        write: impl FnOnce() -> String + Send + 'static,
    ) -> Result<String, Refusal> {
        if count <= SHORT {
            return Ok(write());
        }
        let thread = Arc::clone(&self.lists).acquire_owned().await;
        let text = spawn_blocking(move || {
            let _thread = thread;
            write()
        });
        text.await.map_err(|error| {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the list was not written: {error}"))
        })
    }

    pub(super) fn health(&self) -> Response<Body> {
        let health = self.engine.health().borrow().clone();
        let (status, reason) = match &health {
            _ if self.stopping.is_cancelled() => ("draining", None),
            Health::Serving => ("healthy", None),
            Health::Failing(reason) => ("failing", Some(&**reason)),
        };
        let now = UNIX_EPOCH + Duration::from_micros(self.engine.wall(self.engine.now()).0);
        // Readers of ISO 8601 before Python 3.11 take no `Z`.
        let timestamp = humantime::format_rfc3339_micros(now).to_string().replace('Z', "+00:00");
        let mut body = json!({ "status": status, "timestamp": timestamp });
        if let Some(reason) = reason {
            body["message"] = reason.into();
        }
        let http = if status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer::json(http, body.to_string())
    }

    /// What is listed under a client's name for a service.
    fn instances(&self, name: &str) -> Vec<Instance> {
        let Some(service) = service_of(name) else { return Vec::new() };
        let filter = Filter::new(vec![service], BTreeMap::new());
        let mut instances: Vec<_> = self.engine.view().read().matching(&filter).cloned().collect();
        instances.retain(|instance| named(instance) == name);
        instances
    }

    /// Whether anything is listed under a client's name for a service.
    pub(super) fn is_known(&self, name: &str) -> bool {
        let Some(service) = service_of(name) else { return false };
        let filter = Filter::new(vec![service], BTreeMap::new());
        self.engine.view().read().matching(&filter).any(|instance| named(instance) == name)
    }

    /// Which instances a caller that was let in may see.
    fn eyes(&self, caller: Caller) -> impl Fn(&Instance) -> bool + Send + 'static {
        let grant = caller.grant.filter(|grant| self.gate.protect_reads && grant.is_limited());
        move |instance| grant.as_ref().is_none_or(|grant| grant.covers(&instance.service))
    }
}

fn is_active(instance: &Instance) -> bool {
    instance.status == Status::Alive
}

/// What clients call an instance's service.
fn named(instance: &Instance) -> Cow<'_, str> {
    Pair::at(&instance.service, instance.content().url()).service
}

/// A service's active instances, beginning with the one whose turn it is.
fn found(name: &str, mut instances: Vec<Instance>, turn: usize, now: WallTime, json: &Json) -> String {
    instances.sort_by_key(|instance| (instance.registered_at, instance.id));
    instances.rotate_left(turn);
    let shown = instances.iter().map(|instance| {
        let content = instance.content();
        let uptime = Duration::from_micros(now.0.saturating_sub(instance.registered_at.0));
        let mut shown = json!({
            "address": Pair::at(&instance.service, content.url()).address,
            "uptime_seconds": uptime.as_secs_f64(),
        });
        if let Some(metadata) = metadata(json, content.info()) {
            // Of our own writing.
            shown["metadata"] = serde_json::from_str(&metadata).unwrap_or_default();
        }
        shown
    });
    let shown: Vec<Value> = shown.collect();
    json!({ "service": name, "count": shown.len(), "instances": shown }).to_string()
}

/// How many instances each service has, and how many of them can be discovered.
fn counted(instances: &[Instance], sees: impl Fn(&Instance) -> bool) -> String {
    let mut services = BTreeMap::<Cow<'_, str>, (u64, u64)>::new();
    for instance in instances.iter().filter(|instance| sees(instance)) {
        let (total, active) = services.entry(named(instance)).or_default();
        *total += 1;
        *active += u64::from(is_active(instance));
    }
    let total = services.len();
    let services: Map<String, Value> = services
        .into_iter()
        .map(|(name, (total, active))| {
            (name.into_owned(), json!({ "total_instances": total, "active_instances": active }))
        })
        .collect();
    json!({ "services": services, "total_services": total }).to_string()
}
