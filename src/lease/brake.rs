//! The mass-expiry brake. When most of a large registry falls due at once, something is
//! wrong with us or the network, not with them: their expiries are spread over at most
//! one further TTL, in which any renewal keeps its lease.

use crate::types::Moment;

use super::{Leases, deferral::Deferral};

/// A registry with fewer leases due is never braked.
const AT_LEAST: usize = 100;
/// How far ahead leases that fall due count as falling due at once.
const WINDOW_MICROS: u64 = 5_000_000;
/// Looking at every lease costs milliseconds on a large registry: not at every tick. A
/// wave is seen this long after it entered the window at the latest, well before it is due.
const LOOK_EVERY_MICROS: u64 = 250_000;

/// Whether expiries are held back now.
#[derive(Debug)]
pub(super) struct Brake {
    enabled: bool,
    looked: Option<Moment>,
    until: Moment,
    /// How many were held back so far; spreads them evenly.
    held: u64,
}

impl Brake {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, looked: None, until: Moment(0), held: 0 }
    }

    /// A fraction of `ttl`, never 0; those of successive calls lie evenly spread.
    fn spread(&mut self, ttl_micros: u64) -> u64 {
        // Multiples of the golden ratio modulo one, in 32 bits.
        self.held = self.held.wrapping_add(1);
        let fraction = self.held.wrapping_mul(0x9e37_79b9) & 0xffff_ffff;
        ((u128::from(ttl_micros) * u128::from(fraction)) >> 32) as u64 + 1
    }
}

impl Leases {
    /// Of the leases due by TTL, those that expire now; the others are held back.
    pub(super) fn brake(&mut self, due: Vec<u32>, now: Moment) -> Vec<u32> {
        if !self.brake.enabled || due.is_empty() {
            return due;
        }
        if now >= self.brake.until && self.mass_is_due(&due, now) {
            self.brake.until = now.plus_micros(WINDOW_MICROS);
        }
        if now >= self.brake.until {
            return due;
        }
        let mut expire = Vec::new();
        for slot in due {
            let renewed = self.renewed(slot);
            let deferral = self.deferrals.of(slot, renewed);
            if deferral.braked {
                expire.push(slot);
                continue;
            }
            let ttl = self.table[slot as usize].ttl.micros();
            let to = now.plus_micros(self.brake.spread(ttl).min(ttl));
            self.deferrals.set(slot, Deferral { to, at: now, shifted: deferral.shifted, braked: true });
            self.tally.held_back += 1;
            self.arm(slot, to);
        }
        expire
    }

    /// Whether at least 100 leases and more than half of all that live fall due within 5 s.
    /// `due` are those whose time has come already.
    fn mass_is_due(&mut self, due: &[u32], now: Moment) -> bool {
        let recently = self.brake.looked.is_some_and(|at| now.micros_since(at) < LOOK_EVERY_MICROS);
        let many_at_once = due.len() >= AT_LEAST;
        if self.live() < AT_LEAST || (recently && !many_at_once) {
            return false;
        }
        self.brake.looked = Some(now);
        let horizon = now.plus_micros(WINDOW_MICROS);
        // Each look ends as soon as it is decided: a large registry is rarely read to its end.
        let (mut falling, mut standing) = (0, 0);
        for slot in (0..self.table.len() as u32).filter(|slot| self.is_live(*slot)) {
            if self.deadline(slot) <= horizon {
                falling += 1;
            } else {
                standing += 1;
            }
            if standing * 2 >= self.live() {
                return false;
            }
            if falling >= AT_LEAST && falling * 2 > self.live() {
                return true;
            }
        }
        false
    }
}
