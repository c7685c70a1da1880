//! The types of the kinds of time; [`time`](crate::time) explains them.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Rem, Sub};

/// A kind of time as a number of microseconds. Only for code that reads or writes such numbers: on the wire, in files, in tables.
pub trait InMicros: Copy + Ord {
    /// The time of a stored number.
    fn of_micros(micros: i64) -> Self;
    /// The number to store.
    fn in_micros(self) -> i64;
}

/// An instant that counts from 1970-01-01T00:00:00Z and therefore has a date.
pub trait OnCalendar: InMicros {}

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(i64);

        impl $name {
            /// The first instant there is.
            pub const MIN: $name = $name(i64::MIN);
            /// The last instant there is.
            pub const MAX: $name = $name(i64::MAX);

            /// The instant of a stored number of microseconds. Only for code that reads such numbers.
            #[inline]
            pub const fn from_micros(micros: i64) -> $name {
                $name(micros)
            }
            /// The number of microseconds to store. Only for code that writes such numbers.
            #[inline]
            pub const fn micros(self) -> i64 {
                self.0
            }
            /// The same as `+`, for use in constants.
            #[inline]
            pub const fn after(self, span: Span) -> $name {
                $name(self.0 + span.0)
            }
            /// The instant later by `span`; [`Self::MAX`] where that would overflow.
            #[inline]
            pub const fn saturating_add(self, span: Span) -> $name {
                $name(self.0.saturating_add(span.0))
            }
            /// The instant earlier by `span`; [`Self::MIN`] where that would overflow.
            #[inline]
            pub const fn saturating_sub(self, span: Span) -> $name {
                $name(self.0.saturating_sub(span.0))
            }
            /// How long this is after `earlier`; [`Span::MAX`] where that would overflow.
            #[inline]
            pub const fn saturating_since(self, earlier: $name) -> Span {
                Span(self.0.saturating_sub(earlier.0))
            }
            /// The instant later by `span`; `None` where that would overflow.
            #[inline]
            pub const fn checked_add(self, span: Span) -> Option<$name> {
                match self.0.checked_add(span.0) {
                    Some(micros) => Some($name(micros)),
                    None => None,
                }
            }
        }

        /// The number alone, so that a row in a test's message looks as it does in the table.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl InMicros for $name {
            #[inline]
            fn of_micros(micros: i64) -> $name {
                $name(micros)
            }
            #[inline]
            fn in_micros(self) -> i64 {
                self.0
            }
        }

        impl Sub for $name {
            type Output = Span;
            #[inline]
            fn sub(self, earlier: $name) -> Span {
                Span(self.0 - earlier.0)
            }
        }

        impl Add<Span> for $name {
            type Output = $name;
            #[inline]
            fn add(self, span: Span) -> $name {
                $name(self.0 + span.0)
            }
        }

        impl Sub<Span> for $name {
            type Output = $name;
            #[inline]
            fn sub(self, span: Span) -> $name {
                $name(self.0 - span.0)
            }
        }

        impl AddAssign<Span> for $name {
            #[inline]
            fn add_assign(&mut self, span: Span) {
                self.0 += span.0;
            }
        }

    };
}

instant! {
    /// When an event happened, as its record says. Watermarks, windows, hours and days are of this kind.
    EventTime
}

instant! {
    /// When a stream took a record, by the stream's clock. For a line of a file: when the run that reads it began.
    ArrivalTime
}

instant! {
    /// An instant by the clock of a host, such as when an entry or a file was written.
    ProcessingTime
}

instant! {
    /// An instant by a clock of this process that is never set. It measures ages and intervals, and means nothing to another process.
    Tick
}

impl OnCalendar for EventTime {}
impl OnCalendar for ArrivalTime {}
impl OnCalendar for ProcessingTime {}

impl EventTime {
    /// How far the event lies ahead of its arrival. Usually negative: it took that long to arrive.
    ///
    /// The two clocks may be compared because both count from 1970 and are meant to agree. The difference is the error of the
    /// sender's clock less the delay on the way, which is exactly what the bound on events ahead limits.
    #[inline]
    pub const fn ahead_of(self, arrival: ArrivalTime) -> Span {
        Span(self.0 - arrival.0)
    }

