//! The cut: everything that one journal entry stores of a shard's state at one moment, beside rows.

use crate::attribute_sets::AttributeSets;
use crate::names::{ComputerId, UserId};
use crate::popularity::{ComputerCount, DailyCounts};
use crate::rows::HourRow;
use crate::shard::{NamedEvent, Shard, WaitingEvent};
use authpulse_event::time::{hour_of, start_of_hour};
use authpulse_event::{Day, EventTime, HashRange};
use std::collections::{HashMap, HashSet};

/// What an entry stores of a shard's state, beside the rows of [`crate::shard::Output`].
///
/// Taking a cut assumes that it will be stored: the shard does not publish its counts and hours again. If a cut could not be
/// stored, the shard must be rebuilt from its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The watermark.
    pub watermark: Option<EventTime>,
    /// Newest accepted event time.
    pub newest_accepted: Option<EventTime>,
    /// Whether the last accepted event was live.
    pub last_accepted_live: bool,
    /// Events that wait.
    pub waiting: Vec<WaitingEvent>,
    /// Events accepted and not yet scored, in order of acceptance.
    pub unscored: Vec<NamedEvent>,
    /// Rows of users' complete hours: the watermark has passed them, and all their events are scored.
    pub hours: Vec<HourRow>,
    /// With this cut every user's hour that ends here or before is written, except where it holds an unscored event.
    pub hours_through: Option<EventTime>,
    /// The daily counts that this cut publishes.
    pub daily_counts: Vec<DailyCounts>,
    /// The last day whose counts are published, this cut included.
    pub counts_through: Option<Day>,
    /// The high-risk counts that this cut publishes.
    pub scores: Vec<DailyCounts>,
    /// The last day whose high-risk counts each part of the range has published, this cut included.
    pub score_spans: Vec<(HashRange, Option<Day>)>,
}

impl Shard {
    /// Whether a cut would publish counts of a day, for which other shards or this one may wait.
    pub fn has_counts_to_publish(&self) -> bool {
        !self.inherited_counts.is_empty() || self.passed_day() > self.counts_through
    }

    /// Whether a cut would write hours or publish high-risk counts: then an entry is worthwhile even without records.
    pub fn has_rows_to_write(&self) -> bool {
        let through = self.scored_through();
        self.has_complete_hour()
            || through.is_some_and(|t| self.score_spans.iter().any(|(_, after)| *after < Some(Day(Day::of(t).0 - 1))))
    }

    fn has_complete_hour(&self) -> bool {
        let Some(current) = self.watermark.map(hour_of) else { return false };
        let mut passed = self.open_hours.range(..current).peekable();
        if passed.peek().is_none() {
            return false;
        }
        let unscored = self.unscored_hours(current);
        passed.any(|(hour, users)| users.iter().any(|user| !unscored.contains(&(*user, *hour))))
    }

    /// The users' hours before `current` that hold an event not yet scored.
    fn unscored_hours(&self, current: i64) -> HashSet<(UserId, i64)> {
        let hours = self.unscored.iter().map(|u| (u.event.user, hour_of(u.event.event_time)));
        hours.filter(|(_, hour)| *hour < current).collect()
    }

    /// The last day that the watermark has passed.
    fn passed_day(&self) -> Option<Day> {
        self.watermark.map(|w| Day(Day::of(w).0 - 1))
    }

    /// The instant before which every event is decided and scored.
    fn scored_through(&self) -> Option<EventTime> {
        let unscored = self.unscored.iter().map(|u| u.event.event_time).min();
        self.watermark.map(|w| unscored.map_or(w, |u| u.min(w)))
    }

