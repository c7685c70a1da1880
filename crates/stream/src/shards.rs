//! The shards of a stream and what may become of them: decided here as values, carried out by the stores.
//!
//! ```text
//!            put                      split, merge, close
//!   open ----------> open       open ----------------------> closed (for good)
//! ```
//! Shards are numbered from 0 in the order of their creation and never forgotten: a row of a few bytes each lets a consumer
//! follow the whole family tree, and tell what it missed.

use crate::limits::MAX_OPEN_SHARDS;
use crate::{PutRecord, ShardDescription, StreamError};
use authpulse_event::ring::{RingHash, hash_key};
use authpulse_event::{HashRange, ShardId};
use std::collections::HashMap;

const ID_PREFIX: &str = "shardId-";

/// What a store keeps about a shard, its records aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Its number, from 0 in the order of creation.
    pub number: u64,
    /// The partition keys it owns.
    pub range: HashRange,
    /// Numbers of the parents, by range.
    pub parents: Vec<u64>,
    /// Whether it takes no more records.
    pub closed: bool,
    /// Records ever appended.
    pub records: u64,
    /// Sequence number of the newest record ever appended; 0 before the first.
    pub last_sequence: u64,
}

impl Shard {
    /// An open shard without records.
    pub fn new(number: u64, range: HashRange, parents: Vec<u64>) -> Self {
        Shard { number, range, parents, closed: false, records: 0, last_sequence: 0 }
    }

    /// The shards of a new stream.
    pub fn first(count: u32) -> Vec<Shard> {
        (0..).zip(HashRange::divide(count)).map(|(number, range)| Shard::new(number, range, Vec::new())).collect()
    }

    /// The name of the shard.
    pub fn id(&self) -> ShardId {
        id_of(self.number)
    }

    /// The shard as consumers see it.
    pub fn describe(&self) -> ShardDescription {
        ShardDescription {
            id: self.id(),
            range: self.range,
            parents: self.parents.iter().map(|number| id_of(*number)).collect(),
            closed: self.closed,
        }
    }
}

/// The name of a shard by its number.
pub(crate) fn id_of(number: u64) -> ShardId {
    ShardId::new(format!("{ID_PREFIX}{number:012}"))
}

/// The number of a shard by its name, if it is a name that [`id_of`] gives.
///
/// # Errors
/// [`StreamError::NotFound`] if it is no such name.
pub(crate) fn number_of(id: &ShardId) -> Result<u64, StreamError> {
    id.as_str()
        .strip_prefix(ID_PREFIX)
        .and_then(|digits| digits.parse().ok())
        .filter(|number| id_of(*number) == *id)
        .ok_or_else(|| not_found(id))
}

/// The error for a shard that the stream does not have.
pub(crate) fn not_found(id: &ShardId) -> StreamError {
    StreamError::NotFound {
        what: format!("shard '{id}'"),
        hint: "list the stream's shards for those it has".to_owned(),
    }
}

/// What a split or merge changes: shards to close and shards to open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reshard {
    /// Numbers of the shards to close.
    pub close: Vec<u64>,
    /// The shards to open.
    pub open: Vec<Shard>,
}

/// Decides a split; `shards` are all shards of the stream, by number.
///
/// # Errors
/// [`StreamError::NotFound`] if there is no such shard; [`StreamError::Refused`] if it is closed, if `at` is not within its range beyond
/// the first place, or if the stream has [`MAX_OPEN_SHARDS`].
pub(crate) fn plan_split(shards: &[Shard], id: &ShardId, at: RingHash) -> Result<Reshard, StreamError> {
    let parent = open_shard(shards, id, "split")?;
    let HashRange { first, last } = parent.range;
    if at <= first || at > last {
        return Err(StreamError::Refused {
            what: format!("split of '{id}' at {at:032x}"),
            why: format!("the place must lie within {}, beyond its first", parent.range),
        });
    }
    if shards.iter().filter(|shard| !shard.closed).count() >= MAX_OPEN_SHARDS as usize {
        return Err(StreamError::Refused {
            what: format!("split of '{id}'"),
            why: format!("the stream has {MAX_OPEN_SHARDS} open shards, the most it may have; merge some first"),
        });
    }
    let number = shards.len() as u64;
    let parents = vec![parent.number];
    Ok(Reshard {
        close: parents.clone(),
        open: vec![
            Shard::new(number, HashRange { first, last: at - 1 }, parents.clone()),
            Shard::new(number + 1, HashRange { first: at, last }, parents),
        ],
    })
}

