//! The settings that no later entry of a lake may change.

use crate::micros;
use authpulse_engine::settings::TimeRules;
use authpulse_event::{EventModel, EventTime, Span};
use serde::{Deserialize, Serialize};

/// The settings that a lake keeps for its whole life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTimeRules {
    /// The moment from which whole seconds in records count.
    #[serde(with = "micros")]
    pub base: EventTime,
    /// How far an event may lie behind the newest.
    #[serde(with = "micros")]
    pub tolerance: Span,
    /// The look-back of popularity, in days.
    pub lookback_days: u32,
    /// How long after its end a day is closed.
    #[serde(with = "micros")]
    pub settle: Span,
    /// The number of the event model; 1 is left out.
    #[serde(default = "first_model", skip_serializing_if = "is_first_model")]
    pub event_model: u32,
}

fn first_model() -> u32 {
    EventModel::ThreeFields.number()
}

fn is_first_model(number: &u32) -> bool {
    *number == first_model()
}

impl From<&TimeRules> for StoredTimeRules {
    fn from(rules: &TimeRules) -> Self {
        StoredTimeRules {
            base: rules.base,
            tolerance: rules.tolerance,
            lookback_days: rules.lookback_days,
            settle: rules.settle,
            event_model: rules.event_model.number(),
        }
    }
}
