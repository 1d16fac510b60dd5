//! Readers of the history: whom a commit wakes, what they share, and what may be lost.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    catalog::{Catalog, Change, Kind, Reason},
    types::{
        Content, Epoch, Globs, Head, Info, LeaseId, LeaseTimes, Moment, Parts, ServiceName, ServiceUrl,
        Status, Ttl, WallTime,
    },
};

/// Counts how often it was woken, and wakes its thread.
struct Bell {
    rung: AtomicUsize,
    thread: thread::Thread,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self { rung: AtomicUsize::new(0), thread: thread::current() })
    }

    fn rung(&self) -> usize {
        self.rung.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn name(service: &str) -> ServiceName {
    ServiceName::fold(service).unwrap()
}

fn of(services: &[&str]) -> Filter {
    Filter::new(services.iter().map(|service| name(service)).collect(), BTreeMap::new())
}

/// A registration in each of these services, as one commit.
fn commit(revision: u64, services: &[&str]) -> Arc<Commit> {
    let change = |(index, service): (usize, &&str)| {
        let content = Content::from(Parts {
            service: name(service),
            url: ServiceUrl::parse("http://h").unwrap(),
            info: Info::default(),
            labels: BTreeMap::new(),
            zone: String::new(),
            weight: 0,
        });
        let instance = content.instance(Head {
            id: LeaseId(u128::from(revision) << 8 | index as u128),
            service: content.service().clone(),
            status: Status::Alive,
            ttl: Ttl(30),
            registered_at: WallTime(0),
            last_updated: WallTime(0),
            revision: Revision(revision),
        });
        Change {
            kind: Kind::Registered,
            reason: Reason::New,
            before: None,
            after: Some(instance),
            times: LeaseTimes { renewed: Moment(0), deadline: Moment(0) },
            braked: false,
        }
    };
    let changes = services.iter().enumerate().map(change).collect();
    Arc::new(Commit { revision: Revision(revision), changes })
}

/// The matching revisions, as text.
fn encode(filter: &Filter, commits: &[Arc<Commit>], _: Revision) -> Option<Encoded> {
    let matching = |commit: &&Arc<Commit>| commit.changes.iter().any(|c| c.seen_through(filter).is_some());
    let told: Vec<u64> = commits.iter().filter(matching).map(|commit| commit.revision.0).collect();
    let first = Revision(*told.first()?);
    Some(Encoded { message: format!("{told:?}").into(), first })
}

struct Rig {
    view: View,
    revision: u64,
}

impl Rig {
    fn new(history_bytes: usize) -> Self {
        Self { view: View::new(Catalog::new(Epoch(1), history_bytes)), revision: 0 }
    }

    fn publish(&mut self, services: &[&str]) {
        self.revision += 1;
        self.view.publish(&[commit(self.revision, services)]);
    }

    /// A reader that begins at the head, or at a revision.
    fn reader(&self, services: &[&str], from: Option<u64>) -> Reader {
        let mut reader = self.view.reader(of(services));
        reader.start(Cursor(Revision(from.unwrap_or(self.revision))));
        reader
    }

    /// What it is told: some revisions, "gone", or nothing while it sleeps.
    fn read(&self, reader: &mut Reader, bell: &Arc<Bell>) -> Option<String> {
        self.read_counting(reader, bell, &mut 0)
    }

    fn read_counting(&self, reader: &mut Reader, bell: &Arc<Bell>, encoded: &mut usize) -> Option<String> {
        let waker = Waker::from(Arc::clone(bell));
        let counting = |filter: &Filter, commits: &[Arc<Commit>], to| {
            *encoded += 1;
            encode(filter, commits, to)
        };
        match reader.poll_next(&Context::from_waker(&waker), &self.view, 1 << 20, counting) {
            Poll::Ready(Reading::Next(message)) => Some(String::from_utf8(message.to_vec()).unwrap()),
            Poll::Ready(Reading::Gone) => Some("gone".to_owned()),
            Poll::Pending => None,
        }
    }
}

#[test]
fn a_commit_wakes_those_whose_services_it_touches() {
    let mut rig = Rig::new(1 << 20);
    let filters: [&[&str]; 4] = [&["a"], &["b"], &["a", "b", "c"], &[]];
    let mut readers: Vec<_> = filters.iter().map(|some| (rig.reader(some, None), Bell::new())).collect();
    for (reader, bell) in &mut readers {
        assert_eq!(rig.read(reader, bell), None);
    }
    let rung = |readers: &[(Reader, Arc<Bell>)]| readers.iter().map(|(_, b)| b.rung()).collect::<Vec<_>>();
    rig.publish(&["a"]);
    assert_eq!(rung(&readers), [1, 0, 1, 1]);
    // Who has not read since is not woken again.
    rig.publish(&["a", "b"]);
    assert_eq!(rung(&readers), [1, 1, 1, 1]);
    rig.publish(&["d"]);
    assert_eq!(rung(&readers), [1, 1, 1, 1]);
    let told: Vec<_> = readers.iter_mut().map(|(reader, bell)| rig.read(reader, bell)).collect();
    let expect = ["[1, 2]", "[2]", "[1, 2]", "[1, 2, 3]"].map(|text| Some(text.to_owned()));
    assert_eq!(told, expect);
    for (reader, bell) in &mut readers {
        assert_eq!(rig.read(reader, bell), None);
        assert_eq!(reader.cursor().0.0, 3, "it stands at the head");
    }
    rig.publish(&["c"]);
    assert_eq!(rung(&readers), [1, 1, 2, 2]);
    // Nothing is left of those who have gone.
    let audiences = Arc::clone(&readers[0].0.audiences);
    drop(readers);
    assert!(audiences.lock().is_empty());
}

#[test]
fn who_may_see_some_services_is_woken_for_those_and_left_behind_by_no_others() {
    let mut rig = Rig::new(4000);
    let bounded =
        |services: &[&str], globs: &[&str]| of(services).within(Arc::new(Globs::parse(globs).unwrap()));
    let mut readers: Vec<_> = [bounded(&[], &["a*"]), bounded(&[], &["b*"])]
        .into_iter()
        .map(|filter| {
            let mut reader = rig.view.reader(filter);
            reader.start(Cursor(Revision(0)));
            (reader, Bell::new())
        })
        .collect();
    for (reader, bell) in &mut readers {
        assert_eq!(rig.read(reader, bell), None);
    }
    for _ in 0..200 {
        rig.publish(&["churn"]);
    }
    assert!(!rig.view.read().covers(Revision(1)));
    rig.publish(&["x", "ab"]);
    rig.publish(&["churn"]);
    let rung = readers.iter().map(|(_, bell)| bell.rung()).collect::<Vec<_>>();
    assert_eq!(rung, [1, 0]);
    let told: Vec<_> = readers.iter_mut().map(|(reader, bell)| rig.read(reader, bell)).collect();
    assert_eq!(told, [Some("[201]".to_owned()), None]);
    // Those of other bounds have snapshots of their own.
    let seen = |filter: &Filter| rig.view.snapshot(filter).unwrap().instances().len();
    let counts = [&bounded(&[], &["a*"]), &bounded(&[], &["b*"]), &of(&[])].map(seen);
    assert_eq!(counts, [1, 0, 203]);
}

#[test]
fn what_one_has_encoded_serves_all() {
    let mut rig = Rig::new(1 << 20);
    let (bell, mut encoded) = (Bell::new(), 0);
    // They begin at different revisions, between which nothing of theirs happened.
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(rig.reader(&["a"], None));
        rig.publish(&["other"]);
    }
    for _ in 0..5 {
        rig.publish(&["a"]);
        let expect = Some(format!("[{}]", rig.revision));
        for reader in &mut readers {
            assert_eq!(rig.read_counting(reader, &bell, &mut encoded), expect);
        }
    }
    assert_eq!(encoded, 5);
    // One that stays behind meets the others again, and then shares with them.
    let mut behind = readers.pop().unwrap();
    for round in 0..3 {
        rig.publish(&["a"]);
        for reader in &mut readers {
            assert!(rig.read_counting(reader, &bell, &mut encoded).is_some(), "{round}");
        }
    }
    rig.publish(&["a"]);
    let mut told = Vec::new();
    while let Some(some) = rig.read_counting(&mut behind, &bell, &mut encoded) {
        told.push(some);
    }
    assert_eq!(told, ["[16]", "[17]", "[18]", "[19]"]);
    for reader in &mut readers {
        assert_eq!(rig.read_counting(reader, &bell, &mut encoded), Some("[19]".to_owned()));
    }
    assert_eq!(encoded, 9);
    let audience = Arc::clone(&behind.audience);
    drop((readers, behind));
    assert_eq!(audience.batches.lock().len(), 0, "nobody waits for any");
}

