//! What the workers of one process have logged about columns that tables lack and values that are left out, so that each thing is said
//! once.

use crate::dropped::Dropped;
use authpulse_event::{Reading, ShardId, Span, Tick};
use authpulse_lake::Table;
use authpulse_lake::commit::COLUMNS_KNOWN_FOR_MS;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::columns";

/// How often a process says that some workers wait for columns.
const SAID_EVERY: Span = Span::seconds(60);

/// What the workers of one process have said of columns and of values that are left out.
#[derive(Default)]
pub struct Said {
    /// When it was last said that some workers wait.
    waits_at: Mutex<Option<Tick>>,
    /// Values that were left out, by column, because the table has another column of this name. Each column is named once. There are no
    /// more than the program's lists have columns.
    left_out: Mutex<BTreeMap<(Table, &'static str), u64>>,
    /// Attributes that were left out, by field.
    dropped: Mutex<Dropped>,
    /// When each later table was last seen.
    seen: Mutex<BTreeMap<Table, Tick>>,
}

/// How long a later table is believed to exist once it was seen: as long as the ids of columns are. If it is dropped meanwhile, the
/// committer makes it again.
const TABLE_SEEN_FOR: Span = Span::millis(COLUMNS_KNOWN_FOR_MS);

impl Said {
    /// Whether it is to be said now that workers wait for columns.
    pub fn waits(&self, now: Tick) -> bool {
        let mut at = self.waits_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = at.is_none_or(|at| now - at >= SAID_EVERY);
        if is_due {
            *at = Some(now);
        }
        is_due
    }

    /// Whether it is to be said that workers go on, because it was said that they wait.
    pub fn goes_on(&self) -> bool {
        self.waits_at.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Whether a later table existed a moment ago.
    pub fn saw(&self, table: Table, now: Tick) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&table).is_some_and(|at| (Span::ZERO..TABLE_SEEN_FOR).contains(&(now - *at)))
    }

    /// Notes that a later table exists.
    pub fn sees(&self, table: Table, now: Tick) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(table, now);
    }

    /// Logs which attributes of a record are left out because they have no value of their form; each is named once in the life of the
    /// process.
    pub fn drops(&self, shard: &ShardId, payload: &[u8], key: Option<&[u8]>, reading: Reading) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        for field in dropped.new_in(payload, key, reading) {
            tracing::warn!(
                target: TARGET, %shard, field,
                "an attribute has a value that is not of its form: it is left out, the rest of the event is taken in; said once, \
                 authpulse status counts all"
            );
        }
    }

    /// Counts values that are left out. Returns whether they are the first of this column.
    pub fn leaves_out(&self, table: Table, name: &'static str, values: u64) -> bool {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !left_out.contains_key(&(table, name));
        *left_out.entry((table, name)).or_default() += values;
        is_new
    }

    /// The counts of values that were left out, by column, because the table has another column of this name.
    pub fn left_out(&self) -> BTreeMap<(Table, &'static str), u64> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs, at the end of a run, how many values were left out.
    pub fn tell_left_out(&self) {
        for ((table, column), values) in self.left_out() {
            tracing::warn!(target: TARGET, %table, column, values, "values were left out, as the table has another column of this name");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_then_once_a_minute_until_it_is_over() {
        let said = Said::default();
        let times = [0, 1, 59, 60, 61, 119, 120].map(|seconds| said.waits(Tick::default() + Span::seconds(seconds)));
        assert_eq!(times, [true, false, false, true, false, false, true]);
        assert!(said.goes_on() && !said.goes_on());
        assert!(said.waits(Tick::default() + Span::seconds(121)), "another time");
    }

    #[test]
    fn what_is_left_out_is_counted_and_named_once() {
        let said = Said::default();
        let news =
            [("outcome", 2), ("outcome", 3), ("port", 1)].map(|(name, n)| said.leaves_out(Table::CURATED, name, n));
        assert_eq!((news, said.leaves_out(Table::DAILY, "outcome", 1)), ([true, false, true], true));
        let counted: Vec<u64> = said.left_out().into_values().collect();
        assert_eq!(counted, [5, 1, 1]);
    }
}
