//! What its clients should not send, and what is said to them.

use serde_json::{Value, json};

use crate::{
    rig::{JSON, Names, said, seen},
    support::http::exchange,
};

const WRITES: [&str; 3] = ["/register", "/heartbeat", "/deregister"];
const READS: [&str; 3] = ["/services", "/discover/a", "/health"];

#[test]
fn bodies_without_a_service_and_an_address() {
    let names = Names::start(&[]);
    let missing = said("error", "Missing required fields: service and address");
    let bodies = [
        json!({}),
        json!([]),
        json!(null),
        json!(0),
        json!(5),
        json!(true),
        json!(""),
        json!("service address"),
        json!(["service", "address"]),
        json!({ "service": "a" }),
        json!({ "address": "a" }),
        json!({ "Service": "a", "Address": "b" }),
        json!({ "data": { "service": "a", "address": "b" } }),
    ];
    for path in WRITES {
        for body in &bodies {
            assert_eq!(seen(&names.post(path, body)), (400, missing.clone()), "{path} {body}");
        }
        for value in [json!(5), json!(null), json!(true), json!([]), json!({})] {
            for body in
                [json!({ "service": value, "address": "b" }), json!({ "service": "a", "address": value })]
            {
                let strings = said("error", "service and address have to be strings");
                assert_eq!(seen(&names.post(path, &body)), (400, strings), "{path} {body}");
            }
        }
    }
    nothing_is_there(&names);
}

#[test]
fn bodies_that_are_no_json() {
    let names = Names::start(&[]);
    let check = |path: &str, headers: &[(&str, &str)], body: &[u8], status: u16, text: &str| {
        let (seen_status, body) = seen(&exchange(names.addr, "POST", path, headers, body));
        assert_eq!((seen_status, &body["status"]), (status, &json!("error")), "{path} {text}: {body}");
        assert!(body["message"].as_str().unwrap().contains(text), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    };
    let good = br#"{"service":"a","address":"http://a"}"#;
    for path in WRITES {
        check(path, &[], good, 415, "Content-Type: application/json");
        check(path, &[("Content-Type", "text/plain")], good, 415, "Content-Type: application/json");
        check(path, &[], b"", 415, "Content-Type: application/json");
        check(path, &[JSON], b"", 400, "JSON, line 1");
        check(path, &[JSON], br#"{"service":"a","address":"#, 400, "JSON, line 1 column");
        check(path, &[JSON], b"{'service':'a'}", 400, "JSON, line 1 column 2");
        check(path, &[JSON], b"{\"service\":\"\xff\",\"address\":\"a\"}", 400, "JSON, line 1");
        check(path, &[JSON], &[good, &b"x"[..]].concat(), 400, "JSON, line 1");
        let large =
            format!("{{\"service\":\"a\",\"address\":\"http://a\",\"x\":\"{}\"}}", "x".repeat(1 << 20));
        check(path, &[JSON], large.as_bytes(), 413, "1048576 bytes");
    }
    let number = br#"{"service":"a","address":"http://a","n":9007199254740993}"#;
    check("/register", &[JSON], number, 400, "n: ");
    let deep = format!("{{\"service\":\"a\",\"address\":\"b\",\"x\":{}1{}}}", "[".repeat(30), "]".repeat(30));
    check("/register", &[JSON], deep.as_bytes(), 400, "deeper than 24");
    let wide = format!("{{\"service\":\"a\",\"address\":\"b\",\"x\":\"{}\"}}", "x".repeat(70_000));
    check("/register", &[JSON], wide.as_bytes(), 400, "65536");
    let long = format!("{{\"service\":\"a\",\"address\":\"http://a/{}\"}}", "x".repeat(2048));
    check("/register", &[JSON], long.as_bytes(), 400, "at most 2048");
    nothing_is_there(&names);
}

#[test]
fn bodies_that_are_json_by_another_name() {
    let names = Names::start(&[]);
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
        let address = format!("http://{}", kind.len());
        let body = format!("\u{feff}  {{\"service\":\"a\",\"address\":\"{address}\"}}\n");
        let answer = exchange(names.addr, "POST", "/register", &[("Content-Type", kind)], body.as_bytes());
        assert_eq!(answer.status, 201, "{kind}: {}", answer.text());
    }
    // What is too long to be registered is not registered.
    let long = "x".repeat(3000);
    let text = format!("Instance {long} not found for service a");
    assert_eq!(names.pair("/heartbeat", "a", &long), (404, said("not_found", text)));
    let text = format!("Service {long} not found");
    assert_eq!(names.pair("/deregister", &long, "http://a"), (404, said("not_found", text)));
}

#[test]
fn methods_and_paths() {
    let names = Names::start(&[]);
    names.register("a", "http://a");
    names.register("a/b", "http://slash");
    for path in WRITES {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            wrong_method(&names, method, path, "OPTIONS, POST");
        }
        let head = exchange(names.addr, "HEAD", path, &[], b"");
        assert_eq!((head.status, head.header("allow")), (405, Some("OPTIONS, POST")));
        let options = exchange(names.addr, "OPTIONS", path, &[], b"");
        assert_eq!(
            (options.status, options.header("allow"), &*options.body),
            (200, Some("OPTIONS, POST"), &b""[..])
        );
    }
    for path in READS {
        for method in ["POST", "PUT", "DELETE"] {
            wrong_method(&names, method, path, "GET, HEAD, OPTIONS");
        }
        let head = exchange(names.addr, "HEAD", path, &[], b"");
        assert_eq!((head.status, head.header("content-type")), (200, Some("application/json")));
        let options = exchange(names.addr, "OPTIONS", path, &[], b"");
        assert_eq!((options.status, options.header("allow")), (200, Some("GET, HEAD, OPTIONS")));
    }
    for path in ["/", "/nothing", "/discover", "/discover/", "/services/", "/Services", "/metrics"] {
        let (status, body) = seen(&names.get(path));
        assert_eq!((status, &body["status"]), (404, &json!("error")), "{path}");
        assert!(body["message"].as_str().unwrap().contains(path), "{body}");
    }
    assert_eq!(seen(&names.get("//services")).1["total_services"], 2, "behind a base that ends with a slash");
    for path in ["/discover/a%2Fb", "/discover/a/b", "/%64iscover/a/b?x"] {
        assert_eq!(seen(&names.get(path)).1["service"], "a/b", "{path}");
    }
    assert_eq!(seen(&names.get("/discover/a/")).0, 404);
    assert_eq!(seen(&names.get("/discover/%FF")).1["service"], "\u{fffd}");
}

