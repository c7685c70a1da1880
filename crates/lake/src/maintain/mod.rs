//! Keeps a lake in shape: few, large, sorted files; few manifests; snapshots of a limited age; nothing stored that nobody needs.
//!
//! Every step may fail, be repeated, or run beside writers and other engines. Tables change by the same check and swap as in commits
//! ([`crate::commit`]). Files are written under new names, and removed only when nothing reaches them. No row changes, and `applied` stays
//! as it is.

mod compact;
mod fold;
mod held;
mod inspect;
mod journals;
mod report;
mod sweep;

pub use crate::merging::{Group, PlanLimits, groups};
pub use fold::standings;
pub use held::{Kept, Lacked, Standing};
pub use inspect::{TableInfo, inspect};
pub use report::{CleanReport, Compacted, Extent, Folded, MaintainReport, PATHS_MAX, TableReport, Tally};
pub use sweep::Memory;

use crate::commit::change::Change;
use crate::commit::changed::Unreached;
use crate::commit::expire::Expiry;
use crate::error::{Chain, LakeError, Remedy};
use crate::journal::Journal;
use crate::lake::Lake;
use crate::schema::Table;
use crate::shape::Shape;
use authpulse_event::Span;
use authpulse_event::time::DAY;
use held::KeptForFollowers;
use journals::{Bounds, Shards};
use std::collections::BTreeSet;

/// How often a table is read again if it changes while it is read.
const READ_ATTEMPTS: u32 = 5;

/// Settings of maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaintainSettings {
    /// Bytes that a data file should have; files below three quarters of this are merged.
    pub target_bytes: u64,
    /// The number of small files in a partition from which they are merged.
    pub min_files: usize,
    /// More small manifests than this are merged.
    pub manifests_max: usize,
    /// Most snapshots that a table keeps.
    pub snapshots_max: usize,
    /// Snapshots older than this expire, except the current one.
    pub snapshot_age: Span,
    /// Files that nothing names are removed when they are older than this.
    pub orphan_age: Span,
    /// Entries of a shard that accumulate before they are folded. As many of the newest entries are never removed.
    pub fold_entries: u64,
    /// Entries are removed when they have been folded for this long.
    pub entry_age: Span,
    /// Entries that a follower lacks are kept, with their spills and files, until this long after the oldest of them was written.
    pub follower_keep: Span,
}

impl Default for MaintainSettings {
    fn default() -> Self {
        MaintainSettings {
            target_bytes: 128 << 20,
            min_files: 5,
            manifests_max: 20,
            snapshots_max: 200,
            snapshot_age: DAY,
            orphan_age: DAY,
            fold_entries: 100,
            entry_age: DAY,
            follower_keep: 7 * DAY,
        }
    }
}

impl MaintainSettings {
    fn limits(&self) -> PlanLimits {
        PlanLimits { target_bytes: self.target_bytes, min_files: self.min_files }
    }
}

/// Maintains all tables, then removes what nobody needs. Failures are in the report: if one table fails the others are still maintained,
/// and the next run continues where this one ended. `memory` is that of earlier runs in this process, or empty.
pub async fn maintain(
    lake: &Lake,
    journal: &dyn Journal,
    settings: &MaintainSettings,
    dry_run: bool,
    memory: &mut Memory,
) -> MaintainReport {
    let mut report = MaintainReport { dry_run, ..MaintainReport::default() };
    // From here on, a later table that does not exist, because it was not created yet or was dropped, counts as unknown to this program:
    // its files, and the entries that name them, are not touched.
    let made = match lake.made_tables().await {
        Ok(made) => made,
        Err(error) => {
            report.cleaned.stopped = Some(format!("{}; without the catalog nothing can be judged", Chain(&error)));
            return report;
        }
    };
    let lake = &lake.clone().with_shape(Shape { tables: made, ..lake.shape().clone() });
    let now = lake.now();
    let known = async {
        let shards = Shards::read(lake.store.as_ref(), journal, &lake.sections).await?;
        let needed = shards.needed_files(journal).await?;
        Ok::<_, LakeError>((shards.bounds(now), needed, shards))
    };
    let (bounds, needed, shards) = match known.await {
        Ok(known) => known,
        Err(error) => {
            report.cleaned.stopped = Some(format!("{}; without the journals nothing can be judged", Chain(&error)));
            return report;
        }
    };
    for table in lake.tables().iter().copied() {
        let mut of_table = TableReport::new(table);
        let known = (&bounds, &needed, journal);
        let mut attempt = 1;
        let done = loop {
            let before = lake.pointers.load(table.name()).await;
            match maintain_table(lake, table, settings, known, dry_run, &mut of_table).await {
                // Others changed the table, and removed what was being read here: read the table as it is now.
                Err(error)
                    if error.remedy() == Remedy::Restore
                        && attempt < READ_ATTEMPTS
                        && lake.pointers.load(table.name()).await.ok() != before.ok() =>
                {
                    attempt += 1;
                }
                done => break done,
            }
        };
        of_table.failed = done.err().map(|error| Chain(&error).to_string());
        report.tables.push(of_table);
    }
    // Before the cleaner, because folding leaves it less to do.
    let folded = fold::fold(lake, journal, &shards, settings, dry_run, &mut report).await;
    report.folded.failed = folded.err().map(|error| Chain(&error).to_string());
    match report.tables.iter().find(|table| table.failed.is_some()) {
        Some(table) => {
            report.cleaned.stopped =
                Some(format!("table {} could not be maintained, so nothing else was removed", table.table));
        }
        None => {
            report.cleaned = sweep::sweep(lake, journal, &needed, settings, dry_run, memory).await;
        }
    }
    if !dry_run {
        for (table, of_table) in lake.tables().iter().copied().zip(&mut report.tables) {
            // The shape is only for people: if it cannot be read, the next run says why.
            of_table.after = inspect::shape(lake, table, &settings.limits()).await.ok();
        }
    }
    report
}

