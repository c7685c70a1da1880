//! The traits through which a process sees the world: each call goes through the gate, then to the double in memory.

use crate::gate::{Fault, Gate, ProcessId};
use async_trait::async_trait;
use authpulse_event::{Position, ProcessingTime, ShardId, Span, Tick};
use authpulse_journal::env::{Clock, Ids, Work};
use authpulse_lake::catalog::{CatalogError, SwapOutcome};
use authpulse_lake::journal::JournalError;
use authpulse_lake::store::ObjectMeta;
use authpulse_lake::{CommitIds, FollowerName, Followers, Journal, ObjectStore, PutOutcome, StoreError, TablePointers};
use authpulse_lease::{Lease, LeaseError, LeaseStore};
use authpulse_stream::{ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream, StreamDescription, StreamError};
use bytes::Bytes;
use futures::future::BoxFuture;
use iceberg::spec::Schema;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a process reaches the world through.
#[derive(Clone)]
pub struct Door {
    pub process: ProcessId,
    pub gate: Arc<Gate>,
    /// A counter that the durations of slow effects are made from.
    pub slowness: Arc<AtomicU64>,
}

impl Door {
    /// Lets an effect take place as the gate says; `lost` is the error if no answer comes.
    pub async fn go<T, E>(
        &self,
        effect: &'static str,
        subject: &str,
        lost: impl Fn(String) -> E,
        take_place: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(fault) = self.gate.effect(self.process, effect, subject).await else { return take_place.await };
        match fault {
            Fault::CrashBefore | Fault::CrashAfter => {
                if fault == Fault::CrashAfter {
                    let _ = take_place.await;
                }
                self.gate.crash(self.process).await;
                Err(lost("crash".to_owned()))
            }
            Fault::NotDone => Err(lost(fault.name().to_owned())),
            Fault::Done => take_place.await.and_then(|_| Err(lost(fault.name().to_owned()))),
            Fault::Slow => {
                let (there, back) = self.durations();
                self.gate.pause(self.process, there).await;
                let answer = take_place.await;
                self.gate.pause(self.process, back).await;
                answer
            }
        }
    }

    /// How long a slow effect takes each way: from half a second to a minute, and now and then some minutes.
    fn durations(&self) -> (Span, Span) {
        let n = self.slowness.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let factor = |n: u64| (1 + (n % 60) as i64) * if n.is_multiple_of(7) { 10 } else { 1 };
        let duration = |n: u64| factor(n) * Span::millis(500);
        (duration(n >> 20), duration(n >> 40))
    }
}

/// Files that were put under the names of the tables: kept for the oracle, even if something removes them from the lake.
pub type Archive = Arc<Mutex<BTreeMap<String, Bytes>>>;

pub struct StoreDoor {
    pub door: Door,
    pub inner: Arc<dyn ObjectStore>,
    pub archive: Archive,
}

#[async_trait]
impl ObjectStore for StoreDoor {
    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        let put = async {
            self.inner.put_new(path, body.clone()).await?;
            if path.contains("/data/") {
                self.archive.lock().unwrap().insert(path.to_owned(), body);
            }
            Ok(())
        };
        self.door.go("store put_new", path, failed(path, "put"), put).await
    }
    async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        self.door.go("store get", path, failed(path, "get"), self.inner.get(path)).await
    }
    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.door.go("store get_range", path, failed(path, "get_range"), self.inner.get_range(path, range)).await
    }
    async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.door.go("store size", path, failed(path, "size"), self.inner.size(path)).await
    }
    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.door.go("store delete", path, failed(path, "delete"), self.inner.delete(path)).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.door.go("store list", prefix, failed(prefix, "list"), self.inner.list(prefix)).await
    }
    async fn copy_new(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.door.go("store copy_new", to, failed(to, "copy_new"), self.inner.copy_new(from, to)).await
    }
    fn uri(&self, path: &str) -> String {
        self.inner.uri(path)
    }
    fn relative(&self, uri: &str) -> Result<String, StoreError> {
        self.inner.relative(uri)
    }
}

fn failed(path: &str, action: &'static str) -> impl Fn(String) -> StoreError {
    move |cause| StoreError::Failed { path: path.to_owned(), action, cause }
}

/// Which process stored which entry, in the order in which they were stored, and how many puts came too late.
#[derive(Default)]
pub struct Writers {
    pub stored: Vec<(ShardId, u64, ProcessId)>,
    /// What they stored: folded entries are removed, but the oracle needs their advances.
    pub bodies: BTreeMap<(ShardId, u64), Bytes>,
    pub late: u64,
}

pub struct JournalDoor {
    pub door: Door,
    pub inner: Arc<dyn Journal>,
    pub writers: Arc<Mutex<Writers>>,
}

