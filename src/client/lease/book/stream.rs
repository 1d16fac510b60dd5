//! The one stream that keeps alive what is registered. At most one message is on its way, so that each answer is known
//! to be the answer to that one.

use std::{
    collections::HashMap,
    mem,
    time::{Duration, Instant},
};

use super::{Book, Effect, How, Key, RETRY_CAP, STEADY, Session, slot::Step};
use crate::{
    client::{Ended, State, backoff::Backoff, lease::fault::LONGEST_ASKED},
    proto::{KeepAliveRequest, KeepAliveResponse, keep_alive_response::lost::Reason},
};

/// Ids in one message: a tenth of what a message can hold.
const MOST_IDS: usize = 1000;
/// No server can make us beat faster.
const SHORTEST_BEAT: Duration = Duration::from_millis(50);
/// An answer is waited for this long at least.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(250);
/// A connection is made, and the first answer there, within a time between these.
const SHORTEST_OPENING: Duration = Duration::from_secs(2);
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Stream {
    session: Session,
    phase: Phase,
    /// How many slots it holds.
    attached: usize,
    opened: Instant,
    answered: bool,
    /// Everything on it was renewed by a beat that was sent then, and answered.
    renewed: Option<Instant>,
    beat_due: Instant,
    /// There are older streams that are not closed yet.
    unsettled: bool,
    /// The connection is not to be relied upon: what comes next makes its own.
    stale: bool,
    not_before: Option<Instant>,
    backoff: Backoff,
}

enum Phase {
    Closed,
    /// This message is not answered yet.
    Asked {
        message: Message,
        sent: Instant,
        due: Instant,
    },
    Quiet,
}

/// What a message was about.
enum Message {
    Beat,
    Attach(Vec<Key>),
    Detach(Vec<Key>),
}

impl Stream {
    pub fn new(now: Instant) -> Self {
        Self {
            session: Session::default(),
            phase: Phase::Closed,
            attached: 0,
            opened: now,
            answered: false,
            renewed: None,
            beat_due: now,
            unsettled: false,
            stale: false,
            not_before: None,
            backoff: Backoff::new(RETRY_CAP),
        }
    }
}

// === impl Book: asking ===

impl Book {
    pub(super) fn next_message(&mut self, now: Instant) {
        match self.stream.phase {
            Phase::Asked { .. } => {}
            Phase::Closed => {
                if self.stream.not_before.is_some_and(|at| now < at) {
                    return;
                }
                let Some((keys, message)) = self.next_ids(Step::Attach, Step::Attaching) else { return };
                self.connect_if_stale();
                let stream = &mut self.stream;
                stream.session.0 += 1;
                stream.opened = now;
                stream.answered = false;
                stream.renewed = None;
                stream.unsettled = stream.session.0 > 1;
                let ttl = self.ttl.unwrap_or(LONGEST_PATIENCE);
                let patience = (ttl / 2).clamp(SHORTEST_OPENING, LONGEST_PATIENCE);
                self.stream.phase =
                    Phase::Asked { message: Message::Attach(keys), sent: now, due: now + patience };
                self.effects.push_back(Effect::Open(self.stream.session, message));
            }
            Phase::Quiet => {
                if self.stream.attached > 0 && self.stream.beat_due <= now {
                    self.send(now, Message::Beat, KeepAliveRequest::default());
                } else if let Some((keys, mut message)) = self.next_ids(Step::Detach, Step::Detaching) {
                    message.detach = true;
                    self.send(now, Message::Detach(keys), message);
                } else if let Some((keys, message)) = self.next_ids(Step::Attach, Step::Attaching) {
                    self.send(now, Message::Attach(keys), message);
                } else if mem::take(&mut self.stream.unsettled) {
                    self.effects.push_back(Effect::Settle);
                }
            }
        }
    }

    fn send(&mut self, now: Instant, message: Message, request: KeepAliveRequest) {
        let ttl = self.ttl.unwrap_or(LONGEST_PATIENCE);
        let due = now + (ttl / 4).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE);
        self.stream.phase = Phase::Asked { message, sent: now, due };
        self.effects.push_back(Effect::Send(request));
    }

    /// Some of what waits at this step, named in a message.
    fn next_ids(&mut self, step: Step, next: Step) -> Option<(Vec<Key>, KeepAliveRequest)> {
        let (mut keys, mut message) = (Vec::new(), KeepAliveRequest::default());
        while keys.len() < MOST_IDS {
            let queue = if step == Step::Attach { &mut self.to_attach } else { &mut self.to_detach };
            let Some(key) = queue.pop_front() else { break };
            if !self.waits_for(key, step) {
                continue;
            }
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            let Some(known) = &slot.known else { continue };
            message.ids.push(known.id.clone());
            if !known.token.is_empty() {
                message.lease_tokens.insert(known.id.clone(), known.token.clone());
            }
            slot.step = next;
            keys.push(key);
        }
        (!keys.is_empty()).then_some((keys, message))
    }

    pub(super) fn connect_if_stale(&mut self) {
        if matches!(self.stream.phase, Phase::Closed) && mem::take(&mut self.stream.stale) {
            self.effects.push_back(Effect::Connect);
        }
    }

    pub(super) fn stream_wakes_at(&self) -> Option<Instant> {
        match &self.stream.phase {
            Phase::Asked { due, .. } => Some(*due),
            Phase::Quiet if self.stream.attached > 0 => Some(self.stream.beat_due),
            Phase::Quiet => None,
            Phase::Closed => self.stream.not_before.filter(|_| !self.to_attach.is_empty()),
        }
    }
}

