//! What the values in the tables look like: protobuf messages, so that fields can be added
//! later, each followed by a checksum over its table, its key and itself. The many are written
//! and read by hand, in `record.rs`; the few are here.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::wire::Encoder;

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
        self.sealed(bytes)
    }

    /// The same of a message that `write` writes, of about so many bytes.
    pub(super) fn seal_written(self, bytes: usize, write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
        let mut message = Encoder::with_capacity(bytes);
        write(&mut message);
        self.sealed(message.finish())
    }

    fn sealed(self, mut bytes: Vec<u8>) -> Vec<u8> {
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

/// An instance's content as format 1 kept it.
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

/// A part of what is known of commits that left the history: as many of the one as of the
/// other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EvictionsValue {
    #[prost(fixed64, repeated, tag = "1")]
    pub(super) keys: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) revisions: Vec<u64>,
}
