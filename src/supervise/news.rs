//! What happens to the registration, for people.

use std::{
    fmt,
    mem::discriminant,
    time::{Duration, Instant},
};

use super::{keeper::RETRY, presence::Turn};
use crate::client::State;

/// What happened; displays as a line without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is in the registry, under this id.
    Registered(String),
    /// It was never registered so far, and why.
    NotYet(String),
    /// The registry cannot be reached; the registration lapses after so long.
    AtRisk(String, Duration),
    /// It is not in the registry any more, and will be again.
    Lost(String),
    /// The registry refused it.
    Refused(String),
    /// Another process has registered the same service and url.
    TakenOver,
    /// What is needed to reach the registry cannot be had.
    NoClient(String),
    /// It was deregistered.
    Deregistered,
    /// It could not be.
    NotDeregistered(String),
    /// A check, and what it says now.
    Health(String, Turn),
    /// A signal that cannot be sent.
    NotPassedOn(i32),
}

/// A registration's states so far: each kind is news once, not each reason.
#[derive(Debug)]
pub struct Course {
    last: State,
    was_registered: bool,
}

impl Default for Course {
    fn default() -> Self {
        Self { last: State::Pending { why: None }, was_registered: false }
    }
}

impl Course {
    /// Takes in a state; what is to be told of it.
    pub fn take(&mut self, state: State, now: Instant) -> Option<News> {
        let first_reason = self.last == State::Pending { why: None };
        let is_new = discriminant(&state) != discriminant(&self.last);
        let news = match &state {
            State::Pending { why: Some(why) } if first_reason => Some(News::NotYet(why.clone())),
            State::Registered { id, .. } if is_new => Some(News::Registered(id.clone())),
            State::AtRisk { until, why, .. } if is_new => {
                Some(News::AtRisk(why.clone(), until.saturating_duration_since(now)))
            }
            State::Lost { why, .. } if is_new => Some(News::Lost(why.clone())),
            _ => None,
        };
        self.was_registered |= matches!(state, State::Registered { .. });
        self.last = state;
        news
    }

    /// Whether it ever was in the registry.
    pub fn was_registered(&self) -> bool {
        self.was_registered
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered(id) => write!(f, "registered as {id}"),
            Self::NotYet(why) => write!(f, "not registered yet: {why}; trying on"),
            Self::AtRisk(why, left) => {
                write!(f, "at risk: {why}; without the registry it lapses in {:.0}s", left.as_secs_f64())
            }
            Self::Lost(why) => write!(f, "the registration is lost: {why}; bringing it back"),
            Self::Refused(why) => {
                write!(f, "refused by the registry: {why}; trying again in {}s", RETRY.as_secs())
            }
            Self::TakenOver => f.write_str(
                "another process has registered the same service and url; the command runs on, unregistered",
            ),
            Self::NoClient(why) => {
                write!(f, "cannot register: {why}; trying again in {}s", RETRY.as_secs())
            }
            Self::Deregistered => f.write_str("deregistered"),
            Self::NotDeregistered(why) => write!(f, "not deregistered, it ends by its TTL: {why}"),
            Self::Health(check, Turn::NotYet(why)) => write!(f, "{check} does not pass yet: {why}"),
            Self::Health(check, Turn::Failing(why)) => write!(f, "{check} fails: {why}; taken out"),
            Self::Health(check, Turn::Passing) => write!(f, "{check} passes"),
            Self::NotPassedOn(signal) => write!(f, "signal {signal} has no name, and is not passed on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_state_is_told_once() {
        let now = Instant::now();
        let pending = |why: &str| State::Pending { why: Some(why.to_owned()) };
        let registered = State::Registered { id: "a".to_owned(), ttl: Duration::from_secs(30) };
        let at_risk = |why: &str| State::AtRisk {
            id: "a".to_owned(),
            until: now + Duration::from_secs(20),
            why: why.to_owned(),
        };
        let mut course = Course::default();
        assert_eq!(course.take(State::Pending { why: None }, now), None);
        assert_eq!(course.take(pending("refused"), now), Some(News::NotYet("refused".to_owned())));
        assert_eq!(course.take(pending("no route"), now), None);
        assert!(!course.was_registered());
        assert_eq!(course.take(registered.clone(), now), Some(News::Registered("a".to_owned())));
        assert_eq!(course.take(registered.clone(), now), None);
        let risk = News::AtRisk("reset".to_owned(), Duration::from_secs(20));
        assert_eq!(course.take(at_risk("reset"), now), Some(risk));
        assert_eq!(course.take(at_risk("refused"), now), None);
        assert_eq!(course.take(registered, now), Some(News::Registered("a".to_owned())));
        assert!(course.was_registered());
    }
}
