//! The book, its leases and the catalog, driven in virtual time by random commands
//! against a naive model: the model keeps a list, renews stream members one by one, and
//! looks at every deadline at every tick. After each step the two must agree on what
//! lives and on every change told, and every watcher's view must follow. A restart keeps
//! what a store would have been told, and nothing else.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    book::{Book, BookRules, Now, Renewal},
    register::Entry,
};
use crate::{
    catalog::{Catalog, Commit, Cursor, Eviction, Kind, Reason, Since},
    config::DuplicateId,
    engine::{Ask, Proof, Refusal},
    lease::{Leases, Rules, StreamEnd, StreamId},
    store,
    types::{
        Actor, Content, Epoch, Filter, Info, Instance, LeaseId, Moment, Parts, Revision, ServiceName,
        ServiceUrl, Status, Target, WallTime,
    },
};

const TICK: u64 = 100;
const WINDOW: u64 = 20_000;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[derive(Clone, Copy, Debug)]
enum Step {
    Register { pair: usize, variant: u8, ttl: u32, grace: u64 },
    Renew { nth: usize },
    Ping { service: usize },
    Deregister { nth: usize },
    Attach { stream: usize, nth: usize },
    Detach { stream: usize, nth: usize },
    Beat { stream: usize },
    End { stream: usize, by_client: bool },
    Wait { millis: u64 },
    Stall { millis: u64 },
    Watch { watcher: usize },
    Restart { millis: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // 24 h beside 1 s: a deadline that moves from one to the other.
    let ttl = prop_oneof![Just(1u32), Just(2), Just(5), Just(86_400)];
    let grace = prop_oneof![Just(0u64), Just(700), Just(3000)];
    let step = prop_oneof![
        6 => (0..6usize, 0..3u8, ttl, grace)
            .prop_map(|(pair, variant, ttl, grace)| Step::Register { pair, variant, ttl, grace }),
        6 => (0..8usize).prop_map(|nth| Step::Renew { nth }),
        2 => (0..3usize).prop_map(|service| Step::Ping { service }),
        2 => (0..8usize).prop_map(|nth| Step::Deregister { nth }),
        5 => (0..3usize, 0..8usize).prop_map(|(stream, nth)| Step::Attach { stream, nth }),
        1 => (0..3usize, 0..8usize).prop_map(|(stream, nth)| Step::Detach { stream, nth }),
        3 => (0..3usize).prop_map(|stream| Step::Beat { stream }),
        2 => (0..3usize, any::<bool>()).prop_map(|(stream, by_client)| Step::End { stream, by_client }),
        // Exactly a TTL, so that renewals meet their own expiry.
        8 => prop_oneof![Just(1u64), Just(1000), Just(999), Just(2000), 1..6000u64, 1..30_000u64]
            .prop_map(|millis| Step::Wait { millis }),
        1 => prop_oneof![600..3000u64, 3000..12_000u64].prop_map(|millis| Step::Stall { millis }),
        4 => (0..4usize).prop_map(|watcher| Step::Watch { watcher }),
        1 => prop_oneof![Just(0u64), 1..30_000u64].prop_map(|millis| Step::Restart { millis }),
    ];
    prop::collection::vec(step, 1..120)
}

// === the model ===

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Live,
    Suspect(u64),
    Lapsed(u64),
    Dead(u64),
}

#[derive(Clone, Debug)]
struct Thing {
    id: LeaseId,
    pair: usize,
    variant: u8,
    ttl: u64,
    grace: u64,
    renewed: u64,
    put_off: Option<u64>,
    shifted: u64,
    state: State,
    stream: Option<usize>,
}

impl Thing {
    fn deadline(&self) -> u64 {
        match self.state {
            State::Live => self.put_off.unwrap_or(0).max(self.renewed + self.ttl),
            State::Suspect(until) | State::Lapsed(until) | State::Dead(until) => until,
        }
    }

    fn renew(&mut self, now: u64) {
        self.renewed = now;
        self.put_off = None;
        self.shifted = 0;
    }
}

type Told = (LeaseId, Kind, Reason);

#[derive(Default)]
struct Model {
    things: Vec<Thing>,
    told: Vec<Told>,
    guarded_until: u64,
}

