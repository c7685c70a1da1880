//! Scoring: accepted events get features, rules turn features into scores, and scores are counted by hour and day.
//!
//! Features (windows, novelty, popularity) are computed once and apart from rules. [`crate::rules::RuleSet::evaluate`] only weighs
//! them, so that a second rule set can score the same features.

use crate::flags::Flags;
use crate::names::{ComputerId, UserId};
use crate::popularity::{PopularityIndex, newest_closed_day};
use crate::resolved::Resolved;
use crate::rows::{AcceptedEvent, RiskLevel, ScoredEvent};
use crate::rules::Features;
use crate::shard::{Output, Shard, Unscored};
use crate::user::Slot;
use authpulse_event::time::hour_of;
use authpulse_event::{Day, EventTime};

/// Resolved look-backs at hand. Two, because at the hour when a day closes, events with either newest closed day mix.
const RESOLVED_MAX: usize = 2;

impl Shard {
    /// Scores accepted events in order, until one needs a day whose counts do not cover the ring yet.
    pub fn score_ready(&mut self, index: &mut PopularityIndex, out: &mut Output) {
        while let Some(unscored) = self.unscored.front() {
            let day = newest_closed_day(unscored.event.event_time, self.settings.time.settle);
            let Some(at) = self.resolve(day, index) else { return };
            let (popularity, flags, score) = self.score_next(at);
            // Removed last: if scoring panics, the event that it failed on is still the first.
            let Unscored { mut event, .. } = self.unscored.pop_front().expect("the front was looked at");
            if !event.attributes.is_empty() {
                self.unscored_bytes -= event.attributes.bytes();
                self.sets.share(&mut event.attributes);
            }
            out.counts.curated += 1;
            out.scored.push(ScoredEvent { event, popularity, flags, score });
        }
    }

    /// The event that is scored next.
    pub fn next_to_score(&self) -> Option<&AcceptedEvent> {
        self.unscored.front().map(|unscored| &unscored.event)
    }

    /// The day for whose counts the next event to score waits, if it waits.
    pub fn waits_for_day(&self, index: &PopularityIndex) -> Option<Day> {
        let day = newest_closed_day(self.unscored.front()?.event.event_time, self.settings.time.settle);
        (!index.can_use(day)).then_some(day)
    }

    /// The index in `self.resolved` of the look-back that ends with `day`, which is made if need be; `None` if counts are missing.
    fn resolve(&mut self, day: Day, index: &mut PopularityIndex) -> Option<usize> {
        if let Some(at) = self.resolved.iter().position(|r| r.view.newest == day) {
            return Some(at);
        }
        let view = index.look_back(day)?;
        if self.resolved.len() == RESOLVED_MAX {
            self.resolved.remove(0);
        }
        self.resolved.push(Resolved::new(view, self.computers.len()));
        Some(self.resolved.len() - 1)
    }

    /// Popularity, flags and score of the first unscored event, which is counted into its hour and day.
    fn score_next(&mut self, resolved: usize) -> (Option<u64>, Flags, u8) {
        let Unscored { event, slot } = self.unscored.front().expect("the caller looked at it");
        let (user, computer, time, slot) = (event.user, event.computer, event.event_time, *slot);
        let rules = &self.settings.rules;
        let resolved = &mut self.resolved[resolved];
        let computers = &self.computers;
        let popularity = (resolved.view.computers >= rules.min_hosts())
            .then(|| (resolved.popularity(computer, || computers.get(computer).to_owned()), resolved.view.p5));
        let features = Features { time, windows: event.windows, new_device: event.new_device, popularity };
        let (flags, score) = rules.evaluate(&features);
        self.count_hour(user, slot, time, score);
        self.count_high_risk(user, computer, Day::of(time), score);
        (popularity.map(|(popularity, _)| popularity), flags, score)
    }

    /// Counts a scored event into its user's open hour.
    pub(crate) fn count_hour(&mut self, user_id: UserId, slot: Slot, time: EventTime, score: u8) {
        let hour = hour_of(time);
        if self.users[user_id.index()].count_hour(slot, hour, score) {
            self.open_hours.entry(hour).or_default().push(user_id);
        }
    }

    /// Counts a scored event into the high-risk counts of its day, if its level is HIGH or CRITICAL.
    pub(crate) fn count_high_risk(&mut self, user: UserId, computer: ComputerId, day: Day, score: u8) {
        if RiskLevel::of(score) >= RiskLevel::High {
            *self.high_risk.entry(day).or_default().entry((user, computer)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_change_right_above_25_50_and_75() {
        let level = |score| RiskLevel::of(score).name();
        assert_eq!(
            [0, 25, 26, 50, 51, 75, 76, 100].map(level),
            ["LOW", "LOW", "MEDIUM", "MEDIUM", "HIGH", "HIGH", "CRITICAL", "CRITICAL"]
        );
    }
}