#[test]
fn only_a_change_that_matters_can_leave_a_slow_reader_behind() {
    let mut rig = Rig::new(20_000);
    let bell = Bell::new();
    let mut slow = rig.reader(&["a"], None);
    assert_eq!(rig.read(&mut slow, &bell), None);
    let churn = |rig: &mut Rig| {
        let start = Revision(rig.revision);
        while rig.view.read().covers(start) {
            rig.publish(&["other"]);
        }
    };
    // It is not polled: its client takes nothing.
    churn(&mut rig);
    assert_eq!(rig.read(&mut slow, &bell), None);
    assert_eq!(slow.cursor().0.0, rig.revision);
    churn(&mut rig);
    rig.publish(&["a"]);
    let change = rig.revision;
    assert_eq!(rig.read(&mut slow, &bell), Some(format!("[{change}]")));
    rig.publish(&["a"]);
    churn(&mut rig);
    assert_eq!(rig.read(&mut slow, &bell), Some("gone".to_owned()));
    slow.start(Cursor(Revision(rig.revision)));
    assert_eq!(rig.read(&mut slow, &bell), None);
    // A cursor ahead of the head is not believed.
    slow.start(Cursor(Revision(rig.revision + 1)));
    assert_eq!(rig.read(&mut slow, &bell), Some("gone".to_owned()));
}

