//! The stream: shards of records in order of arrival, with the semantics of Kinesis as far as a consumer sees them.
//!
//! [`Stream`] is what a consumer needs, [`StreamWriter`] what a producer and an operator need. [`local`] keeps a stream in a
//! directory (SQLite), [`memory`] in a value for simulations; Kinesis comes behind the same traits. This crate knows nothing of
//! risk, tables or journals.
//!
//! ```text
//! StreamWriter::put --> shard 0 | batch | batch | batch |  --> Stream::read (shard 0, after a position)
//!       key's MD5  \--> shard 1 | batch | batch |          --> Stream::read (shard 1, ...)
//!                               oldest first; trimmed after the retention
//! ```
//!
//! What both stores promise (and `tests/stream/contract` checks on both):
//! - A put is there whole or not at all, together with the producer's progress, once and in order.
//! - Positions and arrivals never fall within a shard; the positions of a child lie beyond all of its parents'.
//! - A read begins anywhere, and what retention took away before it is counted.
//!
//! Bounds are in [`limits`].

mod codec;
pub mod limits;
pub mod local;
pub mod memory;
mod options;
mod request;
mod shards;

pub use local::LocalStream;
pub use memory::MemoryStream;
pub use options::{Clock, CreateOptions, system_clock};

use async_trait::async_trait;
use authpulse_event::{ArrivalTime, HashRange, Position, Remedy, SequenceNumber, ShardId, Span};
use bytes::Bytes;

/// One record as a consumer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The bytes as they were put, unchanged.
    pub payload: Bytes,
    /// The key that chose the shard, as it was put. Kinesis takes only UTF-8 of at most 256 characters; the stores of this crate carry any
    /// bytes (see [`limits::MAX_PARTITION_KEY_BYTES`]).
    pub partition_key: Bytes,
    /// The place within the shard; grows from record to record.
    pub position: Position,
    /// When the record was appended to the stream, by the stream's clock.
    pub arrival: ArrivalTime,
}

/// One record as a producer puts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRecord {
    /// Any bytes, also none.
    pub payload: Bytes,
    /// Chooses the shard: the one whose range holds MD5(key).
    pub partition_key: Bytes,
}

/// A stream as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// Its name, for people.
    pub name: String,
    /// When it was created. Name and time of creation together identify a stream: one that was deleted and created again under the old name
    /// is another.
    pub created: ArrivalTime,
    /// How long records are kept at least after their arrival.
    pub retention: Span,
    /// Whether the producer closed the stream for good: nothing will ever be appended again.
    pub closed: bool,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardDescription {
    /// Its name.
    pub id: ShardId,
    /// The partition keys it owns.
    pub range: HashRange,
    /// The shards it came from: none, one (split) or two (merge).
    pub parents: Vec<ShardId>,
    /// Whether it takes no more records (it was split or merged, or the stream was closed).
    pub closed: bool,
}

/// Where to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the oldest record that is kept.
    Start,
    /// Right after this position.
    After(Position),
}

/// How much one read may return. A read returns at least one record if there is one, whatever the limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Most records.
    pub records: usize,
    /// Most bytes of payload.
    pub bytes: usize,
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBatch {
    /// The next records, in order; may be empty.
    pub records: Vec<Record>,
    /// Records that the stream no longer keeps between the asked position and the first record of this batch. If all records are gone, the
    /// gap comes without one; the next read from the same position reports it again, and it may have grown. So of two gaps from one
    /// position the later *replaces* the earlier; only gaps from different positions add up.
    pub gap: Option<Gap>,
    /// Whether the shard held nothing beyond these records at the time of the read.
    pub at_tip: bool,
    /// Whether the shard is closed and these records reach its end: nothing will follow.
    pub at_end: bool,
    /// The stream's clock, taken before the read looked at the shard; never below the arrival of a record returned. `None` if it cannot be
    /// trusted: for a stream of this crate, if the host's clock lies behind the newest arrival, as it does after a clock that was ahead was
    /// set right. Arrivals then stand still.
    pub clock: Option<ArrivalTime>,
}

/// Records lost to the consumer because it came after their retention had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Records lost, where the stream can tell.
    pub records: Option<u64>,
}

/// Where one put ended up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// The shard chosen by the partition key.
    pub shard: ShardId,
    /// The number given.
    pub sequence: SequenceNumber,
}

/// A producer's own note of how far it is, stored together with the records it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerProgress {
    /// Names the producer's job, such as the digest of its input files.
    pub job: String,
    /// The job's state after these records, in a form that the producer chooses.
    pub state: String,
}

