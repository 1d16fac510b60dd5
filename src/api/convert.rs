//! Between the wire and the inside: checks on the way in, in one place, and plain copying
//! on the way out. Beside it only `encode.rs`, which writes instances, knows both sides.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prost_types::Timestamp;
use tonic_types::FieldViolation;

use crate::{
    catalog,
    engine::{Engine, Registration},
    proto::{self, codec::unreadable, wire},
    types::{
        Actor, Content, Filter, Instance, LeaseTimes, Moment, NameError, Packer, Revision, ServiceName,
        ServiceUrl, Target, UrlError, WallTime,
    },
    wire::Encoder,
};

use super::{
    encode::{self, Told},
    info,
    request::Request,
};

/// The bounds of a registration.
const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY: usize = 63;
const MAX_LABEL_VALUE: usize = 256;
const MAX_ZONE: usize = 64;
/// The services of one filter.
const MAX_SERVICES: usize = 1_000;

type Violations = Vec<FieldViolation>;

// === in ===

/// Checks a registration, encoded. Every fault is named, its field's path starting with `at`.
pub(super) fn registration(message: &[u8], by: &Actor, at: &str) -> Result<Registration, Violations> {
    let request = Request::read(message).map_err(|violation| vec![below(at, violation)])?;
    let mut faults = Violations::new();
    let mut fault = |field: &str, text: String| faults.push(violation(format!("{at}{field}"), text));

    if let Err(error) = ServiceUrl::check(request.url) {
        // A password is not shown to logs.
        let secret = matches!(error, UrlError::UserInfo);
        let shown: String = request.url.chars().take(if secret { 0 } else { 100 }).collect();
        fault("url", if shown.is_empty() { error.to_string() } else { format!("{shown:?} {error}") });
    }
    let info = match info::canonical(&request.info) {
        Ok(info) => info,
        Err(info::Fault::Malformed) => {
            return Err(vec![below(at, unreadable("info", "it is no google.protobuf.Struct"))]);
        }
        Err(info::Fault::Refused(text)) => {
            fault("info", text);
            Vec::new()
        }
    };
    let service = service_name(&request, &info);
    if let Err((field, error)) = &service {
        fault(field, error.to_string());
    }
    if request.id.len() > ServiceName::MAX {
        fault("id", format!("is {} bytes long; at most {} are taken", request.id.len(), ServiceName::MAX));
    }
    check_labels(&request.labels, &mut fault);
    if request.zone.len() > MAX_ZONE {
        fault("zone", format!("is {} bytes long; at most {MAX_ZONE} are taken", request.zone.len()));
    }
    let drop_grace = request.drop_grace.map(duration).transpose();
    if let Err(text) = &drop_grace {
        fault("drop_grace", text.clone());
    }

    match (service, drop_grace) {
        (Ok(service), Ok(drop_grace)) if faults.is_empty() => {
            let mut packer = Packer::new(request.url, &info);
            request.labels.iter().for_each(|(key, value)| packer.label(key, value));
            Ok(Registration {
                client_id: (!request.id.is_empty()).then(|| Arc::from(request.id)),
                content: Content::new(service, packer.finish(request.zone, request.weight)),
                ttl_wish: request.ttl_seconds,
                drop_grace,
                token: (!request.lease_token.is_empty()).then(|| request.lease_token.to_owned()),
                by: by.clone(),
            })
        }
        _ => Err(faults),
    }
}

fn below(at: &str, violation: FieldViolation) -> FieldViolation {
    FieldViolation { field: format!("{at}{}", violation.field), ..violation }
}

/// An `{id}` of a path.
pub(super) fn target(id: &str) -> Result<Target, Violations> {
    Target::parse(id).map_err(|error| vec![violation("id", format!("{error}"))])
}

/// The filter of a list or a watch.
pub(super) fn filter(services: &[String], labels: BTreeMap<String, String>) -> Result<Filter, Violations> {
    let mut faults = Violations::new();
    if services.len() > MAX_SERVICES {
        faults
            .push(violation("service", format!("are {}; at most {MAX_SERVICES} are taken", services.len())));
        return Err(faults);
    }
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    check_labels(&pairs, &mut |field: &str, text| faults.push(violation(field, text)));
    let mut names = Vec::with_capacity(services.len());
    for service in services {
        match ServiceName::fold(service) {
            Ok(name) => names.push(name),
            Err(error) => faults.push(violation("service", error.to_string())),
        }
    }
    if faults.is_empty() { Ok(Filter::new(names, labels)) } else { Err(faults) }
}

/// A duration that is not negative.
pub(super) fn duration(duration: prost_types::Duration) -> Result<Duration, String> {
    Duration::try_from(duration).map_err(|_| {
        let (seconds, nanos) = (duration.seconds, duration.nanos);
        format!("is negative or malformed: {seconds} s and {nanos} ns")
    })
}

pub(super) fn violation(field: impl Into<String>, description: impl Into<String>) -> FieldViolation {
    FieldViolation::new(field, description)
}

