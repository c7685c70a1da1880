//! Reading: splitting a Kinesis record into its user records.

use crate::wire::{Malformed, Value, WireReader};
use crate::{DIGEST_BYTES, MAGIC, UserRecord};
use bytes::Bytes;
use md5::{Digest, Md5};

/// Most user records of an aggregate; one with more is [`Damage::TooMany`]. A Kinesis record of at most 10 MiB could hold 1.7 million
/// empty ones, at 16 bytes of memory each; no producer comes near that.
pub const MAX_USER_RECORDS: usize = 1 << 20;
/// Most entries of each key table; an aggregate with more is [`Damage::TooMany`].
pub const MAX_TABLE_ENTRIES: usize = 1 << 20;

/// Most characters of a partition key (API reference of PutRecord).
pub const MAX_KEY_CHARACTERS: usize = 256;

/// What a Kinesis record carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A plain payload: it is no aggregate, or only begins like one.
    Plain,
    /// A valid aggregate of user records.
    Aggregate(Aggregate),
    /// An aggregate with the right digest, but its writer got the content wrong. The KCL hands on what comes before the fault, drops
    /// the rest and logs a line. Here nothing is handed on, and the caller still has the whole record.
    Damaged(Damage),
}

/// What is wrong with an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A key's index points beyond its table.
    #[error("user record {record} names key {index} of a table that has {entries}")]
    Index {
        /// The record, from 0.
        record: usize,
        /// The index that the record names.
        index: u64,
        /// How many entries the table has.
        entries: usize,
    },
    /// An explicit hash key is no decimal number below 2^128.
    #[error("user record {record} names an explicit hash key that is no decimal number below 2^128")]
    HashKey {
        /// The record, from 0.
        record: usize,
    },
    /// A partition key is none that Kinesis accepts. The length is bounded because one entry of the table can be the key of a million
    /// records, so callers that copy a long key for each record would run out of memory.
    #[error("user record {record} names a partition key that is not UTF-8 of {MAX_KEY_CHARACTERS} characters at most")]
    PartitionKey {
        /// The record, from 0.
        record: usize,
    },
    /// More than [`MAX_USER_RECORDS`] or [`MAX_TABLE_ENTRIES`].
    #[error("it holds more than {MAX_USER_RECORDS} user records or keys")]
    TooMany,
}

/// The user records of one Kinesis record. A user record's index is its sub-sequence number.
#[derive(Clone, Debug)]
pub struct Aggregate {
    data: Bytes,
    partition_keys: Vec<Slice>,
    hash_keys: Vec<u128>,
    records: Vec<Inner>,
}

type Slice = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct Inner {
    partition_key: u32,
    /// [`NONE`] if it has no hash key.
    hash_key: u32,
    data: Slice,
}

const NONE: u32 = u32::MAX;

impl Aggregate {
    /// How many user records there are. There may be none at all.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no user records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The user record with this sub-sequence number. It shares memory with the Kinesis record.
    pub fn get(&self, sub_sequence: usize) -> Option<UserRecord> {
        self.records.get(sub_sequence).map(|inner| self.record(inner))
    }

    /// All user records, in order of their sub-sequence numbers, from 0.
    pub fn records(&self) -> impl ExactSizeIterator<Item = UserRecord> + '_ {
        self.records.iter().map(|inner| self.record(inner))
    }

    fn record(&self, inner: &Inner) -> UserRecord {
        let slice = |(from, end): Slice| self.data.slice(from as usize..end as usize);
        UserRecord {
            partition_key: slice(self.partition_keys[inner.partition_key as usize]),
            explicit_hash_key: (inner.hash_key != NONE).then(|| self.hash_keys[inner.hash_key as usize]),
            data: slice(inner.data),
        }
    }

    /// Whether every user record belongs into a shard with this range of the ring, both ends included.
    ///
    /// The KCL silently drops an aggregate that does not fit. If the KPL wrote it, it sees from the answer that a reshard came in
    /// between, and sends all of it again.
    pub fn fits(&self, first: u128, last: u128) -> bool {
        self.records().all(|record| (first..=last).contains(&record.hash_key()))
    }
}

/// Finds out what a Kinesis record carries.
///
/// It is an aggregate only if it begins with [`MAGIC`], has at least one byte between that and the digest, the digest is right,
/// and the bytes between are a complete `AggregatedRecord` of protobuf (proto2: fields in any order, unknown ones passed over,
/// required ones present). Everything else is [`Payload::Plain`], as in the KCL: a payload may begin with the magic bytes by
/// accident. Aggregates do not nest: a user record that looks like one is a payload.
pub fn parse(data: &Bytes) -> Payload {
    // Offsets are kept in 32 bits. That is enough: a Kinesis record has at most 10 MiB.
    if data.len() <= MAGIC.len() + DIGEST_BYTES || !data.starts_with(&MAGIC) || data.len() >= NONE as usize {
        return Payload::Plain;
    }
    let end = data.len() - DIGEST_BYTES;
    if Md5::digest(&data[MAGIC.len()..end])[..] != data[end..] {
        return Payload::Plain;
    }
    let Ok(raw) = read(data, end) else { return Payload::Plain };
    match raw.map(|raw| check(data, raw)) {
        Some(Ok(aggregate)) => Payload::Aggregate(aggregate),
        Some(Err(damage)) => Payload::Damaged(damage),
        None => Payload::Damaged(Damage::TooMany),
    }
}

