//! `kill -9` in a burst of registrations, again and again on one directory. With
//! durability `sync` nothing acknowledged is lost, and every consumer that resumes sees
//! every change once. Otherwise the last of it may be lost, in a new epoch.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use leasehold::proto::{
    Event, Instance, KeepAliveRequest, ListRequest, WatchRequest,
    event::{Reason, Type as Kind},
    registry_client::RegistryClient,
};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::{
    follower::{Follower, lasting},
    ledger::{self, MARKER, Writer},
    support::{
        SOON, START, Serve, Server,
        data_dir::DataDir,
        leasehold,
        numbers::Numbers,
        watch::{View, instance},
        within,
    },
};

const WRITERS: usize = 6;
const PAIRS: usize = 360;
/// A burst is cut off within so many milliseconds.
const BURST: u64 = 50;
/// One burst in so many lasts until brief leases have lapsed.
const LONG: usize = 20;

/// How a server ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Kill,
    Stop,
}

/// Servers on one directory, one after the other, and all who use them.
struct Campaign {
    dir: DataDir,
    durability: &'static str,
    numbers: Numbers,
    writers: Vec<Writer>,
    marker: Writer,
    /// Of everything, of one service, of one label.
    followers: [Follower; 3],
    /// Every id that was ever seen, and its pair.
    ids: HashMap<String, usize>,
    dead: Vec<String>,
    /// The highest revision that anybody was told.
    highest: u64,
    /// What the first follower was told: how many of its events were looked at.
    looked_at: usize,
    told: HashMap<(u64, String), u32>,
    last_of: HashMap<String, Kind>,
    /// What the filters of the others make of it, and how much of that they were told.
    expected: [Vec<Told>; 2],
    compared: [usize; 2],
    seen_by_all: View,
    interrupted: usize,
    /// How often what a crash left was held against what was told before.
    compared_to_former: usize,
}

/// A change, as far as two consumers have to agree on it.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    revision: u64,
    id: String,
    stamp: u32,
    kind: Kind,
    reason: Reason,
}

impl Told {
    fn of(event: &Event) -> Self {
        Self {
            revision: event.revision,
            id: instance(event).id.clone(),
            stamp: instance(event).weight,
            kind: event.r#type(),
            reason: event.reason(),
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("LEASEHOLD_TEST_SEED").ok().map(|seed| seed.parse().expect("a whole number"));
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        u64::from(now.subsec_nanos())
    })
}

impl Campaign {
    fn new(name: &str, durability: &'static str) -> Self {
        let seed = seed();
        println!("{name}: LEASEHOLD_TEST_SEED={seed}");
        let mut numbers = Numbers::new(seed);
        let of_one = WatchRequest { service: vec!["one".to_owned()], ..WatchRequest::default() };
        let gold = [("tier".to_owned(), "gold".to_owned())].into();
        let of_gold = WatchRequest { labels: gold, ..WatchRequest::default() };
        Self {
            dir: DataDir::new(name),
            durability,
            writers: (0..WRITERS).map(|number| Writer::new(numbers.fork(), number, WRITERS, PAIRS)).collect(),
            marker: Writer::marker(WRITERS),
            followers: [WatchRequest::default(), of_one, of_gold].map(Follower::new),
            numbers,
            ids: HashMap::new(),
            dead: Vec::new(),
            highest: 0,
            looked_at: 0,
            told: HashMap::new(),
            last_of: HashMap::new(),
            expected: Default::default(),
            compared: [0; 2],
            seen_by_all: View::default(),
            interrupted: 0,
            compared_to_former: 0,
        }
    }

    fn serve(&self) -> Serve {
        // A short history, so that crashes meet its pruning too.
        Serve::new().on(&self.dir).args(["--durability", self.durability, "--history-bytes", "1MiB"])
    }

