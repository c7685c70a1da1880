//! Leases: which of many workers works on which shard.
//!
//! A lease says who should work, never who may: that is decided where the work is stored (a journal that fences by epoch). So
//! leases may be late or wrong without harm; they only spare two workers the same work.
//!
//! ```text
//!             coordinator (pure)                    fleet (shell)                  store (trait)
//! leases ---> whose counter stands still?  ---> renew, take, ask, hand over ---> local: SQLite beside the stream
//! seen        how many are mine to have?        each one conditional write       memory: for simulations
//! ```
//!
//! The rules are those of the Kinesis Client Library 2.x: every change of a lease counts its counter up and is made only if the
//! counter is what it was when the lease was read; a lease whose counter stands still for the lease duration, on the watcher's
//! own monotonic clock, has expired. No clock of one machine is compared with that of another. Unlike there, a worker that wants
//! a lease of a living owner asks for it ([`Lease::next_owner`]), and the owner finishes its work and hands it over.

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
use std::fmt;

/// Microseconds on a clock that never goes back. Only differences mean anything, and only within one process.
pub type Ticks = i64;

/// One shard's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is leased: a shard, by a name that no other shard of the application has.
    pub key: String,
    /// The worker that works on it; none when it was given back.
    pub owner: Option<String>,
    /// The worker that the owner is asked to hand it to.
    pub next_owner: Option<String>,
    /// Counts every change of the lease.
    pub counter: u64,
    /// Whether nothing is left to do: nobody takes it any more.
    pub ended: bool,
    /// How far the work has come, for whoever looks from outside; the work itself is where its results are stored. A store may leave
    /// it out.
    pub checkpoint: Option<Checkpoint>,
}

/// A place in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The sequence number of the last record that is done, in decimal.
    pub sequence: String,
    /// Its place within an aggregate, 0 for a record that stands alone.
    pub sub_sequence: u64,
}

impl Checkpoint {
    /// Whether it lies before another: sequence numbers are numbers, whatever their digits.
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

/// Why a lease store did not answer. What was asked may have happened or not: the next look tells.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LeaseError {
    /// It could not be reached, or the answer was lost.
    #[error("leases at {place}: {action} failed: {cause}")]
    Failed {
        /// Where they are.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the store said.
        cause: String,
    },
    /// Another process is in the midst of a write, and stays there: what is asked next would wait as long, for nothing.
    #[error("leases at {place}: {action} failed, as another process is writing to them and does not come to an end")]
    Busy {
        /// Where they are.
        place: String,
        /// What was tried.
        action: &'static str,
    },
    /// What is there are no leases of this version.
    #[error("leases at {place} cannot be used: {cause}; remove the file while no worker runs, it is made anew")]
    Damaged {
        /// Where they are.
        place: String,
        /// What is wrong.
        cause: String,
    },
}

/// Where the leases of one application are.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// All leases. An owner that is known to have ended may be left out of them.
    async fn list(&self) -> Result<Vec<Lease>, LeaseError>;
    /// One lease.
    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError>;
    /// Makes a lease that does not exist; tells whether it was made.
    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError>;
    /// Makes those that do not exist.
    async fn create_all(&self, leases: &[Lease]) -> Result<(), LeaseError> {
        for lease in leases {
            self.create(lease).await?;
        }
        Ok(())
    }
    /// Replaces a lease if its counter is still `lease.counter`, counting it up; tells whether it was replaced.
    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError>;
    /// Removes a lease, its checkpoint with it, if its counter is still `lease.counter`; tells whether it is gone by this call. For
    /// operators, and for a service that starts behind another application: no worker at work removes leases.
    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError>;
}
