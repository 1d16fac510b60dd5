//! Records, commits and evictions as values of the tables, and back. What comes back was
//! checked as at the door: names and urls parse to themselves, numbers mean something.
//!
//! Format 1 kept an instance's content as a message of its own, which is still read.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};
use prost::Message as _;

use crate::{
    catalog::{Change, Commit, Eviction, Kind, Reason},
    types::{
        Content, ContentRef, Head, Info, Instance, LeaseId, LeaseTimes, PackedError, Parts, Revision,
        ServiceName, ServiceUrl, Status, Ttl, WallTime,
    },
    wire::{Encoder, Field, Fields, Malformed, Value},
};

use super::{
    Record, Standing,
    value::{ContentValue, EvictionsValue},
};

/// What a value is not, though its checksum is good.
pub(super) type Wrong = &'static str;

const MALFORMED: Wrong = "it is malformed";

impl From<Malformed> for Wrong {
    fn from(_: Malformed) -> Self {
        MALFORMED
    }
}

/// What was read already, to be shared again as it was when it was written: the names of
/// services, and by their ids the instances of the history as they were last.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: HashSet<ServiceName, RandomState>,
    instances: HashTable<Instance>,
}

impl Known {
    fn name(&mut self, text: &[u8]) -> Result<ServiceName, Wrong> {
        let wrong = "its service's name is none";
        let text = str::from_utf8(text).map_err(|_| wrong)?;
        if let Some(known) = self.names.get(text) {
            return Ok(known.clone());
        }
        let name = ServiceName::fold(text).ok().filter(|name| name.as_str() == text).ok_or(wrong)?;
        self.names.insert(name.clone());
        Ok(name)
    }

    fn learn(&mut self, instance: &Instance) {
        let id = instance.id;
        match self.instances.entry(id.table_hash(), |known| known.id == id, |known| known.id.table_hash()) {
            Entry::Occupied(mut known) => *known.get_mut() = instance.clone(),
            Entry::Vacant(room) => drop(room.insert(instance.clone())),
        }
    }

    /// The instance that is known already, or a new one.
    fn instance(&self, head: Head, content: ContentRef<'_>) -> Instance {
        let same = |known: &Instance| **known == head && known.content().packed() == content.packed();
        let known = self.instances.find(head.id.table_hash(), |known| known.id == head.id);
        match known {
            Some(known) if same(known) => known.clone(),
            _ => Instance::new(head, content),
        }
    }
}

// === Records ===

/// Fields of a record.
mod in_record {
    pub(super) const INSTANCE: u32 = 1;
    pub(super) const STANDING: u32 = 2;
    /// When it lapsed or ended, in microseconds since 1970.
    pub(super) const SINCE: u32 = 3;
    pub(super) const DROP_GRACE: u32 = 4;
    pub(super) const TOKEN: u32 = 5;
    /// 4 or 16 bytes.
    pub(super) const PEER: u32 = 6;
    pub(super) const CLIENT_ID: u32 = 7;
    pub(super) const NAMED: u32 = 8;
    pub(super) const KEY: u32 = 9;
}

const LIVE: u64 = 1;
const LAPSED: u64 = 2;
const DEAD: u64 = 3;

impl Record {
    /// Writes it as the value of its id.
    pub(super) fn write(&self, out: &mut Encoder) {
        let Self { instance, standing, drop_grace, token, peer, client_id, key, named } = self;
        let (standing, since) = match standing {
            Standing::Live => (LIVE, 0),
            Standing::Lapsed(at) => (LAPSED, at.0),
            Standing::Dead(at) => (DEAD, at.0),
        };
        {
            let open = out.open(in_record::INSTANCE);
            write_instance(out, instance, None);
            out.close(open);
        }
        put(out, in_record::STANDING, standing);
        put(out, in_record::SINCE, since);
        if let Some(span) = drop_grace {
            let open = out.open(in_record::DROP_GRACE);
            put(out, 1, span.as_secs());
            put(out, 2, span.subsec_nanos().into());
            out.close(open);
        }
        out.bytes(in_record::TOKEN, token);
        match peer {
            IpAddr::V4(address) => out.bytes(in_record::PEER, &address.octets()),
            IpAddr::V6(address) => out.bytes(in_record::PEER, &address.octets()),
        }
        if let Some(client_id) = client_id {
            out.bytes(in_record::CLIENT_ID, client_id.as_bytes());
        }
        put(out, in_record::NAMED, (*named).into());
        if let Some(key) = key {
            out.bytes(in_record::KEY, key.as_bytes());
        }
    }

