//! What a client says of its replica, packed: the service's name, and the rest as one run of
//! bytes. These are fields 3 to 7 of the wire's `Instance`, so that showing an instance is
//! copying them. There is one way to pack a content: equal contents are equal bytes.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

use super::{ServiceName, ServiceUrl, UrlError};

/// Tags of the packed fields, each length-delimited but for the weight.
const URL: u8 = 3 << 3 | 2;
const INFO: u8 = 4 << 3 | 2;
const LABEL: u8 = 5 << 3 | 2;
const ZONE: u8 = 6 << 3 | 2;
const WEIGHT: u8 = 7 << 3;
/// Tags within a label.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;

/// What a client says of its replica; checked at the door.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    service: ServiceName,
    packed: Box<[u8]>,
}

/// A content, or an instance's, to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ContentRef<'a> {
    service: &'a ServiceName,
    packed: &'a [u8],
}

/// A content, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
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

/// A `google.protobuf.Struct`, encoded with its keys in order, so that equal ones are
/// equal bytes. Inside, nobody looks into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info(pub Bytes);

/// Why bytes are no packed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// Its address is none.
    #[error("its url {0}")]
    Url(#[from] UrlError),
    /// It is not as a [`Packer`] packs.
    #[error("it is packed otherwise")]
    Form,
}

/// Packs a content's fields, in this order: url, info, labels by rising keys, zone, weight.
#[derive(Debug)]
pub struct Packer(Vec<u8>);

// === impl Content ===

impl Content {
    /// A content of fields that were packed.
    pub fn new(service: ServiceName, packed: Packer) -> Self {
        Self { service, packed: packed.0.into_boxed_slice() }
    }

    /// The same of another service's name, equal to its own: one text serves many then.
    #[must_use]
    pub fn of(self, service: ServiceName) -> Self {
        debug_assert_eq!(self.service, service, "the same name");
        Self { service, ..self }
    }

    /// To be looked at.
    pub fn view(&self) -> ContentRef<'_> {
        ContentRef { service: &self.service, packed: &self.packed }
    }

    /// The service it belongs to.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }
}

impl From<Parts> for Content {
    fn from(parts: Parts) -> Self {
        let Parts { service, url, info, labels, zone, weight } = parts;
        let mut packer = Packer::new(url.as_str(), &info.0);
        for (key, value) in &labels {
            packer.label(key, value);
        }
        Self::new(service, packer.finish(&zone, weight))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

// === impl Packer ===

impl Packer {
    /// Begins with an address and an info, encoded with its keys in order.
    pub fn new(url: &str, info: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(url.len() + info.len() + 64);
        put(&mut bytes, URL, url.as_bytes());
        put(&mut bytes, INFO, info);
        Self(bytes)
    }

    /// Goes on with a label; the next one has a greater key.
    pub fn label(&mut self, key: &str, value: &str) {
        let length = field_len(key.len()) + field_len(value.len());
        self.0.push(LABEL);
        put_varint(&mut self.0, length as u64);
        put(&mut self.0, KEY, key.as_bytes());
        put(&mut self.0, VALUE, value.as_bytes());
    }

    /// Ends with a zone and a weight.
    #[must_use]
    pub fn finish(mut self, zone: &str, weight: u32) -> Self {
        if !zone.is_empty() {
            put(&mut self.0, ZONE, zone.as_bytes());
        }
        if weight != 0 {
            self.0.push(WEIGHT);
            put_varint(&mut self.0, weight.into());
        }
        self
    }
}

// === impl ContentRef ===

impl<'a> ContentRef<'a> {
    pub(super) fn new(service: &'a ServiceName, packed: &'a [u8]) -> Self {
        Self { service, packed }
    }

    /// Packed bytes that come from elsewhere: they are taken only as a [`Packer`] makes them,
    /// with an address that is one. What is in an info is not looked at.
    pub fn from_packed(service: &'a ServiceName, packed: &'a [u8]) -> Result<Self, PackedError> {
        let mut rest = packed;
        ServiceUrl::check(take_text(&mut rest, URL)?)?;
        take(&mut rest, INFO)?;
        let mut last = None;
        while rest.first() == Some(&LABEL) {
            let mut label = take(&mut rest, LABEL)?;
            let key = take_text(&mut label, KEY)?;
            take_text(&mut label, VALUE)?;
            if !label.is_empty() || last.is_some_and(|last| last >= key) {
                return Err(PackedError::Form);
            }
            last = Some(key);
        }
        if rest.first() == Some(&ZONE) && take_text(&mut rest, ZONE)?.is_empty() {
            return Err(PackedError::Form);
        }
        if let Some((&WEIGHT, weight)) = rest.split_first() {
            rest = weight;
            let weight = take_shortest(&mut rest).and_then(|weight| u32::try_from(weight).ok());
            weight.filter(|weight| *weight != 0).ok_or(PackedError::Form)?;
        }
        if rest.is_empty() { Ok(Self { service, packed }) } else { Err(PackedError::Form) }
    }

    /// The service it belongs to.
    pub fn service(self) -> &'a ServiceName {
        self.service
    }

    /// Everything but the service, as the wire's `Instance` has it.
    pub fn packed(self) -> &'a [u8] {
        self.packed
    }

