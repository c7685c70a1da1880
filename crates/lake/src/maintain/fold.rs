//! Folding: the oldest entries of a journal become one base, and go once they are old.
//!
//! ```text
//! entries  1 ............ d d+1 ........ b b+1 ........ tail
//!          removed          | in the base  | what readers read
//!                           older snapshots of state end here
//! ```
//!
//! A base may reach up to the last entry that every table holds: whoever reads a journal from its beginning starts with the base, and
//! whoever needs a certain entry (a committer, a state that is rebuilt) needs one behind it or finds it still there. Entries are
//! removed only below the second newest snapshot of the shard's state, when they have been folded for long by the clock of whoever
//! folds them, and never the newest ones: no clock of a writer, and no clock alone, can free a number that a writer may still
//! believe to be its next.

use super::journals::{Entries, Shards, side};
use super::report::Folded;
use crate::base::Base;
use crate::entry::Side;
use crate::error::LakeError;
use crate::journal::Journal;
use crate::lake::Lake;
use authpulse_event::{Micros, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// Folds what can be folded; `report` says what was done, or would be. Returns at the first failure: what is done stays done, and
/// the next run goes on.
pub(super) async fn fold(
    lake: &Lake,
    journal: &dyn Journal,
    shards: &Shards,
    (keep, age): (u64, Micros),
    dry_run: bool,
    report: &mut Folded,
) -> Result<(), LakeError> {
    let now = lake.ids.now_ms().saturating_mul(1_000);
    let mut applied: BTreeMap<ShardId, u64> = BTreeMap::new();
    for (nth, table) in lake.tables().iter().copied().enumerate() {
        let of_table = lake.load(table).await?.applied()?;
        if nth == 0 {
            applied = of_table;
        } else {
            applied.retain(|shard, n| {
                of_table.get(shard).is_some_and(|m| {
                    *n = (*n).min(*m);
                    true
                })
            });
        }
    }
    let mut live: Option<BTreeSet<String>> = None;
    for shard in shards.names() {
        let foldable = shards.foldable(shard, applied.get(shard).copied().unwrap_or(0));
        let through = shards.base(shard).map_or(0, |base| base.through);
        let mut base = shards.base(shard).cloned();
        if foldable >= through.saturating_add(keep.max(1)) {
            if live.is_none() {
                live = Some(live_paths(lake).await?);
            }
            let built = build(lake, journal, shards, shard, foldable, live.as_ref()).await?;
            // Fewer than could be where an entry names a file of a table that this program does not know.
            if let Some(mut built) = built.filter(|built| built.through >= through.saturating_add(keep.max(1))) {
                report.shards += 1;
                report.entries += built.through - through;
                if !dry_run {
                    built.mark(now, age);
                    let body = built.encode();
                    report.bytes += body.len() as u64;
                    (lake.probe)("base put before");
                    journal.put_base(shard, built.through, body).await?;
                    (lake.probe)("base put after");
                }
                base = Some(built);
            }
        }
        let old = base.map_or(0, |base| base.folded_by(now.saturating_sub(age)));
        let last = old.min(shards.removable(lake.store.as_ref(), shard, keep).await?);
        if last > 0 && !dry_run {
            (lake.probe)("entries remove before");
            report.removed += journal.remove_through(shard, last).await?;
            (lake.probe)("entries remove after");
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

/// The base of the entries up to `through`, or up to the last one before which all tables that are named are known: what becomes of
/// the files of another, and whether it holds them, only a program that knows it can tell.
async fn build(
    lake: &Lake,
    journal: &dyn Journal,
    shards: &Shards,
    shard: &ShardId,
    through: u64,
    live: Option<&BTreeSet<String>>,
) -> Result<Option<Base>, LakeError> {
    let mut base = shards.base(shard).cloned();
    if base.as_ref().is_some_and(|base| base.tables().any(|table| !lake.knows(table))) {
        return Ok(None);
    }
    let mut entries = Entries::after(shard, base.as_ref().map_or(0, |base| base.through));
    'all: while let Some(batch) = entries.next(journal).await? {
        for entry in batch {
            if entry.n > through || entry.files.iter().any(|file| !lake.knows(file.table)) {
                break 'all;
            }
            let side = if entry.takes_over { Side::default() } else { side(lake.store.as_ref(), &entry).await? };
            match &mut base {
                Some(base) => base.add(entry, &side),
                None => base = Some(Base::new(entry, &side)),
            }
        }
    }
    if let (Some(base), Some(live)) = (&mut base, live) {
        base.shrink(live, shards.oldest_day());
    }
    Ok(base)
}
