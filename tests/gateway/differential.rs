//! The same requests to gRPC-gateway and to our door, the echo service behind both: the
//! recorded ones, and as many made-up ones as wished.
//!
//! `GATEWAY_REQUESTS` says how many of the latter, `GATEWAY_SEED` where they begin; a
//! difference is shown with the command that repeats it.

use std::{collections::BTreeMap, env, net::SocketAddr};

use serde_json::Value;

use crate::{
    compare::{Body, canonical, missing_trailers},
    generate::{self, Rng, routes::Route},
    known::{self, Known, Outcome},
    leasehold::without_chance,
    peers::Peer,
    request::{Client, Request},
    support::{Server, http::Answer},
    vectors::Vector,
};

/// What `proto/registry/v1/echo.proto` says, annotations included.
pub const ECHO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo_descriptor.bin"));

/// How often gRPC-gateway is asked again when it differs: where it iterates over a Go map, it
/// answers the same request now so, now so.
const ASKED_AGAIN: usize = 12;
/// How many differences are shown, unless `GATEWAY_SHOWN` says otherwise.
const SHOWN: usize = 25;

#[test]
fn recorded_requests() {
    let mut pair = Pair::echo(&[]);
    for vector in Vector::recorded() {
        pair.compare(&vector.name, &vector.request());
    }
    pair.finish();
}

#[test]
fn made_up_requests_of_every_kind() {
    let routes = Route::of(ECHO, "registry.v1.Kinds");
    let mut pair = Pair::echo(&[]);
    pair.compare_made_up(&routes, 600);
    pair.finish();
}

#[test]
fn made_up_requests() {
    let routes = Route::of(ECHO, "registry.v1.Registry");
    let mut pair = Pair::echo(&[]);
    pair.compare_made_up(&routes, 600);
    pair.finish();
}

/// Both doors, and what was found so far.
pub struct Pair {
    theirs: Client,
    ours: Client,
    known: &'static [Known],
    /// What is put in place of what two servers cannot have in common.
    common: fn(&str) -> String,
    asked_again: usize,
    compared: usize,
    /// How often each known difference was met.
    met: Vec<usize>,
    by_chance: usize,
    differences: Vec<String>,
    _peers: Vec<Peer>,
}

impl Pair {
    /// The echo service behind both, with these flags of the profile.
    pub fn echo(flags: &[&str]) -> Self {
        let echo = Peer::echo(flags);
        let gateway = Peer::grpc_gateway("echo", echo.addr, flags);
        let (theirs, ours) = (gateway.addr, echo.addr);
        Self {
            theirs: Client::new(theirs),
            ours: Client::new(ours),
            known: known::ECHO,
            common: str::to_owned,
            asked_again: ASKED_AGAIN,
            compared: 0,
            met: vec![0; known::ECHO.len()],
            by_chance: 0,
            differences: Vec::new(),
            _peers: vec![gateway, echo],
        }
    }

    /// leasehold behind both: as it has a state, one server for each, and nothing is asked
    /// twice.
    pub fn leasehold(theirs: &Server, ours: &Server) -> Self {
        let gateway = Peer::grpc_gateway("leasehold", theirs.addr, &[]);
        Self {
            theirs: Client::new(gateway.addr),
            ours: Client::new(ours.addr),
            known: known::LEASEHOLD,
            common: without_chance,
            asked_again: 0,
            compared: 0,
            met: vec![0; known::LEASEHOLD.len()],
            by_chance: 0,
            differences: Vec::new(),
            _peers: vec![gateway],
        }
    }

    /// Where they listen: theirs, ours.
    pub fn addrs(&self) -> [SocketAddr; 2] {
        [self.theirs.addr, self.ours.addr]
    }

    /// Sends made-up requests: so many, unless the environment says otherwise.
    pub fn compare_made_up(&mut self, routes: &[Route], count: u64) {
        self.compare_made_up_as(routes, count, |_| ());
    }

    /// The same, each changed before it is sent.
    pub fn compare_made_up_as(&mut self, routes: &[Route], count: u64, adapt: impl Fn(&mut Request)) {
        let count = number("GATEWAY_REQUESTS").unwrap_or(count);
        let first = number("GATEWAY_SEED").unwrap_or(1);
        println!("{count} requests, of the seeds from {first} on");
        for seed in first..first + count {
            let mut request = generate::request(&mut Rng::new(seed), routes);
            adapt(&mut request);
            self.compare(&format!("seed {seed}"), &request);
        }
    }

    /// Sends the same request to both.
    pub fn compare(&mut self, name: &str, request: &Request) {
        drop(self.compare_each(name, [request, request]));
    }

    /// Sends each its request, and returns what they answered.
    pub fn compare_each(&mut self, name: &str, [to_theirs, to_ours]: [&Request; 2]) -> [Outcome; 2] {
        self.compared += 1;
        let ours = self.ours.send(to_ours);
        let mut theirs = self.theirs.send(to_theirs);
        let mut found = self.differences_of(&theirs, &ours);
        for _ in 0..self.asked_again {
            let is_known = self.known.iter().position(|known| (known.is)(to_ours, &theirs, &ours));
            if found.is_empty() || is_known.is_some() {
                break;
            }
            theirs = self.theirs.send(to_theirs);
            found = self.differences_of(&theirs, &ours);
            self.by_chance += usize::from(found.is_empty());
        }
        if !found.is_empty() {
            match self.known.iter().position(|known| (known.is)(to_ours, &theirs, &ours)) {
                Some(at) => self.met[at] += 1,
                None => self.differences.push(format!("{name}: {to_ours}\n    {}", found.join("\n    "))),
            }
        }
        [theirs, ours]
    }

