//! The reader beside prost-reflect's, on messages and texts that nobody has thought of.

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use std::{cell::RefCell, collections::HashSet, ops::Range};

use prost_reflect::{
    DeserializeOptions, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value as Reflected,
};

use super::*;

/// Decisions made beforehand: proptest shrinks them, and what is made of them with them.
struct Choices<'a>(&'a [u32]);

impl Choices<'_> {
    /// A number below `bound`; 0 once all decisions are used up.
    fn below(&mut self, bound: u32) -> u32 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first % bound
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u32) as usize]
    }

    fn bits(&mut self) -> u64 {
        u64::from(self.below(u32::MAX)) << 32 | u64::from(self.below(u32::MAX))
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 10] =
            ["", "a", "é", "😀", "\"", "\\", "\n", "\u{0}", "@type", "0123456789abcdef"];
        (0..self.below(4)).map(|_| self.of(&PARTS)).collect()
    }
}

/// A message with some of its fields set.
fn message(name: &str, choices: &mut Choices<'_>, depth: u32) -> DynamicMessage {
    let descriptor = POOL.get_message_by_name(name).unwrap();
    let mut message = DynamicMessage::new(descriptor.clone());
    let set = |message: &mut DynamicMessage, field: &str, value| message.set_field_by_name(field, value);
    match name.strip_prefix("google.protobuf.").unwrap_or_default() {
        "Timestamp" => {
            let seconds = (choices.bits() % 315_537_897_600) as i64 - 62_135_596_800;
            set(&mut message, "seconds", Reflected::I64(seconds));
            set(&mut message, "nanos", Reflected::I32(nanos(choices)));
        }
        "Duration" => {
            let sign = choices.of(&[1, -1]);
            let seconds = choices.bits() as i64 % 315_576_000_000;
            set(&mut message, "seconds", Reflected::I64(sign * seconds.abs()));
            set(&mut message, "nanos", Reflected::I32(sign as i32 * nanos(choices)));
        }
        "FieldMask" => {
            let paths = (0..choices.below(3)).map(|_| choices.of(&["a", "foo_bar", "a.b_c", "x1"]));
            let paths = paths.map(|path| Reflected::String(path.to_owned())).collect();
            set(&mut message, "paths", Reflected::List(paths));
        }
        "Any" => {
            let (name, depth) =
                if choices.below(2) == 0 { (KINDS, depth + 1) } else { ("google.protobuf.Value", depth) };
            let content = self::message(name, choices, depth + 1);
            set(&mut message, "type_url", Reflected::String(format!("type.googleapis.com/{name}")));
            set(&mut message, "value", Reflected::Bytes(content.encode_to_vec().into()));
        }
        // prost-reflect writes infinity as null there.
        "DoubleValue" => set(&mut message, "value", Reflected::F64(choices.of(&[0.0, -1.5, 0.1]))),
        "FloatValue" => set(&mut message, "value", Reflected::F32(choices.of(&[0.0, -1.5, 0.1]))),
        "Value" => {
            // One of them has to be set.
            let kinds: Vec<FieldDescriptor> = descriptor.fields().collect();
            let bound = if depth > 4 { 4 } else { kinds.len() };
            let field = &kinds[choices.below(bound as u32) as usize];
            let value = match field.kind() {
                Kind::Double => Reflected::F64(f64::from(choices.below(1000)) / 8.0),
                kind => value(&kind, choices, depth),
            };
            message.set_field(field, value);
        }
        _ => {
            let of_so_many = if name == KINDS { 12 } else { 2 };
            // Those whose names are each other's cannot be written for everybody to read.
            for field in descriptor.fields().filter(|field| !["this", "that"].contains(&field.name())) {
                if choices.below(of_so_many) != 1 || (depth > 4 && field.kind().as_message().is_some()) {
                    continue;
                }
                let value = field_value(&field, choices, depth);
                message.set_field(&field, value);
            }
        }
    }
    message
}

fn nanos(choices: &mut Choices<'_>) -> i32 {
    choices.of(&[0, 1, 999_999_999, 500_000_000, 120_000])
}

fn field_value(field: &FieldDescriptor, choices: &mut Choices<'_>, depth: u32) -> Reflected {
    let kind = field.kind();
    if let (true, Kind::Message(entry)) = (field.is_map(), &kind) {
        let entries = (0..choices.below(4)).map(|_| {
            let key = match value(&entry.map_entry_key_field().kind(), choices, depth) {
                Reflected::Bool(key) => MapKey::Bool(key),
                Reflected::I32(key) => MapKey::I32(key),
                Reflected::I64(key) => MapKey::I64(key),
                Reflected::U32(key) => MapKey::U32(key),
                Reflected::U64(key) => MapKey::U64(key),
                key => MapKey::String(key.as_str().unwrap_or_default().to_owned()),
            };
            (key, value(&entry.map_entry_value_field().kind(), choices, depth))
        });
        return Reflected::Map(entries.collect());
    }
    if field.is_list() {
        return Reflected::List((0..choices.below(4)).map(|_| value(&kind, choices, depth)).collect());
    }
    value(&kind, choices, depth)
}