// === impl Book: answers, and the end ===

impl Book {
    /// An answer on a stream.
    pub fn answered(&mut self, now: Instant, session: Session, answer: &KeepAliveResponse) {
        if session != self.stream.session {
            return;
        }
        let (message, sent) = match mem::replace(&mut self.stream.phase, Phase::Quiet) {
            Phase::Closed => return self.stream.phase = Phase::Closed,
            Phase::Asked { message, sent, .. } => (Some(message), sent),
            Phase::Quiet => (None, now),
        };
        // What the registry says on its own answers nothing.
        let message = message.filter(|_| answer.retry_after.is_none());
        self.stream.answered = true;
        let ttl = Duration::from_secs(u64::from(answer.ttl_seconds));
        if !ttl.is_zero() {
            self.ttl = Some(ttl);
        }
        let lost = losses(answer);
        let mut named = Vec::new();
        let beat = matches!(message, Some(Message::Beat));
        let due = sent + interval(answer, ttl);
        match message {
            Some(Message::Beat) => {
                self.stream.renewed = Some(sent);
                self.stream.beat_due = due;
            }
            Some(Message::Attach(keys)) => {
                // It renewed none but what it named.
                let none_before = self.stream.attached == 0;
                self.stream.beat_due = if none_before { due } else { self.stream.beat_due.min(due) };
                for key in &keys {
                    self.is_attached(*key, sent, &lost);
                }
                named = keys;
            }
            Some(Message::Detach(keys)) => {
                for key in keys {
                    self.leave_stream(key);
                    if self.slots.get(&key).is_some_and(|slot| slot.step == Step::Detaching) {
                        self.finish(key, Ok(()));
                    }
                }
            }
            None => {}
        }
        for (id, reason) in lost {
            if let Some(key) = self.ids.get(id).copied() {
                self.lost(now, key, reason, named.contains(&key));
            }
        }
        if let Some(wait) = answer.retry_after {
            let wait = Duration::try_from(wait).unwrap_or_default().min(LONGEST_ASKED);
            self.broken(now, "the registry is going down", wait);
        } else if beat && ttl.is_zero() && self.stream.attached > 0 {
            self.broken(now, "the registry lost what the stream held", Duration::ZERO);
        }
    }

    /// The stream ended, by the connection or by the registry, which may ask for a wait.
    pub fn stream_ended(&mut self, now: Instant, session: Session, why: &str, after: Duration) {
        if session == self.stream.session && !matches!(self.stream.phase, Phase::Closed) {
            self.broken(now, why, after);
        }
    }

    /// An answer that does not come.
    pub(super) fn stream_tick(&mut self, now: Instant) {
        if let Phase::Asked { due, .. } = self.stream.phase
            && due <= now
        {
            self.broken(now, "the registry does not answer", Duration::ZERO);
        }
    }

    fn is_attached(&mut self, key: Key, sent: Instant, lost: &HashMap<&str, Reason>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(known) = slot.known.clone().filter(|known| !lost.contains_key(known.id.as_str())) else {
            return;
        };
        if !slot.on_stream {
            slot.on_stream = true;
            self.stream.attached += 1;
        }
        slot.renewed(sent);
        // A registration on its way takes it off again.
        slot.moving &= slot.step == Step::Registering;
        if slot.step == Step::Attaching {
            slot.step = Step::Held;
        }
        self.show(key, State::Registered { id: known.id, ttl: known.ttl });
    }

