//! What the shards of one lake know of each other: only what is stored in entries, so that any number of processes could know it.
//!
//! Workers report each entry once it is stored ([`Registry::stored`]); a service that starts reports all that are there already.

use crate::columns_said::Said;
use crate::error::Result;
use crate::rejections::Rejections;
use authpulse_engine::rows::DayRow;
use authpulse_engine::{Board, Share};
use authpulse_event::{Day, EventTime, HashRange, Position, ShardId};
use authpulse_lake::Base;
use authpulse_lake::entry::{Entry, EntryError, Side, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What is stored of one shard.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// What it reads.
    pub source: Source,
    /// Its part of the ring.
    pub range: HashRange,
    /// The shards it inherited from.
    pub inherited: Vec<ShardId>,
    /// Number of its last entry.
    pub last: u64,
    /// The position after its last record.
    pub position: Position,
    /// Its watermark.
    pub watermark: Option<EventTime>,
    /// Newest event time accepted.
    pub newest_accepted: Option<EventTime>,
    /// Whether it was read to its end.
    pub read_to_end: bool,
    /// Whether what waited was settled for a seal.
    pub settled: bool,
    /// Whether its end is stored, from which heirs start.
    pub end: bool,
    /// Up to when it is sealed.
    pub sealed: Option<EventTime>,
    /// The last day of which it published logins.
    pub shares_through: Option<Day>,
    /// The last day of which all its parts published high-risk counts.
    pub scores_through: Option<Day>,
    /// The last day whose rows it wrote.
    pub daily_through: Option<Day>,
    /// Events accepted and not scored in its last entry.
    pub unscored: u64,
}

#[derive(Default)]
struct Inner {
    shards: BTreeMap<ShardId, ShardView>,
    /// Shards that others inherited from, each with the number of its last entry: none follows it.
    parents: BTreeMap<ShardId, u64>,
    /// The days that stalled shards wait for.
    wanted: BTreeMap<ShardId, Day>,
    /// What the input looks like from outside: each shard with its children.
    topology: BTreeMap<ShardId, Vec<ShardId>>,
    /// Whether the topology is the last one: no shard can be split or merged any more.
    complete: bool,
}