    /// Sends one request to both; fails unless they differ, and by this very difference.
    pub fn expect_difference(
        &mut self,
        what: &str,
        request: &Request,
        is: fn(&Request, &Outcome, &Outcome) -> bool,
    ) {
        let (theirs, ours) = (self.theirs.send(request), self.ours.send(request));
        let found = self.differences_of(&theirs, &ours);
        assert!(!found.is_empty(), "{what}: differs no longer\n{request}");
        assert!(is(request, &theirs, &ours), "{what}: differs otherwise\n{request}\n{}", found.join("\n"));
    }

    /// Fails if anything differed without a reason.
    pub fn finish(&self) {
        println!("{} compared; {} that they answer now so, now so", self.compared, self.by_chance);
        for (known, met) in self.known.iter().zip(&self.met) {
            println!("{met} times: {}", known.what);
        }
        let differing = self.differences.len();
        let shown = number("GATEWAY_SHOWN").map_or(SHOWN, |shown| shown as usize).min(differing);
        assert!(
            differing == 0,
            "{differing} of {} requests are answered otherwise than by gRPC-gateway\n\n{}",
            self.compared,
            self.differences[..shown].join("\n\n")
        );
    }

    fn differences_of(&self, theirs: &Outcome, ours: &Outcome) -> Vec<String> {
        let (theirs, ours) = match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => (theirs, ours),
            (Err(_), Err(_)) => return Vec::new(),
            (theirs, ours) => return vec![format!("theirs {theirs:?}"), format!("ours   {ours:?}")],
        };
        let mut found = Vec::new();
        let mut compare = |what: &str, theirs: String, ours: String| {
            if theirs != ours {
                let (theirs, ours) = (around(&theirs, &ours), around(&ours, &theirs));
                found.push(format!("{what}: theirs {theirs}\n    {what}: ours   {ours}"));
            }
        };
        compare("status", theirs.status.to_string(), ours.status.to_string());
        let body = |answer, addr| (self.common)(&content(answer, addr));
        compare("body", body(theirs, self.theirs.addr), body(ours, self.ours.addr));
        compare("headers", format!("{:?}", headers(theirs)), format!("{:?}", headers(ours)));
        compare("trailers", format!("{:?}", trailers(theirs)), format!("{:?}", trailers(ours)));
        let missing = missing_trailers(ours);
        compare("announced trailers that did not come", "[]".to_owned(), format!("{missing:?}"));
        found
    }
}

/// A number that the environment sets.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

/// What of a long text to show: the place from which on it differs.
fn around<'a>(text: &'a str, other: &str) -> &'a str {
    let same = text.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let long = text.len().max(other.len()) > 300;
    let from = text.floor_char_boundary(if long { same.saturating_sub(100) } else { 0 });
    &text[from..text.floor_char_boundary(from + 300)]
}

/// The body as it is compared: strictly, but for errors (texts of code 3) and listings of
/// metadata (what tells of the hop).
fn content(answer: &Answer, own: SocketAddr) -> String {
    let text = answer.text();
    let lenient = text.contains("\"code\"") || text.contains("x-forwarded-");
    if lenient && let Body::Json(values) = Body::parse(&text, Some(&own.to_string())) {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    }
    let lines: Option<Vec<String>> = text.lines().map(canonical).collect();
    match lines {
        // The line break after a message of a stream belongs to it.
        Some(lines) => lines.join("\n") + if text.ends_with('\n') { "\n" } else { "" },
        None => text,
    }
}

/// hyper's date again, and the details of an error as raw bytes: no header can hold them.
const UNCOMPARED_TRAILERS: [&str; 2] = ["grpc-trailer-date", "grpc-trailer-grpc-status-details-bin"];

/// The headers that a gateway decides about. hyper dates gRPC answers too, which the
/// gateway before it takes for metadata.
fn headers(answer: &Answer) -> BTreeMap<&str, Vec<String>> {
    let mut kept: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &answer.headers {
        let compared = matches!(name.as_str(), "content-type" | "www-authenticate" | "trailer");
        if compared || (name.starts_with("grpc-metadata-") && name != "grpc-metadata-date") {
            let values = kept.entry(name).or_default();
            match name.as_str() {
                "trailer" => values.extend(value.split(',').map(|name| name.trim().to_ascii_lowercase())),
                _ => values.push(value.clone()),
            }
        }
    }
    if let Some(names) = kept.get_mut("trailer") {
        names.retain(|name| !UNCOMPARED_TRAILERS.contains(&name.as_str()));
        names.sort();
    }
    kept.retain(|_, values| !values.is_empty());
    kept
}

fn trailers(answer: &Answer) -> Vec<(&str, &str)> {
    let mut kept: Vec<(&str, &str)> = answer
        .trailers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| !UNCOMPARED_TRAILERS.contains(name))
        .collect();
    kept.sort_unstable();
    kept
}
