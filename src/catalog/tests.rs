//! Single facts about the catalog. How it follows an engine, and how watchers follow it,
//! is in the engine's model test.

use std::{collections::BTreeMap, sync::Arc};

use super::{Catalog, Change, Commit, Cursor, Kind, Reason, Since};
use crate::types::{
    Content, Epoch, Filter, Head, Info, Instance, LeaseId, LeaseTimes, Moment, Parts, Revision, ServiceName,
    ServiceUrl, Status, Ttl, WallTime,
};

fn name(service: &str) -> ServiceName {
    ServiceName::fold(service).unwrap()
}

fn instance(id: u128, service: &str, labels: &[(&str, &str)], revision: u64) -> Instance {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let content = Content::from(Parts {
        service: name(service),
        url: ServiceUrl::parse("http://h").unwrap(),
        info: Info::default(),
        labels,
        zone: String::new(),
        weight: 0,
    });
    content.instance(Head {
        id: LeaseId(id),
        service: content.service().clone(),
        status: Status::Alive,
        ttl: Ttl(30),
        registered_at: WallTime(revision),
        last_updated: WallTime(revision),
        revision: Revision(revision),
    })
}

struct Feed {
    catalog: Catalog,
}

impl Feed {
    fn new(history_bytes: usize) -> Self {
        Self { catalog: Catalog::new(Epoch(1), history_bytes) }
    }

    fn next(&self) -> u64 {
        self.catalog.revision().0 + 1
    }

    fn publish(&mut self, kind: Kind, before: Option<Instance>, after: Option<Instance>) {
        let revision = Revision(self.next());
        let times = LeaseTimes { renewed: Moment(0), deadline: Moment(0) };
        let change = Change { kind, reason: Reason::New, before, after, times, braked: false };
        self.catalog.publish(Arc::new(Commit { revision, changes: vec![change] }));
    }

    fn put(&mut self, id: u128, service: &str, labels: &[(&str, &str)]) -> Instance {
        let before = self.catalog.get(LeaseId(id)).cloned();
        let after = instance(id, service, labels, self.next());
        let kind = if before.is_some() { Kind::Updated } else { Kind::Registered };
        self.publish(kind, before, Some(after.clone()));
        after
    }

    fn take(&mut self, id: u128) {
        let before = self.catalog.get(LeaseId(id)).cloned();
        self.publish(Kind::Expired, before, None);
    }

    fn seen(&self, after: u64, filter: &Filter) -> Option<Vec<(Kind, Reason)>> {
        match self.catalog.since(Cursor(Revision(after)), filter, 1 << 20) {
            Since::Gone => None,
            Since::Deltas(deltas, _) => {
                Some(deltas.iter().flat_map(|d| &d.events).map(|e| (e.kind, e.reason)).collect())
            }
        }
    }
}

fn of(service: &str) -> Filter {
    Filter::new(vec![name(service)], BTreeMap::new())
}

fn labelled(key: &str, value: &str) -> Filter {
    Filter::new(vec![], BTreeMap::from([(key.to_owned(), value.to_owned())]))
}

#[test]
fn labels_that_change_bring_an_instance_into_a_filter_and_out_of_it() {
    let mut feed = Feed::new(1 << 20);
    let blue = labelled("color", "blue");
    feed.put(1, "a", &[("color", "red")]);
    assert_eq!(feed.seen(0, &blue), Some(vec![]));
    feed.put(1, "a", &[("color", "blue")]);
    assert_eq!(feed.seen(1, &blue), Some(vec![(Kind::Registered, Reason::EnteredFilter)]));
    feed.put(1, "a", &[("color", "blue"), ("x", "y")]);
    assert_eq!(feed.seen(2, &blue), Some(vec![(Kind::Updated, Reason::New)]));
    feed.put(1, "a", &[]);
    assert_eq!(feed.seen(3, &blue), Some(vec![(Kind::Deregistered, Reason::LeftFilter)]));
    feed.take(1);
    assert_eq!(feed.seen(4, &blue), Some(vec![]));
    assert_eq!(feed.seen(4, &of("a")), Some(vec![(Kind::Expired, Reason::New)]));
}

#[test]
fn churn_of_others_resets_nobody() {
    let mut feed = Feed::new(4000);
    feed.put(1, "quiet", &[("tier", "1")]);
    for id in 2..200 {
        feed.put(id, "busy", &[("tier", "2")]);
    }
    assert!(!feed.catalog.covers(Revision(1)));
    assert!(feed.catalog.history_bytes() <= 4000);
    // What each missed: nothing, nothing, nothing, something.
    assert_eq!(feed.seen(1, &of("quiet")), Some(vec![]));
    assert_eq!(feed.seen(1, &labelled("tier", "1")), Some(vec![]));
    assert_eq!(feed.seen(1, &of("unheard-of")), Some(vec![]));
    assert_eq!(feed.seen(1, &of("busy")), None);
    assert_eq!(feed.seen(1, &Filter::default()), None);
    assert_eq!(feed.seen(0, &of("quiet")), None);
}

#[test]
fn a_cursor_ahead_of_the_head_is_not_believed() {
    let mut feed = Feed::new(1 << 20);
    feed.put(1, "a", &[]);
    assert_eq!(feed.seen(2, &Filter::default()), None);
}

#[test]
fn a_snapshot_stays_as_it_was_and_tells_what_it_missed() {
    let mut feed = Feed::new(1 << 20);
    for id in 1..=3 {
        feed.put(id, "a", &[]);
    }
    let old = feed.catalog.snapshot(&Filter::default());
    feed.take(1);
    feed.put(2, "a", &[("x", "y")]);
    feed.put(4, "b", &[]);
    assert_eq!(old.instances().iter().map(|i| i.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    let new = feed.catalog.snapshot(&Filter::default());
    let (put, removed) = old.difference(&new, &Filter::default());
    assert_eq!(put.iter().map(|i| i.id.0).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(removed.iter().map(|i| i.id.0).collect::<Vec<_>>(), [1]);
    // Through a filter: what left it counts as gone.
    let (put, removed) = old.difference(&new, &of("b"));
    assert_eq!((put.len(), removed.len()), (1, 0));
    let (put, removed) = new.difference(&old, &labelled("x", "y"));
    assert_eq!((put.len(), removed.len()), (0, 1));
}

#[test]
fn lists_come_in_order_and_go_on_after_any_key() {
    let mut feed = Feed::new(1 << 20);
    for (id, service) in [(5, "b"), (3, "a"), (4, "b"), (1, "c"), (2, "a")] {
        feed.put(id, service, &[]);
    }
    let all = Filter::default();
    let ids = |found: Vec<&Instance>| found.iter().map(|i| i.id.0).collect::<Vec<_>>();
    assert_eq!(ids(feed.catalog.matching(&all).collect()), [2, 3, 4, 5, 1]);
    let after = |service, id| ids(feed.catalog.matching_after(&all, &(name(service), LeaseId(id))).collect());
    assert_eq!(after("a", 2), [3, 4, 5, 1]);
    assert_eq!(after("a", 9), [4, 5, 1]);
    assert_eq!(after("bb", 0), [1]);
    assert_eq!(after("c", 1), []);
    assert_eq!(feed.catalog.newest(&name("b")).map(|i| i.id.0), Some(4));
    assert_eq!(feed.catalog.count(&of("b")), 2);
}
