//! What is to be registered.

use std::{collections::BTreeMap, time::Duration};

use prost_types::{ListValue, Struct, Value, value::Kind};

use crate::proto::RegisterRequest;

/// What is to be registered: a replica of a service, where it is reached, and what is said about it. The registry
/// checks it; what it refuses ends the [`Lease`](super::Lease) with the reason.
///
/// ```
/// use std::time::Duration;
/// use leasehold::client::Registration;
///
/// let orders = Registration::new("orders", "http://10.0.0.7:8080")
///     .label("tier", "gold")
///     .zone("a")
///     .ttl(Duration::from_secs(15))
///     .drop_grace(Duration::from_secs(5))
///     .info(serde_json::json!({ "version": "1.4.2" }));
/// # let _ = orders;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration(RegisterRequest);

/// What can stand in a registration's `info`.
pub trait IntoInfo {
    /// The same as protobuf has it. What is no object becomes one with the key `value`.
    fn into_info(self) -> Struct;
}

impl Registration {
    /// Of a replica of `service` that is reached at `url`, an absolute URL.
    pub fn new(service: impl Into<String>, url: impl Into<String>) -> Self {
        Self(RegisterRequest { service: service.into(), url: url.into(), ..Default::default() })
    }

    /// The service's own id, a slug for example; it names the service where no name is given.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.0.id = id.into();
        self
    }

    /// One more label; at most 64, keys up to 63 bytes, values up to 256.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.labels.insert(key.into(), value.into());
        self
    }

    /// These labels, and no others.
    #[must_use]
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.0.labels = labels;
        self
    }

    /// The zone it runs in, up to 64 bytes.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.0.zone = zone.into();
        self
    }

    /// A load balancer's weight; 0 is unset.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.0.weight = weight;
        self
    }

    /// The wished TTL, in whole seconds, rounded up; without it, or at 0, the registry's default. The registry
    /// clamps it to its bounds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        self.0.ttl_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self
    }

    /// How long it outlives the loss of this process's connection; without it the registry's default, which is not at all
    /// unless it was set up otherwise. It is listed as "suspect" meanwhile.
    #[must_use]
    pub fn drop_grace(mut self, grace: Duration) -> Self {
        // More than protobuf can say is more than any registry grants.
        self.0.drop_grace = prost_types::Duration::try_from(grace).ok();
        self
    }

    /// Anything about it: a JSON object, or the same as protobuf has it. At most 64 KiB and 24 levels deep.
    #[must_use]
    pub fn info(mut self, info: impl IntoInfo) -> Self {
        self.0.info = Some(info.into_info());
        self
    }

    /// The token of the registration that this one takes up, where the registry asks for it: that of a former
    /// process, say. What the registry grants is remembered without it.
    #[must_use]
    pub fn lease_token(mut self, token: impl Into<String>) -> Self {
        self.0.lease_token = token.into();
        self
    }

    /// As it goes over the wire.
    pub fn request(&self) -> &RegisterRequest {
        &self.0
    }

    pub(super) fn into_request(self) -> RegisterRequest {
        self.0
    }
}

impl From<RegisterRequest> for Registration {
    fn from(request: RegisterRequest) -> Self {
        Self(request)
    }
}

impl IntoInfo for Struct {
    fn into_info(self) -> Struct {
        self
    }
}

impl IntoInfo for serde_json::Value {
    fn into_info(self) -> Struct {
        match self {
            Self::Object(fields) => {
                Struct { fields: fields.into_iter().map(|(key, value)| (key, wire(value))).collect() }
            }
            other => Struct { fields: [("value".to_owned(), wire(other))].into() },
        }
    }
}

/// JSON as protobuf has it: every number a double.
fn wire(value: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::MAX)),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(wire).collect() }),
        object @ Json::Object(_) => Kind::StructValue(object.into_info()),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ttl_is_rounded_up_to_whole_seconds() {
        let check = |ttl, seconds| {
            assert_eq!(Registration::default().ttl(ttl).request().ttl_seconds, seconds);
        };
        check(Duration::ZERO, 0);
        check(Duration::from_millis(1), 1);
        check(Duration::from_secs(30), 30);
        check(Duration::from_millis(30_001), 31);
        check(Duration::MAX, u32::MAX);
    }

    #[test]
    fn json_becomes_what_the_registry_keeps() {
        let info = json!({ "a": [1, true, null, "x"], "b": { "c": 1.5 } }).into_info();
        let Some(Kind::ListValue(list)) = &info.fields["a"].kind else { panic!("{info:?}") };
        assert_eq!(list.values[0].kind, Some(Kind::NumberValue(1.0)));
        assert_eq!(list.values[3].kind, Some(Kind::StringValue("x".to_owned())));
        let Some(Kind::StructValue(inner)) = &info.fields["b"].kind else { panic!("{info:?}") };
        assert_eq!(inner.fields["c"].kind, Some(Kind::NumberValue(1.5)));
        assert_eq!(json!("x").into_info().fields["value"].kind, Some(Kind::StringValue("x".to_owned())));
    }
}
