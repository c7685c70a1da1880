//! Doubles that break one promise each: a simulation that does not notice them proves nothing.

use async_trait::async_trait;
use authpulse_event::Position;
use authpulse_event::ShardId;
use authpulse_kinesis::table::{COUNTER, Change, LeaseTable, MemoryTable, Row, Rows, TableError, Value};
use authpulse_lake::journal::JournalError;
use authpulse_lake::store::ObjectMeta;
use authpulse_lake::{Followers, Journal, MemoryJournal, ObjectStore, PutOutcome, StoreError};
use authpulse_stream::{ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream, StreamDescription, StreamError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A journal without "only if absent": the last put wins.
pub struct Overwrites {
    inner: Arc<MemoryJournal>,
    over: Mutex<BTreeMap<(ShardId, u64), Bytes>>,
}

impl Overwrites {
    pub fn new(inner: Arc<MemoryJournal>) -> Overwrites {
        Overwrites { inner, over: Mutex::default() }
    }
}

#[async_trait]
impl Journal for Overwrites {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        if self.inner.put(shard, n, body.clone()).await? == PutOutcome::Taken {
            self.over.lock().unwrap().insert((shard.clone(), n), body);
        }
        Ok(PutOutcome::Created)
    }
    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        let stored = self.inner.get(shard, n).await?;
        Ok(self.over.lock().unwrap().get(&(shard.clone(), n)).cloned().or(stored))
    }
    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        self.inner.tail(shard).await
    }
    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        self.inner.shards().await
    }
    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        let mut entries = self.inner.list(shard, from, limit).await?;
        let over = self.over.lock().unwrap();
        for (n, body) in &mut entries {
            if let Some(other) = over.get(&(shard.clone(), *n)) {
                *body = other.clone();
            }
        }
        Ok(entries)
    }
    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.inner.checkpoint(shard).await
    }
    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        self.inner.put_checkpoint(shard, n, body).await
    }
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        self.inner.remove_through(shard, n).await
    }
    fn followers(&self) -> &dyn Followers {
        self.inner.followers()
    }
}

/// A store in which every third metadata file has lost the property that says which entries are applied. Not all of them: entries would be
/// committed for ever to a table that never remembered any.
pub struct ForgetsApplied(pub Arc<dyn ObjectStore>);

fn forgets(path: &str) -> bool {
    path.ends_with(".metadata.json") && path.bytes().map(u32::from).sum::<u32>().is_multiple_of(3)
}

#[async_trait]
impl ObjectStore for ForgetsApplied {
    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        self.0.put_new(path, body).await
    }
    async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        let body = self.0.get(path).await?;
        if !forgets(path) {
            return Ok(body);
        }
        let mut json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        if let Some(properties) = json["properties"].as_object_mut() {
            properties.remove(authpulse_lake::schema::APPLIED);
        }
        Ok(serde_json::to_vec(&json).unwrap().into())
    }
    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.0.get_range(path, range).await
    }
    async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        if !forgets(path) {
            return self.0.size(path).await;
        }
        match self.0.size(path).await? {
            Some(_) => Ok(Some(self.get(path).await?.len() as u64)),
            None => Ok(None),
        }
    }
    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.0.delete(path).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.0.list(prefix).await
    }
    async fn copy_new(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.0.copy_new(from, to).await
    }
    fn uri(&self, path: &str) -> String {
        self.0.uri(path)
    }
    fn relative(&self, uri: &str) -> Result<String, StoreError> {
        self.0.relative(uri)
    }
}

/// A journal that shows a writer its own entry at a number where another's is, as if the look-up after a put compared nothing.
pub struct TakesForItsOwn {
    inner: Arc<dyn Journal>,
    tried: Mutex<BTreeMap<(ShardId, u64), Bytes>>,
}

impl TakesForItsOwn {
    pub fn new(inner: Arc<dyn Journal>) -> TakesForItsOwn {
        TakesForItsOwn { inner, tried: Mutex::default() }
    }
}

#[async_trait]
impl Journal for TakesForItsOwn {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        let outcome = self.inner.put(shard, n, body.clone()).await;
        if !matches!(outcome, Ok(PutOutcome::Created)) {
            self.tried.lock().unwrap().insert((shard.clone(), n), body);
        }
        outcome
    }
    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        let stored = self.inner.get(shard, n).await?;
        // Only the look-up right after the put is deceived.
        let tried = self.tried.lock().unwrap().remove(&(shard.clone(), n));
        Ok(stored.map(|stored| tried.unwrap_or(stored)))
    }
    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        self.inner.tail(shard).await
    }
    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        self.inner.shards().await
    }
    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        self.inner.list(shard, from, limit).await
    }
    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.inner.checkpoint(shard).await
    }
    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        self.inner.put_checkpoint(shard, n, body).await
    }
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        self.inner.remove_through(shard, n).await
    }
    fn followers(&self) -> &dyn Followers {
        self.inner.followers()
    }
}

/// A stream that does not say which shards are a shard's parents, so that children start at once.
pub struct HidesParents(pub Arc<dyn Stream>);

#[async_trait]
impl Stream for HidesParents {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.0.describe().await
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        let shards = self.0.shards().await?;
        Ok(shards.into_iter().map(|shard| ShardDescription { parents: Vec::new(), ..shard }).collect())
    }
    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        self.0.read(shard, from, limit).await
    }
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        self.0.tip(shard).await
    }
}

/// A table of leases that changes a row even if its counter has changed meanwhile.
pub struct TakesAnyCounter(pub Arc<MemoryTable>);

#[async_trait]
impl LeaseTable for TakesAnyCounter {
    fn place(&self) -> String {
        self.0.place()
    }
    async fn scan(&self, after: Option<&str>) -> Result<Rows, TableError> {
        self.0.scan(after).await
    }
    async fn get(&self, key: &str) -> Result<Option<Row>, TableError> {
        self.0.get(key).await
    }
    async fn put_new(&self, row: &Row) -> Result<bool, TableError> {
        self.0.put_new(row).await
    }
    async fn change(&self, change: &Change) -> Result<bool, TableError> {
        let row = self.0.get(&change.key).await?;
        let known = match row.as_ref().and_then(|row| row.get(COUNTER)) {
            Some(Value::Number(counter)) => *counter,
            _ => change.known,
        };
        self.0.change(&Change { known, ..change.clone() }).await
    }
    async fn remove(&self, key: &str, known: u64) -> Result<bool, TableError> {
        self.0.remove(key, known).await
    }
}
