//! How large a network is for a wished number of events or days.
//!
//! | wish | days | users at the start |
//! | --- | --- | --- |
//! | `days` | as wished | 9,000, at 30 events/s |
//! | `events` N up to some 60 M | 3 × √(N / 1 M), at least 1 | 9,000 × √(rate / 30) |
//! | `events` N above | N / 2.592 M | 9,000, at 30 events/s |
//! | both | as wished | 9,000 × √(rate / 30) |
//!
//! A million events are a third of a day of the whole network: too short for history, nights or a closed day. A smaller network over some
//! days shows more: 3 days, 3.9 events/s, some 3,200 users. By the square root, both the number of users and the activity of each shrink.

use super::GenerateError;
use super::rhythm;

/// The mean of the nine months at LANL, in events a second.
const FULL_RATE: f64 = 30.0;
/// Users of the whole network at the start; with [`JOINING_PER_DAY`] they become LANL's 11,362 in nine months.
const FULL_USERS: f64 = 9_000.0;
const JOINING_PER_DAY: f64 = 0.001;
/// Below this there are not enough computers for a fan-out.
const USERS_MIN: f64 = 20.0;

/// The most events of one run: seven times the nine months.
pub const EVENTS_MAX: u64 = 5_000_000_000;
/// The most days of one run: ten years.
pub const DAYS_MAX: u32 = 3_650;

/// The size of what is generated. All counts are of everyday events.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    /// Everyday events.
    pub(super) events: u64,
    /// Whole days from midnight.
    pub(super) days: u32,
    /// Mean events a second.
    pub(super) rate: f64,
    /// Users at the start.
    pub(super) users_first: u32,
    /// Users who join later, spread evenly over the days.
    pub(super) users_joining: u32,
}

impl Scale {
    /// The scale that wishes for events and days mean.
    ///
    /// # Errors
    /// One of them is out of range.
    pub(super) fn new(events: Option<u64>, days: Option<u32>) -> Result<Scale, GenerateError> {
        if let Some(events) = events.filter(|events| !(1..=EVENTS_MAX).contains(events)) {
            return Err(GenerateError::Events { events });
        }
        if let Some(days) = days.filter(|days| !(1..=DAYS_MAX).contains(days)) {
            return Err(GenerateError::Days { days });
        }
        let (events, days) = match (events, days) {
            (Some(events), Some(days)) => (events, days),
            (Some(events), None) => (events, days_for(events)),
            (None, Some(days)) => ((FULL_RATE * 60.0 * rhythm::total(days)) as u64, days),
            (None, None) => (super::EVENTS_DEFAULT, days_for(super::EVENTS_DEFAULT)),
        };
        let rate = events as f64 / (f64::from(days) * 86_400.0);
        // A few days alone may be busier than their week, and whole days round the rate: neither changes the size of the network.
        let share = rate / FULL_RATE;
        let share = if (0.95..1.25).contains(&share) { 1.0 } else { share };
        let users = (FULL_USERS * share.sqrt()).max(USERS_MIN);
        Ok(Scale {
            events,
            days,
            rate,
            users_first: users as u32,
            users_joining: (users * JOINING_PER_DAY * f64::from(days - 1)) as u32,
        })
    }

    /// All users of the run.
    pub(super) fn users(&self) -> u32 {
        self.users_first + self.users_joining
    }

    /// Seconds of the whole run, which is whole days.
    pub(super) fn span_s(&self) -> u32 {
        self.days * 86_400
    }
}

fn days_for(events: u64) -> u32 {
    let small = 3.0 * (events as f64 / 1e6).sqrt();
    let full = events as f64 / (FULL_RATE * 86_400.0);
    (small.max(full).round() as u32).clamp(1, DAYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_becomes_a_network() {
        let table = [
            // events, days -> events, days, users (roughly)
            (Some(1_000_000), None, 1_000_000, 3, 3_200),
            (None, None, 1_000_000, 3, 3_200),
            (Some(1_000), None, 1_000, 1, 175),
            (Some(1), None, 1, 1, 20),
            (Some(708_304_516), None, 708_304_516, 273, 9_000),
            (None, Some(7), 18_160_000, 7, 9_000),
            (None, Some(1), 2_810_000, 1, 9_000),
            (Some(100_000), Some(10), 100_000, 10, 560),
        ];
        for (events, days, want_events, want_days, want_users) in table {
            let scale = Scale::new(events, days).expect("in range");
            assert_eq!(scale.days, want_days, "{scale:?}");
            assert!(scale.events.abs_diff(want_events) * 50 <= want_events, "{scale:?}");
            assert!(u64::from(scale.users_first).abs_diff(want_users) * 10 <= want_users, "{scale:?}");
        }
        let nine_months = Scale::new(None, Some(273)).expect("in range");
        assert!((11_000..12_000).contains(&nine_months.users()));
    }

    #[test]
    fn an_impossible_wish_is_refused() {
        assert!(Scale::new(Some(0), None).is_err());
        assert!(Scale::new(Some(EVENTS_MAX + 1), None).is_err());
        assert!(Scale::new(None, Some(0)).is_err());
        assert!(Scale::new(None, Some(DAYS_MAX + 1)).is_err());
    }
}
