//! When two answers count as the same.

use serde_json::Value;

use crate::support::http::Answer;

/// Headers that differ between any two servers.
pub const UNCOMPARED: [&str; 3] = ["content-length", "date", "transfer-encoding"];

/// Metadata that tells of the hop before the service, in the answer to `page_token=md`.
const HOP: [&str; 3] = [":authority", "content-type", "user-agent"];

/// A body as far as it matters.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Line by line, each as it parses; the texts of code 3 are everybody's own.
    Json(Vec<Value>),
    /// Anything else, as it is.
    Text(String),
}

impl Body {
    /// `own` is the address of the server that was asked: `x-forwarded-host` shows it.
    pub fn parse(text: &str, own: Option<&str>) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty());
        let values: Result<Vec<Value>, _> = lines.map(serde_json::from_str).collect();
        match values {
            Ok(mut values) => {
                for value in &mut values {
                    soften(value, own);
                }
                Self::Json(values)
            }
            Err(_) => Self::Text(text.to_owned()),
        }
    }
}

fn soften(value: &mut Value, own: Option<&str>) {
    match value {
        Value::Object(fields) => {
            for value in fields.values_mut() {
                soften(value, own);
            }
            let is_error = fields.keys().all(|name| ["code", "message", "details"].contains(&name.as_str()));
            if is_error && fields.get("code") == Some(&Value::from(3)) {
                fields.insert("message".to_owned(), Value::Null);
            }
            for name in ["next_page_token", "nextPageToken"] {
                if let Some(Value::String(token)) = fields.get_mut(name) {
                    *token = metadata(token, own);
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                soften(value, own);
            }
        }
        // protobuf-go parts its messages from their prefix with either blank.
        Value::String(text) if text.contains('\u{a0}') => *text = text.replace('\u{a0}', " "),
        _ => {}
    }
}

/// A listing of metadata without what tells of the hop and of the address.
fn metadata(listing: &str, own: Option<&str>) -> String {
    let kept = listing.split("; ").filter(|part| {
        let key = part.split('=').next().unwrap_or_default();
        !HOP.contains(&key)
    });
    let is_own = |host: &str| own.map_or_else(|| host.starts_with("127.0.0.1:"), |own| own == host);
    kept.map(|part| match part.strip_prefix("x-forwarded-host=") {
        Some(hosts) => {
            let hosts = hosts.split('|').map(|host| if is_own(host) { "(itself)" } else { host });
            format!("x-forwarded-host={}", hosts.collect::<Vec<_>>().join("|"))
        }
        None => part.to_owned(),
    })
    .collect::<Vec<_>>()
    .join("; ")
}

/// The text with one spelling for everything that JSON has several of, but numbers and the
/// order of members; none if it is no JSON.
pub fn canonical(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let end = end_of_string(rest)?;
            let string: String = serde_json::from_str(&rest[..end]).ok()?;
            out.push_str(&Value::from(string).to_string());
            rest = &rest[end..];
        } else {
            if !c.is_ascii_whitespace() {
                out.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    Some(out)
}

/// Where the string that `text` begins with ends.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The trailers that were announced but did not come.
pub fn missing_trailers(answer: &Answer) -> Vec<String> {
    let announced = answer.headers.iter().filter(|(name, _)| name == "trailer");
    announced
        .flat_map(|(_, value)| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !answer.trailers.iter().any(|(key, _)| key == name))
        .collect()
}
