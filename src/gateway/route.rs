//! Which RPC a request means: the `google.api.http` annotations of a service, as a list
//! to scan. The last declared route that fits wins; a literal has no precedence over a
//! variable.

use http::Method;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

use super::BuildError;

/// The number of the `google.api.http` extension of a method's options.
const HTTP_EXTENSION: u32 = 72_295_728;

/// One way to reach one RPC.
#[derive(Debug)]
pub(super) struct Route {
    pub method: Method,
    template: Vec<Segment>,
    /// Whether the body is the request message; else the query string binds.
    pub takes_body: bool,
    /// `/package.Service/Method`.
    pub grpc_path: String,
    pub input: MessageDescriptor,
    pub output: MessageDescriptor,
    pub server_streaming: bool,
}

#[derive(Debug, PartialEq)]
enum Segment {
    Literal(String),
    Variable(FieldDescriptor),
}

/// The fields that a path fills, with their texts.
pub(super) type Variables = Vec<(FieldDescriptor, String)>;

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Match<'a> {
    /// An RPC, with the path's values for fields of its request.
    Found(&'a Route, Variables),
    /// Nothing by this method, but something by another.
    OtherMethod,
    /// Nothing.
    Nothing,
}

/// All routes of a service, the last declared first.
#[derive(Debug)]
pub(super) struct RouteTable(Vec<Route>);

impl RouteTable {
    /// Reads the annotations. Fails on what is not understood rather than leave it out.
    pub(super) fn new(pool: &DescriptorPool, service_full_name: &str) -> Result<Self, BuildError> {
        let service = pool
            .get_service_by_name(service_full_name)
            .ok_or_else(|| BuildError::NoService(service_full_name.to_owned()))?;
        let extension = pool
            .get_message_by_name("google.protobuf.MethodOptions")
            .and_then(|options| options.get_extension(HTTP_EXTENSION))
            .ok_or(BuildError::NoAnnotations)?;
        let mut routes = Vec::new();
        for method in service.methods() {
            let options = method.options();
            if !options.has_extension(&extension) {
                continue;
            }
            let rule = options.get_extension(&extension);
            let Some(rule) = rule.as_message() else {
                return Err(BuildError::NoAnnotations);
            };
            routes.push(Route::new(&method, rule)?);
            let additional = rule.get_field_by_name("additional_bindings");
            for binding in additional.iter().filter_map(|list| list.as_list()).flatten() {
                if let Some(rule) = binding.as_message() {
                    routes.push(Route::new(&method, rule)?);
                }
            }
        }
        routes.reverse();
        Ok(Self(routes))
    }

    /// Finds the route of a path that was decoded once. Every segment counts, empty
    /// ones too.
    pub(super) fn find(&self, method: &Method, path: &str) -> Match<'_> {
        let Some(path) = path.strip_prefix('/') else {
            return Match::Nothing;
        };
        let segments: Vec<&str> = path.split('/').collect();
        let mut other_method = false;
        for route in &self.0 {
            if let Some(variables) = route.fit(&segments) {
                if route.method == *method {
                    return Match::Found(route, variables);
                }
                other_method = true;
            }
        }
        if other_method { Match::OtherMethod } else { Match::Nothing }
    }
}

impl Route {
    fn new(rpc: &MethodDescriptor, rule: &DynamicMessage) -> Result<Self, BuildError> {
        let unsupported =
            |what: &str| BuildError::Unsupported { rpc: rpc.full_name().to_owned(), what: what.to_owned() };
        if rpc.is_client_streaming() {
            return Err(unsupported("a stream of requests"));
        }
        let (method, template) =
            pattern(rule).ok_or_else(|| unsupported("a rule without method and path"))?;
        let takes_body = match text(rule, "body").as_str() {
            "" => false,
            "*" => true,
            _ => return Err(unsupported("a body that is one field")),
        };
        if !text(rule, "response_body").is_empty() {
            return Err(unsupported("a response_body"));
        }
        let template = parse_template(&template, &rpc.input())
            .map_err(|what| unsupported(&format!("the template {template:?}: {what}")))?;
        Ok(Self {
            method,
            template,
            takes_body,
            grpc_path: format!("/{}/{}", rpc.parent_service().full_name(), rpc.name()),
            input: rpc.input(),
            output: rpc.output(),
            server_streaming: rpc.is_server_streaming(),
        })
    }

    /// The fields that the path fills.
    pub(super) fn path_fields(&self) -> Vec<FieldDescriptor> {
        self.template
            .iter()
            .filter_map(|segment| match segment {
                Segment::Variable(field) => Some(field.clone()),
                Segment::Literal(_) => None,
            })
            .collect()
    }

