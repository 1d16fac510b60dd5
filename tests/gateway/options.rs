//! What is off unless it is asked for, and the other ways to write JSON.

use crate::{
    differential::{ECHO, Pair},
    generate::routes::Route,
    request::{Client, Request},
    support::Server,
    vectors::Vector,
};

#[test]
fn forms_are_no_requests_unless_asked_for() {
    let server = Server::start(&[]);
    let mut client = Client::new(server.addr);
    let form = Request::new("POST", "/services")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("page_size=4");
    let check = |client: &mut Client, request: Request| {
        let answer = client.send(&request).unwrap();
        assert_eq!((answer.status, answer.error_code()), (501, 12), "{request}: {}", answer.text());
    };
    check(&mut client, form.clone());
    check(&mut client, form.header("X-HTTP-Method-Override", "GET"));
}

#[test]
fn json_names() {
    compare_profile(&["--json-names"]);
}

#[test]
fn omit_unpopulated() {
    compare_profile(&["--omit-unpopulated"]);
}

#[test]
fn reject_unknown() {
    compare_profile(&["--reject-unknown"]);
}

#[test]
fn all_at_once() {
    compare_profile(&["--json-names", "--omit-unpopulated", "--reject-unknown"]);
}

/// The echo's flags are those of gRPC-gateway in the tests.
fn compare_profile(flags: &[&str]) {
    let mut pair = Pair::echo(flags);
    for vector in Vector::recorded() {
        pair.compare(&vector.name, &vector.request());
    }
    pair.compare_made_up(&Route::of(ECHO, "registry.v1.Registry"), 100);
    pair.compare_made_up(&Route::of(ECHO, "registry.v1.Kinds"), 200);
    pair.finish();
}