    /// Takes the cut. What it publishes or writes leaves the state.
    pub fn cut(&mut self) -> Cut {
        // Rows share attributes within one entry only.
        self.sets = AttributeSets::default();
        let through = self.scored_through();
        let mut daily_counts = std::mem::take(&mut self.inherited_counts);
        let passed = self.passed_day();
        if let Some(passed) = passed
            && self.counts_through.is_none_or(|s| s < passed)
        {
            let days = std::mem::take(&mut self.closed_days);
            daily_counts.push(DailyCounts { range: self.range, after: self.counts_through, through: passed, days });
            self.counts_through = Some(passed);
        }
        let hours = self.watermark.map(|w| self.take_hours(hour_of(w))).unwrap_or_default();
        let scores = through.map(|t| self.take_scores(Day(Day::of(t).0 - 1))).unwrap_or_default();
        Cut {
            watermark: self.watermark,
            newest_accepted: self.newest_accepted,
            last_accepted_live: self.last_accepted_live,
            waiting: self.waiting.clone(),
            unscored: self.named_unscored(),
            hours,
            hours_through: self.watermark.map(|w| start_of_hour(hour_of(w))),
            daily_counts,
            counts_through: self.counts_through,
            scores,
            score_spans: self.score_spans.clone(),
        }
    }

    /// The events accepted and not yet scored, in order of acceptance, with names instead of name numbers.
    pub fn named_unscored(&self) -> Vec<NamedEvent> {
        self.unscored.iter().map(|u| self.named(&u.event)).collect()
    }

    fn named(&self, event: &crate::rows::AcceptedEvent) -> NamedEvent {
        NamedEvent {
            event: event.clone(),
            user: self.user_names.get(event.user).to_owned(),
            computer: self.computers.get(event.computer).to_owned(),
        }
    }

    /// Takes out the users' hours before `current` whose events are all scored.
    fn take_hours(&mut self, current: i64) -> Vec<HourRow> {
        let rest = self.open_hours.split_off(&current);
        let passed = std::mem::replace(&mut self.open_hours, rest);
        if passed.is_empty() {
            return Vec::new();
        }
        let unscored = self.unscored_hours(current);
        let mut rows = Vec::new();
        for (hour, users) in passed {
            let (open, complete): (Vec<_>, Vec<_>) =
                users.into_iter().partition(|user| unscored.contains(&(*user, hour)));
            if !open.is_empty() {
                self.open_hours.insert(hour, open);
            }
            for user_id in complete {
                let user = &mut self.users[user_id.index()];
                let Some(at) = user.hours.iter().position(|open| open.hour == hour) else { continue };
                let open = user.hours.swap_remove(at);
                rows.push(HourRow {
                    window_start: start_of_hour(hour),
                    user: user_id,
                    total_logins: open.logons,
                    unique_computers: open.slots.len() as u64,
                    anomaly_count: open.anomalies,
                    total_risk_score: open.total_score,
                    max_risk_score: open.max_score,
                });
            }
        }
        rows
    }

    /// The high-risk counts of the days up to `through`, for each part of the range that has not published them.
    fn take_scores(&mut self, through: Day) -> Vec<DailyCounts> {
        let mut published = Vec::new();
        for (range, after) in &mut self.score_spans {
            if after.is_some_and(|a| a >= through) {
                continue;
            }
            let mut days = Vec::new();
            for (day, counts) in self.high_risk.range(..=through).filter(|(day, _)| after.is_none_or(|a| a < **day)) {
                let mut computers: HashMap<ComputerId, u64> = HashMap::new();
                for ((user, computer), n) in counts {
                    if range.contains(self.users[user.index()].hash) {
                        *computers.entry(*computer).or_default() += n;
                    }
                }
                let mut computers: Vec<_> = computers
                    .into_iter()
                    .map(|(c, n)| ComputerCount { computer: self.computers.get(c).to_owned(), logons: n, users: 0 })
                    .collect();
                computers.sort_unstable_by(|a, b| a.computer.cmp(&b.computer));
                if !computers.is_empty() {
                    days.push((*day, computers));
                }
            }
            published.push(DailyCounts { range: *range, after: *after, through, days });
            *after = Some(through);
        }
        // Counts of a day are kept until the last part of the range has published it.
        let all = self.score_spans.iter().map(|(_, after)| *after).min().flatten();
        if let Some(all) = all {
            self.high_risk = self.high_risk.split_off(&Day(all.0 + 1));
            if self.score_spans.iter().all(|(_, after)| *after == Some(all)) {
                self.score_spans = vec![(self.range, Some(all))];
            }
        }
        published
    }
}
