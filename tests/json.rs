//! The JSON door as a script or servicekit meets it: the guide's payload and its answers
//! field by field, the paths, the error shape, health, and the flags that move or guard it.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{SOON, Server, http::Answer, wait_for};

/// What the servicekit guide posts.
fn guide_payload() -> Value {
    json!({
        "url": "http://ml-service:8000",
        "info": {
            "display_name": "ML Service",
            "version": "2.0.0",
            "deployment_env": "production",
            "team": "data-science",
            "capabilities": ["ml-inference", "feature-extraction"],
            "priority": 5
        }
    })
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn is_ulid(text: &Value) -> bool {
    let text = text.as_str().unwrap();
    text.len() == 26 && text.chars().all(|c| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(c))
}

/// RFC 3339 in UTC, as the proto3 JSON mapping writes it.
fn is_utc(time: &Value) -> bool {
    let text = time.as_str().unwrap();
    text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

fn path_of<'a>(ping_url: &'a str, server: &Server) -> &'a str {
    ping_url.strip_prefix(&server.url()).expect("ping_url starts with the request's own authority")
}

#[track_caller]
fn check_error(answer: &Answer, status: u16, code: i64) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.error_code(), code, "{}", answer.text());
}

const INSTANCE_FIELDS: [&str; 14] = [
    "expires_at",
    "id",
    "info",
    "labels",
    "last_ping_at",
    "last_updated",
    "registered_at",
    "revision",
    "service",
    "status",
    "ttl_seconds",
    "url",
    "weight",
    "zone",
];

