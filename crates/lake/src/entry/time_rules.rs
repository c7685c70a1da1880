//! What no later entry of a lake may change.

use crate::micros;
use authpulse_engine::settings::TimeRules;
use authpulse_event::{EventModel, EventTime, Span};
use serde::{Deserialize, Serialize};

/// The settings that a lake keeps for life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTimeRules {
    /// What integer times count from.
    #[serde(with = "micros")]
    pub base: EventTime,
    /// Tolerance.
    #[serde(with = "micros")]
    pub tolerance: Span,
    /// Look-back in days.
    pub lookback_days: u32,
    /// Settle.
    #[serde(with = "micros")]
    pub settle: Span,
    /// The event model, by its number; 1 is left out.
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