async fn maintain_table(
    lake: &Lake,
    table: Table,
    settings: &MaintainSettings,
    (bounds, needed, journal): (&Bounds, &BTreeSet<String>, &dyn Journal),
    dry_run: bool,
    report: &mut TableReport,
) -> Result<(), LakeError> {
    report.before = inspect::shape(lake, table, &settings.limits()).await?;
    let closed = |partition| bounds.closed(table, partition);
    compact::compact(lake, table, &settings.limits(), closed, dry_run, report).await?;
    let expiry = |now_ms: i64| {
        let before_ms = now_ms.saturating_sub(settings.snapshot_age.micros() / 1_000).saturating_add(1);
        Expiry { keep: settings.snapshots_max, before_ms, needed }
    };
    if dry_run {
        let manifests = usize::try_from(report.before.manifests).unwrap_or(usize::MAX);
        report.manifests_merged = if manifests > settings.manifests_max.max(1) { report.before.manifests } else { 0 };
        let changed = lake.unreached_after(&lake.load(table).await?, expiry(lake.ids.now_ms())).await?;
        report.expired = changed.expired as u64;
        let unreached = without_held(lake, journal, settings.follower_keep, changed.unreached).await?;
        unreached.iter().for_each(|file| report.removed.add(file.bytes));
        return Ok(());
    }
    let merge = Change::Replace { replacements: &[], manifests_max: settings.manifests_max };
    let merged = lake.change(table, merge).await?;
    if merged.done {
        report.manifests_merged = merged.merged as u64;
        let unreached = without_held(lake, journal, settings.follower_keep, merged.unreached).await?;
        remove_unreached(lake, table, unreached, report).await;
    }
    let expired = lake.change(table, Change::Expire(expiry(lake.ids.now_ms()))).await?;
    if expired.done {
        report.expired = expired.expired as u64;
        let unreached = without_held(lake, journal, settings.follower_keep, expired.unreached).await?;
        remove_unreached(lake, table, unreached, report).await;
    }
    Ok(())
}

/// Leaves out the files of entries that a follower lacks: the cleaner finds them once the follower has caught up.
async fn without_held(
    lake: &Lake,
    journal: &dyn Journal,
    keep: Span,
    mut files: Vec<Unreached>,
) -> Result<Vec<Unreached>, LakeError> {
    if files.iter().any(|file| held::is_of_entry(&file.path)) {
        let shards = Shards::read(lake.store.as_ref(), journal, lake.sections()).await?;
        let now = lake.now();
        let held = KeptForFollowers::read(journal, &shards, (now, keep), |_| 0).await?.files(journal, &shards).await?;
        files.retain(|file| !held.contains(&file.path));
    }
    Ok(files)
}

/// Removes what a change has left unreached. After a failure or a crash the rest are orphans, which the cleaner finds.
async fn remove_unreached(lake: &Lake, table: Table, files: Vec<Unreached>, report: &mut TableReport) {
    for file in files {
        (lake.probe)(&format!("maintain delete before:{table}"));
        if let Err(error) = lake.store.delete(&file.path).await {
            report.notes.push(format!("{error}; the rest is left for the cleaner"));
            return;
        }
        (lake.probe)(&format!("maintain delete after:{table}"));
        report.removed.add(file.bytes);
    }
}
