//! Why the consumer stopped, and what to do.

use authpulse_event::{Position, ShardId};
use authpulse_lake::catalog::CatalogError;
use authpulse_lake::entry::EntryError;
use authpulse_lake::journal::JournalError;
use authpulse_lake::{LakeError, StoreError};
use authpulse_stream::StreamError;

/// Why a worker, or the service, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// Another owner stored an entry of a newer epoch: the shard is lost to it, and what is not stored is dropped.
    #[error("shard {shard} was taken over by another consumer at entry {n}: this one stops, nothing is lost")]
    Fenced { shard: ShardId, n: u64 },
    /// The engine panicked on a record; the shard is rebuilt and the record tried again.
    #[error("the engine failed on record {position} of shard {shard}: {words}")]
    Panicked { shard: ShardId, position: Position, words: String },
    /// Work for another thread panicked.
    #[error("shard {shard}: {what} failed by a bug in this program; restart it to go on from the last entry")]
    Bug { shard: ShardId, what: &'static str },
    /// The request contradicts the lake's state.
    #[error("{0}")]
    Refused(String),
    /// Everything that was asked for is in the lake already.
    #[error("{0}")]
    NothingToDo(String),
    /// The journal failed for too long.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A stored entry cannot be used.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A table failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The input file failed.
    #[error("{0}")]
    Input(String),
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, ConsumerError>;
