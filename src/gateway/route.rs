//! Which RPC a request means. The last declared binding that fits wins; a literal has no
//! precedence over a variable.

use std::sync::Arc;

use http::Method;

use super::{binding::Binding, template::Misfit};

/// All bindings, the last declared first.
#[derive(Debug)]
pub(super) struct RouteTable(Vec<Arc<Binding>>);

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Match<'a> {
    /// An RPC, with the path's texts for fields of its request.
    Found(&'a Arc<Binding>, Vec<Vec<u8>>),
    /// Nothing by this method, but something by another; by GET, this.
    OtherMethod(Option<(&'a Arc<Binding>, Vec<Vec<u8>>)>),
    /// Nothing.
    Nothing,
}

impl RouteTable {
    /// Takes bindings in the order of their declaration.
    pub(super) fn new(declared: Vec<Binding>) -> Self {
        Self(declared.into_iter().rev().map(Arc::new).collect())
    }

    /// Finds the binding of a path that was decoded once. Every segment counts, empty
    /// ones too.
    pub(super) fn find(&self, method: &Method, path: &[u8]) -> Match<'_> {
        let Some(path) = path.strip_prefix(b"/") else {
            return Match::Nothing;
        };
        let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        for binding in self.0.iter().filter(|binding| binding.method == *method) {
            match binding.template.fit(&segments) {
                Ok(texts) => return Match::Found(binding, texts),
                Err(Misfit::Here) => {}
                Err(Misfit::Final) => return Match::Nothing,
            }
        }
        let mut found = false;
        for binding in self.0.iter().filter(|binding| binding.method != *method) {
            if let Ok(texts) = binding.template.fit(&segments) {
                // gRPC-gateway takes whichever method its map yields first.
                if binding.method == Method::GET {
                    return Match::OtherMethod(Some((binding, texts)));
                }
                found = true;
            }
        }
        if found { Match::OtherMethod(None) } else { Match::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::{
        gateway::{BuildError, binding, schema::Schema},
        proto::{FILE_DESCRIPTOR_SET, SERVICE_NAME},
    };

    fn table(unbound: bool) -> RouteTable {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        RouteTable::new(binding::read(&pool, &Schema::new(&pool), &[SERVICE_NAME], unbound).unwrap())
    }

    fn named((binding, texts): (&Arc<Binding>, Vec<Vec<u8>>)) -> String {
        let fields = binding.template.variables().iter().map(|variable| variable.field_path.join("."));
        let texts = texts.into_iter().map(|text| String::from_utf8(text).unwrap());
        let pairs = fields.zip(texts).map(|(field, text)| format!(" {field}={text}"));
        binding.rpc.name().to_owned() + &pairs.collect::<String>()
    }

    fn found(table: &RouteTable, method: &str, path: &str) -> String {
        match table.find(&Method::from_bytes(method.as_bytes()).unwrap(), path.as_bytes()) {
            Match::Found(binding, texts) => named((binding, texts)),
            Match::OtherMethod(Some(get)) => format!("other, by GET {}", named(get)),
            Match::OtherMethod(None) => "other".to_owned(),
            Match::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_last_declared_wins() {
        let table = table(false);
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
            ("POST", "/services", "other, by GET List"),
            ("POST", "/services/", "other, by GET Get id="),
            ("HEAD", "/services", "other, by GET List"),
            ("GET", "/services/a/$ping", "other"),
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
            assert_eq!(found(&table, method, path), expect, "{method} {path}");
        }
    }

    #[test]
    fn rpcs_without_an_annotation_are_bound_on_wish() {
        let path = "/leasehold.v1.Registry/KeepAlive";
        assert_eq!(found(&table(true), "POST", path), "KeepAlive");
        assert_eq!(found(&table(false), "POST", path), "nothing");
        let path = "/leasehold.v1.Registry/Register";
        assert_eq!(found(&table(true), "POST", path), "nothing", "it has an annotation");
    }

    #[test]
    fn what_cannot_be_bound_is_an_error() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let read = |service| binding::read(&pool, &Schema::new(&pool), &[service], false);
        assert!(matches!(read("no.Such"), Err(BuildError::NoService(_))));
    }
}
