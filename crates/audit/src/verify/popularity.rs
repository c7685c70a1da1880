//! Counts popularity again from the rows, a day at a time.

use authpulse_engine::names::{ComputerId, ComputerNames};
use authpulse_engine::popularity::newest_closed_day;
use authpulse_event::time::MICROSECOND;
use authpulse_event::{Day, Span};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The popularity of computers in one look-back.
pub(super) struct View {
    /// The newest day of the look-back.
    pub newest: Day,
    /// The number of computers with an event in it.
    pub computers: usize,
    /// The 5th percentile of their popularity, by nearest rank.
    pub p5: u64,
    logons: HashMap<String, u64>,
}

impl View {
    /// The number of logons on a computer in the look-back.
    pub fn of(&self, computer: &str) -> u64 {
        self.logons.get(computer).copied().unwrap_or(0)
    }
}

/// Logons by computer, for the days that later rows may look back on.
pub(super) struct Popularity {
    lookback_days: i32,
    settle: Span,
    days: BTreeMap<Day, HashMap<ComputerId, u64>>,
}

impl Popularity {
    /// No day was added yet. Look-backs have `lookback_days` days; a day closes `settle` after its end.
    pub fn new(lookback_days: u32, settle: Span) -> Popularity {
        Popularity { lookback_days: i32::try_from(lookback_days).unwrap_or(i32::MAX), settle, days: BTreeMap::new() }
    }

    /// The look-backs that events of a day may have. All earlier days must have been added.
    pub fn views(&mut self, day: Day, computers: &ComputerNames) -> Arc<Vec<View>> {
        let first = newest_closed_day(day.start(), self.settle);
        let last = newest_closed_day(day.end() - MICROSECOND, self.settle);
        self.days = self.days.split_off(&Day(first.0.saturating_sub(self.lookback_days)));
        Arc::new((first.0..=last.0).map(|newest| self.view(Day(newest), computers)).collect())
    }

    fn view(&self, newest: Day, computers: &ComputerNames) -> View {
        let first = Day(newest.0.saturating_sub(self.lookback_days - 1));
        let mut sums: HashMap<ComputerId, u64> = HashMap::new();
        for (computer, n) in self.days.range(first..=newest).flat_map(|(_, counts)| counts) {
            *sums.entry(*computer).or_default() += n;
        }
        let mut counts: Vec<u64> = sums.values().copied().collect();
        counts.sort_unstable();
        let p5 = counts.get(counts.len().div_ceil(20).saturating_sub(1)).copied().unwrap_or(0);
        let logons = sums.into_iter().map(|(computer, n)| (computers.get(computer).to_owned(), n)).collect();
        View { newest, computers: counts.len(), p5, logons }
    }

    /// Adds a day.
    pub fn add(&mut self, day: Day, logons: HashMap<ComputerId, u64>) {
        self.days.insert(day, logons);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::time::HOUR;

    #[test]
    fn days_enter_and_leave_the_look_back() {
        let mut computers = ComputerNames::default();
        let (a, b) = (computers.intern("A"), computers.intern("B"));
        let mut popularity = Popularity::new(2, HOUR);
        popularity.add(Day(5), HashMap::from([(a, 3)]));
        popularity.add(Day(6), HashMap::from([(a, 1), (b, 7)]));
        let views = popularity.views(Day(7), &computers);
        let figures = |v: &View| (v.newest, v.computers, v.p5, v.of("A"), v.of("B"), v.of("C"));
        assert_eq!(views.iter().map(figures).collect::<Vec<_>>(), [(Day(5), 1, 3, 3, 0, 0), (Day(6), 2, 4, 4, 7, 0)]);
        popularity.add(Day(7), HashMap::new());
        let views = popularity.views(Day(8), &computers);
        assert_eq!(figures(&views[1]), (Day(7), 2, 1, 1, 7, 0));
    }
}
