//! The cleaner: files that nothing names, and snapshots of state that are superseded.
//!
//! The order of looking is what makes it safe beside writers. First the files are listed, and only those old enough are looked
//! at. Then the tables are read, then the journals: a file is named by an entry before a table names it, so a file that is in
//! use is found in the one or the other. What cannot be read whole proves nothing, so any error ends the run before anything is
//! removed.

use super::held::Held;
use super::journals::{Entries, Shards};
use super::report::{CleanReport, PATHS_MAX, Tally};
use super::{MaintainSettings, READ_ATTEMPTS};
use crate::commit::snapshots;
use crate::error::{Chain, LakeError};
use crate::journal::Journal;
use crate::lake::{Lake, LoadedTable};
use crate::schema::{Table, file_name, raw_entry};
use crate::store::ObjectMeta;
use authpulse_event::time::HOUR;
use authpulse_event::{ProcessingTime, ShardId, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why a file may go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    /// Nothing names it.
    Orphan,
    /// An applied entry names it, and no snapshot of its table: it was replaced.
    Replaced(Table, Option<i32>),
    /// A piece of a snapshot of state that is superseded, or was never named.
    OldState,
}

/// Files old enough to be judged, and what is known of each.
type Candidates = BTreeMap<String, (ObjectMeta, Reason)>;

/// Rows by table and partition.
type Rows = BTreeMap<(Table, Option<i32>), u64>;

/// How far the clocks of files and of this program may differ.
const CLOCK_SKEW: Span = HOUR;

/// What one run leaves for the next of the same process, so that it need not read all journals from their first entry.
///
/// Files up to `judged` that are still there are in use. Entries up to `through` name only such files: all they named was stored,
/// under its final name, at a moment that lies before `judged`.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    judged: Option<ProcessingTime>,
    through: BTreeMap<ShardId, u64>,
    /// Rows of each shard's entries up to `through`.
    named: BTreeMap<ShardId, Rows>,
    /// Moments, each with the entries that were stored, applied and finished by then.
    marks: VecDeque<(ProcessingTime, BTreeMap<ShardId, u64>)>,
}

impl Memory {
    /// The newest mark from before `time`, and those after it.
    fn advance(&mut self, time: ProcessingTime) -> Option<BTreeMap<ShardId, u64>> {
        let mut newest = None;
        while self.marks.front().is_some_and(|(at, _)| *at < time) {
            newest = self.marks.pop_front().map(|(_, entries)| entries);
        }
        newest
    }
}

/// Finds what may go and, unless this is a dry run, removes it. `needed` are files that rebuilding state reads.
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

/// Where a file lies, for the report.
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

/// Which time it is, and what is old.
struct Times {
    now: ProcessingTime,
    /// Files that were put by then are looked at.
    older_than: ProcessingTime,
    /// How long followers are kept for.
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
    let mut candidates = list(lake, older_than, memory).await?;
    let mut applied: BTreeMap<Table, BTreeMap<ShardId, u64>> = BTreeMap::new();
    let mut live = Rows::new();
    for table in lake.tables().iter().copied() {
        applied.insert(table, read_table(lake, table, &mut candidates, &mut live).await?);
    }
    let named = read_journals(lake, journal, &applied, &mut candidates, (now, older_than), memory).await?;
    memory.judged = Some(older_than);
    candidates.retain(|path, _| !needed.contains(path));
    keep_what_is_missing(&mut candidates, &live, &named, report);
    keep_what_is_held(lake, journal, (now, keep), &mut candidates, report).await?;
    Ok(candidates)
}

/// Files of entries that a follower lacks stay, whoever has gathered them or put others in their place: it reads entry by entry.
/// Last of all, so that the registry is read as late as can be.
async fn keep_what_is_held(
    lake: &Lake,
    journal: &dyn Journal,
    times: (ProcessingTime, Span),
    candidates: &mut Candidates,
    report: &mut CleanReport,
) -> Result<(), LakeError> {
    if !candidates.keys().any(|path| super::held::is_of_entry(path)) {
        return Ok(());
    }
    let shards = Shards::read(lake.store.as_ref(), journal, lake.sections()).await?;
    let held = Held::read(journal, &shards, times, |_| 0).await?.files(journal, &shards).await?;
    candidates.retain(|path, (meta, _)| {
        let is_held = held.contains(path);
        if is_held {
            report.held.add(meta.size);
        }
        !is_held
    });
    Ok(())
}

