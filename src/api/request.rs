//! A registration as it lies on the wire: each field where it is, nothing copied.

use std::borrow::Cow;

use prost::Message as _;
use tonic_types::FieldViolation;

use crate::{
    proto::codec,
    wire::{Field, Fields, Malformed, Value},
};

/// The fields of a `leasehold.v1.RegisterRequest`; what is not there is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) id: &'a str,
    pub(super) url: &'a str,
    /// An encoded `google.protobuf.Struct`, unread.
    pub(super) info: Cow<'a, [u8]>,
    pub(super) service: &'a str,
    pub(super) ttl_seconds: u32,
    /// By rising keys, each once.
    pub(super) labels: Vec<(&'a str, &'a str)>,
    pub(super) zone: &'a str,
    pub(super) weight: u32,
    pub(super) drop_grace: Option<prost_types::Duration>,
    pub(super) lease_token: &'a str,
}

impl<'a> Request<'a> {
    /// Takes a message apart. Of a field that comes twice the last one holds; the parts of a
    /// message that does are one.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, FieldViolation> {
        let mut request = Self::default();
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field().map_err(|_| codec::unreadable("", CUT_SHORT))? {
            request.take(field).map_err(|(name, why)| codec::unreadable(name, why))?;
        }
        if !request.labels.is_sorted_by(|(one, _), (next, _)| one < next) {
            request.labels.reverse();
            request.labels.sort_by_key(|(key, _)| *key);
            request.labels.dedup_by_key(|(key, _)| *key);
        }
        Ok(request)
    }

    fn take(&mut self, field: Field<'a>) -> Result<(), Wrong> {
        match field.number {
            1 => self.id = text("id", field)?,
            2 => self.url = text("url", field)?,
            3 => {
                let part = bytes("info", field)?;
                if self.info.is_empty() {
                    self.info = Cow::Borrowed(part);
                } else {
                    self.info.to_mut().extend_from_slice(part);
                }
            }
            4 => self.service = text("service", field)?,
            5 => self.ttl_seconds = number("ttl_seconds", field)?,
            6 => self.labels.push(label(bytes("labels", field)?)?),
            7 => self.zone = text("zone", field)?,
            8 => self.weight = number("weight", field)?,
            9 => {
                let mut grace = self.drop_grace.unwrap_or_default();
                let merged = grace.merge(bytes("drop_grace", field)?);
                merged.map_err(|_| ("drop_grace", "it is no duration"))?;
                self.drop_grace = Some(grace);
            }
            10 => self.lease_token = text("lease_token", field)?,
            _ => {}
        }
        Ok(())
    }
}

/// Which field, and why not.
type Wrong = (&'static str, &'static str);

const CUT_SHORT: &str = "the message is cut short or garbled";

fn bytes<'a>(name: &'static str, field: Field<'a>) -> Result<&'a [u8], Wrong> {
    match field.value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err((name, "it is of another type")),
    }
}

fn text<'a>(name: &'static str, field: Field<'a>) -> Result<&'a str, Wrong> {
    str::from_utf8(bytes(name, field)?).map_err(|_| (name, "it is no UTF-8"))
}

fn number(name: &'static str, field: Field<'_>) -> Result<u32, Wrong> {
    match field.value {
        // What does not fit loses its upper bits, as protobuf says.
        Value::Varint(value) => Ok(value as u32),
        _ => Err((name, "it is of another type")),
    }
}

fn label(entry: &[u8]) -> Result<(&str, &str), Wrong> {
    let (mut key, mut value) = ("", "");
    let mut fields = Fields::new(entry);
    while let Some(field) = fields.next_field().map_err(|Malformed| ("labels", CUT_SHORT))? {
        match field.number {
            1 => key = text("labels", field)?,
            2 => value = text("labels", field)?,
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::RegisterRequest;

    proptest! {
        /// It reads what prost reads.
        #[test]
        fn reads_what_prost_reads(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4), labels in prop::collection::btree_map("[a-c]{0,2}", ".{0,4}", 0..5), texts in prop::array::uniform5(".{0,9}"), numbers in any::<(u32, u32, Option<(i64, i32)>)>()) {
            let [id, url, service, zone, lease_token] = texts;
            let drop_grace = numbers.2.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
            let sent = RegisterRequest {
                id, url, info: None, service, ttl_seconds: numbers.0, labels, zone, weight: numbers.1, drop_grace, lease_token,
            };
            // Unknown fields between, and all of it twice: the last one holds.
            let mut message = sent.encode_to_vec();
            for part in parts {
                message.extend([0xfa, 0x01, part.len() as u8]);
                message.extend(part);
            }
            message.extend(sent.encode_to_vec());
            let read = Request::read(&message).unwrap();
            let expect = RegisterRequest::decode(&*message).unwrap();
            let labels: Vec<(&str, &str)> = expect.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            prop_assert_eq!(read.labels, labels);
            prop_assert_eq!(
                (read.id, read.url, read.service, read.zone, read.lease_token, read.ttl_seconds, read.weight, read.drop_grace),
                (&*expect.id, &*expect.url, &*expect.service, &*expect.zone, &*expect.lease_token, expect.ttl_seconds, expect.weight, expect.drop_grace)
            );
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Request::read(&bytes);
        }
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let check = |bytes: &[u8], field: &str| assert_eq!(Request::read(bytes).unwrap_err().field, field);
        // A url that is no UTF-8, a zone that is a number, a key of no field.
        check(&[0x12, 0x01, 0xff], "url");
        check(&[0x38, 0x05], "zone");
        check(&[0x00], "");
    }
}