impl Model {
    fn find(&mut self, id: LeaseId) -> Option<&mut Thing> {
        self.things.iter_mut().find(|thing| thing.id == id)
    }

    fn register(&mut self, new: Thing, now: u64) {
        let known = self.things.iter().position(|thing| thing.pair == new.pair);
        let dead = known.is_some_and(|at| matches!(self.things[at].state, State::Dead(_)));
        if let (Some(at), true) = (known, dead) {
            self.things.remove(at);
        }
        let Some(at) = known.filter(|_| !dead) else {
            self.told.push((new.id, Kind::Registered, Reason::New));
            return self.things.push(new);
        };
        let thing = &mut self.things[at];
        let same = thing.variant == new.variant && thing.ttl == new.ttl;
        match (thing.state, same) {
            (State::Lapsed(_), _) => self.told.push((thing.id, Kind::Registered, Reason::Revived)),
            (State::Suspect(_), true) => self.told.push((thing.id, Kind::Updated, Reason::Recovered)),
            (_, false) => self.told.push((thing.id, Kind::Updated, Reason::Content)),
            (_, true) => {}
        }
        let id = thing.id;
        *thing = Thing { id, ..new };
        thing.renew(now);
    }

    fn renew(&mut self, id: LeaseId, now: u64) -> bool {
        let Some(thing) = self.find(id) else { return false };
        let told = match thing.state {
            State::Dead(_) => return false,
            State::Live => None,
            State::Suspect(_) => Some((id, Kind::Updated, Reason::Recovered)),
            State::Lapsed(_) => Some((id, Kind::Registered, Reason::Revived)),
        };
        thing.state = State::Live;
        thing.renew(now);
        self.told.extend(told);
        true
    }

    fn deregister(&mut self, id: LeaseId, now: u64) -> bool {
        let Some(thing) = self.find(id) else { return false };
        let told = match thing.state {
            State::Dead(_) => return false,
            State::Lapsed(_) => None,
            _ => Some((id, Kind::Deregistered, Reason::Client)),
        };
        thing.state = State::Dead(now + WINDOW);
        thing.stream = None;
        self.told.extend(told);
        true
    }

    fn end_stream(&mut self, stream: usize, by_client: bool, now: u64) {
        let by_client = by_client && now >= self.guarded_until;
        for thing in self.things.iter_mut().filter(|thing| thing.stream == Some(stream)) {
            thing.stream = None;
            if by_client && thing.grace == 0 {
                thing.state = State::Lapsed(now + WINDOW);
                self.told.push((thing.id, Kind::Expired, Reason::StreamDropped));
            } else if by_client {
                thing.state = State::Suspect(now + thing.grace);
                thing.shifted = 0;
                self.told.push((thing.id, Kind::Suspect, Reason::StreamDropped));
            }
        }
    }

    fn tick(&mut self, now: u64) {
        for thing in self.things.iter_mut().filter(|thing| thing.deadline() <= now) {
            match thing.state {
                State::Live => self.told.push((thing.id, Kind::Expired, Reason::TtlLapsed)),
                State::Suspect(_) => self.told.push((thing.id, Kind::Expired, Reason::StreamDropped)),
                State::Lapsed(_) | State::Dead(_) => {
                    thing.stream = None;
                    continue;
                }
            }
            thing.state = State::Lapsed(now + WINDOW);
            thing.stream = None;
        }
        self.things
            .retain(|thing| thing.deadline() > now || matches!(thing.state, State::Live | State::Suspect(_)));
    }

    fn stall(&mut self, gap: u64, now: u64) {
        self.guarded_until = now + 10_000;
        for thing in &mut self.things {
            let budget = thing.ttl.saturating_sub(thing.shifted);
            if budget == 0 || matches!(thing.state, State::Lapsed(_) | State::Dead(_)) {
                continue;
            }
            let old = thing.deadline();
            let new = (old + gap.min(budget)).max(now + 1000);
            thing.shifted += new - old;
            match &mut thing.state {
                State::Suspect(until) => *until = new,
                _ => thing.put_off = Some(new),
            }
        }
    }