/// The files old enough, and what puts that came to no end have left.
async fn list(lake: &Lake, older_than: ProcessingTime, memory: &Memory) -> Result<Candidates, LakeError> {
    let tables = lake.tables().iter().map(|table| format!("{}/", table.location()));
    let mut candidates = Candidates::new();
    for prefix in tables.chain(["raw/", "staging/", "state/"].map(str::to_owned)) {
        let listed = lake.store.list(&prefix).await.map_err(|source| of_cleaner(&prefix, source))?;
        let unfinished = lake.store.unfinished(&prefix).await.map_err(|source| of_cleaner(&prefix, source))?;
        // Readers of such zones pass over what begins with '_' or '.', and so does this: it is nobody's record.
        let hidden = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with(['_', '.']));
        let visible = listed.into_iter().filter(|file| !hidden(&file.path));
        for file in visible.chain(unfinished).filter(|file| file.modified <= older_than) {
            let is_judged = memory.judged.is_some_and(|judged| file.modified <= judged);
            let reason = match table_of(lake, &prefix) {
                // Had no entry named it, it would have gone before. Which partition it was of is not known any more.
                Some(table) if is_judged && file.path.contains("/data/") => Reason::Replaced(table, None),
                Some(_) => Reason::Orphan,
                // Other things are kept there as well.
                None if !is_ours(&file.path) => continue,
                // Which pieces of state are needed is known without reading the entries that named the others.
                None if file.path.ends_with(PIECE) => Reason::OldState,
                None if is_judged => continue,
                None => Reason::Orphan,
            };
            candidates.insert(file.path.clone(), (file, reason));
        }
    }
    Ok(candidates)
}

/// The table in whose directory a file lies.
fn table_of(lake: &Lake, path: &str) -> Option<Table> {
    lake.tables().iter().copied().find(|table| path.starts_with(&format!("{}/", table.location())))
}

/// How the names of pieces of snapshots of state end.
const PIECE: &str = ".apst.zst";

/// Whether a file of the raw zone, the staging area or the state is one that entries would name, or was about to become one.
fn is_ours(path: &str) -> bool {
    [".parquet", PIECE, ".side.json.zst", ".tmp"].iter().any(|end| path.ends_with(end))
}

fn of_cleaner(prefix: &str, source: crate::store::StoreError) -> LakeError {
    LakeError::Store { table: prefix.trim_end_matches('/').to_owned(), source }
}

