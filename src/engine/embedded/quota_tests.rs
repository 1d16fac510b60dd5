//! What is counted is what is there, whatever happens, and a quota refuses exactly what would
//! pass it: against a list that is counted anew after every step.

use std::{
    collections::{BTreeMap, HashMap as StdMap},
    net::IpAddr,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    config::DuplicateId,
    engine::{
        Proof,
        embedded::{
            book::{BookRules, Now},
            register::Entry,
        },
    },
    lease::{Leases, Rules, Standing},
    store,
    types::{
        Actor, Content, Info, LeaseId, Moment, Parts, SHARED_KEY, ServiceName, ServiceUrl, Target, WallTime,
    },
};

const WINDOW: u64 = 20_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Register { pair: usize, client: usize, weight: usize, peer: usize, key: usize },
    Deregister { nth: usize },
    Restore { nth: usize },
    Wait { seconds: u64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let register = (0..8usize, 0..4usize, 0..3usize, 0..4usize, 0..4usize)
        .prop_map(|(pair, client, weight, peer, key)| Step::Register { pair, client, weight, peer, key });
    let step = prop_oneof![
        10 => register,
        2 => (0..8usize).prop_map(|nth| Step::Deregister { nth }),
        2 => (0..8usize).prop_map(|nth| Step::Restore { nth }),
        3 => (1..30u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

/// A registration, as its last Register made it.
#[derive(Clone, Debug)]
struct Known {
    id: LeaseId,
    client: Option<Arc<str>>,
    charge: Charge,
}

struct Rig {
    book: Book,
    quotas: Quotas,
    known: Vec<Known>,
    disk: BTreeMap<LeaseId, store::Record>,
    now: u64,
    fresh: u128,
}

fn book(quotas: &Quotas) -> Book {
    let rules = BookRules {
        default_ttl: 5,
        min_ttl: 1,
        max_ttl: 86_400,
        duplicate_id: DuplicateId::Replace,
        require_token: false,
    };
    let leases = Leases::new(Rules { window_micros: WINDOW, grace_micros: 0, brake: false });
    Book::new(rules, leases).durable().bounded(quotas.clone())
}

fn entry(pair: usize, weight: usize, fresh_id: LeaseId, by: Actor) -> Entry {
    Entry {
        client_id: None,
        content: Content::from(Parts {
            service: ServiceName::fold(&format!("s{}", pair % 3)).unwrap(),
            url: ServiceUrl::parse(&format!("http://h{pair}")).unwrap(),
            info: Info(Bytes::from(vec![0; 400 * weight])),
            labels: BTreeMap::new(),
            zone: String::new(),
            weight: 0,
        }),
        ttl_wish: 5,
        drop_grace: None,
        token: None,
        by,
        fresh_id,
        fresh_token: [0; 16],
    }
}

fn actor(peer: usize, key: usize) -> Actor {
    let peers = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
    let keys = [None, Some("billing"), Some("search"), Some(SHARED_KEY)];
    Actor { key: keys[key].map(Arc::from), ..Actor::at(peers[peer].parse::<IpAddr>().unwrap()) }
}

/// Tallies of charges, counted one by one.
fn counted<'a>(charges: impl Iterator<Item = &'a Charge>) -> StdMap<String, Tally> {
    let mut all = StdMap::new();
    for charge in charges {
        for whose in scopes(charge) {
            all.entry(whose).or_insert_with(Tally::default).add(charge.bytes);
        }
    }
    all
}

fn scopes(charge: &Charge) -> Vec<String> {
    let mut scopes =
        vec![String::new(), format!("s {}", charge.service.as_str()), format!("p {}", charge.peer)];
    scopes.extend(charge.key.iter().map(|key| format!("k {key}")));
    scopes
}

impl Rig {
    fn new(quotas: Quotas) -> Self {
        let book = book(&quotas);
        Self { book, quotas, known: Vec::new(), disk: BTreeMap::new(), now: 1_000_000, fresh: 0 }
    }

    fn at(&self) -> Now {
        Now { moment: Moment(self.now), wall: WallTime(self.now) }
    }

    fn standing(&self, id: LeaseId) -> Standing {
        self.book.handle(id).map_or(Standing::Dead, |handle| self.book.leases.standing(handle))
    }

    fn counting(&self) -> impl Iterator<Item = &Known> {
        self.known.iter().filter(|known| self.standing(known.id) != Standing::Dead)
    }

    fn quota(&self, whose: &str) -> Quota {
        match whose.get(..1) {
            Some("s") => self.quotas.service,
            Some("p") => self.quotas.peer,
            Some("k") => self.quotas.key,
            _ => self.quotas.all,
        }
    }

    /// Whether a registration must be refused: something of its own grows beyond its quota.
    fn must_refuse(&self, entry: &Entry, new: &Charge) -> bool {
        let before = counted(self.counting().map(|known| &known.charge));
        let stays = |known: &&Known| {
            let same_pair = self
                .book
                .handle(known.id)
                .is_some_and(|handle| Some(handle) == self.book.of_pair(entry.content.view()));
            let replaced = entry.client_id.is_some() && known.client == entry.client_id;
            !same_pair && !replaced
        };
        let after = counted(self.counting().filter(stays).map(|known| &known.charge).chain([new]));
        scopes(new).iter().any(|whose| {
            let was = before.get(whose).copied().unwrap_or_default();
            let (is, quota) = (after[whose], self.quota(whose));
            let over = |most: Option<u64>, was: u64, is: u64| most.is_some_and(|most| is > most && is > was);
            over(quota.count, was.count, is.count) || over(quota.bytes, was.bytes, is.bytes)
        })
    }

    fn write<T>(&mut self, f: impl FnOnce(&mut Book, Now, &mut super::super::draft::Draft) -> T) -> T {
        let (now, mut draft) = (self.at(), self.book.draft());
        let result = f(&mut self.book, now, &mut draft);
        self.book.tick(now.moment, Moment(u64::MAX), &mut draft);
        if let Some(last) = draft.finish().0.last() {
            self.book.revision = last.revision;
        }
        for (id, record) in self.book.take_touched(WallTime(0)) {
            match record {
                Some(record) => self.disk.insert(id, record),
                None => self.disk.remove(&id),
            };
        }
        result
    }

    fn step(&mut self, step: Step) {
        let pick =
            |known: &[Known], nth: usize| known.iter().rev().nth(nth).map(|known| Target::Id(known.id));
        let proof = Proof { token: None, by: actor(0, 0) };
        match step {
            Step::Register { pair, client, weight, peer, key } => {
                self.fresh += 1;
                let mut entry = entry(pair, weight, LeaseId(self.fresh), actor(peer, key));
                entry.client_id = (client > 0).then(|| Arc::from(format!("c{client}")));
                let charge = Charge::of(entry.content.service(), entry.content.view(), &entry.by);
                let must_refuse = self.must_refuse(&entry, &charge);
                let (revision, client) = (self.book.revision, entry.client_id.clone());
                match self.write(|book, now, draft| book.register(entry, now, draft)) {
                    Ok(entered) => {
                        assert!(!must_refuse, "let in beyond a quota");
                        let id = entered.instance.id;
                        self.known.retain(|known| known.id != id);
                        self.known.push(Known { id, client, charge });
                    }
                    Err(Refusal::Quota { .. }) => {
                        assert!(must_refuse, "refused for nothing");
                        assert_eq!(self.book.revision, revision, "a refusal changes nothing");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Deregister { nth } => {
                if let Some(target) = pick(&self.known, nth) {
                    let _ =
                        self.write(|book, now, draft| book.deregister(&target, &proof, now.moment, draft));
                }
            }
            Step::Restore { nth } => {
                if let Some(target) = pick(&self.known, nth) {
                    let _ = self.write(|book, now, draft| book.restore(&target, &proof, now.moment, draft));
                }
            }
            Step::Wait { seconds } => {
                for _ in 0..seconds {
                    self.now += 1_000_000;
                    self.write(|_, _, _| ());
                }
            }
            Step::Restart => {
                // With smaller quotas nothing is lost.
                self.quotas.all.count = self.quotas.all.count.map(|most| most.max(3) - 1);
                let (now, revision) = (self.at(), self.book.revision);
                self.book = book(&self.quotas);
                self.book.revision = revision;
                self.book.resume(self.disk.values().cloned().collect(), now);
            }
        }
    }

    fn check(&self) {
        let expect = counted(self.counting().map(|known| &known.charge));
        let Tallies { all, services, keys, peers, key_of, .. } = &self.book.tallies;
        let mut found = StdMap::new();
        if all.count > 0 {
            found.insert(String::new(), *all);
        }
        found.extend(services.iter().map(|(name, tally)| (format!("s {}", name.as_str()), *tally)));
        found.extend(keys.iter().map(|(name, tally)| (format!("k {name}"), *tally)));
        found.extend(peers.iter().map(|(peer, tally)| (format!("p {peer}"), *tally)));
        assert_eq!(found, expect);
        assert_eq!(key_of.len() as u64, keys.values().map(|tally| tally.count).sum::<u64>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_what_is_there(steps in steps(), tight in any::<bool>()) {
        let quota = |count, bytes| Quota { count: Some(count), bytes: Some(bytes) };
        let quotas = Quotas {
            all: quota(6, 6000),
            service: quota(2, 2000),
            key: quota(2, 2000),
            peer: quota(3, 3000),
        };
        let mut rig = Rig::new(if tight { quotas } else { Quotas::none() });
        for step in steps {
            rig.step(step);
            rig.check();
        }
    }
}

#[test]
fn a_refusal_names_the_limit_its_value_and_the_flag() {
    let count = |count| Quota { count: Some(count), bytes: None };
    let bytes = |bytes| Quota { count: None, bytes: Some(bytes) };
    let check = |quotas: Quotas, expect: &str| {
        let mut rig = Rig::new(quotas);
        let mut register = |pair| {
            let entry = entry(pair, 0, LeaseId(pair as u128 + 1), actor(0, 1));
            rig.write(|book, now, draft| book.register(entry, now, draft))
        };
        register(0).unwrap();
        // Of the same service.
        assert_eq!(register(3).unwrap_err().to_string(), expect);
    };
    check(
        Quotas { all: count(1), ..Quotas::none() },
        "too many registrations in all: at most 1, those that may still be revived included; \
         --max-registrations sets it",
    );
    check(
        Quotas { service: count(1), ..Quotas::none() },
        "too many registrations of service \"s0\": at most 1, those that may still be revived included; \
         --max-registrations-per-service sets it",
    );
    check(
        Quotas { key: bytes(400), ..Quotas::none() },
        "too many bytes of registrations with key \"billing\": at most 400, those that may still be revived \
         included; --max-registration-bytes-per-key sets it",
    );
    check(
        Quotas { peer: count(1), ..Quotas::none() },
        "too many registrations from 192.0.2.1: at most 1, those that may still be revived included; \
         --max-registrations-per-peer sets it",
    );
}

#[test]
fn a_lowered_quota_refuses_the_new_and_lets_the_old_be() {
    let mut rig = Rig::new(Quotas::none());
    for pair in 0..3 {
        rig.step(Step::Register { pair, client: 0, weight: 1, peer: 0, key: 0 });
    }
    let one = Quota { count: Some(1), bytes: Some(10) };
    rig.quotas = Quotas { all: one, service: one, key: one, peer: one };
    rig.step(Step::Restart);
    rig.check();
    assert_eq!(rig.book.tallies.all.count, 3);
    let mut register = |pair, weight, peer| {
        let entry = entry(pair, weight, LeaseId(100 + pair as u128), actor(peer, 0));
        rig.write(|book, now, draft| book.register(entry, now, draft)).is_ok()
    };
    assert!(register(0, 1, 0), "a retry");
    assert!(register(0, 0, 0), "less than before");
    assert!(!register(0, 1, 0), "more than before");
    assert!(!register(3, 0, 0), "a new one");
    assert!(!register(1, 1, 1), "taken over by a peer that has no room for it");
}
