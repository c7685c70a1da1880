//! A row of numbered entries per shard, each stored whole or not at all, and only if its number is free.
//!
//! This is the one atomic step that the lake stands on. The content of an entry is none of the journal's business.
//! Entries count from 1.

mod memory;
mod object;
mod registry;
mod sqlite;

pub use memory::MemoryJournal;
pub use object::ObjectJournal;
pub use registry::{FollowerName, Followers, NAME_BYTES_MAX, REGISTRATIONS_KEPT};
pub use sqlite::SqliteJournal;

use crate::remedy::Remedy;
use async_trait::async_trait;
use authpulse_event::ShardId;
use bytes::Bytes;

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The entry is stored, durably.
    Created,
    /// The number was taken; what is stored there is unchanged, and may be an earlier attempt of the caller itself.
    Taken,
}

/// Why the journal did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The entry may be stored or not: read its number before doing anything else.
    #[error(
        "entry {n} of shard {shard} may be stored or not ({cause}): start again, it is looked up before anything is written"
    )]
    Unclear {
        /// The shard.
        shard: ShardId,
        /// The number.
        n: u64,
        /// What the store said.
        cause: String,
    },
    /// The journal could not be opened or read; what is stored in it is as it was.
    #[error("journal {journal}: {action} failed: {cause}")]
    Failed {
        /// Where it is.
        journal: String,
        /// What was tried.
        action: &'static str,
        /// What the store said.
        cause: String,
    },
    /// Another process, which hangs or is stopped while it writes, keeps the journal from being written to; nothing happened.
    #[error("journal {journal}: {action} failed: {cause}")]
    Busy {
        /// Where it is.
        journal: String,
        /// What was tried.
        action: &'static str,
        /// What the store said, and who it is, where that is known.
        cause: String,
    },
    /// The journal's file is no journal, or is damaged.
    #[error("journal {journal} cannot be used: {cause}: restore the file from a copy, or start a new lake")]
    Damaged {
        /// Where it is.
        journal: String,
        /// What is wrong.
        cause: String,
    },
    /// The journal cannot be used as it is set up; nothing happened, and it would not the next time either.
    #[error("journal {journal}: {why}")]
    Refused {
        /// Where it is.
        journal: String,
        /// Why, and what would do.
        why: String,
    },
    /// A number below 1 or beyond what the journal can hold.
    #[error("shard {shard}: {n} is no entry number: entries count from 1")]
    Number {
        /// The shard.
        shard: ShardId,
        /// The number.
        n: u64,
    },
}

impl JournalError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            JournalError::Unclear { .. } => Remedy::Look,
            JournalError::Failed { .. } | JournalError::Busy { .. } => Remedy::Retry,
            JournalError::Damaged { .. } => Remedy::Restore,
            JournalError::Refused { .. } | JournalError::Number { .. } => Remedy::Correct,
        }
    }
}

/// The journals of all shards of a lake.
///
/// Beside its entries a journal has checkpoints. One that is stored for a number stands for all entries up to it (see [`crate::checkpoint`]); the
/// last entry of a journal is never among them. Entries that a checkpoint stands for may be removed, after which their numbers may be
/// free: what is put there counts for nothing.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Stores entry `n` if that number is free; durable when it returns.
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError>;
    /// Entry `n`, if it is stored.
    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError>;
    /// The highest number stored.
    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError>;
    /// All shards that have an entry, in order of name.
    async fn shards(&self) -> Result<Vec<ShardId>, JournalError>;
    /// The entries numbered `from` and above, in order, at most `limit` of them.
    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError>;
    /// The newest checkpoint, and the number of the last entry that it stands for.
    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError>;
    /// Stores the checkpoint of the entries up to `n`; one that is stored already stays.
    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError>;
    /// Removes the entries up to `n`, the oldest first, and all checkpoints but the newest two. Returns how many entries there were.
    ///
    /// # Errors
    /// [`JournalError::Refused`] where no checkpoint stands for entry `n`.
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError>;
    /// Who follows these journals beside the tables.
    fn followers(&self) -> &dyn Followers;
}

/// Checkpoints that are kept: of a reader that has just looked up the newest, the next one must not take it away.
const CHECKPOINTS_KEPT: usize = 2;

fn not_folded(journal: String, shard: &ShardId, n: u64) -> JournalError {
    let why = format!("entries of shard {shard} up to {n} are not folded and cannot be removed");
    JournalError::Refused { journal, why }
}

fn check(shard: &ShardId, n: u64) -> Result<i64, JournalError> {
    match i64::try_from(n) {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err(JournalError::Number { shard: shard.clone(), n }),
    }
}
