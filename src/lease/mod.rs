//! Leases, and nothing else: how long each lives, what renews it, what ends it. No I/O,
//! no clock, no randomness, no async, no logging: every call is told what time it is,
//! and returns what follows as values. Start with [`Leases`] and [`Lapse`].
//!
//! The calls come in families: `insert`, `resume`, `regrant`, `end` and `forget` make and unmake
//! leases; `renew`, `restore`, `attach`, `detach` and `beat` keep them; `tick` and
//! `end_stream` let them go, and `settle` says when that may be known; `view`, `standing` and `tally` look. Time never goes back: pass
//! moments in the order in which things were decided.
//!
//! Expiry is lazy. A renewal stores a moment and nothing else; the wheel looks at a lease
//! when its old deadline comes, and arms it again if it was renewed since. Only a
//! deadline that moves earlier is armed at once. So the wheel never looks at a lease
//! later than its deadline, and a beat renews a whole stream with one store.
//!
//! ```
//! use leasehold::{
//!     lease::{Cause, Leases, Rules, Terms},
//!     types::{LeaseId, Moment, Ttl},
//! };
//!
//! let second = 1_000_000;
//! let mut leases = Leases::new(Rules { window_micros: 600 * second, grace_micros: 0, brake: true });
//! let lease = leases.insert(LeaseId(1), Terms { ttl: Ttl(3), grace_micros: None }, Moment(0));
//! leases.renew(lease, Moment(2 * second));
//!
//! // Due at 3 s by its start, at 5 s by its renewal.
//! assert!(leases.tick(Moment(3 * second), Moment(4 * second)).is_empty());
//! let lapses = leases.tick(Moment(5 * second), Moment(6 * second));
//! assert_eq!(lapses[0].cause, Cause::TtlLapsed { braked: false });
//! ```

mod brake;
mod deferral;
mod slot;
mod stall;
mod stream;
mod table;
mod tally;
mod wheel;

#[cfg(test)]
mod tests;

pub use stream::{Beat, Loss, StreamEnd, StreamId};
pub use table::{Cause, Handle, Lapse, Leases, Past, Rules, Standing, Terms};
pub use tally::{Counts, Histogram, Renewals, Tally};
