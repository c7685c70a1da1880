//! When the watermark of a shard that gets no events may advance, and up to where.

use authpulse_event::{ArrivalTime, EventTime, Span, Tick};

/// See the module.
pub struct Quiet {
    /// How long nothing must have been accepted.
    idle_after: Span,
    /// When something was accepted last.
    accepted_at: Tick,
    /// The stream's clock at the last read.
    clock: Option<ArrivalTime>,
    /// What was known before the read that found the tip. Advancing up to there cannot make a record late that comes after that read.
    before: Known,
}

/// Up to where a shard's watermark could advance, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// The newest watermark of the other shards.
    others: Option<EventTime>,
    /// The stream's clock.
    clock: Option<ArrivalTime>,
}

impl Quiet {
    /// Starts as if something had been accepted now.
    pub fn new(idle_after: Span, now: Tick) -> Quiet {
        Quiet { idle_after, accepted_at: now, clock: None, before: Known::default() }
    }

    /// Notes what is known before the stream is read; `others` is the newest watermark of the other shards.
    pub fn reads(&mut self, others: Option<EventTime>) {
        self.before = Known { others, clock: self.clock };
    }

    /// Notes that nothing is read: the step goes on with records from before.
    pub fn does_not_read(&mut self) {
        self.before = Known::default();
    }

    /// Notes that the stream was read, at this time by its clock. `None` if it could not be read: nothing is known of what lies there, so
    /// nothing advances.
    pub fn has_read(&mut self, clock: Option<ArrivalTime>) {
        self.clock = clock;
    }

    /// Events were accepted now.
    pub fn accepts(&mut self, now: Tick) {
        self.accepted_at = now;
    }

    /// Up to where the watermark may advance. A shard whose last event was `live` follows the stream's clock, a tolerance behind it.
    pub fn advances_to(&self, live: bool, tolerance: Span, now: Tick) -> Option<EventTime> {
        if now - self.accepted_at < self.idle_after {
            return None;
        }
        let clock = self.before.clock.filter(|_| live).map(|clock| clock.as_event_time() - tolerance);
        self.before.others.max(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(micros: i64) -> Span {
        Span::from_micros(micros)
    }

    fn tick(micros: i64) -> Tick {
        Tick::from_micros(micros)
    }

    fn event(micros: i64) -> EventTime {
        EventTime::from_micros(micros)
    }

    fn clock(micros: i64) -> ArrivalTime {
        ArrivalTime::from_micros(micros)
    }

    #[test]
    fn a_watermark_advances_once_nothing_was_accepted_for_long_enough() {
        let mut quiet = Quiet::new(span(60), tick(0));
        quiet.reads(Some(event(7)));
        assert_eq!(
            (quiet.advances_to(false, span(0), tick(59)), quiet.advances_to(false, span(0), tick(60))),
            (None, Some(event(7)))
        );
        quiet.accepts(tick(30));
        assert_eq!(
            (quiet.advances_to(false, span(0), tick(60)), quiet.advances_to(false, span(0), tick(90))),
            (None, Some(event(7)))
        );
    }

    #[test]
    fn the_clock_counts_as_it_was_before_the_read_and_only_for_live_events() {
        let mut quiet = Quiet::new(span(0), tick(0));
        quiet.has_read(Some(clock(1_000)));
        quiet.reads(None);
        quiet.has_read(Some(clock(2_000)));
        assert_eq!(quiet.advances_to(true, span(100), tick(0)), Some(event(900)));
        assert_eq!(quiet.advances_to(false, span(100), tick(0)), None);
        quiet.reads(Some(event(950)));
        assert_eq!(quiet.advances_to(true, span(1_100), tick(0)), Some(event(950)), "the newer of both");
    }

    #[test]
    fn nothing_advances_by_a_read_that_failed_or_did_not_happen() {
        let mut quiet = Quiet::new(span(0), tick(0));
        quiet.has_read(Some(clock(1_000)));
        quiet.does_not_read();
        assert_eq!(quiet.advances_to(true, span(0), tick(0)), None);
        quiet.has_read(None);
        quiet.reads(None);
        assert_eq!(quiet.advances_to(true, span(0), tick(0)), None);
    }
}
