//! Writing: combining user records into an aggregate.

use crate::wire::{bytes_field_len, put_bytes, put_varint, varint_len};
use crate::{AGGREGATE_PARTITION_KEY, DIGEST_BYTES, MAGIC, Payload, UserRecord, parse};
use bytes::Bytes;
use hashbrown::HashTable;
use md5::{Digest, Md5};
use std::hash::{BuildHasher, Hasher};

/// When an aggregate is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the encoded aggregate. The first user record is accepted whatever its size: alone it is sent plain.
    pub bytes: usize,
    /// Most user records in one aggregate.
    pub records: usize,
}

impl Default for Limits {
    /// 51,200 bytes, as the KPL's AggregationMaxSize, and 65,536 records, which the KPL does not limit in practice.
    fn default() -> Self {
        Limits { bytes: 51_200, records: 65_536 }
    }
}

/// A record for Kinesis: a [`UserRecord`] as it is, or an aggregate of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The parameter `PartitionKey` of the call.
    pub partition_key: Bytes,
    /// The parameter `ExplicitHashKey`; of an aggregate, the place on the ring of its first record.
    pub explicit_hash_key: Option<u128>,
    /// The parameter `Data`.
    pub data: Bytes,
    /// How many user records it holds.
    pub user_records: usize,
}

/// Collects user records for one shard, in order.
///
/// The caller must see to it that all records belong into one shard, by [`UserRecord::hash_key`]; otherwise a KCL that reads them
/// drops them all. A key that several records share is written once.
pub struct Aggregator {
    limits: Limits,
    partition_keys: Table,
    hash_keys: Table,
    records: Vec<u8>,
    count: usize,
    first: Option<UserRecord>,
    hasher: foldhash::fast::RandomState,
}

/// A key table that is being built.
#[derive(Default)]
struct Table {
    /// The encoded fields, one after another.
    encoded: Vec<u8>,
    /// Where each key lies in `encoded`.
    keys: Vec<(usize, usize)>,
    index: HashTable<u32>,
}

impl Table {
    fn find(&self, key: &[u8], hash: u64) -> Option<u32> {
        let is_key = |at: &u32| {
            let (from, end) = self.keys[*at as usize];
            self.encoded[from..end] == *key
        };
        self.index.find(hash, is_key).copied()
    }

    fn add(&mut self, field: u8, key: &[u8], hash: u64, hash_of: impl Fn(&[u8]) -> u64) {
        put_bytes(&mut self.encoded, field, key);
        let end = self.encoded.len();
        self.keys.push((end - key.len(), end));
        let (keys, encoded) = (&self.keys, &self.encoded);
        let at = (keys.len() - 1) as u32;
        self.index.insert_unique(hash, at, |at| {
            let (from, end) = keys[*at as usize];
            hash_of(&encoded[from..end])
        });
    }

    fn clear(&mut self) {
        self.encoded.clear();
        self.keys.clear();
        self.index.clear();
    }
}

impl Aggregator {
    /// An empty aggregator.
    pub fn new(limits: Limits) -> Aggregator {
        Aggregator {
            limits,
            partition_keys: Table::default(),
            hash_keys: Table::default(),
            records: Vec::new(),
            count: 0,
            first: None,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// How many user records it has collected.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has collected no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the aggregate if it were taken now. For a single record too, although that would be sent plain.
    pub fn encoded_len(&self) -> usize {
        MAGIC.len()
            + self.partition_keys.encoded.len()
            + self.hash_keys.encoded.len()
            + self.records.len()
            + DIGEST_BYTES
    }

    /// Adds a record unless the limits forbid it; returns whether it did. The first record always fits.
    pub fn push(&mut self, record: &UserRecord) -> bool {
        let hash_of = |hasher: &foldhash::fast::RandomState, key: &[u8]| {
            let mut state = hasher.build_hasher();
            state.write(key);
            state.finish()
        };
        let text = record.explicit_hash_key.map(|key| key.to_string());
        let key = &record.partition_key[..];
        let key_hash = hash_of(&self.hasher, key);
        let known_key = self.partition_keys.find(key, key_hash);
        let key_index = known_key.unwrap_or(self.partition_keys.keys.len() as u32);
        let explicit = text.as_ref().map(|text| {
            let hash = hash_of(&self.hasher, text.as_bytes());
            (text.as_bytes(), hash, self.hash_keys.find(text.as_bytes(), hash))
        });
        let explicit_index = explicit.map(|(_, _, known)| u64::from(known.unwrap_or(self.hash_keys.keys.len() as u32)));
        let length = 1
            + varint_len(u64::from(key_index))
            + explicit_index.map_or(0, |index| 1 + varint_len(index))
            + bytes_field_len(record.data.len());
        let growth = bytes_field_len(length)
            + known_key.map_or_else(|| bytes_field_len(key.len()), |_| 0)
            + explicit.map_or(0, |(text, _, known)| known.map_or_else(|| bytes_field_len(text.len()), |_| 0));
        let full = self.count >= self.limits.records || self.encoded_len() + growth > self.limits.bytes;
        if self.count > 0 && full {
            return false;
        }
        let hasher = &self.hasher;
        if known_key.is_none() {
            self.partition_keys.add(1, key, key_hash, |key| hash_of(hasher, key));
        }
        if let Some((text, hash, None)) = explicit {
            self.hash_keys.add(2, text, hash, |key| hash_of(hasher, key));
        }
        self.records.push(3 << 3 | 2);
        put_varint(&mut self.records, length as u64);
        self.records.push(1 << 3);
        // Zero is written too, because the field is required.
        put_varint(&mut self.records, u64::from(key_index));
        if let Some(index) = explicit_index {
            self.records.push(2 << 3);
            put_varint(&mut self.records, index);
        }
        put_bytes(&mut self.records, 3, &record.data);
        self.count += 1;
        self.first.get_or_insert_with(|| record.clone());
        true
    }

    /// The collected records as one record for Kinesis; `None` if there are none. The aggregator is empty afterwards. A single record is
    /// sent plain, as the KPL does, unless its payload looks like an aggregate: readers would split it.
    pub fn take(&mut self) -> Option<Outgoing> {
        let first = self.first.take()?;
        let user_records = self.count;
        let outgoing = if user_records == 1 && matches!(parse(&first.data), Payload::Plain) {
            Outgoing {
                partition_key: first.partition_key,
                explicit_hash_key: first.explicit_hash_key,
                data: first.data,
                user_records,
            }
        } else {
            let mut data = Vec::with_capacity(self.encoded_len());
            data.extend_from_slice(&MAGIC);
            data.extend_from_slice(&self.partition_keys.encoded);
            data.extend_from_slice(&self.hash_keys.encoded);
            data.extend_from_slice(&self.records);
            let digest = Md5::digest(&data[MAGIC.len()..]);
            data.extend_from_slice(&digest);
            Outgoing {
                partition_key: Bytes::from_static(AGGREGATE_PARTITION_KEY.as_bytes()),
                explicit_hash_key: Some(first.hash_key()),
                data: data.into(),
                user_records,
            }
        };
        self.count = 0;
        self.records.clear();
        self.partition_keys.clear();
        self.hash_keys.clear();
        Some(outgoing)
    }
}
