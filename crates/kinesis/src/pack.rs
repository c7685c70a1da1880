//! What goes into the next call for a shard. Pure.
//!
//! PutRecords keeps no order within a call, and may store some entries while it refuses others. So no user is in two entries of one call:
//! then no record of a user is stored before an earlier one that failed. And a call takes the beginning of the queue, whichever users are
//! in it. If users overtook each other by much, a consumer that measures lateness by a shard's newest event would find the slower ones
//! late. If records are aggregated, a call is one entry, which keeps the order.

use crate::api::Entry;
use crate::limits::{AGGREGATE_BYTES, PUT_BYTES, PUT_ENTRIES};
use crate::pace::cost;
use authpulse_event::ring::RingHash;
use bytes::Bytes;
use kpl_aggregation::{Aggregator, Limits, Outgoing, UserRecord};
use std::collections::{HashSet, VecDeque};

/// A record that is to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The index of the record in the put.
    pub index: usize,
    /// The position of its partition key on the ring. Records with the same hash count as one user's.
    pub hash: RingHash,
    /// The partition key, in UTF-8.
    pub partition_key: Bytes,
    /// The payload.
    pub data: Bytes,
}

impl Item {
    fn user_record(&self) -> UserRecord {
        UserRecord::new(self.partition_key.clone(), self.data.clone())
    }
}

/// How calls are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Whether records are aggregated.
    pub aggregate: bool,
    /// The most bytes of an aggregate.
    pub aggregate_bytes: usize,
}

impl Default for Packing {
    fn default() -> Self {
        Packing { aggregate: true, aggregate_bytes: AGGREGATE_BYTES }
    }
}

/// One entry of a call, and the records in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The entry as it is put.
    pub entry: Entry,
    /// The records in it, in order.
    pub items: Vec<Item>,
}

/// Takes records from the front of a shard's queue for one call, in order. Unless the queue is empty it returns at least one entry, and
/// more only while the call costs no more than `most` ([`cost`]).
pub fn pack(queue: &mut VecDeque<Item>, packing: Packing, most: f64) -> Vec<Packed> {
    if packing.aggregate { pack_aggregate(queue, packing).into_iter().collect() } else { pack_plain(queue, most) }
}

fn entry(out: Outgoing, items: &[Item]) -> Entry {
    // A record that is not in an aggregate goes by its own key, like any other producer's.
    let alone = items.len() == 1 && out.data == items[0].data;
    Entry {
        // Keys that are not UTF-8 were refused before anything is sent.
        partition_key: String::from_utf8_lossy(&out.partition_key).into_owned(),
        explicit_hash_key: out.explicit_hash_key.filter(|_| !alone),
        data: out.data,
    }
}

/// One entry for each record, up to the first record of a user that has an entry already.
fn pack_plain(queue: &mut VecDeque<Item>, most: f64) -> Vec<Packed> {
    let mut users = HashSet::new();
    let mut taken = Vec::new();
    let mut bytes = 0;
    while let Some(item) = queue.front() {
        let size = item.partition_key.len() + item.data.len();
        let beyond = bytes + size > PUT_BYTES || cost(taken.len() + 1, bytes + size) > most;
        let full = taken.len() == PUT_ENTRIES || (!taken.is_empty() && beyond);
        if full || !users.insert(item.hash) {
            break;
        }
        bytes += size;
        let one = Packing { aggregate: true, aggregate_bytes: 0 };
        taken.extend(pack_aggregate(queue, one));
    }
    taken
}

/// Fills one aggregate.
fn pack_aggregate(queue: &mut VecDeque<Item>, packing: Packing) -> Option<Packed> {
    let mut aggregator = Aggregator::new(Limits { bytes: packing.aggregate_bytes, ..Limits::default() });
    let mut items = Vec::new();
    while let Some(item) = queue.front() {
        if !aggregator.push(&item.user_record()) {
            break;
        }
        items.extend(queue.pop_front());
    }
    let out = aggregator.take()?;
    Some(Packed { entry: entry(out, &items), items })
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::ring::hash_key;
    use kpl_aggregation::{Payload, parse};
    use proptest::prelude::*;

    fn item(index: usize, user: &str, size: usize) -> Item {
        let data = Bytes::from(vec![b'x'; size]);
        Item { index, hash: hash_key(user.as_bytes()), partition_key: user.to_owned().into(), data }
    }

    fn total(packed: &[Packed]) -> usize {
        packed.iter().map(|one| one.entry.bytes()).sum()
    }

    proptest! {
        #[test]
        fn calls_keep_the_limits_and_the_order(
            given in proptest::collection::vec((0usize..12, prop_oneof![9 => 0usize..400, 1 => 40_000usize..1_048_000]), 1..400),
            aggregate: bool,
            most in 1e3..1e7,
        ) {
            let mut queue: VecDeque<Item> =
                given.iter().enumerate().map(|(n, (user, size))| item(n, &format!("U{user}"), *size)).collect();
            let mut seen = Vec::new();
            while !queue.is_empty() {
                let packed = pack(&mut queue, Packing { aggregate, ..Packing::default() }, most);
                prop_assert!(!packed.is_empty() && packed.len() <= PUT_ENTRIES);
                prop_assert!(total(&packed) <= PUT_BYTES, "{}", total(&packed));
                let mut users = HashSet::new();
                for one in &packed {
                    let own: HashSet<RingHash> = one.items.iter().map(|item| item.hash).collect();
                    prop_assert!(own.iter().all(|user| users.insert(*user)), "a user is in two entries of one call");
                    match parse(&one.entry.data) {
                        Payload::Aggregate(aggregate) => {
                            prop_assert_eq!(aggregate.len(), one.items.len());
                            prop_assert_eq!(one.entry.explicit_hash_key, Some(one.items[0].hash));
                        }
                        _ => prop_assert!(one.items.len() == 1 && one.entry.data == one.items[0].data
                            && one.entry.explicit_hash_key.is_none()),
                    }
                    prop_assert!(one.entry.bytes() <= 1 << 20);
                    seen.extend(one.items.iter().map(|item| item.index));
                }
                prop_assert!(packed.len() == 1 || (!aggregate && cost(packed.len(), total(&packed)) <= most));
            }
            prop_assert!(seen.into_iter().eq(0..given.len()), "the queue's order");
        }
    }

    #[test]
    fn an_aggregate_is_filled() {
        let mut many: VecDeque<Item> = (0..20_000).map(|n| item(n, &format!("U{}", n % 900), 60)).collect();
        let packed = pack(&mut many, Packing::default(), f64::MAX);
        assert!((AGGREGATE_BYTES - 100..=AGGREGATE_BYTES).contains(&packed[0].entry.data.len()));
        assert_eq!(many.len() + packed[0].items.len(), 20_000);
    }

    #[test]
    fn one_user_alone_goes_one_after_another() {
        let mut queue: VecDeque<Item> = (0..3).map(|n| item(n, "U1", 9)).collect();
        let plain = Packing { aggregate: false, ..Packing::default() };
        for n in 0..3 {
            let packed = pack(&mut queue, plain, f64::MAX);
            assert_eq!(packed.iter().map(|one| one.items[0].index).collect::<Vec<_>>(), [n]);
        }
        assert!(queue.is_empty());
    }
}
