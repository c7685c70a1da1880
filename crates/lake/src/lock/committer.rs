//! The lock of the committer, which brings the tables up to the journals.

use super::LockError;
use async_trait::async_trait;

/// Decides which of many workers is the committer. The lock only saves conflicts: every commit checks and swaps the same metadata file, so
/// two committers at once do no harm, and no clock has to be trusted.
#[async_trait]
pub trait CommitterLock: Send + Sync {
    /// Takes or keeps the lock; returns whether the caller has it. The committer calls this before every round of commits, which renews a
    /// lock that expires.
    ///
    /// # Errors
    /// The lock cannot be reached; who has it is then unknown.
    async fn hold(&self) -> Result<bool, LockError>;
    /// Releases the lock, if the caller has it, so that others need not wait until it expires.
    async fn release(&self);
    /// How long a silent holder keeps the lock; `None` if nobody else could have it.
    fn lease(&self) -> Option<std::time::Duration> {
        None
    }
    /// The holder from whom the lock was taken over after a silence of one lease; answered once.
    fn taken_over_from(&self) -> Option<String> {
        None
    }
    /// Whether another process has the lock and was seen to renew it.
    fn is_renewed_by_another(&self) -> bool {
        false
    }
}

/// For a lake that only one process can use: nobody else commits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoleCommitter;

#[async_trait]
impl CommitterLock for SoleCommitter {
    async fn hold(&self) -> Result<bool, LockError> {
        Ok(true)
    }
    async fn release(&self) {}
}
