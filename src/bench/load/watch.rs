//! Watchers by the thousand. They share the machine with the server, so they do no more than
//! a watcher must: HTTP/2 is spoken by [`super::http2`], and events are counted without being
//! decoded. All servers of a row are read by the same.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::http2::{self, Connection, Heard, What};
use crate::{bench::Result, proto::WatchRequest};

/// A server that has not told what it was to tell by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which streaming call is made, and what its messages mean.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Whether the client streams too, so that its side stays open.
    pub bidirectional: bool,
    /// The field that holds the events.
    pub events: u32,
    /// The field, and its value, that say that changes will follow from now on.
    pub ready: (u32, u64),
    /// The same for: the watcher has missed changes, or is given up.
    pub lost: (u32, u64),
}

impl Call {
    /// leasehold's.
    pub const LEASEHOLD: Self = Self {
        path: "/leasehold.v1.Registry/Watch",
        bidirectional: false,
        events: 2,
        ready: (1, 2),
        lost: (1, 5),
    };

    /// etcd's: ready once the watch was `created`.
    pub const ETCD: Self = Self {
        path: "/etcdserverpb.Watch/Watch",
        bidirectional: true,
        events: 11,
        ready: (3, 1),
        lost: (4, 1),
    };
}

/// What is done with each message. It is called on the connection's task: be quick.
pub trait Sink: Send + Sync + 'static {
    /// A watcher got a message; some events before it is ready are its snapshot.
    fn message(&self, watcher: usize, message: &[u8]);
}

/// Open watchers; dropping them closes their connections.
#[derive(Debug)]
pub struct Watchers {
    _connections: JoinSet<()>,
    tally: Arc<Tally>,
}

/// What all watchers got so far, after their snapshots.
#[derive(Debug, Default)]
pub struct Tally {
    ready: AtomicU64,
    events: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Who waits is told when so many watchers are ready, and so many events have come.
    target: [AtomicU64; 2],
    told: Notify,
    failure: Mutex<Option<anyhow::Error>>,
}

/// A reading of a [`Tally`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// Events.
    pub events: u64,
    /// Messages that had events.
    pub messages: u64,
    /// Bytes of these messages.
    pub bytes: u64,
}

impl Got {
    /// What came after an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            events: self.events - earlier.events,
            messages: self.messages - earlier.messages,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

impl Watchers {
    /// Opens one watcher per request, spread over so many connections, and waits until all
    /// are ready.
    pub async fn open(address: SocketAddr, connections: usize, requests: &[WatchRequest]) -> Result<Self> {
        let requests: Vec<Vec<u8>> = requests.iter().map(Message::encode_to_vec).collect();
        Self::open_call(address, connections, Call::LEASEHOLD, &requests, None).await
    }

    /// The same with another call, whose requests are encoded already, and with someone who
    /// looks at the messages.
    pub async fn open_call(
        address: SocketAddr,
        connections: usize,
        call: Call,
        requests: &[Vec<u8>],
        sink: Option<Arc<dyn Sink>>,
    ) -> Result<Self> {
        let tally = Arc::new(Tally::default());
        let mut tasks = JoinSet::new();
        let share = requests.len().div_ceil(connections.max(1)).max(1);
        for (number, requests) in requests.chunks(share).enumerate() {
            let mut connection = Connection::open(address).await?;
            for request in requests {
                let stream = connection.call(call.path, Instant::now().into_std());
                let mut message = Vec::with_capacity(request.len() + http2::PREFIX);
                http2::prefixed(&mut message, |out| out.extend_from_slice(request));
                connection.send(stream, &message, !call.bidirectional);
            }
            let reader = Reader {
                call,
                first: number * share,
                ready: vec![false; requests.len()],
                tally: Arc::clone(&tally),
                sink: sink.clone(),
            };
            tasks.spawn(reader.run(connection));
        }
        let watchers = Self { _connections: tasks, tally };
        watchers.tally.wait_for(0, requests.len() as u64).await.context("watchers do not become ready")?;
        Ok(watchers)
    }

    /// What they got so far.
    pub fn got(&self) -> Got {
        self.tally.got()
    }

    /// Waits until they got so many events in all.
    pub async fn wait_for(&self, events: u64) -> Result<()> {
        self.tally.wait_for(1, events).await.context("watchers do not get all events")
    }
}

impl Tally {
    fn got(&self) -> Got {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Got { events: load(&self.events), messages: load(&self.messages), bytes: load(&self.bytes) }
    }

    fn counters(&self) -> [&AtomicU64; 2] {
        [&self.ready, &self.events]
    }

