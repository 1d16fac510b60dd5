//! What the values in the tables look like: protobuf messages, so that fields can be added
//! later, each followed by a checksum over its table, its key and itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// What belongs into a table's name and key, for the checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) table: &'a str,
    pub(super) key: &'a [u8],
}

impl Place<'_> {
    /// A value as it is stored here.
    pub(super) fn seal(self, message: &impl Message) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(message.encoded_len() + 4);
        // Only a buffer that is too small makes this fail; a vector grows.
        let _ = message.encode(&mut bytes);
        let crc = self.checksum(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What was sealed here; none if the bytes are not what was stored.
    pub(super) fn unseal(self, bytes: &[u8]) -> Option<&[u8]> {
        let (message, crc) = bytes.split_last_chunk::<4>()?;
        (u32::from_le_bytes(*crc) == self.checksum(message)).then_some(message)
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for part in [self.table.as_bytes(), &[0], self.key, bytes] {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// What holds for the whole store after its last batch.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Meta {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    #[prost(fixed64, tag = "2")]
    pub(super) epoch: u64,
    #[prost(uint64, tag = "3")]
    pub(super) revision: u64,
    /// How many batches were written.
    #[prost(uint64, tag = "4")]
    pub(super) batch: u64,
    #[prost(uint64, tag = "5")]
    pub(super) registrations: u64,
    #[prost(uint64, tag = "6")]
    pub(super) commits: u64,
    #[prost(uint64, tag = "7")]
    pub(super) evictions: u64,
}

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
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContentValue {
    #[prost(string, tag = "1")]
    pub(super) service: String,
    #[prost(string, tag = "2")]
    pub(super) url: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) info: Bytes,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(string, tag = "5")]
    pub(super) zone: String,
    #[prost(uint32, tag = "6")]
    pub(super) weight: u32,
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

/// A part of what is known of commits that left the history: as many of the one as of the
/// other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EvictionsValue {
    #[prost(fixed64, repeated, tag = "1")]
    pub(super) keys: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) revisions: Vec<u64>,
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
