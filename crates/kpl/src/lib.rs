//! The aggregation format of Amazon's Kinesis Producer Library (KPL): many small records in one Kinesis record.
//!
//! ```text
//! offset 0       4                          len-16        len
//!        | magic | protobuf AggregatedRecord | MD5 (16 B) |
//! ```
//!
//! [`parse`] takes such a record apart as the Kinesis Client Library (KCL) does, without copying a payload; [`Aggregator`] puts
//! records together as the KPL does. Nothing here does I/O, and nothing is known of any client of AWS.
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

/// How an aggregated record begins.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// How many bytes of MD5, over the protobuf alone, it ends with.
pub const DIGEST_BYTES: usize = 16;
/// The partition key that the KPL gives an aggregate; its explicit hash key chooses the shard.
pub const AGGREGATE_PARTITION_KEY: &str = "a";

/// A record as its producer meant it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserRecord {
    /// The partition key: UTF-8, of 1 to 256 characters where Kinesis itself is to take it.
    pub partition_key: Bytes,
    /// The place on the ring that the producer gave it instead of the key's own.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
}

impl UserRecord {
    /// A record that goes by its partition key.
    pub fn new(partition_key: impl Into<Bytes>, data: impl Into<Bytes>) -> UserRecord {
        UserRecord { partition_key: partition_key.into(), explicit_hash_key: None, data: data.into() }
    }

    /// The place on the ring by which Kinesis would choose its shard, were it put alone.
    pub fn hash_key(&self) -> u128 {
        self.explicit_hash_key.unwrap_or_else(|| hash_key(&self.partition_key))
    }
}

/// MD5 of a partition key, as a big-endian number: its place on the ring of 128 bits over which shards are laid out.
pub fn hash_key(partition_key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}
