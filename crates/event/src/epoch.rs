//! Hints for senders whose whole numbers count from another epoch than `base`. If a source writes Unix time and the lake's `base` is
//! LANL's default, every record is rejected; the dead letter should say what to do.

use crate::TimeForm;
use crate::time::{ArrivalTime, EventTime, SECOND, Span};

/// Unix times in seconds with ten digits: from 2001-09-09 to 2286-11-20.
const UNIX_SECONDS: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;

/// What to append to the detail of an event that lies too far ahead of its arrival. It is a hint if the number, read as seconds since
/// 1970, lies at or before `latest`, the latest time allowed; else it is empty.
pub fn hint_of_future(base: EventTime, time: EventTime, form: TimeForm, latest: ArrivalTime) -> &'static str {
    let seconds = (time - base) / SECOND;
    let is_past = |unix: i64| EventTime::default() + Span::seconds(unix) <= latest.as_event_time();
    if form == TimeForm::Seconds && UNIX_SECONDS.contains(&seconds) && is_past(seconds) {
        "; if it is seconds since 1970, set base = \"1970-01-01T00:00:00Z\" for a new lake"
    } else {
        ""
    }
}

/// Why a number with too many digits is no time, with a hint where the count of digits suggests a unit.
pub(crate) fn too_many_digits(digits: &[u8]) -> &'static str {
    match digits {
        [b'0', ..] => "time has more than 12 digits",
        _ if digits.len() == 13 => {
            "time has more than 12 digits; if it is milliseconds since 1970, divide by 1000, and set base = \"1970-01-01T00:00:00Z\""
        }
        _ if digits.len() == 16 => {
            "time has more than 12 digits; if it is microseconds since 1970, divide by 1000000, and set base = \"1970-01-01T00:00:00Z\""
        }
        _ if digits.len() == 18 => {
            "time has more than 12 digits; if it is a FILETIME, divide by 10000000, and set base = \"1601-01-01T00:00:00Z\""
        }
        _ if digits.len() == 19 => {
            "time has more than 12 digits; if it is nanoseconds since 1970, divide by 1000000000, and set base = \"1970-01-01T00:00:00Z\""
        }
        _ => "time has more than 12 digits",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc3339::parse_rfc3339;
    use crate::time::DEFAULT_BASE;

    #[test]
    fn the_hint_is_for_numbers_that_are_times_of_unix() {
        let arrival = parse_rfc3339::<ArrivalTime>(b"2026-11-29T12:00:00Z").unwrap();
        let hint = |base, seconds, form| !hint_of_future(base, base + seconds * SECOND, form, arrival).is_empty();
        let unix = (arrival - ArrivalTime::default()) / SECOND;
        assert!(hint(DEFAULT_BASE, 1_448_000_000, TimeForm::Seconds));
        assert!(hint(DEFAULT_BASE, unix, TimeForm::Seconds), "at the arrival itself");
        assert!(!hint(DEFAULT_BASE, unix + 1, TimeForm::Seconds), "as seconds of Unix it is ahead as well");
        assert!(!hint(DEFAULT_BASE, 999_999_999, TimeForm::Seconds));
        assert!(!hint(DEFAULT_BASE, 1_448_000_000, TimeForm::Rfc3339));
        assert!(!hint(EventTime::default(), unix + 301, TimeForm::Seconds), "base is right already");
    }

    #[test]
    fn digits_tell_the_unit() {
        for (digits, word) in [
            ("1448000000000", "milliseconds since 1970, divide by 1000, and set base = \"1970-01-01T00:00:00Z\""),
            ("1448000000000000", "microseconds since 1970, divide by 1000000, and"),
            ("1448000000000000000", "nanoseconds since 1970, divide by 1000000000, and"),
            ("130930000000000000", "FILETIME, divide by 10000000, and set base = \"1601-01-01T00:00:00Z\""),
        ] {
            assert!(too_many_digits(digits.as_bytes()).contains(word), "{digits}");
        }
        for digits in ["0000000000005", "14480000000000", "144800000000000000000"] {
            assert_eq!(too_many_digits(digits.as_bytes()), "time has more than 12 digits", "{digits}");
        }
    }
}
