//! Instances on their way out, written in the wire format without a tree of values between:
//! what a client said of one lies there in that format already.

use ulid::Ulid;

use crate::{
    types::{Instance, LeaseId, LeaseTimes, Status, WallTime},
    wire::{Encoder, varint_size},
};

/// Writes the fields of `leasehold.v1.Instance`. `anchor` is what people call moment 0.
pub(super) fn instance(out: &mut Encoder, instance: &Instance, times: LeaseTimes, anchor: WallTime) {
    id(out, 1, instance.id);
    out.bytes(2, instance.service.as_str().as_bytes());
    out.encoded(instance.content().packed());
    let status: &[u8] = match instance.status {
        Status::Alive => b"alive",
        Status::Suspect => b"suspect",
    };
    out.bytes(8, status);
    timestamp(out, 9, instance.registered_at);
    timestamp(out, 10, instance.last_updated);
    timestamp(out, 11, anchor.of(times.renewed));
    timestamp(out, 12, anchor.of(times.deadline));
    number(out, 13, instance.ttl.0.into());
    number(out, 14, instance.revision.0);
}

/// What an event says beside its instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) kind: i32,
    pub(super) reason: i32,
    pub(super) revision: u64,
    pub(super) braked: bool,
}

/// Writes an event into a `leasehold.v1.WatchResponse`.
pub(super) fn event(out: &mut Encoder, told: Told, one: &Instance, times: LeaseTimes, anchor: WallTime) {
    let event = out.open(2);
    number(out, 1, told.kind.unsigned_abs().into());
    number(out, 2, told.reason.unsigned_abs().into());
    let place = out.open(3);
    instance(out, one, times, anchor);
    out.close(place);
    number(out, 4, told.revision);
    number(out, 5, told.braked.into());
    out.close(event);
}

/// Writes a ULID as people read it.
pub(super) fn id(out: &mut Encoder, field: u32, id: LeaseId) {
    let mut text = [0; ulid::ULID_LEN];
    out.bytes(field, Ulid(id.0).array_to_str(&mut text).as_bytes());
}

/// Writes a text, unless it is empty.
pub(super) fn text(out: &mut Encoder, field: u32, text: &str) {
    if !text.is_empty() {
        out.bytes(field, text.as_bytes());
    }
}

/// Writes a number, unless it is 0.
pub(super) fn number(out: &mut Encoder, field: u32, value: u64) {
    if value != 0 {
        out.varint(field, value);
    }
}

/// Writes a `google.protobuf.Timestamp`.
pub(super) fn timestamp(out: &mut Encoder, field: u32, time: WallTime) {
    let (seconds, nanos) = (time.0 / 1_000_000, time.0 % 1_000_000 * 1000);
    let size = |value: u64| if value == 0 { 0 } else { 1 + varint_size(value) };
    out.head(field, size(seconds) + size(nanos));
    number(out, 1, seconds);
    number(out, 2, nanos);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        proto,
        types::{Content, Head, Moment, Packer, Revision, ServiceName, Ttl},
    };

    #[test]
    fn what_is_written_is_read() {
        let service = ServiceName::fold("billing").unwrap();
        let mut packer = Packer::new("http://h:1", &[]);
        packer.label("k", "v");
        let content = Content::new(service.clone(), packer.finish("z", 7));
        let one = content.instance(Head {
            id: LeaseId(5 << 64 | 9),
            status: Status::Suspect,
            ttl: Ttl(30),
            registered_at: WallTime(1_700_000_000_000_000),
            last_updated: WallTime(1_700_000_001_000_001),
            revision: Revision(300),
            service,
        });
        let times = LeaseTimes { renewed: Moment(0), deadline: Moment(30_000_000) };
        let mut out = Encoder::new();
        instance(&mut out, &one, times, WallTime(1_700_000_002_500_000));
        let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let expect = proto::Instance {
            id: one.id.to_string(),
            service: "billing".to_owned(),
            url: "http://h:1".to_owned(),
            info: Some(prost_types::Struct::default()),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            zone: "z".to_owned(),
            weight: 7,
            status: "suspect".to_owned(),
            registered_at: time(1_700_000_000, 0),
            last_updated: time(1_700_000_001, 1_000),
            last_ping_at: time(1_700_000_002, 500_000_000),
            expires_at: time(1_700_000_032, 500_000_000),
            ttl_seconds: 30,
            revision: 300,
        };
        assert_eq!(proto::Instance::decode(&*out.finish()).unwrap(), expect);
    }
}
