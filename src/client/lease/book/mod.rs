//! What is held, and what to do about it: the whole of the decisions, without a socket and without a clock. What happened
//! is told to it together with the time; what is to be done comes out of [`Book::poll`], and has to be asked for again
//! after each input and at [`Book::wakes_at`].
//!
//! Start with [`Book`]. What holders ask for is here; `calls.rs` registers and deregisters, `stream.rs` keeps the one stream,
//! `slot.rs` is one registration.

mod calls;
mod slot;
mod stream;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    calls::Calls,
    slot::{Known, Pair, Slot, Step, Want, pair},
    stream::Stream,
};
use crate::{
    client::{Ended, State, backoff::Backoff},
    proto::{KeepAliveRequest, RegisterRequest, RegisterResponse},
};

pub(super) use self::calls::{Call, CallId, Outcome};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// The longest wait between two tries.
const RETRY_CAP: Duration = Duration::from_secs(10);
/// What worked for a shorter time than this does not end a row of failures: two holders that replace each other must
/// slow down.
const STEADY: Duration = Duration::from_secs(10);
/// The background gives up what it could not deregister after this.
const BACKGROUND: Duration = Duration::from_secs(10);

/// Who holds a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle(pub u64);

/// A registration in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// How holding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Deregister,
    /// Left to its TTL.
    Leave,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(super) enum Effect {
    /// The holder is shown this, if it is not what it was shown before.
    Show(Handle, State),
    /// The registry took what this holder wanted.
    Taken(Handle, RegisterResponse),
    /// The registry refused what this holder wanted it to be; it is held as it was.
    NotUpdated(Handle, String),
    /// It is not held any more. An error: it could not be ended as was asked for.
    Ended(Handle, Ended, Result<(), String>),
    /// The next calls and the next stream go over a connection of their own.
    Connect,
    /// Opens a stream with this first message. A stream that was open stays so, and is not listened to any more: what is
    /// on it would drop with it.
    Open(Session, KeepAliveRequest),
    /// The next message of the stream that was opened last.
    Send(KeepAliveRequest),
    /// The stream that was opened last has everything: the ones before it can go.
    Settle,
    Call(CallId, Call),
}

/// Which stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Session(pub u32);

/// All that one client holds.
pub(super) struct Book {
    slots: BTreeMap<Key, Slot>,
    next_key: u64,
    holders: HashMap<Handle, Key>,
    pairs: HashMap<Pair, Key>,
    ids: HashMap<String, Key>,
    /// What waits to be done, in order; an entry whose slot is at another step meanwhile counts for nothing.
    to_register: VecDeque<Key>,
    to_attach: VecDeque<Key>,
    to_detach: VecDeque<Key>,
    to_deregister: VecDeque<Key>,
    /// What waits for a time before it waits in a queue.
    delayed: BTreeSet<(Instant, Key)>,
    /// When what is at risk may have lapsed.
    risks: BinaryHeap<Reverse<(Instant, Key)>>,
    /// When what is to be ended is given up.
    deadlines: BTreeSet<(Instant, Key)>,
    stream: Stream,
    calls: Calls,
    /// The smallest TTL, as far as it is known.
    ttl: Option<Duration>,
    effects: VecDeque<Effect>,
    /// From 0 up to 1, at random.
    jitter: fn() -> f64,
}

// === impl Book: what holders ask for ===

impl Book {
    pub fn new(now: Instant, jitter: fn() -> f64) -> Self {
        Self {
            slots: BTreeMap::new(),
            next_key: 0,
            holders: HashMap::new(),
            pairs: HashMap::new(),
            ids: HashMap::new(),
            to_register: VecDeque::new(),
            to_attach: VecDeque::new(),
            to_detach: VecDeque::new(),
            to_deregister: VecDeque::new(),
            delayed: BTreeSet::new(),
            risks: BinaryHeap::new(),
            deadlines: BTreeSet::new(),
            stream: Stream::new(now),
            calls: Calls::new(),
            ttl: None,
            effects: VecDeque::new(),
            jitter,
        }
    }