    fn fit(&self, segments: &[&str]) -> Option<Variables> {
        if segments.len() != self.template.len() {
            return None;
        }
        let mut variables = Vec::new();
        for (expected, found) in self.template.iter().zip(segments) {
            match expected {
                Segment::Literal(literal) if literal == found => {}
                Segment::Literal(_) => return None,
                Segment::Variable(field) => variables.push((field.clone(), (*found).to_owned())),
            }
        }
        Some(variables)
    }
}

/// The method and the template of a rule.
fn pattern(rule: &DynamicMessage) -> Option<(Method, String)> {
    for (field, method) in [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ] {
        if rule.has_field_by_name(field) {
            return Some((method, text(rule, field)));
        }
    }
    let custom = rule.get_field_by_name("custom")?;
    let custom = custom.as_message()?;
    let method = Method::from_bytes(text(custom, "kind").as_bytes()).ok()?;
    Some((method, text(custom, "path")))
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    let text = value.as_deref().and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Segments that are literals or `{field}`. Wildcards, patterns within a variable,
/// nested fields and verbs are named as what is not supported.
fn parse_template(template: &str, input: &MessageDescriptor) -> Result<Vec<Segment>, String> {
    let path = template.strip_prefix('/').ok_or("it does not start with a slash")?;
    let mut segments = Vec::new();
    for segment in path.split('/') {
        let variable = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        if let Some(name) = variable {
            let field = input
                .get_field_by_name(name)
                .ok_or_else(|| format!("{{{name}}} is not a field of {}", input.full_name()))?;
            let scalar = !matches!(field.kind(), Kind::Message(_));
            if !scalar || field.is_list() || field.is_map() {
                return Err(format!("{{{name}}} is not a single scalar"));
            }
            segments.push(Segment::Variable(field));
        } else if segment.is_empty() {
            return Err("a segment is empty".to_owned());
        } else if let Some(c) = segment.chars().find(|c| !literal(*c)) {
            return Err(format!("{c:?} in the segment {segment:?}"));
        } else {
            segments.push(Segment::Literal(segment.to_owned()));
        }
    }
    Ok(segments)
}

/// What a literal may hold: RFC 3986's pchar, without the escapes, the `*` of
/// wildcards and the `:` of verbs.
fn literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()+,;=@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME};

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
    }

    #[test]
    fn the_last_declared_wins() {
        let table = RouteTable::new(&pool(), SERVICE_NAME).unwrap();
        let cases = [
            ("POST", "/services/$register", "Register"),
            ("POST", "/services/$batchRegister", "BatchRegister"),
            ("PUT", "/services/a/$ping", "Ping id=a"),
            ("PUT", "/services//$ping", "Ping id="),
            ("GET", "/services", "List"),
            ("GET", "/services/", "Get id="),
            ("GET", "/services/a:b", "Get id=a:b"),
            ("GET", "/services/$register", "Get id=$register"),
            ("GET", "/services/$watch", "Watch"),
            ("DELETE", "/services/$watch", "Deregister id=$watch"),
            ("POST", "/services", "other"),
            ("POST", "/services/", "other"),
            ("HEAD", "/services", "other"),
            ("OPTIONS", "/services/a", "other"),
            ("BREW", "/services/a/$ping", "other"),
            ("PUT", "/services/a/$ping:now", "nothing"),
            ("PUT", "/services/a/$ping/", "nothing"),
            ("GET", "/Services", "nothing"),
            ("GET", "//services", "nothing"),
            ("GET", "/services/./a", "nothing"),
            ("GET", "/", "nothing"),
            ("GET", "", "nothing"),
        ];
        for (method, path, expect) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = match table.find(&method, path) {
                Match::Found(route, variables) => {
                    let rpc = route.grpc_path.replace("/leasehold.v1.Registry/", "");
                    let values = variables.iter().map(|(field, text)| format!(" {}={text}", field.name()));
                    rpc + &values.collect::<String>()
                }
                Match::OtherMethod => "other".to_owned(),
                Match::Nothing => "nothing".to_owned(),
            };
            assert_eq!(found, expect, "{method} {path}");
        }
    }

    #[test]
    fn templates() {
        let input = pool().get_message_by_name("leasehold.v1.RegisterRequest").unwrap();
        for good in ["/a", "/a/{id}", "/$a/{weight}/b"] {
            assert!(parse_template(good, &input).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "/",
            "/a/",
            "/a//b",
            "/a/*",
            "/a/**",
            "/{id=*}",
            "/{info}",
            "/{labels}",
            "/{info.fields}",
            "/{nope}",
            "/a:verb",
            "/{id}:verb",
            "/{id",
            "/x{id}",
            "/{}",
            "/%41",
        ] {
            assert!(parse_template(bad, &input).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_service_is_an_error() {
        assert!(matches!(RouteTable::new(&pool(), "no.Such"), Err(BuildError::NoService(_))));
    }
}
