//! Query strings. No field is named twice in two spellings: which of them wins is chance.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{
    Rng,
    routes::{Body, Route},
    values,
};

/// A query string with its question mark; empty for none.
pub fn query(rng: &mut Rng, route: &Route) -> String {
    let mut pairs = Vec::new();
    if !rng.chance(1, 5) {
        fields(rng, &route.input, "", 3, &mut pairs);
    }
    if rng.chance(1, 8) {
        pairs.push(rng.pick(&ODD).to_owned());
    }
    // Fields that come from elsewhere are passed over.
    if rng.chance(1, 8)
        && let Body::Field(field) = &route.body
    {
        pairs.push(format!("{}={}", field.name(), rng.pick(&["1", "x", "{}"])));
    }
    for at in (1..pairs.len()).rev() {
        pairs.swap(at, rng.below(at + 1));
    }
    match pairs.join("&") {
        pairs if pairs.is_empty() && rng.chance(9, 10) => pairs,
        pairs => format!("?{pairs}"),
    }
}

const ODD: [&str; 16] = [
    "nope=1",
    "nope.deeper=1",
    "=1",
    "=",
    "",
    "&&",
    "a;b=1",
    "x=%zz",
    "%zz=x",
    "x=%",
    "[]=1",
    "[a]=1",
    "nope[a]=1",
    "..=1",
    ".id=1",
    "a=b=c",
];

/// Pairs for some fields of `message`, each under `prefix`.
fn fields(rng: &mut Rng, message: &MessageDescriptor, prefix: &str, depth: usize, pairs: &mut Vec<String>) {
    let all: Vec<FieldDescriptor> = message.fields().collect();
    if all.is_empty() {
        return;
    }
    // One that has several spellings is chosen once only.
    let mut chosen: Vec<usize> = (0..rng.below(4)).map(|_| rng.below(all.len())).collect();
    chosen.sort_unstable();
    chosen.dedup();
    for at in chosen {
        let field = &all[at];
        let name = if rng.chance(1, 4) { field.json_name() } else { field.name() };
        let key = format!("{prefix}{name}");
        pair(rng, field, &key, depth, pairs);
    }
    if rng.chance(1, 15) {
        pairs.push(format!("{prefix}nope=1"));
    }
}

fn pair(rng: &mut Rng, field: &FieldDescriptor, key: &str, depth: usize, pairs: &mut Vec<String>) {
    let equals = |rng: &mut Rng, key: &str, value: &str| {
        if value.is_empty() && rng.chance(1, 2) {
            return key.to_owned();
        }
        format!("{}={}", key_text(rng, key), values::escaped(rng, value, b"+&;#?"))
    };
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let (of_key, of_value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        for number in 0..rng.below(3) {
            let mut inside = values::text(rng, &of_key).replace(['[', ']'], "");
            if number > 0 {
                inside = format!("{inside}{number}");
            }
            let value = values::text(rng, &of_value);
            let inside = values::escaped(rng, &inside, b"+&;#?=");
            pairs.push(equals(rng, &format!("{key}[{inside}]"), &value));
        }
        if rng.chance(1, 8) {
            let odd = rng.pick(&["", "[a]", "[]", "[a][b]", ".a"]);
            pairs.push(equals(rng, &format!("{key}{odd}"), "x"));
        }
        return;
    }
    if let Kind::Message(inner) = field.kind()
        && depth > 0
        && rng.chance(if values::has_text(&inner) { 1 } else { 9 }, 10)
    {
        return fields(rng, &inner, &format!("{key}."), depth - 1, pairs);
    }
    let times = if field.is_list() { rng.below(4) } else { 1 + usize::from(rng.chance(1, 25)) };
    for _ in 0..times {
        let value = values::text(rng, &field.kind());
        pairs.push(equals(rng, key, &value));
    }
    if rng.chance(1, 40) {
        pairs.push(format!("{key}{}=1", rng.pick(&["[]", "[0]", ".x", "[", "]"])));
    }
}

/// Keys may be escaped too.
fn key_text(rng: &mut Rng, key: &str) -> String {
    if rng.chance(1, 15) {
        return key.replace('.', "%2E").replace('[', "%5B").replace(']', "%5D").replace('_', "%5f");
    }
    key.to_owned()
}