/// The content of the protobuf, with indexes that are not checked yet.
#[derive(Default)]
struct Raw {
    partition_keys: Vec<Slice>,
    hash_keys: Vec<Slice>,
    records: Vec<RawRecord>,
}

struct RawRecord {
    partition_key: u64,
    hash_key: Option<u64>,
    data: Slice,
}

/// Reads the message in `data[4..end]`; `None` if it has more records or keys than allowed.
fn read(data: &[u8], end: usize) -> Result<Option<Raw>, Malformed> {
    let mut raw = Raw::default();
    let mut too_many = false;
    let mut reader = WireReader::new(data, MAGIC.len(), end);
    while let Some(field) = reader.next()? {
        match field {
            (1, Value::Bytes(from, end)) if raw.partition_keys.len() < MAX_TABLE_ENTRIES => {
                raw.partition_keys.push(slice(from, end));
            }
            (2, Value::Bytes(from, end)) if raw.hash_keys.len() < MAX_TABLE_ENTRIES => {
                raw.hash_keys.push(slice(from, end));
            }
            (3, Value::Bytes(from, end)) => {
                let record = read_record(data, from, end)?;
                if raw.records.len() < MAX_USER_RECORDS {
                    raw.records.push(record);
                } else {
                    too_many = true;
                }
            }
            (1 | 2, Value::Bytes(..)) => too_many = true,
            _ => {}
        }
    }
    Ok((!too_many).then_some(raw))
}

fn slice(from: usize, end: usize) -> Slice {
    // They fit: `parse` has checked the length of the whole record.
    (from as u32, end as u32)
}

/// Reads one user record. If a field occurs twice, the last one counts.
fn read_record(data: &[u8], from: usize, end: usize) -> Result<RawRecord, Malformed> {
    let (mut partition_key, mut hash_key, mut payload) = (None, None, None);
    let mut reader = WireReader::new(data, from, end);
    while let Some(field) = reader.next()? {
        match field {
            (1, Value::Number(index)) => partition_key = Some(index),
            (2, Value::Number(index)) => hash_key = Some(index),
            (3, Value::Bytes(from, end)) => payload = Some(slice(from, end)),
            (4, Value::Bytes(from, end)) => read_tag(data, from, end)?,
            _ => {}
        }
    }
    match (partition_key, payload) {
        (Some(partition_key), Some(data)) => Ok(RawRecord { partition_key, hash_key, data }),
        _ => Err(Malformed),
    }
}

/// Checks a tag. Tags are not used, but the key of a tag is a required field.
fn read_tag(data: &[u8], from: usize, end: usize) -> Result<(), Malformed> {
    let mut reader = WireReader::new(data, from, end);
    let mut has_key = false;
    while let Some(field) = reader.next()? {
        has_key |= matches!(field, (1, Value::Bytes(..)));
    }
    if has_key { Ok(()) } else { Err(Malformed) }
}

fn check(data: &Bytes, raw: Raw) -> Result<Aggregate, Damage> {
    let text = |&(from, end): &Slice| std::str::from_utf8(&data[from as usize..end as usize]).ok();
    let is_key = |key: &str| key.len() <= MAX_KEY_CHARACTERS || key.chars().count() <= MAX_KEY_CHARACTERS;
    let are_keys: Vec<bool> = raw.partition_keys.iter().map(|key| text(key).is_some_and(is_key)).collect();
    let numbers: Vec<Option<u128>> = raw.hash_keys.iter().map(|key| text(key).and_then(decimal)).collect();
    let index_in = |index: u64, entries: usize, record: usize| match usize::try_from(index) {
        Ok(at) if at < entries => Ok(at),
        _ => Err(Damage::Index { record, index, entries }),
    };
    let mut records = Vec::with_capacity(raw.records.len());
    for (record, inner) in raw.records.iter().enumerate() {
        let partition_key = index_in(inner.partition_key, are_keys.len(), record)?;
        if !are_keys[partition_key] {
            return Err(Damage::PartitionKey { record });
        }
        let mut hash_key = NONE;
        if let Some(index) = inner.hash_key {
            let at = index_in(index, numbers.len(), record)?;
            numbers[at].ok_or(Damage::HashKey { record })?;
            hash_key = at as u32;
        }
        records.push(Inner { partition_key: partition_key as u32, hash_key, data: inner.data });
    }
    // Only entries that records name were checked; the others may hold anything.
    let hash_keys = numbers.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Aggregate { data: data.clone(), partition_keys: raw.partition_keys, hash_keys, records })
}

/// A hash key as Kinesis accepts it: a decimal number below 2^128, leading zeros allowed.
fn decimal(text: &str) -> Option<u128> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
