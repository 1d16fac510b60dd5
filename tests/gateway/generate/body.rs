//! Bodies: a message as JSON, in one of its many spellings; now and then with a value of
//! the wrong kind, or with bytes changed.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{Rng, values};

/// How deep messages are filled.
const DEPTH: usize = 4;

/// The body of a rule with `body: "*"`.
pub fn of_message(rng: &mut Rng, message: &MessageDescriptor) -> Vec<u8> {
    let text = self::message(rng, message, DEPTH);
    finished(rng, text)
}

/// The body of a rule with `body: "field"`.
pub fn of_field(rng: &mut Rng, field: &FieldDescriptor) -> Vec<u8> {
    let text = self::field(rng, field, DEPTH);
    finished(rng, text)
}

fn finished(rng: &mut Rng, text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    match rng.below(100) {
        0..84 => {}
        84 => bytes.clear(),
        85 => bytes = b" \t\r\n".to_vec(),
        86 => bytes.splice(..0, *b"\xef\xbb\xbf").for_each(drop),
        87..91 => bytes.extend_from_slice(rng.pick(&TAILS).as_bytes()),
        91 => bytes = any(rng, 2).into_bytes(),
        _ => mutate(rng, &mut bytes),
    }
    bytes
}

const TAILS: [&str; 10] = [" ", "\n", "{}", "xyz", "}", "]", ",", "\0", " {\"url\":\"b\"}", "\u{e9}"];

/// Changes a byte or a few.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len());
    match rng.below(6) {
        0 => bytes.truncate(at),
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, rng.pick(b"{}[]\",:0-9eE+.tfn \\/\xff\xc3\x00\x1f")),
        3 => bytes[at] = rng.pick(b"{}[]\",:0-9eE+.tfn \\/\xff\xc3\x00\x1f"),
        4 => bytes[at] ^= 1 << rng.below(8),
        _ => {
            let end = (at + rng.below(12)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece).for_each(drop);
        }
    }
}

/// A message's JSON.
fn message(rng: &mut Rng, descriptor: &MessageDescriptor, depth: usize) -> String {
    let odd = rng.chance(1, 8);
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => table(rng, if odd { &values::TIMES_ODD } else { &values::TIMES }),
        "google.protobuf.Duration" => {
            table(rng, if odd { &values::DURATIONS_ODD } else { &values::DURATIONS })
        }
        "google.protobuf.FieldMask" => table(rng, &values::MASKS),
        "google.protobuf.Struct" => any_object(rng, 3),
        "google.protobuf.Value" => any(rng, 3),
        "google.protobuf.ListValue" => any_list(rng, 3),
        "google.protobuf.Any" => any_message(rng, descriptor, depth),
        _ if values::is_wrapper(descriptor) => {
            let wrapped = descriptor.get_field_by_name("value").expect("a wrapper");
            value(rng, &wrapped.kind(), depth)
        }
        _ => {
            let mut members = Vec::new();
            if depth > 0 {
                fields(rng, descriptor, depth, &mut members);
            }
            object(rng, members)
        }
    }
}

fn fields(rng: &mut Rng, descriptor: &MessageDescriptor, depth: usize, members: &mut Vec<(String, String)>) {
    let all: Vec<FieldDescriptor> = descriptor.fields().collect();
    if all.is_empty() {
        return;
    }
    for _ in 0..rng.below(all.len().min(6) + 1) {
        let chosen = &all[rng.below(all.len())];
        // A second one of a name is an error; a few are enough.
        let twice = members.iter().any(|(name, _)| name == chosen.name() || name == chosen.json_name());
        if twice && !rng.chance(1, 20) {
            continue;
        }
        let name = if rng.chance(2, 5) { chosen.json_name() } else { chosen.name() };
        let value = match rng.below(50) {
            0..2 => "null".to_owned(),
            2 => any(rng, 1),
            _ => field(rng, chosen, depth.saturating_sub(1)),
        };
        members.push((name.to_owned(), value));
    }
    if rng.chance(1, 12) {
        let name = rng.pick(&["zzz", "", "Url", "URL", "ttl-seconds", "@type", "[a.b]", "1", "é"]);
        members.push((name.to_owned(), any(rng, 2)));
    }
}

