//! The small name registry's dialect, as its clients meet it: each endpoint with status and
//! whole body; names and addresses that come back as they were sent; and that it is the same
//! registry as behind the other doors.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod edges;
mod rig;
mod same;

use serde_json::{Value, json};

use rig::{Names, addresses, said, seen};
use support::{SOON, wait_for};

const USER: &str = "user-service";
const FIRST: &str = "http://localhost:8001";
const SECOND: &str = "http://localhost:8003";

#[test]
fn an_empty_registry() {
    let names = Names::start(&[]);
    assert_eq!(seen(&names.get("/services")), (200, json!({ "services": {}, "total_services": 0 })));
    let nothing = json!({ "service": "nothing", "instances": [], "message": "Service not found" });
    assert_eq!(seen(&names.get("/discover/nothing")), (404, nothing));
    for path in ["/heartbeat", "/deregister"] {
        let not_found = said("not_found", "Service user-service not found");
        assert_eq!(names.pair(path, USER, FIRST), (404, not_found), "{path}");
    }
}

#[test]
fn the_life_of_a_service() {
    let names = Names::start(&[]);
    let registered = said("registered", "Service user-service registered at http://localhost:8001");
    assert_eq!(names.pair("/register", USER, FIRST), (201, registered.clone()));
    let updated = said("updated", "Service user-service at http://localhost:8001 heartbeat updated");
    assert_eq!(names.pair("/register", USER, FIRST), (200, updated));
    names.register(USER, SECOND);
    names.register("payment-service", "http://localhost:8002");

    let counted = |total: u64| json!({ "total_instances": total, "active_instances": total });
    let all = json!({
        "services": { "user-service": counted(2), "payment-service": counted(1) },
        "total_services": 2,
    });
    assert_eq!(seen(&names.get("/services")), (200, all));

    assert_eq!(names.pair("/heartbeat", USER, FIRST), (200, said("ok", "Heartbeat updated")));
    let no_instance = said("not_found", "Instance http://localhost:1 not found for service user-service");
    assert_eq!(names.pair("/heartbeat", USER, "http://localhost:1"), (404, no_instance));
    let no_service = said("not_found", "Service none not found");
    assert_eq!(names.pair("/heartbeat", "none", FIRST), (404, no_service.clone()));

    let gone = said("deregistered", "Service user-service at http://localhost:8001 deregistered");
    assert_eq!(names.pair("/deregister", USER, FIRST), (200, gone.clone()));
    // Its service is known: it is not there any more, which is what was asked for.
    assert_eq!(names.pair("/deregister", USER, FIRST), (200, gone));
    assert_eq!(names.pair("/deregister", "none", FIRST), (404, no_service));
    assert_eq!(names.discover(USER).unwrap(), [SECOND]);
    let no_instance = said("not_found", format!("Instance {FIRST} not found for service {USER}"));
    assert_eq!(names.pair("/heartbeat", USER, FIRST), (404, no_instance));

    assert_eq!(names.pair("/deregister", USER, SECOND).0, 200);
    let no_service = said("not_found", "Service user-service not found");
    assert_eq!(names.pair("/deregister", USER, SECOND), (404, no_service.clone()));
    assert_eq!(names.pair("/heartbeat", USER, SECOND), (404, no_service));
    assert_eq!(names.discover(USER), None);
    assert_eq!(names.pair("/register", USER, FIRST), (201, registered), "it may come again");
}

#[test]
fn what_is_discovered() {
    let names = Names::start(&[]);
    names.register(USER, FIRST);
    let body = seen(&names.get("/discover/user-service")).1;
    let uptime = body["instances"][0]["uptime_seconds"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&uptime), "{body}");
    let instance = json!({ "address": FIRST, "uptime_seconds": uptime });
    assert_eq!(body, json!({ "service": USER, "instances": [instance], "count": 1 }));
    // It counts from the registration, whatever renews it.
    assert_eq!(names.pair("/heartbeat", USER, FIRST).0, 200);
    assert_eq!(names.pair("/register", USER, FIRST).0, 200);
    wait_for("time to pass", SOON, || {
        let body = names.get("/discover/user-service?any=query").json();
        (body["instances"][0]["uptime_seconds"].as_f64().unwrap() > uptime).then_some(())
    });
}

#[test]
fn each_discovery_begins_with_the_next_instance() {
    let names = Names::start(&[]);
    for number in 1..=3 {
        names.register("ring", &format!("http://r:{number}"));
        names.register("Other Ring", &format!("http://o:{number}"));
    }
    let turn = |path: &str, host: &str| -> String {
        let all = names.discover(path).unwrap();
        all.iter().map(|address| address.strip_prefix(&format!("http://{host}:")).unwrap()).collect()
    };
    let turns: Vec<_> = (0..5).map(|_| turn("ring", "r")).collect();
    assert_eq!(turns, ["123", "231", "312", "123", "231"]);
    assert_eq!(turn("Other%20Ring", "o"), "123", "each service by itself");
    assert_eq!(names.pair("/deregister", "ring", "http://r:2").0, 200);
    assert_eq!([turn("ring", "r"), turn("ring", "r"), turn("ring", "r")], ["13", "31", "13"]);
}

