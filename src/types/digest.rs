//! Numbers for texts, where they outlive the process: the standard library's hashes may
//! change with its version.

/// FNV-1a, 64 bits, over lengths and texts, so that "ab" then "" is not "a" then "b".
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Goes on with a text.
    pub fn text(&mut self, text: &str) {
        let length = (text.len() as u64).to_le_bytes();
        for byte in length.iter().chain(text.as_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The number for all texts so far.
    pub fn value(self) -> u64 {
        self.0
    }
}
