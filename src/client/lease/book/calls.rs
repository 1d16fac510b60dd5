//! Registering and deregistering: what goes into which call, and what its answer means.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message as _;

use super::{
    Book, Effect, How, Key, RETRY_CAP, STEADY,
    slot::{Known, Slot, Step, Want},
};
use crate::{
    client::{Ended, State, backoff::Backoff, lease::fault::Fault},
    proto::{DeregisterRequest, RegisterRequest, RegisterResponse},
};

/// Calls that are on their way at a time.
const MOST_CALLS: usize = 32;
/// Registrations in one call; the registry takes 1,000.
const MOST_IN_BATCH: usize = 500;
/// What a call, or its answer, may come to; a message holds 1 MiB.
const MOST_BYTES: usize = 768 * 1024;
/// What the answer to one registration comes to, but for its url and its service.
const ANSWER: usize = 1024;
/// For so long a pair that is refused to us may be our own: registered by a call whose answer we did not get,
/// so that we do not know its token. It lapses.
const UNCERTAIN: Duration = Duration::from_mins(2);

/// A call to the registry.
#[derive(Debug)]
pub(in super::super) enum Call {
    /// Several: in one call.
    Register(Vec<RegisterRequest>),
    Deregister(DeregisterRequest),
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct CallId(u64);

/// What came of a call.
#[derive(Debug)]
pub(in super::super) enum Outcome {
    /// Of each, in order; or of the call as a whole.
    Registered(Result<Vec<Result<RegisterResponse, Fault>>, Fault>),
    Deregistered(Result<(), Fault>),
}

/// Calls on their way, and when the next ones may go.
pub(super) struct Calls {
    next: u64,
    on_their_way: HashMap<CallId, Asked>,
    /// Whether one of them registers what waited together.
    batch: Option<CallId>,
    not_before: Option<Instant>,
    backoff: Backoff,
}

struct Asked {
    keys: Vec<Key>,
    /// What each was to be registered with.
    contents: Vec<Arc<RegisterRequest>>,
    sent: Instant,
}

impl Calls {
    pub fn new() -> Self {
        Self {
            next: 0,
            on_their_way: HashMap::new(),
            batch: None,
            not_before: None,
            backoff: Backoff::new(RETRY_CAP),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.on_their_way.is_empty()
    }
}

// === impl Book: asking ===

impl Book {
    pub(super) fn next_call(&mut self, now: Instant) {
        if self.calls.not_before.is_some_and(|at| now < at) || self.calls.on_their_way.len() >= MOST_CALLS {
            return;
        }
        while let Some(key) = self.to_deregister.pop_front() {
            if !self.waits_for(key, Step::Deregister) {
                continue;
            }
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            let Some(Known { id, token, .. }) = slot.known.clone() else { continue };
            slot.step = Step::Deregistering;
            self.ask(
                now,
                vec![key],
                Vec::new(),
                Call::Deregister(DeregisterRequest { id, lease_token: token }),
            );
            return;
        }
        if self.calls.batch.is_some() {
            return;
        }
        let (mut keys, mut contents, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        let (mut bytes, mut answer) = (0, 0);
        while let Some(key) = self.to_register.pop_front() {
            if !self.waits_for(key, Step::Register) {
                continue;
            }
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            let request = slot.request();
            bytes += request.encoded_len() + 8;
            answer += ANSWER + request.url.len() + 2 * request.service.len().max(request.id.len());
            let full = requests.len() == MOST_IN_BATCH || bytes > MOST_BYTES || answer > MOST_BYTES;
            if !requests.is_empty() && (full || slot.alone) {
                self.to_register.push_front(key);
                break;
            }
            let alone = slot.alone;
            slot.step = Step::Registering;
            slot.asked = now;
            slot.moving = slot.known.is_some();
            keys.push(key);
            contents.push(Arc::clone(&slot.wanted));
            requests.push(request);
            if alone {
                break;
            }
        }
        if !keys.is_empty() {
            let alone = keys.len() == 1;
            let id = self.ask(now, keys, contents, Call::Register(requests));
            // What goes alone need not wait for others.
            self.calls.batch = (!alone).then_some(id);
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        keys: Vec<Key>,
        contents: Vec<Arc<RegisterRequest>>,
        call: Call,
    ) -> CallId {
        let id = CallId(self.calls.next);
        self.calls.next += 1;
        self.calls.on_their_way.insert(id, Asked { keys, contents, sent: now });
        self.connect_if_stale();
        self.effects.push_back(Effect::Call(id, call));
        id
    }

    pub(super) fn calls_wake_at(&self) -> Option<Instant> {
        let waiting =
            !self.to_deregister.is_empty() || (!self.to_register.is_empty() && self.calls.batch.is_none());
        self.calls.not_before.filter(|_| waiting && self.calls.on_their_way.len() < MOST_CALLS)
    }

    /// No call before that time.
    pub(super) fn hold_back_calls(&mut self, until: Instant) {
        self.calls.not_before = self.calls.not_before.max(Some(until));
    }
}

// === impl Book: answers ===

impl Book {
    /// What came of a call.
    pub fn called(&mut self, now: Instant, id: CallId, outcome: Outcome) {
        let Some(asked) = self.calls.on_their_way.remove(&id) else { return };
        if self.calls.batch == Some(id) {
            self.calls.batch = None;
        }
        match outcome {
            Outcome::Registered(Ok(results)) => self.registered(now, asked, results),
            Outcome::Registered(Err(fault)) => self.not_registered(now, &asked, &fault),
            Outcome::Deregistered(result) => {
                for key in asked.keys {
                    self.deregistered(now, key, &result);
                }
            }
        }
    }

    fn registered(&mut self, now: Instant, asked: Asked, results: Vec<Result<RegisterResponse, Fault>>) {
        self.answered_call();
        let missing = || Err(Fault::nonsense("the registry's answer says nothing of it"));
        let results = results.into_iter().chain(std::iter::repeat_with(missing));
        for ((key, content), result) in asked.keys.into_iter().zip(asked.contents).zip(results) {
            match result {
                Ok(answer) => self.is_registered(key, &answer, content, asked.sent),
                Err(fault) => self.is_not_registered(now, key, &content, &fault, false),
            }
        }
    }

    fn is_registered(
        &mut self,
        key: Key,
        answer: &RegisterResponse,
        content: Arc<RegisterRequest>,
        sent: Instant,
    ) {
        if !self.slots.contains_key(&key) {
            // It was given up meanwhile.
            let mut slot = Slot::new(Arc::clone(&content), None, RETRY_CAP, sent);
            slot.adopt(answer, content, sent);
            if let Some(known) = slot.known {
                self.discard(sent, known);
            }
            return;
        }
        self.adopt(key, answer, Arc::clone(&content), sent);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        match slot.ends() {
            None if slot.wanted != content => self.go(key, Step::Register),
            None => self.go(key, Step::Attach),
            Some(How::Deregister) => self.go(key, Step::Deregister),
            Some(How::Leave) => self.release(key),
        }
    }

    /// A call that was to register failed as a whole.
    fn not_registered(&mut self, now: Instant, asked: &Asked, fault: &Fault) {
        let several = asked.keys.len() > 1;
        match fault {
            Fault::Later { after, busy, .. } if several || !busy => {
                self.call_failed(now, *after, *busy);
            }
            Fault::Denied(_) | Fault::Refused(_) | Fault::Unwelcome(_) | Fault::Gone if several => {
                // One of them may be the cause: each goes alone, and harms none but itself.
                for key in &asked.keys {
                    if let Some(slot) = self.slots.get_mut(key) {
                        slot.alone = true;
                        self.go(*key, Step::Register);
                    }
                }
                return;
            }
            _ => {}
        }
        for (key, content) in asked.keys.iter().zip(&asked.contents) {
            self.is_not_registered(now, *key, content, fault, several);
        }
    }

    /// `held_back`: all calls wait as it is.
    fn is_not_registered(
        &mut self,
        now: Instant,
        key: Key,
        content: &Arc<RegisterRequest>,
        fault: &Fault,
        held_back: bool,
    ) {
        let cap = self.retry_cap();
        let jitter = self.jitter;
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let (after, busy) = match fault {
            Fault::Later { after, undone, busy, .. } => {
                if !undone {
                    slot.uncertain = slot.uncertain.or(Some(slot.asked));
                }
                (*after, *busy && !held_back)
            }
            // It may be our own, of a call whose answer was lost.
            Fault::Denied(_) if slot.uncertain.is_some_and(|since| now < since + UNCERTAIN) => {
                (Duration::ZERO, true)
            }
            Fault::Unwelcome(_) if slot.accepted.is_some() => (Duration::ZERO, true),
            _ => return self.refused(key, content, fault.why()),
        };
        match slot.ends() {
            Some(How::Leave) => return self.release(key),
            Some(How::Deregister) if slot.uncertain.is_none() && slot.known.is_none() => {
                return self.finish(key, Ok(()));
            }
            _ => {}
        }
        if let Want::End { why, .. } = &mut slot.want {
            fault.why().clone_into(why);
        }
        let step = if slot.is_held() || slot.known.is_none() { Step::Register } else { Step::Deregister };
        let shows = !slot.on_stream;
        if busy {
            let wait = Self::wait(&mut slot.backoff, after, cap, jitter);
            self.go_at(key, step, now + wait);
        } else {
            self.go(key, step);
        }
        // What the stream holds, with other content, is well.
        if shows {
            self.show_trouble(now, key, fault.why());
        }
    }

    /// What was wanted is refused, and would be refused again.
    fn refused(&mut self, key: Key, content: &Arc<RegisterRequest>, why: &str) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.moving = false;
        if slot.is_held() && slot.wanted != *content {
            return self.go(key, Step::Register);
        }
        let known = slot.known.is_some();
        if !slot.is_held() {
            let certain = slot.uncertain.is_none();
            match slot.ends() {
                Some(How::Deregister) if known => self.go(key, Step::Deregister),
                Some(How::Deregister) if !certain => self.finish(key, Err(why.to_owned())),
                Some(How::Leave) => self.release(key),
                _ => self.finish(key, Ok(())),
            }
            return;
        }
        match slot.accepted.clone().filter(|accepted| known && *accepted != slot.wanted) {
            Some(accepted) => {
                slot.wanted = accepted;
                let handle = slot.handle;
                let step = match (slot.uncertain, slot.on_stream) {
                    // What came between may have been taken.
                    (Some(_), _) => Step::Register,
                    (None, true) => Step::Held,
                    (None, false) => Step::Attach,
                };
                self.go(key, step);
                if let Some(handle) = handle {
                    self.effects.push_back(Effect::NotUpdated(handle, why.to_owned()));
                }
            }
            None => self.lose(key, Ended::Refused(why.to_owned()), Ok(())),
        }
    }

    fn deregistered(&mut self, now: Instant, key: Key, result: &Result<(), Fault>) {
        let cap = self.retry_cap();
        let jitter = self.jitter;
        if !matches!(result, Err(Fault::Later { busy: false, .. })) {
            self.answered_call();
        }
        if let Err(Fault::Later { after, busy: false, .. }) = result {
            self.call_failed(now, *after, false);
        }
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let held_again = slot.is_held();
        match result {
            Ok(()) | Err(Fault::Gone) => {
                self.forget(key);
                if held_again { self.go(key, Step::Register) } else { self.finish(key, Ok(())) }
            }
            Err(_) if held_again => self.go(key, Step::Register),
            Err(fault @ Fault::Later { after, busy, .. }) => {
                if let Want::End { why, .. } = &mut slot.want {
                    fault.why().clone_into(why);
                }
                if *busy {
                    let wait = Self::wait(&mut slot.backoff, *after, cap, jitter);
                    self.go_at(key, Step::Deregister, now + wait);
                } else {
                    self.go(key, Step::Deregister);
                }
            }
            Err(fault) => {
                let why = fault.why().to_owned();
                self.finish(key, Err(why));
            }
        }
    }

    /// The registry has it no more.
    pub(super) fn forget(&mut self, key: Key) {
        self.leave_stream(key);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.moving = false;
        slot.uncertain = None;
        if let Some(known) = slot.known.take()
            && self.ids.get(&known.id) == Some(&key)
        {
            self.ids.remove(&known.id);
        }
    }

    /// The registry said that it is gone for good.
    pub(super) fn gone(&mut self, now: Instant, key: Key, why: &str) {
        let (cap, jitter) = (self.retry_cap(), self.jitter);
        let Some(slot) = self.slots.get(&key) else { return };
        let id = slot.known.as_ref().map(|known| known.id.clone()).unwrap_or_default();
        self.forget(key);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if !slot.is_held() {
            // A call on its way says the same.
            if !matches!(slot.step, Step::Deregistering | Step::Registering) {
                self.finish(key, Ok(()));
            }
            return;
        }
        match slot.step {
            Step::Register | Step::Registering | Step::Deregistering => {}
            _ if slot.taken.is_none_or(|taken| taken + STEADY <= now) => {
                slot.backoff.reset();
                self.go(key, Step::Register);
            }
            // Someone ends it as soon as it is there.
            _ => {
                let wait = Self::wait(&mut slot.backoff, Duration::ZERO, cap, jitter);
                self.go_at(key, Step::Register, now + wait);
            }
        }
        self.show(key, State::Lost { id, why: why.to_owned() });
    }

    /// The registry is there.
    fn answered_call(&mut self) {
        self.calls.backoff.reset();
        self.calls.not_before = None;
    }

    /// The registry could not be asked, or wants to be asked later.
    fn call_failed(&mut self, now: Instant, after: Duration, busy: bool) {
        let (cap, jitter) = (self.retry_cap(), self.jitter);
        let wait = Self::wait(&mut self.calls.backoff, after, cap, jitter);
        self.hold_back_calls(now + wait);
        if !busy {
            self.distrust(now + wait);
        }
    }
}
