//! Popularity of computers over the look-back (semantics, section 5), from the daily counts that shards stored.
//!
//! Each shard publishes its counts of a day as [`DailyCounts`] in a journal entry. The [`PopularityIndex`] collects stored counts and
//! answers only when they cover the whole ring, so a score never depends on which shard was faster.

use crate::settings::SETTLE_MAX;
use authpulse_event::time::DAY;
use authpulse_event::{Day, EventTime, HashRange, Span};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One shard's counts for one computer on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputerCount {
    /// The computer's name.
    pub computer: String,
    /// Accepted events; among high-risk counts only those of level HIGH or CRITICAL.
    pub logons: u64,
    /// Distinct users; 0 among high-risk counts.
    pub users: u64,
}

/// Counts of the users within a range of the ring, for the days after `after` (from the first day on where it is `None`) through
/// `through`. A day that is not listed had no events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyCounts {
    /// The part of the ring whose users are counted.
    pub range: HashRange,
    /// The last day that was published before these counts.
    pub after: Option<Day>,
    /// The last day that these counts publish.
    pub through: Day,
    /// The days with events, in order, with their computers sorted by name.
    pub days: Vec<(Day, Vec<ComputerCount>)>,
}

/// For each part of the ring, which days it has published.
#[derive(Clone, Default, Debug)]
pub struct Coverage {
    spans: Vec<Covered>,
}

#[derive(Clone, Copy, Debug)]
struct Covered {
    range: HashRange,
    after: Option<Day>,
    /// `None`: without end (a sealed shard counts as empty for later days).
    through: Option<Day>,
}

impl Coverage {
    /// Notes that a range published the days after `after` through `through`.
    pub fn add(&mut self, range: HashRange, after: Option<Day>, through: Day) {
        if let Some(span) = self.spans.iter_mut().find(|s| s.range == range && s.through == after && after.is_some()) {
            span.through = Some(through);
        } else {
            self.spans.push(Covered { range, after, through: Some(through) });
        }
    }

    /// Notes that a range is sealed: it counts as empty for all days after `after`.
    pub fn seal(&mut self, range: HashRange, after: Option<Day>) {
        self.spans.push(Covered { range, after, through: None });
    }

    /// Removes the seal of a range, because its shard goes on.
    pub fn unseal(&mut self, range: HashRange) {
        self.spans.retain(|span| span.range != range || span.through.is_some());
    }

    /// Whether all parts of the ring have published the day.
    pub fn covers(&self, day: Day) -> bool {
        HashRange::cover_ring(self.holding(day))
    }

    /// The parts of the ring that have published the day.
    pub fn holding(&self, day: Day) -> impl Iterator<Item = HashRange> + '_ {
        let holds = move |span: &&Covered| span.after.is_none_or(|a| a < day) && span.through.is_none_or(|t| day <= t);
        self.spans.iter().filter(holds).map(|span| span.range)
    }

    /// Drops spans that end before the day.
    fn forget_before(&mut self, day: Day) {
        self.spans.retain(|span| span.through.is_none_or(|t| t >= day));
    }
}

/// The look-back that ends with one closed day.
#[derive(Debug)]
pub struct LookBack {
    /// The newest closed day.
    pub newest: Day,
    /// How many computers have an event in the look-back.
    pub computers: usize,
    /// The 5th percentile of their popularity, nearest rank; 0 without computers.
    pub p5: u64,
    logons: HashMap<Arc<str>, u64, RandomState>,
}

impl LookBack {
    /// Logons accepted on the computer in the look-back.
    pub fn popularity(&self, computer: &str) -> u64 {
        self.logons.get(computer).copied().unwrap_or(0)
    }
}

type ComputerTotals = HashMap<Arc<str>, ComputerTotal, RandomState>;

#[derive(Clone, Copy, Default)]
struct ComputerTotal {
    logons: u64,
    users: u64,
    high_risk: u64,
}

/// All stored daily counts, and the popularities that follow from them.
pub struct PopularityIndex {
    lookback_days: u32,
    daily_counts: Coverage,
    scores: Coverage,
    days: BTreeMap<Day, ComputerTotals>,
    /// One string per computer, shared by all days.
    names: HashMap<Arc<str>, (), RandomState>,
    views: BTreeMap<Day, Arc<LookBack>>,
}

/// How many look-backs are cached: shards that have got to different times ask for different days.
const VIEWS_MAX: usize = 8;

impl PopularityIndex {
    /// An empty index, for look-backs of this many days.
    pub fn new(lookback_days: u32) -> PopularityIndex {
        PopularityIndex {
            lookback_days,
            daily_counts: Coverage::default(),
            scores: Coverage::default(),
            days: BTreeMap::new(),
            names: HashMap::default(),
            views: BTreeMap::new(),
        }
    }

