//! Leases in a map: a deterministic test double that can fail.

use crate::{Lease, LeaseError, LeaseStore};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Decides whether an operation fails. It gets the operation's name, the key of the lease, and whether the operation has taken effect;
/// the text of the error becomes the cause.
pub type LeaseFaults = Arc<dyn Fn(&'static str, &str, bool) -> Result<(), String> + Send + Sync>;

/// Leases in memory, for tests and simulations.
#[derive(Default)]
pub struct MemoryLeases {
    leases: Mutex<BTreeMap<String, Lease>>,
    faults: Option<LeaseFaults>,
}

impl MemoryLeases {
    /// No leases, no faults.
    pub fn new() -> MemoryLeases {
        MemoryLeases::default()
    }

    /// No leases; operations fail as `faults` says.
    pub fn with_faults(faults: LeaseFaults) -> MemoryLeases {
        MemoryLeases { leases: Mutex::default(), faults: Some(faults) }
    }

    fn run<T>(
        &self,
        action: &'static str,
        key: &str,
        effect: impl FnOnce(&mut BTreeMap<String, Lease>) -> T,
    ) -> Result<T, LeaseError> {
        let failed = |cause| LeaseError::Failed { place: "memory".to_owned(), action, cause };
        let faults = |after| self.faults.as_ref().map_or(Ok(()), |faults| faults(action, key, after)).map_err(failed);
        faults(false)?;
        let outcome = effect(&mut self.leases.lock().unwrap_or_else(PoisonError::into_inner));
        faults(true)?;
        Ok(outcome)
    }
}

#[async_trait]
impl LeaseStore for MemoryLeases {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        self.run("lease list", "", |leases| leases.values().cloned().collect())
    }

    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        self.run("lease get", key, |leases| leases.get(key).cloned())
    }

    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.run("lease create", &lease.key, |leases| match leases.contains_key(&lease.key) {
            true => false,
            false => leases.insert(lease.key.clone(), lease.clone()).is_none(),
        })
    }

    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.run("lease update", &lease.key, |leases| match leases.get_mut(&lease.key) {
            Some(stored) if stored.counter == lease.counter => {
                *stored = Lease { counter: lease.counter + 1, ..lease.clone() };
                true
            }
            _ => false,
        })
    }

    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.run("lease remove", &lease.key, |leases| match leases.get(&lease.key) {
            Some(stored) if stored.counter == lease.counter => leases.remove(&lease.key).is_some(),
            _ => false,
        })
    }
}
