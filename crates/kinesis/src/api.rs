//! What is asked of Kinesis, in plain types. [`crate::AwsKinesis`] asks AWS; tests have a double that fails on purpose.

use async_trait::async_trait;
use authpulse_event::{ArrivalTime, SequenceNumber, ShardId, Span};
use authpulse_stream::ShardDescription;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::time::Duration;

/// A stream as DescribeStreamSummary tells of it.
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
    /// Most bytes of a record, payload and partition key together.
    pub max_record_bytes: usize,
}

/// A record to put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// UTF-8, 1 to 256 characters.
    pub partition_key: String,
    /// Where on the ring it goes instead.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
}

impl Entry {
    /// What counts against every limit of bytes.
    pub fn bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is in the stream.
    Stored {
        /// Where.
        shard: ShardId,
        /// Under which number.
        sequence: SequenceNumber,
    },
    /// Its shard is at its limit: it is not in the stream.
    Throttled,
    /// Kinesis failed: it may be in the stream.
    Failed(String),
}

/// Where an iterator begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IteratorAt {
    /// TRIM_HORIZON: at the oldest record that is kept.
    Oldest,
    /// AT_TIMESTAMP: at the first record that arrived then or later.
    Time(ArrivalTime),
    /// AT_SEQUENCE_NUMBER.
    At(SequenceNumber),
    /// AFTER_SEQUENCE_NUMBER.
    After(SequenceNumber),
}

/// A record as GetRecords gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its number.
    pub sequence: SequenceNumber,
    /// ApproximateArrivalTimestamp.
    pub arrival: ArrivalTime,
    /// Its partition key.
    pub partition_key: Bytes,
    /// Its payload.
    pub data: Bytes,
}

/// An answer of GetRecords.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// May be empty, also in the middle of a shard.
    pub records: Vec<RawRecord>,
    /// The iterator that goes on; none at the end of a closed shard.
    pub next: Option<String>,
    /// How far behind the tip.
    pub behind: Duration,
    /// Whether it names child shards, as it does at the end of a shard.
    pub has_children: bool,
}

/// A registered consumer: who may subscribe to shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its ARN, other after each registration.
    pub arn: String,
    /// `CREATING`, `ACTIVE` or `DELETING`.
    pub status: String,
}

/// What a subscription sends, also where there are no records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// May be empty.
    pub records: Vec<RawRecord>,
    /// Where the next subscription goes on: after this number, which rises also where there are no records. None at the end of
    /// a closed shard.
    pub continuation: Option<SequenceNumber>,
    /// How far behind the tip.
    pub behind: Duration,
    /// Whether it names child shards, as it does at the end of a shard.
    pub has_children: bool,
}

/// A subscription: it ends after five minutes or with an error. It takes from the connection what is asked for and no more, so a
/// reader that does not ask stops the sender; and a wait for the next event may be given up without losing anything.
pub type Events = BoxStream<'static, Result<Event, ApiError>>;

/// Why a call was not answered with what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Over a limit; nothing happened.
    #[error("{0}")]
    Throttled(String),
    /// ExpiredIteratorException: iterators live five minutes.
    #[error("the shard iterator has expired")]
    ExpiredIterator,
    /// InvalidArgumentException.
    #[error("{0}")]
    InvalidArgument(String),
    /// ResourceNotFoundException.
    #[error("{0}")]
    NotFound(String),
    /// ResourceInUseException: the stream is not active, or something of that name is there.
    #[error("{0}")]
    InUse(String),
    /// Nothing happened, and it would not the next time either.
    #[error("{0}")]
    Refused(String),
    /// The KMS key that encrypts the stream cannot be used now: nothing happened, and somebody may mend it.
    #[error("{0}")]
    Key(String),
    /// It may have happened or not.
    #[error("{0}")]
    Unclear(String),
}

impl ApiError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, ApiError::Throttled(_) | ApiError::Unclear(_) | ApiError::InUse(_) | ApiError::Key(_))
    }
}

/// One stream in Kinesis. No call repeats itself unseen.
#[async_trait]
pub trait Api: Send + Sync {
    /// DescribeStreamSummary.
    async fn summary(&self) -> Result<Summary, ApiError>;
    /// ListShards, all pages: every shard that still holds records or takes some.
    async fn shards(&self) -> Result<Vec<ShardDescription>, ApiError>;
    /// PutRecords: what became of each entry, in their order.
    async fn put(&self, entries: &[Entry]) -> Result<Vec<Put>, ApiError>;
    /// GetShardIterator.
    async fn iterator(&self, shard: &ShardId, at: IteratorAt) -> Result<String, ApiError>;
    /// GetRecords, so many at most; [`crate::limits::GET_RECORDS`] is the most that Kinesis gives.
    async fn get(&self, iterator: &str, limit: usize) -> Result<Page, ApiError>;
    /// DescribeStreamConsumer, by name.
    async fn consumer(&self, name: &str) -> Result<Consumer, ApiError>;
    /// RegisterStreamConsumer: it is being made when this returns.
    async fn register(&self, name: &str) -> Result<Consumer, ApiError>;
    /// SubscribeToShard, for a consumer by its ARN.
    async fn subscribe(&self, consumer: &str, shard: &ShardId, at: IteratorAt) -> Result<Events, ApiError>;
}