    /// One start in some is cut off before it serves.
    fn interrupt(&mut self) {
        if self.numbers.one_in(5) {
            let mut process = self.serve().spawn();
            // When it is cut off is what chance decides.
            thread::sleep(Duration::from_millis(self.numbers.below(40)));
            process.kill();
            assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
            self.interrupted += 1;
        }
    }

    /// Writes until the server ends, after a while that chance decides.
    async fn burst(&mut self, server: &mut Server, long: bool, end: End) {
        let mut clients = Vec::new();
        for _ in 0..WRITERS {
            clients.push(server.registry().await);
        }
        let millis = if long { 950 + self.numbers.below(300) } else { self.numbers.below(BURST) };
        let tasks: Vec<_> = std::mem::take(&mut self.writers)
            .into_iter()
            .zip(clients)
            .map(|(mut writer, mut client)| {
                tokio::spawn(async move {
                    writer.burst(&mut client, !long).await;
                    writer
                })
            })
            .collect();
        // When it is cut off is what chance decides.
        tokio::time::sleep(Duration::from_millis(millis)).await;
        match end {
            End::Kill => server.kill(),
            End::Stop => {
                server.signal("TERM");
                assert_eq!(server.wait_exit(START).code(), Some(0), "{}", server.stderr());
            }
        }
        for task in tasks {
            self.writers.push(within("the end of a writer", SOON, task).await.unwrap());
        }
    }

    /// Has every follower go on where it was.
    async fn follow(&self, server: &Server) -> Vec<JoinHandle<()>> {
        let channel = server.channel().await;
        let client = || RegistryClient::new(channel.clone());
        let following = self.followers.iter().map(|follower| follower.follow(client())).collect();
        for follower in &self.followers {
            follower.began().await;
        }
        following
    }

    /// After a crash that may have lost something: a new epoch, in which everybody begins
    /// anew with what there is, which is all that was there at some point.
    async fn begin_anew(&mut self, server: &Server, round: usize) {
        for follower in &self.followers {
            follower.began_anew(round).await;
        }
        let listed =
            server.registry().await.list(ListRequest::default()).await.unwrap().into_inner().services;
        for follower in &self.followers {
            let mut seen = follower.seen();
            let former = seen.former.take().expect("there was one before the reset");
            let expect = lasting(listed.iter().filter(|instance| follower.takes(instance)));
            assert_eq!(lasting(seen.base.0.values()), expect, "round {round}: the new snapshot");
            if let Some(then) = former.view_at(seen.base_revision) {
                assert_eq!(lasting(then.0.values()), expect, "round {round}: as of {}", seen.base_revision);
                self.compared_to_former += 1;
            }
        }
        let mut by_pair = BTreeMap::new();
        for found in &listed {
            let (pair, stamp) = ledger::read(found).unwrap();
            assert!(self.tried(pair, stamp), "round {round}: nobody asked for {found:?}");
            assert_eq!(*self.ids.entry(found.id.clone()).or_insert(pair), pair, "an id of two pairs");
            assert!(by_pair.insert(pair, found.clone()).is_none(), "round {round}: twice: {found:?}");
        }
        for writer in self.writers.iter_mut().chain([&mut self.marker]) {
            writer.adopt(&by_pair);
        }
        self.dead.clear();
        let shown = listed.iter().map(|found| ((found.revision, found.id.clone()), found.weight));
        self.told = shown.collect();
        self.last_of.clear();
        self.looked_at = 0;
        self.expected = Default::default();
        self.compared = [0; 2];
        self.seen_by_all = self.followers[0].seen().base.clone();
        self.highest = self.followers[0].seen().base_revision;
    }

    fn tried(&self, pair: usize, stamp: u32) -> bool {
        self.writers.iter().chain([&self.marker]).any(|writer| writer.tried(pair, stamp))
    }

    fn note_revisions(&mut self) {
        let acknowledged = self.writers.iter().chain([&self.marker]).map(Writer::last_revision);
        let told = self.followers.iter().map(|follower| follower.seen().told);
        self.highest = acknowledged.chain(told).max().unwrap().max(self.highest);
    }

