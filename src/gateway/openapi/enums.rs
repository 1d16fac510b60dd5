//! The schema of an enum: its names, with what is said of each.

use std::collections::BTreeSet;

use prost_reflect::EnumDescriptor;

use super::{
    comments::{Comments, one_line},
    node::Object,
    values::typed,
};

pub(super) fn schema(descriptor: &EnumDescriptor, comments: &Comments) -> Object {
    let (mut numbers, mut names, mut list) = (BTreeSet::new(), Vec::new(), Vec::new());
    for value in &descriptor.enum_descriptor_proto().value {
        // Of several names of one number, the first is written.
        if !numbers.insert(value.number()) {
            continue;
        }
        names.push(value.name());
        let declared = descriptor.get_value_by_name(value.name());
        if let Some(said) = declared.and_then(|declared| comments.of(&declared).map(one_line)) {
            list.push(format!("- `{}`: {said}", value.name()));
        }
    }
    let whole = comments.of(descriptor).map(str::to_owned);
    let list = (!list.is_empty()).then(|| list.join("\n"));
    let said: Vec<String> = [whole, list].into_iter().flatten().collect();
    typed("string")
        .with("enum", names)
        .with_some("description", (!said.is_empty()).then(|| said.join("\n\n")))
}
