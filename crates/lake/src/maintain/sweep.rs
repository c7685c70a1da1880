//! The cleaner: removes files that nothing names, and superseded snapshots of state.
//!
//! The order of its steps makes it safe beside writers. First it lists the files, and considers only those that are old enough. Then it
//! reads the tables, then the journals. A file is named by an entry before a table names it, so a file in use is found in one or the other.
//! What cannot be read completely proves nothing, so any error ends the run before anything is removed.

mod entries;
mod keep;
mod list;
mod tables;

use super::MaintainSettings;
use super::report::{CleanReport, PATHS_MAX};
use crate::error::{Chain, LakeError};
use crate::journal::Journal;
use crate::lake::Lake;
use crate::schema::Table;
use crate::store::ObjectMeta;
use authpulse_event::{ProcessingTime, ShardId, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why a file may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    /// Nothing names it.
    Orphan,
    /// An applied entry names it, but no snapshot of its table does: it was replaced.
    Replaced(Table, Option<i32>),
    /// A piece of a snapshot of state that is superseded, or that was never named.
    OldState,
}

/// Files old enough to be examined, by path, each with the reason why it may be removed.
type Candidates = BTreeMap<String, (ObjectMeta, Reason)>;

/// The last entry of each shard that each table holds.
type Applied = BTreeMap<Table, BTreeMap<ShardId, u64>>;

/// Rows by table and partition.
type Rows = BTreeMap<(Table, Option<i32>), u64>;

/// What one run leaves for the next in the same process, so that the next need not read all journals from their first entry.
///
/// Files up to `examined` that still exist are in use. Entries up to `through` name only such files: all files that they name were stored
/// under their final names before `examined`.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    examined: Option<ProcessingTime>,
    through: BTreeMap<ShardId, u64>,
    /// Rows of each shard's entries up to `through`.
    named: BTreeMap<ShardId, Rows>,
    /// Times of runs, each with the entries that were stored, applied and finished at that time.
    marks: VecDeque<(ProcessingTime, BTreeMap<ShardId, u64>)>,
}

impl Memory {
    /// The entries of the newest mark from before `time`; drops that mark and all older ones.
    fn advance(&mut self, time: ProcessingTime) -> Option<BTreeMap<ShardId, u64>> {
        let mut newest = None;
        while self.marks.front().is_some_and(|(at, _)| *at < time) {
            newest = self.marks.pop_front().map(|(_, entries)| entries);
        }
        newest
    }
}

/// Finds what may be removed and, unless this is a dry run, removes it. `needed` are files that rebuilding state reads.
pub(super) async fn sweep(
    lake: &Lake,
    journal: &dyn Journal,
    needed: &BTreeSet<String>,
    settings: &MaintainSettings,
    dry_run: bool,
    memory: &mut Memory,
) -> CleanReport {
    let mut report = CleanReport::default();
    let now = lake.now();
    let mut next = memory.clone();
    let times = Times { now, older_than: now.saturating_sub(settings.orphan_age), keep: settings.follower_keep };
    let found = match find(lake, journal, needed, times, &mut next, &mut report).await {
        Ok(found) => found,
        Err(error) => {
            report.stopped = Some(format!("{}; nothing was removed, because a file may be in use", Chain(&error)));
            return report;
        }
    };
    for (path, (meta, reason)) in found {
        if reason == Reason::OldState {
            report.old_state.add(meta.size);
        } else {
            report.orphans.entry(place(&path).to_owned()).or_default().add(meta.size);
        }
        if report.paths.len() < PATHS_MAX {
            report.paths.push(path.clone());
        }
        if dry_run {
            continue;
        }
        (lake.probe)("orphan delete before");
        if let Err(error) = lake.store.delete(&path).await {
            report.notes.push(format!("{error}; the rest is left for the next run"));
            break;
        }
        (lake.probe)("orphan delete after");
        report.removed.add(meta.size);
    }
    if !dry_run && report.notes.is_empty() {
        *memory = next;
    }
    report
}

/// Where a file lies, as the report names it.
fn place(path: &str) -> &str {
    if path.rsplit('/').next().is_some_and(|name| name.starts_with('.')) {
        return "unfinished";
    }
    match path.split_once('/') {
        Some(("warehouse", rest)) => {
            let mut parts = rest.split('/');
            let table = parts.next().unwrap_or(rest);
            // `warehouse/<table>/<data or metadata>`
            parts.next().map_or(path, |kind| &path[..10 + table.len() + 1 + kind.len()])
        }
        Some((first, _)) => first,
        None => path,
    }
}

/// The current time, and which files are old.
struct Times {
    now: ProcessingTime,
    /// Files that were put at this time or earlier are examined.
    older_than: ProcessingTime,
    /// How long entries are kept for followers.
    keep: Span,
}

async fn find(
    lake: &Lake,
    journal: &dyn Journal,
    needed: &BTreeSet<String>,
    Times { now, older_than, keep }: Times,
    memory: &mut Memory,
    report: &mut CleanReport,
) -> Result<Candidates, LakeError> {
    let mut candidates = list::list(lake, older_than, memory).await?;
    let mut applied = Applied::new();
    let mut live = Rows::new();
    for table in lake.tables().iter().copied() {
        applied.insert(table, tables::read_table(lake, table, &mut candidates, &mut live).await?);
    }
    let named = entries::read_journals(lake, journal, &applied, &mut candidates, (now, older_than), memory).await?;
    memory.examined = Some(older_than);
    candidates.retain(|path, _| !needed.contains(path));
    keep::what_is_missing(&mut candidates, &live, &named, report);
    keep::what_is_held(lake, journal, (now, keep), &mut candidates, report).await?;
    Ok(candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_where_they_lie() {
        let places = [
            "warehouse/auth_events_curated/data/event_date=2015-01-01/x.parquet",
            "warehouse/auth_events_curated/metadata/snap-1.avro",
            "staging/raw/x.parquet",
            "state/.x.apst.zst.12-0.tmp",
        ]
        .map(place);
        let expected =
            ["warehouse/auth_events_curated/data", "warehouse/auth_events_curated/metadata", "staging", "unfinished"];
        assert_eq!(places, expected);
    }
}