    /// Nobody expires by it: a full TTL, or the grace where that is longer, from now on.
    fn restart(&mut self, now: u64) {
        self.guarded_until = now + 10_000;
        self.things.retain(|thing| match thing.state {
            State::Live | State::Suspect(_) => true,
            State::Lapsed(until) | State::Dead(until) => until > now,
        });
        for thing in &mut self.things {
            thing.stream = None;
            thing.renew(now);
            if let State::Suspect(until) = &mut thing.state {
                *until = now + thing.grace.max(thing.ttl);
            }
        }
    }

    fn live(&self) -> BTreeMap<LeaseId, Status> {
        self.things
            .iter()
            .filter_map(|thing| match thing.state {
                State::Live => Some((thing.id, Status::Alive)),
                State::Suspect(_) => Some((thing.id, Status::Suspect)),
                _ => None,
            })
            .collect()
    }
}

// === a watcher, as the service runs one ===

struct Watcher {
    filter: Filter,
    cursor: Option<Cursor>,
    view: BTreeMap<LeaseId, Instance>,
}

// === both, side by side ===

struct Rig {
    book: Book,
    catalog: Catalog,
    model: Model,
    now: u64,
    streams: [StreamId; 3],
    watchers: Vec<Watcher>,
    log: Vec<Arc<Commit>>,
    told: Vec<Told>,
    ids: Vec<LeaseId>,
    history_bytes: usize,
    disk: Disk,
}

/// What a store was told.
#[derive(Default)]
struct Disk {
    records: BTreeMap<LeaseId, store::Record>,
    commits: Vec<Arc<Commit>>,
    evicted: Vec<Eviction>,
    pruned: u64,
}

fn book() -> Book {
    let rules = BookRules {
        default_ttl: 30,
        min_ttl: 1,
        max_ttl: 86_400,
        duplicate_id: DuplicateId::Replica,
        require_token: false,
    };
    let leases = Leases::new(Rules { window_micros: WINDOW * 1000, grace_micros: 0, brake: true });
    Book::new(rules, leases).durable()
}

fn content(pair: usize, variant: u8) -> Content {
    let labels = BTreeMap::from([("tier".to_owned(), variant.to_string())]);
    Content::from(Parts {
        service: ServiceName::fold(&format!("s{}", pair % 3)).unwrap(),
        url: ServiceUrl::parse(&format!("http://h{pair}")).unwrap(),
        info: Info(Bytes::from(vec![variant; 10])),
        labels,
        zone: String::new(),
        weight: 0,
    })
}

impl Rig {
    fn new(history_bytes: usize) -> Self {
        let mut book = book();
        let streams = std::array::from_fn(|_| book.leases.open_stream(false));
        let named = |name: &str| vec![ServiceName::fold(name).unwrap()];
        let label = BTreeMap::from([("tier".to_owned(), "1".to_owned())]);
        let filters = [
            Filter::default(),
            Filter::new(named("s0"), BTreeMap::new()),
            Filter::new(vec![], label.clone()),
            Filter::new(named("s1"), label),
        ];
        let watchers =
            filters.into_iter().map(|filter| Watcher { filter, cursor: None, view: BTreeMap::new() });
        let mut rig = Self {
            book,
            catalog: Catalog::new(Epoch(1), history_bytes),
            model: Model::default(),
            now: 1000,
            streams,
            watchers: watchers.collect(),
            log: Vec::new(),
            told: Vec::new(),
            ids: Vec::new(),
            history_bytes,
            disk: Disk::default(),
        };
        rig.tick();
        rig
    }

    fn moment(&self) -> Moment {
        Moment(self.now * 1000)
    }

    /// What the writer does with a command: decide, tick, publish.
    fn write<T>(&mut self, f: impl FnOnce(&mut Book, Moment, &mut super::draft::Draft) -> T) -> T {
        let at = self.moment();
        assert_eq!(self.book.leases.notice(at), None, "only Stall makes stalls");
        let mut draft = self.book.draft();
        let result = f(&mut self.book, at, &mut draft);
        draft.close();
        self.book.tick(at, at.plus_micros(TICK * 1000), &mut draft);
        let (commits, _) = draft.finish();
        self.keep(&commits);
        for commit in commits {
            // 1: revisions rise, each is given once.
            assert_eq!(commit.revision, self.book.revision.next());
            self.book.revision = commit.revision;
            for change in &commit.changes {
                let instance = change.instance().expect("a change is about an instance");
                self.told.push((instance.id, change.kind, change.reason));
                if let Some(after) = &change.after {
                    assert_eq!(after.revision, commit.revision);
                }
                // 6: never early.
                if change.reason == Reason::TtlLapsed {
                    assert!(change.times.renewed.plus_micros(instance.ttl.micros()) <= at);
                    assert!(change.times.deadline <= at);
                }
            }
            self.catalog.publish(Arc::clone(&commit));
            self.log.push(commit);
        }
        result
    }

