//! Journals in maps: the deterministic test double.

use super::{
    CHECKPOINTS_KEPT, FollowerName, Followers, Journal, JournalError, PutOutcome, REGISTRATIONS_KEPT, check, not_folded,
};
use crate::fault::Faults;
use async_trait::async_trait;
use authpulse_event::ShardId;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A journal in a map: the deterministic test double, with faults.
#[derive(Default)]
pub struct MemoryJournal {
    entries: Mutex<Numbered>,
    checkpoints: Mutex<Numbered>,
    followers: Mutex<BTreeMap<(FollowerName, u64), Bytes>>,
    faults: Mutex<Faults>,
}

type Numbered = BTreeMap<(ShardId, u64), Bytes>;

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> MemoryJournal {
        MemoryJournal::default()
    }
    /// Replaces the faults from the next operation on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn run<T>(
        &self,
        operation: &'static str,
        shard: &str,
        n: u64,
        fault: impl Fn(String) -> JournalError,
        effect: impl FnOnce(&mut Numbered) -> T,
    ) -> Result<T, JournalError> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entries = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        faults.around("journal", operation, &format!("{shard}/{n}"), fault, || Ok(effect(&mut entries())))
    }

    fn checkpoints(&self) -> MutexGuard<'_, Numbered> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest_checkpoint(&self, shard: &ShardId) -> Option<(u64, Bytes)> {
        let checkpoints = self.checkpoints();
        let mut of_shard = checkpoints.range((shard.clone(), 0)..=(shard.clone(), u64::MAX));
        of_shard.next_back().map(|((_, n), body)| (*n, body.clone()))
    }
}

fn unread(action: &'static str) -> impl Fn(String) -> JournalError {
    move |cause| JournalError::Failed { journal: "in memory".to_owned(), action, cause }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        check(shard, n)?;
        let fault = |cause| JournalError::Unclear { shard: shard.clone(), n, cause };
        self.run("put", shard.as_str(), n, fault, |entries| match entries.entry((shard.clone(), n)) {
            std::collections::btree_map::Entry::Occupied(_) => PutOutcome::Taken,
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(body);
                PutOutcome::Created
            }
        })
    }

    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        check(shard, n)?;
        self.run("get", shard.as_str(), n, unread("reading an entry"), |entries| {
            entries.get(&(shard.clone(), n)).cloned()
        })
    }

    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        self.run("tail", shard.as_str(), 0, unread("reading the tail"), |entries| {
            entries.range((shard.clone(), 0)..=(shard.clone(), u64::MAX)).next_back().map(|((_, n), _)| *n)
        })
    }

    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        self.run("shards", "", 0, unread("listing the shards"), |entries| {
            let mut shards: Vec<_> = entries.keys().map(|(shard, _)| shard.clone()).collect();
            shards.dedup();
            shards
        })
    }

    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        self.run("list", shard.as_str(), from, unread("listing entries"), |entries| {
            let range = entries.range((shard.clone(), from)..=(shard.clone(), u64::MAX));
            range.take(limit).map(|((_, n), body)| (*n, body.clone())).collect()
        })
    }

    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.run("base", shard.as_str(), 0, unread("reading a base"), |_| self.newest_checkpoint(shard))
    }

    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        check(shard, n)?;
        self.run("put base", shard.as_str(), n, unread("storing a base"), |_| {
            self.checkpoints().entry((shard.clone(), n)).or_insert(body);
        })
    }

    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        check(shard, n)?;
        if self.newest_checkpoint(shard).is_none_or(|(through, _)| through < n) {
            return Err(not_folded("in memory".to_owned(), shard, n));
        }
        let mut removed = 0;
        // One by one, because each removal may fail: on S3 each is a request.
        while let Some(next) = self.run("first", shard.as_str(), n, unread("listing entries"), |entries| {
            entries.range((shard.clone(), 0)..=(shard.clone(), n)).next().map(|(key, _)| key.clone())
        })? {
            self.run("remove", shard.as_str(), next.1, unread("removing a folded entry"), |entries| {
                entries.remove(&next);
            })?;
            removed += 1;
        }
        let mut checkpoints = self.checkpoints();
        let mut numbers: Vec<u64> = checkpoints.keys().filter(|(of, _)| of == shard).map(|(_, n)| *n).collect();
        numbers.truncate(numbers.len().saturating_sub(CHECKPOINTS_KEPT));
        numbers.into_iter().for_each(|n| drop(checkpoints.remove(&(shard.clone(), n))));
        Ok(removed)
    }

    fn followers(&self) -> &dyn Followers {
        self
    }
}

#[async_trait]
impl Followers for MemoryJournal {
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError> {
        self.run("followers", "", 0, unread("reading the followers"), |_| {
            let mut newest: BTreeMap<FollowerName, (u64, Bytes)> = BTreeMap::new();
            for ((name, n), body) in &*self.followers.lock().unwrap_or_else(PoisonError::into_inner) {
                newest.insert(name.clone(), (*n, body.clone()));
            }
            newest.into_iter().map(|(name, (n, body))| (name, n, body)).collect()
        })
    }

    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        self.run("register", name.as_str(), n, unread("registering a follower"), |_| {
            let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
            let std::collections::btree_map::Entry::Vacant(free) = followers.entry((name.clone(), n)) else {
                return PutOutcome::Taken;
            };
            free.insert(body);
            followers.retain(|(other, m), _| other != name || m + REGISTRATIONS_KEPT > n);
            PutOutcome::Created
        })
    }

    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError> {
        self.run("forget", name.as_str(), 0, unread("forgetting a follower"), |_| {
            let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
            let before = followers.len();
            followers.retain(|(other, _), _| other != name);
            followers.len() < before
        })
    }
}
