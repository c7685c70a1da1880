//! A lake, its stream and its clock in memory. Everything follows from what is done to them.

use crate::archive::{Body, Dump, StreamChange};
use async_trait::async_trait;
use authpulse_event::time::{DAY, SECOND};
use authpulse_event::{ProcessingTime, ShardId, Span, Tick};
use authpulse_journal::Env;
use authpulse_journal::env::{Clock, Ids, Work};
use authpulse_journal::sink::NoSink;
use authpulse_lake::followers::Followers;
use authpulse_lake::journal::JournalError;
use authpulse_lake::maintain::Memory;
use authpulse_lake::{
    CommitIds, CommitSettings, Journal, Lake, MaintainSettings, MemoryCatalog, MemoryJournal, MemoryStore, ObjectStore,
    PutOutcome, Table, TablePointers, maintain,
};
use authpulse_service::committer::commit_all;
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{CreateOptions, PutRecord, Stream, StreamWriter};
use authpulse_worker::worker::{StepOutcome, Worker};
use bytes::Bytes;
use futures::future::BoxFuture;
use iceberg::spec::Schema;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// A clock that moves when it is told to, and at no other time: looking at it changes nothing.
pub struct StillClock(AtomicI64);

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> ProcessingTime {
        ProcessingTime::from_micros(self.0.load(Ordering::Relaxed))
    }
    fn ticks(&self) -> Tick {
        Tick::from_micros(self.0.load(Ordering::Relaxed))
    }
    async fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as i64, Ordering::Relaxed);
    }
}

struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn commit_id(&self) -> String {
        format!("{:032x}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Names of what belongs to tables. They are counted apart, so that more commits than then do not change the names of entries.
struct TableIds {
    clock: Arc<StillClock>,
    next: AtomicU64,
}

impl CommitIds for TableIds {
    fn now_ms(&self) -> i64 {
        self.clock.now().micros() / 1_000
    }
    fn uuid(&self) -> Uuid {
        // The upper half names a snapshot.
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u64_pair(n << 20 | 7, n)
    }
}

/// Runs work where it is awaited.
struct InPlace;

impl Work for InPlace {
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        work
    }
}

/// A journal that remembers its checkpoints: two are kept, but the trait gives only the newest.
#[derive(Default)]
struct Remembering {
    journal: MemoryJournal,
    checkpoints: Mutex<BTreeMap<(ShardId, u64), Bytes>>,
}

#[async_trait]
impl Journal for Remembering {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        self.journal.put(shard, n, body).await
    }
    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        self.journal.get(shard, n).await
    }
    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        self.journal.tail(shard).await
    }
    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        self.journal.shards().await
    }
    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        self.journal.list(shard, from, limit).await
    }
    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        self.journal.checkpoint(shard).await
    }
    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        self.checkpoints.lock().unwrap().entry((shard.clone(), n)).or_insert_with(|| body.clone());
        self.journal.put_checkpoint(shard, n, body).await
    }
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        let removed = self.journal.remove_through(shard, n).await?;
        let mut checkpoints = self.checkpoints.lock().unwrap();
        let mut numbers: Vec<u64> = checkpoints.keys().filter(|(of, _)| of == shard).map(|(_, n)| *n).collect();
        numbers.truncate(numbers.len().saturating_sub(2));
        numbers.into_iter().for_each(|n| drop(checkpoints.remove(&(shard.clone(), n))));
        Ok(removed)
    }
    fn followers(&self) -> &dyn Followers {
        self.journal.followers()
    }
}

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A lake, its stream and its clock.
pub struct World {
    pub env: Env,
    pub options: Arc<Options>,
    pub chance: Chance,
    clock: Arc<StillClock>,
    store: Arc<MemoryStore>,
    journal: Arc<Remembering>,
    catalog: Arc<MemoryCatalog>,
    ids: Arc<CountingIds>,
    table_ids: Arc<TableIds>,
    stream: Option<Arc<MemoryStream>>,
    /// Everything that was done to the stream.
    changes: Vec<StreamChange>,
    /// Files that a backfill reads, by name.
    pub inputs: BTreeMap<String, String>,
    /// If set, only this many of the shards that have a worker are worked on.
    pub at_work: usize,
}

