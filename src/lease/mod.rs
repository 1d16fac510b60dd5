//! Leases, and nothing else: how long each lives, what renews it, what ends it. No I/O,
//! no clock, no randomness, no async, no logging: every call is told what time it is,
//! and returns what follows as values. Start with [`Leases`] and [`Lapse`].
//!
//! The calls come in families: `insert`, `regrant`, `end` and `forget` make and unmake
//! leases; `renew`, `restore`, `attach`, `detach` and `beat` keep them; `tick` and
//! `end_stream` let them go; `view` and `standing` look. Time never goes back: pass
//! moments in the order in which things were decided.
//!
//! Expiry is lazy. A renewal stores a moment and nothing else; the wheel looks at a lease
//! when its old deadline comes, and arms it again if it was renewed since. Only a
//! deadline that moves earlier is armed at once. So the wheel never looks at a lease
//! later than its deadline, and a beat renews a whole stream with one store.

mod brake;
mod stall;
mod stream;
mod table;
mod wheel;

#[cfg(test)]
mod tests;

pub use stream::{Beat, Loss, StreamEnd, StreamId};
pub use table::{Cause, Handle, Lapse, Leases, Rules, Standing, Terms};
