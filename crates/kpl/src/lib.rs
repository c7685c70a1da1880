//! The aggregation format of Amazon's Kinesis Producer Library (KPL): many small records in one Kinesis record.
//!
//! ```text
//! offset 0       4                          len-16        len
//!        | magic | protobuf AggregatedRecord | MD5 (16 B) |
//! ```
//!
//! [`parse`] splits such a record as the Kinesis Client Library (KCL) does, without copying payloads. [`Aggregator`] combines
//! records as the KPL does. This crate does no I/O and knows no AWS client.
//!
//! ```
//! use kpl_aggregation::{Aggregator, Limits, Payload, UserRecord, parse};
//!
//! let mut aggregator = Aggregator::new(Limits::default());
//! for (key, data) in [("alice", "logged on"), ("bob", "logged off")] {
//!     assert!(aggregator.push(&UserRecord::new(key, data)));
//! }
//! let record = aggregator.take().expect("two records went in");
//! assert_eq!(record.partition_key, "a"); // what the KPL writes; the hash key decides about the shard
//!
//! let Payload::Aggregate(aggregate) = parse(&record.data) else { panic!("it is one") };
//! let data: Vec<_> = aggregate.records().map(|record| record.data).collect();
//! assert_eq!(data, ["logged on", "logged off"]);
//! ```
//!
//! Formats and rules: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md> and
//! `AggregatorUtil.java` of amazon-kinesis-client 3.5.

mod aggregate;
mod parse;
mod wire;

pub use aggregate::{Aggregator, Limits, Outgoing};
pub use parse::{Aggregate, Damage, MAX_KEY_CHARACTERS, MAX_TABLE_ENTRIES, MAX_USER_RECORDS, Payload, parse};

use bytes::Bytes;
use md5::{Digest, Md5};

/// The first bytes of an aggregated record.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// Length of the MD5 digest at its end, in bytes. The digest is over the protobuf alone.
pub const DIGEST_BYTES: usize = 16;
/// The partition key that the KPL gives an aggregate; its explicit hash key chooses the shard.
pub const AGGREGATE_PARTITION_KEY: &str = "a";

/// A record as a producer sends it, before aggregation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserRecord {
    /// The partition key. Kinesis accepts UTF-8 of 1 to 256 characters.
    pub partition_key: Bytes,
    /// The place on the ring that the producer chose, instead of the MD5 of the partition key.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
}

impl UserRecord {
    /// A record without an explicit hash key: its partition key decides the shard.
    pub fn new(partition_key: impl Into<Bytes>, data: impl Into<Bytes>) -> UserRecord {
        UserRecord { partition_key: partition_key.into(), explicit_hash_key: None, data: data.into() }
    }

    /// The place on the ring by which Kinesis would choose the shard if the record were put alone.
    pub fn hash_key(&self) -> u128 {
        self.explicit_hash_key.unwrap_or_else(|| hash_key(&self.partition_key))
    }
}

/// MD5 of a partition key, as a big-endian number: its place on the ring of 128 bits that the shards divide.
pub fn hash_key(partition_key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}