    /// Waits until the first or the second counter has reached `target`.
    async fn wait_for(&self, which: usize, target: u64) -> Result<()> {
        let counter = self.counters()[which];
        self.target[which].store(target, Ordering::SeqCst);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.told.notified();
            if let Some(failure) = self.failure.lock().take() {
                return Err(failure);
            }
            let reached = counter.load(Ordering::SeqCst);
            if reached >= target {
                return Ok(());
            }
            if timeout_at(deadline, told).await.is_err() {
                bail!("{reached} of {target} after {} s", PATIENCE.as_secs());
            }
        }
    }

    /// Takes in what came with one read, all at once.
    fn add(&self, ready: u64, got: Got) {
        self.messages.fetch_add(got.messages, Ordering::Relaxed);
        self.bytes.fetch_add(got.bytes, Ordering::Relaxed);
        for (which, more) in [ready, got.events].into_iter().enumerate() {
            if more > 0 {
                let before = self.counters()[which].fetch_add(more, Ordering::SeqCst);
                let target = self.target[which].load(Ordering::SeqCst);
                if before < target && before + more >= target {
                    self.told.notify_one();
                }
            }
        }
    }

    fn fail(&self, error: anyhow::Error) {
        self.failure.lock().get_or_insert(error);
        self.told.notify_one();
    }
}

/// The watchers of one connection.
struct Reader {
    call: Call,
    /// The number of the first of them.
    first: usize,
    ready: Vec<bool>,
    tally: Arc<Tally>,
    sink: Option<Arc<dyn Sink>>,
}

impl Reader {
    async fn run(mut self, mut connection: Connection) {
        let mut heard = Vec::new();
        loop {
            let read = connection.exchange(&mut heard).await.and_then(|()| self.take(heard.drain(..)));
            if let Err(error) = read {
                return self.tally.fail(error.context("a watcher's connection"));
            }
        }
    }

    /// Takes in what came with one read.
    fn take(&mut self, heard: impl Iterator<Item = Heard>) -> Result<()> {
        let (mut newly_ready, mut got) = (0, Got::default());
        for Heard { stream, what, .. } in heard {
            let What::Message(message) = what else { bail!("the server ended a watch") };
            // The streams of a connection are 1, 3, 5, …
            let index = (stream / 2) as usize;
            let ready = self.ready.get_mut(index).context("a stream that was never opened")?;
            let skimmed = skim(&message, self.call).context("a message that does not decode")?;
            if skimmed.lost {
                bail!("the server reset a watcher: it had changes that the history has lost");
            }
            if *ready && skimmed.events > 0 {
                got.events += skimmed.events;
                got.messages += 1;
                got.bytes += message.len() as u64;
            }
            if let Some(sink) = &self.sink {
                sink.message(self.first + index, &message);
            }
            if skimmed.ready && !*ready {
                *ready = true;
                newly_ready += 1;
            }
        }
        self.tally.add(newly_ready, got);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Skimmed {
    events: u64,
    ready: bool,
    lost: bool,
}

/// Counts a message's events without looking into them.
fn skim(mut message: &[u8], call: Call) -> Option<Skimmed> {
    let mut skimmed = Skimmed::default();
    while !message.is_empty() {
        let (field, wire) = decode_key(&mut message).ok()?;
        match wire {
            WireType::Varint => {
                let value = decode_varint(&mut message).ok()?;
                skimmed.ready |= (field, value) == call.ready;
                skimmed.lost |= (field, value) == call.lost;
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut message).ok()? as usize;
                message = message.get(length..)?;
                skimmed.events += u64::from(field == call.events);
            }
            _ => skip_field(wire, field, &mut message, DecodeContext::default()).ok()?,
        }
    }
    Some(skimmed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Event, WatchResponse, watch_response::Type};

    #[test]
    fn events_are_counted_unseen() {
        let check = |kind: Type, events: usize, ready| {
            let message = WatchResponse {
                r#type: kind.into(),
                events: vec![Event { revision: 7, ..Event::default() }; events],
                resume_token: "token".to_owned(),
                revision: 300,
            };
            let skimmed = skim(&message.encode_to_vec(), Call::LEASEHOLD);
            assert_eq!(skimmed, Some(Skimmed { events: events as u64, ready, lost: kind == Type::Reset }));
        };
        check(Type::Changes, 3, false);
        check(Type::Synced, 0, true);
        check(Type::Bookmark, 0, false);
        check(Type::Reset, 0, false);
        assert_eq!(skim(&[0x12, 0x05], Call::LEASEHOLD), None);
    }
}
