//! The four rules (semantics, section 4) over features that acceptance fixed, and what scores add up to.
//!
//! Features (windows, novelty, popularity) come from elsewhere; [`apply_rules`] only weighs them, so that a second rule set can
//! score the same features.

use crate::names::NameId;
use crate::popularity::{Board, LookBack, newest_closed_day};
use crate::rows::{AcceptedEvent, Flag, Flags, RiskLevel, ScoredEvent, Windows};
use crate::settings::RuleSet;
use crate::shard::{Output, Shard, Unscored};
use crate::user::Slot;
use authpulse_event::time::hour_of;
use authpulse_event::{Day, Micros};
use std::sync::Arc;

/// What the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The user's windows.
    pub windows: Windows,
    /// Whether the computer is new to the user.
    pub new_device: bool,
    /// Popularity of the computer and the 5th percentile it is measured against; `None` with too few computers.
    pub popularity: Option<(u64, u64)>,
}

/// The rules that fire, and the sum of their weights.
pub fn apply_rules(rules: &RuleSet, features: &Features) -> (Flags, u8) {
    let mut flags = Flags::default();
    flags.set(Flag::NewDevice, features.new_device);
    flags.set(Flag::BurstLogin, features.windows.logins_1h > rules.burst_over);
    flags.set(Flag::LateralMovement, features.windows.computers_1h >= rules.lateral_from);
    flags.set(Flag::RareHost, features.popularity.is_some_and(|(popularity, p5)| popularity <= p5));
    let score = flags.iter().map(|flag| rules.weight(flag)).sum();
    (flags, score)
}

/// A look-back with the popularity of each of the shard's computers, looked up once.
pub(crate) struct Resolved {
    view: Arc<LookBack>,
    /// By computer number; [`UNKNOWN`] where it was not asked for yet.
    by_computer: Vec<u64>,
}

const UNKNOWN: u64 = u64::MAX;
/// Around the hour after midnight events of two newest closed days mix.
const RESOLVED_MAX: usize = 2;

impl Resolved {
    fn popularity(&mut self, computer: NameId, name: impl FnOnce() -> String) -> u64 {
        let at = computer as usize;
        if at >= self.by_computer.len() {
            self.by_computer.resize(at + 64, UNKNOWN);
        }
        if self.by_computer[at] == UNKNOWN {
            self.by_computer[at] = self.view.popularity(&name());
        }
        self.by_computer[at]
    }
}

impl Shard {
    /// Scores accepted events in order, until one needs a day whose shares do not cover the ring yet.
    pub fn score_ready(&mut self, board: &mut Board, out: &mut Output) {
        while let Some(unscored) = self.unscored.front() {
            let day = newest_closed_day(unscored.event.event_time, self.settings.time.settle);
            let Some(at) = self.resolve(day, board) else { return };
            let (popularity, flags, score) = self.score_next(at);
            // Taken out last: where scoring fails, what it failed on is still the first.
            let Unscored { mut event, .. } = self.unscored.pop_front().expect("the front was looked at");
            self.unscored_bytes -= event.attributes.bytes();
            self.sets.share(&mut event.attributes);
            out.counts.curated += 1;
            out.scored.push(ScoredEvent { event, popularity, flags, score });
        }
    }

    /// The event that is scored next.
    pub fn next_to_score(&self) -> Option<&AcceptedEvent> {
        self.unscored.front().map(|unscored| &unscored.event)
    }

    /// The day whose shares the next event to score waits for, if it does.
    pub fn waits_for_day(&self, board: &Board) -> Option<Day> {
        let day = newest_closed_day(self.unscored.front()?.event.event_time, self.settings.time.settle);
        (!board.can_use(day)).then_some(day)
    }

