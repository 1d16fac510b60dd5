//! `KeepAlive` streams: which leases hang on which stream, and what becomes of them when
//! it ends.

use std::collections::BTreeMap;

use crate::types::{LeaseId, Moment, Ttl};

use super::{
    Cause, Handle, Lapse, Leases,
    slot::{Attached, State},
};

/// An open stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(u32);

/// Whose doing the end of a stream was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The client's, or its network's: what is attached drops.
    Client,
    /// The server's: what is attached lives on by its TTL.
    Server,
}

/// Why an id left a stream, if not by its own wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its TTL lapsed.
    Lapsed,
    /// It was deregistered or replaced.
    Ended,
    /// It was attached to another stream, or registered again.
    Moved,
}

/// What the answer to a beat tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// The smallest TTL attached.
    pub ttl: Option<Ttl>,
    /// What was lost since the last answer.
    pub lost: Vec<(LeaseId, Loss)>,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    open: bool,
    proxied: bool,
    pub(super) beat: Moment,
    /// Everything attached was renewed then or later.
    all_renewed: Moment,
    members: Vec<u32>,
    /// Which of the members is likely to be named next: clients name theirs in turn.
    next: u32,
    /// How many members have which TTL, for the smallest.
    ttls: BTreeMap<Ttl, u32>,
    lost: BTreeMap<LeaseId, Loss>,
    /// What was lost by a decision that nobody may know of yet.
    unsettled: Vec<(LeaseId, Loss)>,
}

impl Leases {
    /// Opens a stream with nothing attached. The end of one that is `proxied` may be the
    /// proxy's: what did not ask for a grace of its own has its TTL then.
    pub fn open_stream(&mut self, proxied: bool) -> StreamId {
        let index = self.free_streams.pop().unwrap_or_else(|| {
            self.streams.push(Stream::default());
            self.streams.len() as u32 - 1
        });
        let stream = &mut self.streams[index as usize];
        stream.open = true;
        stream.proxied = proxied;
        StreamId(index)
    }

    /// Attaches a live lease to a stream and renews it; it leaves the stream it was on.
    /// What does not live is left alone: see [`Leases::restore`].
    pub fn attach(&mut self, handle: Handle, stream: StreamId, at: Moment) {
        let slot = handle.0;
        if !self.is_live(slot) || !self.streams[stream.0 as usize].open {
            return;
        }
        self.tally.renewals.attach += 1;
        self.count_margin(slot, at);
        let lease = &mut self.table[slot as usize];
        lease.renewed = lease.renewed.max(at);
        let (id, ttl, attached) = (lease.id, lease.ttl, lease.attached());
        let hub = &mut self.streams[stream.0 as usize];
        if let Some(Attached { position, .. }) = attached.filter(|attached| attached.stream == stream.0) {
            hub.next = position + 1;
            return;
        }
        hub.lost.remove(&id);
        hub.unsettled.retain(|(lost, _)| *lost != id);
        self.leave_stream(slot, Some(Loss::Moved));
        let hub = &mut self.streams[stream.0 as usize];
        let position = hub.members.len() as u32;
        if position == 0 {
            hub.all_renewed = at;
        }
        hub.members.push(slot);
        hub.next = position + 1;
        *hub.ttls.entry(ttl).or_default() += 1;
        self.table[slot as usize].attach(Attached { stream: stream.0, position });
    }

    /// The same for the member that is named after the last one named, if it has this id: no
    /// index is asked. Says whether it was so.
    pub fn attach_next(&mut self, id: LeaseId, stream: StreamId, at: Moment) -> bool {
        let hub = &mut self.streams[stream.0 as usize];
        let position = if (hub.next as usize) < hub.members.len() { hub.next } else { 0 };
        let Some(slot) = hub.members.get(position as usize).copied() else { return false };
        // Members live, and ids are given once.
        if self.table[slot as usize].id != id {
            return false;
        }
        hub.next = position + 1;
        self.tally.renewals.attach += 1;
        self.count_margin(slot, at);
        self.renew_live(slot, at);
        true
    }

    /// Releases a lease from this stream, if it is on it, back to a full TTL.
    pub fn detach(&mut self, handle: Handle, stream: StreamId, at: Moment) {
        let on_it = self.table[handle.0 as usize].attached().is_some_and(|a| a.stream == stream.0);
        if on_it {
            self.leave_stream(handle.0, None);
            self.renew_live(handle.0, at);
        }
    }