    fn faults(&self, round: usize) {
        let mut text = String::new();
        for fault in self.writers.iter().chain([&self.marker]).flat_map(|writer| &writer.faults) {
            writeln!(text, "a writer: {fault}").unwrap();
        }
        for (number, follower) in self.followers.iter().enumerate() {
            for fault in &follower.seen().faults {
                writeln!(text, "watch {number}: {fault}").unwrap();
            }
        }
        assert!(text.is_empty(), "round {round}:\n{text}");
    }

    /// All that was acknowledged is there, nothing else is, and everybody agrees.
    async fn check(&mut self, server: &Server, round: usize) {
        let mut client = server.registry().await;
        let mark = self.marker.register(&mut client, MARKER).await.unwrap().revision;
        for follower in &self.followers {
            follower.reach(mark).await;
        }
        let (revision, listed) = self.at_rest(server, &mut client).await;
        self.settle(&listed);
        self.look_at_events();
        self.compare_filtered(mark);
        self.acknowledged_were_told();
        self.dead_stay_dead(server, &mut client).await;
        self.faults(round);
        self.note_revisions();

        let shown = lasting(&listed);
        assert_eq!(lasting(self.seen_by_all.0.values()), shown, "round {round}: the watch of everything");
        if revision == mark {
            for follower in &self.followers[1..] {
                let expect = lasting(listed.iter().filter(|instance| follower.takes(instance)));
                assert_eq!(lasting(follower.seen().view.0.values()), expect, "round {round}");
            }
        }
    }

    /// What is listed at a revision that the first follower was told of and no further.
    async fn at_rest(&self, server: &Server, client: &mut RegistryClient<Channel>) -> (u64, Vec<Instance>) {
        loop {
            let revision = revision(server);
            let listed = client.list(ListRequest::default()).await.unwrap().into_inner().services;
            self.followers[0].reach(revision).await;
            if self::revision(server) == revision && self.followers[0].seen().told == revision {
                return (revision, listed);
            }
        }
    }

    fn settle(&mut self, listed: &[Instance]) {
        let mut by_pair = BTreeMap::new();
        let dead: HashSet<&String> = self.dead.iter().collect();
        for found in listed {
            let (pair, stamp) = ledger::read(found).unwrap();
            assert!(self.tried(pair, stamp), "nobody asked for {found:?}");
            assert!(!dead.contains(&found.id), "it was dead: {found:?}");
            if let Some(twin) = by_pair.insert(pair, found.clone()) {
                panic!("a pair has two ids: {twin:?} and {found:?}");
            }
        }
        for writer in self.writers.iter_mut().chain([&mut self.marker]) {
            writer.settle(&by_pair);
        }
    }

    /// Takes in what the first follower was told since the last look.
    fn look_at_events(&mut self) {
        let seen = self.followers[0].seen();
        for event in &seen.events[self.looked_at..] {
            let told = Told::of(event);
            let after = instance(event);
            let is_there = matches!(told.kind, Kind::Registered | Kind::Updated);
            let (pair, stamp) = ledger::read(after).unwrap();
            assert!(self.tried(pair, stamp), "nobody asked for {event:?}");
            assert_eq!(
                *self.ids.entry(told.id.clone()).or_insert(pair),
                pair,
                "an id of two pairs: {event:?}"
            );
            if is_there {
                assert_ne!(
                    self.last_of.get(&told.id),
                    Some(&Kind::Deregistered),
                    "it was deregistered before: {event:?}"
                );
            }
            self.last_of.insert(told.id.clone(), told.kind);
            let again = self.told.insert((told.revision, told.id.clone()), told.stamp);
            assert_eq!(again, None, "two changes of one instance in a revision: {event:?}");

            for (expected, follower) in self.expected.iter_mut().zip(&self.followers[1..]) {
                let before = self.seen_by_all.0.get(&told.id).is_some_and(|before| follower.takes(before));
                let (kind, reason) = match (before, is_there && follower.takes(after)) {
                    (false, false) => continue,
                    (false, true) if told.kind == Kind::Updated => (Kind::Registered, Reason::EnteredFilter),
                    (true, false) if is_there => (Kind::Deregistered, Reason::LeftFilter),
                    _ => (told.kind, told.reason),
                };
                expected.push(Told { kind, reason, ..told.clone() });
            }
            self.seen_by_all.apply(event);
        }
        self.looked_at = seen.events.len();
    }