    /// Reads the value of `id`.
    pub(super) fn read(id: LeaseId, bytes: &[u8], known: &mut Known) -> Result<Self, Wrong> {
        let (mut instance, mut standing, mut since, mut drop_grace) = (None, 0, WallTime(0), None);
        let (mut token, mut peer, mut client_id, mut key, mut named) = (&[][..], &[][..], None, None, false);
        let mut fields = Fields::new(bytes);
        while let Some(Field { number, value }) = fields.next_field()? {
            match (number, value) {
                (in_record::INSTANCE, Value::Bytes(bytes)) => {
                    instance = Some(read_instance(bytes, Some(id), known)?);
                }
                (in_record::STANDING, Value::Varint(number)) => standing = number,
                (in_record::SINCE, Value::Varint(number)) => since = WallTime(number),
                (in_record::DROP_GRACE, Value::Bytes(bytes)) => drop_grace = Some(read_span(bytes)?),
                (in_record::TOKEN, Value::Bytes(bytes)) => token = bytes,
                (in_record::PEER, Value::Bytes(bytes)) => peer = bytes,
                (in_record::CLIENT_ID, Value::Bytes(bytes)) => {
                    client_id = Some(str::from_utf8(bytes).map_err(|_| MALFORMED)?);
                }
                (in_record::NAMED, Value::Varint(number)) => named = number != 0,
                (in_record::KEY, Value::Bytes(bytes)) => {
                    key = Some(str::from_utf8(bytes).map_err(|_| MALFORMED)?);
                }
                (1..=9, _) => return Err(MALFORMED),
                _ => {}
            }
        }
        Ok(Self {
            instance: instance.ok_or("it has no instance")?,
            standing: match standing {
                LIVE => Standing::Live,
                LAPSED => Standing::Lapsed(since),
                DEAD => Standing::Dead(since),
                _ => return Err("it stands in no known way"),
            },
            drop_grace,
            // Whole hashes were kept once.
            token: match token.len() {
                16 | 32 => token.first_chunk::<16>().copied(),
                _ => None,
            }
            .ok_or("its token's hash has no 16 bytes")?,
            peer: match *peer {
                [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                ref six => <[u8; 16]>::try_from(six)
                    .map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
                    .map_err(|_| "its peer has neither 4 nor 16 bytes")?,
            },
            client_id: client_id.map(Arc::from),
            key: key.map(Arc::from),
            named,
        })
    }
}

fn read_span(bytes: &[u8]) -> Result<Duration, Wrong> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(bytes);
    while let Some(Field { number, value }) = fields.next_field()? {
        match (number, value) {
            (1, Value::Varint(number)) => seconds = number,
            (2, Value::Varint(number)) => nanos = number,
            (1..=2, _) => return Err(MALFORMED),
            _ => {}
        }
    }
    match u32::try_from(nanos) {
        Ok(nanos @ ..1_000_000_000) => Ok(Duration::new(seconds, nanos)),
        _ => Err("its grace has more than a second of nanoseconds"),
    }
}

// === Instances ===

/// Fields of an instance.
mod in_instance {
    /// 16 bytes, big endian; not there where it is the value's key.
    pub(super) const ID: u32 = 1;
    /// Format 1.
    pub(super) const FORMER_CONTENT: u32 = 2;
    pub(super) const STATUS: u32 = 3;
    pub(super) const TTL: u32 = 4;
    pub(super) const REGISTERED_AT: u32 = 5;
    /// Format 1.
    pub(super) const UPDATED_AT: u32 = 6;
    pub(super) const REVISION: u32 = 7;
    pub(super) const SERVICE: u32 = 8;
    pub(super) const PACKED: u32 = 9;
    /// How much later than it was registered its content changed last, modulo 2^64.
    pub(super) const UPDATED_LATER: u32 = 10;
}

const ALIVE: u64 = 1;
const SUSPECT: u64 = 2;

fn write_instance(out: &mut Encoder, instance: &Instance, id: Option<LeaseId>) {
    let Head { id: _, status, ttl, registered_at, last_updated, revision, service } = &**instance;
    if let Some(id) = id {
        out.bytes(in_instance::ID, &{ id.0 }.to_be_bytes());
    }
    let status = match status {
        Status::Alive => ALIVE,
        Status::Suspect => SUSPECT,
    };
    put(out, in_instance::STATUS, status);
    put(out, in_instance::TTL, ttl.0.into());
    put(out, in_instance::REGISTERED_AT, registered_at.0);
    put(out, in_instance::REVISION, revision.0);
    out.bytes(in_instance::SERVICE, service.as_str().as_bytes());
    out.bytes(in_instance::PACKED, instance.content().packed());
    put(out, in_instance::UPDATED_LATER, last_updated.0.wrapping_sub(registered_at.0));
}