    /// Adds stored counts of logons. Each may be added only once.
    pub fn add_counts(&mut self, counts: &DailyCounts) {
        self.daily_counts.add(counts.range, counts.after, counts.through);
        self.sum(counts, |total, count| {
            total.logons += count.logons;
            total.users += count.users;
        });
    }

    /// Adds stored high-risk counts. Each may be added only once.
    pub fn add_scores(&mut self, counts: &DailyCounts) {
        self.scores.add(counts.range, counts.after, counts.through);
        self.sum(counts, |total, count| total.high_risk += count.logons);
    }

    fn sum(&mut self, counts: &DailyCounts, add: impl Fn(&mut ComputerTotal, &ComputerCount)) {
        for (day, computers) in &counts.days {
            let totals = self.days.entry(*day).or_default();
            for count in computers {
                let name = match self.names.get_key_value(count.computer.as_str()) {
                    Some((name, ())) => name.clone(),
                    None => {
                        let name: Arc<str> = Arc::from(count.computer.as_str());
                        self.names.insert(name.clone(), ());
                        name
                    }
                };
                add(totals.entry(name).or_default(), count);
            }
        }
    }

    /// Notes that a range is sealed: for days after these it counts as empty.
    pub fn seal(&mut self, range: HashRange, counts_after: Option<Day>, scores_after: Option<Day>) {
        self.daily_counts.seal(range, counts_after);
        self.scores.seal(range, scores_after);
    }

    /// Notes that a sealed shard goes on, as with a further backfill.
    pub fn unseal(&mut self, range: HashRange) {
        self.daily_counts.unseal(range);
        self.scores.unseal(range);
        self.views.clear();
    }

    /// Whether stored counts of the day cover the ring, so that events may use it.
    pub fn can_use(&self, day: Day) -> bool {
        self.daily_counts.covers(day)
    }

    /// The parts of the ring whose counts of the day are stored.
    pub fn published(&self, day: Day) -> Vec<HashRange> {
        self.daily_counts.holding(day).collect()
    }

    /// Whether counts and high-risk counts of the day both cover the ring, so that its rows can be written.
    pub fn day_is_complete(&self, day: Day) -> bool {
        self.daily_counts.covers(day) && self.scores.covers(day)
    }

    /// The days later than `after` that have counts, in order.
    pub fn days_after(&self, after: Option<Day>) -> impl Iterator<Item = Day> + '_ {
        self.days.keys().copied().filter(move |day| after.is_none_or(|a| *day > a))
    }

    /// The rows of `host_popularity_daily` for a complete day, sorted by computer. Computers without an accepted event have no row.
    pub fn day_rows(&self, day: Day) -> Vec<crate::rows::DayRow> {
        let mut rows: Vec<_> = self
            .days
            .get(&day)
            .into_iter()
            .flatten()
            .filter(|(_, total)| total.logons > 0)
            .map(|(computer, total)| crate::rows::DayRow {
                day,
                computer: computer.to_string(),
                unique_users: total.users,
                total_logins: total.logons,
                high_risk_events: total.high_risk,
            })
            .collect();
        rows.sort_unstable_by(|a, b| a.computer.cmp(&b.computer));
        rows
    }

    /// The look-back that ends with `newest`; `None` until counts of that day cover the ring.
    pub fn look_back(&mut self, newest: Day) -> Option<Arc<LookBack>> {
        if let Some(view) = self.views.get(&newest) {
            return Some(view.clone());
        }
        if !self.daily_counts.covers(newest) {
            return None;
        }
        let first = Day(newest.0.saturating_sub(self.lookback_days as i32 - 1));
        let mut logons: HashMap<Arc<str>, u64, RandomState> = HashMap::default();
        for totals in self.days.range(first..=newest).map(|(_, totals)| totals) {
            for (computer, total) in totals.iter().filter(|(_, total)| total.logons > 0) {
                *logons.entry(computer.clone()).or_default() += total.logons;
            }
        }
        let mut counts: Vec<u64> = logons.values().copied().collect();
        let p5 = match counts.len() {
            0 => 0,
            n => *counts.select_nth_unstable(n.div_ceil(20) - 1).1,
        };
        let view = Arc::new(LookBack { newest, computers: counts.len(), p5, logons });
        if self.views.len() == VIEWS_MAX {
            self.views.pop_first();
        }
        self.views.insert(newest, view.clone());
        Some(view)
    }

    /// Drops days that no event on `oldest_needed` or later, and no daily row after it, can need: those before the look-back of an
    /// event on that day, even with the longest `settle`.
    pub fn forget_before(&mut self, oldest_needed: Day) {
        let first = oldest_kept(oldest_needed, self.lookback_days);
        self.days = self.days.split_off(&first);
        self.daily_counts.forget_before(first);
        self.scores.forget_before(first);
        self.views.retain(|day, _| *day >= first);
        let days = &self.days;
        if self.names.len() > 2 * days.values().map(|d| d.len()).max().unwrap_or(0) + 1024 {
            self.names.retain(|name, ()| Arc::strong_count(name) > 1);
        }
    }
}

