//! What maintenance must know from the journals: which partitions get no more rows, which entries the tables lack, and what rebuilding a
//! shard's state still needs.

use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, Spill};
use crate::error::LakeError;
use crate::journal::Journal;
use crate::schema::{Closing, Partition, Table};
use crate::section_list::SectionList;
use crate::store::ObjectStore;
use authpulse_engine::popularity::oldest_kept;
use authpulse_event::id::sha256_hex;
use authpulse_event::time::HOUR;
use authpulse_event::{ArrivalTime, Day, EventTime, HashRange, ProcessingTime, ShardId, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Entries read from a journal at once.
pub(super) const ENTRIES_AT_ONCE: usize = 200;
/// How long after the end of a day dead letters of that day may still come: records may be read this long after they arrived.
const ARRIVAL_LAG: Span = HOUR;

/// The shards of a lake, as the ends of their journals describe them.
pub(super) struct Shards {
    shards: BTreeMap<ShardId, Tail>,
    /// Shards whose state nobody will ever rebuild, because their children have snapshots or are succeeded in turn. (Such children may have
    /// no snapshots any more, because their entries are removed as well.)
    succeeded: BTreeSet<ShardId>,
    /// The sections that this program knows.
    known: SectionList,
}

/// The end of one shard's journal.
struct Tail {
    entry: Entry,
    /// The checkpoint that stands for its oldest entries.
    checkpoint: Option<Checkpoint>,
    range: HashRange,
    inherits: Vec<ShardId>,
    /// The entries with its two newest snapshots of state, newest first.
    snapshots: Vec<u64>,
    /// The pieces of both, with their lengths.
    pieces: Vec<(String, u64)>,
    /// The spill files of these entries and of the last entry.
    spill_files: Vec<String>,
    /// The earliest event time among events that wait, or are accepted but not scored.
    open_from: Option<EventTime>,
    /// When the first of the waiting events arrived.
    waiting_since: Option<ArrivalTime>,
}

/// The times below which nothing more is written; `None` if something still may be written anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    events: Option<EventTime>,
    hours: Option<EventTime>,
    days: Option<EventTime>,
    arrivals: ArrivalTime,
}

impl Bounds {
    /// Whether a partition gets no more rows.
    pub(super) fn closed(&self, table: Table, partition: Partition) -> bool {
        let bound = match table.def().closing {
            Closing::Events => self.events,
            Closing::Hours => self.hours,
            Closing::Days => self.days,
            // Days of arrival are calendar days like all others.
            Closing::Arrivals => Some(self.arrivals.as_event_time()),
        };
        bound.is_some_and(|bound| end_of(partition) <= bound)
    }
}

/// The first instant after a partition.
fn end_of(partition: Partition) -> EventTime {
    match partition {
        Partition::Day(day) => day.end(),
        Partition::Month(month) => {
            let next = month + 1;
            Day::from_civil(1970 + next.div_euclid(12), next.rem_euclid(12).unsigned_abs() + 1, 1).start()
        }
    }
}

impl Shards {
    /// Reads the end of every journal; `known` are the sections that this program knows.
    ///
    /// # Errors
    /// A journal or a spill cannot be read, or holds what this program does not know and must understand.
    pub(super) async fn read(
        store: &dyn ObjectStore,
        journal: &dyn Journal,
        known: &SectionList,
    ) -> Result<Shards, LakeError> {
        let mut shards = BTreeMap::new();
        for shard in journal.shards().await? {
            let Some(tail) = journal.tail(&shard).await? else { continue };
            let entry = entry(journal, &shard, tail, known).await?;
            let checkpoint = read_checkpoint(journal, &shard, known).await?;
            let inherits = match &checkpoint {
                Some(checkpoint) => checkpoint.first.inherits.clone(),
                None => entry_if_any(journal, &shard, 1, known).await?.map(|first| first.inherits).unwrap_or_default(),
            };
            let (mut snapshots, mut pieces) = (Vec::new(), Vec::new());
            let mut spill_files: Vec<String> = entry.spill_file.iter().map(|file| file.path.clone()).collect();
            let mut next = entry.last_snapshot;
            while next > 0 && snapshots.len() < 2 {
                // If a shard's children have its state, its entries with snapshots are removed as well.
                let Some(with) = entry_if_any(journal, &shard, next, known).await? else { break };
                pieces.extend(with.snapshot.into_iter().map(|piece| (piece.file.path, piece.file.bytes)));
                spill_files.extend(with.spill_file.map(|file| file.path));
                snapshots.push(next);
                let before = if next > 1 { entry_if_any(journal, &shard, next - 1, known).await? } else { None };
                next = before.map_or(0, |before| before.last_snapshot);
            }
            let spill = spill(store, &entry, known).await?;
            let waiting = entry.waiting.iter().map(|w| w.summary());
            let (times, arrivals): (Vec<EventTime>, Vec<ArrivalTime>) =
                waiting.map(|(time, _, _, at)| (time, at)).unzip();
            let unscored = spill.unscored.iter().map(|u| u.to_event(&[]).event.event_time);
            let found = Tail {
                range: entry.hash_range()?,
                inherits: inherits.iter().map(|i| ShardId::new(&i.shard)).collect(),
                checkpoint,
                snapshots,
                pieces,
                spill_files,
                open_from: unscored.chain(times).min(),
                waiting_since: arrivals.into_iter().min(),
                entry,
            };
            shards.insert(shard, found);
        }
        let mut shards = Shards { shards, succeeded: BTreeSet::new(), known: known.clone() };
        while let Some(key) = shards.next_succeeded() {
            shards.succeeded.insert(key);
        }
        Ok(shards)
    }

