//! Requests that chance does not make: at the bounds of depth and size, and at the edge of
//! HTTP.

use crate::{differential::Pair, known::children, request::Request};

#[test]
fn depth() {
    let mut pair = Pair::echo(&[]);
    // Where protobuf-go's decoder, its JSON reader and Go's JSON reader give up.
    for depth in [1, 99, 100, 101, 200, 3332, 3333, 3334, 5000, 9997, 9998, 9999, 10_000, 10_001, 100_000] {
        let nested = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let listed = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        pair.compare(&format!("{depth} objects"), &register(&format!(r#"{{"info":{nested}}}"#)));
        pair.compare(&format!("{depth} lists"), &register(&format!(r#"{{"info":{{"a":{listed}}}}}"#)));
        pair.compare(&format!("{depth} lists unknown"), &register(&format!(r#"{{"zzz":{listed}}}"#)));
        pair.compare(&format!("{depth} objects unknown"), &register(&format!(r#"{{"zzz":{nested}}}"#)));
        pair.compare(&format!("{depth} lists for a text"), &register(&format!(r#"{{"url":{listed}}}"#)));
        pair.compare(&format!("{depth} lists cut"), &register(&"[".repeat(depth)));
        pair.compare(&format!("{depth} objects cut"), &register(&r#"{"a":"#.repeat(depth)));
        let patch = Request::new("PATCH", "/services/a1/info").body(format!(r#"{{"info":{nested}}}"#));
        pair.compare(&format!("{depth} objects in a PATCH"), &patch);
        let children = Request::new("POST", "/kinds").body(children(depth));
        pair.compare(&format!("{depth} messages"), &children);
        // One more level than this the answer has around it.
        if depth < 3333 {
            let query = format!(
                "/services?extra={}",
                nested.replace('{', "%7B").replace('}', "%7D").replace('"', "%22")
            );
            pair.compare(&format!("{depth} objects in a query"), &Request::new("GET", query));
        }
    }
    pair.finish();
}

#[test]
fn size() {
    const LIMIT: usize = 4 << 20;
    let mut pair = Pair::echo(&[]);
    let text = |length: usize| "x".repeat(length);
    // The message has 5 bytes more than the text; the answer some more.
    for length in [60_000, LIMIT - 100, LIMIT - 4, 5_000_000] {
        pair.compare(&format!("{length} bytes"), &register(&format!(r#"{{"url":"{}"}}"#, text(length))));
        let unknown = register(&format!(r#"{{"zzz":"{}"}}"#, text(length)));
        pair.compare(&format!("{length} bytes unknown"), &unknown);
        pair.compare(&format!("{length} blanks behind"), &register(&format!("{{}}{}", " ".repeat(length))));
        let form = format!("page_token={}", text(length));
        let form = Request::new("POST", "/services").header("Content-Type", FORM).body(form);
        pair.compare(&format!("a form of {length} bytes"), &form);
    }
    let form = format!("page_token={}", text(11 << 20));
    let form = Request::new("POST", "/services").header("Content-Type", FORM).body(form);
    pair.compare("a form over 10 MiB", &form);
    for count in [9_999, 10_000, 10_001, 20_000] {
        let query = format!("/services?{}", "&".repeat(count - 1));
        pair.compare(&format!("{count} parameters"), &Request::new("GET", query));
    }
    let long = format!("/services/{}", text(16_000));
    pair.compare("a long id", &Request::new("GET", long));
    pair.compare("many tags", &register(&format!(r#"{{"tags":[{}]}}"#, vec![r#""a""#; 20_000].join(","))));
    let numbers = format!("0.{}1", "0".repeat(400));
    pair.compare(
        "a long number",
        &register(&format!(r#"{{"info":{{"a":{numbers}}},"ttl_seconds":"{numbers}"}}"#)),
    );
    pair.finish();
}

#[test]
fn targets_and_methods() {
    let mut pair = Pair::echo(&[]);
    for target in [
        "/services/a#b",
        "/services/a|b",
        "/services/a^b",
        "/services/a`b",
        "/services/a\"b",
        "/services/{a}",
        "/services/a<b>",
        "/services/a\\b",
        "/services/a%00b",
        "/services/é",
        "/services?page_token=é",
        "/services?page_token=a\"b<c>",
        "/services?",
        "/services??page_size=1",
        "/services?page_size=1#page_size=2",
        "/services?page_token=%C3%28",
        "/services/%C3%28",
        "/services/%C3%28?read_mask=a&x=%zz",
        "//",
        "/",
        "/./services",
        "/services/.",
        "/services/a1/.",
        "/healthz",
        "/healthz?service=",
        "/healthz?service=down",
        "/healthz?service=zz&service=down",
        "/healthz?service=%zz",
        "/healthz?nope=1",
        "/healthz/",
        "/healthz:x",
        "/%68ealthz",
    ] {
        pair.compare(target, &Request::new("GET", target));
    }
    for method in ["HEAD", "OPTIONS", "TRACE", "get", "Get", "FOO", "PATCH", "CONNECT"] {
        for target in ["/services", "/services/a1", "/nowhere", "/healthz", "/services:watch"] {
            pair.compare(target, &Request::new(method, target));
        }
    }
    pair.finish();
}

#[test]
fn headers() {
    let mut pair = Pair::echo(&[]);
    let get = |target: &str| Request::new("GET", target);
    for (name, value) in [
        ("Expect", "100-continue"),
        ("Grpc-Timeout", "1n"),
        ("Grpc-Timeout", "1u"),
        ("Grpc-Timeout", "18446744073709551616H"),
        ("Grpc-Timeout", "99999999999999999999S"),
        ("Grpc-Timeout", "+1S"),
        ("Grpc-Timeout", " 1S "),
        ("Grpc-Metadata-", "x"),
        ("Grpc-Metadata-A B", "x"),
        ("Grpc-Metadata-É", "x"),
        ("Grpc-Metadata-X", "é"),
        ("Grpc-Metadata-X", ""),
        ("Grpc-Metadata-X-Bin", "/w=="),
        ("Grpc-Metadata-Grpc-Timeout", "1S"),
        ("Grpc-Metadata-Grpc-Foo", "1"),
        ("Grpc-Metadata-Connection", "close"),
        ("Grpc-Metadata-X-Forwarded-For", "9.9.9.9"),
        ("Grpc-Metadata-X-Forwarded-Host", "h"),
        ("Grpc-Metadata-Authorization", "x"),
        ("X-Forwarded-For", "é"),
        ("X-Forwarded-Host", "é"),
        ("Pragma", "no-cache"),
        ("Host", "other.example"),
        ("Host", ""),
        ("Content-Encoding", "gzip"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Connection", "close"),
        ("TE", "trailers"),
    ] {
        let shown = format!("{name}: {value}");
        pair.compare(&shown, &get("/services?page_token=md").header(name, value));
        pair.compare(&shown, &get("/services:watch?events=1").header(name, value));
        pair.compare(&shown, &register("{}").header(name, value));
    }
    pair.compare("asleep", &get("/services?page_token=sleep").header("Grpc-Timeout", "50m"));
    pair.finish();
}

#[test]
fn forms() {
    let mut pair = Pair::echo(&[]);
    for content_type in
        [FORM, "application/x-www-form-urlencoded;charset=utf-8", "a/b; =", "application/grpc", ""]
    {
        let post = |target: &str| Request::new("POST", target).header("Content-Type", content_type);
        pair.compare(content_type, &post("/services").body("page_size=4&nums=1"));
        pair.compare(content_type, &post("/services?nums=2&page_size=5").body("nums=1"));
        pair.compare(content_type, &post("/services").body("a=%zz"));
        pair.compare(content_type, &post("/services").body("{}"));
        pair.compare(content_type, &post("/services/$register").body("{}"));
        pair.compare(content_type, &post("/services/$register").body("url=a"));
        pair.compare(content_type, &post("/services/a1:ping").body("message=m"));
        pair.compare(content_type, &post("/nowhere").body("a=1"));
        for method in ["GET", "get", "PUT", "DELETE", "PATCH", "POST", "FOO", " ", ""] {
            let over = |target: &str| post(target).header("X-HTTP-Method-Override", method);
            pair.compare(method, &over("/services").body("page_size=4"));
            pair.compare(method, &over("/services?page_size=5").body(""));
            pair.compare(method, &over("/services/a1/$ping").body("message=m"));
            pair.compare(method, &over("/services/a1/info").body("validate_only=true"));
            pair.compare(method, &over("/services:watch").body("events=1"));
            pair.compare(method, &over("/nowhere").body("a=%zz"));
        }
        let put = Request::new("PUT", "/services/a1/$ping").header("Content-Type", content_type);
        pair.compare(content_type, &put.body("message=m"));
        let patch =
            Request::new("PATCH", "/services/a1/info?update_mask=x").header("Content-Type", content_type);
        pair.compare(content_type, &patch.clone().body("validate_only=true"));
        pair.compare(content_type, &patch.body("{}"));
    }
    pair.finish();
}

#[test]
fn statuses() {
    let mut pair = Pair::echo(&[]);
    for code in (0..=20).chain([99, 1000, i32::MAX]) {
        let request = register(&format!(r#"{{"url":"code{code}"}}"#));
        pair.compare(&format!("code {code}"), &request);
        pair.compare(&format!("code {code}"), &request.header("TE", "trailers"));
    }
    for url in ["err", "created"] {
        pair.compare(url, &register(&format!(r#"{{"url":"{url}"}}"#)));
        pair.compare(url, &register(&format!(r#"{{"url":"{url}"}}"#)).header("TE", "trailers"));
    }
    for query in ["events=-1", "events=1", "fail_after=1", "fail_after=2&events=5", "events=1000", "events=x"]
    {
        let watch = Request::new("GET", format!("/services:watch?{query}"));
        pair.compare(query, &watch);
        pair.compare(query, &watch.clone().header("TE", "trailers"));
        pair.compare(query, &watch.header("Accept", "text/event-stream"));
    }
    pair.finish();
}

const FORM: &str = "application/x-www-form-urlencoded";

fn register(body: &str) -> Request {
    Request::new("POST", "/services/$register").header("Content-Type", "application/json").body(body)
}
