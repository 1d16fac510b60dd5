//! The schemas of messages and enums, under their full names: those that the bindings
//! reach, and no others.
//!
//! A message may be shown in two ways. In an answer every field is there that the
//! writer always writes, and unset messages are `null`; in a request nothing has to be
//! there. A message that occurs both ways has a schema for each, the latter named `…-Input`.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, ExtensionDescriptor, FieldDescriptor, MessageDescriptor};

use super::{
    comments::Comments,
    enums,
    failures::{ANY, STATUS},
    node::Object,
    values::{self, Way, typed},
};
use crate::gateway::{
    json::JsonOptions,
    schema::{EnumId, Field, Form, Kind, MessageId, Presence, Schema, Shape},
};

/// The number of the `google.api.field_behavior` extension of a field's options, and the
/// values of it that matter here.
const FIELD_BEHAVIOR: u32 = 1052;
const REQUIRED: i32 = 2;
const OUTPUT_ONLY: i32 = 3;

/// The types of a pool as a document shows them.
#[derive(Debug)]
pub(super) struct Schemas<'a> {
    pool: &'a DescriptorPool,
    pub types: &'a Schema,
    pub comments: &'a Comments,
    pub json: JsonOptions,
    field_behavior: Option<ExtensionDescriptor>,
    /// The full names of what the document refers to.
    inputs: BTreeSet<String>,
    outputs: BTreeSet<String>,
    enums: BTreeSet<String>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(
        pool: &'a DescriptorPool,
        types: &'a Schema,
        comments: &'a Comments,
        json: JsonOptions,
    ) -> Self {
        let field_behavior = pool
            .get_message_by_name("google.protobuf.FieldOptions")
            .and_then(|options| options.get_extension(FIELD_BEHAVIOR));
        let (inputs, outputs, enums) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { pool, types, comments, json, field_behavior, inputs, outputs, enums }
    }

    /// Takes up kinds, and all that their fields refer to. Has to be done with everything
    /// before the first schema is made: their names depend on it.
    pub(super) fn take_up(&mut self, kinds: Vec<Kind>, way: Way) {
        let mut waiting = kinds;
        while let Some(kind) = waiting.pop() {
            match kind {
                Kind::Enum(id) if !self.types.enumeration(id).is_null => {
                    self.enums.insert(self.types.enumeration(id).full_name.clone());
                }
                Kind::Message(id) if self.is_component(id) => {
                    let message = self.types.message(id);
                    let known = if way == Way::Out { &mut self.outputs } else { &mut self.inputs };
                    if known.insert(message.full_name.clone()) {
                        waiting.extend(message.fields.iter().map(|field| field.kind));
                    }
                }
                _ => {}
            }
        }
    }

    /// Everything that was taken up, by name.
    pub(super) fn components(&self) -> Object {
        let mut all: Vec<(String, Object)> = Vec::new();
        for (names, way) in [(&self.inputs, Way::In), (&self.outputs, Way::Out)] {
            for id in names.iter().filter_map(|name| self.types.find(name)) {
                all.push((self.name(id, way), self.message(id, way, &[])));
            }
        }
        for descriptor in self.enums.iter().filter_map(|name| self.pool.get_enum_by_name(name)) {
            all.push((descriptor.full_name().to_owned(), enums::schema(&descriptor, self.comments)));
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter().fold(Object::new(), |object, (name, schema)| object.with(name, schema))
    }

    /// The schema of a message, but for the fields named in `without`.
    pub(super) fn message(&self, id: MessageId, way: Way, without: &[&str]) -> Object {
        let message = self.types.message(id);
        let descriptor = self.descriptor(id);
        let fields = message.fields.iter().filter(|field| !without.contains(&field.name.as_str()));
        let fields: Vec<&Field> = fields.collect();
        let (mut properties, mut required) = (Object::new(), Vec::new());
        for &field in &fields {
            let declared = descriptor.as_ref().and_then(|descriptor| descriptor.get_field(field.number));
            let behavior = declared.as_ref().map(|declared| self.behavior(declared)).unwrap_or_default();
            let always = match way {
                Way::Out => self.json.emit_unpopulated && field.presence != Presence::Nothing,
                Way::In | Way::Text => behavior.contains(&REQUIRED),
            };
            if always {
                required.push(self.spelled(field));
            }
            let mut property = self.field(field, declared.as_ref(), way);
            if behavior.contains(&OUTPUT_ONLY) {
                property.push("readOnly", true);
            }
            properties.push(self.spelled(field).to_owned(), property);
        }
        let comment = descriptor.as_ref().and_then(|descriptor| self.comments.of(descriptor));
        let deprecated = descriptor.is_some_and(|descriptor| {
            descriptor
                .descriptor_proto()
                .options
                .as_ref()
                .is_some_and(prost_types::MessageOptions::deprecated)
        });
        typed("object")
            .with_some("description", comment)
            .with_some("deprecated", deprecated.then_some(true))
            .with("properties", properties)
            .with_some("required", (!required.is_empty()).then_some(required))
            .with_some("not", self.two_of_one(&fields, message.oneofs.len()))
    }

    /// The schema of a field, with what is said about it.
    pub(super) fn field(&self, field: &Field, declared: Option<&FieldDescriptor>, way: Way) -> Object {
        let value = self.value(field.kind, way);
        let schema = match field.shape {
            Shape::List { .. } => typed("array").with("items", value),
            Shape::Map { .. } => typed("object").with("additionalProperties", value),
            Shape::Single
                if way == Way::Out && self.json.emit_unpopulated && field.presence == Presence::Null =>
            {
                values::or_null(value)
            }
            Shape::Single => value,
        };
        let mut texts: Vec<&str> = Vec::new();
        texts.extend(declared.and_then(|declared| self.comments.of(declared)));
        if let Kind::Message(id) = field.kind {
            texts.extend(values::hint(self.types.message(id).form, way));
        }
        let deprecated = declared.is_some_and(|declared| {
            let options = declared.field_descriptor_proto().options.as_ref();
            options.is_some_and(prost_types::FieldOptions::deprecated)
        });
        schema
            .with_some("description", (!texts.is_empty()).then(|| texts.join("\n\n")))
            .with_some("deprecated", deprecated.then_some(true))
    }

    /// The schema of one value of a kind.
    pub(super) fn value(&self, kind: Kind, way: Way) -> Object {
        match kind {
            Kind::Enum(id) => self.enum_value(id, way),
            Kind::Message(id) => values::well_known(self.types.message(id).form, way)
                .unwrap_or_else(|| Object::reference("schemas", &self.name(id, way))),
            _ => values::scalar(kind, way),
        }
    }

    /// The name that a field has in JSON.
    pub(super) fn spelled<'f>(&self, field: &'f Field) -> &'f str {
        if self.json.proto_names { &field.name } else { &field.json_name }
    }

    pub(super) fn descriptor(&self, id: MessageId) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(&self.types.message(id).full_name)
    }

    /// What `google.api.field_behavior` says of a field.
    fn behavior(&self, field: &FieldDescriptor) -> Vec<i32> {
        let Some(extension) = &self.field_behavior else {
            return Vec::new();
        };
        let options = field.options();
        let values = options.get_extension(extension);
        values.as_list().into_iter().flatten().filter_map(prost_reflect::Value::as_enum_number).collect()
    }

    /// By name; in an answer, a number that has none stands for itself.
    fn enum_value(&self, id: EnumId, way: Way) -> Object {
        let descriptor = self.types.enumeration(id);
        if descriptor.is_null {
            return typed("null");
        }
        let name = Object::reference("schemas", &descriptor.full_name);
        match way {
            Way::Out => Object::new().with("anyOf", vec![name, typed("integer").with("format", "int32")]),
            Way::In | Way::Text => name,
        }
    }

    /// What a message may not hold: two members of one oneof.
    fn two_of_one(&self, fields: &[&Field], oneofs: usize) -> Option<Object> {
        let mut pairs: Vec<Object> = Vec::new();
        for oneof in 0..oneofs {
            let members = fields.iter().filter(|field| field.oneof.map(usize::from) == Some(oneof));
            let names: Vec<&str> = members.map(|field| self.spelled(field)).collect();
            for (at, one) in names.iter().enumerate() {
                let others = names.iter().skip(at + 1);
                pairs.extend(others.map(|other| Object::new().with("required", vec![*one, *other])));
            }
        }
        match pairs.len() {
            0 => None,
            1 => pairs.pop(),
            _ => Some(Object::new().with("anyOf", pairs)),
        }
    }

    fn name(&self, id: MessageId, way: Way) -> String {
        let message = self.types.message(id);
        match message.form {
            Form::Any => ANY.to_owned(),
            _ if way != Way::Out && self.outputs.contains(&message.full_name) => {
                format!("{}-Input", message.full_name)
            }
            _ => message.full_name.clone(),
        }
    }

    /// Whether a message is a component made of its fields. `google.rpc.Status` is a
    /// component anyway.
    fn is_component(&self, id: MessageId) -> bool {
        let message = self.types.message(id);
        message.form == Form::Object && message.full_name != STATUS
    }
}