    /// The time of an event that is made at this moment of the host: a replay that gives its events the present time.
    #[inline]
    pub const fn made_at(now: ProcessingTime) -> EventTime {
        EventTime(now.0)
    }
}

impl ArrivalTime {
    /// The arrival of every line in a run over files is when the run began: a file has no clock of its own.
    #[inline]
    pub const fn of_run(started: ProcessingTime) -> ArrivalTime {
        ArrivalTime(started.0)
    }

    /// The time of an event that happens at the moment of this arrival. It is a bound: on events ahead, and on the watermark.
    ///
    /// Sound as long as senders' clocks agree with the stream's: an event with a later time claims to come from the future.
    #[inline]
    pub const fn as_event_time(self) -> EventTime {
        EventTime(self.0)
    }
}

impl ProcessingTime {
    /// The arrival that a stream would give a record at this moment of the host: a bound on arrivals. The two clocks may differ, so
    /// callers leave a margin.
    #[inline]
    pub const fn as_arrival_bound(self) -> ArrivalTime {
        ArrivalTime(self.0)
    }
}

/// A length of time; may be negative.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Span(i64);

/// A microsecond, the smallest unit of time here.
pub const MICROSECOND: Span = Span(1);
/// A second.
pub const SECOND: Span = Span(1_000_000);
/// An hour.
pub const HOUR: Span = Span::seconds(3_600);
/// A day.
pub const DAY: Span = Span::hours(24);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// The longest span there is.
    pub const MAX: Span = Span(i64::MAX);

    /// The span of a stored number of microseconds. Only for code that reads such numbers.
    #[inline]
    pub const fn from_micros(micros: i64) -> Span {
        Span(micros)
    }
    /// The number of microseconds to store. Only for code that writes such numbers.
    #[inline]
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// A span of `n` milliseconds.
    #[inline]
    pub const fn millis(n: i64) -> Span {
        Span(n * 1_000)
    }
    /// A span of `n` seconds.
    #[inline]
    pub const fn seconds(n: i64) -> Span {
        Span(n * SECOND.0)
    }
    /// A span of `n` hours.
    #[inline]
    pub const fn hours(n: i64) -> Span {
        Span(n * HOUR.0)
    }
    /// A span of `n` days.
    #[inline]
    pub const fn days(n: i64) -> Span {
        Span(n * DAY.0)
    }
    /// The span in seconds, for people to read.
    #[inline]
    pub const fn as_seconds(self) -> f64 {
        self.0 as f64 / SECOND.0 as f64
    }
    /// The span without its sign.
    #[inline]
    pub const fn abs(self) -> Span {
        Span(self.0.abs())
    }
    /// The remainder of the division by `part`, never negative (Euclidean). `None` if `part` is zero.
    #[inline]
    pub const fn checked_rem_euclid(self, part: Span) -> Option<Span> {
        match self.0.checked_rem_euclid(part.0) {
            Some(rest) => Some(Span(rest)),
            None => None,
        }
    }
    /// `n` times this span; `None` where that would overflow.
    #[inline]
    pub const fn checked_mul(self, n: i64) -> Option<Span> {
        match self.0.checked_mul(n) {
            Some(micros) => Some(Span(micros)),
            None => None,
        }
    }
    /// `n` times this span; the longest span of that sign where that would overflow.
    #[inline]
    pub const fn saturating_mul(self, n: i64) -> Span {
        Span(self.0.saturating_mul(n))
    }
}

/// The number alone, as instants have it.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl InMicros for Span {
    #[inline]
    fn of_micros(micros: i64) -> Span {
        Span(micros)
    }
    #[inline]
    fn in_micros(self) -> i64 {
        self.0
    }
}

impl Add for Span {
    type Output = Span;
    #[inline]
    fn add(self, other: Span) -> Span {
        Span(self.0 + other.0)
    }
}

impl Sub for Span {
    type Output = Span;
    #[inline]
    fn sub(self, other: Span) -> Span {
        Span(self.0 - other.0)
    }
}

