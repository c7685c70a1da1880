//! Kinds of time, all in microseconds, and the civil calendar around those that count from 1970-01-01T00:00:00Z.
//!
//! Each kind is a number and nothing else; the compiler keeps them apart.
//!
//! ```text
//! EventTime        when it happened, as the record says            ┐
//! ArrivalTime      when the stream took it, by the stream's clock  ├ instants, counted from 1970-01-01T00:00:00Z
//! ProcessingTime   by the clock of the host that works on it       ┘
//! Tick             by a clock that is never set; its zero has no meaning
//! Span             a length of time: between two instants of one kind
//! ```
//!
//! An instant minus one of its own kind is a [`Span`]; an instant plus a span is an instant. No kind converts into another
//! implicitly. For the few conversions there are functions with names; their docs say why each is sound.
//!
//! ```
//! use authpulse_event::time::{ArrivalTime, Day, EventTime, HOUR, SECOND};
//! let (happened, arrived) = (EventTime::from_micros(0), ArrivalTime::from_micros(2_000_000));
//! assert_eq!(happened + HOUR - happened, HOUR);
//! assert_eq!(happened.ahead_of(arrived), -2 * SECOND);
//! assert_eq!((Day::of(happened), Day::of_arrival(arrived)), (Day(0), Day(0)));
//! ```
//!
//! ```compile_fail
//! use authpulse_event::time::{ArrivalTime, EventTime};
//! let (happened, arrived) = (EventTime::from_micros(1), ArrivalTime::from_micros(2));
//! let delay = arrived - happened; // clocks of two machines: `happened.ahead_of(arrived)` says what that means
//! ```
//!
//! ```compile_fail
//! use authpulse_event::time::{ArrivalTime, Day};
//! let day = Day::of(ArrivalTime::from_micros(0)); // the day of an event is that of its own time
//! ```
//!
//! ```compile_fail
//! use authpulse_event::time::EventTime;
//! let sum = EventTime::from_micros(1) + EventTime::from_micros(2); // two dates have no sum
//! ```
//!
//! Only UTC exists here. Dates use the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`,
//! "chrono-Compatible Low-Level Date Algorithms").

use std::fmt;
use std::str::FromStr;

pub use crate::kinds::{
    ArrivalTime, DAY, EventTime, HOUR, InMicros, MICROSECOND, OnCalendar, ProcessingTime, SECOND, Span, Tick,
};

/// First instant of the year 1.
pub const MIN_TIME: EventTime = EventTime::from_micros(-62_135_596_800 * SECOND.micros());
/// First instant of the year 10000: every event time lies before it.
pub const END_TIME: EventTime = EventTime::from_micros(253_402_300_800 * SECOND.micros());
/// The default of `base`: 2015-01-01T00:00:00Z, chosen because LANL hides its real dates.
pub const DEFAULT_BASE: EventTime = EventTime::from_micros(1_420_070_400 * SECOND.micros());

/// A calendar day (UTC) as days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The day of an event.
    #[inline]
    pub const fn of(time: EventTime) -> Day {
        Day::of_micros(time.micros())
    }
    /// The day of an arrival: dead letters and raw records are partitioned by it.
    #[inline]
    pub const fn of_arrival(time: ArrivalTime) -> Day {
        Day::of_micros(time.micros())
    }
    /// The day of a stored number of microseconds, whatever its kind of time. Only for code that reads or writes such numbers.
    #[inline]
    pub const fn of_micros(micros: i64) -> Day {
        Day(micros.div_euclid(DAY.micros()) as i32)
    }
    /// The day's first instant.
    #[inline]
    pub const fn start(self) -> EventTime {
        EventTime::from_micros(self.0 as i64 * DAY.micros())
    }
    /// The first instant after the day.
    #[inline]
    pub const fn end(self) -> EventTime {
        EventTime::from_micros((self.0 as i64 + 1) * DAY.micros())
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

/// Year, month and day, as in `2015-01-01`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Reads what `Display` writes, and no other spelling.
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
#[inline]
pub const fn hour_of(time: EventTime) -> i64 {
    time.micros().div_euclid(HOUR.micros())
}

/// The first instant of an hour, which is counted in hours since 1970.
#[inline]
pub const fn start_of_hour(hour: i64) -> EventTime {
    EventTime::from_micros(hour * HOUR.micros())
}

/// How long after midnight (UTC) this instant lies.
#[inline]
pub fn time_of_day(time: impl OnCalendar) -> Span {
    Span::from_micros(time.in_micros().rem_euclid(DAY.micros()))
}

/// An instant as RFC 3339 in UTC with six decimals, `2015-01-01T00:00:01.000000Z`: the canonical form, as content ids
/// are made from it.
pub fn format_rfc3339(time: impl OnCalendar) -> String {
    let mut out = Vec::with_capacity(27);
    push_rfc3339(&mut out, time);
    String::from_utf8(out).expect("digits and punctuation are UTF-8")
}

/// Appends what [`format_rfc3339`] returns to `out`.
pub fn push_rfc3339(out: &mut Vec<u8>, time: impl OnCalendar) {
    let (year, month, day) = Day::of_micros(time.in_micros()).civil();
    let in_day = time_of_day(time);
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
    push_padded(out, (in_day % SECOND).micros() as u64, 6);
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
        assert_eq!(Day::of(END_TIME - MICROSECOND).to_string(), "9999-12-31");
        assert_eq!(Day::of(EventTime::from_micros(-1)), Day(-1));
    }

    #[test]
    fn instants_before_1970_lie_in_the_hour_and_day_that_hold_them() {
        let before = EventTime::from_micros(-1);
        assert_eq!(
            (hour_of(before), start_of_hour(-1), time_of_day(before)),
            (-1, before - (HOUR - MICROSECOND), DAY - MICROSECOND)
        );
        assert_eq!((Day(-1).start(), Day(-1).end()), (EventTime::default() - DAY, EventTime::default()));
        let arrival = ArrivalTime::from_micros(-1);
        assert_eq!(Day::of_arrival(arrival), Day(-1));
        assert_eq!(format_rfc3339(arrival), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn a_day_is_read_as_it_is_written() {
        for day in [Day::of(MIN_TIME), Day(0), Day(16_436), Day::of(END_TIME - MICROSECOND)] {
            assert_eq!(day.to_string().parse(), Ok(day));
        }
        for text in ["", "2015", "2015-02-29", "2015-1-01", "2015-01-1", "2015-01-01 ", "2015/01/01", "+015-01-01"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