fn field(rng: &mut Rng, field: &FieldDescriptor, depth: usize) -> String {
    if field.is_map()
        && let Kind::Message(entry) = field.kind()
    {
        let (of_key, of_value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let mut members = Vec::new();
        for number in 0..rng.below(4) {
            let mut key = values::text(rng, &of_key);
            if number > 0 && matches!(of_key, Kind::String) && !rng.chance(1, 20) {
                key = format!("{key}{number}");
            }
            let value = if rng.chance(1, 40) { "null".to_owned() } else { value(rng, &of_value, depth) };
            members.push((key, value));
        }
        return object(rng, members);
    }
    if field.is_list() {
        let items = (0..rng.below(4))
            .map(|_| if rng.chance(1, 40) { "null".to_owned() } else { value(rng, &field.kind(), depth) });
        return list(items.collect::<Vec<_>>().as_slice());
    }
    value(rng, &field.kind(), depth)
}

fn value(rng: &mut Rng, kind: &Kind, depth: usize) -> String {
    let odd = rng.chance(1, 8);
    match kind {
        Kind::Message(descriptor) => message(rng, descriptor, depth),
        Kind::String => string(rng),
        Kind::Bool if odd => rng.pick(&["1", "0", "\"true\"", "\"\"", "True", "{}"]).to_owned(),
        Kind::Bool => rng.pick(&["true", "false"]).to_owned(),
        Kind::Bytes => table(rng, &values::BASE64),
        Kind::Enum(descriptor) => {
            let all: Vec<_> = descriptor.values().collect();
            let value = rng.pick(&all);
            match rng.below(4) {
                0 => value.number().to_string(),
                1 if odd => table(rng, &values::ENUMS_ODD),
                2 if odd => rng.pick(&NUMBERS).to_owned(),
                _ => quoted(rng, value.name()),
            }
        }
        Kind::Double | Kind::Float => match rng.below(6) {
            0 => values::any_float(rng),
            1 => rng
                .pick(&["\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "\"nan\"", "\"inf\"", "NaN"])
                .to_owned(),
            2 => format!("\"{}\"", values::any_float(rng)),
            _ => rng.pick(&NUMBERS).to_owned(),
        },
        _ => {
            let number = match rng.below(4) {
                0 => rng.pick(&NUMBERS),
                1 if odd => rng.pick(&values::INTS_ODD),
                2 => rng.pick(&values::INTS_64),
                _ => rng.pick(&values::INTS_32),
            };
            // Only as a string is everything JSON.
            let number_like = serde_json::from_str::<f64>(number).is_ok();
            if rng.chance(1, 2) || !number_like { format!("\"{number}\"") } else { number.to_owned() }
        }
    }
}

/// Numbers as JSON may write them; the last ones are none.
const NUMBERS: [&str; 40] = [
    "0",
    "1",
    "-1",
    "-0",
    "2",
    "30",
    "0.0",
    "-0.0",
    "1.0",
    "30.0",
    "1e2",
    "1E2",
    "1e+2",
    "3e1",
    "1.5e1",
    "10e-1",
    "100e-2",
    "1e0",
    "0e999999999999",
    "1e-1",
    "1.5",
    "0.1",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e18",
    "1e19",
    "1e20",
    "12345678901234567890",
    "1e21",
    "1e308",
    "1e309",
    "-1e400",
    "1e-400",
    "01",
    "+1",
];

fn string(rng: &mut Rng) -> String {
    match rng.below(40) {
        0 => rng.pick(&BAD_STRINGS).to_owned(),
        1 => rng.pick(&["5", "true", "{}", "[]", "1.5"]).to_owned(),
        _ => {
            let text = rng.pick(&values::STRINGS);
            quoted(rng, text)
        }
    }
}

const BAD_STRINGS: [&str; 12] = [
    r#""\ud800""#,
    r#""\udc00""#,
    r#""\ud800a""#,
    r#""\ud800\u0041""#,
    r#""\ud83d\ud83d\ude00""#,
    r#""\x""#,
    r#""\u12""#,
    r#""\U0001F600""#,
    "\"\n\"",
    "\"\t\"",
    "'a'",
    r#""a"#,
];

/// One of `texts` as a string, or rarely something else.
fn table(rng: &mut Rng, texts: &[&str]) -> String {
    if rng.chance(1, 40) {
        return rng.pick(&["5", "true", "{}", "[]", "null"]).to_owned();
    }
    let text = rng.pick(texts);
    quoted(rng, text)
}

/// A JSON string; now and then with escapes that need not be.
fn quoted(rng: &mut Rng, text: &str) -> String {
    if !rng.chance(1, 8) {
        return serde_json::Value::from(text).to_string();
    }
    let units: Vec<String> = text
        .encode_utf16()
        .map(|unit| match char::from_u32(u32::from(unit)) {
            Some('/') => "\\/".to_owned(),
            Some(c) if c.is_ascii_alphanumeric() && rng.chance(1, 2) => c.to_string(),
            _ if rng.chance(1, 2) => format!("\\u{unit:04x}"),
            _ => format!("\\u{unit:04X}"),
        })
        .collect();
    format!("\"{}\"", units.concat())
}

fn object(rng: &mut Rng, members: Vec<(String, String)>) -> String {
    let mut out = String::from("{");
    for (at, (name, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        blank(rng, &mut out);
        out.push_str(&quoted(rng, &name));
        blank(rng, &mut out);
        out.push(':');
        blank(rng, &mut out);
        out.push_str(&value);
        blank(rng, &mut out);
    }
    out.push('}');
    out
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

fn blank(rng: &mut Rng, out: &mut String) {
    if rng.chance(1, 10) {
        out.push_str(rng.pick(&[" ", "\n", "\t", "\r\n", "  "]));
    }
}

/// Any JSON.
pub fn any(rng: &mut Rng, depth: usize) -> String {
    match rng.below(if depth == 0 { 6 } else { 8 }) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => "false".to_owned(),
        3 => rng.pick(&NUMBERS[..38]).to_owned(),
        4 => values::any_float(rng),
        5 => string(rng),
        6 => any_list(rng, depth - 1),
        _ => any_object(rng, depth - 1),
    }
}

/// Any object.
pub fn any_object(rng: &mut Rng, depth: usize) -> String {
    let mut members = Vec::new();
    for number in 0..rng.below(4) {
        let mut name = rng.pick(&["a", "b", "A", "x_y", "xY", "", "é", "@type", "fields"]).to_owned();
        if members.iter().any(|(taken, _)| *taken == name) && !rng.chance(1, 30) {
            name = format!("{name}{number}");
        }
        members.push((name, any(rng, depth)));
    }
    object(rng, members)
}

fn any_list(rng: &mut Rng, depth: usize) -> String {
    let items: Vec<String> = (0..rng.below(4)).map(|_| any(rng, depth)).collect();
    list(&items)
}

/// A `google.protobuf.Any` of one of the types that both sides know.
fn any_message(rng: &mut Rng, descriptor: &MessageDescriptor, depth: usize) -> String {
    let types: Vec<MessageDescriptor> = descriptor
        .parent_pool()
        .all_messages()
        .filter(|known| !known.is_map_entry())
        .filter(|known| {
            let package = known.package_name();
            package == "registry.v1"
                || (package == "google.protobuf" && values::has_text(known) && is_value(known))
        })
        .collect();
    if types.is_empty() || depth == 0 {
        return "{}".to_owned();
    }
    let chosen = rng.pick(&types);
    let prefix = rng.pick(&["type.googleapis.com/", "", "/", "a.b/c/"]);
    let mut members = vec![("@type".to_owned(), quoted(rng, &format!("{prefix}{}", chosen.full_name())))];
    if is_value(&chosen) {
        members.push(("value".to_owned(), message(rng, &chosen, depth - 1)));
    } else {
        fields(rng, &chosen, depth - 1, &mut members);
    }
    if rng.chance(1, 4) {
        members.reverse();
    }
    if rng.chance(1, 10) {
        members.remove(rng.below(members.len()));
    }
    if rng.chance(1, 20) {
        members.push((rng.pick(&["zzz", "value", "@type"]).to_owned(), any(rng, 1)));
    }
    object(rng, members)
}

/// Whether JSON writes a message of this type in an Any as its `value`.
fn is_value(message: &MessageDescriptor) -> bool {
    values::is_wrapper(message)
        || matches!(
            message.full_name(),
            "google.protobuf.Timestamp"
                | "google.protobuf.Duration"
                | "google.protobuf.FieldMask"
                | "google.protobuf.Struct"
                | "google.protobuf.Value"
                | "google.protobuf.ListValue"
                | "google.protobuf.Empty"
                | "google.protobuf.Any"
        )
}
