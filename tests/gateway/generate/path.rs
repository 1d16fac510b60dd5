//! Paths: of a template, with odd values, odd escapes, and now and then a piece of
//! another path.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{Rng, routes::Route, values};

/// A path that `route` takes, or that nearly is one.
pub fn path(rng: &mut Rng, route: &Route) -> String {
    let mut path = String::new();
    let mut rest = route.template.as_str();
    while let Some((literal, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').expect("a template");
        path.push_str(&literal_text(rng, literal));
        path += &if let Some((_, segments)) = variable.split_once('=') {
            segments_text(rng, segments)
        } else {
            let value = variable_text(rng, &route.input, variable);
            values::escaped(rng, &value, b"/")
        };
        rest = after;
    }
    path.push_str(&literal_text(rng, rest));
    if rng.chance(1, 10) { mutated(rng, &path) } else { path }
}

/// What `a/*/**` stands for.
fn segments_text(rng: &mut Rng, segments: &str) -> String {
    let mut parts = Vec::new();
    for segment in segments.split('/') {
        let count = if segment == "**" { rng.below(4) } else { 1 };
        for _ in 0..count {
            parts.push(match segment {
                "*" | "**" => {
                    let id = rng.pick(&IDS);
                    values::escaped(rng, id, b"/")
                }
                literal => literal.to_owned(),
            });
        }
    }
    parts.join("/")
}

/// `%24ping` is `$ping` too.
fn literal_text(rng: &mut Rng, literal: &str) -> String {
    if literal.contains('*') {
        return segments_text(rng, literal);
    }
    if !rng.chance(1, 10) {
        return literal.to_owned();
    }
    let escape = |c: char, rng: &mut Rng| match c {
        '/' => "/".to_owned(),
        c if rng.chance(1, 3) => format!("%{:02X}", u32::from(c)),
        c => c.to_string(),
    };
    literal.chars().map(|c| escape(c, rng)).collect()
}

fn variable_text(rng: &mut Rng, message: &MessageDescriptor, name: &str) -> String {
    match field(message, name) {
        Some(field) if field.kind() != Kind::String => values::text(rng, &field.kind()),
        _ => rng.pick(&IDS).to_owned(),
    }
}

fn field(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    match path.split_once('.') {
        None => message.get_field_by_name(path),
        Some((first, rest)) => match message.get_field_by_name(first)?.kind() {
            Kind::Message(inner) => field(&inner, rest),
            _ => None,
        },
    }
}

const IDS: [&str; 24] = [
    "a1",
    "a1",
    "a1",
    "missing",
    "",
    "$register",
    "$ping",
    "a:b",
    "a1:watch",
    ":watch",
    ":ping",
    "a1:ping:ping",
    "urn:uuid:1",
    "a b",
    "a+b",
    "a;b",
    "a/b",
    "a%b",
    "é😀",
    "..",
    ".",
    "@!$&'()*,=~-_",
    "01J0000000000000000000000Z",
    "*",
];

fn mutated(rng: &mut Rng, path: &str) -> String {
    let at = path.char_indices().map(|(at, _)| at).nth(rng.below(path.chars().count().max(1))).unwrap_or(0);
    let (before, after) = path.split_at(at);
    match rng.below(6) {
        0 => {
            format!("{path}{}", rng.pick(&[":watch", ":ping", ":x", ":", "/", "/x", "//", "%2F", "?", ";x"]))
        }
        1 => format!(
            "{before}{}{after}",
            rng.pick(&["%2F", "%2f", "%252F", "%25", "%3A", "%00", "%C3%A9", "/", "."])
        ),
        2 => format!("/{path}"),
        3 => before.to_owned() + if before.is_empty() { "/" } else { "" },
        4 => path.to_uppercase(),
        _ => format!("{before}{}{after}", rng.pick(&["%FF", "%ZZ", "%", "%4", "%c3%28"])),
    }
}
