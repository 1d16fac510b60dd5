//! The HTTP rules of a service, read from its descriptors.

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, Value};

/// One rule of one RPC.
pub struct Route {
    /// `GET`
    pub method: &'static str,
    /// `/services/{id}:ping`
    pub template: String,
    /// The request message.
    pub input: MessageDescriptor,
    /// What the body is.
    pub body: Body,
}

/// What of the request message the body is.
pub enum Body {
    /// Nothing.
    None,
    /// All but what stands in the path.
    All,
    /// One field.
    Field(FieldDescriptor),
}

impl Route {
    /// Every rule of `service`.
    pub fn of(descriptor_set: &[u8], service: &str) -> Vec<Self> {
        let pool = DescriptorPool::decode(descriptor_set).expect("a descriptor set");
        let http = pool.get_extension_by_name("google.api.http").expect("annotations");
        let service = pool.get_service_by_name(service).expect("a service of the set");
        let mut routes = Vec::new();
        for rpc in service.methods().filter(|rpc| !rpc.is_client_streaming()) {
            let options = rpc.options();
            if let Value::Message(rule) = options.get_extension(&http).as_ref() {
                Self::add(&mut routes, &rpc.input(), rule);
            }
        }
        routes
    }

    fn add(routes: &mut Vec<Self>, input: &MessageDescriptor, rule: &DynamicMessage) {
        let text = |name: &str| match rule.get_field_by_name(name).as_deref() {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let method =
            ["get", "put", "post", "delete", "patch"].into_iter().find(|method| text(method).is_some());
        if let Some(method) = method {
            let body = match text("body").as_deref() {
                None => Body::None,
                Some("*") => Body::All,
                Some(field) => Body::Field(input.get_field_by_name(field).expect("the body's field")),
            };
            let template = text(method).unwrap_or_default();
            let method = match method {
                "get" => "GET",
                "put" => "PUT",
                "post" => "POST",
                "delete" => "DELETE",
                _ => "PATCH",
            };
            routes.push(Self { method, template, input: input.clone(), body });
        }
        if let Some(Value::List(more)) = rule.get_field_by_name("additional_bindings").as_deref() {
            for rule in more.iter().filter_map(Value::as_message) {
                Self::add(routes, input, rule);
            }
        }
    }

    /// Whether it has fields for a query string to fill.
    pub fn takes_query(&self) -> bool {
        !matches!(self.body, Body::All)
    }
}
