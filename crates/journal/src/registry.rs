//! What the shards of one lake know of each other. It is only what is stored in entries, so that any number of processes could know it.
//!
//! Workers report each entry once it is stored ([`Registry::stored`]); a service that starts reports all that are there already.

mod shards;
mod topology;
mod view;

pub use view::ShardView;

use crate::columns_said::Said;
use crate::error::Result;
use crate::rejections::Rejections;
use authpulse_engine::PopularityIndex;
use authpulse_engine::rows::DayRow;
use authpulse_event::{Day, EventTime, ShardId};
use authpulse_lake::Checkpoint;
use authpulse_lake::entry::{Entry, Spill};
use shards::Shards;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use topology::Topology;
use view::Reported;

/// What is behind the one lock.
struct Inner {
    shards: Shards,
    topology: Topology,
    /// The days that shards wait for whose scoring stands still.
    wanted: BTreeMap<ShardId, Day>,
    popularity: PopularityIndex,
}

/// A worker's place among the workers of its process; given up when this is dropped.
pub struct WorkerSlot(Arc<AtomicUsize>);

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub struct Registry {
    inner: Mutex<Inner>,
    /// How many [`WorkerSlot`]s there are.
    workers: Arc<AtomicUsize>,
    rejections: Mutex<Rejections>,
    columns_said: Arc<Said>,
    /// One channel for each listener, so that they are woken in this order: listeners of one channel wake in random order.
    listeners: Mutex<Vec<watch::Sender<u64>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new(lookback_days: u32) -> Registry {
        let inner = Inner {
            shards: Shards::default(),
            topology: Topology::default(),
            wanted: BTreeMap::new(),
            popularity: PopularityIndex::new(lookback_days),
        };
        Registry {
            inner: Mutex::new(inner),
            workers: Arc::default(),
            rejections: Mutex::default(),
            columns_said: Arc::default(),
            listeners: Mutex::default(),
        }
    }

    /// Counts a worker of this process, until the returned slot is dropped.
    pub fn enter(&self) -> WorkerSlot {
        self.workers.fetch_add(1, Ordering::Relaxed);
        WorkerSlot(self.workers.clone())
    }

    /// How many workers of this process there are.
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// What became of the records whose entries this process has stored.
    pub fn rejections(&self) -> MutexGuard<'_, Rejections> {
        self.rejections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the workers of this process have logged about columns that tables lack.
    pub fn columns_said(&self) -> &Arc<Said> {
        &self.columns_said
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // After a panic in scoring, workers only store what they have; see [`Registry::is_poisoned`].
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel that changes when an entry is taken in, when the topology is set, or when a shard starts to wait for a day.
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
    /// A range, a position or daily counts in it cannot be read.
    pub fn stored(&self, entry: &Entry, spill: &Spill) -> Result<()> {
        let reported = Reported::of(entry, spill)?;
        let mut guard = self.lock();
        let Inner { shards, popularity, .. } = &mut *guard;
        let is_new = shards.take_in(reported, popularity);
        drop(guard);
        if is_new {
            self.tell_listeners();
        }
        Ok(())
    }

    /// Takes in the checkpoint that stands for a shard's oldest entries, if none of them is known.
    ///
    /// # Errors
    /// A range, a position or daily counts in it cannot be read.
    pub fn folded(&self, checkpoint: &Checkpoint) -> Result<()> {
        let last = Entry { inherits: checkpoint.first.inherits.clone(), takes_over: false, ..checkpoint.last.clone() };
        self.stored(&last, &checkpoint.spill())
    }

    /// Runs work on the popularity index: scoring, mostly.
    pub fn with_popularity<T>(&self, run: impl FnOnce(&mut PopularityIndex) -> T) -> T {
        run(&mut self.lock().popularity)
    }

    /// Whether a panic left the popularity index in the middle of a change. Then no shard scores by it any more, and the service ends.
    pub fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// What is stored of a shard.
    pub fn view(&self, shard: &ShardId) -> Option<ShardView> {
        self.lock().shards.view(shard).cloned()
    }

    /// What is stored of all shards.
    pub fn views(&self) -> BTreeMap<ShardId, ShardView> {
        self.lock().shards.views().clone()
    }

    /// The shards from which no other has inherited. A new stream inherits from them.
    pub fn leaves(&self) -> BTreeMap<ShardId, ShardView> {
        self.lock().shards.leaves().map(|(key, view)| (key.clone(), view.clone())).collect()
    }

    /// Sets which shards the input has, which children each of them has, and whether that is final.
    pub fn set_topology(&self, topology: BTreeMap<ShardId, Vec<ShardId>>, complete: bool) {
        self.lock().topology = Topology::new(topology, complete);
        self.tell_listeners();
    }

    /// The children of a shard of the input.
    pub fn children(&self, shard: &ShardId) -> Vec<ShardId> {
        self.lock().topology.children(shard).to_vec()
    }

    /// Whether it is known what follows a shard that was read to its end: its children, or nothing. A shard may end by a split of which
    /// this process does not know yet; sealing it then would make its children's events late.
    pub fn knows_what_follows(&self, shard: &ShardId) -> bool {
        self.lock().topology.knows_what_follows(shard)
    }

    /// The parents of a shard of the input.
    pub fn parents(&self, shard: &ShardId) -> Vec<ShardId> {
        self.lock().topology.parents(shard).cloned().collect()
    }

    /// All shards that a shard of the input came from.
    pub fn ancestors(&self, shard: &ShardId) -> BTreeSet<ShardId> {
        self.lock().topology.ancestors(shard)
    }

    /// Whether `holds` is true of every shard of the input that has no children. Seals go by this.
    pub fn all_leaves(&self, holds: impl Fn(&ShardId, &ShardView) -> bool) -> bool {
        let Inner { shards, topology, .. } = &*self.lock();
        topology.leaves().all(|key| shards.view(key).is_some_and(|view| holds(key, view)))
    }

    /// Whether the last entry of every shard that another has inherited from is known here. It is stored before the children's first
    /// entries, but may be read after them: a worker of this process that has lost the shard and does not know it yet keeps others from
    /// following it.
    pub fn knows_last_of_parents(&self) -> bool {
        self.lock().shards.knows_last_of_parents()
    }

    /// The newest event time accepted in any shard of the input.
    pub fn newest_accepted(&self) -> Option<EventTime> {
        let Inner { shards, topology, .. } = &*self.lock();
        topology.shards().filter_map(|key| shards.view(key)?.newest_accepted).max()
    }

    /// Up to where a seal goes: the end of the newest day of which any shard accepted something.
    pub fn seals_up_to(&self) -> Option<EventTime> {
        self.newest_accepted().map(|newest| Day::of(newest).end())
    }

    /// The newest watermark of the other shards.
    pub fn newest_watermark_of_others(&self, shard: &ShardId) -> Option<EventTime> {
        self.lock().shards.newest_watermark_of_others(shard)
    }

    /// The newest watermark among some shards.
    pub fn newest_watermark_among(&self, shards: &BTreeSet<ShardId>) -> Option<EventTime> {
        self.lock().shards.newest_watermark_among(shards)
    }

    /// Says that a shard's scoring stands still until the counts of a day are stored; with `None`, that it does not any more.
    pub fn want(&self, shard: &ShardId, day: Option<Day>) {
        let mut guard = self.lock();
        let changed = match day {
            Some(day) => guard.wanted.insert(shard.clone(), day) != Some(day),
            None => guard.wanted.remove(shard).is_some(),
        };
        drop(guard);
        if changed && day.is_some() {
            self.tell_listeners();
        }
    }

    /// Whether a shard waits for a day that the asking shard has passed and not published.
    pub fn is_waited_for(&self, published: Option<Day>, passed: Option<Day>) -> bool {
        let guard = self.lock();
        guard.wanted.values().any(|day| published.is_none_or(|p| p < *day) && passed.is_some_and(|p| *day <= p))
    }

    /// The rows of the complete days after `after`, and the last day they reach.
    pub fn complete_days(&self, after: Option<Day>) -> (Vec<DayRow>, Option<Day>) {
        if self.is_poisoned() {
            return (Vec::new(), after);
        }
        let guard = self.lock();
        let popularity = &guard.popularity;
        let mut through = after;
        let mut rows = Vec::new();
        for day in popularity.days_after(after) {
            if !popularity.day_is_complete(day) {
                break;
            }
            rows.extend(popularity.day_rows(day));
            through = Some(day);
        }
        (rows, through)
    }

    /// Whether a day after `after` is complete.
    pub fn has_complete_day(&self, after: Option<Day>) -> bool {
        let guard = self.lock();
        guard.popularity.days_after(after).next().is_some_and(|day| guard.popularity.day_is_complete(day))
    }

    /// Drops days that no shard can ask for any more.
    pub fn forget_old_days(&self) {
        let Inner { shards, popularity, .. } = &mut *self.lock();
        if let Some(done) = shards.last_day_done() {
            popularity.forget_before(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::entry_zero;
    use authpulse_event::HashRange;
    use authpulse_lake::entry::{Inherited, Source};
    use authpulse_settings::options::Options;

    fn entry(shard: &str, n: u64, parents: &[(&str, u64)]) -> Entry {
        let zero = entry_zero(&ShardId::new(shard), Source::File, HashRange::FULL, &Options::default());
        let inherits = parents.iter().map(|(shard, n)| Inherited { shard: (*shard).to_owned(), n: *n }).collect();
        Entry { n, inherits, ..zero }
    }

    #[test]
    fn a_child_may_be_heard_of_before_the_last_of_its_parent() {
        let registry = Registry::new(30);
        let store = |entry: &Entry| registry.stored(entry, &Spill::default()).unwrap();
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
