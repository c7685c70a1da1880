//! LATERAL_MOVEMENT: the user was on at least as many distinct computers within an hour as the threshold says.

use super::{Cases, Features, Rule, Technique, Threshold};
use crate::rows::Windows;

/// The rule as the module describes it.
pub const RULE: Rule = Rule {
    name: "LATERAL_MOVEMENT",
    column: "is_lateral_movement",
    weight: 35,
    thresholds: &[Threshold {
        key: "lateral_from",
        default: 10,
        unit: "computers",
        meaning: "LATERAL_MOVEMENT fires from this many distinct computers of a user within an hour on.",
        bounds: (0, u32::MAX),
    }],
    techniques: &[Technique { id: "T1021", name: "Remote Services" }],
    fires: |features, [from, ..]| features.windows.computers_1h >= *from,
    why: |evidence, [from, ..]| {
        format!("on {} different computers within an hour ({from} or more)", evidence.windows.computers_1h)
    },
    cases: Cases { quiet: Features::QUIET, just_below: with(9), just_above: with(10), firing: Features::LOUD },
};

const fn with(computers_1h: u32) -> Features {
    Features { windows: Windows { computers_1h, ..Features::QUIET.windows }, ..Features::QUIET }
}