    /// Where it is reached.
    pub fn url(self) -> &'a str {
        text(Fields(self.packed).find(|(tag, _)| *tag == URL))
    }

    /// Whatever else it says of itself: a `google.protobuf.Struct`, encoded.
    pub fn info(self) -> &'a [u8] {
        Fields(self.packed).find(|(tag, _)| *tag == INFO).map_or(&[], |(_, bytes)| bytes)
    }

    /// Its labels, by rising keys.
    pub fn labels(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        Fields(self.packed).filter(|(tag, _)| *tag == LABEL).map(|(_, label)| {
            let mut fields = Fields(label);
            (text(fields.next()), text(fields.next()))
        })
    }

    /// The value of a label.
    pub fn label(self, key: &str) -> Option<&'a str> {
        self.labels().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Its zone; may be empty.
    pub fn zone(self) -> &'a str {
        text(Fields(self.packed).find(|(tag, _)| *tag == ZONE))
    }

    /// Its weight; 0 is unset.
    pub fn weight(self) -> u32 {
        let mut weight =
            Fields(self.packed).find(|(tag, _)| *tag == WEIGHT).map_or(&[][..], |(_, bytes)| bytes);
        take_varint(&mut weight).unwrap_or(0) as u32
    }

    /// How many bytes it takes on the wire at most.
    pub fn bytes(self) -> usize {
        self.service.as_str().len() + self.packed.len() + 4
    }

    /// All of it, taken apart.
    pub fn to_parts(self) -> Parts {
        Parts {
            service: self.service.clone(),
            url: ServiceUrl::trusted(self.url()),
            info: Info(Bytes::copy_from_slice(self.info())),
            labels: self.labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            zone: self.zone().to_owned(),
            weight: self.weight(),
        }
    }

    /// A copy of its own.
    pub fn to_content(self) -> Content {
        Content { service: self.service.clone(), packed: self.packed.into() }
    }
}

impl fmt::Debug for ContentRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_parts().fmt(f)
    }
}

impl PartialEq<Content> for ContentRef<'_> {
    fn eq(&self, other: &Content) -> bool {
        *self == other.view()
    }
}

// === The wire ===

/// The fields of what was packed here: each with its tag, and its bytes without their length.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        self.0 = rest;
        if *tag == WEIGHT {
            return Some((*tag, std::mem::take(&mut self.0)));
        }
        let length = take_varint(&mut self.0)? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, bytes))
    }
}

fn text(field: Option<(u8, &[u8])>) -> &str {
    // Packed from a text.
    field.and_then(|(_, bytes)| str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Takes a field that has to come next.
fn take<'a>(bytes: &mut &'a [u8], tag: u8) -> Result<&'a [u8], PackedError> {
    let mut take = || {
        let mut rest = bytes.strip_prefix(&[tag])?;
        let length = usize::try_from(take_shortest(&mut rest)?).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        *bytes = rest;
        Some(field)
    };
    take().ok_or(PackedError::Form)
}

fn take_text<'a>(bytes: &mut &'a [u8], tag: u8) -> Result<&'a str, PackedError> {
    str::from_utf8(take(bytes, tag)?).map_err(|_| PackedError::Form)
}

fn put(bytes: &mut Vec<u8>, tag: u8, field: &[u8]) {
    bytes.push(tag);
    put_varint(bytes, field.len() as u64);
    bytes.extend_from_slice(field);
}

