//! Well-known types.

use super::{BRIEF, FULL, check, check_error, encoded, google, write};
use crate::wire::Encoder;

#[test]
fn timestamps_and_durations() {
    let parts = |seconds: i64, nanos: i32| {
        move |e: &mut Encoder| {
            e.varint(1, seconds.cast_unsigned());
            e.varint(2, i64::from(nanos).cast_unsigned());
        }
    };
    for (seconds, nanos, expect) in [
        (0, 0, "\"1970-01-01T00:00:00Z\""),
        (0, 500_000_000, "\"1970-01-01T00:00:00.500Z\""),
        (0, 120_000, "\"1970-01-01T00:00:00.000120Z\""),
        (0, 1, "\"1970-01-01T00:00:00.000000001Z\""),
        (-1, 999_999_999, "\"1969-12-31T23:59:59.999999999Z\""),
        (951_782_400, 0, "\"2000-02-29T00:00:00Z\""),
        (4_107_542_399, 0, "\"2100-02-28T23:59:59Z\""),
        (1_767_323_045, 0, "\"2026-01-02T03:04:05Z\""),
        (-62_135_596_800, 0, "\"0001-01-01T00:00:00Z\""),
        (253_402_300_799, 999_999_999, "\"9999-12-31T23:59:59.999999999Z\""),
    ] {
        check(&BRIEF, &google("Timestamp"), parts(seconds, nanos), expect);
    }
    for (seconds, nanos, expect) in [
        (0, 0, "\"0s\""),
        (90, 0, "\"90s\""),
        (1, 500_000_000, "\"1.500s\""),
        (0, -500_000_000, "\"-0.500s\""),
        (-1, -1, "\"-1.000000001s\""),
        (315_576_000_000, 999_999_999, "\"315576000000.999999999s\""),
    ] {
        check(&BRIEF, &google("Duration"), parts(seconds, nanos), expect);
    }
    for (seconds, nanos) in
        [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000), (i64::MIN, i32::MIN)]
    {
        check_error(&google("Timestamp"), parts(seconds, nanos), "no form a Timestamp of");
    }
    for (seconds, nanos) in [(315_576_000_001, 0), (1, -1), (-1, 1), (0, 1_000_000_000), (i64::MIN, i32::MIN)]
    {
        check_error(&google("Duration"), parts(seconds, nanos), "no form a Duration of");
    }
}

#[test]
fn field_masks_are_in_camel_case() {
    let paths = |paths: &'static [&'static str]| {
        move |e: &mut Encoder| paths.iter().for_each(|path| e.bytes(1, path.as_bytes()))
    };
    for (given, expect) in [
        (&[][..], "\"\""),
        (&["a"], "\"a\""),
        (&["info", "service_url", "a_b.c_d2", "_x"], "\"info,serviceUrl,aB.cD2,X\""),
    ] {
        check(&BRIEF, &google("FieldMask"), paths(given), expect);
    }
    for bad in [
        &["fooBar"][..],
        &["a__b"],
        &["a_1"],
        &["a_"],
        &["a_.b"],
        &[""],
        &["a,b"],
        &["a."],
        &["1a"],
        &["é"],
        &["*"],
    ] {
        check_error(
            &google("FieldMask"),
            paths(bad),
            "no form proto: google.protobuf.FieldMask.paths contains",
        );
    }
}

#[test]
fn wrappers_are_their_values() {
    for (name, expect) in [
        ("DoubleValue", "0"),
        ("Int64Value", "\"0\""),
        ("BoolValue", "false"),
        ("StringValue", "\"\""),
        ("BytesValue", "\"\""),
        ("Empty", "{}"),
        ("Struct", "{}"),
        ("ListValue", "[]"),
        ("Any", "{}"),
        ("FieldMask", "\"\""),
    ] {
        check(&BRIEF, &google(name), |_| {}, expect);
    }
    check(&BRIEF, &google("DoubleValue"), |e| e.fixed64(1, f64::NAN.to_bits()), "\"NaN\"");
    check(&BRIEF, &google("Int64Value"), |e| e.varint(1, 7), "\"7\"");
}

pub(super) fn any(type_url: &str, packed: &[u8]) -> Vec<u8> {
    encoded(|e| {
        e.bytes(2, packed);
        e.bytes(1, type_url.as_bytes());
    })
}

#[test]
fn an_any_shows_its_type() {
    const URL: &str = "type.googleapis.com/";
    let id = encoded(|e| e.bytes(1, b"x"));
    let nested = any(&format!("{URL}google.protobuf.Duration"), &encoded(|e| e.varint(1, 1)));
    for (name, packed, expect) in [
        ("leasehold.v1.GetRequest", &id[..], r#","id":"x""#),
        ("leasehold.v1.GetRequest", &[], r#","id":"""#),
        ("google.protobuf.Empty", &[], ""),
        ("google.protobuf.StringValue", &id, r#","value":"x""#),
        ("google.protobuf.Struct", &[], r#","value":{}"#),
        (
            "google.protobuf.Any",
            &nested,
            r#","value":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}"#,
        ),
    ] {
        let expect = format!("{{\"@type\":\"{URL}{name}\"{expect}}}");
        let text = write(&FULL, &google("Any"), &any(&format!("{URL}{name}"), packed));
        assert_eq!(text.as_deref(), Ok(expect.as_str()));
    }
    let mut out = String::new();
    FULL.write_any("leasehold.v1.GetRequest", &id, &mut out).unwrap();
    assert_eq!(out, r#"{"@type":"leasehold.v1.GetRequest","id":"x"}"#);

    for (type_url, packed, expect) in [
        ("a/no.Such", &[][..], "an Any holds a \"no.Such\""),
        ("", b"x", "an Any holds a \"\""),
        // The bytes of an Any are the service's business, not the wire's.
        ("a/google.protobuf.Duration", b"\x08", "no form these bytes"),
        ("a/google.protobuf.Struct", b"\x0a", "no form these bytes"),
    ] {
        let error = write(&FULL, &google("Any"), &any(type_url, packed)).unwrap_err();
        assert!(error.starts_with("no form") && error.contains(expect), "{error}");
    }
}