fn wrong_method(names: &Names, method: &str, path: &str, allow: &str) {
    let answer = exchange(names.addr, method, path, &[], b"");
    assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    let message = format!("{path} does not take {method}; it takes {allow}");
    assert_eq!(seen(&answer), (405, said("error", message)));
}

#[test]
fn pages_and_hosts_are_held_to_the_same_rules() {
    let names = Names::start(&["--cors-origin", "https://console.example"]);
    let body = br#"{"service":"a","address":"http://a"}"#;
    let post = |header: (&str, &str)| exchange(names.addr, "POST", "/register", &[JSON, header], body);
    for header in
        [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Host", "evil.example")]
    {
        let (status, body) = seen(&post(header));
        assert_eq!((status, &body["status"]), (403, &json!("error")), "{header:?}");
    }
    nothing_is_there(&names);
    let preflight = [("Origin", "https://console.example"), ("Access-Control-Request-Method", "POST")];
    let preflight = exchange(names.addr, "OPTIONS", "/register", &preflight, b"");
    assert_eq!(preflight.status, 204);
    let allowed = post(("Origin", "https://console.example"));
    assert_eq!(allowed.status, 201);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://console.example"));
    let probe = exchange(names.addr, "GET", "/health", &[("Host", "10.1.2.3")], b"");
    assert_eq!(probe.status, 200, "orchestrators probe by address");
}

fn nothing_is_there(names: &Names) {
    let empty: Value = json!({ "services": {}, "total_services": 0 });
    assert_eq!(names.get("/services").json(), empty);
}