    /// Who watches a part was told just that part.
    fn compare_filtered(&mut self, mark: u64) {
        for ((expected, follower), compared) in
            self.expected.iter().zip(&self.followers[1..]).zip(&mut self.compared)
        {
            let seen = follower.seen();
            let told: Vec<Told> = seen.events[*compared..].iter().map(Told::of).collect();
            let through = expected.partition_point(|told| told.revision <= mark);
            // It may have been told of more by now.
            let some = told.iter().take_while(|told| told.revision <= mark).count();
            assert_eq!(told[..some], expected[*compared..through]);
            *compared = through;
        }
    }

    fn acknowledged_were_told(&mut self) {
        for writer in self.writers.iter_mut().chain([&mut self.marker]) {
            for answer in writer.acknowledged.drain(..) {
                let told = self.told.get(&(answer.revision, answer.id.clone()));
                assert_eq!(told, Some(&answer.stamp), "{answer:?}");
                assert_eq!(self.ids.get(&answer.id), Some(&answer.pair), "{answer:?}");
            }
            for (pair, id, acknowledged) in writer.departed.drain(..) {
                match self.last_of.get(&id) {
                    Some(Kind::Deregistered) => {}
                    Some(Kind::Expired) if ledger::is_brief(pair) => {}
                    other => panic!("{id} of pair {pair} was ended ({acknowledged}); told last: {other:?}"),
                }
                self.dead.push(id);
            }
        }
    }

    /// The latest of the dead, and some of all.
    async fn dead_stay_dead(&mut self, server: &Server, client: &mut RegistryClient<Channel>) {
        let Some(last) = self.dead.last() else { return };
        assert_eq!(server.http("PUT", &format!("/services/{last}/$ping"), &[], b"").status, 404);
        let mut ids: Vec<String> = self.dead.iter().rev().take(40).cloned().collect();
        for _ in 0..10 {
            let at = self.numbers.below(self.dead.len() as u64);
            ids.push(self.dead[usize::try_from(at).unwrap()].clone());
        }
        all_dead(client, ids).await;
    }
}

async fn ended(following: Vec<JoinHandle<()>>) {
    for follower in following {
        within("the end of a watch", SOON, follower).await.unwrap();
    }
}

/// None of these can be kept alive.
async fn all_dead(client: &mut RegistryClient<Channel>, mut ids: Vec<String>) {
    ids.sort();
    ids.dedup();
    for some in ids.chunks(5000) {
        let beat = KeepAliveRequest { ids: some.to_vec(), ..KeepAliveRequest::default() };
        let mut answers = client.keep_alive(tokio_stream::iter([beat])).await.unwrap().into_inner();
        let answer = within("an answer", SOON, answers.message()).await.unwrap().unwrap();
        let mut lost: Vec<String> = answer.lost.into_iter().map(|lost| lost.id).collect();
        lost.sort();
        assert_eq!(lost, some, "all of these are dead");
    }
}

