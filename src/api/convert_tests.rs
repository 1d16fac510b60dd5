//! What the door lets in, and what it says of what it does not.

use std::net::{IpAddr, Ipv4Addr};

use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind as ValueKind};

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn request() -> proto::RegisterRequest {
    proto::RegisterRequest { url: "http://h:80".to_owned(), ..proto::RegisterRequest::default() }
}

#[expect(clippy::needless_pass_by_value, reason = "as the tests have it")]
fn registration(request: proto::RegisterRequest, peer: IpAddr, at: &str) -> Result<Registration, Violations> {
    super::registration(&request.encode_to_vec(), &Actor::at(peer), at)
}

fn text(text: &str) -> Value {
    Value { kind: Some(ValueKind::StringValue(text.to_owned())) }
}

fn number(number: f64) -> Value {
    Value { kind: Some(ValueKind::NumberValue(number)) }
}

fn info<const N: usize>(fields: [(&str, Value); N]) -> Struct {
    Struct { fields: fields.map(|(key, value)| (key.to_owned(), value)).into() }
}

fn nested(levels: usize) -> Value {
    let mut value = number(1.0);
    for level in 0..levels {
        let kind = if level % 2 == 0 {
            ValueKind::ListValue(ListValue { values: vec![value] })
        } else {
            ValueKind::StructValue(Struct { fields: [("k".to_owned(), value)].into() })
        };
        value = Value { kind: Some(kind) };
    }
    value
}

/// The fields at fault.
fn faults(request: proto::RegisterRequest) -> Vec<String> {
    match registration(request, PEER, "") {
        Ok(_) => vec![],
        Err(violations) => violations.into_iter().map(|violation| violation.field).collect(),
    }
}

#[test]
fn the_first_name_that_is_there_names_the_service() {
    let check = |request: proto::RegisterRequest, expect: &str| {
        let registration = registration(request, PEER, "").unwrap();
        assert_eq!(registration.content.service().as_str(), expect);
    };
    let all = info([("id", text("from-info")), ("display_name", text("Shown Name"))]);
    let full = proto::RegisterRequest {
        service: "From Service".to_owned(),
        id: "from-id".to_owned(),
        info: Some(all.clone()),
        ..request()
    };
    check(full.clone(), "from-service");
    check(proto::RegisterRequest { service: String::new(), ..full }, "from-id");
    check(proto::RegisterRequest { info: Some(all), ..request() }, "from-info");
    let shown = info([("id", number(7.0)), ("display_name", text("Shown Name"))]);
    check(proto::RegisterRequest { info: Some(shown), ..request() }, "shown-name");
    check(proto::RegisterRequest { info: Some(info([("id", text(""))])), ..request() }, "unknown");
    check(request(), "unknown");
}

#[test]
fn bounds_are_where_they_are_said_to_be() {
    let check = |request: proto::RegisterRequest, expect: &[&str]| assert_eq!(faults(request), expect);
    check(request(), &[]);
    check(proto::RegisterRequest { url: String::new(), ..request() }, &["url"]);
    check(proto::RegisterRequest { zone: "z".repeat(64), ..request() }, &[]);
    check(proto::RegisterRequest { zone: "z".repeat(65), ..request() }, &["zone"]);
    let labels = |count: usize, key: usize, value: usize| proto::RegisterRequest {
        labels: (0..count).map(|n| (format!("{n:0>key$}"), "v".repeat(value))).collect(),
        ..request()
    };
    check(labels(64, 63, 256), &[]);
    check(labels(65, 2, 1), &["labels"]);
    check(labels(1, 64, 1), &["labels"]);
    check(labels(1, 1, 257), &["labels"]);
    let key = proto::RegisterRequest { labels: [(String::new(), "v".to_owned())].into(), ..request() };
    check(key, &["labels"]);
    check(proto::RegisterRequest { service: "_x".to_owned(), ..request() }, &["service"]);
    check(proto::RegisterRequest { id: "日本".to_owned(), ..request() }, &["id"]);
    let shown = info([("display_name", text("日本"))]);
    check(proto::RegisterRequest { info: Some(shown), ..request() }, &["info.display_name"]);
    let grace = |seconds, nanos| proto::RegisterRequest {
        drop_grace: Some(prost_types::Duration { seconds, nanos }),
        ..request()
    };
    check(grace(5, 0), &[]);
    check(grace(i64::MAX, 0), &[]);
    check(grace(-1, 0), &["drop_grace"]);
    let two = proto::RegisterRequest { url: "x".to_owned(), zone: "z".repeat(65), ..request() };
    check(two, &["url", "zone"]);
}

#[test]
fn info_is_what_every_client_can_read() {
    let check = |value: Value, good: bool| {
        let request = proto::RegisterRequest { info: Some(info([("x", value)])), ..request() };
        assert_eq!(faults(request), if good { vec![] } else { vec!["info"] });
    };
    check(number(1.5), true);
    check(number(f64::NAN), false);
    check(number(f64::INFINITY), false);
    check(Value { kind: None }, false);
    // The struct itself is the first level.
    check(nested(23), true);
    check(nested(24), false);
    check(text(&"x".repeat(65_500)), true);
    check(text(&"x".repeat(65_536)), false);
}

#[test]
fn equal_infos_are_equal_bytes() {
    let one = info([("a", number(1.0)), ("b", text("x"))]);
    let other = info([("b", text("x")), ("a", number(1.0))]);
    let bytes = |info| {
        let request = proto::RegisterRequest { info: Some(info), ..request() };
        registration(request, PEER, "").unwrap().content.view().info().to_vec()
    };
    assert_eq!(bytes(one), bytes(other));
}

#[test]
fn faults_of_a_batch_say_whose_they_are() {
    let bad = proto::RegisterRequest { url: "x".to_owned(), ..request() };
    let violations = registration(bad, PEER, "requests[3].").unwrap_err();
    assert_eq!(violations[0].field, "requests[3].url");
}
