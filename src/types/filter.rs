//! Which instances a reader wants.

use std::collections::BTreeMap;

use super::{ContentRef, Digest, ServiceName};

/// Any of some services, all of some labels; empty means no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    services: Box<[ServiceName]>,
    labels: BTreeMap<String, String>,
}

impl Filter {
    /// A filter; order and repetition of services mean nothing.
    pub fn new(mut services: Vec<ServiceName>, labels: BTreeMap<String, String>) -> Self {
        services.sort_unstable();
        services.dedup();
        Self { services: services.into_boxed_slice(), labels }
    }

    /// The services, sorted, each once; none means all.
    pub fn services(&self) -> &[ServiceName] {
        &self.services
    }

    /// The labels that must match.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Whether an instance with this content is wanted.
    pub fn matches(&self, content: ContentRef<'_>) -> bool {
        let service = self.services.is_empty() || self.services.binary_search(content.service()).is_ok();
        service && self.labels.iter().all(|(key, value)| content.label(key) == Some(value))
    }

    /// A number that tells filters apart and stays the same over restarts and versions.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        for service in &self.services {
            digest.text(service.as_str());
        }
        digest.text("");
        for (key, value) in &self.labels {
            digest.text(key);
            digest.text(value);
        }
        digest.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(services: &[&str], labels: &[(&str, &str)]) -> Filter {
        let services = services.iter().map(|name| ServiceName::fold(name).unwrap()).collect();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Filter::new(services, labels)
    }

    #[test]
    fn the_digest_tells_filters_apart() {
        let all = [
            filter(&[], &[]),
            filter(&["a"], &[]),
            filter(&["a", "b"], &[]),
            filter(&["ab"], &[]),
            filter(&[], &[("a", "b")]),
            filter(&[], &[("ab", "")]),
            filter(&["a"], &[("a", "b")]),
        ];
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                assert_ne!(one.digest(), other.digest(), "{one:?} {other:?}");
            }
        }
        assert_eq!(filter(&["b", "a", "b"], &[]).digest(), filter(&["a", "b"], &[]).digest());
    }
}
