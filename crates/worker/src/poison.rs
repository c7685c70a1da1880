//! Records on which the engine panicked, and how often. After three times a record is rejected as `failed`.

use authpulse_event::{Position, ShardId};
use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Attempts before a record is given up.
pub const ATTEMPTS: u32 = 3;

/// What the engine was doing with a record when it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The record had just been read.
    Read,
    /// The record had waited and went on. It may have been inherited; its position is then one of the parent shard.
    GoesOn,
}

/// Counts failures per record, over all rebuilds of its shard within this process.
#[derive(Default)]
pub struct Poison {
    any: AtomicBool,
    failures: Mutex<HashMap<(ShardId, Moment, Position), u32>>,
}

impl Poison {
    /// The engine panicked on this record.
    pub fn failed(&self, shard: &ShardId, moment: Moment, position: Position) {
        self.any.store(true, Ordering::Release);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry((shard.clone(), moment, position)).or_default() += 1;
    }

    /// Whether the record is given up: when it is read again, the engine must not see it.
    pub fn gives_up(&self, shard: &ShardId, position: Position) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&(shard.clone(), Moment::Read, position)).is_some_and(|n| *n >= ATTEMPTS)
    }

    /// The records of a shard that are given up and must not go on after they waited.
    pub fn kept_back(&self, shard: &ShardId) -> BTreeSet<Position> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let given_up = failures.iter().filter(|(_, n)| **n >= ATTEMPTS).map(|(of, _)| of);
        let kept_back = given_up.filter(|(of, moment, _)| of == shard && *moment == Moment::GoesOn);
        kept_back.map(|(_, _, position)| *position).collect()
    }
}

/// The message of a panic; empty if it has none.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
