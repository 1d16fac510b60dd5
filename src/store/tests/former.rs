//! Values as format 1 had them, and how it wrote them.

use std::net::IpAddr;

use bytes::Bytes;
use prost::Message;

use crate::{
    catalog::{Change, Commit, Kind, Reason},
    store::{Record, Standing, value::ContentValue},
    types::{Head, Instance, Status, WallTime},
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct RecordValue {
    #[prost(message, optional, tag = "1")]
    pub(super) instance: Option<InstanceValue>,
    #[prost(enumeration = "StandingValue", tag = "2")]
    pub(super) standing: i32,
    /// When it lapsed or ended, in microseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub(super) since: u64,
    #[prost(message, optional, tag = "4")]
    pub(super) drop_grace: Option<SpanValue>,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) token: Bytes,
    /// 4 or 16 bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) peer: Bytes,
    #[prost(string, optional, tag = "7")]
    pub(super) client_id: Option<String>,
    #[prost(bool, tag = "8")]
    pub(super) named: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct SpanValue {
    #[prost(uint64, tag = "1")]
    pub(super) seconds: u64,
    #[prost(uint32, tag = "2")]
    pub(super) nanos: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InstanceValue {
    /// 16 bytes, big endian.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) id: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(super) content: Option<ContentValue>,
    #[prost(enumeration = "StatusValue", tag = "3")]
    pub(super) status: i32,
    #[prost(uint32, tag = "4")]
    pub(super) ttl: u32,
    #[prost(uint64, tag = "5")]
    pub(super) registered_at: u64,
    #[prost(uint64, tag = "6")]
    pub(super) last_updated: u64,
    #[prost(uint64, tag = "7")]
    pub(super) revision: u64,
    /// From here on: format 2, in the place of the content.
    #[prost(string, optional, tag = "8")]
    pub(super) service: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub(super) packed: Option<Bytes>,
    #[prost(uint64, tag = "10")]
    pub(super) updated_later: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CommitValue {
    #[prost(message, repeated, tag = "1")]
    pub(super) changes: Vec<ChangeValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChangeValue {
    #[prost(enumeration = "KindValue", tag = "1")]
    pub(super) kind: i32,
    #[prost(enumeration = "ReasonValue", tag = "2")]
    pub(super) reason: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) before: Option<InstanceValue>,
    #[prost(message, optional, tag = "4")]
    pub(super) after: Option<InstanceValue>,
    /// The lease's times are wall times here: moments end with their process.
    #[prost(uint64, tag = "5")]
    pub(super) renewed: u64,
    #[prost(uint64, tag = "6")]
    pub(super) deadline: u64,
    #[prost(bool, tag = "7")]
    pub(super) braked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum StandingValue {
    Unspecified = 0,
    Live = 1,
    Lapsed = 2,
    Dead = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum StatusValue {
    Unspecified = 0,
    Alive = 1,
    Suspect = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum KindValue {
    Unspecified = 0,
    Registered = 1,
    Updated = 2,
    Suspect = 3,
    Deregistered = 4,
    Expired = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ReasonValue {
    Unspecified = 0,
    New = 1,
    Content = 2,
    Revived = 3,
    Recovered = 4,
    Replaced = 5,
    Client = 6,
    TtlLapsed = 7,
    StreamDropped = 8,
    EnteredFilter = 9,
    LeftFilter = 10,
}

impl From<&Record> for RecordValue {
    fn from(record: &Record) -> Self {
        // Names of keys are younger.
        let Record { instance, standing, drop_grace, token, peer, client_id, key: _, named } = record;
        let (standing, since) = match standing {
            Standing::Live => (StandingValue::Live, 0),
            Standing::Lapsed(at) => (StandingValue::Lapsed, at.0),
            Standing::Dead(at) => (StandingValue::Dead, at.0),
        };
        Self {
            instance: Some(InstanceValue::from(instance)),
            standing: standing.into(),
            since,
            drop_grace: drop_grace
                .map(|span| SpanValue { seconds: span.as_secs(), nanos: span.subsec_nanos() }),
            token: Bytes::copy_from_slice(token),
            peer: match peer {
                IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
                IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
            },
            client_id: client_id.as_deref().map(str::to_owned),
            named: *named,
        }
    }
}

impl From<&Instance> for InstanceValue {
    fn from(instance: &Instance) -> Self {
        let Head { id, status, ttl, registered_at, last_updated, revision, service } = &**instance;
        let content = instance.content();
        Self {
            id: Bytes::copy_from_slice(&{ id.0 }.to_be_bytes()),
            content: Some(ContentValue {
                service: service.as_str().to_owned(),
                url: content.url().to_owned(),
                info: Bytes::copy_from_slice(content.info()),
                labels: content.labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
                zone: content.zone().to_owned(),
                weight: content.weight(),
            }),
            status: match status {
                Status::Alive => StatusValue::Alive,
                Status::Suspect => StatusValue::Suspect,
            }
            .into(),
            ttl: ttl.0,
            registered_at: registered_at.0,
            last_updated: last_updated.0,
            revision: revision.0,
            service: None,
            packed: None,
            updated_later: 0,
        }
    }
}

impl CommitValue {
    pub(super) fn of(commit: &Commit, anchor: WallTime) -> Self {
        Self { changes: commit.changes.iter().map(|change| ChangeValue::of(change, anchor)).collect() }
    }
}

impl ChangeValue {
    fn of(change: &Change, anchor: WallTime) -> Self {
        let Change { kind, reason, before, after, times, braked } = change;
        Self {
            kind: match kind {
                Kind::Registered => KindValue::Registered,
                Kind::Updated => KindValue::Updated,
                Kind::Suspect => KindValue::Suspect,
                Kind::Deregistered => KindValue::Deregistered,
                Kind::Expired => KindValue::Expired,
            }
            .into(),
            reason: match reason {
                Reason::New => ReasonValue::New,
                Reason::Content => ReasonValue::Content,
                Reason::Revived => ReasonValue::Revived,
                Reason::Recovered => ReasonValue::Recovered,
                Reason::Replaced => ReasonValue::Replaced,
                Reason::Client => ReasonValue::Client,
                Reason::TtlLapsed => ReasonValue::TtlLapsed,
                Reason::StreamDropped => ReasonValue::StreamDropped,
                Reason::EnteredFilter => ReasonValue::EnteredFilter,
                Reason::LeftFilter => ReasonValue::LeftFilter,
            }
            .into(),
            before: before.as_ref().map(InstanceValue::from),
            after: after.as_ref().map(InstanceValue::from),
            renewed: anchor.of(times.renewed).0,
            deadline: anchor.of(times.deadline).0,
            braked: *braked,
        }
    }
}
