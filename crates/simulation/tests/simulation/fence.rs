//! Checks whose entries a journal holds: none by a worker whose shard another has taken over.

use crate::journals::Journals;
use crate::world::World;
use std::collections::BTreeMap;

/// Checks that numbers have no gap, that each entry goes on where the one before ended, that epochs never fall and begin with a take-over,
/// and that all entries of an epoch were stored by one process, once each. Returns the number of take-overs.
pub fn holds(world: &World, journals: &Journals) -> Result<u64, String> {
    let mut writers = BTreeMap::new();
    for (shard, n, process) in &world.writers.lock().unwrap().stored {
        if let Some(other) = writers.insert((shard.clone(), *n), *process) {
            return Err(format!("entry {n} of {shard} was stored twice, by processes {other} and {process}"));
        }
    }
    let mut take_overs = 0;
    for (_, key, entries) in journals {
        let mut owner = None;
        for (at, entry) in entries.iter().enumerate() {
            let n = at as u64 + 1;
            let wrong = |what: &str| Err(format!("entry {n} of {key}: {what}"));
            let writer = writers.get(&(key.clone(), n)).copied();
            if entry.n != n || writer.is_none() {
                return wrong("nobody stored it");
            }
            let before = at.checked_sub(1).map(|at| &entries[at]);
            let epoch = before.map_or(1, |before| before.epoch + u64::from(entry.takes_over));
            if entry.epoch != epoch {
                return wrong(&format!("its epoch is {}, expected {epoch}", entry.epoch));
            }
            if entry.takes_over || before.is_none() {
                take_overs += u64::from(entry.takes_over);
                owner = writer;
            }
            if writer != owner {
                return wrong(&format!("stored by process {writer:?}, but {owner:?} owns epoch {epoch}"));
            }
            if before.is_some_and(|before| before.to != entry.from || before.end) {
                return wrong("it does not go on where the one before ended");
            }
        }
    }
    Ok(take_overs)
}
