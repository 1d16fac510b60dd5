//! A registered replica, as the registry shows it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{LeaseId, Moment, Revision, ServiceName, ServiceUrl, Ttl, WallTime};

/// One registered replica at one revision. A change makes a new one; what does not
/// change is shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its id.
    pub id: LeaseId,
    /// What the client said of it.
    pub content: Arc<Content>,
    /// Whether its stream is gone and its grace runs.
    pub status: Status,
    /// The granted TTL.
    pub ttl: Ttl,
    /// When the registration began.
    pub registered_at: WallTime,
    /// When the content last changed.
    pub last_updated: WallTime,
    /// The revision of its last change.
    pub revision: Revision,
}

impl Instance {
    /// An upper bound of the bytes that an event with this instance takes on the wire.
    pub fn event_bytes(&self) -> usize {
        // Ids, times, numbers, tags and lengths come to less than 256 bytes.
        256 + self.content.bytes()
    }
}

/// What a client says of its replica; checked at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The service it belongs to.
    pub service: ServiceName,
    /// Where it is reached.
    pub url: ServiceUrl,
    /// Whatever else it says of itself.
    pub info: Info,
    /// At most 64 labels.
    pub labels: BTreeMap<String, String>,
    /// Its zone; may be empty.
    pub zone: String,
    /// Its weight; 0 is unset.
    pub weight: u32,
}

impl Content {
    /// An upper bound of its bytes on the wire, but for fixed fields.
    pub fn bytes(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
        self.service.as_str().len() + self.url.as_str().len() + self.info.0.len() + self.zone.len() + labels
    }
}

/// A `google.protobuf.Struct`, encoded with its keys in order, so that equal ones are
/// equal bytes. Inside, nobody looks into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info(pub Bytes);

/// Whether an instance is known to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its lease lives.
    Alive,
    /// Its stream dropped and its grace runs.
    Suspect,
}

/// The times of a lease, which move without a change of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// The last renewal.
    pub renewed: Moment,
    /// When it lapses unless renewed.
    pub deadline: Moment,
}