    /// Finds or makes the resolved look-back of a day; its place in `self.resolved`.
    fn resolve(&mut self, day: Day, board: &mut Board) -> Option<usize> {
        if let Some(at) = self.resolved.iter().position(|r| r.view.newest == day) {
            return Some(at);
        }
        let view = board.look_back(day)?;
        if self.resolved.len() == RESOLVED_MAX {
            self.resolved.remove(0);
        }
        self.resolved.push(Resolved { view, by_computer: vec![UNKNOWN; self.computers.len()] });
        Some(self.resolved.len() - 1)
    }

    /// Popularity, flags and score of the first unscored event; counts them into its hour and day.
    fn score_next(&mut self, resolved: usize) -> (Option<u64>, Flags, u8) {
        let Unscored { event, slot } = self.unscored.front().expect("the caller looked at it");
        let (user, computer, time, slot) = (event.user, event.computer, event.event_time, *slot);
        let rules = &self.settings.rules;
        let resolved = &mut self.resolved[resolved];
        let computers = &self.computers;
        // An empty look-back judges nothing, whatever `min_hosts` is.
        let popularity = (resolved.view.hosts >= rules.min_hosts.max(1) as usize)
            .then(|| (resolved.popularity(computer, || computers.get(computer).to_owned()), resolved.view.p5));
        let features = Features { windows: event.windows, new_device: event.new_device, popularity };
        let (flags, score) = apply_rules(rules, &features);
        self.count_hour(user, slot, time, score);
        self.count_high_risk(user, computer, Day::of(time), score);
        (popularity.map(|(popularity, _)| popularity), flags, score)
    }

    pub(crate) fn count_hour(&mut self, user_id: NameId, slot: Slot, time: Micros, score: u8) {
        let hour = hour_of(time);
        if self.users[user_id as usize].count_hour(slot, hour, score) {
            self.open_hours.entry(hour).or_default().push(user_id);
        }
    }

    pub(crate) fn count_high_risk(&mut self, user: NameId, computer: NameId, day: Day, score: u8) {
        if RiskLevel::of(score) >= RiskLevel::High {
            *self.high_risk.entry(day).or_default().entry((user, computer)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_quiet_and_a_firing_side() {
        let rules = RuleSet::default();
        let quiet = Features {
            windows: Windows { logins_1h: 50, computers_1h: 9, logins_24h: 5_000, computers_24h: 500 },
            new_device: false,
            popularity: Some((8, 7)),
        };
        assert_eq!(apply_rules(&rules, &quiet), (Flags::default(), 0));
        let fires = |change: fn(&mut Features)| {
            let mut features = quiet;
            change(&mut features);
            let (flags, score) = apply_rules(&rules, &features);
            (flags.iter().map(Flag::name).collect::<Vec<_>>().join("+"), score)
        };
        assert_eq!(fires(|f| f.new_device = true), ("NEW_DEVICE".to_owned(), 30));
        assert_eq!(fires(|f| f.windows.logins_1h = 51), ("BURST_LOGIN".to_owned(), 25));
        assert_eq!(fires(|f| f.windows.computers_1h = 10), ("LATERAL_MOVEMENT".to_owned(), 35));
        assert_eq!(fires(|f| f.popularity = Some((7, 7))), ("RARE_HOST".to_owned(), 10));
        assert_eq!(fires(|f| f.popularity = None), (String::new(), 0));
        let all = fires(|f| {
            *f = Features {
                windows: Windows { logins_1h: 51, computers_1h: 10, ..f.windows },
                new_device: true,
                popularity: Some((0, 0)),
            }
        });
        assert_eq!(all, ("NEW_DEVICE+BURST_LOGIN+LATERAL_MOVEMENT+RARE_HOST".to_owned(), 100));
    }

    #[test]
    fn levels_change_right_above_25_50_and_75() {
        let level = |score| RiskLevel::of(score).name();
        assert_eq!(
            [0, 25, 26, 50, 51, 75, 76, 100].map(level),
            ["LOW", "LOW", "MEDIUM", "MEDIUM", "HIGH", "HIGH", "CRITICAL", "CRITICAL"]
        );
    }
}
