//! RARE_HOST: the computer is among the least popular ones, ties included. [`crate::popularity`] defines popularity; scoring leaves it
//! out where the look-back holds fewer than [`MIN_HOSTS`] computers.

use super::{Cases, Features, Rule, Technique, Threshold};

/// The key of the threshold for how many computers a look-back must hold. With fewer, popularity is unknown: no rule that looks at it
/// fires, and the row's column is null.
pub const MIN_HOSTS: &str = "min_hosts";

/// The rule as the module describes it.
pub const RULE: Rule = Rule {
    name: "RARE_HOST",
    column: "is_rare_host",
    weight: 10,
    thresholds: &[Threshold {
        key: MIN_HOSTS,
        default: 20,
        unit: "computers",
        meaning: "RARE_HOST never fires with fewer computers than this in the look-back.",
        bounds: (0, u32::MAX),
    }],
    techniques: &[Technique { id: "T1078", name: "Valid Accounts" }],
    fires: |features, _| matches!(features.popularity, Some((popularity, p5)) if popularity <= p5),
    why: |evidence, _| {
        let logons = evidence.popularity.map_or("no".to_owned(), |n| n.to_string());
        format!("{} is among the 5% least used computers ({logons} logons in the look-back)", evidence.computer)
    },
    cases: Cases {
        quiet: Features { popularity: None, ..Features::QUIET },
        just_below: Features { popularity: Some((8, 7)), ..Features::QUIET },
        just_above: Features { popularity: Some((7, 7)), ..Features::QUIET },
        firing: Features { popularity: Some((0, 7)), ..Features::LOUD },
    },
};