    fn next_succeeded(&self) -> Option<ShardId> {
        let has_state =
            |child: &Tail| !child.snapshots.is_empty() || self.succeeded.contains(&ShardId::new(&child.entry.shard));
        let mut others = self.shards.iter().filter(|(key, _)| !self.succeeded.contains(*key));
        others.find(|(key, shard)| self.is_covered(key, shard, has_state)).map(|(key, _)| key.clone())
    }

    /// Whether children for which `speaks` holds have taken over all parts of a shard.
    fn is_covered(&self, key: &ShardId, shard: &Tail, speaks: impl Fn(&Tail) -> bool) -> bool {
        let children = self.shards.values().filter(|child| child.inherits.contains(key) && speaks(child));
        shard.range.is_covered_by(children.map(|child| child.range))
    }

    /// Shards that have not been replaced completely by children.
    fn living(&self) -> impl Iterator<Item = &Tail> {
        self.shards.iter().filter(|(key, shard)| !self.is_covered(key, shard, |_| true)).map(|(_, shard)| shard)
    }

    /// The times below which nothing more is written.
    pub(super) fn bounds(&self, now: ProcessingTime) -> Bounds {
        let open = self.living().filter_map(|shard| shard.open_from).min();
        let below_open = |bound: Option<EventTime>| bound.map(|b| open.map_or(b, |open| b.min(open)));
        let lowest = |pick: fn(&Entry) -> Option<EventTime>| self.living().map(|s| pick(&s.entry)).min().flatten();
        let waiting_since = self.living().filter_map(|shard| shard.waiting_since).min();
        // Nobody writes to a sealed lake until some input continues it.
        if self.living().all(|shard| shard.entry.sealed.is_some()) && !self.shards.is_empty() {
            let all = Some(EventTime::MAX);
            return Bounds { events: all, hours: all, days: all, arrivals: ArrivalTime::MAX };
        }
        let days = self.living().filter(|s| s.range.first == 0).map(|s| s.entry.daily_through).min().flatten();
        Bounds {
            events: below_open(lowest(|entry| entry.watermark)),
            hours: below_open(lowest(|entry| entry.hours_through)),
            days: days.map(|day| Day(day).end()),
            arrivals: waiting_since.unwrap_or(ArrivalTime::MAX).min(now.saturating_sub(ARRIVAL_LAG).as_arrival_bound()),
        }
    }

    /// Shards whose state would be rebuilt from their own snapshots: those that continue, and those whose children have no snapshots yet.
    fn with_state(&self) -> impl Iterator<Item = (&ShardId, &Tail)> {
        self.shards.iter().filter(|(key, _)| !self.succeeded.contains(*key))
    }

    /// The pieces of snapshots of state that are kept: those of each shard's two newest, as long as its children need them.
    pub(super) fn kept_pieces(&self) -> BTreeSet<String> {
        self.with_state().flat_map(|(_, shard)| shard.pieces.iter().map(|(path, _)| path.clone())).collect()
    }

    /// The spill files that rebuilding state reads.
    pub(super) fn kept_spill_files(&self) -> BTreeSet<String> {
        self.shards.values().flat_map(|shard| shard.spill_files.iter().cloned()).collect()
    }

