//! Which registrations a service's name means, and where each came from.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    engine::{Refusal, TokenHash},
    lease::Handle,
    types::{Instance, LeaseId, ServiceName, Target},
};

use super::book::{Book, not_found};

/// One registration. There are millions: 32 bytes.
#[derive(Debug)]
pub(super) struct Record {
    /// As last shown.
    pub(super) instance: Instance,
    pub(super) token: TokenHash,
    /// Where its last Register came from; for an IPv6 address, which is rare, the unspecified
    /// one stands here, and the address itself in a table beside.
    peer: Ipv4Addr,
    /// Its place among those that its service's name means.
    place: u32,
}

/// The place of one that its service's name does not mean any more.
const NOWHERE: u32 = u32::MAX;

const _: () = assert!(size_of::<Option<Record>>() == 32, "a record has grown");

impl Record {
    /// A record that no name means yet, and that came from nowhere.
    pub(super) fn new(instance: Instance, token: TokenHash) -> Self {
        Self { instance, token, peer: Ipv4Addr::UNSPECIFIED, place: NOWHERE }
    }
}

impl Book {
    /// Where its last Register came from.
    pub(super) fn peer(&self, handle: Handle) -> IpAddr {
        let in_table = || self.peers_v6.get(&handle).copied().map(IpAddr::V6);
        match self.record(handle).peer {
            Ipv4Addr::UNSPECIFIED => in_table().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            peer => IpAddr::V4(peer),
        }
    }

    /// Notes where its last Register came from.
    pub(super) fn comes_from(&mut self, handle: Handle, peer: IpAddr) {
        let short = match peer {
            IpAddr::V4(address) => {
                self.peers_v6.remove(&handle);
                address
            }
            IpAddr::V6(address) => {
                self.peers_v6.insert(handle, address);
                Ipv4Addr::UNSPECIFIED
            }
        };
        if let Some(Some(record)) = self.records.get_mut(handle.index()) {
            record.peer = short;
        }
    }

    /// The name as it is known already, if it is: one text serves all instances of a service.
    pub(super) fn known_name(&self, service: &ServiceName) -> ServiceName {
        self.names.get_key_value(service).map_or(service, |(known, _)| known).clone()
    }

    /// Nothing is renewed or removed by guess: of all that bear the name and are still
    /// remembered, or of those from the caller's own address if any are, one must remain.
    pub(super) fn find_by_name(&self, name: &ServiceName, peer: IpAddr) -> Result<Handle, Refusal> {
        let all = self.names.get(name).map_or(&[][..], Vec::as_slice);
        let mut own = all.iter().copied().filter(|handle| self.peer(*handle) == peer).peekable();
        let candidates: Vec<Handle> = if own.peek().is_some() { own.collect() } else { all.to_vec() };
        match candidates[..] {
            [] => Err(not_found(&Target::Name(name.clone()))),
            [one] => Ok(one),
            _ => {
                let mut ids: Vec<LeaseId> = candidates.iter().map(|handle| self.leases.id(*handle)).collect();
                ids.sort_unstable();
                ids.truncate(10);
                Err(Refusal::Ambiguous { name: name.clone(), count: candidates.len(), ids })
            }
        }
    }

    /// Has its service's name mean this one.
    pub(super) fn name(&mut self, handle: Handle, service: ServiceName) {
        let handles = self.names.entry(service).or_default();
        if let Some(Some(record)) = self.records.get_mut(handle.index()) {
            record.place = handles.len() as u32;
            handles.push(handle);
        }
    }

    /// Has its service's name mean this one no more, and says so to the store.
    pub(super) fn unname(&mut self, handle: Handle) {
        if self.is_named(handle) {
            self.leave_name(handle);
            self.touch(handle);
        }
    }

    /// Has its service's name mean this one no more.
    pub(super) fn leave_name(&mut self, handle: Handle) {
        let Some(Some(record)) = self.records.get_mut(handle.index()) else { return };
        let place = std::mem::replace(&mut record.place, NOWHERE) as usize;
        let service = record.instance.service.clone();
        let Some(handles) = self.names.get_mut(&service) else { return };
        if place >= handles.len() {
            return;
        }
        handles.swap_remove(place);
        let moved = handles.get(place).copied();
        if handles.is_empty() {
            self.names.remove(&service);
        } else if handles.capacity() > 4 * handles.len() + 16 {
            handles.shrink_to(2 * handles.len());
        }
        if let Some(Some(record)) = moved.and_then(|moved| self.records.get_mut(moved.index())) {
            record.place = place as u32;
        }
    }

    /// Whether its service's name means this one.
    pub(super) fn is_named(&self, handle: Handle) -> bool {
        self.record(handle).place != NOWHERE
    }
}
