//! Deadlines that a stall or the brake put off. Few leases ever have one and then most do, so
//! they stand beside the table, which is spared their room.

use crate::types::Moment;

/// How much longer than its end a deferral is kept: the wheel counts in milliseconds.
const SLACK_MICROS: u64 = 1_000_000;

/// A deadline that was put off.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deferral {
    /// When it falls now.
    pub(super) to: Moment,
    /// When it was put off: any later renewal makes this void. None was at moment 0.
    pub(super) at: Moment,
    /// How much stalls have put it off so far, in microseconds.
    pub(super) shifted: u64,
    /// Whether the brake did.
    pub(super) braked: bool,
}

/// All of them, by the lease's slot.
#[derive(Debug, Default)]
pub(super) struct Deferrals {
    list: Vec<Deferral>,
    /// When the last of them ends.
    until: Moment,
}

impl Deferrals {
    /// What holds for a lease that was renewed at `renewed`.
    pub(super) fn of(&self, slot: u32, renewed: Moment) -> Deferral {
        let deferral = self.list.get(slot as usize).copied().unwrap_or_default();
        if deferral.at > renewed { deferral } else { Deferral::default() }
    }

    pub(super) fn set(&mut self, slot: u32, deferral: Deferral) {
        let index = slot as usize;
        if index >= self.list.len() {
            self.list.resize(index + 1, Deferral::default());
        }
        self.list[index] = deferral;
        self.until = self.until.max(deferral.to);
    }

    /// Whatever was put off for a lease is void.
    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(deferral) = self.list.get_mut(slot as usize) {
            *deferral = Deferral::default();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Gives the room back once none can hold any more: who had one has lapsed at `now`, or
    /// was renewed since.
    pub(super) fn shrink(&mut self, now: Moment) {
        if !self.list.is_empty() && now > self.until.plus_micros(SLACK_MICROS) {
            *self = Self::default();
        }
    }
}