/// Reads an instance; `id` is its own where it does not say.
fn read_instance(bytes: &[u8], mut id: Option<LeaseId>, known: &mut Known) -> Result<Instance, Wrong> {
    let (mut status, mut ttl, mut registered_at, mut updated_at, mut later) = (0, 0, 0, 0, 0);
    let (mut revision, mut service, mut packed, mut former) = (0, None, None, None);
    let mut fields = Fields::new(bytes);
    while let Some(Field { number, value }) = fields.next_field()? {
        match (number, value) {
            (in_instance::ID, Value::Bytes(bytes)) => {
                let bytes = bytes.try_into().map_err(|_| "its id has no 16 bytes")?;
                id = Some(LeaseId(u128::from_be_bytes(bytes)));
            }
            (in_instance::FORMER_CONTENT, Value::Bytes(bytes)) => {
                former = Some(read_former_content(bytes, known)?);
            }
            (in_instance::STATUS, Value::Varint(number)) => status = number,
            (in_instance::TTL, Value::Varint(number)) => {
                ttl = u32::try_from(number).map_err(|_| MALFORMED)?;
            }
            (in_instance::REGISTERED_AT, Value::Varint(number)) => registered_at = number,
            (in_instance::UPDATED_AT, Value::Varint(number)) => updated_at = number,
            (in_instance::REVISION, Value::Varint(number)) => revision = number,
            (in_instance::SERVICE, Value::Bytes(bytes)) => service = Some(known.name(bytes)?),
            (in_instance::PACKED, Value::Bytes(bytes)) => packed = Some(bytes),
            (in_instance::UPDATED_LATER, Value::Varint(number)) => later = number,
            (1..=10, _) => return Err(MALFORMED),
            _ => {}
        }
    }
    let content = match (&former, &service, packed) {
        (Some(former), None, None) => former.view(),
        (None, Some(service), Some(packed)) => {
            ContentRef::from_packed(service, packed).map_err(|error| match error {
                PackedError::Url(_) => NO_URL,
                PackedError::Form => "its content is malformed",
            })?
        }
        _ => return Err("it has no content"),
    };
    let head = Head {
        id: id.ok_or("its id has no 16 bytes")?,
        status: match status {
            ALIVE => Status::Alive,
            SUSPECT => Status::Suspect,
            _ => return Err("it has no known status"),
        },
        ttl: Ttl(ttl),
        registered_at: WallTime(registered_at),
        last_updated: WallTime(match former {
            Some(_) => updated_at,
            None => registered_at.wrapping_add(later),
        }),
        revision: Revision(revision),
        service: content.service().clone(),
    };
    Ok(known.instance(head, content))
}

const NO_URL: Wrong = "its url is none";

fn read_former_content(bytes: &[u8], known: &mut Known) -> Result<Content, Wrong> {
    let ContentValue { service, url, info, labels, zone, weight } =
        ContentValue::decode(bytes).map_err(|_| MALFORMED)?;
    Ok(Content::from(Parts {
        service: known.name(service.as_bytes())?,
        url: ServiceUrl::parse(&url).map_err(|_| NO_URL)?,
        info: Info(info),
        labels,
        zone,
        weight,
    }))
}

// === Commits ===

/// The only field of a commit, as often as it has changes.
const CHANGE: u32 = 1;

/// Writes a commit as the value of its revision.
pub(super) fn write_commit(out: &mut Encoder, commit: &Commit, anchor: WallTime) {
    for change in &commit.changes {
        {
            let open = out.open(CHANGE);
            write_change(out, change, anchor);
            out.close(open);
        }
    }
}

/// Reads the value of a revision.
pub(super) fn read_commit(
    revision: Revision,
    bytes: &[u8],
    anchor: WallTime,
    known: &mut Known,
) -> Result<Commit, Wrong> {
    let mut changes = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Some(Field { number, value }) = fields.next_field()? {
        match (number, value) {
            (CHANGE, Value::Bytes(bytes)) => changes.push(read_change(bytes, anchor, known)?),
            (CHANGE, _) => return Err(MALFORMED),
            _ => {}
        }
    }
    changes.shrink_to_fit();
    if changes.is_empty() { Err("it has no change") } else { Ok(Commit { revision, changes }) }
}

