//! The HTTP bindings of RPCs: their annotations, understood.

use http::Method;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::{
    BuildError, fieldmask,
    path::FieldPath,
    query,
    rule::{self, Rule, unfit},
    schema::{MessageId, Schema},
    template::Template,
};

/// One way to reach one RPC.
#[derive(Debug)]
pub(super) struct Binding {
    pub rpc: MethodDescriptor,
    pub method: Method,
    /// As it was written.
    pub template_text: String,
    pub template: Template,
    /// The fields that the template's variables fill, in their order.
    pub path_fields: Vec<FieldPath>,
    pub body: Body,
    /// Whether the query binds: not where body and path fill all there is.
    pub binds_query: bool,
    /// The fields that body and path fill, which the query passes over.
    pub taken: Vec<FieldPath>,
    /// The place of a PATCH's field that names what the body holds.
    pub mask_field: Option<usize>,
    /// The place of the answer's field that is written; none for all of it.
    pub response_body: Option<usize>,
    pub input: MessageId,
    pub output: MessageId,
    /// `/package.Service/Method`.
    pub grpc_path: String,
    pub server_streaming: bool,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing: it is ignored, and the query binds.
    Ignored,
    /// The whole message: the query is ignored.
    Message,
    /// Any number of messages, one behind the other, for an RPC that takes a stream.
    Messages,
    /// The field at this place; the query binds the others.
    Field(usize),
}

/// The bindings of the services, in the order of their declaration. With `unbound`, RPCs
/// without an annotation are bound to `POST /package.Service/Method`.
///
/// Fails on whatever is not understood, rather than leave it out.
pub(super) fn read(
    pool: &DescriptorPool,
    schema: &Schema,
    services: &[&str],
    unbound: bool,
) -> Result<Vec<Binding>, BuildError> {
    let bindings: Vec<Binding> = rule::of(pool, services, unbound)?
        .into_iter()
        .map(|rule| Binding::new(rule, schema))
        .collect::<Result<_, _>>()?;
    no_template_twice(&bindings)?;
    Ok(bindings)
}

fn no_template_twice(bindings: &[Binding]) -> Result<(), BuildError> {
    for (index, binding) in bindings.iter().enumerate() {
        let same = |other: &&Binding| {
            other.rpc.parent_service() == binding.rpc.parent_service()
                && other.method == binding.method
                && other.template_text == binding.template_text
        };
        if let Some(other) = bindings[..index].iter().find(same) {
            let what = format!(
                "{} {} is that of {} already",
                binding.method,
                binding.template_text,
                other.rpc.full_name()
            );
            return Err(unfit(&binding.rpc, &what));
        }
    }
    Ok(())
}

// === impl Binding ===

impl Binding {
    fn new(rule: Rule, schema: &Schema) -> Result<Self, BuildError> {
        let Rule { rpc, method, template: template_text, body, response_body } = rule;
        let unfit = |what: String| unfit(&rpc, &what);
        let id = |name: &str| schema.find(name).ok_or_else(|| unfit(format!("{name} is unknown")));
        let (input, output) = (id(rpc.input().full_name())?, id(rpc.output().full_name())?);
        if !body.is_empty() && matches!(method, Method::GET | Method::DELETE) {
            return Err(unfit(format!("{method} has no body, but `body` is {body:?}")));
        }
        let template = Template::parse(&template_text)
            .map_err(|why| unfit(format!("the template {template_text:?}: {why}")))?;
        if rpc.is_client_streaming() && !template.variables().is_empty() {
            return Err(unfit("a path cannot fill fields of a stream of requests".to_owned()));
        }
        let field = |message: MessageId, name: &str| {
            let message = schema.message(message);
            let place = message.fields.iter().position(|field| field.name == name);
            place.ok_or_else(|| unfit(format!("{} has no field {name:?}", message.full_name)))
        };
        let request = schema.message(input);
        let parameter = |dotted: &str| {
            FieldPath::parameter(schema, request, dotted).map_err(|error| unfit(error.to_string()))
        };
        let variables = template.variables().iter();
        let path_fields: Vec<FieldPath> =
            variables.map(|variable| parameter(&variable.field_path.join("."))).collect::<Result<_, _>>()?;
        let mut taken = path_fields.clone();
        let mut mask_field = None;
        let body = match body.as_str() {
            _ if rpc.is_client_streaming() => Body::Messages,
            "" => Body::Ignored,
            "*" => Body::Message,
            name => {
                let path =
                    FieldPath::resolve(schema, request, name).map_err(|error| unfit(error.to_string()))?;
                if method == Method::PATCH {
                    mask_field = fieldmask::mask_field(schema, request, &path);
                }
                taken.push(path);
                Body::Field(field(input, name)?)
            }
        };
        Ok(Self {
            binds_query: matches!(body, Body::Ignored | Body::Field(_)) && query::applies(request, &taken),
            taken,
            mask_field,
            path_fields,
            body,
            response_body: match response_body.as_str() {
                "" | "*" => None,
                name => Some(field(output, name)?),
            },
            grpc_path: format!("/{}/{}", rpc.parent_service().full_name(), rpc.name()),
            server_streaming: rpc.is_server_streaming(),
            rpc,
            method,
            template_text,
            template,
            input,
            output,
        })
    }
}
