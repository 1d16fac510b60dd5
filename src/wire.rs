//! The protobuf wire format: [`Fields`] takes an encoded message apart without copying,
//! [`Encoder`] puts one together front to back. Source: protobuf.dev, "Encoding".

/// One field of an encoded message, as it lies there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
}

/// What a field holds, as far as the encoding says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A string, bytes, a message, or packed scalars.
    Bytes(&'a [u8]),
    /// A group, which only proto2 has: its content, unread.
    Group,
}

/// The bytes are no encoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// How deep groups may nest.
const MAX_GROUPS: usize = 100;

/// Walks over the fields of an encoded message, in the order they lie there.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field; none at the end.
    #[inline]
    pub(crate) fn next_field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        // What most fields are: of a low number, and short.
        if let [tag @ 0x08..0x80, second @ 0..0x80, rest @ ..] = self.rest {
            let number = u32::from(tag >> 3);
            match (tag & 7, rest.split_at_checked(usize::from(*second))) {
                (0, _) => {
                    self.rest = rest;
                    return Ok(Some(Field { number, value: Value::Varint(u64::from(*second)) }));
                }
                (2, Some((bytes, rest))) => {
                    self.rest = rest;
                    return Ok(Some(Field { number, value: Value::Bytes(bytes) }));
                }
                _ => {}
            }
        }
        self.any_field()
    }

    fn any_field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        if number == 0 || number > MAX_NUMBER {
            return Err(Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.bytes()?),
            3 => {
                self.skip_group(number)?;
                Value::Group
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed),
        };
        Ok(Some(Field { number, value }))
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// A varint, as packed scalars hold them.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        if let Some((first, rest)) = self.rest.split_first()
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        let mut value = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                if at == 9 && *byte > 1 {
                    return Err(Malformed);
                }
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// Fixed-size little-endian bytes, as packed scalars hold them.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Past the end of the group that has just begun. Groups nest.
    fn skip_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(innermost) = open.last() {
            let tag = self.varint()?;
            let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.array::<8>()?),
                2 => drop(self.bytes()?),
                3 if open.len() < MAX_GROUPS => open.push(number),
                4 if number == *innermost => drop(open.pop()),
                5 => drop(self.array::<4>()?),
                _ => return Err(Malformed),
            }
        }
        Ok(())
    }
}

/// The largest field number there is.
const MAX_NUMBER: u32 = (1 << 29) - 1;

/// Puts an encoded message together. A nested message's length stands before it but is
/// known only behind it: its place is noted, and [`Encoder::finish`] fills all of them in
/// at once, so that the cost does not grow with the depth.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
    gaps: Vec<Gap>,
    /// How many bytes the lengths of all closed messages take up.
    lengths: usize,
}

/// Where a length is missing.
#[derive(Debug)]
struct Gap {
    at: usize,
    /// [`Encoder::lengths`] when the message was opened; once it is closed, its length.
    length: usize,
}

/// A nested message that is open.
#[derive(Debug)]
#[must_use]
pub(crate) struct Open(usize);

