//! Event time: microseconds since 1970-01-01T00:00:00Z, and the civil calendar around it.
//!
//! Only UTC exists here. Dates use the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`,
//! "chrono-Compatible Low-Level Date Algorithms").

use std::fmt;
use std::str::FromStr;

/// Microseconds since 1970-01-01T00:00:00Z. Event time, arrival time and settings in time units share this unit.
pub type Micros = i64;

/// Microseconds in a second.
pub const SECOND: Micros = 1_000_000;
/// Microseconds in an hour.
pub const HOUR: Micros = 3_600 * SECOND;
/// Microseconds in a day.
pub const DAY: Micros = 86_400 * SECOND;
/// First instant of the year 1.
pub const MIN_TIME: Micros = -62_135_596_800 * SECOND;
/// First instant of the year 10000: every event time lies before it.
pub const END_TIME: Micros = 253_402_300_800 * SECOND;
/// The default of `base`: 2015-01-01T00:00:00Z, chosen because LANL hides its real dates.
pub const DEFAULT_BASE: Micros = 1_420_070_400 * SECOND;

/// A calendar day (UTC) as days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The day that holds this instant.
    pub fn of(time: Micros) -> Day {
        Day(time.div_euclid(DAY) as i32)
    }
    /// The day's first instant.
    pub fn start(self) -> Micros {
        i64::from(self.0) * DAY
    }
    /// The first instant after the day.
    pub fn end(self) -> Micros {
        (i64::from(self.0) + 1) * DAY
    }
    /// Year, month (1-12), day of month (1-31).
    pub fn civil(self) -> (i32, u32, u32) {
        let z = i64::from(self.0) + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
        let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
        let year = yoe + era * 400 + i64::from(month <= 2);
        (year as i32, month, day)
    }
    /// The day of a civil date; the caller guarantees that the date exists.
    pub fn from_civil(year: i32, month: u32, day: u32) -> Day {
        let y = i64::from(year) - i64::from(month <= 2);
        let era = y.div_euclid(400);
        let yoe = y.rem_euclid(400);
        let m = i64::from(month);
        let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + i64::from(day) - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        Day((era * 146_097 + doe - 719_468) as i32)
    }
}

/// `2015-01-01`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// The inverse of `Display`; nothing else is a day.
impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Day, String> {
        let number = |part: std::ops::Range<usize>| text.get(part).and_then(|digits| digits.parse::<u32>().ok());
        let parts = (number(0..4), number(5..7), number(8..text.len()));
        let (Some(year), Some(month @ 1..=12), Some(day @ 1..=31)) = parts else {
            return Err(format!("'{text}' is no day such as 2015-01-01"));
        };
        let day = Day::from_civil(year.cast_signed(), month, day);
        if day.to_string() == text { Ok(day) } else { Err(format!("'{text}' is no day such as 2015-01-01")) }
    }
}

/// The hour (UTC) that holds this instant, as hours since 1970.
pub fn hour_of(time: Micros) -> i64 {
    time.div_euclid(HOUR)
}

/// Writes an instant as RFC 3339 in UTC with six decimals, `2015-01-01T00:00:01.000000Z`: the canonical form
/// that enters an event id.
pub fn format_rfc3339(time: Micros) -> String {
    let mut out = Vec::with_capacity(27);
    push_rfc3339(&mut out, time);
    String::from_utf8(out).expect("digits and punctuation are UTF-8")
}

/// Appends what [`format_rfc3339`] returns to `out`.
pub fn push_rfc3339(out: &mut Vec<u8>, time: Micros) {
    let (year, month, day) = Day::of(time).civil();
    let in_day = time.rem_euclid(DAY);
    let second = in_day / SECOND;
    push_padded(out, year as u64, 4);
    out.push(b'-');
    push_padded(out, u64::from(month), 2);
    out.push(b'-');
    push_padded(out, u64::from(day), 2);
    out.push(b'T');
    push_padded(out, (second / 3600) as u64, 2);
    out.push(b':');
    push_padded(out, (second / 60 % 60) as u64, 2);
    out.push(b':');
    push_padded(out, (second % 60) as u64, 2);
    out.push(b'.');
    push_padded(out, (in_day % SECOND) as u64, 6);
    out.push(b'Z');
}

fn push_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut divisor = 10u64.pow(width as u32 - 1);
    for _ in 0..width {
        out.push(b'0' + (value / divisor % 10) as u8);
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_civil_dates_are_inverse_over_all_years() {
        for day in Day::of(MIN_TIME).0..Day::of(END_TIME).0 {
            let (y, m, d) = Day(day).civil();
            assert_eq!(Day::from_civil(y, m, d), Day(day));
        }
        assert_eq!(Day::of(MIN_TIME).to_string(), "0001-01-01");
        assert_eq!(Day::of(END_TIME - 1).to_string(), "9999-12-31");
        assert_eq!(Day::of(-1), Day(-1));
    }

    #[test]
    fn a_day_is_read_as_it_is_written() {
        for day in [Day::of(MIN_TIME), Day(0), Day(16_436), Day::of(END_TIME - 1)] {
            assert_eq!(day.to_string().parse(), Ok(day));
        }
        for text in ["", "2015", "2015-02-29", "2015-1-01", "2015-01-1", "2015-01-01 ", "2015/01/01", "+015-01-01"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