    /// The registry says that the stream does not hold it. `named`: in answer to naming it.
    fn lost(&mut self, now: Instant, key: Key, reason: Reason, named: bool) {
        self.leave_stream(key);
        let (cap, jitter) = (self.retry_cap(), self.jitter);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let id = slot.known.as_ref().map(|known| known.id.clone()).unwrap_or_default();
        match reason {
            Reason::NotFound => self.gone(now, key, "the registry does not know it"),
            Reason::Deregistered => self.gone(now, key, "it was deregistered or replaced"),
            // Our own registration on its way, or made just now, takes it off the stream.
            Reason::Moved if slot.moving && named => {
                let wait = Self::wait(&mut slot.backoff, Duration::ZERO, cap, jitter);
                self.go_at(key, Step::Attach, now + wait);
            }
            Reason::Moved if slot.moving => {}
            // Taking it back would start a tug-of-war.
            Reason::Moved => match slot.step {
                Step::Deregistering => {}
                _ if slot.is_held() => self.lose(key, Ended::TakenOver, Ok(())),
                _ => self.finish(key, Ok(())),
            },
            Reason::PermissionDenied => {
                let why = format!(
                    "the registry does not take the lease token of {id}, or the key is not good for it"
                );
                match slot.step {
                    Step::Deregistering => {}
                    _ if slot.is_held() => self.lose(key, Ended::Refused(why), Ok(())),
                    _ if slot.ends() == Some(How::Leave) => self.finish(key, Ok(())),
                    _ => self.finish(key, Err(why)),
                }
            }
            // Also what a newer server may call it: naming the id tells what it is worth.
            Reason::TtlLapsed | Reason::Unspecified => {
                if slot.ends() == Some(How::Leave) {
                    return self.finish(key, Ok(()));
                }
                if !matches!(slot.step, Step::Held | Step::Attaching | Step::Attach) {
                    return;
                }
                if named {
                    let wait = Self::wait(&mut slot.backoff, Duration::ZERO, cap, jitter);
                    self.go_at(key, Step::Attach, now + wait);
                } else {
                    self.go(key, Step::Attach);
                }
                self.show(key, State::Lost { id, why: "its TTL lapsed".to_owned() });
            }
        }
    }

    /// The stream is of no use any more: what was on it is attached anew, not before `floor` has passed.
    fn broken(&mut self, now: Instant, why: &str, floor: Duration) {
        let (cap, jitter) = (self.retry_cap(), self.jitter);
        let stream = &mut self.stream;
        stream.phase = Phase::Closed;
        stream.attached = 0;
        let renewed = stream.renewed.take();
        if stream.answered && stream.opened + STEADY <= now {
            stream.backoff.reset();
        }
        let wait = Self::wait(&mut stream.backoff, floor, cap, jitter);
        self.hold_back_calls(now + wait);
        self.distrust(now + wait);
        let keys: Vec<Key> = self.slots.keys().copied().collect();
        for key in keys {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if mem::take(&mut slot.on_stream)
                && let Some(renewed) = renewed
            {
                slot.renewed(renewed);
            }
            slot.moving = false;
            match slot.step {
                // Released with the stream, or dropped with it.
                Step::Detach | Step::Detaching => {
                    self.finish(key, Ok(()));
                    continue;
                }
                Step::Held | Step::Attaching => self.go(key, Step::Attach),
                _ => {}
            }
            // Also where nobody is told: somebody may come to hold it again.
            if self.slots.get(&key).is_some_and(|slot| slot.known.is_some()) {
                self.show_trouble(now, key, why);
            }
        }
    }

    /// Unless a stream shows that it is well, the connection is not relied upon, and a new one not made before that time.
    pub(super) fn distrust(&mut self, until: Instant) {
        if matches!(self.stream.phase, Phase::Closed) {
            self.stream.stale = true;
            self.stream.not_before = self.stream.not_before.max(Some(until));
        }
    }

    /// Leaves it to its TTL. The stream may hold it, or come to: a message on its way may name it.
    pub(super) fn release(&mut self, key: Key) {
        let open = !matches!(self.stream.phase, Phase::Closed);
        if open && self.slots.get(&key).is_some_and(|slot| slot.known.is_some()) {
            self.go(key, Step::Detach);
        } else {
            self.finish(key, Ok(()));
        }
    }

    pub(super) fn leave_stream(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(&key)
            && mem::take(&mut slot.on_stream)
        {
            // What it was renewed by so far counts for it.
            if let Some(renewed) = self.stream.renewed {
                slot.renewed(renewed);
            }
            self.stream.attached = self.stream.attached.saturating_sub(1);
        }
    }
}

/// What became of each id: the last word counts, but for those that nothing can follow.
fn losses(answer: &KeepAliveResponse) -> HashMap<&str, Reason> {
    let rank = |reason: Reason| match reason {
        Reason::NotFound | Reason::Deregistered => 2,
        Reason::PermissionDenied => 1,
        Reason::TtlLapsed | Reason::Moved | Reason::Unspecified => 0,
    };
    let mut losses = HashMap::with_capacity(answer.lost.len());
    for lost in &answer.lost {
        let reason = losses.entry(lost.id.as_str()).or_insert(lost.reason());
        if rank(lost.reason()) >= rank(*reason) {
            *reason = lost.reason();
        }
    }
    losses
}

/// As the server spreads the beats, but never so late that one lost beat costs a lease.
fn interval(answer: &KeepAliveResponse, ttl: Duration) -> Duration {
    let asked = answer.next_beat_in.and_then(|wait| Duration::try_from(wait).ok());
    if ttl.is_zero() {
        return asked.unwrap_or(LONGEST_PATIENCE).max(SHORTEST_BEAT);
    }
    asked.unwrap_or(ttl / 3).min(ttl / 2).max(SHORTEST_BEAT)
}
