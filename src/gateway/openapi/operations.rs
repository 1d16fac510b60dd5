//! One operation of the document: what a way to an RPC takes and what it answers.

use super::{
    bare, comments,
    failures::{self, Shown, json},
    node::Object,
    parameters,
    paths::{Path, Slot},
    schemas::Schemas,
    streams,
    values::Way,
};
use crate::gateway::{
    Options,
    rule::Rule,
    schema::{Field, Form, Kind, MessageId, Shape},
};

/// An answer of this type is sent as it is, under a content type of its own.
const HTTP_BODY: &str = "google.api.HttpBody";

/// A rule with the types of its messages looked up.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub rule: &'a Rule,
    pub path: Path,
    input: MessageId,
    output: MessageId,
}

impl<'a> Operation<'a> {
    /// None if the pool does not hold the RPC's messages, which it does.
    pub(super) fn new(rule: &'a Rule, schemas: &Schemas<'_>) -> Option<Self> {
        let find = |name: &str| schemas.types.find(name);
        Some(Self {
            rule,
            path: Path::parse(&rule.template),
            input: find(rule.rpc.input().full_name())?,
            output: find(rule.rpc.output().full_name())?,
        })
    }

    /// Takes up all that the operation will refer to.
    pub(super) fn take_up(&self, schemas: &mut Schemas<'_>) {
        let (mut ins, mut outs) = (Vec::new(), Vec::new());
        match self.body_field(schemas) {
            Some((_, field)) => ins.push(field.kind),
            None if self.rule.body == "*" && !self.narrowed_body(schemas).is_empty() => {
                let fields = &schemas.types.message(self.input).fields;
                ins.extend(fields.iter().map(|field| field.kind));
            }
            None if self.rule.body == "*" => ins.push(Kind::Message(self.input)),
            None => {}
        }
        if self.rule.body != "*" {
            ins.extend(parameters::kinds(schemas, self.input));
        }
        let path_fields = self.path.fields().filter_map(|path| parameters::find(schemas, self.input, path));
        ins.extend(path_fields.map(|(_, field)| field.kind).filter(|kind| matches!(kind, Kind::Enum(_))));
        match self.response_field(schemas) {
            Some((_, field)) => outs.push(field.kind),
            None if self.is_raw(schemas) => {}
            None => outs.push(Kind::Message(self.output)),
        }
        schemas.take_up(ins, Way::In);
        schemas.take_up(outs, Way::Out);
    }

    /// The operation object.
    pub(super) fn document(
        &self,
        schemas: &Schemas<'_>,
        options: &Options,
        tag: &str,
        id: String,
        slots: Vec<Slot>,
    ) -> Object {
        let rpc = &self.rule.rpc;
        let comment = schemas.comments.of(rpc).unwrap_or_default();
        let deprecated = rpc
            .method_descriptor_proto()
            .options
            .as_ref()
            .is_some_and(prost_types::MethodOptions::deprecated);
        let mut parameters = parameters::of_path(schemas, self.input, slots);
        if self.rule.body != "*" {
            let mut taken: Vec<&str> = self.path.fields().collect();
            taken.push(&self.rule.body);
            parameters.extend(parameters::of_query(schemas, self.input, &taken));
        }
        parameters.extend(self.last_event_id(schemas, options));
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Object::new()
            .with("tags", vec![tag.to_owned()])
            .with_some("summary", said(&comments::summary(comment)))
            .with_some("description", said(comment))
            .with("operationId", id)
            .with_some("deprecated", deprecated.then_some(true))
            .with_some("parameters", (!parameters.is_empty()).then_some(parameters))
            .with_some("requestBody", self.request_body(schemas))
            .with("responses", self.responses(schemas, options, comment))
    }

    fn request_body(&self, schemas: &Schemas<'_>) -> Option<Object> {
        let schema = match self.body_field(schemas) {
            Some((parent, field)) => {
                let declared = parameters::declared(schemas, parent, field);
                bare::field(schemas, field, declared.as_ref(), Way::In)
            }
            None if self.rule.body == "*" => {
                let without = self.narrowed_body(schemas);
                if without.is_empty() {
                    schemas.value(Kind::Message(self.input), Way::In)
                } else {
                    schemas.message(self.input, Way::In, &without)
                }
            }
            None => return None,
        };
        Some(Object::new().with("content", json(schema)))
    }