impl Encoder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With room for `bytes`.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Starts a message in field `number` of the one that is open.
    pub(crate) fn open(&mut self, number: u32) -> Open {
        self.tag(number, 2);
        self.gaps.push(Gap { at: self.bytes.len(), length: self.lengths });
        Open(self.gaps.len() - 1)
    }

    /// Ends the message that was opened last.
    #[expect(clippy::needless_pass_by_value, reason = "a message is closed once")]
    pub(crate) fn close(&mut self, open: Open) {
        let gap = &mut self.gaps[open.0];
        gap.length = self.bytes.len() - gap.at + self.lengths - gap.length;
        self.lengths += varint_size(gap.length as u64);
    }

    pub(crate) fn varint(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        push_varint(&mut self.bytes, value);
    }

    pub(crate) fn fixed32(&mut self, number: u32, value: u32) {
        self.tag(number, 5);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn fixed64(&mut self, number: u32, value: u64) {
        self.tag(number, 1);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A string, bytes, or an encoded message.
    pub(crate) fn bytes(&mut self, number: u32, value: &[u8]) {
        self.head(number, value.len());
        self.bytes.extend_from_slice(value);
    }

    /// Starts a message of known length in field `number`. It ends by itself.
    pub(crate) fn head(&mut self, number: u32, length: usize) {
        self.tag(number, 2);
        push_varint(&mut self.bytes, length as u64);
    }

    /// A varint without a tag, as packed scalars are.
    pub(crate) fn bare_varint(&mut self, value: u64) {
        push_varint(&mut self.bytes, value);
    }

    /// Four bytes without a tag, as packed scalars are.
    pub(crate) fn bare_fixed32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes without a tag, as packed scalars are.
    pub(crate) fn bare_fixed64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Fields that are encoded already.
    pub(crate) fn encoded(&mut self, fields: &[u8]) {
        self.bytes.extend_from_slice(fields);
    }

    /// The encoded message.
    pub(crate) fn finish(self) -> Vec<u8> {
        if self.gaps.is_empty() {
            return self.bytes;
        }
        let mut whole = Vec::with_capacity(self.bytes.len() + self.lengths);
        let mut done = 0;
        for gap in &self.gaps {
            whole.extend_from_slice(&self.bytes[done..gap.at]);
            push_varint(&mut whole, gap.length as u64);
            done = gap.at;
        }
        whole.extend_from_slice(&self.bytes[done..]);
        whole
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        push_varint(&mut self.bytes, u64::from(number << 3 | wire_type));
    }
}

/// `sint32` and `sint64` put the sign into the lowest bit.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The number that [`zigzag`] was given.
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub(crate) fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// How many bytes a varint takes up.
pub(crate) fn varint_size(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_filled_in() {
        let mut encoder = Encoder::new();
        encoder.varint(1, 300);
        let outer = encoder.open(2);
        let inner = encoder.open(3);
        encoder.bytes(4, &[7; 200]);
        encoder.close(inner);
        let empty = encoder.open(5);
        encoder.close(empty);
        encoder.close(outer);
        encoder.fixed32(6, 1);
        let whole = encoder.finish();

        let mut fields = Fields::new(&whole);
        let mut next = || fields.next_field().unwrap();
        assert_eq!(next(), Some(Field { number: 1, value: Value::Varint(300) }));
        let Some(Field { number: 2, value: Value::Bytes(outer) }) = next() else { panic!() };
        assert_eq!(next(), Some(Field { number: 6, value: Value::Fixed32(1) }));
        assert_eq!(next(), None);
        let mut fields = Fields::new(outer);
        let Some(Field { number: 3, value: Value::Bytes(inner) }) = fields.next_field().unwrap() else {
            panic!()
        };
        assert_eq!(fields.next_field().unwrap(), Some(Field { number: 5, value: Value::Bytes(&[]) }));
        assert!(fields.is_done());
        let mut fields = Fields::new(inner);
        assert_eq!(fields.next_field().unwrap(), Some(Field { number: 4, value: Value::Bytes(&[7; 200]) }));
    }

    #[test]
    fn groups_are_passed_over() {
        let bytes = [0x0b, 0x10, 0x01, 0x1b, 0x1c, 0x0c, 0x28, 0x05];
        let mut fields = Fields::new(&bytes);
        assert_eq!(fields.next_field(), Ok(Some(Field { number: 1, value: Value::Group })));
        assert_eq!(fields.next_field(), Ok(Some(Field { number: 5, value: Value::Varint(5) })));
        for bad in [&[0x0b, 0x14][..], &[0x0b], &[0x0c], &[0x07], &[0x00], &[0x08], &[0x0a, 0x02, 0x00]] {
            assert_eq!(Fields::new(bad).next_field(), Err(Malformed), "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn varints(value: u64) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_size(value));
            prop_assert_eq!(Fields::new(&bytes).varint(), Ok(value));
            prop_assert_eq!(unzigzag(zigzag(value as i64)), value as i64);
        }

        #[test]
        fn the_short_way_is_no_other(bytes in prop::collection::vec(prop_oneof![0..32_u8, any::<u8>()], 0..32)) {
            let mut fields = Fields::new(&bytes);
            let mut careful = fields.clone();
            loop {
                let found = fields.next_field();
                prop_assert_eq!(found, careful.any_field());
                if !matches!(found, Ok(Some(_))) {
                    break;
                }
            }
        }

        #[test]
        fn any_bytes_are_taken_apart(bytes: Vec<u8>) {
            let mut fields = Fields::new(&bytes);
            while let Ok(Some(_)) = fields.next_field() {}
        }
    }
}
