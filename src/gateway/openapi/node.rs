//! JSON whose objects keep the order in which they were built: a document reads best in
//! the order of the protos it was made from.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

/// A JSON value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Value(Value),
    List(Vec<Node>),
    Object(Object),
}

/// A JSON object. Keys are not looked for: nobody gives one twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Object(Vec<(Cow<'static, str>, Node)>);

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// `{"$ref": "#/components/<place>/<name>"}`.
    pub(super) fn reference(place: &str, name: &str) -> Self {
        Self::new().with("$ref", format!("#/components/{place}/{name}"))
    }

    /// The same with a member more.
    pub(super) fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Node>) -> Self {
        self.push(key, value);
        self
    }

    /// The same with a member more, if there is a value for it.
    pub(super) fn with_some(self, key: &'static str, value: Option<impl Into<Node>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    pub(super) fn push(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Node>) {
        self.0.push((key.into(), value.into()));
    }

    /// Gives `key` this value, in its old place if it has one.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Node>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value.into(),
            None => self.push(key.to_owned(), value),
        }
    }

    /// The value of a key, and the object without it.
    pub(super) fn without(mut self, key: &str) -> (Option<Node>, Self) {
        let at = self.0.iter().position(|(name, _)| name == key);
        (at.map(|at| self.0.remove(at).1), self)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Node {
    /// The text, if it is one.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Value(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl From<Object> for Node {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<T: Into<Node>> From<Vec<T>> for Node {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

macro_rules! from_plain {
    ($($plain:ty),*) => {$(
        impl From<$plain> for Node {
            fn from(plain: $plain) -> Self {
                Self::Value(plain.into())
            }
        }
    )*};
}

from_plain!(&str, String, bool, i64, Value);