#[test]
fn the_guides_payload_lives_from_registration_to_deregistration() {
    let server = Server::start(&[]);
    let payload = guide_payload();

    let answer = server.http(
        "POST",
        "/services/$register",
        &[("Content-Type", "application/json")],
        payload.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let registered = answer.json();
    assert_eq!(
        keys(&registered),
        [
            "expires_at",
            "id",
            "lease_token",
            "message",
            "ping_url",
            "revision",
            "service",
            "service_url",
            "status",
            "ttl_seconds"
        ]
    );
    assert!(is_ulid(&registered["id"]), "{registered}");
    let id = registered["id"].as_str().unwrap();
    assert_eq!(registered["status"], "registered");
    assert_eq!(registered["service_url"], "http://ml-service:8000");
    assert!(!registered["message"].as_str().unwrap().is_empty());
    assert_eq!(registered["ttl_seconds"], 30);
    assert_eq!(registered["ping_url"], format!("{}/services/{id}/$ping", server.url()));
    assert_eq!(registered["service"], "ml-service", "info.display_name, folded");
    assert!(registered["lease_token"].as_str().unwrap().len() >= 22, "128 random bits");
    assert!(is_utc(&registered["expires_at"]), "{registered}");
    let revision: u64 = registered["revision"].as_str().expect("uint64 is quoted").parse().unwrap();
    assert!(revision > 0);

    let got = server.get(&format!("/services/{id}"));
    assert_eq!(got.status, 200);
    let instance = got.json();
    assert_eq!(keys(&instance), INSTANCE_FIELDS);
    assert_eq!(instance["id"], id);
    assert_eq!(instance["service"], "ml-service");
    assert_eq!(instance["url"], "http://ml-service:8000");
    assert_eq!(instance["info"], payload["info"], "as it was sent");
    assert_eq!(instance["labels"], json!({}));
    assert_eq!(instance["zone"], "");
    assert_eq!(instance["weight"], 0);
    assert_eq!(instance["status"], "alive");
    assert_eq!(instance["ttl_seconds"], 30);
    assert_eq!(instance["revision"], registered["revision"]);
    assert_eq!(instance["last_ping_at"], instance["registered_at"]);
    assert_eq!(instance["last_updated"], instance["registered_at"]);
    assert!(is_utc(&instance["registered_at"]) && is_utc(&instance["expires_at"]));

    let listed = server.get("/services").json();
    assert_eq!(keys(&listed), ["count", "next_page_token", "resume_token", "services"]);
    assert_eq!(listed["count"], 1);
    assert_eq!(listed["services"], json!([instance]));
    assert_eq!(listed["next_page_token"], "");
    assert!(!listed["resume_token"].as_str().unwrap().is_empty());

    let pinged = server.http("PUT", path_of(registered["ping_url"].as_str().unwrap(), &server), &[], b"");
    assert_eq!(pinged.status, 200, "{}", pinged.text());
    let pinged = pinged.json();
    assert_eq!(keys(&pinged), ["expires_at", "id", "last_ping_at", "status", "ttl_seconds"]);
    assert_eq!(pinged["id"], id);
    assert_eq!(pinged["status"], "alive");
    assert_eq!(pinged["ttl_seconds"], 30);
    assert!(is_utc(&pinged["last_ping_at"]) && is_utc(&pinged["expires_at"]));
    let renewed = server.get(&format!("/services/{id}")).json();
    assert_eq!(renewed["last_ping_at"], pinged["last_ping_at"], "a renewal is read back");
    assert_ne!(renewed["last_ping_at"], instance["last_ping_at"]);
    assert_eq!(renewed["last_updated"], instance["last_updated"], "a renewal moves no content");
    assert_eq!(renewed["revision"], instance["revision"], "a renewal makes no revision");

    let gone = server.http("DELETE", &format!("/services/{id}"), &[], b"");
    assert_eq!(gone.status, 200, "{}", gone.text());
    let gone = gone.json();
    assert_eq!(keys(&gone), ["service", "status"]);
    assert_eq!(gone["status"], "deregistered");
    assert_eq!(keys(&gone["service"]), INSTANCE_FIELDS);
    assert_eq!(gone["service"]["id"], id);
    assert_eq!(gone["service"]["info"], payload["info"]);

    assert_eq!(server.get("/services").json()["services"], json!([]));
    for (method, path) in [
        ("GET", format!("/services/{id}")),
        ("PUT", format!("/services/{id}/$ping")),
        ("DELETE", format!("/services/{id}")),
        ("GET", "/services/ml-service".to_owned()),
        ("DELETE", "/services/ml-service".to_owned()),
        ("PUT", "/services/ml-service/$ping".to_owned()),
    ] {
        let answer = server.http(method, &path, &[], b"");
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
        check_error(&answer, 404, 5);
    }
}

#[test]
fn a_path_may_spell_the_dollar_either_way() {
    let server = Server::start(&[]);
    for (path, url) in [("/services/$register", "http://a:1"), ("/services/%24register", "http://b:1")] {
        let body = json!({"id": "spelled", "url": url}).to_string();
        let answer = server.http("POST", path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        for ping in ["$ping", "%24ping"] {
            let answer = server.http("PUT", &format!("/services/{id}/{ping}"), &[], b"");
            assert_eq!(answer.status, 200, "{ping}: {}", answer.text());
        }
    }
    assert_eq!(server.get("/services").json()["count"], 2);
}

#[test]
fn the_service_name_is_the_first_that_is_given_and_folded() {
    let server = Server::start(&[]);
    let cases = [
        (json!({"service": "Front Door", "id": "x", "info": {"id": "y"}}), "front-door"),
        (json!({"id": "My_Service.v2", "info": {"id": "y", "display_name": "z"}}), "my_service.v2"),
        (json!({"info": {"id": "chap-ewars", "display_name": "z"}}), "chap-ewars"),
        (json!({"info": {"display_name": "  Climate / Data!  "}}), "climate-data"),
        (json!({"info": {"id": 5, "display_name": "Number Id"}}), "number-id"),
        (json!({"info": {}}), "unknown"),
        (json!({}), "unknown"),
    ];
    for (index, (mut body, expect)) in cases.into_iter().enumerate() {
        body["url"] = json!(format!("http://named:{}", 8000 + index));
        let answer = server.post_registration(&body);
        assert_eq!(answer["service"], expect, "{body}");
    }
}

#[test]
fn a_known_path_with_another_method_is_501() {
    let server = Server::start(&[]);
    for (method, path) in [
        ("GET", "/services/x/$ping"),
        ("POST", "/services/x/$ping"),
        ("PATCH", "/services/x"),
        ("PUT", "/services/$register"),
        ("DELETE", "/services"),
        ("OPTIONS", "/services"),
    ] {
        let answer = server.http(method, path, &[], b"");
        assert_eq!(answer.status, 501, "{method} {path}: {}", answer.text());
        check_error(&answer, 501, 12);
        assert_eq!(answer.header("allow"), None);
    }
    check_error(&server.get("/no/such/path"), 404, 5);
    check_error(&server.get("/Services"), 404, 5);
    check_error(&server.get("/services/"), 400, 3);
}

#[test]
fn a_post_to_services_says_what_became_of_the_dollar() {
    let server = Server::start(&[]);
    for path in ["/services", "/services/"] {
        let answer = server.http("POST", path, &[], guide_payload().to_string().as_bytes());
        assert!(answer.status >= 400, "{}", answer.text());
        answer.error_code();
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("$$register") && message.contains("quote"), "{message}");
    }
    wait_for("the log line", SOON, || server.stderr().contains("$$register").then_some(()));
    assert_eq!(server.get("/services").json()["count"], 0);
}

#[test]
fn health_answers_in_both_forms() {
    let server = Server::start(&[]);
    let health = server.get("/health");
    assert_eq!(health.status, 200);
    assert_eq!(health.header("content-type"), Some("application/json"));
    assert_eq!(health.json()["status"], "healthy");

    let head = server.http("HEAD", "/health", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));

    let healthz = server.get("/healthz");
    assert_eq!((healthz.status, healthz.text().as_str()), (200, "{\"status\":\"SERVING\"}\n"));
    let named = server.get("/healthz?service=leasehold.v1.Registry");
    assert_eq!((named.status, named.json()), (200, json!({"status": "SERVING"})));
    check_error(&server.get("/healthz?service=nobody"), 404, 5);

    assert_eq!(server.get("/metrics").status, 200);
}

