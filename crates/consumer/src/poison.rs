//! Records on which the engine panicked, and how often. After three times a record is rejected as `failed`.

use authpulse_event::{Position, ShardId};
use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Attempts before a record is given up.
pub const ATTEMPTS: u32 = 3;

/// What a dead letter says of a record that is given up.
pub const GIVEN_UP: &str = "the engine failed on this record three times";

/// Counts failures per record, over all rebuilds of its shard within this process.
#[derive(Default)]
pub struct Poison {
    any: AtomicBool,
    failures: Mutex<HashMap<(ShardId, Position), u32>>,
}

impl Poison {
    /// The engine panicked on this record.
    pub fn failed(&self, shard: &ShardId, position: Position) {
        self.any.store(true, Ordering::Release);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry((shard.clone(), position)).or_default() += 1;
    }

    /// Whether the engine is not to see this record again.
    pub fn gives_up(&self, shard: &ShardId, position: Position) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&(shard.clone(), position)).is_some_and(|n| *n >= ATTEMPTS)
    }

    /// The records of a shard that the engine is not to see again.
    pub fn given_up(&self, shard: &ShardId) -> BTreeSet<Position> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let of_shard = failures.iter().filter(|((of, _), n)| of == shard && **n >= ATTEMPTS);
        of_shard.map(|((_, position), _)| *position).collect()
    }
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
