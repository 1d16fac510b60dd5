//! Numbers that look random and are the same on each run with the same seed.

/// A small generator.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The lower bits of such a generator repeat soon.
        (self.0 >> 33) % bound
    }

    /// Whether one case in so many holds.
    pub fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    /// A generator of its own.
    pub fn fork(&mut self) -> Self {
        Self(self.0.rotate_left(17) ^ self.below(1 << 30))
    }
}
