//! Counts what becomes of a process's records. If many end as late or invalid, an operator learns it from the log, not from a report that
//! misses logons.

use authpulse_event::{Span, Tick};
use authpulse_lake::entry::EntryCounts;
use std::collections::BTreeMap;

/// With fewer records nothing is said.
const RECORDS: u64 = 1_000;
/// One in this many records may be late or invalid without a complaint.
const ONE_IN: u64 = 10;
/// At most one complaint in this time; when it has passed, counting starts again.
const INTERVAL: Span = Span::seconds(600);

/// What the shards of one process received, in all and since the interval began.
#[derive(Debug, Default)]
pub struct Rejections {
    all: Counted,
    began: Option<Tick>,
    told: bool,
    shards: BTreeMap<String, Counted>,
}

/// Records, and what was rejected of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records read.
    pub received: u64,
    /// Those rejected, by reason.
    pub rejected: BTreeMap<String, u64>,
}

impl Counted {
    fn add(&mut self, received: u64, rejected: &BTreeMap<String, u64>) {
        self.received += received;
        for (reason, n) in rejected {
            *self.rejected.entry(reason.clone()).or_default() += n;
        }
    }

    fn of(&self, reason: &str) -> u64 {
        self.rejected.get(reason).copied().unwrap_or(0)
    }

    /// Late and invalid ones.
    fn missed(&self) -> u64 {
        self.of("late") + self.of("invalid")
    }
}

/// A complaint: too many records are late or invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Records received.
    pub received: u64,
    /// Of these, late ones.
    pub late: u64,
    /// Of these, invalid ones.
    pub invalid: u64,
    /// The shard with the most late and invalid records.
    pub shard: String,
    /// How many that shard has.
    pub there: u64,
}

impl Rejections {
    /// Counts the records of an entry that was stored at this tick. Returns a complaint if too many were rejected, once an interval.
    pub fn stored(&mut self, now: Tick, shard: &str, counts: &EntryCounts) -> Option<Complaint> {
        let began = *self.began.get_or_insert(now);
        if now - began >= INTERVAL && (self.told || self.sum().received >= RECORDS) {
            *self = Rejections { all: std::mem::take(&mut self.all), began: Some(now), ..Rejections::default() };
        }
        self.all.add(counts.received, &counts.rejected);
        self.shards.entry(shard.to_owned()).or_default().add(counts.received, &counts.rejected);
        let sum = self.sum();
        if self.told || sum.received < RECORDS || sum.missed() * ONE_IN <= sum.received {
            return None;
        }
        self.told = true;
        let (shard, worst) = self.shards.iter().max_by_key(|(_, counted)| counted.missed())?;
        let (late, invalid) = (sum.of("late"), sum.of("invalid"));
        Some(Complaint { received: sum.received, late, invalid, shard: shard.clone(), there: worst.missed() })
    }

    /// What became of all records whose entries this process has stored.
    pub fn all(&self) -> &Counted {
        &self.all
    }

    fn sum(&self) -> Counted {
        let mut sum = Counted::default();
        self.shards.values().for_each(|counted| sum.add(counted.received, &counted.rejected));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(received: u64, late: u64, invalid: u64) -> EntryCounts {
        let rejected = [("late", late), ("invalid", invalid), ("duplicate", 7)];
        let rejected = rejected.into_iter().map(|(reason, n)| (reason.to_owned(), n)).collect();
        EntryCounts { received, rejected, ..EntryCounts::default() }
    }

    #[test]
    fn it_is_told_once_an_interval_and_only_of_enough_records() {
        let mut rejections = Rejections::default();
        let mut stored = |seconds: i64, shard: &str, counts| {
            rejections.stored(Tick::default() + Span::seconds(seconds), shard, &counts)
        };
        assert_eq!(stored(0, "a", counts(900, 90, 90)), None, "too few");
        assert_eq!(stored(1, "b", counts(900, 0, 0)), None, "180 of 1,800 are one in ten, not more");
        let told = Complaint { received: 1_810, late: 95, invalid: 90, shard: "a".to_owned(), there: 180 };
        assert_eq!(stored(2, "b", counts(10, 5, 0)), Some(told));
        assert_eq!(stored(3, "a", counts(5_000, 5_000, 0)), None, "told already");
        assert_eq!(stored(599, "a", counts(5_000, 5_000, 0)), None);
        assert_eq!(stored(601, "a", counts(10, 10, 0)), None, "counted anew");
        let told = Complaint { received: 2_010, late: 10, invalid: 1_000, shard: "b".to_owned(), there: 1_000 };
        assert_eq!(stored(602, "b", counts(2_000, 0, 1_000)), Some(told), "another interval");
        assert_eq!(stored(1_300, "a", counts(999, 999, 0)), None);
        assert_eq!(
            stored(1_999, "a", counts(1, 1, 0)).map(|told| told.late),
            Some(1_000),
            "a slow stream takes longer"
        );
        let all = rejections.all();
        assert_eq!((all.received, all.of("duplicate")), (900 + 900 + 10 + 5_000 + 5_000 + 10 + 2_000 + 999 + 1, 9 * 7));
    }
}
