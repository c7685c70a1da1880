//! The rules (semantics, section 4), as a list: one file each, and nothing else in the program names them one by one.
//!
//! A [`Rule`] looks at [`Features`], which are computed once for each event and apart from rules. A [`RuleSet`] is a list of
//! rules with the figures that operators set, and says which of them are on. The list is handed in: [`LIST`] is what this
//! program has, and tests hand it others. `docs/adding.md` walks through adding a rule.

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

/// Most thresholds of one rule.
pub const THRESHOLDS_MAX: usize = 4;
/// The version of ATT&CK whose techniques the rules name.
pub const ATTACK_VERSION: &str = "18";

const _: () = assert!(LIST.len() >= FIRST && LIST.len() <= RULES_MAX);

/// The thresholds of a rule as they are set, in the rule's order; what it has fewer of is 0.
pub type Thresholds = [u32; THRESHOLDS_MAX];

/// A rule. Its name and its column are in lakes: they are never changed, and never given to another rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The name in `risk_flags` and in the setting `on`.
    pub name: &'static str,
    /// Its column in `auth_events_curated`: 1 where it fires, else 0.
    pub column: &'static str,
    /// Points, where the settings say nothing else. Its setting is [`Rule::weight_key`].
    pub weight: u8,
    /// Settings that it goes by; at most [`THRESHOLDS_MAX`].
    pub thresholds: &'static [Threshold],
    /// What it hints at.
    pub techniques: &'static [Technique],
    /// Whether it fires. Pure, and quick: asked for each event.
    pub fires: fn(&Features, &Thresholds) -> bool,
    /// Why it fired, for people, with the figures that decided.
    pub why: fn(&Evidence<'_>, &Thresholds) -> String,
    /// What it makes of some features under its default thresholds.
    pub cases: Cases,
}

impl Rule {
    /// The key of its weight among the settings.
    pub fn weight_key(&self) -> String {
        format!("weight_{}", self.name.to_ascii_lowercase())
    }
}

/// A setting that a rule goes by.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// Key within `[rules]`; no other setting there has it.
    pub key: &'static str,
    /// Where the settings say nothing else.
    pub default: u32,
    /// What it counts.
    pub unit: &'static str,
    /// What it does, and what rises and falls with it.
    pub meaning: &'static str,
    /// Least and greatest value.
    pub bounds: (u32, u32),
}

/// A technique of ATT&CK ([`ATTACK_VERSION`]).
#[derive(Clone, Copy, Debug)]
pub struct Technique {
    /// As in `T1078` or `T1021.001`.
    pub id: &'static str,
    /// Its name there.
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
    /// An event on which no rule fires: noon of a Thursday, a known computer, windows like any other's.
    pub const QUIET: Features = Features {
        time: EventTime::from_micros(1_420_113_600_000_000),
        windows: Windows { logons_1h: 3, logons_24h: 20, computers_1h: 1, computers_24h: 2 },
        new_device: false,
        popularity: Some((800, 7)),
    };
    /// An event on which everything fires that can.
    pub const LOUD: Features = Features {
        windows: Windows { logons_1h: 5_000, logons_24h: 50_000, computers_1h: 400, computers_24h: 4_000 },
        new_device: true,
        popularity: Some((0, 7)),
        ..Features::QUIET
    };
}

/// What a row says about an event on which a rule fired: enough to say why.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Event time.
    pub time: EventTime,
    /// Where.
    pub computer: &'a str,
    /// The user's windows.
    pub windows: Windows,
    /// `host_popularity`.
    pub popularity: Option<u64>,
}

/// Four events, and what a rule makes of them under its default thresholds: the first two leave it quiet, on the others it fires.
#[derive(Clone, Copy, Debug)]
pub struct Cases {
    /// Far from firing.
    pub quiet: Features,
    /// As near to firing as can be.
    pub just_below: Features,
    /// Fires, as barely as can be.
    pub just_above: Features,
    /// Fires beyond doubt.
    pub firing: Features,
}

#[cfg(test)]
mod tests;
