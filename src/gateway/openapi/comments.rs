//! The comments of the protos, which become the document's texts. They are there only if
//! the descriptor set was compiled with its source info.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};
use prost_types::source_code_info::Location;

/// Every comment of a pool, by file and by the path that source info names things with.
#[derive(Debug)]
pub(super) struct Comments(HashMap<String, HashMap<Vec<i32>, String>>);

/// What can bear a comment: the name of its file and its path there.
pub(super) trait Commented {
    fn place(&self) -> (&str, &[i32]);
}

impl Comments {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let of_file = |file: FileDescriptor| {
            let proto = file.file_descriptor_proto();
            let locations = proto.source_code_info.iter().flat_map(|info| &info.location);
            let comments = locations.filter_map(|location| Some((location.path.clone(), text(location)?)));
            (file.name().to_owned(), comments.collect())
        };
        Self(pool.files().map(of_file).collect())
    }

    /// What is said about this; none if nothing is.
    pub(super) fn of(&self, what: &impl Commented) -> Option<&str> {
        let (file, path) = what.place();
        self.at(file, path)
    }

    /// The comment at the head of a file, above its `syntax`.
    pub(super) fn of_file(&self, file: &FileDescriptor) -> Option<&str> {
        const SYNTAX: i32 = 12;
        self.at(file.name(), &[SYNTAX])
    }

    fn at(&self, file: &str, path: &[i32]) -> Option<&str> {
        self.0.get(file)?.get(path).map(String::as_str)
    }
}

/// The comment before a thing, else the one behind it. The blank that stands after each
/// `//` is left out.
fn text(location: &Location) -> Option<String> {
    let comment = [location.leading_comments(), location.trailing_comments()]
        .into_iter()
        .find(|comment| !comment.trim().is_empty())?;
    let lines = comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    Some(lines.collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned())
}

/// The first sentence, on one line and without its full stop.
pub(super) fn summary(comment: &str) -> String {
    let paragraph = comment.split("\n\n").next().unwrap_or_default();
    let line = one_line(paragraph);
    let ends = line.match_indices(". ").map(|(at, _)| at);
    // "e.g. this" goes on.
    let end = ends.into_iter().find(|at| line[at + 2..].starts_with(|c: char| !c.is_lowercase()));
    line[..end.unwrap_or(line.len())].trim_end_matches('.').to_owned()
}

/// With a blank in place of every line's end.
pub(super) fn one_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

macro_rules! commented {
    ($($descriptor:ty: $self:ident => $parent:expr;)*) => {$(
        impl Commented for $descriptor {
            fn place(&self) -> (&str, &[i32]) {
                let $self = self;
                ($parent.parent_file_descriptor_proto().name(), self.path())
            }
        }
    )*};
}

commented! {
    ServiceDescriptor: this => this;
    MessageDescriptor: this => this;
    EnumDescriptor: this => this;
    MethodDescriptor: this => this.parent_service();
    FieldDescriptor: this => this.parent_message();
    EnumValueDescriptor: this => this.parent_enum();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        for (comment, expect) in [
            ("", ""),
            ("One.", "One"),
            ("One\ntwo", "One two"),
            ("One, e.g. this. Two.", "One, e.g. this"),
            ("One. `two`.", "One"),
            ("One\n\nTwo.", "One"),
            ("Version 1.5 it is.\nMore.", "Version 1.5 it is"),
            ("Ünder. Über.", "Ünder"),
        ] {
            assert_eq!(summary(comment), expect, "{comment}");
        }
    }
}
