//! Requests made up from a seed: of each route of an API, mostly well-formed, each with a
//! few things that a gateway may take one way or another.
//!
//! Nothing here knows a service: routes and fields are read from descriptors, and `values`
//! has for each kind what is worth trying. Of what gRPC-gateway itself decides by chance
//! (which of two spellings of one field wins), nothing is made.

mod body;
mod headers;
mod path;
mod query;
mod rng;
pub mod routes;
mod values;

pub use self::rng::Rng;
use self::routes::{Body, Route};
use crate::request::Request;

/// A request to one of `routes`.
pub fn request(rng: &mut Rng, routes: &[Route]) -> Request {
    let route = &routes[rng.below(routes.len())];
    let mut request = Request::new(route.method, path::path(rng, route));
    if rng.chance(1, 12) {
        request.method = rng.pick(&METHODS).to_owned();
    }
    if route.takes_query() || rng.chance(1, 20) {
        request.target.push_str(&query::query(rng, route));
    }
    match &route.body {
        Body::None if rng.chance(1, 20) => request.body = Some(body::of_message(rng, &route.input)),
        Body::None => {}
        Body::All => request.body = Some(body::of_message(rng, &route.input)),
        Body::Field(field) => request.body = Some(body::of_field(rng, field)),
    }
    if request.body.is_some() && rng.chance(1, 15) {
        request.body = None;
    }
    if rng.chance(1, 12) {
        as_form(rng, &mut request, route);
    }
    headers::add(rng, &mut request);
    request
}

const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get", "FOO"];

/// The same as a browser's form would ask: POST, the fields in the body.
fn as_form(rng: &mut Rng, request: &mut Request, route: &Route) {
    let form = query::query(rng, route);
    request.body = Some(form.trim_start_matches('?').as_bytes().to_vec());
    let content_type = if rng.chance(1, 6) {
        "application/x-www-form-urlencoded; charset=utf-8"
    } else {
        "application/x-www-form-urlencoded"
    };
    if rng.chance(4, 5) {
        "POST".clone_into(&mut request.method);
    }
    request.headers.push(("Content-Type".to_owned(), content_type.to_owned()));
    if rng.chance(1, 2) {
        // Made a HEAD, gRPC-gateway announces a body and sends none: whoever waits for it waits.
        let method = if rng.chance(4, 5) { route.method } else { rng.pick(&METHODS) };
        let method = if method == "HEAD" { "GET" } else { method };
        request.headers.push(("X-HTTP-Method-Override".to_owned(), method.to_owned()));
    }
}
