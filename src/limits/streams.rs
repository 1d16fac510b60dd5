//! Streams open at once, of each peer.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::types::Network;

/// How many are open, by peer; who has none open is not there.
#[derive(Debug)]
pub(super) struct Streams {
    open: Mutex<HashMap<Network, u32, RandomState>>,
    most: NonZeroU32,
}

/// A stream that is counted as open until this is dropped; one that is not counted, by default.
#[derive(Debug, Default)]
pub struct Guard(Option<(Arc<Streams>, Network)>);

impl Streams {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self { open: Mutex::default(), most }
    }

    pub(super) fn most(&self) -> u32 {
        self.most.get()
    }

    /// One more, if the peer may have it.
    pub(super) fn open(self: &Arc<Self>, peer: Network) -> Option<Guard> {
        let mut all = self.open.lock();
        let open = all.entry(peer).or_default();
        if *open >= self.most.get() {
            return None;
        }
        *open += 1;
        Some(Guard(Some((Arc::clone(self), peer))))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((streams, peer)) = &self.0 else { return };
        let mut all = streams.open.lock();
        let Some(open) = all.get_mut(peer) else { return };
        *open -= 1;
        if *open == 0 {
            all.remove(peer);
            if all.capacity() > 4 * all.len() + 64 {
                all.shrink_to_fit();
            }
        }
    }
}
