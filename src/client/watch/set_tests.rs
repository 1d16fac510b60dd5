//! The set against a registry that is played by a naive model: whatever it does, and wherever the stream
//! breaks, what is shown is what lived at the revision that it says.

use std::collections::{BTreeMap, VecDeque};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::proto::Event;

type Lives = BTreeMap<String, Arc<Instance>>;

fn instance(id: &str, revision: u64) -> Instance {
    Instance { id: id.to_owned(), service: "s".to_owned(), revision, ..Instance::default() }
}

fn event(kind: Kind, id: &str, revision: u64) -> Event {
    Event { r#type: kind.into(), instance: Some(instance(id, revision)), revision, ..Event::default() }
}

fn message(step: Step, events: Vec<Event>, token: &str, revision: u64) -> WatchResponse {
    WatchResponse { r#type: step.into(), events, resume_token: token.to_owned(), revision }
}

fn ids(set: &Set) -> Vec<&str> {
    let mut ids: Vec<&str> = set.shown().iter().map(|instance| instance.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

fn changed(set: &mut Set, kind: Kind, id: &str) {
    let told = set.take(message(Step::Changes, vec![event(kind, id, 2)], "t2", 2));
    assert!(matches!(told, Ok(Told::Changed(changes)) if changes.len() == 1));
}

/// A set that shows these.
fn showing(shown: &[&str]) -> Set {
    let mut set = Set::default();
    set.begin();
    let listed = shown.iter().map(|id| event(Kind::Registered, id, 1)).collect();
    assert_eq!(set.take(message(Step::Snapshot, listed, "", 1)), Ok(Told::Part));
    assert!(set.shown().is_empty());
    assert_eq!(set.take(message(Step::Synced, vec![], "t1", 1)), Ok(Told::Replaced));
    set
}

#[test]
fn a_reset_shows_the_old_set_until_the_new_one_is_whole() {
    let mut set = showing(&["a", "b"]);
    assert_eq!(set.take(message(Step::Reset, vec![], "", 9)), Ok(Told::Part));
    assert_eq!(set.token(), "");
    let parts = [event(Kind::Registered, "c", 9), event(Kind::Registered, "d", 9)];
    for part in parts {
        assert_eq!(set.take(message(Step::Snapshot, vec![part], "", 9)), Ok(Told::Part));
        assert_eq!(ids(&set), ["a", "b"]);
    }
    // What went while it was read is taken back.
    set.take(message(Step::Snapshot, vec![event(Kind::Deregistered, "c", 0)], "", 10)).unwrap();
    assert_eq!(set.take(message(Step::Synced, vec![], "t10", 10)), Ok(Told::Replaced));
    assert_eq!((ids(&set), set.token(), set.shown().revision()), (vec!["d"], "t10", 10));
}

#[test]
fn a_stream_that_breaks_within_a_snapshot_leaves_nothing_behind() {
    let mut set = showing(&["a"]);
    set.take(message(Step::Reset, vec![], "", 5)).unwrap();
    set.take(message(Step::Snapshot, vec![event(Kind::Registered, "half", 5)], "", 5)).unwrap();
    set.begin();
    assert_eq!((ids(&set), set.token()), (vec!["a"], ""));
    set.take(message(Step::Synced, vec![], "t6", 6)).unwrap();
    assert_eq!(ids(&set), Vec::<&str>::new());
}

#[test]
fn suspects_stay_and_what_ends_goes() {
    let mut set = showing(&["a", "b"]);
    changed(&mut set, Kind::Suspect, "a");
    assert_eq!(ids(&set), ["a", "b"]);
    changed(&mut set, Kind::Expired, "a");
    changed(&mut set, Kind::Deregistered, "never");
    assert_eq!(ids(&set), ["b"]);
    assert_eq!((set.shown().len(), set.shown().get("a")), (1, None));
}

#[test]
fn what_a_later_registry_may_say_is_passed_over() {
    let mut set = showing(&["a"]);
    let unknown = WatchResponse { r#type: 99, ..message(Step::Changes, vec![], "t9", 9) };
    assert_eq!(set.take(unknown), Ok(Told::Changed(vec![])));
    let odd = Event { r#type: 99, ..event(Kind::Expired, "a", 2) };
    let none = Event { instance: None, ..event(Kind::Expired, "a", 2) };
    assert_eq!(set.take(message(Step::Changes, vec![odd, none], "t2", 2)), Ok(Told::Changed(vec![])));
    assert_eq!((ids(&set), set.token()), (vec!["a"], "t2"));
}

#[test]
fn nonsense_changes_nothing() {
    let mut set = Set::default();
    set.begin();
    let early = message(Step::Changes, vec![event(Kind::Registered, "a", 1)], "t1", 1);
    assert!(set.take(early).is_err());
    assert!(set.shown().is_empty() && set.token().is_empty());
    let mut set = showing(&["a"]);
    assert!(set.take(message(Step::Synced, vec![], "t2", 2)).is_err());
    assert!(set.take(message(Step::Snapshot, vec![event(Kind::Registered, "b", 1)], "", 1)).is_err());
    assert_eq!((ids(&set), set.token()), (vec!["a"], "t1"));
}

// === the model ===

/// What happens, beside the messages.
#[derive(Clone, Debug)]
enum Act {
    /// One revision of changes: whose, and which.
    Commit(Vec<(u8, u8)>),
    /// So many messages reach the client.
    Deliver(u8),
    /// The connection breaks; the next one resumes.
    Break,
    /// The changes up to now leave the history.
    Forget,
    /// The registry loses its memory: another epoch.
    Restart,
}

fn step() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => vec((0..24_u8, 0..5_u8), 1..5).prop_map(Act::Commit),
        6 => (1..6_u8).prop_map(Act::Deliver),
        2 => Just(Act::Break),
        1 => Just(Act::Forget),
        1 => Just(Act::Restart),
    ]
}

#[derive(Default)]
struct Registry {
    epoch: u64,
    /// What lived at each revision of this epoch.
    states: Vec<Lives>,
    /// What changed with each.
    log: Vec<Vec<Event>>,
    /// Changes up to here are not to be had.
    forgotten: u64,
}

/// A stream, as the registry sees it.
enum Stream {
    /// What is still to be said of a snapshot, and of which revision it is.
    Listing(VecDeque<Vec<Event>>, u64),
    /// All up to this revision was told.
    Following(u64),
    Resetting,
}

impl Registry {
    fn start(epoch: u64) -> Self {
        Self { epoch, states: vec![Lives::new()], log: vec![vec![]], forgotten: 0 }
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn token(&self, revision: u64) -> String {
        format!("{}/{revision}", self.epoch)
    }

    fn commit(&mut self, wishes: &[(u8, u8)]) {
        let revision = self.revision() + 1;
        let mut lives = self.states.last().unwrap().clone();
        let mut events = Vec::new();
        for (whose, what) in wishes {
            let id = format!("id{whose}");
            let known = lives.contains_key(&id);
            let kind = match (what, known) {
                (0 | 1, true) => Kind::Updated,
                (_, false) => Kind::Registered,
                (2, true) => Kind::Suspect,
                (3, true) => Kind::Deregistered,
                (_, true) => Kind::Expired,
            };
            match kind {
                Kind::Deregistered | Kind::Expired => drop(lives.remove(&id)),
                _ => drop(lives.insert(id.clone(), Arc::new(instance(&id, revision)))),
            }
            events.push(event(kind, &id, revision));
        }
        self.states.push(lives);
        self.log.push(events);
    }

    fn open(&self, token: &str) -> Stream {
        let prefix = format!("{}/", self.epoch);
        match token.strip_prefix(&prefix).map(|revision| revision.parse().unwrap()) {
            _ if token.is_empty() => self.list(),
            Some(revision) if revision >= self.forgotten => Stream::Following(revision),
            _ => Stream::Resetting,
        }
    }

    fn list(&self) -> Stream {
        let all: Vec<Event> =
            self.states.last().unwrap().values().map(|it| listed(Kind::Registered, it)).collect();
        Stream::Listing(all.chunks(3).map(<[Event]>::to_vec).collect(), self.revision())
    }

    /// The next message.
    fn next(&self, stream: &mut Stream) -> WatchResponse {
        match stream {
            Stream::Resetting => {
                *stream = self.list();
                message(Step::Reset, vec![], "", self.revision())
            }
            Stream::Listing(parts, at) => {
                if let Some(part) = parts.pop_front() {
                    return message(Step::Snapshot, part, "", *at);
                }
                if *at < self.forgotten {
                    let (old, new) = (&self.states[*at as usize], self.states.last().unwrap());
                    let gone = old.iter().filter(|(id, _)| !new.contains_key(*id));
                    let fresh = new.iter().filter(|(id, it)| old.get(*id) != Some(it));
                    let mut events: Vec<Event> = gone.map(|(_, it)| listed(Kind::Deregistered, it)).collect();
                    events.extend(fresh.map(|(_, it)| listed(Kind::Registered, it)));
                    *at = self.revision();
                    return message(Step::Snapshot, events, "", *at);
                }
                let at = *at;
                *stream = Stream::Following(at);
                message(Step::Synced, vec![], &self.token(at), at)
            }
            Stream::Following(at) if *at < self.forgotten => {
                *stream = self.list();
                message(Step::Reset, vec![], "", self.revision())
            }
            Stream::Following(at) => {
                let to = self.revision().min(*at + 2);
                let events = self.log[*at as usize + 1..=to as usize].concat();
                let step = if events.is_empty() { Step::Bookmark } else { Step::Changes };
                *at = to;
                message(step, events, &self.token(to), to)
            }
        }
    }
}

fn listed(kind: Kind, instance: &Arc<Instance>) -> Event {
    Event { r#type: kind.into(), instance: Some((**instance).clone()), ..Event::default() }
}

fn lives(snapshot: &Snapshot) -> Lives {
    snapshot.iter().map(|instance| (instance.id.clone(), Arc::clone(instance))).collect()
}

fn play(steps: Vec<Act>) {
    let mut registry = Registry::start(0);
    let mut set = Set::default();
    let mut stream = registry.open("");
    set.begin();
    // What was shown, and what it must still be in the end; what the changes alone make of it.
    let mut kept: Vec<(Snapshot, Lives)> = Vec::new();
    let mut followed = Lives::new();
    for step in steps {
        match step {
            Act::Commit(wishes) => registry.commit(&wishes),
            Act::Forget => registry.forgotten = registry.revision(),
            Act::Restart => {
                registry = Registry::start(registry.epoch + 1);
                stream = registry.open(set.token());
                set.begin();
            }
            Act::Break => {
                stream = registry.open(set.token());
                set.begin();
            }
            Act::Deliver(count) => {
                for _ in 0..count {
                    let before = lives(set.shown());
                    let told = set.take(registry.next(&mut stream)).unwrap();
                    let shown = lives(set.shown());
                    match told {
                        Told::Part => assert_eq!(shown, before),
                        Told::Replaced => followed.clone_from(&shown),
                        Told::Changed(changes) => {
                            for change in changes {
                                match change.kind {
                                    Kind::Deregistered | Kind::Expired => {
                                        followed.remove(&change.instance.id);
                                    }
                                    _ => drop(followed.insert(change.instance.id.clone(), change.instance)),
                                }
                            }
                            assert_eq!(followed, shown, "the changes lead to what is shown");
                        }
                    }
                    if !set.token().is_empty() {
                        assert_eq!(shown, registry.states[set.shown().revision() as usize]);
                        assert_eq!(set.token(), registry.token(set.shown().revision()));
                    }
                    assert_eq!(set.shown().len(), shown.len());
                    kept.push((set.shown().clone(), shown));
                }
            }
        }
    }
    for (snapshot, then) in kept {
        assert_eq!(lives(&snapshot), then, "a snapshot never changes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_is_what_lived_then(steps in vec(step(), 1..80)) {
        play(steps);
    }
}
