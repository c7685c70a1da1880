//! The journals: numbered entries per shard. An entry is stored whole or not at all, and only if its number is free.
//!
//! Putting an entry is the one atomic step on which the lake rests. A journal does not look at the content of its entries. Numbers count
//! from 1.

mod memory;
mod object;
mod registry;
mod sqlite;

pub use memory::MemoryJournal;
pub use object::ObjectJournal;
pub use registry::{FollowerName, Followers, NAME_BYTES_MAX, REGISTRATIONS_KEPT};
pub use sqlite::SqliteJournal;

use async_trait::async_trait;
use authpulse_event::Remedy;
use authpulse_event::ShardId;
use bytes::Bytes;

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The entry is stored, durably.
    Created,
    /// The number was taken. What is stored there is unchanged; it may come from an earlier attempt of the same caller.
    Taken,
}

/// Why a call of the journal failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Whether the entry is stored is unknown: read its number before doing anything else.
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
    /// The journal could not be opened or read; what it holds is unchanged.
    #[error("journal {journal}: {action} failed: {cause}")]
    Failed {
        /// Where it is.
        journal: String,
        /// What was tried.
        action: &'static str,
        /// What the store said.
        cause: String,
    },
    /// Another process hangs or is stopped while it writes, and blocks writes to the journal; nothing happened.
    #[error("journal {journal}: {action} failed: {cause}")]
    Busy {
        /// Where it is.
        journal: String,
        /// What was tried.
        action: &'static str,
        /// What the store said, and which process it is, if that is known.
        cause: String,
    },
    /// The journal's file is not a journal, or is damaged.
    #[error("journal {journal} cannot be used: {cause}: restore the file from a copy, or start a new lake")]
    Damaged {
        /// Where it is.
        journal: String,
        /// What is wrong.
        cause: String,
    },
    /// The journal cannot be used as it is set up. Nothing happened, and trying again will not help.
    #[error("journal {journal}: {why}")]
    Refused {
        /// Where it is.
        journal: String,
        /// Why, and what would help.
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
/// Beside its entries a journal has checkpoints. A checkpoint stored for a number stands for all entries up to it (see
/// [`crate::checkpoint`]), but never for the last entry of the journal. Entries that a checkpoint stands for may be removed. Their numbers
/// may then be free again; what is put there is ignored.
///
/// # Errors
/// Calls fail with a [`JournalError`]; its [`remedy`](JournalError::remedy) says what the caller can do.
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
    /// The newest checkpoint, and the number of the last entry for which it stands.
    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError>;
    /// Stores the checkpoint of the entries up to `n`; an existing one stays.
    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError>;
    /// Removes the entries up to `n`, oldest first, and all checkpoints but the newest two. Returns how many entries it removed.
    ///
    /// # Errors
    /// [`JournalError::Refused`] if no checkpoint stands for entry `n`.
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError>;
    /// The registrations of the followers of these journals; the tables are not among them.
    fn followers(&self) -> &dyn Followers;
}

/// Checkpoints that are kept. A reader may just have looked up the newest one, so storing the next must not remove it.
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