fn value(kind: &Kind, choices: &mut Choices<'_>, depth: u32) -> Reflected {
    match kind {
        Kind::Double => Reflected::F64(choices.of(&[0.0, -1.5, 0.1, 1e10, f64::INFINITY])),
        Kind::Float => Reflected::F32(choices.of(&[0.0, -1.5, 0.1, f32::MAX, f32::NEG_INFINITY, 1e-45])),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Reflected::I32(choices.of(&[0, 1, -1, i32::MIN, i32::MAX]))
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Reflected::I64(choices.of(&[0, -1, 1 << 53, i64::MIN, i64::MAX]))
        }
        Kind::Uint32 | Kind::Fixed32 => Reflected::U32(choices.of(&[0, 1, 127, 128, u32::MAX])),
        Kind::Uint64 | Kind::Fixed64 => Reflected::U64(choices.of(&[0, 1, 300, 1 << 63, u64::MAX])),
        Kind::Bool => Reflected::Bool(choices.below(2) == 1),
        Kind::String => Reflected::String(choices.text()),
        Kind::Bytes => Reflected::Bytes(choices.text().into_bytes().into()),
        Kind::Enum(descriptor) if descriptor.full_name() == "google.protobuf.NullValue" => {
            Reflected::EnumNumber(0)
        }
        Kind::Enum(_) => Reflected::EnumNumber(choices.of(&[0, 1, 2, -1, 77])),
        Kind::Message(descriptor) => Reflected::Message(message(descriptor.full_name(), choices, depth + 1)),
    }
}

/// Whether two messages are the same but for zeros that may as well be unset, there and in
/// an `Any`.
fn are_equal(one: &DynamicMessage, other: &DynamicMessage) -> bool {
    let again = |message: &DynamicMessage| {
        DynamicMessage::decode(message.descriptor(), message.encode_to_vec().as_slice()).unwrap()
    };
    let json = |message| serde_json::to_value(message).ok();
    again(one) == again(other) || json(one).is_some_and(|one| Some(one) == json(other))
}

fn choices(most: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>(), 0..most)
}

/// A text with some of its bytes or values changed.
fn mutated(text: &str, choices: &mut Choices<'_>) -> Vec<u8> {
    const TOKENS: [&[u8]; 18] = [
        b"{", b"}", b"[", b"]", b",", b":", b"\"", b"\\", b"-", b"1", b".", b"e9", b" ", b"\xff", b"\\u00e9",
        b"{}", b"\n", b"\0",
    ];
    const VALUES: [&[u8]; 18] = [
        b"null",
        b"0",
        b"1.0",
        b"1e-999999999",
        b"1e400",
        b"\"1e2\"",
        b"\"+1\"",
        b"\"\"",
        b"\"NOPE\"",
        b"\"a b\"",
        b"\"2026-01-02T3:04:05Z\"",
        b"\"2026-01-02T03:04:05.1234567891Z\"",
        b"\"1.s\"",
        b"\"AA=\"",
        b"\"\\ud800\"",
        b"\"\xff\"",
        b"\"@type\"",
        b"\"kinds.v1.Kinds\"",
    ];
    let mut text = text.as_bytes().to_vec();
    for _ in 0..=choices.below(4) {
        let scalars = scalars(&text);
        let scalar = scalars.get(choices.below(scalars.len() as u32 + 1) as usize).cloned().unwrap_or(0..0);
        let other = scalars.get(choices.below(scalars.len() as u32 + 1) as usize).cloned().unwrap_or(0..0);
        let at = choices.below(text.len() as u32 + 1) as usize;
        let until = (at + choices.below(6) as usize).min(text.len());
        match choices.below(8) {
            0 => drop(text.drain(at..until)),
            1 => drop(text.splice(at..until, choices.of(&TOKENS).iter().copied())),
            2 => drop(text.splice(at..at, choices.of(&TOKENS).iter().copied())),
            3..6 => drop(text.splice(scalar, choices.of(&VALUES).iter().copied())),
            _ => {
                let other = text[other].to_vec();
                text.splice(scalar, other);
            }
        }
    }
    text
}

/// Where keys and values lie that are neither objects nor lists.
fn scalars(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let rest = text[at + 1..].iter();
        let mut is_escaped = false;
        let length = match byte {
            b'"' => {
                2 + rest
                    .take_while(|byte| {
                        is_escaped = **byte == b'\\' && !is_escaped;
                        **byte != b'"' || is_escaped
                    })
                    .count()
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' => 1 + rest.take_while(|byte| !b",]}".contains(byte)).count(),
            _ => 0,
        };
        if length > 0 {
            found.push(at..(at + length).min(text.len()));
        }
        at += length.max(1);
    }
    found
}

