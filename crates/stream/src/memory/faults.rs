//! Faults that a simulator injects into a [`MemoryStream`](super::MemoryStream).

use crate::{ReadFrom, ReadLimit, StreamError};
use authpulse_event::ShardId;

/// What is being asked of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A call of [`Stream::describe`](crate::Stream::describe).
    Describe,
    /// A call of [`Stream::shards`](crate::Stream::shards).
    Shards,
    /// A call of [`Stream::read`](crate::Stream::read).
    Read {
        /// The shard read.
        shard: ShardId,
        /// From where.
        from: ReadFrom,
    },
    /// A call of [`Stream::tip`](crate::Stream::tip).
    Tip {
        /// The shard asked about.
        shard: ShardId,
    },
    /// A call of [`StreamWriter::put`](crate::StreamWriter::put).
    Put {
        /// How many records.
        records: usize,
        /// The job whose progress is stored with them, if any.
        job: Option<String>,
    },
    /// A call of [`StreamWriter::progress`](crate::StreamWriter::progress).
    Progress {
        /// The producer's job.
        job: String,
    },
    /// A call of [`StreamWriter::split`](crate::StreamWriter::split).
    Split {
        /// The parent.
        shard: ShardId,
    },
    /// A call of [`StreamWriter::merge`](crate::StreamWriter::merge).
    Merge {
        /// One parent.
        left: ShardId,
        /// The other.
        right: ShardId,
    },
    /// A call of [`StreamWriter::close`](crate::StreamWriter::close).
    Close,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before the operation: nothing has happened.
    Before,
    /// After it: it has happened, but the answer is lost. Not consulted for an operation that was refused.
    After,
}

/// Decides what goes wrong. Any `Fn(&Operation, Moment) -> Option<StreamError>` is one.
pub trait Faults: Send + Sync {
    /// The error to answer with at this moment of this operation, if any.
    fn inject(&self, operation: &Operation, moment: Moment) -> Option<StreamError>;

    /// How much a read may return instead of what was asked for: a stream may always return less, but at least one record.
    fn shorten(&self, shard: &ShardId, limit: ReadLimit) -> ReadLimit {
        let _ = shard;
        limit
    }
}

impl<F: Fn(&Operation, Moment) -> Option<StreamError> + Send + Sync> Faults for F {
    fn inject(&self, operation: &Operation, moment: Moment) -> Option<StreamError> {
        self(operation, moment)
    }
}