#[test]
fn no_change_is_lost_between_looking_and_sleeping() {
    const COMMITS: u64 = 20_000;
    let view = Arc::new(View::new(Catalog::new(Epoch(1), usize::MAX)));
    let readers: Vec<_> = [&["a"] as &[&str], &["a"], &["b"], &[], &["a", "b"]]
        .into_iter()
        .map(|services| {
            let view = Arc::clone(&view);
            let mut reader = view.reader(of(services));
            reader.start(Cursor(Revision(0)));
            thread::spawn(move || {
                let bell = Bell::new();
                let waker = Waker::from(Arc::clone(&bell));
                let mut told: Vec<u64> = Vec::new();
                while reader.cursor().0.0 < COMMITS {
                    let rung = bell.rung();
                    match reader.poll_next(&Context::from_waker(&waker), &view, 4000, encode) {
                        Poll::Ready(Reading::Next(message)) => {
                            let text = String::from_utf8(message.to_vec()).unwrap();
                            let revisions = text.trim_matches(['[', ']']).split(", ");
                            told.extend(revisions.map(|one| one.parse::<u64>().unwrap()));
                        }
                        Poll::Ready(Reading::Gone) => panic!("nothing has left the history"),
                        // The last commit concerns everybody, so everybody is woken for it.
                        Poll::Pending => {
                            let patience = Instant::now() + Duration::from_mins(1);
                            while bell.rung() == rung && reader.cursor().0.0 < COMMITS {
                                assert!(Instant::now() < patience, "it was not woken");
                                thread::park_timeout(Duration::from_secs(1));
                            }
                        }
                    }
                }
                told
            })
        })
        .collect();
    let services = |revision| match revision {
        COMMITS => ["a", "b"].as_slice(),
        _ if revision % 3 == 0 => &["b"],
        _ => &["a"],
    };
    for revision in 1..=COMMITS {
        view.publish(&[commit(revision, services(revision))]);
    }
    let told: Vec<Vec<u64>> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let of = |wanted: &[&str]| {
        let touches = |revision: &u64| services(*revision).iter().any(|service| wanted.contains(service));
        (1..=COMMITS).filter(touches).collect::<Vec<_>>()
    };
    assert_eq!(told, [of(&["a"]), of(&["a"]), of(&["b"]), of(&["a", "b"]), of(&["a", "b"])]);
}
