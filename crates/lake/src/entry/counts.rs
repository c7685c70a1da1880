//! What became of records, in figures.

use authpulse_engine::Counts;
use authpulse_engine::rows::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What became of an entry's records. For each entry, and therefore for all together:
/// `received + waiting_before + unscored_before = curated + rejected + waiting + unscored`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryCounts {
    /// Records read.
    pub received: u64,
    /// Rows of the curated table.
    pub curated: u64,
    /// Dead letters by reason; reasons without any are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, u64>,
    /// Events that waited before the entry (in a child's first entry: inherited ones).
    pub waiting_before: u64,
    /// Events accepted but not scored before the entry (likewise).
    pub unscored_before: u64,
    /// Events that wait after the entry.
    pub waiting: u64,
    /// Events accepted but not scored after the entry.
    pub unscored: u64,
    /// Attributes of these records that were left out because their values had the wrong form.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fields_dropped: u64,
}

impl EntryCounts {
    /// Combines the engine's counts with the events (waiting, unscored) before and after the entry.
    pub fn new(counts: &Counts, before: (u64, u64), after: (u64, u64)) -> EntryCounts {
        let by_reason = Reason::ALL.into_iter().zip(counts.rejected).filter(|(_, n)| *n > 0);
        EntryCounts {
            received: counts.received,
            curated: counts.curated,
            rejected: by_reason.map(|(reason, n)| (reason.name().to_owned(), n)).collect(),
            waiting_before: before.0,
            unscored_before: before.1,
            waiting: after.0,
            unscored: after.1,
            fields_dropped: counts.fields_dropped,
        }
    }
    /// Dead letters of all reasons.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
    /// Whether every record is accounted for.
    pub fn adds_up(&self) -> bool {
        self.received + self.waiting_before + self.unscored_before
            == self.curated + self.rejected_total() + self.waiting + self.unscored
    }
}

/// For serde: leaves a count of 0 out.
pub(crate) fn is_zero(n: &u64) -> bool {
    *n == 0
}
