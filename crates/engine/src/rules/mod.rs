//! The rules (semantics, section 4) as a list, a file for each. Elsewhere only the four of version 0.1 are named one by one.
//!
//! A [`Rule`] looks at [`Features`], which are computed once for each event and apart from rules. A [`RuleSet`] is a list of
//! rules with the weights and thresholds that operators set, and which of them are on. The program uses [`LIST`]; tests pass other
//! lists. `docs/adding.md` walks through adding a rule.

mod burst_login;
mod lateral_movement;
mod new_device;
mod rare_host;
mod set;

pub use rare_host::MIN_HOSTS;
pub use set::RuleSet;

use crate::flags::{FIRST, RULES_MAX};
use crate::rows::Windows;
use authpulse_event::EventTime;

/// The rules of this program, in the order in which `risk_flags` lists them. New ones go to the end.
pub const LIST: &[Rule] = &[new_device::RULE, burst_login::RULE, lateral_movement::RULE, rare_host::RULE];

/// The most thresholds that a rule may have.
pub const THRESHOLDS_MAX: usize = 4;
/// The version of ATT&CK whose techniques the rules name.
pub const ATTACK_VERSION: &str = "18";

const _: () = assert!(LIST.len() >= FIRST && LIST.len() <= RULES_MAX);

/// A rule's thresholds as they are set, in the order of [`Rule::thresholds`]. Unused places are 0.
pub type Thresholds = [u32; THRESHOLDS_MAX];

/// A rule. Lakes hold its name and its column, so they must never change, nor be given to another rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The name in `risk_flags` and in the setting `on`.
    pub name: &'static str,
    /// Its column in `auth_events_curated`: 1 where it fires, else 0.
    pub column: &'static str,
    /// Points by default. The setting [`Rule::weight_key`] overrides them.
    pub weight: u8,
    /// The settings that decide when it fires; at most [`THRESHOLDS_MAX`].
    pub thresholds: &'static [Threshold],
    /// The techniques of attack that it hints at.
    pub techniques: &'static [Technique],
    /// Whether it fires. Must be pure and fast: it is called for each event.
    pub fires: fn(&Features, &Thresholds) -> bool,
    /// Why it fired, in words for people, with the figures that decided.
    pub why: fn(&Evidence<'_>, &Thresholds) -> String,
    /// Examples for the tests, at its default thresholds.
    pub cases: Cases,
}

impl Rule {
    /// The key of its weight among the settings.
    pub fn weight_key(&self) -> String {
        format!("weight_{}", self.name.to_ascii_lowercase())
    }
}

/// A setting that decides when a rule fires.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// Its key within `[rules]`, unique there.
    pub key: &'static str,
    /// The value unless it is set.
    pub default: u32,
    /// What it counts, as a plural noun.
    pub unit: &'static str,
    /// What it means, as a sentence for operators.
    pub meaning: &'static str,
    /// The least and the greatest value allowed.
    pub bounds: (u32, u32),
}

/// A technique of ATT&CK ([`ATTACK_VERSION`]).
#[derive(Clone, Copy, Debug)]
pub struct Technique {
    /// The technique's id, such as `T1078` or `T1021.001`.
    pub id: &'static str,
    /// The technique's name in ATT&CK.
    pub name: &'static str,
}

/// What the rules look at, computed once for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Event time.
    pub time: EventTime,
    /// The user's windows.
    pub windows: Windows,
    /// Whether the computer is new to the user.
    pub new_device: bool,
    /// Popularity of the computer and the 5th percentile it is measured against; `None` with too few computers.
    pub popularity: Option<(u64, u64)>,
}

impl Features {
    /// An event on which no rule fires: noon on a Thursday, a known computer, ordinary windows.
    pub const QUIET: Features = Features {
        time: EventTime::from_micros(1_420_113_600_000_000),
        windows: Windows { logons_1h: 3, logons_24h: 20, computers_1h: 1, computers_24h: 2 },
        new_device: false,
        popularity: Some((800, 7)),
    };
    /// An event on which every rule of [`LIST`] fires.
    pub const LOUD: Features = Features {
        windows: Windows { logons_1h: 5_000, logons_24h: 50_000, computers_1h: 400, computers_24h: 4_000 },
        new_device: true,
        popularity: Some((0, 7)),
        ..Features::QUIET
    };
}

/// The columns of a row that say why a rule fired on its event.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Event time.
    pub time: EventTime,
    /// The computer's name.
    pub computer: &'a str,
    /// The user's windows.
    pub windows: Windows,
    /// The column `host_popularity`; `None` where it is null.
    pub popularity: Option<u64>,
}

/// Four events to test a rule with, at its default thresholds: it stays quiet on the first two and fires on the others.
#[derive(Clone, Copy, Debug)]
pub struct Cases {
    /// Far from firing.
    pub quiet: Features,
    /// Quiet, but as near to firing as can be.
    pub just_below: Features,
    /// Fires, but only just.
    pub just_above: Features,
    /// Fires beyond doubt.
    pub firing: Features,
}

#[cfg(test)]
mod tests;