/// Why a stream could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream or shard does not exist; fix the argument.
    #[error("{what} does not exist: {hint}")]
    NotFound {
        /// The stream or shard, by name.
        what: String,
        /// What may be the reason, and what to do.
        hint: String,
    },
    /// The request contradicts the state of the stream (closed, not adjacent, …); fix the request.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What it contradicts, and what would do.
        why: String,
    },
    /// The stream does not take one of a put's records; nothing of the put was sent. Fix the record, or what the stream takes.
    #[error("record {index} of a put into {stream} has {what}: {why}")]
    Record {
        /// Its place in the put, from 0.
        index: usize,
        /// The stream.
        stream: String,
        /// What is wrong with it.
        what: String,
        /// What the stream takes, and what to do.
        why: String,
    },
    /// The store behind the stream failed; trying again may help if `retry`.
    #[error("stream {stream}: {action} failed: {cause}")]
    Storage {
        /// Where the stream is stored.
        stream: String,
        /// What was under way: `put`, `read`, `open`, …
        action: &'static str,
        /// What the store said and, where that is known, what to do.
        cause: String,
        /// Whether the same call may succeed later.
        retry: bool,
    },
    /// What is stored cannot be read; restore the stream from elsewhere.
    #[error("stream {stream} is damaged: {what}: restore it from a copy, or begin a new stream")]
    Damaged {
        /// Where the stream is stored.
        stream: String,
        /// What contradicts what.
        what: String,
    },
}

impl StreamError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            StreamError::Damaged { .. } => Remedy::Restore,
            StreamError::Storage { retry: true, .. } => Remedy::Retry,
            StreamError::NotFound { .. }
            | StreamError::Refused { .. }
            | StreamError::Record { .. }
            | StreamError::Storage { retry: false, .. } => Remedy::Correct,
        }
    }
}

/// What a consumer needs of a stream.
#[async_trait]
pub trait Stream: Send + Sync {
    /// The stream as a whole.
    ///
    /// # Errors
    /// The store behind the stream fails or is damaged.
    async fn describe(&self) -> Result<StreamDescription, StreamError>;
    /// All shards, parents before children. Closed ones are included as long as they hold records or open shards descend from them.
    ///
    /// # Errors
    /// The store behind the stream fails or is damaged.
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError>;
    /// The next records of a shard.
    ///
    /// # Errors
    /// [`StreamError::Refused`] for a position beyond all that the stream has given out: it belongs to another stream.
    /// [`StreamError::NotFound`] for an unknown shard. Or the store fails or is damaged.
    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError>;
    /// The position of the newest record of a shard, [`Position::START`] where it never had one.
    ///
    /// # Errors
    /// [`StreamError::NotFound`] for an unknown shard; or the store fails or is damaged.
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError>;
}

/// What a producer and an operator need of a stream.
#[async_trait]
pub trait StreamWriter: Send + Sync {
    /// Appends records, in order for equal partition keys, all or none, together with the producer's progress. The receipts are in the
    /// order of the records. A put without records stores the progress alone. After an error that may be tried again it is unknown whether
    /// the put happened; [`StreamWriter::progress`] tells.
    ///
    /// # Errors
    /// [`StreamError::Refused`] or [`StreamError::Record`] if the put breaks a limit, `Refused` if the stream is closed; or the store fails
    /// or is damaged.
    async fn put(
        &self,
        records: Vec<PutRecord>,
        progress: Option<ProducerProgress>,
    ) -> Result<Vec<PutReceipt>, StreamError>;
    /// The progress a job stored last.
    ///
    /// # Errors
    /// The store behind the stream fails or is damaged.
    async fn progress(&self, job: &str) -> Result<Option<String>, StreamError>;
    /// Splits an open shard so that the second child begins at `at`. The shard takes no more records; both children are new.
    ///
    /// # Errors
    /// [`StreamError::NotFound`] for an unknown shard; `Refused` if it is closed, if `at` is not within its range, or if the stream may
    /// have no more shards; or the store fails or is damaged.
    async fn split(&self, shard: &ShardId, at: u128) -> Result<[ShardId; 2], StreamError>;
    /// Merges two open shards with adjacent ranges, given in either order, into a new one; neither takes more records.
    ///
    /// # Errors
    /// [`StreamError::NotFound`] for an unknown shard; `Refused` if one is closed or they are not adjacent; or the store fails or is
    /// damaged.
    async fn merge(&self, left: &ShardId, right: &ShardId) -> Result<ShardId, StreamError>;
    /// Closes the stream: every shard ends, nothing can be put any more. Closing twice is no error.
    ///
    /// # Errors
    /// The store behind the stream fails or is damaged.
    async fn close(&self) -> Result<(), StreamError>;
}
