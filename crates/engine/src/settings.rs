//! The settings that decide a row. Everything here is part of the contract (docs/semantics.md).

use crate::rules::RuleSet;
use authpulse_event::time::{self, DEFAULT_BASE, EventTime, HOUR, Span};
use authpulse_event::{ATTRIBUTES, Attribute, EventModel, Reading};

/// How far ahead of its own arrival an event may lie (semantics, section 2, step 3), and how near to it a live event lies.
pub const ARRIVAL_SLACK: Span = Span::seconds(300);
/// An event ahead this much before the first that waits rejects all that wait; this much after, it settles them.
pub const WAITING_SPAN: Span = time::DAY;
/// Distinct users that wait before all go on.
pub const WAITING_USERS: usize = 3;
/// Events that wait before all go on.
pub const WAITING_EVENTS: usize = 10;
/// Acceptances of events that did not wait after which an event that still waits is rejected.
pub const WAITING_PATIENCE: u32 = 10;
/// Most events that may be accepted and not yet scored before a shard stops reading.
pub const UNSCORED_MAX: usize = 100_000;
/// Most bytes that the attributes of these may take up; whichever is reached first. Senders choose attributes, and a number of events
/// bounds no bytes.
pub const UNSCORED_BYTES_MAX: usize = 64 << 20;
/// The longest `settle`.
pub const SETTLE_MAX: Span = Span::days(7);
/// The longer of the two windows; the shorter one is [`HOUR`].
pub const LONG_WINDOW: Span = time::DAY;

/// What decides acceptance and windows. A lake keeps these for life: changing one would make old and new rows
/// incomparable, so a changed value on an existing lake is refused ([`TimeRules::max_jump`] excepted).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// What integer times count from.
    pub base: EventTime,
    /// How far behind the newest accepted event another may lie; of one that is ahead, behind its arrival. Below an hour.
    pub tolerance: Span,
    /// How far beyond the high-water mark an event may lie before it must wait.
    pub max_jump: Span,
    /// Calendar days over which the popularity of computers is counted.
    pub lookback_days: u32,
    /// How long after its end a day closes. At least the tolerance.
    pub settle: Span,
    /// Whether attributes are taken in. Every lake that is made is of the first model; what a lake has, a worker takes from there.
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
    /// What decides acceptance and windows.
    pub time: TimeRules,
    /// What decides scores.
    pub rules: RuleSet,
    /// The attributes that this program knows; taken in where the event model has any.
    pub attributes: &'static [Attribute],
}

impl Default for Settings {
    fn default() -> Self {
        Settings { time: TimeRules::default(), rules: RuleSet::default(), attributes: ATTRIBUTES }
    }
}

impl Settings {
    /// How records and lines are read.
    pub fn reading(&self) -> Reading {
        Reading { base: self.time.base, attributes: self.time.event_model.of(self.attributes) }
    }

    /// Everything that is wrong with these settings, in words; empty where they are fit for use.
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
