//! RARE_HOST: the computer is among the least popular ones, ties included. What popularity is, and from how many computers on
//! there is one ([`MIN_HOSTS`]), is the business of [`crate::popularity`] and of who makes the features.

use super::{Cases, Features, Rule, Technique, Threshold};

/// Key of the fewest computers that a look-back must hold for popularity to be known at all: without it no rule that looks at
/// popularity fires, and the row has none.
pub const MIN_HOSTS: &str = "min_hosts";

/// See the module.
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
