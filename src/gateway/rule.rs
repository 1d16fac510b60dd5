//! The `google.api.http` annotations of services, as they are written: one [`Rule`] for
//! each, and for each of its additional bindings.

use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};

use super::BuildError;

/// The number of the `google.api.http` extension of a method's options.
const HTTP_EXTENSION: u32 = 72_295_728;

/// One way to reach one RPC.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub rpc: MethodDescriptor,
    pub method: Method,
    /// The path's template, without any prefix: `/services/{id}`.
    pub template: String,
    /// The field that the body fills; `*` is the whole message, empty none.
    pub body: String,
    /// The field that makes up the answer; empty or `*` is the whole message.
    pub response_body: String,
}

/// All rules of the services, in the order of their declaration. With `unbound`, RPCs
/// without an annotation have one too, `POST /package.Service/Method`.
pub(super) fn of(pool: &DescriptorPool, services: &[&str], unbound: bool) -> Result<Vec<Rule>, BuildError> {
    let extension = pool
        .get_message_by_name("google.protobuf.MethodOptions")
        .and_then(|options| options.get_extension(HTTP_EXTENSION))
        .ok_or(BuildError::NoAnnotations)?;
    let mut rules = Vec::new();
    for name in services {
        let service =
            pool.get_service_by_name(name).ok_or_else(|| BuildError::NoService((*name).to_owned()))?;
        for rpc in service.methods() {
            let options = rpc.options();
            if !options.has_extension(&extension) {
                rules.extend(unbound.then(|| Rule::unbound(&rpc)));
                continue;
            }
            let rule = options.get_extension(&extension);
            let rule = rule.as_message().ok_or(BuildError::NoAnnotations)?;
            rules.push(Rule::new(&rpc, rule)?);
            for rule in additional(rule) {
                if additional(&rule).next().is_some() {
                    return Err(unfit(&rpc, "an additional binding has additional bindings of its own"));
                }
                rules.push(Rule::new(&rpc, &rule)?);
            }
        }
    }
    Ok(rules)
}

/// An annotation that cannot be followed.
pub(super) fn unfit(rpc: &MethodDescriptor, what: &str) -> BuildError {
    BuildError::Unfit { rpc: rpc.full_name().to_owned(), what: what.to_owned() }
}

impl Rule {
    fn new(rpc: &MethodDescriptor, rule: &DynamicMessage) -> Result<Self, BuildError> {
        let (method, template) =
            pattern(rule).ok_or_else(|| unfit(rpc, "it names no HTTP method and path"))?;
        Ok(Self {
            rpc: rpc.clone(),
            method,
            template,
            body: text(rule, "body"),
            response_body: text(rule, "response_body"),
        })
    }

    fn unbound(rpc: &MethodDescriptor) -> Self {
        Self {
            rpc: rpc.clone(),
            method: Method::POST,
            template: format!("/{}/{}", rpc.parent_service().full_name(), rpc.name()),
            body: "*".to_owned(),
            response_body: String::new(),
        }
    }
}

/// The method and the template of a rule.
fn pattern(rule: &DynamicMessage) -> Option<(Method, String)> {
    let methods = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
    for (field, method) in ["get", "put", "post", "delete", "patch"].into_iter().zip(methods) {
        if rule.has_field_by_name(field) {
            return Some((method, text(rule, field)));
        }
    }
    let custom = rule.get_field_by_name("custom")?;
    let custom = custom.as_message()?;
    let method = Method::from_bytes(text(custom, "kind").as_bytes()).ok()?;
    Some((method, text(custom, "path")))
}

fn additional(rule: &DynamicMessage) -> impl Iterator<Item = DynamicMessage> {
    let list = rule.get_field_by_name("additional_bindings");
    let list = list.and_then(|list| list.as_list().map(<[_]>::to_vec)).unwrap_or_default();
    list.into_iter().filter_map(|rule| rule.as_message().cloned())
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}