impl World {
    pub fn new(options: Options, now: ProcessingTime, seed: u64) -> World {
        let clock = Arc::new(StillClock(AtomicI64::new(now.micros())));
        let (store, journal) = (Arc::new(MemoryStore::new()), Arc::new(Remembering::default()));
        let catalog = Arc::new(MemoryCatalog::new());
        let ids = Arc::new(CountingIds(AtomicU64::new(1)));
        let table_ids = Arc::new(TableIds { clock: clock.clone(), next: AtomicU64::new(1) });
        let commits = CommitSettings { gather_below: options.gather_below, ..CommitSettings::default() };
        let lake = Lake::new(store.clone(), catalog.clone()).with_ids(table_ids.clone()).with_settings(commits);
        let env = Env {
            lake: Arc::new(lake),
            store: store.clone(),
            journal: journal.clone(),
            committer: Arc::new(authpulse_lake::SoleCommitter),
            clock: clock.clone(),
            ids: ids.clone(),
            work: Arc::new(InPlace),
            sink: Arc::new(NoSink),
            probe: Arc::new(|_, _| {}),
            inspect: None,
        };
        let world = World {
            env,
            options: Arc::new(options),
            chance: Chance(seed),
            clock,
            store,
            journal,
            catalog,
            ids,
            table_ids,
            stream: None,
            changes: Vec::new(),
            inputs: BTreeMap::new(),
            at_work: usize::MAX,
        };
        world.pass(Span::ZERO);
        world
    }

    pub fn now(&self) -> ProcessingTime {
        self.clock.now()
    }

    /// Time goes by.
    pub fn pass(&self, span: Span) {
        self.clock.0.fetch_add(span.micros(), Ordering::Relaxed);
        self.store.set_clock(self.now());
    }

    /// Does something to the stream, and remembers it.
    pub async fn change_stream(&mut self, change: StreamChange) {
        self.clock.0.store(change.at(), Ordering::Relaxed);
        match &change {
            StreamChange::Create { name, shards, .. } => {
                let clock = self.clock.clone();
                let clock = Arc::new(move || clock.now().as_arrival_bound());
                let (name, shards, retention) = (name.clone(), *shards, 365 * DAY);
                self.stream =
                    Some(Arc::new(MemoryStream::new(CreateOptions { name, shards, retention, clock }).unwrap()));
            }
            StreamChange::Put { key, payload, .. } => {
                let record = PutRecord { payload: payload.0.clone().into(), partition_key: key.clone().into() };
                self.stream().put(vec![record], None).await.unwrap();
            }
            StreamChange::Split { shard, at_hash, .. } => {
                self.stream().split(&ShardId::new(shard), at_hash.parse().unwrap()).await.map(drop).unwrap();
            }
            StreamChange::Merge { left, right, .. } => {
                self.stream().merge(&ShardId::new(left), &ShardId::new(right)).await.map(drop).unwrap();
            }
        }
        self.changes.push(change);
        self.pass(Span::ZERO);
    }

    pub fn stream(&self) -> &Arc<MemoryStream> {
        self.stream.as_ref().expect("this lake has a stream")
    }

    /// Puts a record, a moment after the one before it.
    pub async fn put(&mut self, (key, payload): (String, Vec<u8>)) {
        let at = self.now().micros() + 1_000;
        self.change_stream(StreamChange::Put { at, key, payload: Body(payload) }).await;
    }

    /// Splits the open shard with the lowest range in its middle, or merges it with its neighbour.
    pub async fn reshard(&mut self, split: bool) {
        let shards = self.stream().shards().await.unwrap();
        let mut open: Vec<_> = shards.into_iter().filter(|shard| !shard.closed).collect();
        open.sort_by_key(|shard| shard.range);
        let (at, range) = (self.now().micros() + 1_000, open[0].range);
        self.change_stream(match split {
            true => {
                let at_hash = (range.first + (range.last - range.first) / 2 + 1).to_string();
                StreamChange::Split { at, shard: open[0].id.to_string(), at_hash }
            }
            false => StreamChange::Merge { at, left: open[0].id.to_string(), right: open[1].id.to_string() },
        })
        .await;
    }

