//! leasehold itself: one server behind gRPC-gateway and one behind our door, told the same.

use crate::{
    compare::canonical,
    differential::Pair,
    generate::routes::Route,
    known::Outcome,
    request::Request,
    support::{Server, http::LineStream},
};

/// Nothing lapses by itself.
pub const FLAGS: [&str; 6] = ["--min-ttl", "1h", "--default-ttl", "1h", "--max-ttl", "1h"];

/// What a client does in its life, and what it does wrong. `{id0}` is the id that the first
/// registration was given, `{token0}` its token, `{page}` and `{resume}` those of the last list.
const LIFE: &[(&str, &str, &str)] = &[
    ("GET", "/services", ""),
    (
        "POST",
        "/services/$register",
        r#"{"url": "http://a:1", "service": "a1", "info": {"b": [1, {}], "a": 1.5}}"#,
    ),
    (
        "POST",
        "/services/$register",
        r#"{"url": "http://b:1", "id": "B One", "ttlSeconds": 7200, "labels": {"k": "v"}}"#,
    ),
    ("POST", "/services/$register", r#"{"url": "http://b:2", "id": "B One", "weight": 3, "zone": "z"}"#),
    ("POST", "/services/$register", r#"{"url": "http://a:1", "service": "a1", "lease_token": "{token0}"}"#),
    ("POST", "/services/$register", r#"{"url": "http://a:1", "service": "a1", "lease_token": "wrong"}"#),
    ("POST", "/services/$register", r#"{"url": "a", "service": "!", "labels": {"": ""}}"#),
    ("POST", "/services/$register", r#"{"url": 5}"#),
    ("POST", "/services/$register", r#"{"url": "http://a:1", "drop_grace": "1m"}"#),
    ("POST", "/services/$register", ""),
    (
        "POST",
        "/services/$batchRegister",
        r#"{"requests": [{"url": "http://c:1", "service": "c"}, {"url": "nowhere"}, {"url": "http://d:1", "service": "d"}]}"#,
    ),
    (
        "POST",
        "/services/$batchRegister",
        r#"{"requests": [{"url": "http://c:1", "info": {"deep": [[[[[[[]]]]]]]}}]}"#,
    ),
    ("POST", "/services/$batchRegister", r#"{"requests": {}}"#),
    ("GET", "/services", ""),
    ("GET", "/services?service=c&service=d", ""),
    ("GET", "/services?labels[k]=v", ""),
    ("GET", "/services?labels=k", ""),
    ("GET", "/services?page_size=2", ""),
    ("GET", "/services?pageSize=2&page_token={page}", ""),
    ("GET", "/services?page_size=2&page_token=nonsense", ""),
    ("GET", "/services?page_size=-1", ""),
    ("GET", "/services/{id0}", ""),
    ("GET", "/services/%61%31", ""),
    ("GET", "/services/b-one", ""),
    ("GET", "/services/nobody", ""),
    ("GET", "/services/", ""),
    ("GET", "/services/{id0}?x=%zz", ""),
    ("PUT", "/services/{id0}/$ping", ""),
    ("PUT", "/services/{id0}/%24ping?lease_token={token0}", ""),
    ("PUT", "/services/{id0}/$ping?lease_token=wrong", ""),
    ("PUT", "/services/b-one/$ping", "{}"),
    ("PUT", "/services/nobody/$ping", "{}"),
    ("POST", "/services/{id0}/$ping", "{}"),
    ("DELETE", "/services/b-one", ""),
    ("DELETE", "/services/nobody", ""),
    ("DELETE", "/services/{id1}?leaseToken=wrong", ""),
    ("DELETE", "/services/{id1}?leaseToken={token1}", ""),
    ("DELETE", "/services/{id1}", ""),
    ("GET", "/services/{id1}", ""),
    ("GET", "/services?page_size=1", ""),
    ("GET", "/services/$watch?resume_token=nonsense", ""),
    ("GET", "/services/$watch?bookmark_interval=1", ""),
    ("PATCH", "/services/{id0}", "{}"),
    ("GET", "/service", ""),
];

/// Streams without an end, and how many of their lines to read.
const WATCHES: &[(&str, usize)] = &[
    ("/services/$watch", 2),
    ("/services/$watch?service=a1", 2),
    ("/services/$watch?service=nobody", 1),
    ("/services/$watch?service=nobody&bookmark_interval=100ms", 2),
    ("/services/$watch?service=nobody&bookmark_interval=1ms", 2),
    ("/services/%24watch?labels[k]=v", 1),
    ("/services/$watch?resume_token={resume}&bookmark_interval=0.1s", 1),
];

#[test]
fn a_life() {
    let (theirs, ours) = (Server::start(&FLAGS), Server::start(&FLAGS));
    let mut pair = Pair::leasehold(&theirs, &ours);
    let mut told = [Told::default(), Told::default()];
    for (method, target, body) in LIFE {
        let [to_theirs, to_ours] = told.each_ref().map(|told| {
            let request = Request::new(method, told.fill(target));
            if body.is_empty() { request } else { request.body(told.fill(body)) }
        });
        let [from_theirs, from_ours] = pair.compare_each(target, [&to_theirs, &to_ours]);
        told[0].listen(&from_theirs);
        told[1].listen(&from_ours);
    }
    pair.finish();

    for (target, lines) in WATCHES {
        let [theirs, ours] = [0, 1].map(|side| {
            let (addr, told) = (pair.addrs()[side], &told[side]);
            let mut stream = LineStream::get(addr, &told.fill(target), &[]);
            let mut text = format!("{}\n", stream.status);
            for _ in 0..*lines {
                let line = stream.line().expect("a stream without an end");
                text += &without_chance(&canonical(&line).expect("a line of JSON"));
                text.push('\n');
            }
            text
        });
        assert_eq!(theirs, ours, "{target}");
    }
}

#[test]
fn made_up_requests() {
    let (theirs, ours) = (Server::start(&FLAGS), Server::start(&FLAGS));
    let mut pair = Pair::leasehold(&theirs, &ours);
    for name in ["a1", "abc", "urn"] {
        let body = format!(r#"{{"url": "http://{name}:1", "service": "{name}"}}"#);
        pair.compare(name, &Request::new("POST", "/services/$register").body(body));
    }
    let mut routes = Route::of(leasehold::proto::FILE_DESCRIPTOR_SET, leasehold::proto::SERVICE_NAME);
    // Its streams have no end.
    routes.retain(|route| !route.template.ends_with("$watch"));
    // What a web page of another origin sends is refused.
    let of_no_page = |request: &mut Request| request.headers.retain(|(name, _)| name != "Origin");
    pair.compare_made_up_as(&routes, 400, of_no_page);
    pair.finish();
}

/// What one side has been told so far.
#[derive(Default)]
struct Told {
    ids: Vec<String>,
    tokens: Vec<String>,
    page: String,
    resume: String,
}

impl Told {
    fn listen(&mut self, outcome: &Outcome) {
        let Some(answer) = outcome.as_ref().ok().filter(|answer| answer.status == 200) else {
            return;
        };
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        if let (Some(id), Some(token)) = (text("id"), text("lease_token")) {
            self.ids.push(id);
            self.tokens.push(token);
        }
        if let (Some(page), Some(resume)) = (text("next_page_token"), text("resume_token")) {
            self.page = page;
            self.resume = resume;
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{page}", &self.page).replace("{resume}", &self.resume);
        for (number, (id, token)) in self.ids.iter().zip(&self.tokens).enumerate() {
            text = text.replace(&format!("{{id{number}}}"), id).replace(&format!("{{token{number}}}"), token);
        }
        text
    }
}

/// The text with ids, tokens, times and addresses made alike.
pub fn without_chance(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let string = rest.find('"').unwrap_or(rest.len());
        if is_ulid(&rest[..word]) {
            out.push_str("(ulid)");
            rest = &rest[word..];
        } else if is_time(&rest[..string]) {
            out.push_str("(time)");
            rest = &rest[string..];
        } else if let Some(after) = rest.strip_prefix("127.0.0.1:") {
            out.push_str("(address)");
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some((name, after)) = SECRETS
            .iter()
            .find_map(|name| Some((*name, rest.strip_prefix(name)?)))
            .filter(|(_, after)| !after.starts_with('"'))
        {
            out.push_str(name);
            out.push_str("(secret)");
            rest = &after[after.find('"').unwrap_or(after.len())..];
        } else {
            // A word as a whole, else one character.
            let step = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
            out.push_str(&rest[..step]);
            rest = &rest[step..];
        }
    }
    out
}

const SECRETS: [&str; 3] = [r#""lease_token":""#, r#""resume_token":""#, r#""next_page_token":""#];

fn is_ulid(word: &str) -> bool {
    word.len() == 26 && word.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

fn is_time(text: &str) -> bool {
    text.len() >= 20
        && text.ends_with('Z')
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZ".contains(&byte))
        && text.as_bytes()[10] == b'T'
}

#[test]
fn what_is_left_to_chance_is_made_alike() {
    let check = |text: &str, expect: &str| assert_eq!(without_chance(text), expect);
    check(r#"{"id":"01M7Z1E48D8491917THN68C5GE"}"#, r#"{"id":"(ulid)"}"#);
    check(
        r#""http://127.0.0.1:9000/x/01M7Z1E48D8491917THN68C5GE/$ping""#,
        r#""http://(address)/x/(ulid)/$ping""#,
    );
    check(r#"{"at":"2026-11-21T12:31:56.989880Z","é":1}"#, r#"{"at":"(time)","é":1}"#);
    check(
        r#"{"lease_token":"37124bc","next_page_token":""}"#,
        r#"{"lease_token":"(secret)","next_page_token":""}"#,
    );
}