/// Fields of a change.
mod in_change {
    pub(super) const KIND: u32 = 1;
    pub(super) const REASON: u32 = 2;
    pub(super) const BEFORE: u32 = 3;
    pub(super) const AFTER: u32 = 4;
    /// The lease's times are wall times here: moments end with their process.
    pub(super) const RENEWED: u32 = 5;
    pub(super) const DEADLINE: u32 = 6;
    pub(super) const BRAKED: u32 = 7;
}

fn write_change(out: &mut Encoder, change: &Change, anchor: WallTime) {
    let Change { kind, reason, before, after, times, braked } = change;
    put(out, in_change::KIND, number_of(&KINDS, kind));
    put(out, in_change::REASON, number_of(&REASONS, reason));
    for (tag, instance) in [(in_change::BEFORE, before), (in_change::AFTER, after)] {
        if let Some(instance) = instance {
            {
                let open = out.open(tag);
                write_instance(out, instance, Some(instance.id));
                out.close(open);
            }
        }
    }
    put(out, in_change::RENEWED, anchor.of(times.renewed).0);
    put(out, in_change::DEADLINE, anchor.of(times.deadline).0);
    put(out, in_change::BRAKED, (*braked).into());
}

fn read_change(bytes: &[u8], anchor: WallTime, known: &mut Known) -> Result<Change, Wrong> {
    let (mut kind, mut reason, mut renewed, mut deadline, mut braked) = (0, 0, 0, 0, false);
    let (mut before, mut after) = (None, None);
    let mut fields = Fields::new(bytes);
    while let Some(Field { number, value }) = fields.next_field()? {
        match (number, value) {
            (in_change::KIND, Value::Varint(number)) => kind = number,
            (in_change::REASON, Value::Varint(number)) => reason = number,
            (in_change::BEFORE, Value::Bytes(bytes)) => before = Some(read_instance(bytes, None, known)?),
            (in_change::AFTER, Value::Bytes(bytes)) => after = Some(read_instance(bytes, None, known)?),
            (in_change::RENEWED, Value::Varint(number)) => renewed = number,
            (in_change::DEADLINE, Value::Varint(number)) => deadline = number,
            (in_change::BRAKED, Value::Varint(number)) => braked = number != 0,
            (1..=7, _) => return Err(MALFORMED),
            _ => {}
        }
    }
    let last = after.as_ref().or(before.as_ref()).ok_or("a change of it has no instance")?;
    known.learn(last);
    Ok(Change {
        kind: of_number(&KINDS, kind).ok_or("a change of it is of no known kind")?,
        reason: of_number(&REASONS, reason).ok_or("a change of it has no known reason")?,
        before,
        after,
        times: LeaseTimes {
            renewed: WallTime(renewed).moment(anchor),
            deadline: WallTime(deadline).moment(anchor),
        },
        braked,
    })
}

/// Each is written as its place here, the first one as 1.
const KINDS: [Kind; 5] = [Kind::Registered, Kind::Updated, Kind::Suspect, Kind::Deregistered, Kind::Expired];

/// The same of reasons.
const REASONS: [Reason; 10] = [
    Reason::New,
    Reason::Content,
    Reason::Revived,
    Reason::Recovered,
    Reason::Replaced,
    Reason::Client,
    Reason::TtlLapsed,
    Reason::StreamDropped,
    Reason::EnteredFilter,
    Reason::LeftFilter,
];

fn number_of<T: PartialEq>(all: &[T], one: &T) -> u64 {
    all.iter().position(|known| known == one).map_or(0, |place| place as u64 + 1)
}

fn of_number<T: Copy>(all: &[T], number: u64) -> Option<T> {
    all.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// Writes a number; 0 is what a number is that is not there.
fn put(out: &mut Encoder, number: u32, value: u64) {
    if value != 0 {
        out.varint(number, value);
    }
}

// === Evictions ===

impl EvictionsValue {
    pub(super) fn of(evictions: &[Eviction]) -> Self {
        Self {
            keys: evictions.iter().map(|eviction| eviction.key).collect(),
            revisions: evictions.iter().map(|eviction| eviction.revision.0).collect(),
        }
    }

    pub(super) fn to_evictions(&self) -> Result<impl Iterator<Item = Eviction> + '_, Wrong> {
        if self.keys.len() != self.revisions.len() {
            return Err("it has not as many keys as revisions");
        }
        let both = self.keys.iter().zip(&self.revisions);
        Ok(both.map(|(key, revision)| Eviction { key: *key, revision: Revision(*revision) }))
    }
}
