//! Why the consumer stopped, and what to do.

use crate::refusal::Refusal;
use authpulse_engine::SnapshotError;
use authpulse_event::{Position, ShardId};
use authpulse_files::InputError;
use authpulse_lake::catalog::CatalogError;
use authpulse_lake::entry::EntryError;
pub use authpulse_lake::error::Chain;
use authpulse_lake::journal::JournalError;
use authpulse_lake::{LakeError, Remedy, StoreError};
use authpulse_lease::LeaseError;
use authpulse_stream::StreamError;

/// Why a worker, or the service, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// Another owner stored an entry of a newer epoch: the shard is lost to it, and what is not stored is dropped.
    #[error("shard {shard} was taken over by another consumer at entry {n}: this one stops, nothing is lost")]
    Fenced {
        /// The journal.
        shard: ShardId,
        /// The number at which the other's entry was found.
        n: u64,
    },
    /// Entries were folded that this process has not read: it was stopped for longer than they are kept.
    #[error("shard {shard}: entry {n} was folded before this process had read it: start it again, nothing is lost")]
    Outdated {
        /// The journal.
        shard: ShardId,
        /// The entry.
        n: u64,
    },
    /// A follower lacks entries that are folded, or files of theirs that were gathered and cleaned: it is rebuilt from the tables.
    #[error(
        "shard {shard}: entries up to {through} that the follower lacks are folded, or their files are gone: it has to be rebuilt from \
         the tables"
    )]
    Behind {
        /// The journal.
        shard: ShardId,
        /// The last entry that it cannot get by following.
        through: u64,
    },
    /// The engine panicked on a record; the shard is rebuilt and the record tried again.
    #[error("the engine failed on record {position} of shard {shard}: {words}")]
    Panicked {
        /// The journal.
        shard: ShardId,
        /// Where the record stands in its source.
        position: Position,
        /// What the panic said.
        words: String,
    },
    /// Scoring panicked. The accepted event has changed its user's windows, and may be part of daily counts that others have read, so it
    /// cannot become a dead letter any more.
    #[error(
        "scoring {event} (shard {shard}) failed by a bug in this program: {words}; the shard is stored up to entry {entry}, \
         nothing is lost, and restarting goes on from there; if it ends at the same event again, report this and restart with a \
         version that mends it"
    )]
    Unscorable {
        /// The journal.
        shard: ShardId,
        /// The last entry stored, 0 for none.
        entry: u64,
        /// User, computer and time of the event.
        event: String,
        /// What the panic said.
        words: String,
    },
    /// A task, or work for another thread, panicked, or did what it must not do.
    #[error("{0} ended by a bug in this program")]
    Bug(String),
    /// A worker was stopped while the table lacked columns that its rows have values of, and the catalog could not be reached.
    #[error(
        "shard {shard}: stopped before the table's columns could be added: what was not stored is dropped, and read again"
    )]
    Unstored {
        /// The journal.
        shard: ShardId,
    },
    /// The request contradicts what is there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What a follower keeps, or where it keeps it, failed.
    #[error("follower {name}")]
    Follower {
        /// The follower.
        name: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Everything that was asked for is in the lake already.
    #[error("{0}")]
    NothingToDo(String),
    /// The journal failed for too long.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A stored entry cannot be used.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A piece of a snapshot of state is too new for this program.
    #[error("{path} cannot be taken in")]
    Snapshot {
        /// The piece.
        path: String,
        /// What is too new in it.
        source: SnapshotError,
    },
    /// Another task of this process met something that is too new for this program; the text is that task's error.
    #[error("{0}")]
    TooNew(String),
    /// A table failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The leases failed.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The input file failed.
    #[error(transparent)]
    Input(#[from] InputError),
}

impl ConsumerError {
    /// Whether only the stream failed and the same call may work later. Nothing was changed by it.
    pub fn may_pass(&self) -> bool {
        matches!(self, ConsumerError::Stream(StreamError::Storage { retry: true, .. }))
    }

    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            ConsumerError::Fenced { .. } | ConsumerError::Outdated { .. } | ConsumerError::Unstored { .. } => {
                Remedy::Retry
            }
            ConsumerError::Panicked { .. } | ConsumerError::Unscorable { .. } | ConsumerError::Bug(_) => Remedy::Report,
            ConsumerError::Refused(refusal) => refusal.remedy(),
            ConsumerError::Follower { .. } => Remedy::Retry,
            ConsumerError::Entry(EntryError::Damaged { .. }) => Remedy::Restore,
            ConsumerError::Journal(error) => error.remedy(),
            ConsumerError::Lake(error) => error.remedy(),
            ConsumerError::Catalog(error) => error.remedy(),
            ConsumerError::Store(error) => error.remedy(),
            ConsumerError::Lease(error) => error.remedy(),
            ConsumerError::Stream(error) => error.remedy(),
            ConsumerError::Input(_)
            | ConsumerError::Behind { .. }
            | ConsumerError::NothingToDo(_)
            | ConsumerError::Entry(_)
            | ConsumerError::Snapshot { .. }
            | ConsumerError::TooNew(_) => Remedy::Correct,
        }
    }

    /// Whether what is stored is too new for this program: a newer version goes on with it, and this one must leave it alone.
    pub fn is_too_new(&self) -> bool {
        match self {
            ConsumerError::Entry(error) => error.is_too_new(),
            ConsumerError::Snapshot { source, .. } => source.is_too_new(),
            ConsumerError::Lake(error) => error.is_too_new(),
            ConsumerError::TooNew(_) => true,
            _ => false,
        }
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, ConsumerError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_cause_once() {
        let cause = StoreError::Failed { path: "a/b".to_owned(), action: "writing", cause: "no space".to_owned() };
        let error = ConsumerError::from(LakeError::Store { table: "t".to_owned(), source: cause });
        assert_eq!(Chain(&error).to_string(), "a file of table t failed: writing file a/b failed: no space");
        let input = InputError::Open { name: "x".to_owned(), source: std::io::Error::other("gone") };
        assert_eq!(Chain(&ConsumerError::from(input)).to_string(), "cannot open 'x': gone");
    }
}
