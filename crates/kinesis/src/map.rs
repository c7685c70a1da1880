//! Predicts the shard of a record: the open shards over the ring. Pure.

use authpulse_event::ring::RingHash;
use authpulse_event::{HashRange, ShardId};
use authpulse_stream::ShardDescription;
use std::collections::{BTreeMap, BTreeSet};

/// The shards of a stream, as they were listed.
#[derive(Clone, Debug, Default)]
pub struct ShardMap {
    /// Open shards by range.
    open: Vec<(HashRange, ShardId)>,
    ranges: BTreeMap<ShardId, HashRange>,
}

impl ShardMap {
    /// A map; `None` if the open shards do not divide the ring, as in the middle of a reshard.
    pub fn new(shards: &[ShardDescription]) -> Option<ShardMap> {
        let parents: BTreeSet<&ShardId> = shards.iter().flat_map(|shard| &shard.parents).collect();
        // A shard with children is closed, whatever the list says.
        let is_open = |shard: &&ShardDescription| !shard.closed && !parents.contains(&shard.id);
        let mut open: Vec<(HashRange, ShardId)> =
            shards.iter().filter(is_open).map(|shard| (shard.range, shard.id.clone())).collect();
        open.sort_unstable();
        let seamless = open.windows(2).all(|pair| pair[0].0.last.checked_add(1) == Some(pair[1].0.first));
        let whole = open.first()?.0.first == 0 && open.last()?.0.last == RingHash::MAX;
        let ranges = shards.iter().map(|shard| (shard.id.clone(), shard.range)).collect();
        (seamless && whole).then_some(ShardMap { open, ranges })
    }

    /// The open shards, by range.
    pub fn open(&self) -> impl ExactSizeIterator<Item = &ShardId> {
        self.open.iter().map(|(_, id)| id)
    }

    /// The index of the open shard, counted by range from 0, that has this position on the ring.
    pub fn predict(&self, hash: RingHash) -> usize {
        self.open.partition_point(|(range, _)| range.last < hash)
    }

    /// The range of a shard, open or closed.
    pub fn range(&self, shard: &ShardId) -> Option<HashRange> {
        self.ranges.get(shard).copied()
    }
}

/// Sorts parents before children, and otherwise by name.
pub fn in_order(mut shards: Vec<ShardDescription>) -> Vec<ShardDescription> {
    shards.sort_by(|a, b| a.id.cmp(&b.id));
    let listed: BTreeSet<ShardId> = shards.iter().map(|shard| shard.id.clone()).collect();
    let mut placed: BTreeSet<ShardId> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(shards.len());
    while !shards.is_empty() {
        let before = shards.len();
        let ready = |shard: &ShardDescription, placed: &BTreeSet<ShardId>| {
            shard.parents.iter().all(|parent| placed.contains(parent) || !listed.contains(parent))
        };
        let mut later = Vec::new();
        for shard in shards {
            if ready(&shard, &placed) {
                placed.insert(shard.id.clone());
                ordered.push(shard);
            } else {
                later.push(shard);
            }
        }
        shards = later;
        if shards.len() == before {
            // Parents cannot form a circle; if a list says so, it stays as it came.
            ordered.append(&mut shards);
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::ring::hash_key;

    fn shard(n: u32, range: HashRange, parents: &[u32], closed: bool) -> ShardDescription {
        let id = |n: u32| ShardId::new(format!("shardId-{n:012}"));
        ShardDescription { id: id(n), range, parents: parents.iter().map(|n| id(*n)).collect(), closed }
    }

    #[test]
    fn every_key_has_its_open_shard() {
        let mut shards: Vec<ShardDescription> =
            (0..).zip(HashRange::divide(5)).map(|(n, range)| shard(n, range, &[], false)).collect();
        // The second was split; its children are listed before the listing calls it closed.
        let HashRange { first, last } = shards[1].range;
        shards.push(shard(5, HashRange { first, last: last - 9 }, &[1], false));
        shards.push(shard(6, HashRange { first: last - 8, last }, &[1], false));
        let map = ShardMap::new(&shards).unwrap();
        let open: Vec<ShardId> = map.open().cloned().collect();
        assert_eq!(open.len(), 6);
        for n in 0..1_000 {
            let hash = hash_key(format!("U{n}").as_bytes());
            assert!(map.range(&open[map.predict(hash)]).unwrap().contains(hash));
        }
        for hash in [0, first, last, last - 8, last - 9, u128::MAX] {
            assert!(map.range(&open[map.predict(hash)]).unwrap().contains(hash));
        }
        assert!(map.range(&shards[1].id).is_some(), "a closed shard still has its range");
        assert!(ShardMap::new(&shards[..4]).is_none() && ShardMap::new(&[]).is_none());
        shards[5].closed = true;
        assert!(ShardMap::new(&shards).is_none(), "in the middle of a reshard there is no map");
    }

    #[test]
    fn parents_come_first_whatever_their_names() {
        let full = HashRange::FULL;
        let shards = vec![
            shard(0, full, &[7], true),
            shard(7, full, &[9], true),
            shard(9, full, &[3], true),
            shard(1, full, &[0, 9], false),
        ];
        let order: Vec<String> = in_order(shards).iter().map(|s| s.id.to_string()[18..].to_owned()).collect();
        assert_eq!(order, ["9", "7", "0", "1"].map(|n| format!("{n:0>2}")));
    }
}
