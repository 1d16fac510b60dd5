//! Who asked for a change.

use std::{fmt, net::IpAddr, sync::Arc};

use super::Globs;

/// The name of the key that all services share: what bounds one key's holder does not bound it.
pub const SHARED_KEY: &str = "service-key";

/// Who asks for something: for the log, and for what each may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Where it calls from; an IPv4 address is one, however the socket shows it.
    pub peer: IpAddr,
    /// The name of the key it showed, if it showed one.
    pub key: Option<Arc<str>>,
    /// The services that its key is good for; none for all, and without a key.
    pub reach: Option<Arc<Globs>>,
    /// The trace that the call belongs to (W3C Trace Context), if it said so.
    pub trace: Option<TraceId>,
}

/// A trace's id, which is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// Who asked for each of some changes, in their order; nobody asks for what time does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actors(Vec<(Option<Actor>, usize)>);

impl Actor {
    /// Of whom nothing but the address is known.
    pub fn at(peer: IpAddr) -> Self {
        Self { peer: peer.to_canonical(), key: None, reach: None, trace: None }
    }

    /// The name of the key it showed, if that is not everybody's.
    pub fn own_key(&self) -> Option<&Arc<str>> {
        self.key.as_ref().filter(|key| &***key != SHARED_KEY)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Actors {
    /// One more change.
    pub fn push(&mut self, by: Option<&Actor>) {
        match self.0.last_mut() {
            Some((last, count)) if last.as_ref() == by => *count += 1,
            _ => self.0.push((by.cloned(), 1)),
        }
    }

    /// One for each change.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Actor>> {
        self.0.iter().flat_map(|(by, count)| std::iter::repeat_n(by.as_ref(), *count))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_change_has_its_own() {
        let one = Actor::at(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let other = Actor { trace: Some(TraceId(7)), ..one.clone() };
        let told = [Some(&one), Some(&one), None, Some(&other), Some(&one)];
        let mut actors = Actors::default();
        for by in told {
            actors.push(by);
        }
        assert!(actors.iter().eq(told));
        assert_eq!(actors.0.len(), 4);
    }
}
