//! Folding: the oldest entries of a journal become a checkpoint, and are removed once they are old.
//!
//! ```text
//! entries  1 ............ d d+1 ........ b b+1 ........ tail
//!          removed          | in the checkpoint  | what readers read
//!                           older snapshots of state end here
//! ```
//!
//! A checkpoint may reach up to the last entry that every table holds. A reader that begins at the start of a journal begins with the
//! checkpoint. A reader that needs a certain entry (a committer, or a worker that rebuilds state) needs one after the checkpoint, or finds
//! it still there. Entries are removed only below the second newest snapshot of the shard's state, only when they have been folded for long
//! by the clock of the program that folds, and never the newest ones. So no writer's clock, and no clock alone, can free a number that a
//! writer may still take for its next.
//!
//! A follower needs whole entries, which a checkpoint does not have. So no entry is folded that a follower lacks, as long as entries are
//! kept for it ([`held`](super::held)).

use super::MaintainSettings;
use super::held::{KeptForFollowers, Standing};
use super::journals::{Entries, Shards, spill};
use super::report::MaintainReport;
use crate::checkpoint::Checkpoint;
use crate::entry::Spill;
use crate::error::LakeError;
use crate::journal::Journal;
use crate::lake::Lake;
use crate::section_list::Holder;
use crate::shape::Shape;
use authpulse_event::{ShardId, Span};
use std::collections::{BTreeMap, BTreeSet};

/// The last entry of each shard that every table holds.
async fn held_by_all(lake: &Lake, shards: &Shards) -> Result<BTreeMap<ShardId, u64>, LakeError> {
    let mut applied: BTreeMap<ShardId, u64> = BTreeMap::new();
    for table in lake.tables().iter().copied() {
        let of_table = lake.load(table).await?.applied()?;
        for shard in shards.names() {
            let mut holds = of_table.get(shard).copied().unwrap_or(0);
            // If a program that does not know the table has folded entries, they named no file of the table: it lacks nothing there.
            let checkpoint = shards
                .checkpoint(shard)
                .filter(|checkpoint| !table.is_first() && !checkpoint.tables().contains(&table));
            holds = holds.max(checkpoint.map_or(0, |checkpoint| checkpoint.through));
            let lowest = applied.entry(shard.clone()).or_insert(holds);
            *lowest = holds.min(*lowest);
        }
    }
    Ok(applied)
}

/// The registered followers, what each lacks, and what is kept for it.
///
/// # Errors
/// The registry, a journal or a table cannot be read.
pub async fn standings(lake: &Lake, journal: &dyn Journal, keep: Span) -> Result<Vec<Standing>, LakeError> {
    let shape = Shape { tables: lake.made_tables().await?, ..lake.shape().clone() };
    let lake = &lake.clone().with_shape(shape);
    let shards = Shards::read(lake.store.as_ref(), journal, lake.sections()).await?;
    let applied = held_by_all(lake, &shards).await?;
    let foldable = |shard: &ShardId| shards.foldable(shard, applied.get(shard).copied().unwrap_or(0));
    let now = lake.now();
    Ok(KeptForFollowers::read(journal, &shards, (now, keep), foldable).await?.standings)
}

/// Folds what can be folded; `report` says what was done, or would be done.
///
/// # Errors
/// The first failure of the store, the registry, a journal or a table. What was done stays done, and the next run continues.
pub(super) async fn fold(
    lake: &Lake,
    journal: &dyn Journal,
    shards: &Shards,
    settings: &MaintainSettings,
    dry_run: bool,
    report: &mut MaintainReport,
) -> Result<(), LakeError> {
    let (keep, age) = (settings.fold_entries, settings.entry_age);
    let now = lake.now();
    let applied = held_by_all(lake, shards).await?;
    let by_tables = |shard: &ShardId| shards.foldable(shard, applied.get(shard).copied().unwrap_or(0));
    let held = || KeptForFollowers::read(journal, shards, (now, settings.follower_keep), by_tables);
    report.followers = held().await?.standings;
    let report = &mut report.folded;
    let mut live: Option<BTreeSet<String>> = None;
    for shard in shards.names() {
        let through = shards.checkpoint(shard).map_or(0, |checkpoint| checkpoint.through);
        let mut checkpoint = shards.checkpoint(shard).cloned();
        let mut foldable = by_tables(shard);
        let pays = |reached: u64| reached >= through.saturating_add(keep.max(1));
        let is_known =
            checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.tables().iter().all(|table| lake.knows(*table)));
        if pays(foldable) {
            foldable = foldable.min(held().await?.through(shard));
        }
        if pays(foldable) && is_known {
            if live.is_none() {
                live = Some(live_paths(lake).await?);
            }
            checkpoint = build(lake, journal, shards, shard, foldable, live.as_ref()).await?;
            let reached = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.through);
            if !pays(reached) {
                checkpoint = shards.checkpoint(shard).cloned();
            } else {
                report.shards += 1;
                report.entries += reached - through;
                if let (Some(checkpoint), false) = (&mut checkpoint, dry_run) {
                    checkpoint.mark(now, age);
                    let body = checkpoint.encode();
                    report.bytes += body.len() as u64;
                    (lake.probe)("base put before");
                    journal.put_checkpoint(shard, reached, body).await?;
                    (lake.probe)("base put after");
                }
            }
        }
        let old = checkpoint.map_or(0, |checkpoint| checkpoint.folded_by(now.saturating_sub(age)));
        let last = old.min(shards.removable(lake.store.as_ref(), shard, keep).await?);
        if last > 0 && !dry_run {
            // A follower may have registered in the meantime.
            let last = last.min(held().await?.through(shard));
            if last > 0 {
                (lake.probe)("entries remove before");
                report.removed += journal.remove_through(shard, last).await?;
                (lake.probe)("entries remove after");
            }
        }
    }
    Ok(())
}

/// The paths of all files that queries see.
async fn live_paths(lake: &Lake) -> Result<BTreeSet<String>, LakeError> {
    let mut paths = BTreeSet::new();
    for table in lake.tables().iter().copied() {
        paths.extend(lake.live_files(table).await?.files.into_iter().map(|file| file.path));
    }
    Ok(paths)
}

/// The checkpoint of the entries up to `through`; it ends before the first entry that names a file of an unknown table, because only a
/// program that knows the table can say what the checkpoint must hold for that file.
async fn build(
    lake: &Lake,
    journal: &dyn Journal,
    shards: &Shards,
    shard: &ShardId,
    through: u64,
    live: Option<&BTreeSet<String>>,
) -> Result<Option<Checkpoint>, LakeError> {
    let mut checkpoint = shards.checkpoint(shard).cloned();
    let mut entries =
        Entries::after(shard, checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.through), &lake.sections);
    'all: while let Some(batch) = entries.next(journal).await? {
        for entry in batch {
            if entry.n > through || entry.files.iter().any(|file| !lake.knows(file.table)) {
                break 'all;
            }
            let spill = if entry.takes_over {
                Spill::default()
            } else {
                spill(lake.store.as_ref(), &entry, &lake.sections).await?
            };
            match &mut checkpoint {
                Some(checkpoint) => checkpoint.add(entry, &spill),
                None => checkpoint = Some(Checkpoint::new(entry, &spill)),
            }
        }
    }
    if let (Some(checkpoint), Some(live)) = (&mut checkpoint, live) {
        checkpoint.shrink(live, shards.oldest_day());
    }
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint.add_sections(lake.sections.written(Holder::Checkpoint, &checkpoint.last));
    }
    Ok(checkpoint)
}
