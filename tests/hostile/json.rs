//! Hostile bodies, paths and queries at the JSON door.

use serde_json::{Value, json};

use crate::{
    Findings,
    support::{Server, http::Answer},
};

/// An HTTP status, and the code in an error body.
type Outcome = (u16, Option<i64>);

/// HTTP status and the code in the error body, which a stream's refusal wraps.
fn outcome(answer: &Answer) -> Outcome {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, body.get("error").unwrap_or(&body)["code"].as_i64())
}

const INVALID: Outcome = (400, Some(3));
const TOO_LARGE: Outcome = (429, Some(8));

/// Bodies posted to `Register` and `BatchRegister`.
pub fn bodies(server: &Server, findings: &mut Findings) {
    let mut check = |path: &str, body: &[u8], expect| {
        let answer = server.http("POST", path, &[("Content-Type", "application/json")], body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        findings.check(&format!("POST {path} {shown}"), &outcome(&answer), &expect);
    };
    for body in malformed() {
        check("/services/$register", &body, INVALID);
    }
    for body in wrongly_typed().into_iter().chain(bad_urls()).chain(bad_names()).chain(out_of_bounds()) {
        check("/services/$register", body.to_string().as_bytes(), INVALID);
    }
    for body in [
        r#"{"requests":{}}"#,
        r#"{"requests":"x"}"#,
        r#"{"requests":[1]}"#,
        r#"{"requests":[null]}"#,
        r#"{"requests":[[]]}"#,
        r#"{"requests":[{"url":5}]}"#,
        "null",
    ] {
        check("/services/$batchRegister", body.as_bytes(), INVALID);
    }
    for path in ["/services/$register", "/services/$batchRegister"] {
        let padded = format!("{{\"url\":\"http://large:1\"}}{}", " ".repeat(1 << 20));
        check(path, padded.as_bytes(), TOO_LARGE);
        let text = format!("{{\"zzz\":\"{}\"}}", "x".repeat(2 << 20));
        check(path, text.as_bytes(), TOO_LARGE);
    }
}

/// What is no JSON, or none that the mapping allows.
fn malformed() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        "nul",
        "null",
        "true",
        "1",
        "\"text\"",
        "[]",
        "[{\"url\":\"http://a:1\"}]",
        "{\"url\"",
        "{\"url\":",
        "{\"url\":\"http://a:1\"",
        "{\"url\":\"http://a:1\",}",
        "{\"url\":\"http://a:1\" \"id\":\"x\"}",
        "{'url':'http://a:1'}",
        "{url:\"http://a:1\"}",
        "{\"url\":\"http://a:1\",\"url\":\"http://b:1\"}",
        "{\"url\":\"http://a:1\",\"ttl_seconds\":1,\"ttlSeconds\":2}",
        "{\"url\":\"http://a:1\",\"info\":{\"a\":1,\"a\":2}}",
        "{\"url\":\"http://a:1\",\"info\":{\"n\":NaN}}",
        "{\"url\":\"http://a:1\",\"info\":{\"n\":Infinity}}",
        "{\"url\":\"http://a:1\",\"info\":{\"n\":01}}",
        "{\"url\":\"http://a:1\",\"info\":{\"n\":+1}}",
        "{\"url\":\"http://a:1\",\"info\":{\"n\":1e400}}",
        "{\"url\":\"http://a:1\",\"info\":{\"n\":-1e400}}",
        "{\"url\":\"http://a:1\",\"info\":{\"n\":9007199254740993}}",
        "{\"url\":\"http://a:1\",\"info\":{\"s\":\"\\ud800\"}}",
        "{\"url\":\"http://a:1\",\"info\":{\"s\":\"\\udc00\\ud800\"}}",
        "{\"url\":\"http://a:1\",\"info\":{\"s\":\"\\x41\"}}",
        "{\"url\":\"http://a:1\",\"info\":{\"s\":\"\\u12\"}}",
        "{\"url\":\"http://a:1\",\"info\":{\"s\":\"a\u{1}b\"}}",
        "{\"url\":\"http://a:1\",\"info\":{\"s\":\"a\nb\"}}",
        "\u{feff}{\"url\":\"http://a:1\"}",
        "/* comment */ {\"url\":\"http://a:1\"}",
        "<url>http://a:1</url>",
        "url=http%3A%2F%2Fa%3A1",
        "\0\0\0\0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    bodies.push(b"{\"url\":\"http://a:1\",\"id\":\"\xff\xfe\"}".to_vec());
    bodies.push(b"{\"url\":\"http://a:1\",\"zone\":\"\xc3\x28\"}".to_vec());
    bodies.push(b"{\"url\":\"http://a:1\",\"info\":{\"\xed\xa0\x80\":1}}".to_vec());
    bodies.push(b"\xff\xff\xff\xff".to_vec());
    for depth in [25, 26, 33, 64, 100, 128, 1_000, 9_000, 100_000] {
        bodies.push(format!("{{\"url\":\"http://a:1\",\"info\":{}}}", nested(depth)).into());
        let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        bodies.push(format!("{{\"url\":\"http://a:1\",\"info\":{{\"l\":{lists}}}}}").into());
    }
    bodies.push("[".repeat(1_000_000).into());
    bodies.push("{\"a\":".repeat(200_000).into());
    bodies
}