/// The first day that events on `oldest_needed` or later can need, with the longest `settle`.
pub fn oldest_kept(oldest_needed: Day, lookback_days: u32) -> Day {
    let settle_days = (SETTLE_MAX / DAY) as i32;
    Day(oldest_needed.0.saturating_sub(lookback_days as i32 + settle_days))
}

/// The newest day that is closed for an event at `time` (semantics, section 5): the last one for which
/// `time >= end of the day + settle`.
pub fn newest_closed_day(time: EventTime, settle: Span) -> Day {
    Day(Day::of(time - settle).0 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::time::{HOUR, MICROSECOND, SECOND};

    fn counts(range: HashRange, after: Option<i32>, through: i32, days: &[(i32, &[(&str, u64)])]) -> DailyCounts {
        let computers = |computers: &[(&str, u64)]| {
            computers.iter().map(|(c, n)| ComputerCount { computer: c.to_string(), logons: *n, users: 1 }).collect()
        };
        DailyCounts {
            range,
            after: after.map(Day),
            through: Day(through),
            days: days.iter().map(|(d, h)| (Day(*d), computers(h))).collect(),
        }
    }

    #[test]
    fn a_day_closes_settle_after_its_end() {
        assert_eq!(newest_closed_day(Day(10).start() + HOUR, HOUR), Day(9));
        assert_eq!(newest_closed_day(Day(10).start() + HOUR - MICROSECOND, HOUR), Day(8));
        assert_eq!(newest_closed_day(Day(10).start(), Span::ZERO), Day(9));
        assert_eq!(newest_closed_day(Day(0).start() - SECOND, Span::ZERO), Day(-2));
    }

    #[test]
    fn a_day_is_used_when_counts_cover_the_ring_and_no_sooner() {
        let mut index = PopularityIndex::new(2);
        let [left, right] = HashRange::divide(2)[..] else { panic!("two parts") };
        index.add_counts(&counts(left, None, 5, &[(5, &[("C1", 3)])]));
        assert!(index.look_back(Day(5)).is_none());
        index.add_counts(&counts(right, None, 4, &[(4, &[("C1", 2), ("C2", 1)])]));
        assert_eq!(index.look_back(Day(4)).unwrap().popularity("C1"), 2);
        assert!(index.look_back(Day(5)).is_none());
        index.add_counts(&counts(right, Some(4), 6, &[]));
        let view = index.look_back(Day(5)).unwrap();
        assert_eq!((view.popularity("C1"), view.popularity("C9"), view.computers, view.p5), (5, 0, 2, 1));
        index.add_counts(&counts(left, Some(5), 6, &[]));
        let view = index.look_back(Day(6)).unwrap();
        assert_eq!((view.popularity("C1"), view.computers), (3, 1), "day 4 has left the look-back of two days");
    }

    #[test]
    fn a_sealed_range_counts_as_empty_for_later_days_until_it_goes_on() {
        let mut index = PopularityIndex::new(30);
        index.add_counts(&counts(HashRange::FULL, None, 5, &[]));
        assert!(!index.can_use(Day(9)));
        index.seal(HashRange::FULL, Some(Day(5)), Some(Day(5)));
        assert!(index.can_use(Day(9)));
        index.unseal(HashRange::FULL);
        assert!(!index.can_use(Day(9)) && index.can_use(Day(5)));
    }

    #[test]
    fn what_an_event_can_still_ask_for_is_not_forgotten() {
        let today = Day(20);
        for (lookback_days, settle) in [(1, Span::ZERO), (1, HOUR), (2, 25 * HOUR), (30, SETTLE_MAX)] {
            let newest = newest_closed_day(today.start(), settle);
            let mut index = PopularityIndex::new(lookback_days);
            let days: Vec<_> = (-100..=newest.0).map(|day| (day, &[("C1", 1)][..])).collect();
            index.add_counts(&counts(HashRange::FULL, None, newest.0, &days));
            index.forget_before(today);
            assert_eq!(index.look_back(newest).unwrap().popularity("C1"), u64::from(lookback_days));
        }
    }

    #[test]
    fn the_percentile_is_the_nearest_rank_in_integers() {
        for (n, rank) in [(1, 1), (20, 1), (21, 2), (40, 2), (41, 3)] {
            let names: Vec<String> = (1..=n).map(|i| format!("C{i}")).collect();
            let computers: Vec<(&str, u64)> = names.iter().zip(1..).map(|(c, i)| (c.as_str(), i)).collect();
            let mut index = PopularityIndex::new(30);
            index.add_counts(&counts(HashRange::FULL, None, 0, &[(0, &computers)]));
            assert_eq!(index.look_back(Day(0)).unwrap().p5, rank, "{n} hosts");
        }
    }
}
