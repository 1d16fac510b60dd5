//! Single facts about the catalog. How it follows an engine, and how watchers follow it,
//! is in the engine's model test.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::{Catalog, Change, Commit, Cursor, Kind, Reason, Since, Unread};
use crate::types::{
    Content, Epoch, Filter, Globs, Head, Info, Instance, LeaseId, LeaseTimes, Moment, Parts, Revision,
    ServiceName, ServiceUrl, Status, Ttl, WallTime,
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

    fn find(&self, id: u128) -> Option<Instance> {
        self.catalog.matching(&Filter::default()).find(|one| one.id == LeaseId(id)).cloned()
    }

    fn put(&mut self, id: u128, service: &str, labels: &[(&str, &str)]) -> Instance {
        let before = self.find(id);
        let after = instance(id, service, labels, self.next());
        let kind = if before.is_some() { Kind::Updated } else { Kind::Registered };
        self.publish(kind, before, Some(after.clone()));
        after
    }

    fn take(&mut self, id: u128) {
        let before = self.find(id);
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
fn who_may_see_some_services_sees_no_others() {
    let mut feed = Feed::new(1 << 20);
    for (id, service) in (1..).zip(["a", "billing-a", "billing-b", "billing-c", "z"]) {
        feed.put(id, service, &[("color", if id == 3 { "blue" } else { "red" })]);
    }
    let billing = |filter: Filter| filter.within(Arc::new(Globs::parse(&["billing-*"]).unwrap()));
    let all = billing(Filter::default());
    let ids = |found: &mut dyn Iterator<Item = &Instance>| found.map(|one| one.id.0).collect::<Vec<_>>();
    assert_eq!(ids(&mut feed.catalog.matching(&all)), [2, 3, 4]);
    assert_eq!(feed.catalog.count(&all), 3);
    assert_eq!(ids(&mut feed.catalog.snapshot(&all).instances().iter()), [2, 3, 4]);
    for (after, expect) in
        [(("a", 1), &[2, 3, 4][..]), (("billing-a", 2), &[3, 4]), (("billing-bb", 9), &[4]), (("z", 0), &[])]
    {
        let key = (name(after.0), LeaseId(after.1));
        assert_eq!(ids(&mut feed.catalog.matching_after(&all, &key)), expect, "{after:?}");
    }
    let blue = billing(labelled("color", "blue"));
    assert_eq!((feed.catalog.count(&blue), ids(&mut feed.catalog.matching(&blue))), (1, vec![3]));
    assert_eq!(feed.seen(0, &all).map(|seen| seen.len()), Some(3));
    assert_eq!(feed.seen(0, &blue).map(|seen| seen.len()), Some(1));
    feed.take(1);
    feed.take(2);
    assert_eq!(feed.seen(5, &all), Some(vec![(Kind::Expired, Reason::New)]));
    // Nobody can be shown what is named beyond the bounds.
    let beyond = billing(of("z"));
    assert_eq!((feed.catalog.count(&beyond), feed.catalog.matching(&beyond).count()), (0, 0));
    assert!(feed.catalog.snapshot(&beyond).instances().is_empty());
    let nothing = Filter::default().within(Arc::new(Globs::parse(&["nothing-*"]).unwrap()));
    assert_eq!((feed.catalog.count(&nothing), feed.seen(0, &nothing)), (0, Some(vec![])));
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

#[test]
fn a_reader_of_a_service_looks_at_its_commits_only() {
    let mut feed = Feed::new(1 << 20);
    feed.put(1, "quiet", &[]);
    for id in 2..10 {
        feed.put(id, "busy", &[]);
    }
    feed.put(1, "quiet", &[("x", "y")]);
    feed.put(2, "busy", &[]);
    let unread = |filter: &Filter, after, through| {
        feed.catalog.unread(Cursor(Revision(after)), filter, Revision(through), usize::MAX)
    };
    let revisions = |unread: Unread| match unread {
        Unread::Gone => panic!("all is there"),
        Unread::Commits(commits, cursor) => {
            (commits.iter().map(|commit| commit.revision.0).collect::<Vec<_>>(), cursor.0.0)
        }
    };
    assert_eq!(revisions(unread(&of("quiet"), 0, 99)), (vec![1, 10], 11));
    assert_eq!(revisions(unread(&of("quiet"), 1, 9)), (vec![], 9));
    assert_eq!(revisions(unread(&of("quiet"), 10, 11)), (vec![], 11));
    assert_eq!(revisions(unread(&of("unheard-of"), 0, 11)), (vec![], 11));
    let both = Filter::new(vec![name("quiet"), name("busy"), name("none")], BTreeMap::new());
    assert_eq!(revisions(unread(&both, 8, 11)), (vec![9, 10, 11], 11));
    assert_eq!(revisions(unread(&Filter::default(), 9, 10)), (vec![10], 10));
    // One at least, and not past the next.
    let one = feed.catalog.unread(Cursor(Revision(0)), &of("quiet"), Revision(11), 1);
    assert_eq!(revisions(one), (vec![1], 9));
}

/// A history as plain as can be.
struct Plain {
    commits: Vec<Arc<Commit>>,
}

impl Plain {
    /// All that matches after a revision, as the events' kinds by revision.
    fn since(&self, after: u64, filter: &Filter) -> Vec<(u64, Vec<(Kind, Reason)>)> {
        let events = |commit: &Commit| {
            let events = commit.changes.iter().filter_map(|change| change.seen_through(filter));
            events.map(|event| (event.kind, event.reason)).collect::<Vec<_>>()
        };
        let later = self.commits.iter().filter(|commit| commit.revision.0 > after);
        let told = later.map(|commit| (commit.revision.0, events(commit)));
        told.filter(|(_, events)| !events.is_empty()).collect()
    }
}

/// One step of an instance: which one, of which service and color from now on; gone if none.
type Move = (u128, Option<(usize, usize)>);

const SERVICES: [&str; 4] = ["a", "b", "c", "d"];
const COLORS: [&str; 2] = ["red", "blue"];

fn moves() -> impl Strategy<Value = Vec<Vec<Move>>> {
    let one = (0..6u128, prop::option::weighted(0.8, (0..SERVICES.len(), 0..COLORS.len())));
    prop::collection::vec(prop::collection::vec(one, 1..4), 1..60)
}

fn filters() -> impl Strategy<Value = Filter> {
    let services = prop::sample::subsequence(SERVICES.to_vec(), 0..=SERVICES.len());
    let color = prop::option::of(prop::sample::select(COLORS.to_vec()));
    (services, color).prop_map(|(services, color)| {
        let labels = color.map(|color| ("color".to_owned(), color.to_owned())).into_iter().collect();
        Filter::new(services.into_iter().map(name).collect(), labels)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// However a reader goes through the history, by whatever index, it sees what one sees who
    /// looks at everything; and it is sent away only when something it wants has left.
    #[test]
    fn indexed_and_plain_readings_agree(
        moves in moves(),
        filter in filters(),
        small in any::<bool>(),
        max_bytes in prop::sample::select(vec![1, 2000, usize::MAX]),
    ) {
        let history_bytes = if small { 6000 } else { 1 << 20 };
        let mut feed = Feed::new(history_bytes);
        let mut plain = Plain { commits: Vec::new() };
        let mut live: BTreeMap<u128, Instance> = BTreeMap::new();
        for changes in moves {
            let revision = feed.next();
            let mut commit = Commit { revision: Revision(revision), changes: Vec::new() };
            for (id, to) in changes {
                let before = live.remove(&id);
                let after = to.map(|(service, color)| {
                    instance(id, SERVICES[service], &[("color", COLORS[color])], revision)
                });
                let kind = match (&before, &after) {
                    (None, None) => continue,
                    (None, Some(_)) => Kind::Registered,
                    (Some(_), Some(_)) => Kind::Updated,
                    (Some(_), None) => Kind::Expired,
                };
                live.extend(after.clone().map(|after| (id, after)));
                let times = LeaseTimes { renewed: Moment(0), deadline: Moment(0) };
                commit.changes.push(Change { kind, reason: Reason::New, before, after, times, braked: false });
            }
            if !commit.changes.is_empty() {
                let commit = Arc::new(commit);
                plain.commits.push(Arc::clone(&commit));
                feed.catalog.publish(commit);
            }
        }
        let catalog = &feed.catalog;
        prop_assert!(catalog.history_bytes() <= history_bytes);
        let head = catalog.revision();
        for start in 0..=head.0 {
            let expect = plain.since(start, &filter);
            let lost = expect.iter().any(|(revision, _)| !catalog.covers(Revision(revision - 1)));

            let (mut told, mut cursor) = (Vec::new(), Cursor(Revision(start)));
            let mut gone = false;
            while !gone && cursor.0 < head {
                match catalog.since(cursor, &filter, max_bytes) {
                    Since::Gone => gone = true,
                    Since::Deltas(deltas, seen) => {
                        prop_assert!(seen > cursor, "it gets on");
                        cursor = seen;
                        told.extend(deltas.into_iter().map(|delta| {
                            (delta.revision.0, delta.events.iter().map(|e| (e.kind, e.reason)).collect())
                        }));
                    }
                }
            }
            prop_assert_eq!(gone, lost, "from {}", start);
            if !gone {
                prop_assert_eq!(&told, &expect, "from {}", start);
            }

            let (mut taken, mut cursor) = (Plain { commits: Vec::new() }, Cursor(Revision(start)));
            let mut gone = false;
            while !gone && cursor.0 < head {
                // Up to some revision on the way, then on.
                let through = Revision(cursor.0.0 + 1 + (head.0 - cursor.0.0) / 2);
                match catalog.unread(cursor, &filter, through, max_bytes) {
                    Unread::Gone => gone = true,
                    Unread::Commits(commits, seen) => {
                        prop_assert!(seen > cursor && seen.0 <= through, "it gets on, and not too far");
                        cursor = seen;
                        taken.commits.extend(commits);
                    }
                }
            }
            prop_assert_eq!(gone, lost, "from {}", start);
            if !gone {
                prop_assert_eq!(taken.since(start, &filter), expect, "from {}", start);
            }
        }
    }
}
