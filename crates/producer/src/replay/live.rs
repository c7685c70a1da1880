//! Event times that make a replay look live: the first event is now, the others follow at the distance at which they are sent.

use authpulse_event::time::END_TIME;
use authpulse_event::{Day, Micros};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest silence that is waited for in full, so that what follows it carries the time at which it is sent. An event further
/// ahead is taken for one of a corrupt clock and keeps nothing waiting.
pub const LIVE_WAIT_MAX: Duration = Duration::from_secs(86_400);

/// Which times events are sent with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clock {
    /// Their own.
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
    pub first: Micros,
    /// What it becomes: the time of day when sending began.
    pub start: Micros,
    /// How many times faster than event time events are sent.
    pub speed: f64,
}

impl Shift {
    /// The time that an event is sent with.
    pub fn of(&self, time: Micros) -> Micros {
        let distance = time.saturating_sub(self.first);
        let distance = if self.speed == 1.0 { distance } else { (distance as f64 / self.speed).round() as Micros };
        self.start.saturating_add(distance).clamp(Day::from_civil(1, 1, 1).start(), END_TIME - 1)
    }
}

/// Shifts one event after another; the first one says by how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    /// When this run began.
    pub(super) start: Micros,
    pub(super) speed: f64,
    /// Of an earlier run, or as the first event gave it.
    pub(super) shift: Option<Shift>,
}

impl Live {
    pub(super) fn at(&mut self, time: Micros) -> Micros {
        self.shift.get_or_insert(Shift { first: time, start: self.start, speed: self.speed }).of(time)
    }

    /// When the time has come that an event is sent with, reckoned from the start of this run; `before` is when the record before is due.
    pub(super) fn due(&self, time: Micros, before: Duration) -> Duration {
        let at = self.shift.map_or(self.start, |shift| shift.of(time));
        let due = Duration::from_micros(at.saturating_sub(self.start).max(0).cast_unsigned());
        if due > before + LIVE_WAIT_MAX { before } else { due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::time::SECOND;

    #[test]
    fn distances_are_kept_divided_by_the_speed() {
        let shift = |speed| Shift { first: 100 * SECOND, start: 1_000 * SECOND, speed };
        assert_eq!([100, 101, 90].map(|at| shift(1.0).of(at * SECOND)), [1_000, 1_001, 990].map(|at| at * SECOND));
        assert_eq!(shift(4.0).of(101 * SECOND), 1_000 * SECOND + 250_000);
        assert_eq!(shift(3.0).of(101 * SECOND), 1_000 * SECOND + 333_333);
        assert_eq!(shift(0.5).of(99 * SECOND), 998 * SECOND);
    }

    #[test]
    fn no_time_leaves_the_years_that_events_may_have() {
        let shift = Shift { first: 0, start: 1_800_000_000 * SECOND, speed: 0.001 };
        assert_eq!(shift.of(END_TIME - 1), END_TIME - 1);
        assert_eq!(shift.of(Day::from_civil(1, 1, 1).start()), Day::from_civil(1, 1, 1).start());
        let plain = Shift { speed: 1.0, ..shift };
        assert_eq!(plain.of(Micros::MAX), END_TIME - 1);
    }
}
