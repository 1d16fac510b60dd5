//! When the next request is to be sent: as soon as one is answered (a closed loop), or at a
//! fixed rate, answered or not (an open loop). In an open loop latency counts from when a request
//! should have been sent: a server that stalls is charged for all who waited, not for the few
//! that were under way.

use std::time::{Duration, Instant};

/// Hands out permissions to send, each with the moment that its latency counts from.
#[derive(Debug)]
pub struct Pace {
    /// None: at once.
    interval: Option<Duration>,
    next: Instant,
    room: usize,
}

impl Pace {
    /// For one of `clients` alike: at most `room` requests under way, `rate` a second in all.
    /// Clients begin at different moments within one interval.
    pub fn new(rate: Option<f64>, client: usize, clients: usize, room: usize, now: Instant) -> Self {
        let interval = rate.map(|rate| Duration::from_secs_f64(clients as f64 / rate));
        let offset = interval.unwrap_or_default().mul_f64(client as f64 / clients as f64);
        Self { interval, next: now + offset, room }
    }

    /// The moment that the next request's latency counts from, if it may be sent `now`.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        if self.room == 0 {
            return None;
        }
        let since = match self.interval {
            None => now,
            Some(interval) => {
                if self.next > now {
                    return None;
                }
                let due = self.next;
                self.next += interval;
                due
            }
        };
        self.room -= 1;
        Some(since)
    }

    /// One was answered.
    pub fn give_back(&mut self) {
        self.room += 1;
    }

    /// When to look again, if not only after an answer.
    pub fn wakes(&self) -> Option<Instant> {
        (self.interval.is_some() && self.room > 0).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_closed_loop_waits_for_answers() {
        let now = Instant::now();
        let mut pace = Pace::new(None, 0, 1, 2, now);
        assert_eq!(pace.take(now), Some(now));
        assert_eq!(pace.take(now), Some(now));
        assert_eq!(pace.take(now + SECOND), None);
        pace.give_back();
        assert_eq!(pace.take(now + SECOND), Some(now + SECOND));
        assert_eq!(pace.wakes(), None);
    }

    #[test]
    fn an_open_loop_counts_from_when_it_should_have_sent() {
        let start = Instant::now();
        // Two clients, two a second in all: one a second each, the other one half a second later.
        let mut pace = Pace::new(Some(2.0), 1, 2, 2, start);
        let due = |n: u32| start + SECOND / 2 + SECOND * n;
        assert_eq!(pace.take(start), None);
        assert_eq!(pace.wakes(), Some(due(0)));
        assert_eq!(pace.take(due(0)), Some(due(0)));
        assert_eq!(pace.take(due(0)), None);
        // A stall of ten seconds: each of the waiting ones counts from its own moment, though
        // they can only be sent as the earlier ones are answered.
        let late = due(10);
        assert_eq!(pace.take(late), Some(due(1)));
        assert_eq!(pace.take(late), None);
        assert_eq!(pace.wakes(), None);
        for n in 2..=10 {
            pace.give_back();
            assert_eq!(pace.take(late), Some(due(n)));
        }
        pace.give_back();
        assert_eq!(pace.take(late), None);
    }
}
