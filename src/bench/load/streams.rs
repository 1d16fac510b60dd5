//! Streams in both directions, on which every message is answered by one.

use std::{collections::VecDeque, net::SocketAddr, rc::Rc, time::Instant};

use anyhow::bail;

use super::{
    Meter,
    http2::{Connection, Heard, What},
    measure, shares,
};
use crate::bench::{Bench, Result, Sample, process::Server};

/// Streams of rows that have many.
pub const STREAMS: usize = 64;
/// Messages that are under way on each stream.
pub const IN_FLIGHT: usize = 16;

/// What one stream says. Messages are encoded, with their prefixes.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Said first, one after the other was answered.
    pub first: Vec<Vec<u8>>,
    /// Said in turn from then on.
    pub beats: Vec<Vec<u8>>,
    /// What a beat is worth.
    pub operations: u64,
}

/// Opens a stream per script, `bench.connections` of them sharing the streams, and keeps `in_flight`
/// messages unanswered on each.
pub async fn load(
    bench: &Bench,
    server: &Server,
    path: &'static str,
    in_flight: usize,
    mut scripts: Vec<Script>,
) -> Result<Sample> {
    let meter = Rc::new(Meter::awaiting(scripts.len()));
    let clients = shares(scripts.len(), bench.connections).into_iter().map(|share| {
        let own = scripts.split_off(scripts.len() - share);
        client(server.address(), path, own, in_flight, Rc::clone(&meter))
    });
    let clients = clients.collect();
    measure(bench, server, meter, clients).await
}

struct Speaker {
    script: Script,
    /// Of `first`.
    said: usize,
    ready: bool,
    /// Of `beats`.
    next: usize,
    unanswered: VecDeque<Instant>,
    /// What is to be sent, all in one piece, as a client's own buffer would have it.
    out: Vec<u8>,
}

async fn client(
    address: SocketAddr,
    path: &'static str,
    scripts: Vec<Script>,
    in_flight: usize,
    meter: Rc<Meter>,
) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    // Streams of a connection are numbered 1, 3, 5, …
    let mut speakers: Vec<Speaker> = scripts.into_iter().map(Speaker::new).collect();
    for speaker in &mut speakers {
        let stream = connection.call(path, Instant::now());
        speaker.say(in_flight, Instant::now());
        speaker.send(&mut connection, stream);
    }
    let mut heard = Vec::<Heard>::new();
    loop {
        connection.exchange(&mut heard).await?;
        let now = Instant::now();
        for Heard { stream, what, .. } in &heard {
            let Some(speaker) = speakers.get_mut(*stream as usize / 2) else { continue };
            match what {
                What::Message(_) => {
                    if let Some(since) = speaker.unanswered.pop_front() {
                        meter.done(speaker.script.operations, since, now);
                    }
                    if speaker.said_first() {
                        meter.ready();
                    }
                    speaker.say(in_flight, now);
                }
                What::End { messages, .. } => bail!("{path} ended after {messages} answers"),
            }
        }
        for Heard { stream, .. } in heard.drain(..) {
            if let Some(speaker) = speakers.get_mut(stream as usize / 2) {
                speaker.send(&mut connection, stream);
            }
        }
    }
}

impl Speaker {
    fn new(script: Script) -> Self {
        Self { script, said: 0, ready: false, next: 0, unanswered: VecDeque::new(), out: Vec::new() }
    }

    /// Whether what is said first was answered, which is true once.
    fn said_first(&mut self) -> bool {
        let done = !self.ready && self.said == self.script.first.len();
        self.ready |= done;
        done
    }

    /// Says what is to be said now.
    fn say(&mut self, in_flight: usize, now: Instant) {
        if let Some(first) = self.script.first.get(self.said) {
            if self.unanswered.is_empty() {
                self.said += 1;
                self.unanswered.push_back(now);
                self.out.extend_from_slice(first);
            }
            return;
        }
        while self.unanswered.len() < in_flight {
            let Some(beat) = self.script.beats.get(self.next) else { return };
            self.out.extend_from_slice(beat);
            self.unanswered.push_back(now);
            self.next = (self.next + 1) % self.script.beats.len();
        }
    }

    fn send(&mut self, connection: &mut Connection, stream: u32) {
        if !self.out.is_empty() {
            connection.send(stream, &self.out, false);
            self.out.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_said_in_order_and_no_further_than_it_is_answered() {
        let script = Script { first: vec![vec![1], vec![2]], beats: vec![vec![7], vec![8]], operations: 1 };
        let (mut speaker, now) = (Speaker::new(script), Instant::now());
        let mut next = |answered: bool| {
            if answered {
                speaker.unanswered.pop_front();
            }
            let ready = speaker.said_first();
            speaker.say(3, now);
            (std::mem::take(&mut speaker.out), ready)
        };
        assert_eq!(next(false), (vec![1], false));
        assert_eq!(next(false), (vec![], false));
        assert_eq!(next(true), (vec![2], false));
        assert_eq!(next(true), (vec![7, 8, 7], true));
        assert_eq!(next(true), (vec![8], false));
    }
}
