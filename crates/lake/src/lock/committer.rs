//! Who brings the tables up to the journals.

use super::LockError;
use async_trait::async_trait;

/// Who of many workers brings the tables up to the journals. It saves conflicts and nothing else: each commit checks and swaps on
/// the same metadata, so two committers at once do no harm, and no clock needs to be trusted.
#[async_trait]
pub trait CommitterLock: Send + Sync {
    /// Takes the lock, or keeps it; tells whether the caller has it. To be called before every round of commits, so that a lock
    /// that expires is renewed by use.
    ///
    /// # Errors
    /// The lock cannot be reached; who has it is then unknown.
    async fn hold(&self) -> Result<bool, LockError>;
    /// Lets go of the lock, if the caller has it, so that another need not wait until it expires.
    async fn release(&self);
    /// How long a holder that is silent keeps the lock; none where there is no other that could have it.
    fn lease(&self) -> Option<std::time::Duration> {
        None
    }
    /// Whom the lock was taken over from because it was silent for as long as its lease; told once.
    fn taken_over_from(&self) -> Option<String> {
        None
    }
    /// Whether another, who has the lock, was seen to renew it.
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
