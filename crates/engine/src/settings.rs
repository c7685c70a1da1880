//! The settings that decide a row. Everything here is part of the contract (docs/semantics.md).

use crate::rules::RuleSet;
use authpulse_event::time::{self, DEFAULT_BASE, EventTime, HOUR, Span};
use authpulse_event::{ATTRIBUTES, Attribute, EventModel, Reading};

/// How far ahead of its own arrival an event may lie (semantics, section 2, step 3). A live event lies within this of its arrival.
pub const ARRIVAL_SLACK: Span = Span::seconds(300);
/// If an event ahead lies more than this before the first that waits, all that wait are rejected; more than this after, they are
/// flushed.
pub const WAITING_SPAN: Span = time::DAY;
/// As soon as events of this many distinct users wait, all go on.
pub const WAITING_USERS: usize = 3;
/// As soon as this many events wait, all go on.
pub const WAITING_EVENTS: usize = 10;
/// A waiting event is rejected after this many acceptances of events that did not wait.
pub const WAITING_PATIENCE: u32 = 10;
/// The most events that may be accepted and not yet scored before a shard stops reading.
pub const UNSCORED_MAX: usize = 100_000;
/// The most bytes that the attributes of these events may take up; whichever limit is reached first. Senders choose attributes, so a
/// limit on events does not bound memory.
pub const UNSCORED_BYTES_MAX: usize = 64 << 20;
/// The longest `settle` that is allowed.
pub const SETTLE_MAX: Span = Span::days(7);
/// The longer of the two windows; the shorter one is [`HOUR`].
pub const LONG_WINDOW: Span = time::DAY;

/// The settings that decide acceptance and windows. A lake keeps them for life: a change would make old and new rows
/// incomparable, so a changed value on an existing lake is refused ([`TimeRules::max_jump`] excepted).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// The moment from which integer times count.
    pub base: EventTime,
    /// How far an event may lie behind the newest accepted one (behind that one's arrival, if it is ahead of it). Below an hour.
    pub tolerance: Span,
    /// How far beyond the high-water mark an event may lie before it must wait.
    pub max_jump: Span,
    /// Calendar days over which the popularity of computers is counted.
    pub lookback_days: u32,
    /// How long after its end a day closes. At least the tolerance.
    pub settle: Span,
    /// Whether attributes are taken in. New lakes are of the first model; a worker uses the model that its lake has stored.
    pub event_model: EventModel,
}

impl Default for TimeRules {
    fn default() -> Self {
        TimeRules {
            base: DEFAULT_BASE,
            tolerance: Span::seconds(300),
            max_jump: Span::seconds(3600),
            lookback_days: 30,
            settle: HOUR,
            event_model: EventModel::ThreeFields,
        }
    }
}

/// All settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The settings that decide acceptance and windows.
    pub time: TimeRules,
    /// The rules and figures that decide scores.
    pub rules: RuleSet,
    /// The attributes that this program knows. They are taken in if the event model has attributes.
    pub attributes: &'static [Attribute],
}

impl Default for Settings {
    fn default() -> Self {
        Settings { time: TimeRules::default(), rules: RuleSet::default(), attributes: ATTRIBUTES }
    }
}

impl Settings {
    /// How the parser must read records and lines.
    pub fn reading(&self) -> Reading {
        Reading { base: self.time.base, attributes: self.time.event_model.of(self.attributes) }
    }

    /// Everything that is wrong with these settings, in words; empty if they can be used.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let time = &self.time;
        let mut check = |holds: bool, words: String| {
            if !holds {
                faults.push(words);
            }
        };
        let seconds = Span::as_seconds;
        check(
            (time::MIN_TIME..time::END_TIME).contains(&time.base),
            "base lies outside the years 0001 to 9999".to_owned(),
        );
        check(
            (Span::ZERO..HOUR).contains(&time.tolerance),
            format!("tolerance is {} s; it must be at least 0 s and below 3600 s", seconds(time.tolerance)),
        );
        check(
            time.max_jump >= Span::ZERO,
            format!("max_jump is {} s; it must not be negative", seconds(time.max_jump)),
        );
        check(
            time.max_jump <= Span::days(366),
            format!("max_jump is {} s; it must be at most a year", seconds(time.max_jump)),
        );
        check(
            (1..=3_650).contains(&time.lookback_days),
            format!("lookback is {} days; it must be 1 to 3650", time.lookback_days),
        );
        check(
            time.settle >= time.tolerance && time.settle <= SETTLE_MAX,
            format!(
                "settle is {} s; it must be at least the tolerance ({} s) and at most a week",
                seconds(time.settle),
                seconds(time.tolerance)
            ),
        );
        let sum = self.rules.weights_on();
        check(sum <= 100, format!("the weights of the rules that are on sum to {sum}; a risk score is at most 100"));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Flag;

    #[test]
    fn the_defaults_are_those_of_the_semantics_page() {
        let settings = Settings::default();
        assert_eq!(settings.faults(), Vec::<String>::new());
        assert_eq!(time::format_rfc3339(settings.time.base), "2015-01-01T00:00:00.000000Z");
        assert_eq!(Flag::FIRST.map(|flag| settings.rules.weight(flag)), [30, 25, 35, 10]);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut settings = Settings::default();
        settings.rules.set_weight(Flag::RARE_HOST, 11);
        settings.time.tolerance = HOUR;
        settings.time.settle = HOUR - time::MICROSECOND;
        let faults = settings.faults();
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
