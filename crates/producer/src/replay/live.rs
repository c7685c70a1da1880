//! Event times that make a replay look live: the first event is now, and the others follow at the distance at which they are sent.

use authpulse_event::time::{END_TIME, InMicros, MICROSECOND, MIN_TIME};
use authpulse_event::{EventTime, ProcessingTime, Span};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// The longest silence that is waited for in full, so that the next event carries the time at which it is sent. An event further ahead is
/// taken for one of a corrupt clock, and nothing waits for it.
pub const LIVE_WAIT_MAX: Duration = Duration::from_secs(86_400);

/// Which times events are sent with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clock {
    /// Events keep their own times.
    #[default]
    Input,
    /// Shifted, see [`Shift`]; only together with [`Pace::Speed`](super::Pace::Speed), by which they are also sent.
    Now,
}

/// How event times are shifted: `start + (time - first) / speed`, rounded to the microsecond, and held within the years 0001 to 9999
/// that an event may have. It is kept with the job's note, so that a run that continues shifts as the first one did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The time of the first valid event of the input.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub first: EventTime,
    /// What it becomes: the time of day when sending began.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub start: EventTime,
    /// How many times as fast as event time events are sent.
    pub speed: f64,
}

impl Shift {
    /// The time that an event is sent with.
    pub fn of(&self, time: EventTime) -> EventTime {
        let distance = time.saturating_since(self.first);
        let slower = || Span::from_micros((distance.micros() as f64 / self.speed).round() as i64);
        let distance = if self.speed == 1.0 { distance } else { slower() };
        self.start.saturating_add(distance).clamp(MIN_TIME, END_TIME - MICROSECOND)
    }
}

/// Shifts one event after another. The first one decides by how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    /// When this run began.
    pub(super) start: ProcessingTime,
    /// How many times as fast as event time events are sent.
    pub(super) speed: f64,
    /// The shift of an earlier run, or the one that the first event decided.
    pub(super) shift: Option<Shift>,
}

impl Live {
    /// The time that an event is sent with.
    pub(super) fn at(&mut self, time: EventTime) -> EventTime {
        self.shift
            .get_or_insert(Shift { first: time, start: EventTime::made_at(self.start), speed: self.speed })
            .of(time)
    }

    /// When an event's new time has come, counted from the start of this run; `before` is when the previous record is due.
    pub(super) fn due(&self, time: EventTime, before: Duration) -> Duration {
        let start = EventTime::made_at(self.start);
        let at = self.shift.map_or(start, |shift| shift.of(time));
        let due = Duration::from_micros(at.saturating_since(start).micros().max(0).cast_unsigned());
        if due > before + LIVE_WAIT_MAX { before } else { due }
    }
}

fn write<S: Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.in_micros())
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
    i64::deserialize(deserializer).map(EventTime::of_micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::time::{DEFAULT_BASE, SECOND};

    fn at(second: i64) -> EventTime {
        DEFAULT_BASE + second * SECOND
    }

    #[test]
    fn distances_are_kept_divided_by_the_speed() {
        let shift = |speed| Shift { first: at(100), start: at(1_000), speed };
        assert_eq!([100, 101, 90].map(|second| shift(1.0).of(at(second))), [1_000, 1_001, 990].map(at));
        assert_eq!(shift(4.0).of(at(101)), at(1_000) + Span::millis(250));
        assert_eq!(shift(3.0).of(at(101)), at(1_000) + 333_333 * MICROSECOND);
        assert_eq!(shift(0.5).of(at(99)), at(998));
    }

    #[test]
    fn no_time_leaves_the_years_that_events_may_have() {
        let shift =
            Shift { first: EventTime::default(), start: EventTime::default() + 1_800_000_000 * SECOND, speed: 0.001 };
        assert_eq!(shift.of(END_TIME - MICROSECOND), END_TIME - MICROSECOND);
        assert_eq!(shift.of(MIN_TIME), MIN_TIME);
        let plain = Shift { speed: 1.0, ..shift };
        assert_eq!(plain.of(EventTime::MAX), END_TIME - MICROSECOND);
    }
}