    /// Holds a registration from now on. Where this client holds the same service and url already, this is an update by a
    /// new holder, and the old one's end.
    pub fn hold(&mut self, now: Instant, handle: Handle, request: RegisterRequest) {
        self.place(now, handle, Arc::new(request));
    }

    /// The same of a registration that was made already: `answer` confirmed it.
    pub fn hold_registered(
        &mut self,
        now: Instant,
        handle: Handle,
        request: RegisterRequest,
        answer: &RegisterResponse,
    ) {
        let request = Arc::new(request);
        let key = self.place(now, handle, Arc::clone(&request));
        self.adopt(key, answer, request, now);
        if self.slots.get(&key).is_some_and(|slot| slot.step == Step::Register) {
            self.go(key, Step::Attach);
        }
    }

    /// Has the registration be another one from now on. The same service and url: with other content. Another one: the old
    /// one is deregistered.
    pub fn update(&mut self, now: Instant, handle: Handle, request: RegisterRequest) {
        let Some(&key) = self.holders.get(&handle) else { return };
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if !slot.is_same_pair(&request) {
            slot.handle = None;
            self.holders.remove(&handle);
            self.end_slot(now, key, How::Deregister, BACKGROUND);
        }
        self.place(now, handle, Arc::new(request));
    }

    /// Ends the holding, within this time.
    pub fn end(&mut self, now: Instant, handle: Handle, how: How, within: Duration) {
        if let Some(&key) = self.holders.get(&handle) {
            self.end_slot(now, key, how, within);
        }
    }

    /// Whether there is nothing to be done, and nothing comes any more.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.calls.is_idle() && self.effects.is_empty()
    }

    /// The next thing to be done.
    pub fn poll(&mut self, now: Instant) -> Option<Effect> {
        self.tick(now);
        if self.effects.is_empty() {
            self.next_message(now);
        }
        if self.effects.is_empty() {
            self.next_call(now);
        }
        self.effects.pop_front()
    }

    /// When to ask again, if nothing happens before.
    pub fn wakes_at(&mut self) -> Option<Instant> {
        let delayed = self.delayed.first().map(|(at, _)| *at);
        let risk = self.risks.peek().map(|Reverse((at, _))| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [delayed, risk, deadline, self.stream_wakes_at(), self.calls_wake_at()].into_iter().flatten().min()
    }

    /// Puts a holder to the slot of its pair, which is made unless it is there.
    fn place(&mut self, now: Instant, handle: Handle, request: Arc<RegisterRequest>) -> Key {
        let pair = pair(&request);
        let Some(&key) = self.pairs.get(&pair) else {
            let key = Key(self.next_key);
            self.next_key += 1;
            self.slots.insert(key, Slot::new(request, Some(handle), self.retry_cap(), now));
            self.holders.insert(handle, key);
            self.pairs.insert(pair, key);
            self.to_register.push_back(key);
            self.effects.push_back(Effect::Show(handle, State::Pending { why: None }));
            return key;
        };
        let Some(slot) = self.slots.get_mut(&key) else { return key };
        let before = slot.handle.replace(handle);
        let ended = slot.ends();
        if let Want::End { by, .. } = slot.want {
            self.deadlines.remove(&(by, key));
            slot.want = Want::Hold;
        }
        let unchanged = *slot.wanted == *request && slot.accepted.as_ref() == Some(&request);
        slot.wanted = request;
        slot.alone = false;
        let (step, on_stream, shown) = (slot.step, slot.on_stream, slot.shown.clone());
        self.holders.insert(handle, key);
        if let Some(before) = before.filter(|before| *before != handle) {
            self.holders.remove(&before);
            let ended = match ended {
                None => Ended::TakenOver,
                Some(How::Leave) => Ended::Left,
                Some(How::Deregister) => Ended::Deregistered,
            };
            self.effects.push_back(Effect::Ended(before, ended, Ok(())));
        }
        if before != Some(handle) {
            self.effects.push_back(Effect::Show(handle, shown));
        }
        match step {
            // What was decided for it takes its way.
            Step::Register | Step::Registering | Step::Deregistering => {}
            Step::Attach | Step::Attaching | Step::Held if unchanged => {}
            // It is where it was, and stays there.
            Step::Detach | Step::Deregister if unchanged && on_stream => self.go(key, Step::Held),
            _ => self.go(key, Step::Register),
        }
        key
    }

    fn end_slot(&mut self, now: Instant, key: Key, how: How, within: Duration) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Want::End { by, .. } = slot.want {
            self.deadlines.remove(&(by, key));
        }
        let by = now + within;
        slot.want = Want::End { how, by, why: "the registry did not answer in time".to_owned() };
        self.deadlines.insert((by, key));
        let known = slot.known.is_some();
        match (slot.step, how) {
            // What is on its way has to be waited for.
            (Step::Registering | Step::Deregistering | Step::Detaching, _) => {}
            (_, How::Deregister) if known => self.go(key, Step::Deregister),
            // Only the registry can tell whether it has it: registering it once more does.
            (_, How::Deregister) if slot.uncertain.is_some() => self.go(key, Step::Register),
            (_, How::Leave) => self.release(key),
            (_, How::Deregister) => self.finish(key, Ok(())),
        }
    }
}

