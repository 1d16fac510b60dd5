//! Reading over HTTP: List with its filters and pages, and Watch as JSON lines and as
//! Server-Sent Events.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Server, http::LineStream};

/// Six replicas of three services, two labels; their ids in the order they were made.
fn six_replicas(server: &Server) -> Vec<String> {
    let replicas = [
        ("alpha", "gold", "eu"),
        ("beta", "gold", "us"),
        ("alpha", "iron", "eu"),
        ("gamma", "iron", "us"),
        ("alpha", "gold", "us"),
        ("beta", "iron", "eu"),
    ];
    let register = |(index, (service, tier, region))| {
        let body = json!({
            "service": service,
            "url": format!("http://{service}:{}", index + 1),
            "labels": {"tier": tier, "region": region},
        });
        server.post_registration(&body)["id"].as_str().unwrap().to_owned()
    };
    replicas.into_iter().enumerate().map(register).collect()
}

fn ids(listed: &Value) -> Vec<&str> {
    listed["services"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect()
}

#[test]
fn a_list_is_filtered_by_service_and_labels() {
    let server = Server::start(&[]);
    let made = six_replicas(&server);
    // By service, then by id; the indices are those of `made`.
    let cases: [(&str, &[usize]); 11] = [
        ("", &[0, 2, 4, 1, 5, 3]),
        ("?service=alpha", &[0, 2, 4]),
        ("?service=ALPHA", &[0, 2, 4]),
        ("?service=alpha&service=gamma", &[0, 2, 4, 3]),
        ("?service=none", &[]),
        ("?labels[tier]=gold", &[0, 4, 1]),
        ("?labels%5Btier%5D=gold", &[0, 4, 1]),
        ("?labels[tier]=gold&labels[region]=us", &[4, 1]),
        ("?service=beta&labels[region]=eu", &[5]),
        ("?labels[tier]=lead", &[]),
        ("?labels[nothing]=", &[]),
    ];
    for (query, expect) in cases {
        let listed = server.get(&format!("/services{query}")).json();
        let expect: Vec<&str> = expect.iter().map(|index| made[*index].as_str()).collect();
        assert_eq!(ids(&listed), expect, "{query}");
        assert_eq!(listed["count"], expect.len(), "{query}");
    }
}

#[test]
fn pages_add_up_to_the_list() {
    let server = Server::start(&[]);
    let made = six_replicas(&server);
    for page_size in [1, 2, 4, 6, 7] {
        let mut token = String::new();
        let mut read = Vec::new();
        let mut resume_tokens = Vec::new();
        for _ in 0..=made.len() {
            let path = format!("/services?page_size={page_size}&page_token={token}");
            let page = server.get(&path).json();
            assert_eq!(page["count"], made.len(), "all that match, on every page");
            assert!(ids(&page).len() <= page_size);
            read.extend(ids(&page).into_iter().map(str::to_owned));
            resume_tokens.push(page["resume_token"].clone());
            page["next_page_token"].as_str().unwrap().clone_into(&mut token);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(token, "", "page_size={page_size} comes to an end");
        let all = server.get("/services").json();
        assert_eq!(read, ids(&all), "page_size={page_size}");
        assert!(
            resume_tokens.iter().all(|token| *token == resume_tokens[0]),
            "the first page's, on every page"
        );
    }
    let of_one = server.get("/services?service=alpha&page_size=2").json();
    assert_eq!((&of_one["count"], ids(&of_one).len()), (&json!(3), 2));
}

#[test]
fn a_page_token_needs_its_own_filter() {
    let server = Server::start(&[]);
    six_replicas(&server);
    let token = server.get("/services?page_size=1").json()["next_page_token"].as_str().unwrap().to_owned();
    for query in [format!("service=alpha&page_token={token}"), "page_token=nonsense".to_owned()] {
        let answer = server.get(&format!("/services?page_size=1&{query}"));
        assert_eq!((answer.status, answer.error_code()), (400, 3), "{query}: {}", answer.text());
    }
}

/// The next `{"result": …}` line.
fn result(lines: &mut LineStream) -> Value {
    let line = lines.line().expect("the stream goes on");
    let mut value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(value.as_object().unwrap().len(), 1, "{line}");
    value["result"].take()
}

fn check_change(message: &Value, kind: &str, reason: &str, id: &str) {
    assert_eq!(message["type"], "CHANGES", "{message}");
    let events = message["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{message}");
    assert_eq!((&events[0]["type"], &events[0]["reason"]), (&json!(kind), &json!(reason)), "{message}");
    assert_eq!(events[0]["instance"]["id"], id);
    assert_eq!(events[0]["braked"], false);
    assert_eq!(events[0]["revision"], message["revision"]);
    assert!(!message["resume_token"].as_str().unwrap().is_empty());
}

#[test]
fn a_watch_is_a_result_a_line() {
    let server = Server::start(&[]);
    let made = six_replicas(&server);
    let mut lines = LineStream::get(server.addr, "/services/$watch?service=alpha", &[]);
    assert_eq!(lines.status, 200);
    assert!(lines.headers.contains(&("content-type".to_owned(), "application/json".to_owned())));

    let mut snapshot = Vec::new();
    let synced = loop {
        let message = result(&mut lines);
        if message["type"] != "SNAPSHOT" {
            break message;
        }
        assert_eq!(message["resume_token"], "");
        for event in message["events"].as_array().unwrap() {
            assert_eq!((&event["type"], &event["reason"]), (&json!("REGISTERED"), &json!("LISTED")));
            snapshot.push(event["instance"]["id"].as_str().unwrap().to_owned());
        }
    };
    snapshot.sort();
    assert_eq!(snapshot, [made[0].clone(), made[2].clone(), made[4].clone()]);
    assert_eq!(synced["type"], "SYNCED");
    let token = synced["resume_token"].as_str().unwrap().to_owned();

    let body = json!({"service": "alpha", "url": "http://late:1"});
    let late = server.post_registration(&body)["id"].as_str().unwrap().to_owned();
    server.post_registration(&json!({"service": "other", "url": "http://late:1"}));
    check_change(&result(&mut lines), "REGISTERED", "NEW", &late);
    server.post_registration(&json!({"service": "alpha", "url": "http://late:1", "zone": "b"}));
    check_change(&result(&mut lines), "UPDATED", "CONTENT", &late);
    assert_eq!(server.http("DELETE", &format!("/services/{late}"), &[], b"").status, 200);
    check_change(&result(&mut lines), "DEREGISTERED", "CLIENT", &late);
    drop(lines);

    let path = format!("/services/$watch?service=alpha&resume_token={token}");
    let mut resumed = LineStream::get(server.addr, &path, &[]);
    let mut missed = Vec::new();
    while missed.len() < 3 {
        let message = result(&mut resumed);
        assert_eq!(message["type"], "CHANGES", "{message}");
        for event in message["events"].as_array().unwrap() {
            missed.push(event["type"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(missed, ["REGISTERED", "UPDATED", "DEREGISTERED"]);
}

#[test]
fn a_list_and_a_watch_from_its_token_leave_no_gap() {
    let server = Server::start(&[]);
    six_replicas(&server);
    let token = server.get("/services").json()["resume_token"].as_str().unwrap().to_owned();
    let late = server.post_registration(&json!({"service": "late", "url": "http://late:1"}));
    let mut lines = LineStream::get(server.addr, &format!("/services/$watch?resume_token={token}"), &[]);
    check_change(&result(&mut lines), "REGISTERED", "NEW", late["id"].as_str().unwrap());
}

#[test]
fn a_watch_is_server_sent_events_where_accept_asks() {
    let server = Server::start(&[]);
    let made = six_replicas(&server);
    let mut lines =
        LineStream::get(server.addr, "/services/$watch?service=gamma", &[("Accept", "text/event-stream")]);
    assert_eq!(lines.status, 200);
    let kind = lines.headers.iter().find(|(name, _)| name == "content-type").unwrap().1.clone();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let mut types = Vec::new();
    while types.last().is_none_or(|last| last != "SYNCED") {
        let line = lines.line().expect("the stream goes on");
        let Some(data) = line.strip_prefix("data:") else { continue };
        let message: Value = serde_json::from_str(data).unwrap();
        let message = message.get("result").unwrap_or(&message).clone();
        if message["type"] == "SNAPSHOT" {
            assert_eq!(message["events"][0]["instance"]["id"], made[3]);
        }
        types.push(message["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(types, ["SNAPSHOT", "SYNCED"]);
}

#[test]
fn a_bad_watch_is_refused_before_it_begins() {
    let server = Server::start(&[]);
    for query in ["resume_token=nonsense", "bookmark_interval=abc", "labels=x"] {
        let answer = server.get(&format!("/services/$watch?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        // Refused by the binder, or by the service before its first message.
        let body = answer.json();
        let error = body.get("error").unwrap_or(&body);
        assert_eq!(error["code"], 3, "{query}: {body}");
    }
}