/// What a field with a tag of one byte takes.
fn field_len(length: usize) -> usize {
    1 + prost::length_delimiter_len(length) + length
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The same, unless it could be shorter.
fn take_shortest(bytes: &mut &[u8]) -> Option<u64> {
    let before = bytes.len();
    let value = take_varint(bytes)?;
    (prost::encoding::encoded_len_varint(value) == before - bytes.len()).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn parts()(
            url in "[a-z]{1,200}",
            info in prop::collection::vec(any::<u8>(), 0..300),
            labels in prop::collection::btree_map("[a-zé]{1,20}", ".{0,130}", 0..8),
            zone in ".{0,20}",
            weight in any::<u32>(),
        ) -> Parts {
            Parts {
                service: ServiceName::fold("billing").unwrap(),
                url: ServiceUrl::parse(&format!("http://{url}")).unwrap(),
                info: Info(info.into()),
                labels,
                zone,
                weight,
            }
        }
    }

    proptest! {
        /// Whatever is packed comes back, and equal contents are equal bytes.
        #[test]
        fn comes_back(parts in parts()) {
            let content = Content::from(parts.clone());
            let view = content.view();
            prop_assert!(ContentRef::from_packed(view.service(), view.packed()) == Ok(view));
            prop_assert_eq!(content.view().to_parts(), parts.clone());
            for (key, value) in &parts.labels {
                prop_assert_eq!(content.view().label(key), Some(value.as_str()));
            }
            prop_assert_eq!(content.view().label("none such"), None);
            prop_assert_eq!(&content.view().to_content(), &content);
            prop_assert!(content.view() == content);
        }
    }

    proptest! {
        /// Bytes that were spoilt are refused, or they are those of another content.
        #[test]
        fn only_what_is_packed_is_taken(
            parts in parts(),
            spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
        ) {
            let content = Content::from(parts);
            let mut packed = content.view().packed().to_vec();
            for (at, byte, how) in spoil {
                // Of the first ones more often: there are the tags and lengths.
                let at = at.index(packed.len().min(1 + usize::from(byte))).min(packed.len() - 1);
                match how {
                    0 => packed[at] = byte,
                    1 => packed.insert(at, byte),
                    _ if packed.len() > 1 => drop(packed.remove(at)),
                    _ => {}
                }
            }
            if let Ok(taken) = ContentRef::from_packed(content.service(), &packed) {
                prop_assert_eq!(ServiceUrl::check(taken.url()), Ok(()));
                let again = Content::from(taken.to_parts());
                prop_assert_eq!(again.view().packed(), &packed[..]);
            }
        }
    }

    #[test]
    fn what_is_packed_otherwise() {
        let service = ServiceName::fold("s").unwrap();
        let check = |packed: &[u8], expect: Result<(), PackedError>| {
            let taken = ContentRef::from_packed(&service, packed);
            assert_eq!(taken.map(|taken| assert_eq!(taken.packed(), packed)), expect, "{packed:?}");
        };
        let form = Err(PackedError::Form);
        let with = |rest: &[u8]| [b"\x1a\x08http://h\x22\x00", rest].concat();
        check(&with(b""), Ok(()));
        check(&with(b"\x2a\x06\x0a\x01a\x12\x011\x2a\x05\x0a\x01b\x12\x00\x32\x01z\x38\x01"), Ok(()));
        check(b"", form);
        check(b"\x1a\x08http://h", form);
        check(b"\x1a\x88\x00http://h\x22\x00", form);
        check(b"\x22\x00\x1a\x08http://h", form);
        check(b"\x1a\x04http\x22\x00", Err(PackedError::Url(UrlError::NotAbsolute)));
        check(b"\x1a\x01\xff\x22\x00", form);
        check(&with(b"\x2a\x06\x0a\x01b\x12\x011\x2a\x06\x0a\x01a\x12\x011"), form);
        check(&with(b"\x2a\x06\x0a\x01a\x12\x011\x2a\x06\x0a\x01a\x12\x011"), form);
        check(&with(b"\x2a\x03\x0a\x01a"), form);
        check(&with(b"\x2a\x08\x0a\x01a\x12\x011\x12\x00"), form);
        check(&with(b"\x2a\x06\x0a\x01a\x12\x02"), form);
        check(&with(b"\x32\x00"), form);
        check(&with(b"\x38\x01\x32\x01z"), form);
        check(&with(b"\x38\x00"), form);
        check(&with(b"\x38\x81\x00"), form);
        check(&with(b"\x38\xff\xff\xff\xff\x1f"), form);
        check(&with(b"\x38"), form);
        check(&with(b"\x40\x01"), form);
    }

    #[test]
    fn it_is_the_wire_s() {
        use prost::Message as _;
        let mut packer = Packer::new("http://h", &[]);
        packer.label("a", "1");
        packer.label("b", "");
        let content = Content::new(ServiceName::fold("s").unwrap(), packer.finish("z", 300));
        let read = crate::proto::Instance::decode(content.view().packed()).unwrap();
        assert_eq!((read.url.as_str(), read.zone.as_str(), read.weight), ("http://h", "z", 300));
        assert_eq!(read.info, Some(prost_types::Struct::default()));
        let labels: Vec<_> = read.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(labels, [("a", "1"), ("b", "")]);
    }
}
