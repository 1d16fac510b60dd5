//! Other encodings of the same message.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::gateway::{
    json::write::scalar::next_packed,
    schema,
    wire::{Encoder, Fields, Value},
};

/// Encodes a message as nobody does but anybody may: fields in any order, lists packed
/// and not, messages in parts, with what is overwritten later, and with unknown fields.
pub(super) fn reencoded(descriptor: &MessageDescriptor, encoded: &[u8], dice: &mut Dice) -> Vec<u8> {
    // Each piece with what it must stay in order with: its field, or the field's oneof.
    let mut pieces: Vec<(String, Vec<u8>)> = Vec::new();
    let mut fields = Fields::new(encoded);
    while let Some(found) = fields.next_field().unwrap() {
        let field = descriptor.get_field(found.number).unwrap();
        let group = match field.containing_oneof() {
            Some(oneof) => oneof.full_name().to_owned(),
            None => field.name().to_owned(),
        };
        if field.containing_oneof().is_some() && dice.happens(3) {
            let siblings: Vec<_> = field.containing_oneof().unwrap().fields().collect();
            pieces.push((group.clone(), superseded(&siblings[dice.below(siblings.len())], dice)));
        } else if !field.is_list()
            && !field.is_map()
            && field.kind().as_message().is_none()
            && dice.happens(3)
        {
            pieces.push((group.clone(), superseded(&field, dice)));
        }
        for piece in occurrences(&field, found.value, dice) {
            pieces.push((group.clone(), piece));
        }
    }
    for _ in 0..dice.below(3) {
        pieces.push(("unknown".to_owned(), unknown(descriptor, dice)));
    }
    shuffle(&mut pieces, dice);
    pieces.into_iter().flat_map(|(_, piece)| piece).collect()
}

/// What may stand for one occurrence.
fn occurrences(field: &FieldDescriptor, value: Value<'_>, dice: &mut Dice) -> Vec<Vec<u8>> {
    let number = field.number();
    match (field.kind(), value) {
        (Kind::Message(entry), Value::Bytes(encoded)) if field.is_map() => {
            vec![one(number, &Value::Bytes(&reencoded(&entry, encoded, dice)))]
        }
        (Kind::Message(inner), Value::Bytes(encoded)) => {
            // An Any's bytes are compared nowhere, but whoever packed them chose them.
            let encoded = reencoded(&inner, encoded, dice);
            if field.is_list() || dice.happens(2) {
                return vec![one(number, &Value::Bytes(&encoded))];
            }
            let cut = cut(&encoded, dice);
            let (head, tail) = encoded.split_at(cut);
            vec![one(number, &Value::Bytes(head)), one(number, &Value::Bytes(tail))]
        }
        (kind, Value::Bytes(packed)) if field.is_list() && !matches!(kind, Kind::String | Kind::Bytes) => {
            let kind = scalar(&kind);
            let mut values = Vec::new();
            let mut packed = Fields::new(packed);
            while let Some(value) = next_packed(kind, &mut packed).unwrap() {
                values.push(value);
            }
            in_runs(number, &values, dice)
        }
        (kind, value) if field.is_list() && !matches!(kind, Kind::String | Kind::Bytes) => {
            in_runs(number, &[value], dice)
        }
        (_, value) => vec![one(number, &value)],
    }
}

/// The kinds that differ in what their values are packed in.
fn scalar(kind: &Kind) -> schema::Kind {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => schema::Kind::Fixed64,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => schema::Kind::Fixed32,
        _ => schema::Kind::Uint64,
    }
}

/// Some packed, some by themselves, here and there a packed run of none.
fn in_runs(number: u32, mut values: &[Value<'_>], dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let [first, rest @ ..] = values {
        if dice.happens(2) {
            pieces.push(one(number, first));
            values = rest;
        } else {
            let (run, rest) = values.split_at(dice.below(values.len() + 1));
            let mut packed = Encoder::new();
            for value in run {
                let tagged = one(1, value);
                packed.encoded(&tagged[1..]);
            }
            pieces.push(one(number, &Value::Bytes(&packed.finish())));
            values = rest;
        }
    }
    pieces
}

/// A place between two fields.
fn cut(encoded: &[u8], dice: &mut Dice) -> usize {
    let mut fields = Fields::new(encoded);
    let mut places = vec![0];
    while fields.next_field().unwrap().is_some() {
        places.push(encoded.len() - fields.rest().len());
    }
    places[dice.below(places.len())]
}

/// An occurrence that a later one makes void.
fn superseded(field: &FieldDescriptor, dice: &mut Dice) -> Vec<u8> {
    let value = match field.kind() {
        Kind::Message(_) => Value::Bytes(&[]),
        Kind::String | Kind::Bytes => Value::Bytes(b"void"),
        kind => match scalar(&kind) {
            schema::Kind::Fixed64 => Value::Fixed64(dice.next()),
            schema::Kind::Fixed32 => Value::Fixed32(dice.next() as u32),
            _ => Value::Varint(dice.next()),
        },
    };
    one(field.number(), &value)
}

/// A field of an unknown number, or of a known one in a wire type that is not its own.
fn unknown(descriptor: &MessageDescriptor, dice: &mut Dice) -> Vec<u8> {
    let fields: Vec<_> = descriptor.fields().collect();
    if fields.is_empty() || dice.happens(2) {
        return one(100_000, &Value::Bytes(b"unknown"));
    }
    let field = &fields[dice.below(fields.len())];
    let value = match field.kind() {
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Value::Fixed64(1),
        _ => Value::Fixed32(1),
    };
    one(field.number(), &value)
}

fn one(number: u32, value: &Value<'_>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    match value {
        Value::Varint(value) => encoder.varint(number, *value),
        Value::Fixed64(value) => encoder.fixed64(number, *value),
        Value::Fixed32(value) => encoder.fixed32(number, *value),
        Value::Bytes(bytes) => encoder.bytes(number, bytes),
        Value::Group => panic!("no groups here"),
    }
    encoder.finish()
}

/// Any order that leaves the pieces of each group in theirs.
fn shuffle(pieces: &mut Vec<(String, Vec<u8>)>, dice: &mut Dice) {
    let mut places: Vec<usize> = (0..pieces.len()).collect();
    for at in (1..places.len()).rev() {
        places.swap(at, dice.below(at + 1));
    }
    // The places that a group has drawn, in order, are its pieces'.
    let mut drawn: Vec<(usize, usize)> = Vec::new();
    let groups: Vec<String> = pieces.iter().map(|(group, _)| group.clone()).collect();
    for group in groups.iter().collect::<std::collections::BTreeSet<_>>() {
        let members: Vec<usize> = (0..groups.len()).filter(|at| groups[*at] == *group).collect();
        let mut taken: Vec<usize> = members.iter().map(|at| places[*at]).collect();
        taken.sort_unstable();
        drawn.extend(taken.into_iter().zip(members));
    }
    drawn.sort_unstable();
    *pieces = drawn.into_iter().map(|(_, member)| pieces[member].clone()).collect();
}

/// Numbers that look random. Source: Sebastiano Vigna, "splitmix64".
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Once in so many times.
    fn happens(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