#[test]
fn extra_fields_are_metadata() {
    let names = Names::start(&[]);
    let metadata =
        json!({ "version": "1.2", "tags": ["a", { "b": null }], "ttl_seconds": 1, "id": "x", "n": 1.5 });
    let mut body = json!({ "service": "rich", "address": "http://rich" });
    body.as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    assert_eq!(names.post("/register", &body).status, 201);
    let shown = names.get("/discover/rich").json()["instances"][0]["metadata"].clone();
    assert_eq!(shown, metadata);
    assert_eq!(names.post("/register", &body).status, 200);
    assert_eq!(names.pair("/heartbeat", "rich", "http://rich").0, 200);
    assert_eq!(
        names.get("/discover/rich").json()["instances"][0]["metadata"],
        metadata,
        "a heartbeat has none"
    );
    // What is registered is what was said last.
    assert_eq!(names.pair("/register", "rich", "http://rich").0, 200);
    assert_eq!(names.get("/discover/rich").json()["instances"][0].get("metadata"), None);
}

#[test]
fn who_does_not_come_back_is_forgotten() {
    let names = Names::start(&["--default-ttl", "2s"]);
    names.register(USER, FIRST);
    names.wait_gone(USER);
    assert_eq!(names.get("/services").json()["total_services"], 0);
    let no_service = said("not_found", "Service user-service not found");
    assert_eq!(names.pair("/heartbeat", USER, FIRST), (404, no_service), "it is to register again");
    names.register(USER, FIRST);
    assert_eq!(names.discover(USER).unwrap(), [FIRST]);
    // One that has lapsed can still be ended: nobody revives it then.
    names.wait_gone(USER);
    assert_eq!(names.pair("/deregister", USER, FIRST).0, 200);
    assert_eq!(names.pair("/deregister", USER, FIRST).0, 404);
}

#[test]
fn heartbeats_keep_it() {
    let names = Names::start(&["--default-ttl", "2s"]);
    names.register(USER, FIRST);
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 4500 {
        assert_eq!(names.pair("/heartbeat", USER, FIRST), (200, said("ok", "Heartbeat updated")));
        // The passing of time is what is tested.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    names.wait_gone(USER);
}

/// Names and addresses of which many would be one by the other doors' rules, or none at all.
#[test]
fn texts_come_back_as_they_were_sent() {
    let names = Names::start(&[]);
    let services = [
        "user-service",
        "User-Service",
        "user service",
        "user-service ",
        "Grüße",
        "日本語",
        "",
        "a/b",
        "/a",
        "a?b#c",
        "%41",
        "a\"b\\c",
        "a\tb\n",
        "..",
        ".hidden",
        "--",
        "01K83B5V85PQZ1HTH4DQ7NC9JM",
        "name-registry",
        "e\u{301}",
        "é",
    ];
    let addresses = [
        "http://h:1",
        "HTTP://h:1",
        "http://h:1/",
        "h:1",
        "localhost",
        "not an address",
        "http://",
        "http://h:99999",
        "http://h#name-registry?service=A",
        "http://h:1#name-registry?address=h:1",
        "[::1]:80",
        "http://ü",
        " ",
        "",
    ];
    for service in services {
        for address in addresses {
            let (status, body) = names.pair("/register", service, address);
            let text = format!("Service {service} registered at {address}");
            assert_eq!((status, body), (201, said("registered", text)));
        }
    }
    let all = names.get("/services").json();
    assert_eq!(all["total_services"], services.len());
    for service in services {
        let count = addresses.len();
        let counted = json!({ "total_instances": count, "active_instances": count });
        assert_eq!(all["services"][service], counted, "{service:?}");
        if !service.is_empty() {
            let body = seen(&names.get(&format!("/discover/{}", encoded(service)))).1;
            assert_eq!((&body["service"], &body["count"]), (&json!(service), &json!(count)));
            let mut found = rig::addresses(&body);
            let mut expect = addresses.map(str::to_owned);
            found.sort();
            expect.sort();
            assert_eq!(found, expect, "{service:?}");
        }
        let (first, rest) = addresses.split_first().unwrap();
        for address in rest {
            assert_eq!(names.pair("/heartbeat", service, address).0, 200, "{service:?} {address:?}");
            assert_eq!(names.pair("/deregister", service, address).0, 200, "{service:?} {address:?}");
            let text = format!("Instance {address} not found for service {service}");
            assert_eq!(names.pair("/heartbeat", service, address), (404, said("not_found", text)));
        }
        assert_eq!(names.pair("/heartbeat", service, first).0, 200, "{service:?}");
        assert_eq!(names.get("/services").json()["services"][service]["total_instances"], 1);
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn it_says_how_it_fares() {
    let names = Names::start(&[]);
    let (status, body) = seen(&names.get("/health"));
    let timestamp = body["timestamp"].as_str().unwrap();
    assert_eq!((status, &body), (200, &json!({ "status": "healthy", "timestamp": timestamp })));
    // 2026-11-22T00:12:47.123456+00:00
    assert!(
        timestamp.len() == 32 && &timestamp[10..11] == "T" && timestamp.ends_with("+00:00"),
        "{timestamp}"
    );
    let lines = names.server.stdout();
    let lines: Vec<&str> = lines.lines().collect();
    let last = format!("listening on http://{}", names.server.addr);
    assert_eq!(lines[lines.len() - 2..], [format!("name registry on http://{}", names.addr), last]);
}

#[test]
fn no_listener_no_dialect() {
    let server = support::Server::start(&[]);
    assert!(!server.stdout().contains("name registry"));
    let refused = server.http("POST", "/register", &[rig::JSON], br#"{"service":"a","address":"http://a"}"#);
    assert_eq!(refused.status, 404);
    let body: Value = server.get("/services").json();
    assert_eq!(body["count"], 0, "{body}");
    let names = Names::start(&[]);
    names.register("a", "http://a");
    // The main port's paths are its own.
    assert_eq!(addresses(&names.get("/discover/a").json()), ["http://a"]);
    assert_eq!(names.get("/services/$watch").status, 404);
    assert_eq!(names.server.get("/discover/a").status, 404);
}
