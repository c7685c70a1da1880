//! What a run of maintenance found and did.

use super::held::Standing;
use crate::encode::TableFile;
use crate::merging::Group;
use crate::schema::Table;
use serde::Serialize;
use std::collections::BTreeMap;

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
}

impl Tally {
    /// Counts a file.
    pub fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// The extent of a table: its files, manifests and snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Data files that a query sees.
    pub live: Tally,
    /// Rows in them.
    pub rows: u64,
    /// How many of them are small.
    pub small_files: u64,
    /// Manifests that planning a query opens.
    pub manifests: u64,
    /// How many snapshots it has.
    pub snapshots: u64,
    /// Bytes of the current metadata file.
    pub metadata_bytes: u64,
    /// Everything stored for the table: older files, manifests and metadata included.
    pub stored: Tally,
}

/// What compaction did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Files that were replaced.
    pub before: Tally,
    /// Files that replaced them; in a dry run their bytes are not known.
    pub after: Tally,
    /// Rows in these files.
    pub rows: u64,
    /// Groups of files that were left as they are, because others changed the table first.
    pub dropped: u64,
}

impl Compacted {
    /// Counts a group, and the file that replaced it (`None` in a dry run).
    pub(super) fn add(&mut self, group: &Group, file: Option<&TableFile>) {
        for file in &group.files {
            self.before.add(file.bytes);
        }
        self.after.add(file.map_or(0, |file| file.bytes));
        self.rows += group.rows();
    }
}

/// What was found and done in one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Its name.
    pub table: String,
    /// Its extent before.
    pub before: Extent,
    /// Its extent afterwards; `None` in a dry run, or if something failed.
    pub after: Option<Extent>,
    /// Small files rewritten.
    pub compacted: Compacted,
    /// Manifests merged into fewer.
    pub manifests_merged: u64,
    /// Snapshots that expired.
    pub expired: u64,
    /// Removed files that only expired snapshots, or earlier metadata, reached.
    pub removed: Tally,
    /// What was left as it is, and why.
    pub notes: Vec<String>,
    /// Why maintenance of this table ended early.
    pub failed: Option<String>,
}

impl TableReport {
    /// An empty report.
    pub(super) fn new(table: Table) -> TableReport {
        TableReport {
            table: table.to_string(),
            before: Extent::default(),
            after: None,
            compacted: Compacted::default(),
            manifests_merged: 0,
            expired: 0,
            removed: Tally::default(),
            notes: Vec::new(),
            failed: None,
        }
    }

    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        let work = [self.compacted.after.files, self.manifests_merged, self.expired, self.removed.files];
        work.iter().all(|n| *n == 0) && self.failed.is_none()
    }
}

/// Most paths that a report names; the counts include all.
pub const PATHS_MAX: usize = 10_000;

/// What the cleaner found and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CleanReport {
    /// Why it stopped before it removed anything.
    pub stopped: Option<String>,
    /// Files that nothing names, by the place where they lie; removed unless this was a dry run.
    pub orphans: BTreeMap<String, Tally>,
    /// Pieces of snapshots of state that are superseded.
    pub old_state: Tally,
    /// The paths of both, at most [`PATHS_MAX`].
    pub paths: Vec<String>,
    /// What was left, and why.
    pub notes: Vec<String>,
    /// Files that stay because a follower lacks the entries that name them.
    pub held: Tally,
    /// Files that were removed.
    pub removed: Tally,
}

/// What was folded, or would be folded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Folded {
    /// Shards that have a new checkpoint.
    pub shards: u64,
    /// Entries for which a new checkpoint stands, and no earlier one did.
    pub entries: u64,
    /// Bytes of the new checkpoints.
    pub bytes: u64,
    /// Folded entries that were removed.
    pub removed: u64,
    /// Why folding ended early.
    pub failed: Option<String>,
}

/// What a run of maintenance did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MaintainReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// What was done in each table.
    pub tables: Vec<TableReport>,
    /// What was folded in the journals.
    pub folded: Folded,
    /// Followers that registered, as folding found them.
    pub followers: Vec<Standing>,
    /// Files that nothing needs any more.
    pub cleaned: CleanReport,
}

impl MaintainReport {
    /// Whether everything that had to be done was done.
    pub fn is_complete(&self) -> bool {
        self.cleaned.stopped.is_none()
            && self.folded.failed.is_none()
            && self.tables.iter().all(|table| table.failed.is_none())
    }
    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        self.tables.iter().all(TableReport::is_idle)
            && self.folded == Folded::default()
            && self.cleaned.stopped.is_none()
            && self.cleaned.orphans.is_empty()
            && self.cleaned.old_state.files == 0
    }
}
