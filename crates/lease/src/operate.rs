//! What operators do with leases: take owners off, find out whether anybody is alive, remove everything.
//!
//! Every change has the counter as its condition, as a worker's changes have, so nothing here races with one: what a worker changed
//! meanwhile is looked at again, or left alone and told.

use crate::{Lease, LeaseError, LeaseStore};
use std::collections::BTreeMap;

/// How often a lease that changes while it is being released is looked at again: its owner renews three times within a duration.
const ATTEMPTS: u32 = 10;

/// What became of a lease that was to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// It was this worker's, and is nobody's now.
    From(String),
    /// Nobody had it.
    WasFree,
    /// Another worker has it by now than the one who was meant; it was left alone.
    Moved(String),
    /// It is not there.
    Gone,
}

/// Takes the owner, and whoever asked for it, off a lease; with `of` only where that worker has it. Its checkpoint stays.
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

/// The owners of leases that somebody changed between two looks, each with one such lease. Nobody else is known to be alive, if the
/// looks lie a lease duration apart: an owner renews three times within it.
pub fn alive(before: &[Lease], after: &[Lease]) -> BTreeMap<String, String> {
    let counters: BTreeMap<&str, u64> = before.iter().map(|lease| (lease.key.as_str(), lease.counter)).collect();
    let moved = after.iter().filter(|lease| counters.get(lease.key.as_str()) != Some(&lease.counter));
    moved.filter_map(|lease| Some((lease.owner.clone()?, lease.key.clone()))).collect()
}

/// What [`reset`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Leases that are gone.
    pub removed: Vec<String>,
    /// Leases that somebody changed in between; they were left alone.
    pub left: Vec<String>,
}

/// Removes leases, checkpoints with them, each only if nobody has changed it since `leases` were read.
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
            // Given back: whoever did so has nothing more.
            lease("c", None, 2),
            lease("d", Some("w4"), 1),
        ];
        let named: Vec<String> = alive(&before, &after).into_keys().collect();
        assert_eq!(named, ["w1", "w4"]);
        assert_eq!(alive(&before, &before), BTreeMap::new());
    }
}