/// Takes out of the candidates what a table reaches, through any of its snapshots. Returns what is applied.
async fn read_table(
    lake: &Lake,
    table: Table,
    candidates: &mut Candidates,
    live: &mut Rows,
) -> Result<BTreeMap<ShardId, u64>, LakeError> {
    let mut attempt = 1;
    loop {
        let loaded = lake.load(table).await?;
        match reached(lake, &loaded, candidates).await {
            Ok(rows) => {
                live.extend(rows);
                return loaded.applied();
            }
            // Another committer removed what was being read: the table as it is now tells more.
            Err(LakeError::Damaged { .. })
                if attempt < READ_ATTEMPTS
                    && lake.pointers.load(table.name()).await?.as_ref() != Some(&loaded.location) =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn reached(lake: &Lake, loaded: &LoadedTable, candidates: &mut Candidates) -> Result<Rows, LakeError> {
    let metadata = &loaded.metadata;
    let mut take = |uri: &str| {
        if let Ok(path) = lake.store.relative(uri) {
            candidates.remove(&path);
        }
    };
    take(&loaded.location);
    metadata.metadata_log().iter().for_each(|log| take(&log.metadata_file));
    metadata.statistics_iter().for_each(|s| take(&s.statistics_path));
    metadata.partition_statistics_iter().for_each(|s| take(&s.statistics_path));
    let current = metadata.current_snapshot_id();
    let mut read = BTreeSet::new();
    let mut rows = Rows::new();
    for snapshot in snapshots::in_order(metadata) {
        take(snapshot.manifest_list());
        let is_current = Some(snapshot.snapshot_id()) == current;
        for manifest in lake.manifests(loaded, snapshot.manifest_list()).await? {
            if !read.insert(manifest.manifest_path.clone()) && !is_current {
                continue;
            }
            take(&manifest.manifest_path);
            for entry in lake.alive(loaded, &manifest).await? {
                take(entry.file_path());
                if is_current {
                    let partition = crate::read::partition_of(&entry);
                    *rows.entry((loaded.table, partition)).or_default() += entry.record_count();
                }
            }
        }
    }
    Ok(rows)
}

/// Takes out of the candidates what entries need, and counts the rows that the tables should hold.
///
/// A raw file may get its final name long after its entry was stored, by whoever takes the shard over: so an entry counts as
/// finished only once its shard says that it has.
async fn read_journals(
    lake: &Lake,
    journal: &dyn Journal,
    applied: &BTreeMap<Table, BTreeMap<ShardId, u64>>,
    candidates: &mut Candidates,
    (now, older_than): (ProcessingTime, ProcessingTime),
    memory: &mut Memory,
) -> Result<Rows, LakeError> {
    let shards = Shards::read(lake.store.as_ref(), journal, &lake.sections).await?;
    for path in shards.kept_pieces().iter().chain(&shards.kept_side_files()) {
        candidates.remove(path);
    }
    // Raw files of folded entries are named after them, and are under their final names.
    let folded: BTreeMap<String, u64> =
        shards.names().filter_map(|shard| Some((file_name(shard), shards.base(shard)?.through))).collect();
    candidates.retain(|path, _| {
        raw_entry(path).is_none_or(|(shard, n)| folded.get(shard).is_none_or(|through| n > *through))
    });
    if !folded.is_empty() {
        // Which files folded entries brought is not known any more: such a file may have been replaced.
        for (path, (_, reason)) in candidates.iter_mut().filter(|(path, _)| path.contains("/data/")) {
            if let Some(table) = table_of(lake, path) {
                *reason = Reason::Replaced(table, None);
            }
        }
    }
    let mut finished = BTreeMap::new();
    for shard in shards.names() {
        let lowest = applied.values().map(|a| a.get(shard).copied().unwrap_or(0)).min().unwrap_or(0);
        finished.insert(shard.clone(), lowest.min(shards.raw_done(shard)));
    }
    let settled = memory.advance(older_than.saturating_sub(CLOCK_SKEW)).unwrap_or_default();
    memory.marks.push_back((now, finished));
    let mut recent = Rows::new();
    for shard in shards.names() {
        let raw_done = shards.raw_done(shard);
        let mut from = memory.through.get(shard).copied().unwrap_or(0);
        let of_shard = memory.named.entry(shard.clone()).or_default();
        if let Some(base) = shards.base(shard).filter(|base| base.through > from) {
            from = base.through;
            *of_shard = base.rows().into_iter().map(|((t, p), rows)| ((t, Some(p)), rows)).collect();
        }
        let through = settled.get(shard).copied().unwrap_or(0).max(from);
        let mut entries = Entries::after(shard, from, &lake.sections);
        while let Some(batch) = entries.next(journal).await? {
            for entry in batch {
                let named = if entry.n <= through { &mut *of_shard } else { &mut recent };
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
                if let Some(side) = &entry.side_file {
                    candidates.remove(&side.path);
                }
            }
        }
        memory.through.insert(shard.clone(), through);
    }
    for (key, rows) in memory.named.values().flatten() {
        *recent.entry(*key).or_default() += rows;
    }
    Ok(recent)
}

/// Files of applied entries stay where their table holds other than the rows that entries brought: they may be the only copy of
/// what another engine dropped.
fn keep_what_is_missing(candidates: &mut Candidates, live: &Rows, named: &Rows, report: &mut CleanReport) {
    let mut kept: BTreeMap<Table, Tally> = BTreeMap::new();
    // Where a file names no partition, only the whole table can be compared.
    let whole: BTreeSet<Table> = live.keys().filter(|(_, p)| p.is_none()).map(|(table, _)| *table).collect();
    let sum = |rows: &Rows, table: Table| rows.iter().filter(|((t, _), _)| *t == table).map(|(_, n)| n).sum::<u64>();
    let same = |table: Table, partition: Option<i32>| {
        if whole.contains(&table) || partition.is_none() {
            return sum(live, table) == sum(named, table);
        }
        live.get(&(table, partition)).copied().unwrap_or(0) == named.get(&(table, partition)).copied().unwrap_or(0)
    };
    candidates.retain(|_, (meta, reason)| match reason {
        Reason::Replaced(table, partition) if !same(*table, *partition) => {
            kept.entry(*table).or_default().add(meta.size);
            false
        }
        _ => true,
    });
    for (table, tally) in kept {
        report.notes.push(format!(
            "{} files of {table} ({} bytes) stay, although the table names them no more: it holds other than the rows that \
             entries brought; run `authpulse verify`",
            tally.files, tally.bytes
        ));
    }
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
