//! When a shard without entries may begin, and from which shards it inherits.

use super::Service;
use authpulse_event::ShardId;
use authpulse_journal::registry::ShardView;
use authpulse_lake::entry::Inherited;
use authpulse_stream::ShardDescription;
use std::collections::{BTreeMap, BTreeSet};

impl Service {
    /// Whether a shard without entries may begin: all parents that the stream still has are ended.
    pub(super) fn may_begin(&self, shard: &ShardDescription) -> bool {
        let mut known = self.known_parents(shard);
        known.all(|parent| self.registry.view(&self.key(parent)).is_some_and(|view| view.end))
    }

    /// The shards from which a shard without entries inherits; `None` while it cannot start.
    pub(super) fn parents_of_new(&self, shard: &ShardDescription) -> Option<Vec<Inherited>> {
        let mut known = self.known_parents(shard).peekable();
        if known.peek().is_none() {
            // A first shard: it inherits from what the lake read before this stream.
            return Some(self.earlier_input());
        }
        let end_of = |parent: &ShardId| {
            let key = self.key(parent);
            let view = self.registry.view(&key).filter(|view| view.end)?;
            Some(Inherited { shard: key.to_string(), n: view.last })
        };
        known.map(end_of).collect()
    }

    /// The parents of a shard that the stream still has.
    fn known_parents<'a>(&'a self, shard: &'a ShardDescription) -> impl Iterator<Item = &'a ShardId> {
        shard.parents.iter().filter(|parent| self.shards.iter().any(|s| s.id == **parent))
    }

    /// The last shards of the lake's earlier input, which is a backfill or an earlier stream.
    fn earlier_input(&self) -> Vec<Inherited> {
        let views = self.registry.views();
        let others: BTreeMap<&ShardId, &ShardView> = views.iter().filter(|(_, v)| !self.is_own(&v.source)).collect();
        let parents: BTreeSet<&ShardId> = others.values().flat_map(|view| &view.inherited).collect();
        let leaves = others.into_iter().filter(|(key, _)| !parents.contains(key));
        leaves.map(|(key, view)| Inherited { shard: key.to_string(), n: view.last }).collect()
    }
}
