//! The shards of the input, and which of them came from which.

use authpulse_event::ShardId;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Default)]
pub(super) struct Topology {
    /// Each shard with its children.
    children: BTreeMap<ShardId, Vec<ShardId>>,
    /// Whether no shard can be split or merged any more.
    is_last: bool,
}

impl Topology {
    /// The shards, each with its children, and whether that is final.
    pub fn new(children: BTreeMap<ShardId, Vec<ShardId>>, is_last: bool) -> Topology {
        Topology { children, is_last }
    }

    /// The shards.
    pub fn shards(&self) -> impl Iterator<Item = &ShardId> {
        self.children.keys()
    }

    /// The shards that have no children.
    pub fn leaves(&self) -> impl Iterator<Item = &ShardId> {
        self.children.iter().filter(|(_, children)| children.is_empty()).map(|(shard, _)| shard)
    }

    /// The children of a shard.
    pub fn children(&self, shard: &ShardId) -> &[ShardId] {
        self.children.get(shard).map_or(&[], Vec::as_slice)
    }

    /// The parents of a shard.
    pub fn parents(&self, shard: &ShardId) -> impl Iterator<Item = &ShardId> {
        self.children.iter().filter(move |(_, children)| children.contains(shard)).map(|(parent, _)| parent)
    }

    /// All shards that a shard came from.
    pub fn ancestors(&self, shard: &ShardId) -> BTreeSet<ShardId> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&ShardId> = self.parents(shard).collect();
        while let Some(parent) = open.pop() {
            if found.insert(parent.clone()) {
                open.extend(self.parents(parent));
            }
        }
        found
    }

    /// Whether it is known what follows a shard that was read to its end.
    pub fn knows_what_follows(&self, shard: &ShardId) -> bool {
        self.is_last || !self.children(shard).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_behind_a_split_has_all_of_both_as_ancestors() {
        let id = ShardId::new;
        let children = [("a", vec!["b", "c"]), ("b", vec!["d"]), ("c", vec!["d"]), ("d", vec![]), ("e", vec![])];
        let children = children.map(|(shard, children)| (id(shard), children.into_iter().map(id).collect()));
        let topology = Topology::new(children.into_iter().collect(), false);
        assert_eq!(topology.ancestors(&id("d")), [id("a"), id("b"), id("c")].into());
        assert_eq!(topology.parents(&id("d")).collect::<Vec<_>>(), [&id("b"), &id("c")]);
        assert_eq!(topology.leaves().collect::<Vec<_>>(), [&id("d"), &id("e")]);
        assert!(topology.knows_what_follows(&id("a")) && !topology.knows_what_follows(&id("e")));
        assert!(topology.ancestors(&id("e")).is_empty());
    }
}