#[test]
fn a_prefix_moves_the_json_paths_and_ping_url() {
    let server = Server::start(&["--http-prefix", "/v2"]);
    let body = guide_payload().to_string();
    let answer = server.http("POST", "/v2/services/$register", &[], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let registered = answer.json();
    let id = registered["id"].as_str().unwrap();
    assert_eq!(registered["ping_url"], format!("{}/v2/services/{id}/$ping", server.url()));
    let pinged = server.http("PUT", &format!("/v2/services/{id}/$ping"), &[], b"");
    assert_eq!(pinged.status, 200, "{}", pinged.text());
    assert_eq!(server.get("/v2/services").json()["count"], 1);
    for path in ["/services", "/v2services", "/v2/v2/services"] {
        check_error(&server.get(path), 404, 5);
    }
    check_error(&server.http("POST", "/services/$register", &[], body.as_bytes()), 404, 5);
}

#[test]
fn ping_url_follows_the_host_that_may_be_named() {
    let cases: [(&[&str], &str, &str); 5] = [
        (&[], "localhost:7777", "http://localhost:7777/services/"),
        (&[], "[::1]:7777", "http://[::1]:7777/services/"),
        (&["--public-url", "https://registry.test"], "localhost:7777", "https://registry.test/services/"),
        (&["--allowed-host", "registry.test"], "registry.test:81", "http://registry.test:81/services/"),
        (&["--allowed-host", "registry.test"], "127.0.0.1:81", "http://127.0.0.1:81/services/"),
    ];
    for (flags, host, expect) in cases {
        let server = Server::start(flags);
        let body = guide_payload().to_string();
        let answer = server.http("POST", "/services/$register", &[("Host", host)], body.as_bytes());
        assert_eq!(answer.status, 200, "{flags:?} {host}: {}", answer.text());
        let ping_url = answer.json()["ping_url"].as_str().unwrap().to_owned();
        assert!(ping_url.starts_with(expect), "{flags:?} {host}: {ping_url}");
    }
}

#[test]
fn info_comes_back_as_it_was_sent_or_is_refused() {
    let server = Server::start(&[]);
    let register = |info: &str| {
        let body = format!(r#"{{"id":"numbers","url":"http://numbers:1","info":{info}}}"#);
        server.http("POST", "/services/$register", &[], body.as_bytes())
    };
    for info in [
        r#"{"n":9007199254740992}"#,
        r#"{"n":-9007199254740992}"#,
        r#"{"n":0.1}"#,
        r#"{"n":1e300}"#,
        r#"{"n":-0.5,"s":"<a>&\u00e9 \ud83d\ude00","b":[true,false,null],"o":{"":{}}}"#,
        r#"{"b":1,"a":2}"#,
    ] {
        let answer = register(info);
        assert_eq!(answer.status, 200, "{info}: {}", answer.text());
        let sent: Value = serde_json::from_str(info).unwrap();
        let back = server.get("/services/numbers").json()["info"].clone();
        check_same_numbers(&back, &sent);
    }
    let kept = server.get("/services").text();
    for info in [
        r#"{"n":9007199254740993}"#,
        r#"{"n":-9007199254740993}"#,
        r#"{"deep":[{"n":9007199254740993}]}"#,
        r#"{"n":18446744073709551615}"#,
        r#"{"n":1e400}"#,
    ] {
        check_error(&register(info), 400, 3);
    }
    assert_eq!(server.get("/services").text(), kept, "what was refused changed nothing");
}

/// Equal, but for 1.0 against 1.
fn check_same_numbers(back: &Value, sent: &Value) {
    match (back, sent) {
        (Value::Number(back), Value::Number(sent)) => {
            assert!((back.as_f64().unwrap() - sent.as_f64().unwrap()).abs() == 0.0, "{back} for {sent}");
        }
        (Value::Array(back), Value::Array(sent)) => {
            assert_eq!(back.len(), sent.len());
            back.iter().zip(sent).for_each(|(back, sent)| check_same_numbers(back, sent));
        }
        (Value::Object(back), Value::Object(sent)) => {
            assert!(back.keys().eq(sent.keys()), "{back:?} for {sent:?}");
            back.values().zip(sent.values()).for_each(|(back, sent)| check_same_numbers(back, sent));
        }
        _ => assert_eq!(back, sent),
    }
}

#[test]
fn a_batch_answers_each_entry_in_order() {
    let server = Server::start(&[]);
    let batch =
        |body: &Value| server.http("POST", "/services/$batchRegister", &[], body.to_string().as_bytes());
    let answer = batch(&json!({"requests": [
        {"id": "first", "url": "http://a:1"},
        {"id": "second", "url": "not a url"},
        {"id": "third", "url": "http://c:1", "labels": {"tier": "gold"}},
    ]}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = answer.json()["results"].clone();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert_eq!(keys(&results[0]), ["response"]);
    assert_eq!(results[0]["response"]["service"], "first");
    let id = results[0]["response"]["id"].as_str().unwrap();
    assert_eq!(results[0]["response"]["ping_url"], format!("{}/services/{id}/$ping", server.url()));
    assert_eq!(keys(&results[1]), ["error"]);
    assert_eq!(results[1]["error"]["code"], 3);
    assert!(results[1]["error"]["message"].as_str().unwrap().contains("url"));
    assert_eq!(results[2]["response"]["service"], "third");
    assert_eq!(server.get("/services").json()["count"], 2);
    assert_eq!(server.get("/services/third").json()["labels"], json!({"tier": "gold"}));

    let entries = |count: usize| -> Value {
        let entry = |n| json!({"id": "many", "url": format!("http://many:{}", n + 1)});
        json!({"requests": (0..count).map(entry).collect::<Vec<_>>()})
    };
    check_error(&batch(&entries(1001)), 400, 3);
    assert_eq!(server.get("/services").json()["count"], 2);
    let full = batch(&entries(1000)).json();
    assert_eq!(full["results"].as_array().unwrap().len(), 1000);
    assert!(
        full["results"].as_array().unwrap().iter().all(|result| result["response"]["status"] == "registered")
    );
    assert_eq!(server.get("/services").json()["count"], 1002);
}
