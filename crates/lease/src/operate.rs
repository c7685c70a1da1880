//! What operators do with leases: release them, find out whether any worker is alive, remove them all.
//!
//! Every change has the counter as its condition, like the changes of workers, so nothing here races with a worker. A lease that a worker
//! has changed meanwhile is read again, or left alone and reported.

use crate::{Lease, LeaseError, LeaseStore};
use std::collections::BTreeMap;

/// How many times a lease is read again that changes while it is being released: its owner renews it three times within a duration.
const ATTEMPTS: u32 = 10;

/// What became of a lease that was to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// This worker had it; nobody has it now.
    From(String),
    /// Nobody had it.
    WasFree,
    /// Another worker than the given one has it by now; it was left alone.
    Moved(String),
    /// There is no such lease.
    Gone,
}

/// Takes the owner off a lease, and the worker that asked for it. With `of`, only if that worker is the owner. The checkpoint stays.
///
/// # Errors
/// The store fails, or the lease keeps changing.
pub async fn release(store: &dyn LeaseStore, key: &str, of: Option<&str>) -> Result<Released, LeaseError> {
    for _ in 0..ATTEMPTS {
        let Some(lease) = store.get(key).await? else { return Ok(Released::Gone) };
        let Some(owner) = lease.owner.clone() else { return Ok(Released::WasFree) };
        if of.is_some_and(|of| of != owner) {
            return Ok(Released::Moved(owner));
        }
        if store.update(&Lease { owner: None, next_owner: None, ..lease }).await? {
            return Ok(Released::From(owner));
        }
    }
    let cause = "it changes faster than it can be released: try again".to_owned();
    Err(LeaseError::Failed { place: key.to_owned(), action: "releasing a lease", cause })
}

/// The owners of leases that changed between two looks, each with one such lease. If the looks are a lease duration apart, no other
/// worker is known to be alive: an owner renews three times within it.
pub fn alive(before: &[Lease], after: &[Lease]) -> BTreeMap<String, String> {
    let counters: BTreeMap<&str, u64> = before.iter().map(|lease| (lease.key.as_str(), lease.counter)).collect();
    let moved = after.iter().filter(|lease| counters.get(lease.key.as_str()) != Some(&lease.counter));
    moved.filter_map(|lease| Some((lease.owner.clone()?, lease.key.clone()))).collect()
}

/// What [`reset`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Keys of leases that were removed.
    pub removed: Vec<String>,
    /// Keys of leases that changed in between; they were left alone.
    pub left: Vec<String>,
}

/// Removes leases and their checkpoints, each only if it has not changed since `leases` were read.
///
/// # Errors
/// The store fails; what was removed before stays removed.
pub async fn reset(store: &dyn LeaseStore, leases: &[Lease]) -> Result<Reset, LeaseError> {
    let mut done = Reset::default();
    for lease in leases {
        let to = if store.remove(lease).await? { &mut done.removed } else { &mut done.left };
        to.push(lease.key.clone());
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(key: &str, owner: Option<&str>, counter: u64) -> Lease {
        Lease { owner: owner.map(str::to_owned), counter, ..Lease::new(key) }
    }

    #[test]
    fn who_changed_a_lease_is_alive_and_nobody_else() {
        let before = [lease("a", Some("w1"), 4), lease("b", Some("w2"), 4), lease("c", Some("w3"), 1)];
        let after = [
            lease("a", Some("w1"), 5),
            lease("b", Some("w2"), 4),
            // Released: its former owner has no other lease.
            lease("c", None, 2),
            lease("d", Some("w4"), 1),
        ];
        let named: Vec<String> = alive(&before, &after).into_keys().collect();
        assert_eq!(named, ["w1", "w4"]);
        assert_eq!(alive(&before, &before), BTreeMap::new());
    }
}