/// An object of objects.
pub fn nested(depth: usize) -> String {
    format!("{}{}", "{\"a\":".repeat(depth - 1) + "{", "}".repeat(depth))
}

/// A good registration but for these fields.
fn with(fields: Value) -> Value {
    let mut body = json!({"id": "hostile", "url": "http://hostile:1"});
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().expect("an object").extend(fields);
    body
}

/// JSON whose types or ranges do not fit the message.
fn wrongly_typed() -> Vec<Value> {
    [
        json!({"url": 5}),
        json!({"url": true}),
        json!({"url": ["http://a:1"]}),
        json!({"url": {"http": "a"}}),
        json!({"id": 5}),
        json!({"id": ["x"]}),
        json!({"service": false}),
        json!({"service": {"name": "x"}}),
        json!({"zone": 5}),
        json!({"lease_token": 5}),
        json!({"info": "text"}),
        json!({"info": []}),
        json!({"info": 5}),
        json!({"info": true}),
        json!({"labels": []}),
        json!({"labels": "a=b"}),
        json!({"labels": {"a": 1}}),
        json!({"labels": {"a": null}}),
        json!({"labels": {"a": {"b": "c"}}}),
        json!({"weight": -1}),
        json!({"weight": 1.5}),
        json!({"weight": 4_294_967_296_u64}),
        json!({"weight": "heavy"}),
        json!({"ttl_seconds": -1}),
        json!({"ttl_seconds": "-1"}),
        json!({"ttl_seconds": 0.5}),
        json!({"ttl_seconds": 4_294_967_296_u64}),
        json!({"ttl_seconds": 1e10}),
        json!({"ttl_seconds": 1e300}),
        json!({"ttl_seconds": "99999999999999999999"}),
        json!({"ttl_seconds": "soon"}),
        json!({"ttl_seconds": ""}),
        json!({"ttl_seconds": true}),
        json!({"ttl_seconds": []}),
        json!({"ttl_seconds": {}}),
        json!({"drop_grace": 5}),
        json!({"drop_grace": "5"}),
        json!({"drop_grace": "1m30s"}),
        json!({"drop_grace": "s"}),
        json!({"drop_grace": ""}),
        json!({"drop_grace": "-1s"}),
        json!({"drop_grace": "315576000001s"}),
        json!({"drop_grace": {"seconds": 1}}),
    ]
    .map(with)
    .into()
}

/// Every kind of url that is refused.
fn bad_urls() -> Vec<Value> {
    let long = format!("http://long:1/{}", "x".repeat(2_048));
    let mut bodies: Vec<Value> = [
        "",
        " ",
        "x",
        "/path",
        "//host/path",
        "host",
        "host:80",
        "host.test/path",
        "http:",
        "http:/",
        "http://",
        "http:///path",
        "http:/host",
        "http//host",
        "http:host",
        "://host",
        "1http://host",
        "-http://host",
        "ht tp://host",
        "ht_tp://host",
        "http://:80",
        "http://user@host",
        "http://user:password@host",
        "http://@host",
        "http://:@host",
        "http://ho st",
        "http://host/a b",
        " http://host",
        "http://host ",
        "http://host\n",
        "http://host\r\nX: y",
        "http://host\t",
        "http://host/\u{0}",
        "http://host/\u{1f}",
        "http://host/\u{7f}",
        "http://host:port",
        "http://host:99999",
        "http://host:-1",
        "http://host:80:90",
        "http://[::1",
        "http://::1]",
        "http://[zz]:80",
        "http:\\\\host",
        "mailto:someone@host.test",
        "file:///etc/passwd",
        "data:text/plain,x",
        "javascript:alert(1)",
        "urn:uuid:0",
        long.as_str(),
    ]
    .map(|url| with(json!({"url": url})))
    .into();
    bodies.push(json!({}));
    bodies.push(json!({"id": "no-url"}));
    bodies.push(with(json!({"url": null})));
    bodies
}

/// Names that fold to nothing, are too long, begin badly, or look like a ULID.
fn bad_names() -> Vec<Value> {
    let long = "n".repeat(254);
    let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let mut bodies: Vec<Value> =
        ["---", "   ", "$$$", "/", "é", "_x", ".x", ulid, &ulid.to_lowercase(), long.as_str()]
            .map(|name| with(json!({"service": name})))
            .into();
    bodies.extend([ulid, long.as_str(), "***"].map(|name| with(json!({"id": name}))));
    bodies.extend([
        json!({"url": "http://a:1", "info": {"id": ulid}}),
        json!({"url": "http://a:1", "info": {"display_name": long}}),
    ]);
    bodies
}

