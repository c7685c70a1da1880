//! Locks: which process may use a local lake, and which of many workers commits.
//!
//! A local lake belongs to one process, or to workers that share it. The operating system releases a lock when its process ends, however it
//! ends.

mod committer;
mod file;
mod lake;

pub use committer::{CommitterLock, SoleCommitter};
pub use file::{COMMITTER_LOCK_FILE, FileCommitterLock, MAINTENANCE_LOCK_FILE, Monotonic};
pub use lake::{LOCK_FILE, LakeLock};

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("lake {lake} is in use by {holder}: wait for it to end, or use another lake")]
    Held {
        /// The lake.
        lake: String,
        /// Process id and command, as the holder wrote them.
        holder: String,
    },
    /// The lock file cannot be created or locked.
    #[error("lake {lake} cannot be locked: {cause}")]
    Failed {
        /// The lake.
        lake: String,
        /// What the system said.
        cause: String,
    },
}