impl AddAssign for Span {
    #[inline]
    fn add_assign(&mut self, other: Span) {
        self.0 += other.0;
    }
}

impl Neg for Span {
    type Output = Span;
    #[inline]
    fn neg(self) -> Span {
        Span(-self.0)
    }
}

/// `n` times a span.
impl Mul<Span> for i64 {
    type Output = Span;
    #[inline]
    fn mul(self, span: Span) -> Span {
        Span(self * span.0)
    }
}

/// The `n`th part of a span, rounded towards zero.
impl Div<i64> for Span {
    type Output = Span;
    #[inline]
    fn div(self, n: i64) -> Span {
        Span(self.0 / n)
    }
}

/// How many times `part` fits into a span, rounded towards zero.
impl Div for Span {
    type Output = i64;
    #[inline]
    fn div(self, part: Span) -> i64 {
        self.0 / part.0
    }
}

/// The remainder, with the sign of the span.
impl Rem for Span {
    type Output = Span;
    #[inline]
    fn rem(self, part: Span) -> Span {
        Span(self.0 % part.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_a_kind_and_spans_reckon_as_their_numbers_do() {
        let (earlier, later) = (EventTime::from_micros(-5), EventTime::from_micros(7));
        assert_eq!((later - earlier, earlier - later), (Span::from_micros(12), Span::from_micros(-12)));
        assert_eq!((earlier + SECOND).micros(), 999_995);
        assert_eq!((earlier - SECOND, earlier.after(-SECOND)), (EventTime::from_micros(-1_000_005), earlier - SECOND));
        let mut moved = earlier;
        moved += HOUR;
        assert_eq!(moved - HOUR, earlier);
        assert!(earlier < later && EventTime::MIN < earlier && later < EventTime::MAX);
        assert_eq!(EventTime::default().micros(), 0);
    }

    #[test]
    fn what_overflows_stops_at_the_end_or_is_told() {
        let end = Tick::MAX - SECOND;
        assert_eq!((end.saturating_add(HOUR), end.checked_add(HOUR)), (Tick::MAX, None));
        assert_eq!(end.checked_add(SECOND), Some(Tick::MAX));
        assert_eq!((Tick::MIN + SECOND).saturating_sub(HOUR), Tick::MIN);
        assert_eq!(Tick::MAX.saturating_since(Tick::MIN), Span::MAX);
        assert_eq!((HOUR.checked_mul(2), HOUR.checked_mul(i64::MAX)), (Some(Span::hours(2)), None));
        assert_eq!(DAY.saturating_mul(i64::MAX), Span::MAX);
    }

    #[test]
    fn spans_are_counted_and_divided() {
        assert_eq!(
            [Span::seconds(3_600), Span::hours(24), Span::days(1), Span::millis(1_000)],
            [HOUR, DAY, DAY, SECOND]
        );
        assert_eq!((24 * HOUR, DAY / 24, DAY / HOUR, (DAY + SECOND) % HOUR), (DAY, HOUR, 24, SECOND));
        let behind = -(HOUR + SECOND);
        assert_eq!((behind / HOUR, behind % HOUR, behind.abs()), (-1, -SECOND, HOUR + SECOND));
        assert_eq!(behind.checked_rem_euclid(HOUR), Some(HOUR - SECOND));
        assert_eq!(behind.checked_rem_euclid(Span::ZERO), None);
        assert_eq!((SECOND / 4).as_seconds(), 0.25);
    }

    #[test]
    fn kinds_meet_by_name_only() {
        let (event, arrival) = (EventTime::from_micros(5), ArrivalTime::from_micros(3));
        assert_eq!(
            (event.ahead_of(arrival), arrival.as_event_time()),
            (Span::from_micros(2), EventTime::from_micros(3))
        );
        let now = ProcessingTime::from_micros(9);
        assert_eq!(EventTime::made_at(now), EventTime::from_micros(9));
        assert_eq!(
            (ArrivalTime::of_run(now), now.as_arrival_bound()),
            (ArrivalTime::from_micros(9), ArrivalTime::from_micros(9))
        );
    }
}
