//! A registry and a network for the book's tests, in virtual time: the registry keeps the contract and nothing else, the
//! network delays, holds back, loses and breaks.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Book, Call, CallId, Effect, Handle, How, Outcome, Session, slot::pair};
use crate::{
    client::{Ended, State, lease::fault::Fault},
    proto::{
        KeepAliveRequest, KeepAliveResponse, RegisterRequest, RegisterResponse,
        keep_alive_response::{Lost, lost::Reason},
    },
};

/// A url that the registry refuses.
pub(super) const BAD: &str = "bad";

/// What the registry knows.
#[derive(Default)]
pub(super) struct Registry {
    pub records: BTreeMap<String, Record>,
    streams: BTreeMap<u32, BTreeMap<String, Reason>>,
    given: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub content: RegisterRequest,
    pub alive: bool,
    pub stream: Option<u32>,
    token: String,
    ttl: Duration,
    renewed: Instant,
}

impl Registry {
    fn register(&mut self, now: Instant, request: RegisterRequest) -> Result<RegisterResponse, Fault> {
        if request.url == BAD || request.labels.contains_key(BAD) {
            return Err(Fault::Refused("url is bad".to_owned()));
        }
        let same = |(_, record): &(&String, &mut Record)| pair(&record.content) == pair(&request);
        let found = self.records.iter_mut().find(same).map(|(id, record)| (id.clone(), record));
        let ttl = Duration::from_secs(u64::from(request.ttl_seconds.max(1)));
        let id = if let Some((id, record)) = found {
            if record.alive && !request.lease_token.is_empty() && request.lease_token != record.token {
                return Err(Fault::Denied("wrong token".to_owned()));
            }
            if let Some(stream) = record.stream.take() {
                self.streams.entry(stream).or_default().insert(id.clone(), Reason::Moved);
            }
            if request.lease_token.is_empty() || !record.alive {
                self.given += 1;
                record.token = format!("token{}", self.given);
            }
            (record.content, record.alive, record.ttl, record.renewed) = (request, true, ttl, now);
            id
        } else {
            self.given += 1;
            let id = format!("id{}", self.given);
            let token = format!("token{}", self.given);
            let record = Record { content: request, alive: true, stream: None, token, ttl, renewed: now };
            self.records.insert(id.clone(), record);
            id
        };
        let lease_token = self.records[&id].token.clone();
        Ok(RegisterResponse { id, lease_token, ttl_seconds: ttl.as_secs() as u32, ..Default::default() })
    }

    pub fn deregister(&mut self, id: &str, token: &str) -> Result<(), Fault> {
        match self.records.get(id) {
            None => Err(Fault::Gone),
            Some(record) if !token.is_empty() && token != record.token => {
                Err(Fault::Denied("token".to_owned()))
            }
            Some(_) => {
                let stream = self.records.remove(id).and_then(|record| record.stream);
                if let Some(stream) = stream {
                    self.streams.entry(stream).or_default().insert(id.to_owned(), Reason::Deregistered);
                }
                Ok(())
            }
        }
    }

    fn beat(&mut self, now: Instant, session: u32, request: &KeepAliveRequest) -> KeepAliveResponse {
        let mut lost = Vec::new();
        let mut say = |id: &String, reason: Reason| lost.push(Lost { id: id.clone(), reason: reason.into() });
        if request.ids.is_empty() {
            for record in self.records.values_mut().filter(|record| record.stream == Some(session)) {
                record.renewed = now;
            }
        }
        for id in &request.ids {
            let token = request.lease_tokens.get(id).map_or("", |token| token);
            match self.records.get_mut(id) {
                None => say(id, Reason::NotFound),
                Some(record) if token != record.token => say(id, Reason::PermissionDenied),
                Some(record) if request.detach => {
                    if record.stream == Some(session) {
                        (record.stream, record.renewed) = (None, now);
                    }
                }
                Some(record) => {
                    if let Some(other) = record.stream.replace(session).filter(|other| *other != session) {
                        self.streams.entry(other).or_default().insert(id.clone(), Reason::Moved);
                    }
                    (record.alive, record.renewed) = (true, now);
                    self.streams.entry(session).or_default().remove(id);
                }
            }
        }
        for (id, reason) in self.streams.remove(&session).unwrap_or_default() {
            say(&id, reason);
        }
        let on_it = self.records.values().filter(|record| record.stream == Some(session));
        let ttl = on_it.map(|record| record.ttl).min().unwrap_or_default();
        let next_beat_in = prost_types::Duration::try_from(ttl / 3).ok();
        KeepAliveResponse { ttl_seconds: ttl.as_secs() as u32, next_beat_in, lost, retry_after: None }
    }

    fn end_stream(&mut self, session: u32, by_client: bool) {
        for record in self.records.values_mut().filter(|record| record.stream == Some(session)) {
            record.stream = None;
            record.alive &= !by_client;
        }
        self.streams.remove(&session);
    }