    /// What the writer tells a store, before anybody else.
    fn keep(&mut self, commits: &[Arc<Commit>]) {
        let records = self.book.take_touched(WallTime(0));
        assert!(commits.is_empty() || !records.is_empty(), "a change touches somebody");
        for (id, record) in records {
            match record {
                Some(record) => self.disk.records.insert(id, record),
                None => self.disk.records.remove(&id),
            };
        }
        let evicted = self.catalog.evicted_bytes();
        if evicted - self.disk.pruned > self.catalog.history_bytes() as u64 {
            let (through, evictions) = self.catalog.evicted();
            self.disk.commits.retain(|commit| commit.revision > through);
            self.disk.evicted = evictions;
            self.disk.pruned = evicted;
        }
        self.disk.commits.extend(commits.iter().cloned());
    }

    /// What an engine does with what a store held.
    fn restart(&mut self) {
        let now = Now { moment: self.moment(), wall: WallTime(self.now * 1000) };
        let records: Vec<store::Record> = self.disk.records.values().cloned().collect();
        let instances = records
            .iter()
            .filter(|record| record.standing == store::Standing::Live)
            .map(|record| record.instance.clone());
        let (epoch, revision) = (self.catalog.epoch(), self.catalog.revision());
        let commits = self.disk.commits.clone();
        let (bytes, evicted) = (self.history_bytes, &self.disk.evicted);
        let catalog = Catalog::restored(epoch, revision, bytes, instances.collect(), commits, evicted);
        self.catalog = catalog;
        self.disk.pruned = 0;
        self.book = book();
        self.book.revision = revision;
        self.book.resume(records, now);
        self.streams = std::array::from_fn(|_| self.book.leases.open_stream(false));
        self.model.restart(self.now);
    }

    fn tick(&mut self) {
        self.write(|_, _, _| ());
        self.model.tick(self.now);
    }