/// Content over its bounds.
fn out_of_bounds() -> Vec<Value> {
    let labels = |count: usize| -> Value { (0..count).map(|n| (format!("k{n}"), json!("v"))).collect() };
    [
        json!({"labels": labels(65)}),
        json!({"labels": labels(5_000)}),
        json!({"labels": {"k".repeat(64): "v"}}),
        json!({"labels": {"é".repeat(32): "v"}}),
        json!({"labels": {"k": "v".repeat(257)}}),
        json!({"labels": {"k": "é".repeat(129)}}),
        json!({"zone": "z".repeat(65)}),
        json!({"zone": "é".repeat(33)}),
        json!({"info": {"text": "x".repeat(65_536)}}),
        json!({"info": {"list": vec![json!({"some": "text"}); 8_000]}}),
    ]
    .map(with)
    .into()
}

/// Requests with hostile paths, queries and headers.
pub fn paths(server: &Server, findings: &mut Findings) {
    const NOT_FOUND: Outcome = (404, Some(5));
    const UNIMPLEMENTED: Outcome = (501, Some(12));
    let long_name = format!("/services/{}", "n".repeat(254));
    let long_path = format!("/services/{}", "n/".repeat(2_000));
    let cases = [
        ("GET", "/services/", INVALID),
        ("DELETE", "/services/", INVALID),
        ("PUT", "/services//$ping", INVALID),
        ("GET", "/services/$register", INVALID),
        ("DELETE", "/services/$register", INVALID),
        ("DELETE", "/services/$watch", INVALID),
        ("GET", "/services/%24ping", INVALID),
        ("GET", &long_name, INVALID),
        ("GET", "/services/a%2Fb", NOT_FOUND),
        ("GET", "/services/a/b", NOT_FOUND),
        ("GET", &long_path, NOT_FOUND),
        ("GET", "//services", NOT_FOUND),
        ("GET", "/services/../services", NOT_FOUND),
        ("GET", "/SERVICES", NOT_FOUND),
        ("GET", "/services/steady/$ping/", NOT_FOUND),
        ("PUT", "/services/steady/$pong", NOT_FOUND),
        ("GET", "/../../etc/passwd", NOT_FOUND),
        ("GET", "/leasehold.v1.Registry/List", NOT_FOUND),
        ("POST", "/leasehold.v1.Registry/Deregister", NOT_FOUND),
        ("GET", "/services/nobody", NOT_FOUND),
        ("PUT", "/services/01ARZ3NDEKTSV4RRFFQ69G5FAV/$ping", NOT_FOUND),
        ("DELETE", "/services/01ARZ3NDEKTSV4RRFFQ69G5FAV", NOT_FOUND),
        ("DELETE", "/services/steady", (400, Some(9))),
        ("PUT", "/services/steady/$ping", (400, Some(9))),
        ("DELETE", "/services", UNIMPLEMENTED),
        ("PATCH", "/services/steady", UNIMPLEMENTED),
        ("TRACE", "/services", UNIMPLEMENTED),
        ("BREW", "/services/steady", UNIMPLEMENTED),
        ("POST", "/services/$watch", UNIMPLEMENTED),
        ("GET", "/services/%", INVALID),
        ("GET", "/services/%z", INVALID),
        ("GET", "/services/%zz", INVALID),
        ("DELETE", "/services/%2", INVALID),
        ("GET", "/services?page_size=-1", INVALID),
        ("GET", "/services?page_size=", INVALID),
        ("GET", "/services?page_size=abc", INVALID),
        ("GET", "/services?page_size=1.5", INVALID),
        ("GET", "/services?page_size=4294967296", INVALID),
        ("GET", "/services?page_size=1&page_size=2", INVALID),
        ("GET", "/services?page_token=nonsense", INVALID),
        ("GET", "/services?page_token=%00%01%02", INVALID),
        ("GET", "/services?labels=x", INVALID),
        ("GET", "/services?labels[k]=a&labels[k]=b", INVALID),
        ("GET", "/services?service=a;page_size=1", INVALID),
        ("GET", "/services?service=%zz", INVALID),
        ("GET", "/services/$watch?resume_token=nonsense", INVALID),
        ("GET", "/services/$watch?bookmark_interval=5", INVALID),
        ("PUT", "/services/nobody/$ping?lease_token=a&lease_token=b", INVALID),
        ("DELETE", "/services/nobody?lease_token=a&lease_token=b", INVALID),
    ];
    for (method, path, expect) in cases {
        let answer = server.http(method, path, &[], b"");
        let shown: String = path.chars().take(80).collect();
        findings.check(&format!("{method} {shown}"), &outcome(&answer), &expect);
    }

    let body = br#"{"id":"hostile","url":"http://hostile:1"}"#;
    let cases = [
        (("Grpc-Timeout", "abc"), INVALID),
        (("Grpc-Metadata-X-Bin", "!!"), INVALID),
        (("Host", "attacker.test"), (403, Some(7))),
        (("Host", "attacker.test:80"), (403, Some(7))),
        (("Host", "127.0.0.1.attacker.test"), (403, Some(7))),
    ];
    for (header, expect) in cases {
        let answer = server.http("POST", "/services/$register", &[header], body);
        findings.check(&format!("POST with {header:?}"), &outcome(&answer), &expect);
    }
}