    /// The checkpoint that stands for a shard's oldest entries.
    pub(super) fn checkpoint(&self, shard: &ShardId) -> Option<&Checkpoint> {
        self.shards.get(shard)?.checkpoint.as_ref()
    }

    /// The entry up to which a shard's journal can be folded, if every table holds the entries up to `applied`. The last entry is never
    /// folded, because all readers continue from it.
    pub(super) fn foldable(&self, shard: &ShardId, applied: u64) -> u64 {
        let Some(tail) = self.shards.get(shard) else { return 0 };
        applied.min(tail.entry.raw_done).min(tail.entry.n.saturating_sub(1))
    }

    /// The entry up to which nobody looks for a shard's entries any more: below the second newest snapshot of its state, if both snapshots
    /// exist completely, and not among the newest `keep` entries. A shard whose state its children have needs no snapshot.
    ///
    /// # Errors
    /// The store cannot say whether a piece of a snapshot exists.
    pub(super) async fn removable(
        &self,
        store: &dyn ObjectStore,
        shard: &ShardId,
        keep: u64,
    ) -> Result<u64, LakeError> {
        let Some(tail) = self.shards.get(shard) else { return Ok(0) };
        let newest = tail.entry.n.saturating_sub(keep.max(1));
        if self.succeeded.contains(shard) {
            return Ok(newest);
        }
        let [_, older] = tail.snapshots[..] else { return Ok(0) };
        for (path, bytes) in &tail.pieces {
            if store.size(path).await.map_err(|e| LakeError::from_store("of journals", e))? != Some(*bytes) {
                return Ok(0);
            }
        }
        Ok(newest.min(older - 1))
    }

    /// The oldest day whose popularity somebody may still ask for; `None` if that may be any day.
    pub(super) fn oldest_day(&self) -> Option<Day> {
        let lowest = |shard: &Tail| {
            let scores = shard.entry.score_spans.iter().map(|span| span.through).min().flatten();
            let scored = scores.min(shard.entry.counts_through);
            if shard.range.first == 0 { scored.min(shard.entry.daily_through) } else { scored }
        };
        let oldest = self.living().map(lowest).min().flatten()?;
        let rules = &self.shards.values().next()?.entry.time_rules;
        Some(oldest_kept(Day(oldest), rules.lookback_days))
    }

    /// The number of the last entry of a shard.
    pub(super) fn last(&self, shard: &ShardId) -> u64 {
        self.shards.get(shard).map_or(0, |s| s.entry.n)
    }

    /// The last entry of a shard up to which raw files have their final names.
    pub(super) fn raw_done(&self, shard: &ShardId) -> u64 {
        self.shards.get(shard).map_or(0, |s| s.entry.raw_done)
    }

    /// The sections that this program knows.
    pub(super) fn known(&self) -> &SectionList {
        &self.known
    }

    /// The names of all shards.
    pub(super) fn names(&self) -> impl Iterator<Item = &ShardId> {
        self.shards.keys()
    }

    /// Data files that the next start reads on top of a snapshot: those of the entries after the newest snapshot. For a shard without a
    /// snapshot nothing is kept, because reading the table brings the same at the same cost.
    ///
    /// # Errors
    /// A journal cannot be read, or lacks one of these entries.
    pub(super) async fn needed_files(&self, journal: &dyn Journal) -> Result<BTreeSet<String>, LakeError> {
        let mut needed = BTreeSet::new();
        for (key, shard) in self.with_state() {
            let newest = shard.snapshots.first().copied().unwrap_or(0);
            if newest == 0 && shard.inherits.is_empty() {
                continue;
            }
            let mut entries = Entries::after(key, newest, &self.known);
            while let Some(batch) = entries.next(journal).await? {
                let files = batch.iter().flat_map(|entry| &entry.files).filter(|file| file.table == Table::CURATED);
                needed.extend(files.map(|file| file.path.clone()));
            }
        }
        Ok(needed)
    }
}

/// Reads a journal, some entries at a time.
pub(super) struct Entries<'a> {
    shard: &'a ShardId,
    known: &'a SectionList,
    next: u64,
}

