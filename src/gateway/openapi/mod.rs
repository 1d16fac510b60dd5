//! An OpenAPI 3.1 document of the JSON paths, made of what the paths themselves are made
//! of: descriptors, `google.api.http` annotations, and the comments of the protos.
//!
//! Start with [`document`]. A [`super::rule::Rule`] becomes an operation (`operations`):
//! its path (`paths`), its parameters (`parameters`), its body and its answers, refusals
//! included (`failures`). The messages and enums that operations refer to become named
//! schemas (`schemas`, `values`). The document says what the server does: an answer
//! always validates against it, and a request that follows it is understood, though more
//! is: both spellings of names, numbers as strings, `null` for unset.
//!
//! The same descriptors and options make the same bytes.

mod bare;
mod comments;
#[cfg(test)]
mod emitted_tests;
mod enums;
mod failures;
mod healthz;
mod node;
mod operations;
mod parameters;
mod paths;
mod place;
mod reach;
mod schemas;
mod streams;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, ServiceDescriptor};
use serde_json::{Map, Value};

use self::{comments::Comments, node::Object, operations::Operation, place::Placed, schemas::Schemas};
use super::{
    BuildError, Options,
    rule::{self, Rule},
    schema::Schema,
};

/// What a document says beside what the descriptors say.
#[derive(Clone, Debug, Default)]
pub struct OpenApi {
    /// The API's name.
    pub title: String,
    /// The API's version.
    pub version: String,
    /// What is said of the whole; if nothing, the comment at the head of the first
    /// service's file.
    pub description: String,
    /// Paths that are no RPCs, with their path item objects. They come last; one that is
    /// there already is replaced.
    pub paths: Vec<(String, Value)>,
    /// The security scheme objects, by name.
    pub security_schemes: Map<String, Value>,
    /// The security requirement objects of all operations.
    pub security: Vec<Value>,
}

/// The document of these services, as a gateway with these options serves them: JSON on
/// one line.
pub fn document(
    pool: &DescriptorPool,
    services: &[&str],
    options: &Options,
    about: &OpenApi,
) -> Result<String, BuildError> {
    let mut rules = rule::of(pool, services, options.unbound_methods)?;
    // A stream of requests has no form that this document could describe.
    rules.retain(|rule| !rule.rpc.is_client_streaming());
    Ok(render(pool, &rules, options, about))
}

/// The document of these rules.
pub(super) fn render(pool: &DescriptorPool, rules: &[Rule], options: &Options, about: &OpenApi) -> String {
    let (types, comments) = (Schema::new(pool), Comments::new(pool));
    let mut schemas = Schemas::new(pool, &types, &comments, options.json);
    let operations: Vec<Operation<'_>> =
        rules.iter().filter_map(|rule| Operation::new(rule, &schemas)).collect();
    let placed = place::place(&operations);
    for one in &placed {
        one.operation.take_up(&mut schemas);
    }

    let names = Names::new(rules);
    let document = Object::new()
        .with("openapi", "3.1.0")
        .with("info", info(rules, &comments, about))
        .with("tags", names.tags(rules, &comments))
        .with("paths", paths(placed, &schemas, options, &names, about))
        .with("components", components(&schemas, options, about))
        .with_some("security", (!about.security.is_empty()).then(|| about.security.clone()));
    serde_json::to_string(&document).unwrap_or_default()
}

fn info(rules: &[Rule], comments: &Comments, about: &OpenApi) -> Object {
    let head = rules.first().and_then(|rule| comments.of_file(&rule.rpc.parent_file()));
    let description = Some(about.description.as_str()).filter(|said| !said.is_empty()).or(head);
    Object::new()
        .with("title", about.title.as_str())
        .with_some("description", description)
        .with("version", about.version.as_str())
}

/// The paths in the order of their declaration.
fn paths(
    placed: Vec<Placed<'_>>,
    schemas: &Schemas<'_>,
    options: &Options,
    names: &Names,
    about: &OpenApi,
) -> Object {
    let mut items: Vec<(String, Object)> = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for Placed { operation, method, path, slots } in placed {
        let rpc = &operation.rule.rpc;
        let service = names.of(rpc.parent_service());
        let count = counts.entry(rpc.full_name()).or_default();
        *count += 1;
        let mut id = format!("{}_{}", service.replace('.', "_"), rpc.name());
        if *count > 1 {
            id.push_str(&count.to_string());
        }
        let object = operation.document(schemas, options, service, id, slots);
        match items.iter_mut().find(|(known, _)| *known == path) {
            Some((_, item)) => item.push(method, object),
            None => items.push((path, Object::new().with(method, object))),
        }
    }
    let mut paths = Object::new();
    for (path, item) in items {
        paths.push(format!("{}{path}", options.prefix), item);
    }
    if let Some(path) = &options.healthz {
        paths.put(path, healthz::path_item());
    }
    for (path, item) in &about.paths {
        paths.put(path, item.clone());
    }
    paths
}

fn components(schemas: &Schemas<'_>, options: &Options, about: &OpenApi) -> Object {
    let mut all = schemas.components();
    for (name, schema) in failures::schemas(options.json.emit_unpopulated) {
        all.push(name, schema);
    }
    let responses = failures::responses()
        .into_iter()
        .fold(Object::new(), |object, (name, response)| object.with(name, response));
    let security = (!about.security_schemes.is_empty()).then(|| Value::from(about.security_schemes.clone()));
    Object::new().with("schemas", all).with("responses", responses).with_some("securitySchemes", security)
}

/// What services are called: by their own names, or by their full ones if two would be
/// called the same.
struct Names {
    full: bool,
}

impl Names {
    fn new(rules: &[Rule]) -> Self {
        let services = rules.iter().map(|rule| rule.rpc.parent_service());
        let (mut full, mut own) = (BTreeSet::new(), BTreeSet::new());
        for service in services {
            full.insert(service.full_name());
            own.insert(service.name());
        }
        Self { full: full.len() != own.len() }
    }

    fn of<'a>(&self, service: &'a ServiceDescriptor) -> &'a str {
        if self.full { service.full_name() } else { service.name() }
    }

    fn tags(&self, rules: &[Rule], comments: &Comments) -> Vec<Object> {
        let mut seen = BTreeSet::new();
        let services = rules.iter().map(|rule| rule.rpc.parent_service());
        services
            .filter(|service| seen.insert(service.full_name()))
            .map(|service| {
                Object::new().with("name", self.of(service)).with_some("description", comments.of(service))
            })
            .collect()
    }
}
