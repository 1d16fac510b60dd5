//! Whether the child is to be in the registry: what its life and its health check say together. Pure.

use std::time::Duration;

/// For so long nothing is said of a check that does not pass yet: most children need a while.
const STARTING: Duration = Duration::from_secs(5);

/// The child as the registry is to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    life: Life,
    is_healthy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Up,
    /// It was asked to stop; what it still does is nobody's business.
    Leaving,
    Over,
}

/// How often a check is made, and how many count.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the start of a check to the start of the next.
    pub interval: Duration,
    /// The same until the first one passed.
    pub start_interval: Duration,
    /// One that takes longer has failed.
    pub timeout: Duration,
    /// So many in a row that fail take a healthy child out; one that passes brings it back.
    pub retries: u32,
}

/// The checks so far.
#[derive(Debug)]
pub struct Checkup {
    pace: Pace,
    has_passed: bool,
    is_passing: bool,
    /// In a row.
    failures: u32,
    has_told: bool,
}

/// What the last check changed, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It never passed so far; why not.
    NotYet(String),
    /// It fails, and why.
    Failing(String),
    /// It passes again, or after long.
    Passing,
}

impl Presence {
    /// Of a child that was just started.
    pub fn new(is_checked: bool) -> Self {
        Self { life: Life::Up, is_healthy: !is_checked }
    }

    /// Whether it is to be registered.
    pub fn is_wanted(self) -> bool {
        self.life == Life::Up && self.is_healthy
    }

    /// Whether that can change no more.
    pub fn is_over(self) -> bool {
        self.life == Life::Over
    }

    /// What its check says; answers whether that is new.
    pub fn check_says(&mut self, is_healthy: bool) -> bool {
        std::mem::replace(&mut self.is_healthy, is_healthy) != is_healthy
    }

    /// It leaves, now or later, and does not come back.
    pub fn asked_to_stop(&mut self) {
        if self.life == Life::Up {
            self.life = Life::Leaving;
        }
    }

    /// It has ended.
    pub fn child_ended(&mut self) {
        self.life = Life::Over;
    }
}

impl Checkup {
    /// Before the first check.
    pub fn new(pace: Pace) -> Self {
        Self { pace, has_passed: false, is_passing: false, failures: 0, has_told: false }
    }

    /// Takes in a check's result, `since_start` after the child's start.
    pub fn take(&mut self, result: Result<(), String>, since_start: Duration) -> Option<Turn> {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.has_passed = true;
                let is_news = !std::mem::replace(&mut self.is_passing, true) && self.has_told;
                self.has_told = false;
                is_news.then_some(Turn::Passing)
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if self.is_passing && self.failures >= self.pace.retries {
                    self.is_passing = false;
                    self.has_told = true;
                    return Some(Turn::Failing(why));
                }
                let is_late = !self.has_passed && !self.has_told && since_start >= STARTING;
                self.has_told |= is_late;
                is_late.then_some(Turn::NotYet(why))
            }
        }
    }

    /// Whether the child counts as healthy.
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }

    /// From the start of the last check to the start of the next.
    pub fn interval(&self) -> Duration {
        if self.has_passed { self.pace.interval } else { self.pace.start_interval.min(self.pace.interval) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::ZERO;

    fn checkup() -> Checkup {
        Checkup::new(Pace {
            interval: Duration::from_secs(1),
            start_interval: Duration::from_millis(50),
            timeout: Duration::from_secs(1),
            retries: 3,
        })
    }

    fn refused() -> Result<(), String> {
        Err("refused".to_owned())
    }

    #[test]
    fn without_a_check_it_is_there_from_start_to_end() {
        let mut presence = Presence::new(false);
        assert!(presence.is_wanted() && !presence.is_over());
        presence.child_ended();
        assert!(!presence.is_wanted() && presence.is_over());
        presence.asked_to_stop();
        assert!(presence.is_over(), "an end is for good");
    }

    #[test]
    fn with_a_check_it_is_there_while_that_passes() {
        let mut presence = Presence::new(true);
        assert!(!presence.is_wanted());
        assert!(presence.check_says(true) && presence.is_wanted());
        assert!(!presence.check_says(true), "nothing new");
        assert!(presence.check_says(false) && !presence.is_wanted());
        assert!(presence.check_says(true) && presence.is_wanted());
    }

    #[test]
    fn who_was_asked_to_stop_does_not_come_back() {
        let mut presence = Presence::new(true);
        presence.check_says(true);
        presence.asked_to_stop();
        presence.check_says(false);
        presence.check_says(true);
        assert!(!presence.is_wanted() && !presence.is_over());
    }

    #[test]
    fn checks_are_close_until_the_first_passes() {
        let mut checkup = checkup();
        assert_eq!(checkup.interval(), Duration::from_millis(50));
        assert_eq!(checkup.take(refused(), SOON), None);
        assert_eq!(checkup.interval(), Duration::from_millis(50));
        assert_eq!(checkup.take(Ok(()), SOON), None, "the registration is the news");
        assert!(checkup.is_passing());
        assert_eq!(checkup.interval(), Duration::from_secs(1));
    }

    #[test]
    fn failures_count_in_a_row_and_one_that_passes_is_enough() {
        let mut checkup = checkup();
        checkup.take(Ok(()), SOON);
        for _ in 0..2 {
            assert_eq!(checkup.take(refused(), SOON), None);
            assert_eq!(checkup.take(refused(), SOON), None);
            assert!(checkup.is_passing());
            assert_eq!(checkup.take(Ok(()), SOON), None);
        }
        checkup.take(refused(), SOON);
        checkup.take(refused(), SOON);
        assert_eq!(checkup.take(refused(), SOON), Some(Turn::Failing("refused".to_owned())));
        assert!(!checkup.is_passing());
        assert_eq!(checkup.take(refused(), SOON), None, "told once");
        assert_eq!(checkup.take(Ok(()), SOON), Some(Turn::Passing));
        assert!(checkup.is_passing());
    }

    #[test]
    fn a_check_that_never_passes_is_told_of_once() {
        let mut checkup = checkup();
        assert_eq!(checkup.take(refused(), STARTING / 2), None);
        assert_eq!(checkup.take(refused(), STARTING), Some(Turn::NotYet("refused".to_owned())));
        assert_eq!(checkup.take(refused(), STARTING * 2), None);
        assert_eq!(checkup.take(Ok(()), STARTING * 2), Some(Turn::Passing));
    }
}
