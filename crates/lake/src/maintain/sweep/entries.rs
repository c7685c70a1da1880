//! Which files entries need, and which rows they brought.

use super::super::journals::{Entries, Shards};
use super::list::table_of;
use super::{Applied, Candidates, Memory, Reason, Rows};
use crate::entry::Entry;
use crate::error::LakeError;
use crate::journal::Journal;
use crate::lake::Lake;
use crate::schema::{file_name, raw_entry};
use authpulse_event::time::HOUR;
use authpulse_event::{ProcessingTime, ShardId, Span};
use std::collections::BTreeMap;

/// How far the clocks of the store and of this program may differ.
const CLOCK_SKEW: Span = HOUR;

/// Removes from the candidates what entries need, and counts the rows that the tables should hold.
///
/// A raw file may get its final name long after its entry was stored, from a worker that takes the shard over. So an entry counts as
/// finished only once its shard says so.
///
/// # Errors
/// A journal, a checkpoint or a spill cannot be read.
pub(super) async fn read_journals(
    lake: &Lake,
    journal: &dyn Journal,
    applied: &Applied,
    candidates: &mut Candidates,
    (now, older_than): (ProcessingTime, ProcessingTime),
    memory: &mut Memory,
) -> Result<Rows, LakeError> {
    let shards = Shards::read(lake.store.as_ref(), journal, &lake.sections).await?;
    for path in shards.kept_pieces().iter().chain(&shards.kept_spill_files()) {
        candidates.remove(path);
    }
    pass_over_folded(lake, &shards, candidates);
    let settled = memory.advance(older_than.saturating_sub(CLOCK_SKEW)).unwrap_or_default();
    memory.marks.push_back((now, finished(applied, &shards)));
    let mut recent = Rows::new();
    for shard in shards.names() {
        let raw_done = shards.raw_done(shard);
        let mut from = memory.through.get(shard).copied().unwrap_or(0);
        let of_shard = memory.named.entry(shard.clone()).or_default();
        if let Some(checkpoint) = shards.checkpoint(shard).filter(|checkpoint| checkpoint.through > from) {
            from = checkpoint.through;
            *of_shard = checkpoint.rows().into_iter().map(|((t, p), rows)| ((t, Some(p)), rows)).collect();
        }
        let through = settled.get(shard).copied().unwrap_or(0).max(from);
        let mut entries = Entries::after(shard, from, &lake.sections);
        while let Some(batch) = entries.next(journal).await? {
            for entry in batch {
                let named = if entry.n <= through { &mut *of_shard } else { &mut recent };
                take_entry(&entry, shard, raw_done, applied, candidates, named);
            }
        }
        memory.through.insert(shard.clone(), through);
    }
    for (key, rows) in memory.named.values().flatten() {
        *recent.entry(*key).or_default() += rows;
    }
    Ok(recent)
}

/// Raw files of folded entries are named after them and have their final names: they stay. Which files folded entries brought to tables is
/// not known any more: such a file may have been replaced.
fn pass_over_folded(lake: &Lake, shards: &Shards, candidates: &mut Candidates) {
    let folded: BTreeMap<String, u64> =
        shards.names().filter_map(|shard| Some((file_name(shard), shards.checkpoint(shard)?.through))).collect();
    if folded.is_empty() {
        return;
    }
    candidates.retain(|path, _| {
        raw_entry(path).is_none_or(|(shard, n)| folded.get(shard).is_none_or(|through| n > *through))
    });
    for (path, (_, reason)) in candidates.iter_mut().filter(|(path, _)| path.contains("/data/")) {
        if let Some(table) = table_of(lake, path) {
            *reason = Reason::Replaced(table, None);
        }
    }
}

/// The last entry of each shard that all tables hold and whose raw files have their final names.
fn finished(applied: &Applied, shards: &Shards) -> BTreeMap<ShardId, u64> {
    let finished = shards.names().map(|shard| {
        let lowest = applied.values().map(|a| a.get(shard).copied().unwrap_or(0)).min().unwrap_or(0);
        (shard.clone(), lowest.min(shards.raw_done(shard)))
    });
    finished.collect()
}

/// Removes from the candidates what an entry needs, and counts the rows that it brought to tables that hold it.
fn take_entry(
    entry: &Entry,
    shard: &ShardId,
    raw_done: u64,
    applied: &Applied,
    candidates: &mut Candidates,
    named: &mut Rows,
) {
    for file in &entry.files {
        let through = applied.get(&file.table).and_then(|a| a.get(shard)).copied().unwrap_or(0);
        if entry.n > through {
            candidates.remove(&file.path);
            continue;
        }
        *named.entry((file.table, Some(file.partition))).or_default() += file.rows;
        if let Some((_, reason)) = candidates.get_mut(&file.path) {
            *reason = Reason::Replaced(file.table, Some(file.partition));
        }
    }
    for raw in &entry.raw {
        candidates.remove(&raw.path);
        if entry.n > raw_done {
            candidates.remove(&raw.staged);
        }
    }
    if let Some(spill) = &entry.spill_file {
        candidates.remove(&spill.path);
    }
}