fn revision(server: &Server) -> u64 {
    server.get("/health").json()["revision"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kills_lose_nothing_acknowledged() {
    const ROUNDS: usize = 200;
    let mut campaign = Campaign::new("sync", "sync");
    for round in 0..ROUNDS {
        campaign.interrupt();
        let mut server = campaign.serve().start();
        assert!(revision(&server) >= campaign.highest, "round {round}: a revision went back");
        let following = campaign.follow(&server).await;
        campaign.check(&server, round).await;
        let long = round % LONG == LONG - 1;
        campaign.burst(&mut server, long, End::Kill).await;
        ended(following).await;
        campaign.note_revisions();
    }

    let server = campaign.serve().start();
    campaign.follow(&server).await;
    campaign.check(&server, ROUNDS).await;
    let mut client = server.registry().await;
    all_dead(&mut client, campaign.dead.clone()).await;
    for follower in &campaign.followers {
        assert_eq!(follower.seen().resets, 0, "nobody began anew");
    }

    // All that chance was to bring about, it did.
    let mut sum = ledger::Counts::default();
    for ledger::Counts { acknowledged, departed, open_done, open_undone } in
        campaign.writers.iter().map(|writer| writer.counts)
    {
        sum.acknowledged += acknowledged;
        sum.departed += departed;
        sum.open_done += open_done;
        sum.open_undone += open_undone;
    }
    let seen = campaign.followers[0].seen();
    let count = |kind, reason| {
        seen.events.iter().filter(|event| (event.r#type(), event.reason()) == (kind, reason)).count()
    };
    let expired = count(Kind::Expired, Reason::TtlLapsed);
    let revived = count(Kind::Registered, Reason::Revived);
    println!(
        "{sum:?}, {} changes up to revision {}, {expired} expired, {revived} revived, {} starts interrupted",
        seen.events.len(),
        seen.told,
        campaign.interrupted
    );
    let happened = [sum.acknowledged, sum.departed, sum.open_done, sum.open_undone, expired, revived];
    assert!(happened.iter().all(|count| *count > 0), "{happened:?}");
    assert!(campaign.interrupted > 0);
    drop((seen, server));
    let report = leasehold(["inspect", campaign.dir.text(), "--output", "json"]);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_ne!(report["history"]["first"], "1", "the history was pruned: {report}");
}

/// Kills with a stop in order among them, where the disk is not waited for.
async fn lossy(durability: &'static str, rounds: usize) -> Campaign {
    let mut campaign = Campaign::new(durability, durability);
    let mut last = End::Stop;
    for round in 0..rounds {
        if last == End::Kill {
            campaign.interrupt();
        }
        let mut server = campaign.serve().start();
        let following = campaign.follow(&server).await;
        match last {
            // All of it is there, in the same epoch.
            End::Stop => {
                assert!(revision(&server) >= campaign.highest, "round {round}: a revision went back");
            }
            End::Kill => campaign.begin_anew(&server, round).await,
        }
        let resets: Vec<usize> = campaign.followers.iter().map(|follower| follower.seen().resets).collect();
        campaign.check(&server, round).await;
        last = if round % 4 == 3 { End::Stop } else { End::Kill };
        campaign.burst(&mut server, round % 8 == 5, last).await;
        ended(following).await;
        campaign.note_revisions();
        for (follower, before) in campaign.followers.iter().zip(resets) {
            assert_eq!(follower.seen().resets, before, "round {round}: a reset that nothing called for");
        }
    }
    assert!(campaign.compared_to_former > 0);
    campaign
}

#[tokio::test(flavor = "multi_thread")]
async fn durability_os_loses_a_second_at_most_and_says_so() {
    let mut campaign = lossy("os", 21).await;
    let mut server = campaign.serve().start();
    campaign.follow(&server).await;
    campaign.begin_anew(&server, 21).await;
    let mut client = server.registry().await;
    let kept = campaign.marker.register(&mut client, MARKER).await.unwrap();
    // The passing of time is what is tested; twice what is promised, for a machine that is not
    // idle.
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.kill();
    let server = campaign.serve().start();
    let found = server.get(&format!("/services/{}", kept.id)).json();
    assert_eq!(found["revision"], kept.revision.to_string());
    // Nothing is missing, but that cannot be known: what was decided last may have been lost.
    campaign.follow(&server).await;
    for follower in &campaign.followers {
        follower.began_anew(22).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn durability_none_keeps_what_a_stop_in_order_left() {
    lossy("none", 9).await;
}
