//! When clients are to come again.

use std::time::Duration;

/// Spreads what clients do, so that those who came together do not come together again.
pub(super) struct Spread(u64);

impl Spread {
    pub(super) fn new() -> Self {
        let mut seed = [0; 8];
        // Without a seed streams are spread less well, and nothing worse.
        let _ = getrandom::fill(&mut seed);
        Self(u64::from_le_bytes(seed) | 1)
    }

    /// A third of the TTL, give or take a tenth of it.
    pub(super) fn next_beat(&mut self, ttl_seconds: u32) -> Duration {
        let third = u64::from(ttl_seconds) * 1000 / 3;
        Duration::from_millis(third - third / 10 + self.below(third / 5 + 1))
    }

    /// 200 ms to 2 s.
    pub(super) fn retry_after(&mut self) -> Duration {
        Duration::from_millis(200 + self.below(1800))
    }

    /// A number below `bound` (xorshift, 64 bits).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