    /// Releases everything from this stream, back to a full TTL.
    pub fn detach_all(&mut self, stream: StreamId, at: Moment) {
        while let Some(slot) = self.streams[stream.0 as usize].members.last().copied() {
            self.leave_stream(slot, None);
            self.renew_live(slot, at);
        }
    }

    /// Renews everything attached, whatever it is, with one store.
    pub fn beat(&mut self, stream: StreamId, at: Moment) {
        let hub = &mut self.streams[stream.0 as usize];
        if let Some((ttl, _)) = hub.ttls.first_key_value() {
            self.tally.renewals.beat += hub.members.len() as u64;
            // Where a short lease was attached long after the last beat, this tells nothing.
            let due = hub.all_renewed.plus_micros(ttl.micros());
            if hub.all_renewed < at && at < due {
                self.tally.margin.observe(due.micros_since(at));
            }
        }
        hub.beat = hub.beat.max(at);
        hub.all_renewed = hub.all_renewed.max(at);
    }

    /// Tells that what was decided so far may be known.
    pub fn settle(&mut self) {
        for stream in std::mem::take(&mut self.unsettled) {
            let hub = &mut self.streams[stream as usize];
            hub.lost.extend(hub.unsettled.drain(..));
        }
    }

    /// What to tell the client; what was lost, and settled, is told once.
    pub fn answer(&mut self, stream: StreamId) -> Beat {
        let hub = &mut self.streams[stream.0 as usize];
        Beat {
            ttl: hub.ttls.first_key_value().map(|(ttl, _)| *ttl),
            lost: std::mem::take(&mut hub.lost).into_iter().collect(),
        }
    }

    /// Closes a stream that ended at `at`. If that was the client's doing, what is
    /// attached expires, or becomes suspect for its grace; but what was renewed by itself
    /// after the end lives on, and so does everything within 10 s of a stall of ours.
    pub fn end_stream(&mut self, stream: StreamId, end: StreamEnd, at: Moment, now: Moment) -> Vec<Lapse> {
        let end = if self.stalls.guards(at) || self.frozen { StreamEnd::Server } else { end };
        let hub = std::mem::take(&mut self.streams[stream.0 as usize]);
        self.free_streams.push(stream.0);
        let mut lapses = Vec::with_capacity(if end == StreamEnd::Client { hub.members.len() } else { 0 });
        for slot in hub.members.into_iter().rev() {
            let lease = &mut self.table[slot as usize];
            let renewed_since = lease.renewed > at;
            lease.detach();
            lease.renewed = lease.renewed.max(hub.beat);
            if end == StreamEnd::Client && !renewed_since {
                lapses.push(self.drop_lease(slot, hub.proxied, at, now));
            }
        }
        lapses
    }

    fn drop_lease(&mut self, slot: u32, proxied: bool, at: Moment, now: Moment) -> Lapse {
        let lease = &mut self.table[slot as usize];
        let default = if proxied { lease.ttl.micros() } else { self.grace };
        let grace = lease.grace().unwrap_or(default);
        if grace == 0 {
            return self.lapse(slot, now, Cause::StreamDropped);
        }
        let until = at.plus_micros(grace);
        self.set_state(slot, State::Suspect { until });
        self.deferrals.clear(slot);
        self.arm(slot, until);
        Lapse { handle: Handle(slot), cause: Cause::Suspect, times: self.times(slot) }
    }

    /// Takes a lease off the stream it is on; the stream's beats count as its own.
    pub(super) fn leave_stream(&mut self, slot: u32, loss: Option<Loss>) {
        let renewed = self.renewed(slot);
        let lease = &mut self.table[slot as usize];
        let Some(Attached { stream, position }) = lease.detach() else { return };
        lease.renewed = renewed;
        let (id, ttl) = (lease.id, lease.ttl);
        let hub = &mut self.streams[stream as usize];
        hub.members.swap_remove(position as usize);
        if let Some(count) = hub.ttls.get_mut(&ttl) {
            *count -= 1;
            if *count == 0 {
                hub.ttls.remove(&ttl);
            }
        }
        match loss {
            None => {}
            // No change of the lease: it lives elsewhere.
            Some(Loss::Moved) => drop(hub.lost.insert(id, Loss::Moved)),
            Some(loss) => {
                if hub.unsettled.is_empty() {
                    self.unsettled.push(stream);
                }
                hub.unsettled.push((id, loss));
            }
        }
        if let Some(moved) = hub.members.get(position as usize).copied() {
            self.table[moved as usize].attach(Attached { stream, position });
        }
    }
}
