//! Times as people read them: an age (`3m12s`), a due time (`in 18s`), a moment in UTC.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// What stands where there is no time.
const NONE: &str = "-";
/// In seconds since 1970.
const YEAR_10000: u64 = 253_402_300_800;

/// The two largest units of a duration, down to seconds: `12s`, `3m12s`, `5h3m`, `2d4h`.
pub fn short(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = duration.as_secs();
    let Some(first) = UNITS.iter().position(|&(size, _)| seconds >= size) else {
        return "0s".to_owned();
    };
    let (size, unit) = UNITS[first];
    let large = format!("{}{unit}", seconds / size);
    match UNITS.get(first + 1) {
        Some(&(next, unit)) if seconds % size >= next => format!("{large}{}{unit}", seconds % size / next),
        _ => large,
    }
}

/// How long ago: `12s`. What lies ahead, by a clock that is off, is `0s`.
pub fn age(time: Option<&Timestamp>, now: SystemTime) -> String {
    system_time(time)
        .map_or_else(|| NONE.to_owned(), |time| short(now.duration_since(time).unwrap_or_default()))
}

/// When it is due: `in 18s`, or `4s ago` when it should be over.
pub fn due(time: Option<&Timestamp>, now: SystemTime) -> String {
    let Some(time) = system_time(time) else { return NONE.to_owned() };
    match time.duration_since(now) {
        Ok(ahead) => format!("in {}", short(ahead)),
        Err(behind) => format!("{} ago", short(behind.duration())),
    }
}

/// The moment itself, to the second: `2026-01-31T12:00:00Z`.
pub fn moment(time: Option<&Timestamp>) -> String {
    system_time(time).map_or_else(|| NONE.to_owned(), clock)
}

/// A moment of our own clock, to the second. Beyond the year 9999 there is no such form.
pub fn clock(time: SystemTime) -> String {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(elapsed) if elapsed.as_secs() < YEAR_10000 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => NONE.to_owned(),
    }
}

fn system_time(time: Option<&Timestamp>) -> Option<SystemTime> {
    time.and_then(|&time| SystemTime::try_from(time).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn two_units_are_enough() {
        #[track_caller]
        fn check(seconds: u64, expect: &str) {
            assert_eq!(short(Duration::from_secs(seconds)), expect);
        }
        check(0, "0s");
        check(12, "12s");
        check(60, "1m");
        check(192, "3m12s");
        check(3_600, "1h");
        check(3_601, "1h");
        check(18_180, "5h3m");
        check(187_200, "2d4h");
        check(u64::MAX, "213503982334601d7h");
    }

    #[test]
    fn ages_and_due_times() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(age(Some(&at(988)), now), "12s");
        assert_eq!(age(Some(&at(1_001)), now), "0s");
        assert_eq!(age(None, now), "-");
        assert_eq!(due(Some(&at(1_018)), now), "in 18s");
        assert_eq!(due(Some(&at(996)), now), "4s ago");
        // Far out, but no panic.
        due(Some(&at(i64::MAX)), now);
        age(Some(&at(i64::MIN)), now);
    }

    #[test]
    fn moments_are_utc_and_a_server_cannot_make_us_panic() {
        assert_eq!(moment(Some(&at(0))), "1970-01-01T00:00:00Z");
        assert_eq!(moment(Some(&at(253_402_300_799))), "9999-12-31T23:59:59Z");
        assert_eq!(moment(Some(&at(253_402_300_800))), "-");
        assert_eq!(moment(Some(&at(-1))), "-");
        assert_eq!(moment(None), "-");
    }
}
