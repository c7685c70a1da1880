//! BURST_LOGIN: more logons of the user within an hour than the threshold.

use super::{Cases, Features, Rule, Technique, Threshold};
use crate::rows::Windows;

/// The rule as the module describes it.
pub const RULE: Rule = Rule {
    name: "BURST_LOGIN",
    column: "is_burst_login",
    weight: 25,
    thresholds: &[Threshold {
        key: "burst_over",
        default: 50,
        unit: "logons",
        meaning: "BURST_LOGIN fires above this many logons of a user within an hour.",
        bounds: (0, u32::MAX),
    }],
    techniques: &[Technique { id: "T1110", name: "Brute Force" }],
    fires: |features, [over, ..]| features.windows.logons_1h > *over,
    why: |evidence, [over, ..]| format!("{} logons within an hour (more than {over})", evidence.windows.logons_1h),
    cases: Cases { quiet: Features::QUIET, just_below: with(50), just_above: with(51), firing: Features::LOUD },
};

const fn with(logons_1h: u32) -> Features {
    Features { windows: Windows { logons_1h, ..Features::QUIET.windows }, ..Features::QUIET }
}
