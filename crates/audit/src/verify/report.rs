//! What an audit found.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// What an audit found: totals as far as it got, and the first difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The totals of each shard, by the name of its journal.
    pub shards: Vec<ShardTotals>,
    /// The totals of each table.
    pub tables: Vec<TableTotals>,
    /// The totals of the raw zone.
    pub raw: RawTotals,
    /// The number of rows of all tables that were read and found right.
    pub rows: u64,
    /// Things worth knowing that are not differences.
    pub notes: Vec<String>,
    /// The first difference; without one the lake is as it should be.
    pub difference: Option<Difference>,
}

/// What became of a shard's records, according to its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShardTotals {
    /// The name of the shard's journal.
    pub shard: String,
    /// The number of entries, folded ones included.
    pub entries: u64,
    /// The position that the journal reaches: sequence number and sub-sequence number.
    pub position: String,
    /// The numbers of events that its parents left waiting and not scored.
    pub inherited: (u64, u64),
    /// The number of records read.
    pub received: u64,
    /// The number of rows in the curated table.
    pub curated: u64,
    /// The number of dead letters by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The number of events that wait.
    pub waiting: u64,
    /// The number of events accepted and not yet scored.
    pub unscored: u64,
    /// The number of gaps: places where the stream no longer had records.
    pub gaps: u64,
    /// The number of records lost there, as far as the stream could tell.
    pub gap_records: u64,
}

/// The totals of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableTotals {
    /// The table's name.
    pub table: String,
    /// The number of live files.
    pub files: u64,
    /// The number of rows in them.
    pub rows: u64,
    /// The size of the live files in bytes.
    pub bytes: u64,
    /// The number of entries, of all shards, that the table does not have yet. Their files were audited as well.
    pub entries_behind: u64,
    /// The number of rows in the files of those entries.
    pub rows_behind: u64,
    /// The number of files of entries that others have replaced, row by row (compaction).
    pub replaced: u64,
}

/// The totals of the raw zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RawTotals {
    /// The number of files under their final names.
    pub files: u64,
    /// The number of files that entries name and that are still staged.
    pub staged: u64,
    /// The number of records in all of them.
    pub records: u64,
}

/// Sums over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// The number of entries, folded ones included.
    pub entries: u64,
    /// The number of records read.
    pub received: u64,
    /// The number of rows in the curated table.
    pub curated: u64,
    /// The number of dead letters by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The number of events that wait; an inherited event counts once.
    pub waiting: u64,
    /// The number of events accepted and not yet scored; an inherited event counts once.
    pub unscored: u64,
    /// The number of gaps: places where the stream no longer had records.
    pub gaps: u64,
}

/// Two things that should agree and do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is wrong, in words.
    pub what: String,
    /// Where: the shard and entry, the table and file, the row.
    pub place: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What to do about it.
    pub remedy: String,
}

impl VerifyReport {
    /// Sums over all shards.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            totals.entries += shard.entries;
            totals.received += shard.received;
            totals.curated += shard.curated;
            for (reason, n) in &shard.rejected {
                *totals.rejected.entry(reason.clone()).or_default() += n;
            }
            totals.waiting += shard.waiting;
            totals.unscored += shard.unscored;
            totals.gaps += shard.gaps;
        }
        // What a child inherited is counted with the child.
        for (waiting, unscored) in self.shards.iter().map(|s| s.inherited) {
            totals.waiting = totals.waiting.saturating_sub(waiting);
            totals.unscored = totals.unscored.saturating_sub(unscored);
        }
        totals
    }
}

impl Totals {
    /// Whether every record is accounted for.
    pub fn adds_up(&self) -> bool {
        let rejected: u128 = self.rejected.values().copied().map(u128::from).sum();
        u128::from(self.received)
            == u128::from(self.curated) + rejected + u128::from(self.waiting) + u128::from(self.unscored)
    }
}

impl Display for VerifyReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for s in &self.shards {
            write!(f, "{}: {} entries to {}, received {}", s.shard, s.entries, s.position, s.received)?;
            if s.inherited != (0, 0) {
                write!(f, " and inherited {}", s.inherited.0 + s.inherited.1)?;
            }
            write!(f, ", curated {}, rejected {}", s.curated, s.rejected.values().sum::<u64>())?;
            write!(f, ", waiting {}, not scored {}", s.waiting, s.unscored)?;
            if s.gaps > 0 {
                write!(f, ", {} gaps of {} records", s.gaps, s.gap_records)?;
            }
            writeln!(f)?;
        }
        for t in &self.tables {
            write!(f, "{}: {} rows in {} files", t.table, t.rows, t.files)?;
            if t.entries_behind > 0 {
                write!(f, ", and {} rows of {} entries not yet in the table", t.rows_behind, t.entries_behind)?;
            }
            writeln!(f)?;
        }
        if self.raw != RawTotals::default() {
            writeln!(f, "raw: {} records in {} files, {} staged", self.raw.records, self.raw.files, self.raw.staged)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        let t = self.totals();
        let rejected: u64 = t.rejected.values().sum();
        writeln!(f, "received  {:>15}", t.received)?;
        writeln!(f, "curated   {:>15}", t.curated)?;
        writeln!(f, "rejected  {rejected:>15}")?;
        for (reason, n) in &t.rejected {
            writeln!(f, "  {reason:<10}{n:>13}")?;
        }
        writeln!(f, "waiting   {:>15}", t.waiting)?;
        writeln!(f, "unscored  {:>15}", t.unscored)?;
        match &self.difference {
            Some(difference) => write!(f, "{difference}"),
            None => {
                write!(f, "verified: received = curated + rejected + waiting + unscored, and {} rows agree", self.rows)
            }
        }
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "DIFFERENCE: {}", self.what)?;
        writeln!(f, "  where:    {}", self.place)?;
        writeln!(f, "  expected: {}", self.expected)?;
        writeln!(f, "  found:    {}", self.found)?;
        write!(f, "  what to do: {}", self.remedy)
    }
}