#[async_trait]
impl Journal for JournalDoor {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        let lost = |cause| JournalError::Unclear { shard: shard.clone(), n, cause };
        let put = async {
            let outcome = self.inner.put(shard, n, body.clone()).await?;
            let own = outcome == PutOutcome::Created || self.inner.get(shard, n).await?.as_ref() == Some(&body);
            let mut writers = self.writers.lock().unwrap();
            match outcome {
                PutOutcome::Created => {
                    writers.stored.push((shard.clone(), n, self.door.process));
                    writers.bodies.insert((shard.clone(), n), body);
                }
                PutOutcome::Taken if !own => writers.late += 1,
                PutOutcome::Taken => {}
            }
            Ok(outcome)
        };
        self.door.go("journal put", &format!("{shard}/{n}"), lost, put).await
    }
    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        let subject = format!("{shard}/{n}");
        self.door.go("journal get", &subject, unread("reading an entry"), self.inner.get(shard, n)).await
    }
    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        self.door.go("journal tail", shard.as_str(), unread("reading the tail"), self.inner.tail(shard)).await
    }
    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        self.door.go("journal shards", "", unread("listing the shards"), self.inner.shards()).await
    }
    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        let list = self.inner.list(shard, from, limit);
        self.door.go("journal list", shard.as_str(), unread("listing entries"), list).await
    }
    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.door.go("journal base", shard.as_str(), unread("reading a base"), self.inner.checkpoint(shard)).await
    }
    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        let put = self.inner.put_checkpoint(shard, n, body);
        self.door.go("journal put base", &format!("{shard}/{n}"), unread("storing a base"), put).await
    }
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        let remove = self.inner.remove_through(shard, n);
        self.door.go("journal remove", &format!("{shard}/{n}"), unread("removing folded entries"), remove).await
    }
    fn followers(&self) -> &dyn Followers {
        self
    }
}

#[async_trait]
impl Followers for JournalDoor {
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError> {
        let all = self.inner.followers().registered();
        self.door.go("journal followers", "", unread("reading the followers"), all).await
    }
    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        let put = self.inner.followers().register(name, n, body);
        self.door.go("journal register", &format!("{name}/{n}"), unread("registering a follower"), put).await
    }
    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError> {
        self.inner.followers().forget(name).await
    }
}

fn unread(action: &'static str) -> impl Fn(String) -> JournalError {
    move |cause| JournalError::Failed { journal: "in memory".to_owned(), action, cause }
}

pub struct CatalogDoor {
    pub door: Door,
    pub inner: Arc<dyn TablePointers>,
}

#[async_trait]
impl TablePointers for CatalogDoor {
    async fn load(&self, table: &str) -> Result<Option<String>, CatalogError> {
        let lost = |cause| CatalogError::Failed { table: table.to_owned(), cause };
        self.door.go("catalog load", table, lost, self.inner.load(table)).await
    }
    async fn create(&self, table: &str, location: &str, schema: &Schema) -> Result<SwapOutcome, CatalogError> {
        let lost = |cause| CatalogError::Unclear { table: table.to_owned(), cause };
        self.door.go("catalog create", table, lost, self.inner.create(table, location, schema)).await
    }
    async fn swap(&self, table: &str, old: &str, new: &str, schema: &Schema) -> Result<SwapOutcome, CatalogError> {
        let lost = |cause| CatalogError::Unclear { table: table.to_owned(), cause };
        self.door.go("catalog swap", table, lost, self.inner.swap(table, old, new, schema)).await
    }
}

pub struct StreamDoor {
    pub door: Door,
    pub inner: Arc<dyn Stream>,
}

fn unreachable(action: &'static str) -> impl Fn(String) -> StreamError {
    move |cause| StreamError::Storage { stream: "sim".to_owned(), action, cause, retry: true }
}

#[async_trait]
impl Stream for StreamDoor {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.door.go("stream describe", "", unreachable("describe"), self.inner.describe()).await
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        self.door.go("stream shards", "", unreachable("shards"), self.inner.shards()).await
    }
    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        let read = self.inner.read(shard, from, limit);
        self.door.go("stream read", shard.as_str(), unreachable("read"), read).await
    }
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        self.door.go("stream tip", shard.as_str(), unreachable("tip"), self.inner.tip(shard)).await
    }
}

pub struct LeaseDoor {
    pub door: Door,
    pub inner: Arc<dyn LeaseStore>,
}

fn unleased(action: &'static str) -> impl Fn(String) -> LeaseError {
    move |cause| LeaseError::Failed { place: "memory".to_owned(), action, cause }
}

#[async_trait]
impl LeaseStore for LeaseDoor {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        self.door.go("lease list", "", unleased("list"), self.inner.list()).await
    }
    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        self.door.go("lease get", key, unleased("get"), self.inner.get(key)).await
    }
    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.door.go("lease create", &lease.key, unleased("create"), self.inner.create(lease)).await
    }
    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.door.go("lease update", &lease.key, unleased("update"), self.inner.update(lease)).await
    }
    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError> {
        self.door.go("lease remove", &lease.key, unleased("remove"), self.inner.remove(lease)).await
    }
}

/// A process's own clock: its ticks are right, but the time that it shows may be wrong.
pub struct ClockDoor(pub Door);

#[async_trait]
impl Clock for ClockDoor {
    fn now(&self) -> ProcessingTime {
        self.0.gate.time.shown(self.0.process)
    }
    fn ticks(&self) -> Tick {
        self.0.gate.time.ticks()
    }
    async fn sleep(&self, duration: Duration) {
        self.0.gate.pause(self.0.process, Span::from_micros(duration.as_micros() as i64)).await;
    }
}

/// Ids in order of request, with the time of a process's clock.
pub struct SimIds {
    pub next: Arc<AtomicU64>,
    pub clock: Arc<ClockDoor>,
}

impl Ids for SimIds {
    fn commit_id(&self) -> String {
        format!("c{:08}", self.next.fetch_add(1, Ordering::SeqCst))
    }
}

impl CommitIds for SimIds {
    fn now_ms(&self) -> i64 {
        self.clock.now().micros() / 1000
    }
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(7, self.next.fetch_add(1, Ordering::SeqCst) * 2)
    }
}

/// Runs work beside its caller, as a task of the process.
pub struct Beside;

impl Work for Beside {
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let task = tokio::spawn(work);
        Box::pin(async move {
            let _ = task.await;
        })
    }
}