    fn responses(&self, schemas: &Schemas<'_>, options: &Options, comment: &str) -> Object {
        let is_stream = self.rule.rpc.is_server_streaming();
        let ok = if is_stream { self.stream(schemas, options) } else { self.answer(schemas) };
        let mut responses = Object::new().with("200", ok.clone());
        if options.http_code_metadata.is_some() && !is_stream {
            // The service may say 201 or the like.
            responses.push("2XX", ok);
        }
        failures::add(&mut responses, comment, if is_stream { Shown::OfStream } else { Shown::Plain });
        responses
    }

    fn answer(&self, schemas: &Schemas<'_>) -> Object {
        // An answer is described by what is said of its message.
        let said = schemas.comments.of(&self.rule.rpc.output()).map(comments::summary);
        let said = said.filter(|said| !said.is_empty()).unwrap_or_else(|| "The call succeeded".to_owned());
        let content = if self.is_raw(schemas) { raw() } else { json(self.result(schemas)) };
        Object::new().with("description", format!("{said}.")).with("content", content)
    }

    /// OpenAPI 3.1 has no word for a stream: the schemas are those of one line, and of one
    /// event.
    fn stream(&self, schemas: &Schemas<'_>, options: &Options) -> Object {
        if self.is_raw(schemas) {
            return Object::new().with("description", "A stream of bytes.").with("content", raw());
        }
        let name = self.rule.rpc.output().name().to_owned();
        let mut content = json(streams::line(&name, self.result(schemas)));
        let mut said = "A stream of JSON, one object to a line".to_owned();
        if let Some(events) = &options.event_streams {
            let id = id_field(schemas, self.output, &events.id_field);
            let id = id.map(|field| schemas.spelled(field));
            let event = streams::event(&name, self.result(schemas), id);
            content.push("text/event-stream", Object::new().with("schema", event));
            said.push_str(", or of Server-Sent Events to who asks for `text/event-stream`");
        }
        said.push_str(". The schema is that of one of them.");
        Object::new().with("description", said).with("content", content)
    }

    /// What an answer, or a message of a stream, holds.
    fn result(&self, schemas: &Schemas<'_>) -> Object {
        match self.response_field(schemas) {
            Some((parent, field)) => {
                let declared = parameters::declared(schemas, parent, field);
                bare::field(schemas, field, declared.as_ref(), Way::Out)
            }
            None => schemas.value(Kind::Message(self.output), Way::Out),
        }
    }

    /// The header in which a browser that connects again says where it was.
    fn last_event_id(&self, schemas: &Schemas<'_>, options: &Options) -> Option<Object> {
        let events = options.event_streams.as_ref().filter(|_| self.rule.rpc.is_server_streaming())?;
        let field = id_field(schemas, self.input, &events.id_field)?;
        Some(streams::last_event_id(schemas.spelled(field)))
    }

    fn body_field<'s>(&self, schemas: &Schemas<'s>) -> Option<(MessageId, &'s Field)> {
        parameters::find(schemas, self.input, &self.rule.body)
    }

    fn response_field<'s>(&self, schemas: &Schemas<'s>) -> Option<(MessageId, &'s Field)> {
        parameters::find(schemas, self.output, &self.rule.response_body)
    }

    fn is_raw(&self, schemas: &Schemas<'_>) -> bool {
        schemas.types.message(self.output).full_name == HTTP_BODY
    }

    /// The fields that the path fills and the body therefore need not hold.
    fn narrowed_body(&self, schemas: &Schemas<'_>) -> Vec<&str> {
        let has_fields = schemas.types.message(self.input).form == Form::Object;
        self.path.fields().filter(|field| has_fields && !field.contains('.')).collect()
    }
}

/// The field of a message that holds the id of an event.
fn id_field<'s>(schemas: &Schemas<'s>, message: MessageId, name: &str) -> Option<&'s Field> {
    let field = schemas.types.message(message).field(name)?;
    let fits = field.kind == Kind::String && field.shape == Shape::Single;
    fits.then_some(field)
}

/// The `content` of an answer that is sent as it is.
fn raw() -> Object {
    Object::new().with("*/*", Object::new())
}