    /// Runs a service for this many steps, or until all is done; returns whether all is done. In the end its workers are stopped; or they
    /// are gone and say nothing, and then what they had not stored never happened.
    pub async fn serve(&mut self, mode: Mode, steps: u64, is_killed: bool) -> bool {
        let (env, options) = (self.env.clone(), self.options.clone());
        let mut service = Service::open(env, options, self.stream().clone(), mode).await.unwrap();
        let mut workers: Vec<Worker> = Vec::new();
        for step in 0..steps {
            if step % 8 == 0 || workers.is_empty() {
                service.refresh().await.unwrap();
                service.finish_raw_of_ended().await.unwrap();
                let wanted = service.wanted_leases();
                while let Some(worker) = service.start_next(&wanted).await.unwrap() {
                    workers.push(worker);
                }
                if workers.is_empty() && service.is_complete(&BTreeSet::new()) {
                    return true;
                }
            }
            let step_takes = 50 + self.chance.below(500) as i64;
            self.pass(step_takes * SECOND / 1_000);
            let count = workers.len().min(self.at_work) as u64;
            if count == 0 {
                continue;
            }
            // The last worker is the slowest.
            let at = self.chance.below(count).min(self.chance.below(count)) as usize;
            if workers[at].step().await.unwrap() == StepOutcome::Done {
                workers.remove(at);
            }
            if self.chance.below(150) == 0 {
                self.commit().await;
            }
        }
        if !is_killed {
            for worker in &mut workers {
                worker.stop().await.unwrap();
            }
        }
        false
    }

    pub async fn commit(&self) {
        commit_all(&self.env).await.unwrap();
    }

    /// A round of maintenance, which must succeed.
    pub async fn maintain(&self, settings: &MaintainSettings) {
        let (lake, journal) = (&self.env.lake, self.env.journal.as_ref());
        let report = maintain(lake, journal, settings, false, &mut Memory::default()).await;
        assert!(report.is_complete(), "{report:?}");
    }

    /// Everything but the options.
    pub async fn dump(&self) -> Dump {
        let mut files = Vec::new();
        for file in self.store.list("").await.unwrap() {
            let body = self.store.get(&file.path).await.unwrap();
            files.push((file.path, file.modified.micros(), body));
        }
        let mut entries = Vec::new();
        for shard in self.journal.shards().await.unwrap() {
            let stored = self.journal.list(&shard, 1, usize::MAX).await.unwrap();
            entries.extend(stored.into_iter().map(|(n, body)| (shard.to_string(), n, body)));
        }
        let checkpoints = self.journal.checkpoints.lock().unwrap().clone();
        let checkpoints = checkpoints.iter().map(|((shard, n), body)| (shard.to_string(), *n, body.clone())).collect();
        let mut pointers = BTreeMap::new();
        for table in Table::FIRST {
            if let Some(location) = self.catalog.load(table.name()).await.unwrap() {
                pointers.insert(table.name().to_owned(), location);
            }
        }
        Dump {
            now: self.now().micros(),
            chance: self.chance.0,
            next_commit_id: self.ids.0.load(Ordering::Relaxed),
            next_uuid: self.table_ids.next.load(Ordering::Relaxed),
            changes: self.changes.clone(),
            inputs: self.inputs.clone(),
            pointers,
            files,
            entries,
            checkpoints,
        }
    }

    /// A dump, loaded into new doubles.
    pub async fn restore(dump: &Dump, options: Options) -> World {
        let mut world = World::new(options, ProcessingTime::from_micros(dump.now), dump.chance);
        for (path, modified, body) in &dump.files {
            world.store.set_clock(ProcessingTime::from_micros(*modified));
            world.store.put_new(path, body.clone()).await.unwrap();
        }
        for (shard, n, body) in &dump.entries {
            world.journal.put(&ShardId::new(shard), *n, body.clone()).await.unwrap();
        }
        for (shard, n, body) in &dump.checkpoints {
            world.journal.put_checkpoint(&ShardId::new(shard), *n, body.clone()).await.unwrap();
        }
        for (table, location) in &dump.pointers {
            world.catalog.create(table, location, &Schema::builder().build().unwrap()).await.unwrap();
        }
        for change in dump.changes.clone() {
            world.change_stream(change).await;
        }
        world.clock.0.store(dump.now, Ordering::Relaxed);
        world.ids.0.store(dump.next_commit_id, Ordering::Relaxed);
        world.table_ids.next.store(dump.next_uuid, Ordering::Relaxed);
        world.inputs = dump.inputs.clone();
        world.pass(Span::ZERO);
        world
    }
}