// === impl Book: what all parts of it need ===

impl Book {
    /// What is due by now.
    fn tick(&mut self, now: Instant) {
        while let Some((_, key)) = self.delayed.first().copied().filter(|(at, _)| *at <= now) {
            self.delayed.pop_first();
            self.enqueue(key);
        }
        while let Some((_, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_first();
            self.give_up(key);
        }
        self.stream_tick(now);
        while let Some(Reverse((at, key))) = self.risks.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.risks.pop();
            let Some(slot) = self.slots.get(&key) else { continue };
            let (id, why) = match &slot.shown {
                // It may have been renewed since.
                State::AtRisk { id, until, why } if *until == at => (id, why.as_str()),
                // Nor has anything failed so far.
                State::Registered { id, .. } if slot.is_unheld_at(now) => {
                    (id, "the registry does not answer")
                }
                _ => continue,
            };
            let state = State::Lost { id: id.clone(), why: format!("not renewed for a TTL: {why}") };
            self.show(key, state);
        }
    }

    /// The slot's next step; it is taken when its turn comes.
    fn go(&mut self, key: Key, step: Step) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Some(at) = slot.ready_at.take() {
            self.delayed.remove(&(at, key));
        }
        slot.step = step;
        self.enqueue(key);
    }

    /// The same, not before that time.
    fn go_at(&mut self, key: Key, step: Step, at: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Some(before) = slot.ready_at.replace(at) {
            self.delayed.remove(&(before, key));
        }
        slot.step = step;
        self.delayed.insert((at, key));
    }

    fn enqueue(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.ready_at = None;
        match slot.step {
            Step::Register => self.to_register.push_back(key),
            Step::Attach => self.to_attach.push_back(key),
            Step::Detach => self.to_detach.push_back(key),
            Step::Deregister => self.to_deregister.push_back(key),
            Step::Registering | Step::Attaching | Step::Held | Step::Detaching | Step::Deregistering => {}
        }
    }

    /// Whether a slot still waits in the queue of this step.
    fn waits_for(&self, key: Key, step: Step) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.step == step && slot.ready_at.is_none())
    }

    /// Shows its holder a state, if it is one that it was not shown yet.
    fn show(&mut self, key: Key, state: State) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.shown == state {
            return;
        }
        if let State::AtRisk { until, .. } = &state {
            self.risks.push(Reverse((*until, key)));
        }
        slot.shown = state.clone();
        if let (Some(handle), Want::Hold) = (slot.handle, &slot.want) {
            self.effects.push_back(Effect::Show(handle, state));
        }
    }

    /// Shows that it is not to be reached: at risk where it was in the registry.
    fn show_trouble(&mut self, now: Instant, key: Key, why: &str) {
        let Some(slot) = self.slots.get(&key) else { return };
        let why = why.to_owned();
        let state = match (&slot.known, &slot.shown) {
            (Some(Known { id, .. }), State::Lost { .. }) => State::Lost { id: id.clone(), why },
            (Some(known), _) if known.until() > now => {
                State::AtRisk { id: known.id.clone(), until: known.until(), why }
            }
            (Some(Known { id, .. }), _) => {
                State::Lost { id: id.clone(), why: format!("not renewed for a TTL: {why}") }
            }
            (None, State::Pending { .. }) => State::Pending { why: Some(why) },
            (None, shown) => State::Lost { id: shown.id().unwrap_or_default().to_owned(), why },
        };
        self.show(key, state);
    }

    /// Takes note of a registration's answer.
    fn adopt(&mut self, key: Key, answer: &RegisterResponse, request: Arc<RegisterRequest>, sent: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let before = slot.known.take();
        slot.adopt(answer, request, sent);
        let handle = slot.handle;
        if let Some(known) = &slot.known {
            self.ttl = Some(self.ttl.map_or(known.ttl, |ttl| ttl.min(known.ttl)));
            // Until the stream holds it again.
            self.risks.push(Reverse((known.until(), key)));
        }
        self.leave_stream(key);
        if let Some(before) = before.filter(|before| before.id != answer.id) {
            // What the registry names otherwise has become another registration; the former one is nobody's.
            self.ids.remove(&before.id);
            self.discard(sent, before);
        }
        if let Some(other) = self.ids.insert(answer.id.clone(), key).filter(|other| *other != key) {
            // Names that the registry takes for one.
            self.lose(other, Ended::TakenOver, Ok(()));
        }
        if let Some(handle) = handle {
            self.effects.push_back(Effect::Taken(handle, answer.clone()));
        }
    }

    /// Deregisters, in the background, what nobody holds.
    fn discard(&mut self, now: Instant, known: Known) {
        let key = Key(self.next_key);
        self.next_key += 1;
        let mut slot = Slot::new(Arc::default(), None, RETRY_CAP, now);
        slot.known = Some(known);
        self.slots.insert(key, slot);
        self.end_slot(now, key, How::Deregister, BACKGROUND);
    }

    /// Ends it as was asked for.
    fn finish(&mut self, key: Key, result: Result<(), String>) {
        let ended = match self.slots.get(&key).and_then(Slot::ends) {
            Some(How::Leave) => Ended::Left,
            _ => Ended::Deregistered,
        };
        self.lose(key, ended, result);
    }

    /// It could not be ended in time.
    fn give_up(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Want::End { how, why, .. } = slot.want.clone() else { return };
        if how == How::Leave && matches!(slot.step, Step::Detach | Step::Detaching) {
            // The stream is not to keep it alive: it is released yet, or that stream ends.
            if let Some(handle) = slot.handle.take() {
                self.holders.remove(&handle);
                self.effects.push_back(Effect::Ended(handle, Ended::Left, Ok(())));
            }
            return;
        }
        self.finish(key, Err(why));
    }

    /// It is not ours any more.
    fn lose(&mut self, key: Key, ended: Ended, result: Result<(), String>) {
        self.leave_stream(key);
        let Some(slot) = self.slots.remove(&key) else { return };
        if let Want::End { by, .. } = slot.want {
            self.deadlines.remove(&(by, key));
        }
        if let Some(at) = slot.ready_at {
            self.delayed.remove(&(at, key));
        }
        let pair = pair(&slot.wanted);
        if self.pairs.get(&pair) == Some(&key) {
            self.pairs.remove(&pair);
        }
        if let Some(known) = &slot.known
            && self.ids.get(&known.id) == Some(&key)
        {
            self.ids.remove(&known.id);
        }
        if let Some(handle) = slot.handle {
            self.holders.remove(&handle);
            self.effects.push_back(Effect::Ended(handle, ended, result));
        }
    }

    /// An outage shorter than the TTL should not cost the lease.
    fn retry_cap(&self) -> Duration {
        self.ttl.map_or(RETRY_CAP, |ttl| RETRY_CAP.min(ttl / 2))
    }

    /// How long to wait after a failure, at least `floor`.
    fn wait(backoff: &mut Backoff, floor: Duration, cap: Duration, jitter: fn() -> f64) -> Duration {
        backoff.set_cap(cap);
        backoff.wait(floor, jitter())
    }
}
