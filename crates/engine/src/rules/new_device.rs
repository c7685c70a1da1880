//! NEW_DEVICE: the user was never accepted on this computer before, over all time.

use super::{Cases, Features, Rule, Technique};

/// The rule as the module describes it.
pub const RULE: Rule = Rule {
    name: "NEW_DEVICE",
    column: "is_new_device",
    weight: 30,
    thresholds: &[],
    techniques: &[Technique { id: "T1078", name: "Valid Accounts" }],
    fires: |features, _| features.new_device,
    why: |evidence, _| format!("never seen on {} before", evidence.computer),
    cases: Cases {
        quiet: Features::QUIET,
        just_below: Features { new_device: false, ..Features::QUIET },
        just_above: Features { new_device: true, ..Features::QUIET },
        firing: Features { new_device: true, ..Features::LOUD },
    },
};
