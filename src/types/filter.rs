//! Which instances a reader wants.

use std::{collections::BTreeMap, sync::Arc};

use super::{ContentRef, Digest, Globs, ServiceName};

/// Any of some services, all of some labels; empty means no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    services: Box<[ServiceName]>,
    labels: BTreeMap<String, String>,
    /// What the reader may see at all, where no service is named; none is everything.
    within: Option<Arc<Globs>>,
}

impl Filter {
    /// A filter; order and repetition of services mean nothing.
    pub fn new(mut services: Vec<ServiceName>, labels: BTreeMap<String, String>) -> Self {
        services.sort_unstable();
        services.dedup();
        Self { services: services.into_boxed_slice(), labels, within: None }
    }

    /// The same for a reader who may see some services only. To be asked where it names none: what
    /// it names is known, and is either all within these or to be refused.
    #[must_use]
    pub fn within(self, globs: Arc<Globs>) -> Self {
        Self { within: Some(globs), ..self }
    }

    /// The services, sorted, each once; none means all.
    pub fn services(&self) -> &[ServiceName] {
        &self.services
    }

    /// The labels that must match.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Whether instances of a service can match.
    pub fn wants(&self, service: &ServiceName) -> bool {
        let named = self.services.is_empty() || self.services.binary_search(service).is_ok();
        named && self.admits(service)
    }

    /// Whether the reader may see a service, named or not.
    pub fn admits(&self, service: &ServiceName) -> bool {
        self.within.as_ref().is_none_or(|globs| globs.cover(service))
    }

    /// The bounds of what the reader may see, if there are any.
    pub fn bounds(&self) -> Option<&Arc<Globs>> {
        self.within.as_ref()
    }

    /// Whether an instance with this content is wanted.
    pub fn matches(&self, content: ContentRef<'_>) -> bool {
        self.wants(content.service())
            && self.labels.iter().all(|(key, value)| content.label(key) == Some(value))
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
        if let Some(globs) = &self.within {
            // An odd number of texts after the services': labels are two each. No pattern has a
            // line's end.
            digest.text(&globs.patterns().collect::<Vec<_>>().join("\n"));
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

    fn within(labels: &[(&str, &str)], globs: &[&str]) -> Filter {
        filter(&[], labels).within(Arc::new(Globs::parse(globs).unwrap()))
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
            within(&[], &["a"]),
            within(&[], &["a", "b"]),
            within(&[], &["ab"]),
            within(&[("a", "b")], &["a"]),
        ];
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                assert_ne!(one.digest(), other.digest(), "{one:?} {other:?}");
            }
        }
        assert_eq!(filter(&["b", "a", "b"], &[]).digest(), filter(&["a", "b"], &[]).digest());
    }
}
