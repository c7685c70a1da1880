//! The calls of Kinesis in plain types. [`crate::AwsKinesis`] makes them with the AWS SDK; tests have a double that fails on purpose.

use async_trait::async_trait;
use authpulse_event::{ArrivalTime, SequenceNumber, ShardId, Span};
use authpulse_stream::ShardDescription;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::time::Duration;

/// A stream as DescribeStreamSummary describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its ARN.
    pub arn: String,
    /// When it was created.
    pub created: ArrivalTime,
    /// How long records are kept.
    pub retention: Span,
    /// `ACTIVE`, `CREATING`, `UPDATING` or `DELETING`.
    pub status: String,
    /// The most bytes of a record, payload and partition key together.
    pub max_record_bytes: usize,
}

/// A record to put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The partition key: UTF-8, 1 to 256 characters.
    pub partition_key: String,
    /// If set, the record goes to this position on the ring, instead of that of its partition key.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
}

impl Entry {
    /// The bytes of the key and the payload, which count against every limit of bytes.
    pub fn bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is in the stream.
    Stored {
        /// The shard that it is in.
        shard: ShardId,
        /// Its sequence number.
        sequence: SequenceNumber,
    },
    /// Its shard is at its limit: it is not in the stream.
    Throttled,
    /// Kinesis failed, for the given reason: it may be in the stream or not.
    Failed(String),
}

/// Where an iterator begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IteratorAt {
    /// TRIM_HORIZON: at the oldest record that is kept.
    Oldest,
    /// AT_TIMESTAMP: at the first record that arrived then or later.
    Time(ArrivalTime),
    /// AT_SEQUENCE_NUMBER: at the record with this number.
    At(SequenceNumber),
    /// AFTER_SEQUENCE_NUMBER: after the record with this number.
    After(SequenceNumber),
}

/// A record as GetRecords gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its sequence number.
    pub sequence: SequenceNumber,
    /// ApproximateArrivalTimestamp: when the stream took the record, by the stream's clock.
    pub arrival: ArrivalTime,
    /// Its partition key.
    pub partition_key: Bytes,
    /// Its payload.
    pub data: Bytes,
}

/// An answer of GetRecords.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records. May be empty, even in the middle of a shard.
    pub records: Vec<RawRecord>,
    /// The iterator with which reading goes on; `None` at the end of a closed shard.
    pub next: Option<String>,
    /// How far the page is behind the tip, as a span of arrivals.
    pub behind: Duration,
    /// Whether the answer names child shards, as it does at the end of a shard.
    pub has_children: bool,
}

/// A registered consumer, which may subscribe to shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its ARN, which is different after each registration.
    pub arn: String,
    /// `CREATING`, `ACTIVE` or `DELETING`.
    pub status: String,
}

/// An event of a subscription. Kinesis also sends events without records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The records. May be empty.
    pub records: Vec<RawRecord>,
    /// The next subscription goes on after this number, which grows even without records. `None` at the end of a closed shard.
    pub continuation: Option<SequenceNumber>,
    /// How far the event is behind the tip, as a span of arrivals.
    pub behind: Duration,
    /// Whether the event names child shards, as it does at the end of a shard.
    pub has_children: bool,
}

/// The events of a subscription, which ends after five minutes or with an error. It takes an event from the connection only when asked
/// for one, so a reader that does not ask stops the sender. Dropping a wait for the next event loses nothing.
pub type Events = BoxStream<'static, Result<Event, ApiError>>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The call was over a limit; nothing happened.
    #[error("{0}")]
    Throttled(String),
    /// ExpiredIteratorException: iterators live for five minutes.
    #[error("the shard iterator has expired")]
    ExpiredIterator,
    /// InvalidArgumentException, such as a sequence number that is not one of the shard.
    #[error("{0}")]
    InvalidArgument(String),
    /// ResourceNotFoundException: there is no such stream, shard or consumer.
    #[error("{0}")]
    NotFound(String),
    /// ResourceInUseException: the stream is not active, or the name is in use.
    #[error("{0}")]
    InUse(String),
    /// Refused: nothing happened, and the same call would be refused again.
    #[error("{0}")]
    Refused(String),
    /// The KMS key that encrypts the stream cannot be used now: nothing happened, and somebody may repair it.
    #[error("{0}")]
    Key(String),
    /// The call may have taken effect or not.
    #[error("{0}")]
    Unclear(String),
}

impl ApiError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, ApiError::Throttled(_) | ApiError::Unclear(_) | ApiError::InUse(_) | ApiError::Key(_))
    }
}

/// The calls on one stream in Kinesis. None is repeated behind the caller's back.
#[async_trait]
pub trait Api: Send + Sync {
    /// DescribeStreamSummary: what the stream is.
    async fn summary(&self) -> Result<Summary, ApiError>;
    /// ListShards, all pages: every shard that still has records or takes some.
    async fn shards(&self) -> Result<Vec<ShardDescription>, ApiError>;
    /// PutRecords: returns what became of each entry, in their order.
    async fn put(&self, entries: &[Entry]) -> Result<Vec<Put>, ApiError>;
    /// GetShardIterator: an iterator that begins at `at`.
    async fn iterator(&self, shard: &ShardId, at: IteratorAt) -> Result<String, ApiError>;
    /// GetRecords with a limit; [`crate::limits::GET_RECORDS`] is the most records that Kinesis returns.
    async fn get(&self, iterator: &str, limit: usize) -> Result<Page, ApiError>;
    /// DescribeStreamConsumer, by name.
    async fn consumer(&self, name: &str) -> Result<Consumer, ApiError>;
    /// RegisterStreamConsumer: the consumer is still being made when this returns.
    async fn register(&self, name: &str) -> Result<Consumer, ApiError>;
    /// SubscribeToShard, for the consumer with this ARN.
    async fn subscribe(&self, consumer: &str, shard: &ShardId, at: IteratorAt) -> Result<Events, ApiError>;
}