impl<'a> Entries<'a> {
    /// The entries after number `n`; `known` are the sections that this program knows.
    pub(super) fn after(shard: &'a ShardId, n: u64, known: &'a SectionList) -> Entries<'a> {
        Entries { shard, known, next: n + 1 }
    }

    /// The next entries; `None` at the end.
    ///
    /// # Errors
    /// The journal cannot be read, an entry is missing, or one cannot be used.
    pub(super) async fn next(&mut self, journal: &dyn Journal) -> Result<Option<Vec<Entry>>, LakeError> {
        let bodies = journal.list(self.shard, self.next, ENTRIES_AT_ONCE).await?;
        let mut entries = Vec::with_capacity(bodies.len());
        for (n, body) in bodies {
            if n != self.next {
                return Err(missing(self.shard, self.next));
            }
            self.next += 1;
            entries.push(Entry::decode(self.shard, n, &body, self.known)?);
        }
        Ok((!entries.is_empty()).then_some(entries))
    }
}

fn missing(shard: &ShardId, n: u64) -> LakeError {
    crate::entry::EntryError::Damaged {
        what: format!("entry {n} of shard {shard}"),
        cause: "it is missing from the journal".to_owned(),
    }
    .into()
}

async fn entry_if_any(
    journal: &dyn Journal,
    shard: &ShardId,
    n: u64,
    known: &SectionList,
) -> Result<Option<Entry>, LakeError> {
    match journal.get(shard, n).await? {
        Some(body) => Ok(Some(Entry::decode(shard, n, &body, known)?)),
        None => Ok(None),
    }
}

async fn read_checkpoint(
    journal: &dyn Journal,
    shard: &ShardId,
    known: &SectionList,
) -> Result<Option<Checkpoint>, LakeError> {
    match journal.checkpoint(shard).await? {
        Some((through, body)) => Ok(Some(Checkpoint::decode(shard, through, &body, known)?)),
        None => Ok(None),
    }
}

async fn entry(journal: &dyn Journal, shard: &ShardId, n: u64, known: &SectionList) -> Result<Entry, LakeError> {
    entry_if_any(journal, shard, n, known).await?.ok_or_else(|| missing(shard, n))
}

/// The spill of an entry: the one within it, or the content of its spill file.
///
/// # Errors
/// The file is missing, its checksum is not the one in the entry, or [`Spill::decode`] refuses it.
pub(super) async fn spill(store: &dyn ObjectStore, entry: &Entry, known: &SectionList) -> Result<Spill, LakeError> {
    let Some(file) = &entry.spill_file else { return Ok(entry.spill.clone()) };
    let bytes = store.get(&file.path).await.map_err(|e| LakeError::from_store("of journals", e))?;
    if sha256_hex(&bytes) != file.sha256 {
        let cause = "its checksum is not the one its entry names: restore it".to_owned();
        return Err(crate::entry::EntryError::Damaged { what: format!("file {}", file.path), cause }.into());
    }
    Ok(Spill::decode(&file.path, &bytes, known)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Inherited;
    use crate::{MemoryJournal, MemoryStore};
    use futures::executor::block_on;

    #[test]
    fn a_chain_of_children_is_succeeded_once_its_end_has_snapshots() {
        for has_snapshot in [false, true] {
            let (store, journal) = (MemoryStore::new(), MemoryJournal::new());
            for (shard, parent) in [("a", None), ("b", Some("a")), ("c", Some("b"))] {
                let inherits = parent.map(|p: &str| Inherited { shard: p.to_owned(), n: 1 }).into_iter().collect();
                let mut entry = Entry { shard: shard.to_owned(), n: 1, inherits, ..crate::entry::tests::entry() };
                if has_snapshot && shard == "c" {
                    entry.last_snapshot = 1;
                }
                block_on(journal.put(&ShardId::new(shard), 1, entry.encode())).unwrap();
            }
            let shards = block_on(Shards::read(&store, &journal, &SectionList::default())).unwrap();
            let succeeded: Vec<&str> = shards.succeeded.iter().map(ShardId::as_str).collect();
            // That `b` has no snapshots is no reason to keep those from which `a` would be rebuilt.
            assert_eq!(succeeded, if has_snapshot { vec!["a", "b"] } else { vec![] });
        }
    }

    #[test]
    fn a_partition_ends_where_the_next_begins() {
        assert_eq!(end_of(Partition::Day(Day(3))), Day(4).start());
        assert_eq!(end_of(Partition::Month(0)), Day::from_civil(1970, 2, 1).start());
        assert_eq!(end_of(Partition::Month(-1)), EventTime::default());
        assert_eq!(end_of(Partition::Month(551)), Day::from_civil(2016, 1, 1).start());
    }
}