    /// What lapses by its TTL now.
    fn expire(&mut self, now: Instant) -> Vec<(String, RegisterRequest)> {
        let mut lapsed = Vec::new();
        for (id, record) in &mut self.records {
            if record.alive && record.renewed + record.ttl <= now {
                record.alive = false;
                if let Some(stream) = record.stream.take() {
                    self.streams.entry(stream).or_default().insert(id.clone(), Reason::TtlLapsed);
                }
                lapsed.push((id.clone(), record.content.clone()));
            }
        }
        lapsed
    }
}

/// What is on its way.
enum Packet {
    Call(CallId, Call),
    Answer(CallId, Outcome),
    Beat(u32, KeepAliveRequest),
    Told(u32, KeepAliveResponse),
    /// The client learns that the stream is no more, and why.
    Ended(u32, &'static str),
    /// The server learns it.
    Closed(u32, bool),
}

/// A client, a registry, and what is between them.
pub(super) struct World {
    pub now: Instant,
    pub book: Book,
    pub registry: Registry,
    /// What each holder was shown last.
    pub shown: BTreeMap<Handle, State>,
    pub ended: BTreeMap<Handle, (Ended, Result<(), String>)>,
    /// What each holder wants.
    pub wants: BTreeMap<Handle, Arc<RegisterRequest>>,
    wire: VecDeque<(Instant, Packet)>,
    /// Streams that the server knows to be open.
    open: BTreeSet<u32>,
    /// Streams that are no more.
    closed: BTreeSet<u32>,
    session: u32,
    waits_for_answer: bool,
    /// Nothing arrives.
    pub partition: bool,
    /// Nobody is there.
    pub down: bool,
    /// So many answers to calls are lost.
    pub lose: usize,
    pub calls: usize,
    pub biggest_batch: usize,
    random: u64,
}

impl World {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            book: Book::new(now, || 0.5),
            registry: Registry::default(),
            shown: BTreeMap::new(),
            ended: BTreeMap::new(),
            wants: BTreeMap::new(),
            wire: VecDeque::new(),
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            session: 0,
            waits_for_answer: false,
            partition: false,
            down: false,
            lose: 0,
            calls: 0,
            biggest_batch: 0,
            random: 1,
        }
    }

    pub fn hold(&mut self, handle: u64, request: RegisterRequest) {
        let handle = Handle(handle);
        self.shown.insert(handle, State::Pending { why: None });
        self.wants.insert(handle, Arc::new(request.clone()));
        self.book.hold(self.now, handle, request);
    }

    pub fn update(&mut self, handle: u64, request: RegisterRequest) {
        let handle = Handle(handle);
        if let Some(wanted) = self.wants.get_mut(&handle) {
            *wanted = Arc::new(request.clone());
            self.book.update(self.now, handle, request);
        }
    }

    pub fn end(&mut self, handle: u64, how: How) {
        self.wants.remove(&Handle(handle));
        self.book.end(self.now, Handle(handle), how, Duration::from_secs(5));
    }

    /// Every stream breaks: by the network, so that the server takes it for the client's doing.
    pub fn cut(&mut self) {
        let open = self.take_open();
        self.wire.retain(|(_, packet)| match packet {
            Packet::Beat(session, _) | Packet::Told(session, _) => !open.contains(session),
            _ => true,
        });
        for session in open {
            self.registry.end_stream(session, true);
            self.send(Packet::Ended(session, "connection reset"));
        }
    }

    /// The server goes, and remembers what it knows, or forgets it.
    pub fn go_down(&mut self, forgets: bool) {
        self.down = true;
        for session in self.take_open() {
            self.registry.end_stream(session, false);
            self.send(Packet::Ended(session, "connection refused"));
        }
        if forgets {
            self.registry.records.clear();
        }
    }

    /// The server asks to be left alone for a second, and goes on.
    pub fn drain(&mut self) {
        for session in self.take_open() {
            self.registry.end_stream(session, false);
            let retry_after = Some(prost_types::Duration { seconds: 1, nanos: 0 });
            self.send(Packet::Told(session, KeepAliveResponse { retry_after, ..Default::default() }));
        }
    }

    fn take_open(&mut self) -> BTreeSet<u32> {
        self.closed.extend(&self.open);
        std::mem::take(&mut self.open)
    }

    /// Lets time pass, and all that happens in it happen.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let arrives = self.wire.iter().map(|(at, _)| *at).min().filter(|_| !self.partition);
            let lapses = self.registry.records.values().filter(|record| record.alive);
            let lapses = lapses.map(|record| record.renewed + record.ttl).min();
            let next = [arrives, lapses, self.book.wakes_at()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            self.step();
        }
        self.now = until;
        self.settle();
    }

    fn step(&mut self) {
        for (id, content) in self.registry.expire(self.now) {
            self.check_lapse(&id, &content);
        }
        if !self.partition {
            let due = self.wire.iter().position(|(at, _)| *at <= self.now);
            if let Some((_, packet)) = due.and_then(|index| self.wire.remove(index)) {
                self.arrive(packet);
            }
        }
    }

    /// What is shown is never better than what is.
    fn check_lapse(&self, id: &str, content: &RegisterRequest) {
        for (handle, state) in self.shown.iter().filter(|(handle, _)| self.wants.contains_key(handle)) {
            if pair(&self.wants[handle]) != pair(content) {
                continue;
            }
            match state {
                State::Registered { id: shown, .. } => assert_ne!(shown, id, "{handle:?} lapsed"),
                State::AtRisk { id: shown, until, .. } => {
                    assert!(shown != id || *until <= self.now, "{handle:?} lapsed early");
                }
                _ => {}
            }
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Call(id, call) => {
                let late = |undone| Fault::Later {
                    why: "connection lost".to_owned(),
                    after: Duration::ZERO,
                    undone,
                    busy: false,
                };
                let lost = self.lose > 0 && !self.down;
                self.lose -= usize::from(lost);
                let fault = (self.down || lost).then(|| late(self.down));
                let outcome = match (call, self.down) {
                    (Call::Register(_), true) => Outcome::Registered(Err(late(true))),
                    (Call::Deregister(_), true) => Outcome::Deregistered(Err(late(true))),
                    (Call::Register(requests), false) => {
                        self.biggest_batch = self.biggest_batch.max(requests.len());
                        let now = self.now;
                        let results =
                            requests.into_iter().map(|request| self.registry.register(now, request));
                        let results: Vec<_> = results.collect();
                        // A single call fails as a whole.
                        let mut results = if let [Err(fault)] = results.as_slice() {
                            Err(fault.clone())
                        } else {
                            Ok(results)
                        };
                        if let Some(fault) = fault {
                            results = Err(fault);
                        }
                        Outcome::Registered(results)
                    }
                    (Call::Deregister(request), false) => {
                        let result = self.registry.deregister(&request.id, &request.lease_token);
                        Outcome::Deregistered(fault.map_or(result, Err))
                    }
                };
                self.send(Packet::Answer(id, outcome));
            }
            Packet::Answer(id, outcome) => self.book.called(self.now, id, outcome),
            Packet::Beat(session, _) if self.down || self.closed.contains(&session) => {
                self.send(Packet::Ended(session, "connection refused"));
            }
            Packet::Beat(session, request) => {
                self.open.insert(session);
                let answer = self.registry.beat(self.now, session, &request);
                self.send(Packet::Told(session, answer));
            }
            Packet::Told(session, answer) => {
                self.waits_for_answer &= session != self.session;
                self.book.answered(self.now, Session(session), &answer);
            }
            Packet::Ended(session, why) => {
                self.waits_for_answer &= session != self.session;
                self.book.stream_ended(self.now, Session(session), why, Duration::ZERO);
            }
            Packet::Closed(session, by_client) => {
                self.open.remove(&session);
                self.closed.insert(session);
                self.registry.end_stream(session, by_client);
            }
        }
    }

    /// Does all that the book wants done.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let Some(effect) = self.book.poll(self.now) else { return };
            match effect {
                Effect::Show(handle, state) => drop(self.shown.insert(handle, state)),
                Effect::Taken(..) | Effect::NotUpdated(..) | Effect::Connect => {}
                Effect::Ended(handle, ended, result) => {
                    self.wants.remove(&handle);
                    self.shown.insert(handle, State::Ended(ended.clone()));
                    assert!(self.ended.insert(handle, (ended, result)).is_none(), "ended twice");
                }
                Effect::Open(session, message) => {
                    self.session = session.0;
                    self.waits_for_answer = true;
                    self.send(Packet::Beat(session.0, message));
                }
                Effect::Send(message) => {
                    assert!(!self.waits_for_answer, "one message at a time");
                    self.waits_for_answer = true;
                    self.send(Packet::Beat(self.session, message));
                }
                Effect::Settle => {
                    for session in self.open.clone() {
                        if session != self.session {
                            self.send(Packet::Closed(session, true));
                        }
                    }
                }
                Effect::Call(id, call) => {
                    self.calls += 1;
                    self.send(Packet::Call(id, call));
                }
            }
        }
        panic!("the book never rests");
    }

    /// Sends a packet; those of one stream stay in order.
    fn send(&mut self, packet: Packet) {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let delay = Duration::from_millis(1 + (self.random >> 33) % 40);
        let last = self.wire.back().map_or(self.now, |(at, _)| *at);
        let in_order = !matches!(packet, Packet::Call(..) | Packet::Answer(..));
        let at = if in_order { last.max(self.now + delay) } else { self.now + delay };
        self.wire.push_back((at, packet));
    }
}
