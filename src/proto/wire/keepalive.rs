//! `KeepAliveRequest` with its ids read from the wire as what they are: most messages name one
//! or some ids and nothing else, and take no memory of their own.

use std::collections::BTreeMap;

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType},
};
use smallvec::SmallVec;

use crate::{proto, types::LeaseId};

/// How many bytes an id is.
const ID: u8 = 26;
/// An id on the wire: its field's key, its length, and itself.
const ENCODED_ID: usize = ID as usize + 2;

/// A beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepAliveRequest {
    /// The ids that are ULIDs, in order.
    pub ids: SmallVec<[LeaseId; 1]>,
    /// Whether what is named is to be released.
    pub detach: bool,
    /// What few messages have.
    pub unusual: Option<Box<Unusual>>,
}

/// What few messages have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unusual {
    /// Ids as they were written, where that is not how we write them; some are no ULIDs.
    pub texts: Vec<String>,
    /// By id, as written.
    pub lease_tokens: BTreeMap<String, String>,
}

impl KeepAliveRequest {
    fn unusual(&mut self) -> &mut Unusual {
        self.unusual.get_or_insert_default()
    }

    /// Takes an id that stands in one piece and is written as we write them.
    fn read_id(&mut self, buf: &mut impl Buf) -> bool {
        let Some((&ID, rest)) = buf.chunk().split_first() else { return false };
        let Some(id) = rest.first_chunk().and_then(LeaseId::read) else { return false };
        buf.advance(1 + usize::from(ID));
        if self.ids.len() == 1 {
            self.ids.reserve(1 + buf.remaining() / ENCODED_ID);
        }
        self.ids.push(id);
        true
    }

    fn merge_ids(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
        if !self.read_id(buf) {
            let mut text = String::new();
            encoding::string::merge(wire_type, &mut text, buf, context)?;
            self.ids.extend(LeaseId::parse(&text));
            self.unusual().texts.push(text);
        }
        Ok(())
    }
}

impl Message for KeepAliveRequest {
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let (field, merged) = match tag {
            1 => ("ids", self.merge_ids(wire_type, buf, context)),
            2 => ("detach", encoding::bool::merge(wire_type, &mut self.detach, buf, context)),
            3 => {
                let tokens = &mut self.unusual().lease_tokens;
                let text = encoding::string::merge;
                ("lease_tokens", encoding::btree_map::merge(text, text, tokens, buf, context))
            }
            _ => return encoding::skip_field(wire_type, tag, buf, context),
        };
        merged.map_err(|mut error| {
            error.push("KeepAliveRequest", field);
            error
        })
    }

    fn encode_raw(&self, buf: &mut impl BufMut) {
        proto::KeepAliveRequest::from(self.clone()).encode_raw(buf);
    }

    fn encoded_len(&self) -> usize {
        proto::KeepAliveRequest::from(self.clone()).encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// As clients write it; ids that were written in another way come last.
impl From<KeepAliveRequest> for proto::KeepAliveRequest {
    fn from(request: KeepAliveRequest) -> Self {
        let KeepAliveRequest { ids, detach, unusual } = request;
        let Unusual { texts, lease_tokens } = unusual.map(|unusual| *unusual).unwrap_or_default();
        let rewritten: Vec<LeaseId> = texts.iter().filter_map(|text| LeaseId::parse(text)).collect();
        let ids = ids.iter().filter(|id| !rewritten.contains(id)).map(ToString::to_string);
        Self { ids: ids.chain(texts).collect(), detach, lease_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOME: &str = "01K83B5V85PQZ1HTH4DQ7NC9JM";

    #[test]
    fn what_is_no_ulid_or_written_otherwise_is_kept_as_it_was() {
        let texts = [SOME, "billing", "01k83b5v85pqz1hth4dq7nc9jm", "", SOME];
        let sent = proto::KeepAliveRequest { ids: texts.map(str::to_owned).into(), ..Default::default() };
        let read = KeepAliveRequest::decode(&*sent.encode_to_vec()).unwrap();
        let id = LeaseId::parse(SOME).unwrap();
        assert_eq!(read.ids[..], [id, id, id]);
        assert_eq!(read.unusual.unwrap().texts, ["billing", "01k83b5v85pqz1hth4dq7nc9jm", ""]);
    }

    #[test]
    fn what_does_not_decode_names_its_field() {
        let check = |bytes: &[u8], field: &str| {
            let ours = KeepAliveRequest::decode(bytes).unwrap_err().to_string();
            assert_eq!(ours, proto::KeepAliveRequest::decode(bytes).unwrap_err().to_string());
            assert!(ours.contains(field), "{ours}");
        };
        check(&[0x0a, 26, b'0'], "ids");
        check(&[0x0a, 1, 0xff], "ids");
        check(&[0x08, 1], "ids");
        check(&[0x12, 1, b'1'], "detach");
        check(&[0x1a, 3, 0x0a, 5], "lease_tokens");
    }

    proptest! {
        /// Bytes mean to us what they mean to the generated type, or neither takes them.
        #[test]
        fn decodes_as_the_generated_type(
            ids in prop::collection::vec(prop_oneof![any::<u128>().prop_map(|id| LeaseId(id).to_string()), ".{0,30}"], 0..5),
            detach: bool,
            lease_tokens in prop::collection::btree_map(".{0,5}", ".{0,5}", 0..3),
            broken: Option<(prop::sample::Index, u8)>,
        ) {
            let sent = proto::KeepAliveRequest { ids, detach, lease_tokens };
            let mut bytes = sent.encode_to_vec();
            if let Some((index, byte)) = broken && !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let (ours, theirs) = (KeepAliveRequest::decode(&*bytes), proto::KeepAliveRequest::decode(&*bytes));
            match (ours, theirs) {
                (Ok(ours), Ok(mut theirs)) => {
                    let mut ours = proto::KeepAliveRequest::from(ours);
                    ours.ids.sort_unstable();
                    theirs.ids.sort_unstable();
                    prop_assert_eq!(ours, theirs);
                }
                (Err(ours), Err(theirs)) => prop_assert_eq!(ours.to_string(), theirs.to_string()),
                (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
            }
        }
    }
}
