//! What is stored of all shards, and what follows from that for the popularity index.

use super::view::{Reported, ShardView};
use authpulse_engine::PopularityIndex;
use authpulse_event::{Day, EventTime, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Default)]
pub(super) struct Shards {
    views: BTreeMap<ShardId, ShardView>,
    /// Shards that others inherited from, each with the number of its last entry: no entry follows that.
    parents: BTreeMap<ShardId, u64>,
}

impl Shards {
    /// Takes in a stored entry and returns whether it was new. An owner that was dropped and the one that took over may both report an
    /// entry.
    pub fn take_in(&mut self, reported: Reported, popularity: &mut PopularityIndex) -> bool {
        let Reported { key, mut view, inherits, daily_counts, scores } = reported;
        let before = self.views.get(&key);
        if before.is_some_and(|before| before.last >= view.last) {
            return false;
        }
        for counts in &daily_counts {
            popularity.add_counts(counts);
        }
        for counts in &scores {
            popularity.add_scores(counts);
        }
        let was_sealed = before.is_some_and(|before| before.sealed.is_some());
        if let Some(before) = before {
            view.inherited.clone_from(&before.inherited);
        }
        for (parent, last) in inherits {
            // Its child shards speak for it from now on.
            if let Some(view) = self.views.get(&parent)
                && view.sealed.is_some()
            {
                popularity.unseal(view.range);
            }
            self.parents.insert(parent, last);
        }
        // If there are child shards, they speak for the range.
        let is_sealed = view.sealed.is_some() && !self.parents.contains_key(&key);
        match (was_sealed, is_sealed) {
            (false, true) => popularity.seal(view.range, view.counts_through, view.scores_through),
            (true, false) => popularity.unseal(view.range),
            _ => {}
        }
        self.views.insert(key, view);
        true
    }

    /// What is stored of one shard.
    pub fn view(&self, shard: &ShardId) -> Option<&ShardView> {
        self.views.get(shard)
    }

    /// What is stored of all shards.
    pub fn views(&self) -> &BTreeMap<ShardId, ShardView> {
        &self.views
    }

    /// The shards from which no other has inherited.
    pub fn leaves(&self) -> impl Iterator<Item = (&ShardId, &ShardView)> {
        self.views.iter().filter(|(key, _)| !self.parents.contains_key(*key))
    }

    /// Whether the last entry of every shard that another has inherited from is known.
    pub fn knows_last_of_parents(&self) -> bool {
        self.parents.iter().all(|(parent, last)| self.views.get(parent).is_some_and(|view| view.last >= *last))
    }

    /// The newest watermark of the other shards.
    pub fn newest_watermark_of_others(&self, shard: &ShardId) -> Option<EventTime> {
        self.views.iter().filter(|(key, _)| *key != shard).filter_map(|(_, view)| view.watermark).max()
    }

    /// The newest watermark among some shards.
    pub fn newest_watermark_among(&self, shards: &BTreeSet<ShardId>) -> Option<EventTime> {
        shards.iter().filter_map(|key| self.views.get(key)?.watermark).max()
    }

    /// The last day that every shard is done with: no shard asks for an earlier one any more. `None` if some shard is done with no day.
    pub fn last_day_done(&self) -> Option<Day> {
        let living = self.views.iter().filter(|(key, view)| !self.is_replaced(key, view));
        let done = living.map(|(_, view)| {
            let scored = view.scores_through.min(view.counts_through);
            if view.range.first == 0 { scored.min(view.daily_through) } else { scored }
        });
        done.min().flatten()
    }

    /// Whether child shards with entries of their own speak for a shard's whole range. Until then the parent counts.
    fn is_replaced(&self, key: &ShardId, view: &ShardView) -> bool {
        let children = self.views.values().filter(|child| child.inherited.contains(key));
        view.range.is_covered_by(children.map(|child| child.range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::{HashRange, Position};
    use authpulse_lake::entry::Source;

    const HALF: u128 = 1 << 127;

    fn lower() -> HashRange {
        HashRange { last: HALF - 1, ..HashRange::FULL }
    }

    fn upper() -> HashRange {
        HashRange { first: HALF, ..HashRange::FULL }
    }

    /// Entry `n` of a shard that inherits from `parents` and is done with the days up to `day`.
    fn reported(shard: &str, n: u64, range: HashRange, parents: &[&str], day: i32) -> Reported {
        let day = Some(Day(day));
        let view = ShardView {
            source: Source::File,
            range,
            inherited: parents.iter().map(ShardId::new).collect(),
            last: n,
            position: Position::START,
            watermark: None,
            newest_accepted: None,
            read_to_end: false,
            flushed: false,
            end: false,
            sealed: None,
            counts_through: day,
            scores_through: day,
            daily_through: day,
            unscored: 0,
        };
        let inherits = parents.iter().map(|parent| (ShardId::new(parent), 1)).collect();
        Reported { key: ShardId::new(shard), view, inherits, daily_counts: Vec::new(), scores: Vec::new() }
    }

    #[test]
    fn an_entry_that_is_known_changes_nothing() {
        let (mut shards, mut popularity) = (Shards::default(), PopularityIndex::new(30));
        assert!(shards.take_in(reported("a", 2, HashRange::FULL, &[], 5), &mut popularity));
        for n in [1, 2] {
            assert!(!shards.take_in(reported("a", n, HashRange::FULL, &[], 9), &mut popularity));
        }
        assert_eq!(shards.last_day_done(), Some(Day(5)));
    }

    #[test]
    fn a_parent_counts_until_its_child_shards_speak_for_its_whole_range() {
        let (mut shards, mut popularity) = (Shards::default(), PopularityIndex::new(30));
        shards.take_in(reported("parent", 1, HashRange::FULL, &[], 5), &mut popularity);
        shards.take_in(reported("lower", 1, lower(), &["parent"], 8), &mut popularity);
        assert_eq!(shards.last_day_done(), Some(Day(5)));
        shards.take_in(reported("upper", 1, upper(), &["parent"], 7), &mut popularity);
        assert_eq!(shards.last_day_done(), Some(Day(7)));
        assert_eq!(shards.leaves().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["lower", "upper"]);
    }

    #[test]
    fn of_whom_a_shard_inherits_its_first_entry_tells() {
        let (mut shards, mut popularity) = (Shards::default(), PopularityIndex::new(30));
        shards.take_in(reported("child", 1, lower(), &["parent"], 5), &mut popularity);
        shards.take_in(reported("child", 2, lower(), &[], 6), &mut popularity);
        assert_eq!(shards.view(&ShardId::new("child")).unwrap().inherited, [ShardId::new("parent")]);
    }
}