/// The JSON that prost-reflect writes of a message, with the keys of maps in order.
fn written(message: &DynamicMessage, proto_names: bool) -> String {
    let options = SerializeOptions::new().use_proto_field_name(proto_names);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap().to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_prost_reflect_writes_is_read(decisions in choices(400), proto_names: bool) {
        for name in [KINDS, "leasehold.v1.BatchRegisterRequest", "leasehold.v1.WatchResponse"] {
            let message = message(name, &mut Choices(&decisions), 0);
            let text = written(&message, proto_names);
            let read = STRICT_BUT_INEXACT.read(STRICT_BUT_INEXACT.find(name).unwrap(), text.as_bytes());
            let read = read.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            // Not with prop_assert_eq!, which writes down what differs: it never ends here.
            prop_assert!(are_equal(&decoded(name, &read), &message), "{text}");
        }
    }

    #[test]
    fn any_text_is_answered(text in r#"[-{}\[\]:,"a0-9.eE\\u ns]{0,40}"#) {
        answered(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_answered(text: Vec<u8>) {
        answered(&text);
    }

    #[test]
    fn any_change_of_a_text_is_answered(decisions in choices(400), changes in choices(12)) {
        let message = message(KINDS, &mut Choices(&decisions), 0);
        answered(&mutated(&written(&message, true), &mut Choices(&changes)));
    }

    #[test]
    fn any_time_is_answered(text in r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.,Zz+-]{0,24}|[-+0-9.sµé]{0,24}") {
        for name in ["Timestamp", "Duration"] {
            let id = LENIENT.find(&format!("google.protobuf.{name}")).unwrap();
            let _ = LENIENT.read(id, format!("\"{text}\"").as_bytes());
        }
    }
}

static STRICT_BUT_INEXACT: LazyLock<Json> =
    LazyLock::new(|| Json::new(&POOL, JsonOptions { discard_unknown: false, ..JsonOptions::default() }));

/// Reads a text in every way there is. What is read has to be an encoded message.
fn answered(text: &[u8]) {
    for json in [&*LENIENT, &*STRICT] {
        for name in [KINDS, "google.protobuf.Value", "google.protobuf.Any", "google.protobuf.FieldMask"] {
            let id = json.find(name).unwrap();
            for read in [json.read(id, text), json.read_value(id, text)].into_iter().flatten() {
                decoded(name, &read);
            }
        }
        let kinds = json.find(KINDS).unwrap();
        for place in 0..json.schema.message(kinds).fields.len() {
            if let Ok(read) = json.read_field(kinds, place, text) {
                decoded(KINDS, &read);
            }
        }
    }
}

/// Where prost-reflect takes what we refuse, this is what we say of it.
const WE_ARE_STRICTER: [&str; 8] = [
    // It does not look at what it skips.
    "half of a surrogate pair",
    "not valid UTF-8",
    "comes twice",
    // Its numbers in strings are Rust's; numbers in exponents may underflow to whole ones.
    "is not a whole number",
    "is not a number",
    // Any text is a path.
    "is not a path in lower camel case",
    // More than nine digits of a second are cut.
    "is not a time such as",
    // Padding is as one likes.
    "is not base64",
];

/// Where we take what prost-reflect refuses, this is what it says of it.
const WE_ARE_LAXER: [&str; 7] = [
    // An Any without a type.
    "expected '@type' field",
    // Go's spellings of times.
    "failed to parse duration",
    "invalid rfc3339 timestamp",
    // Numbers in strings, with an exponent.
    "invalid digit found in string",
    // The largest float, as it is written.
    "float value out of range",
    // Numbers for enums.
    "expected null",
    "expected a string or integer",
];

/// The same texts each time: a new difference is no reason to fail for somebody else's
/// change.
#[test]
fn differences_from_prost_reflect_are_known() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::with_cases(5000), rng);
    let met = RefCell::new(HashSet::<&str>::new());
    let is_known = |list: &[&'static str], message: &str| {
        let known = list.iter().find(|known| message.contains(*known));
        met.borrow_mut().extend(known);
        known.is_some()
    };
    let outcome = runner.run(&(choices(160), choices(24)), |(decisions, changes)| {
        let message = message(KINDS, &mut Choices(&decisions), 0);
        let text = mutated(&written(&message, true), &mut Choices(&changes));
        let ours = LENIENT.read_value(LENIENT.find(KINDS).unwrap(), &text);
        let mut deserializer = serde_json::Deserializer::from_slice(&text);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let theirs =
            DynamicMessage::deserialize_with_options(message.descriptor(), &mut deserializer, &options)
                .and_then(|message| deserializer.end().map(|()| message));
        let text = String::from_utf8_lossy(&text);
        match (ours, theirs) {
            (Err(_), Err(_)) => {}
            (Ok(ours), Ok(theirs)) => {
                prop_assert!(are_equal(&decoded(KINDS, &ours), &theirs), "differs: {text}");
            }
            (Err(ours), Ok(_)) => {
                prop_assert!(is_known(&WE_ARE_STRICTER, &ours.message), "{ours}: {text}");
            }
            (Ok(_), Err(theirs)) => {
                let theirs = theirs.to_string();
                prop_assert!(is_known(&WE_ARE_LAXER, &theirs), "{theirs}: {text}");
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    for known in WE_ARE_STRICTER.iter().chain(&WE_ARE_LAXER) {
        if !met.borrow().contains(known) {
            eprintln!("UNMET {known}");
        }
    }
}