/// A worker's place among those of its process.
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub struct Registry {
    inner: Mutex<(Inner, Board)>,
    /// As many as there are [`Place`]s.
    workers: Arc<AtomicUsize>,
    rejections: Mutex<Rejections>,
    columns_said: Arc<Said>,
    /// One for each listener, so that they are woken in this order: those of one channel wake in an order left to chance.
    listeners: Mutex<Vec<watch::Sender<u64>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new(lookback_days: u32) -> Registry {
        let inner = Mutex::new((Inner::default(), Board::new(lookback_days)));
        let (rejections, columns_said) = (Mutex::default(), Arc::default());
        Registry { inner, workers: Arc::default(), rejections, columns_said, listeners: Mutex::default() }
    }

    /// Counts a worker of this process, until what is returned is dropped.
    pub fn enter(&self) -> Place {
        self.workers.fetch_add(1, Ordering::Relaxed);
        Place(self.workers.clone())
    }

    /// How many workers of this process there are.
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// What became of the records whose entries this process has stored.
    pub fn rejections(&self) -> MutexGuard<'_, Rejections> {
        self.rejections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the workers of this process have said of columns that tables lack.
    pub fn columns_said(&self) -> &Arc<Said> {
        &self.columns_said
    }

    fn lock(&self) -> MutexGuard<'_, (Inner, Board)> {
        // After a panic in scoring, workers only store what they have; see [`Registry::is_poisoned`].
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when something was stored since the receiver last looked.
    pub fn changes(&self) -> watch::Receiver<u64> {
        let (listener, changes) = watch::channel(0);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
        changes
    }

    fn tell_listeners(&self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| !listener.is_closed());
        listeners.iter().for_each(|listener| listener.send_modify(|n| *n += 1));
    }

    /// Takes in a stored entry. Entries of a shard come in order; one that is known already changes nothing.
    ///
    /// # Errors
    /// If a range in it is none.
    pub fn stored(&self, entry: &Entry, side: &Side) -> Result<()> {
        let damaged =
            |cause: String| EntryError::Damaged { what: format!("entry {} of shard {}", entry.n, entry.shard), cause };
        let range = entry.hash_range()?;
        let position = entry.position()?;
        let shares = |stored: &[authpulse_lake::entry::StoredShare]| -> std::result::Result<Vec<Share>, EntryError> {
            stored.iter().map(|s| s.to_share().map_err(damaged)).collect()
        };
        let published =
            if entry.takes_over { (Vec::new(), Vec::new()) } else { (shares(&side.shares)?, shares(&side.scores)?) };
        let scores_through = entry.score_spans.iter().map(|s| s.through).min().flatten().map(Day);
        let key = ShardId::new(&entry.shard);
        let mut guard = self.lock();
        let (inner, board) = &mut *guard;
        // An owner that was dropped and the one that took over may both report an entry.
        if inner.shards.get(&key).is_some_and(|view| view.last >= entry.n) {
            return Ok(());
        }
        for share in &published.0 {
            board.add_share(share);
        }
        for share in &published.1 {
            board.add_scores(share);
        }
        let was_sealed = inner.shards.get(&key).is_some_and(|view| view.sealed.is_some());
        let inherited: Vec<ShardId> = entry.inherits.iter().map(|i| ShardId::new(&i.shard)).collect();
        inner.parents.extend(inherited.iter().cloned().zip(entry.inherits.iter().map(|i| i.n)));
        for parent in &inherited {
            // Its heirs speak for it from now on.
            if let Some(view) = inner.shards.get(parent)
                && view.sealed.is_some()
            {
                board.unseal(view.range);
            }
        }
        let view = ShardView {
            source: entry.source.clone(),
            range,
            inherited: inner.shards.get(&key).map_or(inherited, |view| view.inherited.clone()),
            last: entry.n,
            position,
            watermark: entry.watermark,
            newest_accepted: entry.newest_accepted,
            read_to_end: entry.read_to_end,
            settled: entry.settled,
            end: entry.end,
            sealed: entry.sealed,
            shares_through: entry.shares_through.map(Day),
            scores_through,
            daily_through: entry.daily_through.map(Day),
            unscored: entry.counts.unscored,
        };
        // Where heirs were made, they speak for the range.
        let sealed = view.sealed.is_some() && !inner.parents.contains_key(&key);
        match (was_sealed, sealed) {
            (false, true) => board.seal(range, view.shares_through, view.scores_through),
            (true, false) => board.unseal(range),
            _ => {}
        }
        inner.shards.insert(key, view);
        drop(guard);
        self.tell_listeners();
        Ok(())
    }

    /// Takes in what stands for a shard's oldest entries, where none of them is known.
    ///
    /// # Errors
    /// If a range in it is none.
    pub fn folded(&self, base: &Base) -> Result<()> {
        let last = Entry { inherits: base.first.inherits.clone(), takes_over: false, ..base.last.clone() };
        self.stored(&last, &base.side())
    }

    /// Runs something on the board: scoring, mostly.
    pub fn with_board<T>(&self, run: impl FnOnce(&mut Board) -> T) -> T {
        run(&mut self.lock().1)
    }

    /// Whether a panic left the board in the middle of something: then nobody scores by it any more, and the service ends.
    pub fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// What is stored of a shard.
    pub fn view(&self, shard: &ShardId) -> Option<ShardView> {
        self.lock().0.shards.get(shard).cloned()
    }

    /// What is stored of all shards.
    pub fn views(&self) -> BTreeMap<ShardId, ShardView> {
        self.lock().0.shards.clone()
    }

    /// The shards from which none has inherited: what a new stream inherits from.
    pub fn leaves(&self) -> BTreeMap<ShardId, ShardView> {
        let guard = self.lock();
        let inner = &guard.0;
        inner
            .shards
            .iter()
            .filter(|(key, _)| !inner.parents.contains_key(*key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Says which shards the input has, which children each of them has, and whether that can change no more.
    pub fn set_topology(&self, topology: BTreeMap<ShardId, Vec<ShardId>>, complete: bool) {
        let mut guard = self.lock();
        (guard.0.topology, guard.0.complete) = (topology, complete);
        drop(guard);
        self.tell_listeners();
    }

    /// The children of a shard of the input.
    pub fn children(&self, shard: &ShardId) -> Vec<ShardId> {
        self.lock().0.topology.get(shard).cloned().unwrap_or_default()
    }

    /// Whether it is known what follows a shard that was read to its end: its children, or nothing. A shard may end by a split
    /// that nobody here has heard of yet; to seal it then would make its heirs' events late.
    pub fn knows_what_follows(&self, shard: &ShardId) -> bool {
        let guard = self.lock();
        guard.0.complete || guard.0.topology.get(shard).is_some_and(|children| !children.is_empty())
    }

    /// The parents of a shard of the input.
    pub fn parents(&self, shard: &ShardId) -> Vec<ShardId> {
        let guard = self.lock();
        guard.0.topology.iter().filter(|(_, children)| children.contains(shard)).map(|(key, _)| key.clone()).collect()
    }

    /// All shards that a shard of the input came from.
    pub fn ancestors(&self, shard: &ShardId) -> BTreeSet<ShardId> {
        let mut found = BTreeSet::new();
        let mut open = self.parents(shard);
        while let Some(parent) = open.pop() {
            if found.insert(parent.clone()) {
                open.extend(self.parents(&parent));
            }
        }
        found
    }

    /// Whether something holds for every shard of the input that has no children: what a seal goes by.
    pub fn all_leaves(&self, holds: impl Fn(&ShardId, &ShardView) -> bool) -> bool {
        let guard = self.lock();
        let inner = &guard.0;
        let mut leaves = inner.topology.iter().filter(|(_, children)| children.is_empty()).map(|(key, _)| key);
        leaves.all(|key| inner.shards.get(key).is_some_and(|view| holds(key, view)))
    }

    /// Whether the last entry of every shard from which another has inherited is known here. It is stored before the heirs' first
    /// entries, but may be read after them: a worker of this process that has lost the shard, and does not know it yet, keeps others
    /// from following it.
    pub fn knows_last_of_parents(&self) -> bool {
        let guard = self.lock();
        let Inner { shards, parents, .. } = &guard.0;
        parents.iter().all(|(parent, last)| shards.get(parent).is_some_and(|view| view.last >= *last))
    }

    /// The newest event time accepted in any shard of the input.
    pub fn newest_accepted(&self) -> Option<EventTime> {
        let guard = self.lock();
        let inner = &guard.0;
        inner.topology.keys().filter_map(|key| inner.shards.get(key)?.newest_accepted).max()
    }

    /// The newest watermark of the other shards.
    pub fn newest_watermark_of_others(&self, shard: &ShardId) -> Option<EventTime> {
        self.lock().0.shards.iter().filter(|(key, _)| *key != shard).filter_map(|(_, view)| view.watermark).max()
    }

    /// The newest watermark among some shards.
    pub fn newest_watermark_among(&self, shards: &BTreeSet<ShardId>) -> Option<EventTime> {
        let guard = self.lock();
        shards.iter().filter_map(|key| guard.0.shards.get(key)?.watermark).max()
    }

    /// Says that a shard's scoring stands still until shares of a day are stored, or that it does not any more.
    pub fn want(&self, shard: &ShardId, day: Option<Day>) {
        let mut guard = self.lock();
        let changed = match day {
            Some(day) => guard.0.wanted.insert(shard.clone(), day) != Some(day),
            None => guard.0.wanted.remove(shard).is_some(),
        };
        drop(guard);
        if changed && day.is_some() {
            self.tell_listeners();
        }
    }

    /// Whether a shard waits for a day that this one has passed and not published.
    pub fn is_waited_for(&self, published: Option<Day>, passed: Option<Day>) -> bool {
        let guard = self.lock();
        guard.0.wanted.values().any(|day| published.is_none_or(|p| p < *day) && passed.is_some_and(|p| *day <= p))
    }

    /// The rows of the days after `after` that are complete, and the last day they reach.
    pub fn complete_days(&self, after: Option<Day>) -> (Vec<DayRow>, Option<Day>) {
        if self.is_poisoned() {
            return (Vec::new(), after);
        }
        let guard = self.lock();
        let board = &guard.1;
        let mut through = after;
        let mut rows = Vec::new();
        for day in board.days_after(after) {
            if !board.day_is_complete(day) {
                break;
            }
            rows.extend(board.day_rows(day));
            through = Some(day);
        }
        (rows, through)
    }

    /// Whether a day after `after` is complete.
    pub fn has_complete_day(&self, after: Option<Day>) -> bool {
        let guard = self.lock();
        guard.1.days_after(after).next().is_some_and(|day| guard.1.day_is_complete(day))
    }

    /// Drops days that nobody can ask for any more.
    pub fn forget_old_days(&self) {
        let mut guard = self.lock();
        let (inner, board) = &mut *guard;
        // A parent counts until heirs with entries of their own speak for its whole range.
        let replaced = |key: &ShardId, view: &ShardView| {
            let heirs = inner.shards.values().filter(|heir| heir.inherited.contains(key));
            let mut parts: Vec<HashRange> = heirs.filter_map(|heir| heir.range.intersect(&view.range)).collect();
            parts.sort_unstable();
            let mut next = Some(view.range.first);
            for part in parts {
                if next == Some(part.first) {
                    next = part.last.checked_add(1).filter(|_| part.last < view.range.last);
                    if next.is_none() {
                        return true;
                    }
                }
            }
            false
        };
        let living = inner.shards.iter().filter(|(key, view)| !replaced(key, view));
        let oldest = living
            .map(|(_, view)| {
                let scored = view.scores_through.min(view.shares_through);
                if view.range.first == 0 { scored.min(view.daily_through) } else { scored }
            })
            .min()
            .flatten();
        if let Some(oldest) = oldest {
            board.forget_before(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::entry_zero;
    use authpulse_lake::entry::Inherited;
    use authpulse_settings::options::Options;

    fn entry(shard: &str, n: u64, parents: &[(&str, u64)]) -> Entry {
        let zero = entry_zero(&ShardId::new(shard), Source::File, HashRange::FULL, &Options::default());
        let inherits = parents.iter().map(|(shard, n)| Inherited { shard: (*shard).to_owned(), n: *n }).collect();
        Entry { n, inherits, ..zero }
    }

    #[test]
    fn an_heir_may_be_heard_of_before_the_last_of_its_parent() {
        let registry = Registry::new(30);
        let store = |entry: &Entry| registry.stored(entry, &Side::default()).unwrap();
        assert!(registry.knows_last_of_parents(), "nobody inherited");
        store(&entry("heir", 1, &[("parent", 3)]));
        assert!(!registry.knows_last_of_parents(), "nothing of the parent is known");
        store(&entry("parent", 2, &[]));
        assert!(!registry.knows_last_of_parents(), "one entry is lacking");
        store(&entry("heir", 2, &[]));
        assert!(!registry.knows_last_of_parents(), "later entries of the heir say nothing");
        // A parent of another input does not end: it is enough that nothing follows.
        store(&entry("parent", 3, &[]));
        assert!(registry.knows_last_of_parents());
    }
}
