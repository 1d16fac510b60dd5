//! Where we differ from gRPC-gateway and know why. Everything else that differs is a fault.
//!
//! Each stands as a row in a table of docs/gateway.md too, and each has a request that
//! shows it: what does not differ any more is no difference to be known.

use std::io;

use crate::{
    deviations::table,
    differential::Pair,
    leasehold::FLAGS,
    request::Request,
    support::{Server, http::Answer},
};

/// What one side gave: an answer, or the end of the connection.
pub type Outcome = io::Result<Answer>;

/// A difference with its reason.
pub struct Known {
    /// The first cell of its row.
    pub what: &'static str,
    /// Whether this is it: the request, their answer, ours.
    pub is: fn(&Request, &Outcome, &Outcome) -> bool,
    /// Shows it.
    example: fn() -> Request,
}

/// Between the echo behind gRPC-gateway and the echo behind our door.
pub const ECHO: &[Known] = &[
    Known {
        what: "bytes that HTTP forbids in a request line or a header's name",
        is: |_, _, ours| {
            status(ours) == Some(400) && ours.as_ref().is_ok_and(|answer| answer.body.is_empty())
        },
        example: || Request::new("GET", "/services/a<b"),
    },
    Known {
        what: "`#` in a request line",
        is: |request, _, _| request.target.contains('#'),
        example: || Request::new("GET", "/services/a#b"),
    },
    Known {
        what: "`Grpc-Metadata-` without a name, or `Grpc-Metadata-Connection`",
        is: |request, theirs, ours| {
            let is_odd = |name: &str| matches!(name, "Grpc-Metadata-" | "Grpc-Metadata-Connection");
            request.headers.iter().any(|(name, _)| is_odd(name))
                && (status(theirs), status(ours)) == (Some(500), Some(200))
        },
        example: || Request::new("GET", "/services").header("Grpc-Metadata-", "x"),
    },
    Known {
        what: "an answer that JSON has no form for",
        is: |_, theirs, ours| {
            let unwritable = |outcome| (status(outcome), error_code(outcome)) == (Some(500), Some(2));
            unwritable(theirs) && unwritable(ours)
        },
        example: || Request::new("GET", "/services?mask=fooBar"),
    },
    Known {
        what: "a refusal that quotes bytes which are no UTF-8",
        is: |_, theirs, ours| {
            says(theirs, "failed to marshal error message")
                && (status(ours), error_code(ours)) == (Some(400), Some(3))
        },
        example: || Request::new("GET", "/kinds/level/%FF"),
    },
    Known {
        what: "`null` for an `Any`, where a mask is made of the body",
        is: |request, theirs, ours| request.method == "PATCH" && theirs.is_err() && ours.is_ok(),
        example: || Request::new("PATCH", "/kinds/patch").body(r#"{"any":null}"#),
    },
    Known {
        what: "a `Content-Type` that cannot be read, with a query that binds",
        is: |request, theirs, ours| {
            request.has("content-type", "a/b; =") && (status(theirs), status(ours)) == (Some(400), Some(200))
        },
        example: || {
            let request = Request::new("PATCH", "/services/a1/info?update_mask=x");
            request.header("Content-Type", "a/b; =").body("{}")
        },
    },
    Known {
        what: "half a surrogate pair, or bytes that are no UTF-8, in strings that are the body's one field",
        is: |_, theirs, ours| {
            (status(theirs), status(ours)) == (Some(200), Some(400))
                && (says(ours, "half of a surrogate pair") || says(ours, "UTF-8"))
        },
        example: || Request::new("POST", "/kinds/field/text").body(r#""\ud800""#),
    },
    Known {
        what: "a form over 10 MiB",
        is: |_, theirs, ours| (status(theirs), status(ours)) == (Some(400), Some(429)),
        example: || {
            let form = ("Content-Type", "application/x-www-form-urlencoded");
            let body = format!("page_token={}", "x".repeat(11 << 20));
            Request::new("POST", "/services").header(form.0, form.1).body(body)
        },
    },
    Known {
        what: "messages nested over 100 deep (a `Struct` may be 10,000 deep)",
        is: |_, theirs, ours| {
            says(theirs, "recursion limit reached")
                && (status(theirs), status(ours)) == (Some(500), Some(400))
        },
        example: || Request::new("POST", "/kinds").body(children(150)),
    },
];

/// Between leasehold behind gRPC-gateway and leasehold behind its own door.
pub const LEASEHOLD: &[Known] = &[
    Known {
        what: "a POSTed form",
        is: |request, _, _| {
            request.method == "POST" && request.has("content-type", "application/x-www-form-urlencoded")
        },
        example: || {
            let form = ("Content-Type", "application/x-www-form-urlencoded");
            Request::new("POST", "/services").header(form.0, form.1).body("page_size=1")
        },
    },
    Known {
        what: "a path or a query that is no text: bytes that are not UTF-8, `%ZZ` in a path",
        is: |_, theirs, ours| {
            let is_theirs = says(theirs, "string field contains invalid UTF-8")
                || says(theirs, "failed to marshal error message")
                || says(theirs, "400 Bad Request");
            is_theirs && (status(ours), error_code(ours)) == (Some(400), Some(3))
        },
        example: || Request::new("GET", "/services/%FF"),
    },
    Known {
        what: "a number in `info` that a double would change",
        is: |_, _, ours| status(ours) == Some(400) && says(ours, "INEXACT_NUMBER"),
        example: || {
            let body = r#"{"url":"http://a:1","info":{"a":9007199254740993}}"#;
            Request::new("POST", "/services/$register").body(body)
        },
    },
    Known {
        what: "`POST /services`",
        is: |_, theirs, ours| says(theirs, "Method Not Allowed") && says(ours, "Method Not Allowed: "),
        example: || Request::new("POST", "/services").body("{}"),
    },
    Known {
        what: "`Grpc-Metadata-Host`",
        is: |request, _, _| request.headers.iter().any(|(name, _)| name == "Grpc-Metadata-Host"),
        example: || Request::new("GET", "/services").header("Grpc-Metadata-Host", "h"),
    },
    // Those of the echo that any service has.
    Known { what: ECHO[0].what, is: ECHO[0].is, example: ECHO[0].example },
    Known { what: ECHO[1].what, is: ECHO[1].is, example: ECHO[1].example },
];

#[test]
fn known_differences_are_documented_and_there() {
    let mut pair = Pair::echo(&[]);
    let documented = table("## Deviations").into_iter().filter(|row| !row.is_recorded()).map(|row| row.what);
    let known: Vec<&str> = ECHO.iter().map(|known| known.what).collect();
    assert_eq!(documented.collect::<Vec<_>>(), known, "the rows of docs/gateway.md");
    for known in ECHO {
        pair.expect_difference(known.what, &(known.example)(), known.is);
    }
}

#[test]
fn leaseholds_own_differences_are_documented_and_there() {
    let (theirs, ours) = (Server::start(&FLAGS), Server::start(&FLAGS));
    let mut pair = Pair::leasehold(&theirs, &ours);
    let documented = table("## leasehold's own choices").into_iter().map(|row| row.what);
    let known: Vec<&str> = LEASEHOLD.iter().map(|known| known.what).filter(|what| !is_echos(what)).collect();
    assert_eq!(documented.collect::<Vec<_>>(), known, "the rows of docs/gateway.md");
    for known in LEASEHOLD {
        pair.expect_difference(known.what, &(known.example)(), known.is);
    }
}

/// A message in a message, so deep.
pub fn children(depth: usize) -> String {
    format!("{}{{}}{}", r#"{"child":"#.repeat(depth), "}".repeat(depth))
}

fn is_echos(what: &str) -> bool {
    ECHO.iter().any(|known| known.what == what)
}

fn status(outcome: &Outcome) -> Option<u16> {
    outcome.as_ref().ok().map(|answer| answer.status)
}

fn error_code(outcome: &Outcome) -> Option<i64> {
    let body: serde_json::Value = serde_json::from_slice(&outcome.as_ref().ok()?.body).ok()?;
    body.get("code").or_else(|| body.pointer("/error/code"))?.as_i64()
}

fn says(outcome: &Outcome, text: &str) -> bool {
    outcome.as_ref().is_ok_and(|answer| answer.text().contains(text))
}