    fn wait(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            // The writer sleeps until its next tick or what is due, whatever comes first.
            let wake = self.book.leases.next_wake().map_or(end, |at| at.0 / 1000);
            self.now = (self.now + TICK).min(wake.max(self.now + 1)).min(end);
            self.tick();
        }
    }

    fn pick(&self, nth: usize) -> Option<LeaseId> {
        // Mostly recent ids, forgotten ones among them.
        self.ids.iter().rev().nth(nth).copied()
    }

    #[expect(clippy::too_many_lines, reason = "one arm a step; each is short")]
    fn step(&mut self, step: Step) {
        let proof = Proof { token: None, by: Actor::at(PEER) };
        match step {
            Step::Register { pair, variant, ttl, grace } => {
                let fresh_id = LeaseId(self.ids.len() as u128 + 1);
                let entry = Entry {
                    client_id: None,
                    content: content(pair, variant),
                    ttl_wish: ttl,
                    drop_grace: Some(Duration::from_millis(grace)),
                    token: None,
                    by: Actor::at(PEER),
                    fresh_id,
                    fresh_token: [0; 16],
                };
                let wall = WallTime(self.now * 1000);
                let entered = self
                    .write(|book, moment, draft| book.register(entry, Now { moment, wall }, draft))
                    .unwrap();
                let (ttl, renewed) = (u64::from(ttl) * 1000, self.now);
                let thing = Thing {
                    id: fresh_id,
                    pair,
                    variant,
                    ttl,
                    grace,
                    renewed,
                    put_off: None,
                    shifted: 0,
                    state: State::Live,
                    stream: None,
                };
                self.model.register(thing, self.now);
                self.ids.push(fresh_id);
                // 5: the pair has one id.
                let expect = self.model.things.iter().find(|thing| thing.pair == pair).map(|thing| thing.id);
                assert_eq!(Some(entered.instance.id), expect);
            }
            Step::Renew { nth } => {
                let Some(id) = self.pick(nth) else { return };
                let target = Target::Id(id);
                let at = self.moment();
                let renewed = match self.book.renew(&target, &proof, at) {
                    Ok(Renewal::Done(_)) => true,
                    Ok(Renewal::NeedsCommit) => {
                        self.write(|book, at, draft| book.restore(&target, &proof, at, draft)).is_ok()
                    }
                    Err(refusal) => {
                        assert!(matches!(refusal, Refusal::NotFound(_)));
                        false
                    }
                };
                // 10: a renewal succeeds exactly when there is something to renew.
                assert_eq!(renewed, self.model.renew(id, self.now));
            }
            Step::Ping { service } => {
                let name = ServiceName::fold(&format!("s{service}")).unwrap();
                let target = Target::Name(name);
                let fits: Vec<LeaseId> = self
                    .model
                    .things
                    .iter()
                    .filter(|thing| thing.pair % 3 == service)
                    .map(|thing| thing.id)
                    .collect();
                let result = self.write(|book, at, draft| book.restore(&target, &proof, at, draft));
                // Never by guess: one, or none.
                match (&fits[..], result) {
                    ([id], result) => assert_eq!(result.is_ok(), self.model.renew(*id, self.now)),
                    ([], result) => assert!(matches!(result, Err(Refusal::NotFound(_)))),
                    (_, result) => {
                        assert!(
                            matches!(result, Err(Refusal::Ambiguous { count, .. }) if count == fits.len())
                        );
                    }
                }
            }
            Step::Deregister { nth } => {
                let Some(id) = self.pick(nth) else { return };
                let done =
                    self.write(|book, now, draft| book.deregister(&Target::Id(id), &proof, now, draft));
                assert_eq!(done.is_ok(), self.model.deregister(id, self.now));
            }
            Step::Attach { stream, nth } => {
                let Some(id) = self.pick(nth) else { return };
                let on = self.streams[stream];
                let ask = Ask::Attach { ids: [id].into(), tokens: None };
                let (at, mut told) = (self.moment(), Vec::new());
                self.book.keep(on, &[ask], at, &mut told);
                // What keep leaves is brought back.
                let done = match told.pop() {
                    Some(told) => told.refused.is_empty(),
                    None => {
                        self.write(|book, at, draft| book.attach_restoring(on, id, None, at, draft)).is_ok()
                    }
                };
                assert_eq!(done, self.model.renew(id, self.now));
                if done && let Some(thing) = self.model.find(id) {
                    thing.stream = Some(stream);
                }
            }
            Step::Detach { stream, nth } => {
                let Some(id) = self.pick(nth) else { return };
                let at = self.moment();
                if let Some(handle) = self.book.handle(id) {
                    self.book.leases.detach(handle, self.streams[stream], at);
                }
                let now = self.now;
                if let Some(thing) = self.model.find(id)
                    && thing.stream == Some(stream)
                {
                    thing.stream = None;
                    thing.renew(now);
                }
            }
            Step::Beat { stream } => {
                let at = self.moment();
                self.book.leases.beat(self.streams[stream], at);
                let now = self.now;
                for thing in &mut self.model.things {
                    if thing.stream == Some(stream) {
                        thing.renew(now);
                    }
                }
            }
            Step::End { stream, by_client } => {
                let end = if by_client { StreamEnd::Client } else { StreamEnd::Server };
                let on = self.streams[stream];
                self.write(|book, now, draft| book.end_stream(on, end, now, now, draft));
                self.model.end_stream(stream, by_client, self.now);
                self.streams[stream] = self.book.leases.open_stream(false);
            }
            Step::Wait { millis } => self.wait(millis),
            Step::Stall { millis } => {
                self.now += millis;
                let at = self.moment();
                let gap = self.book.leases.notice(at);
                // Late by more than 500 ms against the promised tick.
                assert_eq!(gap.is_some(), millis > TICK + 500);
                if let Some(gap) = gap {
                    self.model.stall(gap / 1000, self.now);
                }
            }
            Step::Watch { watcher } => self.watch(watcher),
            Step::Restart { millis } => {
                self.now += millis;
                self.restart();
            }
        }
        // Whatever came, what is due now goes now, in both.
        self.tick();
    }

    fn watch(&mut self, watcher: usize) {
        let Self { catalog, watchers, log, .. } = self;
        let Watcher { filter, cursor, view } = &mut watchers[watcher];
        loop {
            let Some(at) = *cursor else {
                // 14: a snapshot is what lives now.
                let snapshot = catalog.snapshot(filter);
                let instances = snapshot.instances().iter();
                *view = instances
                    .filter(|one| filter.matches(one.content()))
                    .map(|one| (one.id, one.clone()))
                    .collect();
                *cursor = Some(Cursor(snapshot.revision()));
                continue;
            };
            let matching: Vec<Revision> = log
                .iter()
                .filter(|commit| commit.revision > at.0)
                .filter(|commit| commit.changes.iter().any(|change| change.seen_through(filter).is_some()))
                .map(|commit| commit.revision)
                .collect();
            let missed = matching.iter().any(|revision| !catalog.covers(Revision(revision.0 - 1)));
            match catalog.since(at, filter, 300) {
                Since::Gone => {
                    // 13: RESET only when a matching change is gone; exactly so by service.
                    assert!(missed || !filter.labels().is_empty(), "reset for nothing");
                    *cursor = None;
                }
                Since::Deltas(deltas, seen) => {
                    assert!(!missed, "a matching change was skipped");
                    // 13, 16: each matching revision once, in order, none missing.
                    let got: Vec<Revision> = deltas.iter().map(|delta| delta.revision).collect();
                    let expect: Vec<Revision> =
                        matching.iter().copied().take_while(|revision| *revision <= seen.0).collect();
                    assert_eq!(got, expect);
                    for event in deltas.into_iter().flat_map(|delta| delta.events) {
                        let id = event.instance.id;
                        let was = view.remove(&id);
                        match event.kind {
                            Kind::Registered => assert!(was.is_none(), "registered twice"),
                            // 12: one terminal event for what was there.
                            _ => assert!(was.is_some(), "{:?} of what was not there", event.kind),
                        }
                        if !matches!(event.kind, Kind::Expired | Kind::Deregistered) {
                            view.insert(id, event.instance);
                        }
                    }
                    *cursor = Some(seen);
                    if seen.0 == catalog.revision() {
                        break;
                    }
                }
            }
        }
        // 18: what was folded is what a list shows.
        let listed: BTreeMap<LeaseId, Instance> =
            catalog.matching(filter).map(|one| (one.id, one.clone())).collect();
        assert_eq!(*view, listed);
    }

    fn check(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        let mut expect = std::mem::take(&mut self.model.told);
        // What falls due at one tick comes in no given order.
        told.sort_by_key(|one| format!("{one:?}"));
        expect.sort_by_key(|one| format!("{one:?}"));
        assert_eq!(told, expect, "changes at {} ms", self.now);
        let listed: BTreeMap<LeaseId, Status> =
            self.catalog.matching(&Filter::default()).map(|one| (one.id, one.status)).collect();
        assert_eq!(listed, self.model.live(), "what lives at {} ms", self.now);
        // 21: nothing is kept beyond its time.
        assert_eq!(self.book.remembered(), (self.model.things.len(), self.model.things.len()));
        for thing in &self.model.things {
            let times = self.book.times(thing.id).expect("it is remembered");
            let deadline = match thing.state {
                State::Lapsed(until) | State::Dead(until) => until - WINDOW,
                State::Live | State::Suspect(_) => thing.deadline(),
            };
            assert_eq!(times.deadline.0, deadline * 1000, "{thing:?}");
        }
        // 8: the writer wakes before anything is due.
        if let Some(first) = self.model.things.iter().map(Thing::deadline).min() {
            assert!(self.book.leases.next_wake().is_some_and(|at| at.0 <= first.max(self.now + 1) * 1000));
        }
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 2000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_book_does_what_the_model_does(steps in steps(), small in any::<bool>()) {
        let mut rig = Rig::new(if small { 2000 } else { 1 << 20 });
        for step in steps {
            rig.step(step);
            rig.check();
        }
        for watcher in 0..rig.watchers.len() {
            rig.watch(watcher);
        }
    }
}