/// Decides a merge of two shards, given in either order.
///
/// # Errors
/// [`StreamError::NotFound`] if one does not exist; [`StreamError::Refused`] if one is closed or their ranges are not adjacent.
pub(crate) fn plan_merge(shards: &[Shard], left: &ShardId, right: &ShardId) -> Result<Reshard, StreamError> {
    let (mut a, mut b) = (open_shard(shards, left, "merge")?, open_shard(shards, right, "merge")?);
    if a.range.first > b.range.first {
        std::mem::swap(&mut a, &mut b);
    }
    if a.range.last.checked_add(1) != Some(b.range.first) {
        return Err(StreamError::Refused {
            what: format!("merge of '{left}' and '{right}'"),
            why: format!("their ranges {} and {} are not adjacent; choose neighbours", a.range, b.range),
        });
    }
    let parents = vec![a.number, b.number];
    let range = HashRange { first: a.range.first, last: b.range.last };
    Ok(Reshard { close: parents.clone(), open: vec![Shard::new(shards.len() as u64, range, parents)] })
}

fn open_shard<'a>(shards: &'a [Shard], id: &ShardId, action: &str) -> Result<&'a Shard, StreamError> {
    let number = number_of(id)?;
    let shard = shards.iter().find(|shard| shard.number == number).ok_or_else(|| not_found(id))?;
    if !shard.closed {
        return Ok(shard);
    }
    let children: Vec<_> =
        shards.iter().filter(|child| child.parents.contains(&number)).map(|child| child.id().to_string()).collect();
    let why = match children.is_empty() {
        true => "the shard was closed with its stream".to_owned(),
        false => format!("the shard has gone over into {} already; use what is open", children.join(" and ")),
    };
    Err(StreamError::Refused { what: format!("{action} of '{id}'"), why })
}

/// Finds the open shard of a partition key.
#[derive(Debug)]
pub(crate) struct Router {
    /// The last place of each open shard, ascending.
    lasts: Vec<RingHash>,
}

impl Router {
    /// A router over open shards, which it sorts by range; `None` where they do not divide the ring.
    pub fn new(open: &mut [Shard]) -> Option<Router> {
        open.sort_by_key(|shard| shard.range.first);
        let seamless = open.windows(2).all(|pair| pair[0].range.last.checked_add(1) == Some(pair[1].range.first));
        let whole = open.first()?.range.first == 0 && open.last()?.range.last == RingHash::MAX;
        (seamless && whole).then(|| Router { lasts: open.iter().map(|shard| shard.range.last).collect() })
    }

    /// The index, in the sorted open shards, of the shard that owns a key.
    pub fn route(&self, key: &[u8]) -> usize {
        let hash = hash_key(key);
        self.lasts.partition_point(|last| *last < hash)
    }

    /// [`Router::route`] for every record of a put. Hashes each key once, because MD5 costs several times a look-up.
    pub fn route_all(&self, records: &[PutRecord]) -> Vec<usize> {
        if self.lasts.len() == 1 {
            return vec![0; records.len()];
        }
        let mut known: HashMap<&[u8], usize, foldhash::fast::RandomState> = HashMap::default();
        records
            .iter()
            .map(|record| *known.entry(&record.partition_key[..]).or_insert_with_key(|key| self.route(key)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn names_and_numbers_are_inverse() {
        for number in [0, 7, 999_999_999_999, 1_000_000_000_000] {
            assert_eq!(number_of(&id_of(number)).unwrap(), number);
        }
        for name in ["", "shardId-", "shardId-7", "shardId-+00000000007", "shardId-0000000000007", "file"] {
            assert!(number_of(&ShardId::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_router_needs_the_whole_ring() {
        let mut shards = Shard::first(3);
        assert!(Router::new(&mut shards).is_some());
        assert!(Router::new(&mut shards[1..]).is_none() && Router::new(&mut shards[..2]).is_none());
        assert!(Router::new(&mut []).is_none());
        shards[1].range.first += 1;
        assert!(Router::new(&mut shards).is_none());
    }

    #[test]
    fn the_cache_of_keys_does_not_change_the_route() {
        let router = Router::new(&mut Shard::first(7)).unwrap();
        let records: Vec<_> = (0..500)
            .map(|i| PutRecord { payload: Bytes::new(), partition_key: format!("U{}", i % 90).into() })
            .collect();
        let routes = router.route_all(&records);
        let shards = Shard::first(7);
        for (record, route) in records.iter().zip(routes) {
            assert_eq!(route, router.route(&record.partition_key));
            assert!(shards[route].range.contains(hash_key(&record.partition_key)));
        }
    }
}
