//! The `info` of a registration: a `google.protobuf.Struct`, checked and written anew with its
//! keys in order, each once, so that equal infos are equal bytes. Nothing of it is built in
//! memory but a list of where the entries lie.

use crate::wire::{Encoder, Fields, Malformed, Value};

/// Objects and lists may nest so deep, the info itself counted.
const MAX_DEPTH: usize = 24;
/// The longest, in bytes as it is kept.
const MAX_BYTES: usize = 64 << 10;

/// Why an info is not taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// It is no encoded `Struct`.
    Malformed,
    /// It is one that not every client could read, or too large: what is said of it.
    Refused(String),
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The same info as it is kept.
pub(super) fn canonical(info: &[u8]) -> Result<Vec<u8>, Fault> {
    if info.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = Encoder::with_capacity(info.len());
    object(info, 1, &mut out)?;
    let kept = out.finish();
    if kept.len() > MAX_BYTES {
        let bytes = kept.len();
        let text = format!("is {bytes} bytes long as protobuf; at most {MAX_BYTES} are taken");
        return Err(Fault::Refused(text));
    }
    Ok(kept)
}

/// The text under a key of an info as it is kept.
pub(super) fn text<'a>(kept: &'a [u8], key: &str) -> Option<&'a str> {
    let mut fields = Fields::new(kept);
    while let Ok(Some(field)) = fields.next_field() {
        let Value::Bytes(entry) = field.value else { return None };
        let (name, value) = entry_of(entry).ok()?;
        if name == key {
            let Ok(Some(kind)) = Fields::new(value).next_field() else { return None };
            return match (kind.number, kind.value) {
                (3, Value::Bytes(text)) => str::from_utf8(text).ok(),
                _ => None,
            };
        }
    }
    None
}

fn object(fields: &[u8], depth: usize, out: &mut Encoder) -> Result<(), Fault> {
    check_depth(depth)?;
    let mut entries = Vec::new();
    let mut walk = Fields::new(fields);
    while let Some(field) = walk.next_field()? {
        if field.number == 1 {
            let Value::Bytes(entry) = field.value else { return Err(Fault::Malformed) };
            entries.push(entry_of(entry)?);
        }
    }
    // Of several under one key the last one holds.
    if !entries.is_sorted_by(|(one, _), (next, _)| one < next) {
        entries.reverse();
        entries.sort_by_key(|(key, _)| *key);
        entries.dedup_by_key(|(key, _)| *key);
    }
    for (key, value) in entries {
        let entry = out.open(1);
        if !key.is_empty() {
            out.bytes(1, key.as_bytes());
        }
        let place = out.open(2);
        self::value(value, depth, out)?;
        out.close(place);
        out.close(entry);
    }
    Ok(())
}

fn entry_of(entry: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut key, mut value) = ("", &[][..]);
    let mut walk = Fields::new(entry);
    while let Some(field) = walk.next_field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(text)) => key = str::from_utf8(text).map_err(|_| Malformed)?,
            (2, Value::Bytes(bytes)) => value = bytes,
            (1 | 2, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok((key, value))
}

fn value(value: &[u8], depth: usize, out: &mut Encoder) -> Result<(), Fault> {
    // Of several kinds the last one holds.
    let mut kind = None;
    let mut walk = Fields::new(value);
    while let Some(field) = walk.next_field()? {
        if (1..=6).contains(&field.number) {
            kind = Some(field);
        }
    }
    let Some(kind) = kind else {
        return Err(Fault::Refused("has a value of no kind; send null_value for null".to_owned()));
    };
    match (kind.number, kind.value) {
        (1, Value::Varint(_)) => out.varint(1, 0),
        (2, Value::Fixed64(bits)) => {
            let number = f64::from_bits(bits);
            if !number.is_finite() {
                // JSON has no such: it would make every list that holds it unreadable.
                return Err(Fault::Refused(format!("holds the number {number}, which JSON cannot write")));
            }
            out.fixed64(2, bits);
        }
        (3, Value::Bytes(text)) => {
            str::from_utf8(text).map_err(|_| Fault::Malformed)?;
            out.bytes(3, text);
        }
        (4, Value::Varint(truth)) => out.varint(4, u64::from(truth != 0)),
        (5, Value::Bytes(fields)) => {
            let place = out.open(5);
            object(fields, depth + 1, out)?;
            out.close(place);
        }
        (6, Value::Bytes(items)) => {
            check_depth(depth + 1)?;
            let place = out.open(6);
            let mut walk = Fields::new(items);
            while let Some(field) = walk.next_field()? {
                if field.number == 1 {
                    let Value::Bytes(item) = field.value else { return Err(Fault::Malformed) };
                    let item_place = out.open(1);
                    self::value(item, depth + 1, out)?;
                    out.close(item_place);
                }
            }
            out.close(place);
        }
        _ => return Err(Fault::Malformed),
    }
    Ok(())
}

fn check_depth(depth: usize) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        let text = format!("is nested deeper than {MAX_DEPTH} levels, which some clients cannot decode");
        return Err(Fault::Refused(text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use prost::Message as _;
    use prost_types::{ListValue, Struct, Value as Tree, value::Kind};

    use super::*;

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            Just(Kind::NullValue(0)),
            (-1e9..1e9).prop_map(Kind::NumberValue),
            ".{0,12}".prop_map(Kind::StringValue),
            any::<bool>().prop_map(Kind::BoolValue),
        ];
        let leaf = leaf.prop_map(|kind| Tree { kind: Some(kind) });
        leaf.prop_recursive(4, 40, 6, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|values| Kind::ListValue(ListValue { values }));
            let object = prop::collection::btree_map(".{0,5}", inner, 0..6)
                .prop_map(|fields| Kind::StructValue(Struct { fields }));
            prop_oneof![list, object].prop_map(|kind| Tree { kind: Some(kind) })
        })
    }

    proptest! {
        /// It is what prost writes of the tree, whose maps are in order, whatever the order in
        /// which the entries came.
        #[test]
        fn is_what_the_tree_is_written_as(fields in prop::collection::vec((".{0,5}", tree()), 0..8)) {
            let shuffled: Vec<u8> = fields
                .iter()
                .flat_map(|(key, value)| {
                    Struct { fields: BTreeMap::from([(key.clone(), value.clone())]) }.encode_to_vec()
                })
                .collect();
            let whole = Struct { fields: fields.into_iter().collect() };
            prop_assert_eq!(canonical(&shuffled).unwrap(), whole.encode_to_vec());
        }

        /// What is no `Struct` is told from what is one as prost tells them, and nothing panics.
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if canonical(&bytes).is_ok() {
                prop_assert!(Struct::decode(&*bytes).is_ok());
            }
        }
    }

    #[test]
    fn texts_are_found() {
        let tree = |kind| Tree { kind: Some(kind) };
        let fields = BTreeMap::from([
            ("id".to_owned(), tree(Kind::StringValue("x".to_owned()))),
            ("n".to_owned(), tree(Kind::NumberValue(1.0))),
        ]);
        let kept = canonical(&Struct { fields }.encode_to_vec()).unwrap();
        assert_eq!((text(&kept, "id"), text(&kept, "n"), text(&kept, "none")), (Some("x"), None, None));
    }
}
