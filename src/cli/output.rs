//! What goes to stdout: tables and lines for people, JSON for scripts.
//!
//! JSON is what the HTTP paths would answer: proto field names, unset fields there, unset
//! messages null, 64-bit numbers as strings, map keys sorted.

use std::{
    collections::BTreeMap,
    io,
    io::{IsTerminal as _, Write as _},
    sync::LazyLock,
};

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool};

use super::Failure;
use crate::{
    gateway::{Json, JsonOptions},
    proto,
};

/// In which form.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// For people, or for scripts
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    form: Form,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
}

impl Output {
    /// Whether scripts read it.
    pub fn is_json(self) -> bool {
        self.form == Form::Json
    }
}

/// Writes a line to stdout at once. A closed pipe is the failure that ends a command quietly.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

/// Writes a line about the command's own state to stderr; nobody has to read it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A table without borders. Off a terminal it is as wide as its content and has no styles.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    }
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    table
}

/// The lines of a table: the first column at the margin, two blanks between the others.
pub fn render(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Text from others, safe to show: control characters, which a terminal would obey, are
/// spelled out.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `key=value` pairs, in order.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "-".to_owned();
    }
    let pairs: Vec<String> = labels.iter().map(|(key, value)| plain(&format!("{key}={value}"))).collect();
    pairs.join(",")
}

/// One line of JSON; `name` is the message's name within its package `leasehold.v1`, or a
/// full one of google's.
pub fn json(name: &str, message: &impl Message) -> Result<String, Failure> {
    let bug = |error: &dyn std::fmt::Display| Failure::other(format!("cannot write {name} as JSON: {error}"));
    let json = JSON.as_ref().map_err(|error| bug(error))?;
    let id = json.find(&format!("leasehold.v1.{name}")).or_else(|| json.find(name));
    let id = id.ok_or_else(|| bug(&"no such message"))?;
    let mut text = String::new();
    json.write(id, &message.encode_to_vec(), &mut text).map_err(|error| bug(&error))?;
    Ok(text)
}

static JSON: LazyLock<Result<Json, DescriptorError>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET)?;
    Ok(Json::new(&pool, JsonOptions::default()))
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::info,
        proto::{Instance, KeepAliveResponse, RegisterResponse, WatchResponse, watch_response},
    };

    #[track_caller]
    fn check(name: &str, message: &impl Message, expect: &str) {
        assert_eq!(json(name, message).unwrap(), expect);
    }

    #[test]
    fn unset_fields_are_there_and_unset_messages_are_null() {
        check(
            "RegisterResponse",
            &RegisterResponse { id: "01J".to_owned(), ttl_seconds: 30, revision: 7, ..Default::default() },
            r#"{"id":"01J","status":"","service_url":"","message":"","ttl_seconds":30,"ping_url":"","service":"","lease_token":"","expires_at":null,"revision":"7"}"#,
        );
    }

    #[test]
    fn times_enums_maps_and_info_are_as_over_http() {
        let instance = Instance {
            info: Some(info::parse(r#"{"z":1,"a":[1.5,1e30,null,{"y":true,"b":"<&>"}]}"#).unwrap()),
            labels: [("zone", "1"), ("app", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            registered_at: Some(prost_types::Timestamp { seconds: 0, nanos: 500_000_000 }),
            ..Default::default()
        };
        let text = json("Instance", &instance).unwrap();
        assert!(text.contains(r#""info":{"a":[1.5,1e+30,null,{"b":"<&>","y":true}],"z":1}"#), "{text}");
        assert!(text.contains(r#""labels":{"app":"x","zone":"1"}"#), "{text}");
        assert!(text.contains(r#""registered_at":"1970-01-01T00:00:00.500Z""#), "{text}");
        check(
            "WatchResponse",
            &WatchResponse { r#type: watch_response::Type::Synced.into(), ..Default::default() },
            r#"{"type":"SYNCED","events":[],"resume_token":"","revision":"0"}"#,
        );
        check(
            "KeepAliveResponse",
            &KeepAliveResponse {
                next_beat_in: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
                ..Default::default()
            },
            r#"{"ttl_seconds":0,"next_beat_in":"1.500s","lost":[],"retry_after":null}"#,
        );
    }

    #[test]
    fn a_terminal_obeys_nobody_else() {
        assert_eq!(plain("a\u{1b}[31mb\nc é"), "a\\u{1b}[31mb\\nc é");
    }
}