/// The first of `service`, `id`, `info.id`, `info.display_name` that is there names the
/// service; if it cannot be a name, that is a fault of its own field.
fn service_name(request: &Request<'_>, info: &[u8]) -> Result<ServiceName, (&'static str, NameError)> {
    let (field, text) = match (request.service, request.id) {
        ("", "") => ["id", "display_name"]
            .into_iter()
            .find_map(|key| Some((key, info::text(info, key).filter(|text| !text.is_empty())?)))
            .map_or(("service", "unknown"), |(key, text)| {
                (if key == "id" { "info.id" } else { "info.display_name" }, text)
            }),
        ("", id) => ("id", id),
        (service, _) => ("service", service),
    };
    ServiceName::fold(text).map_err(|error| (field, error))
}

fn check_labels(labels: &[(&str, &str)], fault: &mut impl FnMut(&str, String)) {
    if labels.len() > MAX_LABELS {
        fault("labels", format!("are {}; at most {MAX_LABELS} are taken", labels.len()));
    }
    for (key, value) in labels {
        let shown: String = key.chars().take(MAX_LABEL_KEY).collect();
        if key.is_empty() || key.len() > MAX_LABEL_KEY {
            fault("labels", format!("has the key {shown:?} of {} bytes; keys take 1 to 63", key.len()));
        }
        if value.len() > MAX_LABEL_VALUE {
            fault(
                "labels",
                format!("has a value of {} bytes at {shown:?}; at most 256 are taken", value.len()),
            );
        }
    }
}

// === out ===

/// The times of instances as they stand now, in order.
pub(super) fn times(engine: &dyn Engine, some: &[Instance]) -> impl Iterator<Item = LeaseTimes> {
    let ids: Vec<_> = some.iter().map(|instance| instance.id).collect();
    engine.times(&ids).into_iter().map(|times| known(engine, times))
}

/// Times of a lease that may have been forgotten since the instance was read.
fn known(engine: &dyn Engine, times: Option<LeaseTimes>) -> LeaseTimes {
    let now = engine.now();
    times.unwrap_or(LeaseTimes { renewed: now, deadline: now })
}

/// One instance with its times as they stand now, encoded.
pub(super) fn current(engine: &dyn Engine, one: &Instance) -> wire::Instance {
    let times = engine.times(&[one.id]).into_iter().next().flatten();
    encoded(engine, one, known(engine, times))
}

/// One instance with its lease's times, encoded.
pub(super) fn encoded(engine: &dyn Engine, one: &Instance, times: LeaseTimes) -> wire::Instance {
    let mut out = Encoder::with_capacity(one.event_bytes());
    encode::instance(&mut out, one, times, engine.wall(Moment(0)));
    wire::Instance(out.finish().into())
}

/// What a watcher is told of a change.
pub(super) fn told(event: &catalog::Event, revision: Revision) -> Told {
    use proto::event::{Reason, Type};
    let kind = match event.kind {
        catalog::Kind::Registered => Type::Registered,
        catalog::Kind::Updated => Type::Updated,
        catalog::Kind::Suspect => Type::Suspect,
        catalog::Kind::Deregistered => Type::Deregistered,
        catalog::Kind::Expired => Type::Expired,
    };
    let reason = match event.reason {
        catalog::Reason::New => Reason::New,
        catalog::Reason::Content => Reason::Content,
        catalog::Reason::Revived => Reason::Revived,
        catalog::Reason::Recovered => Reason::Recovered,
        catalog::Reason::Replaced => Reason::Replaced,
        catalog::Reason::Client => Reason::Client,
        catalog::Reason::TtlLapsed => Reason::TtlLapsed,
        catalog::Reason::StreamDropped => Reason::StreamDropped,
        catalog::Reason::EnteredFilter => Reason::EnteredFilter,
        catalog::Reason::LeftFilter => Reason::LeftFilter,
    };
    Told { kind: kind.into(), reason: reason.into(), revision: revision.0, braked: event.braked }
}

/// What is told of an instance that a snapshot lists.
pub(super) fn listed(instance: &Instance) -> Told {
    use proto::event::{Reason, Type};
    let (kind, reason) = (Type::Registered.into(), Reason::Listed.into());
    Told { kind, reason, revision: instance.revision.0, braked: false }
}

/// What is told of an instance that went while a snapshot was read.
pub(super) fn gone(_: &Instance) -> Told {
    use proto::event::{Reason, Type};
    let (kind, reason) = (Type::Deregistered.into(), Reason::Gone.into());
    Told { kind, reason, revision: 0, braked: false }
}

/// People's time as the wire writes it.
pub(super) fn timestamp(time: WallTime) -> Timestamp {
    Timestamp { seconds: (time.0 / 1_000_000) as i64, nanos: (time.0 % 1_000_000 * 1000) as i32 }
}

/// A duration as the wire writes it.
pub(super) fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
