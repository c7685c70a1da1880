//! Leases: which of many workers works on which shard.
//!
//! A lease says which worker should work on a shard, never which one may: the place where the work is stored decides that (a journal that
//! fences by epoch). So leases may be late or wrong without harm. They only keep two workers from doing the same work.
//!
//! ```text
//!             coordinator (pure)                    fleet (shell)                  store (trait)
//! leases ---> whose counter stands still?  ---> renew, take, ask, hand over ---> local: SQLite beside the stream
//! seen        how many are mine to have?        each one conditional write       memory: for simulations
//! ```
//!
//! The rules are those of the Kinesis Client Library 2.x. Every change of a lease counts its counter up, and is made only if the counter
//! is still what it was when the lease was read. A lease has expired when its counter stands still for the lease duration on the
//! watcher's own monotonic clock. Clocks of two machines are never compared. One rule differs: a worker that wants a lease of a living
//! owner asks for it ([`Lease::next_owner`]), and the owner finishes its work and hands the lease over.

pub mod coordinator;
mod fleet;
mod local;
mod memory;
pub mod operate;

pub use coordinator::{Coordinator, LeaseSettings};
pub use fleet::{Fleet, Holdings};
pub use local::{Known, LocalLeases};
pub use memory::MemoryLeases;

use async_trait::async_trait;
use authpulse_event::Remedy;
use std::fmt;

/// Microseconds on a clock that never goes back. Only differences mean anything, and only within one process.
pub type Ticks = i64;

/// One shard's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is leased: a shard, by a name that no other shard of the application has.
    pub key: String,
    /// The worker that works on it; `None` if nobody does, as after a release.
    pub owner: Option<String>,
    /// The worker that the owner is asked to hand it to.
    pub next_owner: Option<String>,
    /// Counts every change of the lease.
    pub counter: u64,
    /// Whether nothing is left to do: no worker takes it any more.
    pub ended: bool,
    /// How far the work has come, for people and tools that look from outside. The work itself goes on from where its results are stored.
    /// A store may leave the checkpoint out.
    pub checkpoint: Option<Checkpoint>,
}

/// A position in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The sequence number of the last record that is done, in decimal.
    pub sequence: String,
    /// The number of the record within an aggregate; 0 for a record that is not in one.
    pub sub_sequence: u64,
}

impl Checkpoint {
    /// Whether it lies before another. Sequence numbers are compared as numbers, whatever leading zeros they have.
    pub fn is_before(&self, other: &Checkpoint) -> bool {
        fn place(of: &Checkpoint) -> (usize, &str, u64) {
            let digits = of.sequence.trim_start_matches('0');
            (digits.len(), digits, of.sub_sequence)
        }
        place(self) < place(other)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence, self.sub_sequence)
    }
}

impl Lease {
    /// A lease that nobody has.
    pub fn new(key: impl Into<String>) -> Lease {
        Lease { key: key.into(), owner: None, next_owner: None, counter: 0, ended: false, checkpoint: None }
    }
}

/// Why a lease store did not answer. The change may have happened or not: the next look tells.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LeaseError {
    /// The store could not be reached, or its answer was lost.
    #[error("leases at {place}: {action} failed: {cause}")]
    Failed {
        /// Where the leases are.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the store said.
        cause: String,
    },
    /// Another process is writing and does not finish. A further request would wait as long and fail as well.
    #[error("leases at {place}: {action} failed, as another process is writing to them and does not come to an end")]
    Busy {
        /// Where the leases are.
        place: String,
        /// What was tried.
        action: &'static str,
    },
    /// What the store holds are no leases of this version.
    #[error("leases at {place} cannot be used: {cause}; remove the file while no worker runs, it is made anew")]
    Damaged {
        /// Where the leases are.
        place: String,
        /// What is wrong.
        cause: String,
    },
}

impl LeaseError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            // Its text says how the leases are made again.
            LeaseError::Damaged { .. } => Remedy::Correct,
            LeaseError::Failed { .. } | LeaseError::Busy { .. } => Remedy::Retry,
        }
    }
}

/// A store of the leases of one application. Every method fails with [`LeaseError`] if the store does; a failed change may have happened.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// All leases. A store may leave out an owner whose process is known to have ended.
    async fn list(&self) -> Result<Vec<Lease>, LeaseError>;
    /// One lease; `None` if there is none with this key.
    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError>;
    /// Makes a lease if there is none with its key; returns whether it did.
    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError>;
    /// Makes those leases whose keys have none.
    async fn create_all(&self, leases: &[Lease]) -> Result<(), LeaseError> {
        for lease in leases {
            self.create(lease).await?;
        }
        Ok(())
    }
    /// Replaces a lease and counts its counter up, if the counter is still `lease.counter`; returns whether it did.
    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError>;
    /// Removes a lease and its checkpoint, if the counter is still `lease.counter`; returns whether this call removed it. For operators,
    /// and for a service that replaces another application: a worker at work removes no lease.
    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError>;
}
