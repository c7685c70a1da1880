//! Rows with values of columns that the table lacks. The columns are added before the entry is stored. While they cannot be added, the
//! worker keeps its shard, reads no further and tries again; a stop drops what is not stored. Rows without such values wait for nothing.

use super::small_lake::{SmallLake, options};
use async_trait::async_trait;
use authpulse_engine::rows::ScoredEvent;
use authpulse_event::{Position, ShardId};
use authpulse_journal::Env;
use authpulse_journal::env::{SystemClock, TokioWork};
use authpulse_lake::encode::LaterGroup;
use authpulse_lake::entry::Entry;
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::read::Value;
use authpulse_lake::schema::{Column, Group, Kind};
use authpulse_lake::{CommitSettings, Lake, MemoryCatalog, Shape, Table};
use authpulse_lease::{Fleet, LeaseStore, MemoryLeases};
use authpulse_service::committer::commit_all;
use authpulse_service::drive::{Ended, run_service};
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::{
    CreateOptions, MemoryStream, PutRecord, ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream,
    StreamDescription, StreamError, StreamWriter,
};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const RECORDS: usize = 2_000;
const READ: usize = 100;
/// Far longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(120);
const GROUP: Group = Group::Named("notes");

/// A stream that counts how often it is read.
struct Counted {
    stream: MemoryStream,
    reads: AtomicUsize,
}

#[async_trait]
impl Stream for Counted {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.stream.describe().await
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        self.stream.shards().await
    }
    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.stream.read(shard, from, limit).await
    }
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        self.stream.tip(shard).await
    }
}

thread_local! {
    /// Whether the next swap on this thread adds columns.
    static FOR_COLUMNS: Cell<bool> = const { Cell::new(false) };
}

struct World {
    lake: SmallLake,
    env: Env,
    catalog: Arc<MemoryCatalog>,
    stream: Arc<Counted>,
    leases: Arc<MemoryLeases>,
}

impl World {
    async fn new() -> World {
        let lake = SmallLake::new();
        let stream = MemoryStream::new(CreateOptions { shards: 1, ..CreateOptions::default() }).unwrap();
        let record = |n: usize| {
            let payload = format!("{{\"time\":{},\"user\":\"U{}\",\"computer\":\"C{}\"}}", 10_000 + n, n % 97, n % 13);
            PutRecord { payload: payload.into(), partition_key: "k".into() }
        };
        stream.put((0..RECORDS).map(record).collect(), None).await.unwrap();
        let catalog = Arc::new(MemoryCatalog::new());
        let tables = Lake::new(lake.env.store.clone(), catalog.clone())
            .with_settings(CommitSettings { attempts: 1, ..CommitSettings::default() })
            .with_probe(Arc::new(|point| FOR_COLUMNS.set(point.starts_with("columns swap before"))));
        let work = Arc::new(TokioWork::new().unwrap());
        let env = Env { lake: Arc::new(tables), clock: Arc::new(SystemClock), work, ..lake.env.clone() };
        let stream = Arc::new(Counted { stream, reads: AtomicUsize::new(0) });
        World { lake, env, catalog, stream, leases: Arc::new(MemoryLeases::new()) }
    }

    /// Runs a service until it is done or stopped, with noted rows or without.
    async fn run(&self, noted: bool, stop: watch::Receiver<bool>) -> Ended {
        let options = Arc::new(Options { read_records: READ, ..(*options()).clone() });
        let note = Column::later(GROUP, "note", Kind::Text, "what is noted");
        let notes =
            LaterGroup::new(vec![note], move |_: &ScoredEvent| noted, |_, _| Some(Value::Text("seen by night")));
        let shape = Shape { curated: vec![notes], ..Shape::default() };
        let lake = Arc::new((*self.env.lake).clone().with_shape(shape));
        let (env, stream) = (Env { lake, ..self.env.clone() }, self.stream.clone());
        let service = Service::open(env.clone(), options.clone(), stream, Mode::UntilCaughtUp).await.unwrap();
        let fleet = Fleet::new(self.leases.clone(), "w1", options.leases);
        let run = run_service(service, &env, &options, fleet, stop);
        tokio::time::timeout(PATIENCE, run).await.expect("it goes on for ever").unwrap()
    }

    async fn columns(&self) -> Vec<String> {
        let loaded = self.env.lake.load(Table::CURATED).await.unwrap();
        loaded.metadata.current_schema().as_struct().fields().iter().map(|field| field.name.clone()).collect()
    }

    async fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for shard in self.env.journal.shards().await.unwrap() {
            entries.extend(self.lake.entries(shard.as_str()).await);
        }
        entries
    }

    /// Adding columns fails this many times; `failed` receives each failure.
    fn fail_columns(&self, times: usize, failed: mpsc::UnboundedSender<()>) {
        let count = AtomicUsize::new(0);
        self.catalog.set_faults(Faults::new(move |step| {
            let is_ours = (step.operation, step.moment) == ("swap", Moment::Before) && FOR_COLUMNS.take();
            if !is_ours || count.fetch_add(1, Ordering::SeqCst) >= times {
                return Ok(());
            }
            let _ = failed.send(());
            Err("nobody answers".to_owned())
        }));
    }

    /// Rows in the table once it has followed the journals.
    async fn rows(&self) -> u64 {
        commit_all(&self.env).await.unwrap();
        self.env.lake.live_files(Table::CURATED).await.unwrap().files.iter().map(|file| file.rows).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_before_the_entry_whose_rows_have_values_of_them() {
    let mut world = World::new().await;
    // Entries that were put while the table lacked the column.
    let (catalog, lacked) = (world.env.lake.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = lacked.clone();
    world.env.probe = Arc::new(move |point, _| {
        if point == "entry put before" {
            // On a thread of its own: executors do not nest.
            let table = std::thread::scope(|scope| {
                scope.spawn(|| futures::executor::block_on(catalog.load(Table::CURATED)).unwrap()).join().unwrap()
            });
            let is_there = table.metadata.current_schema().field_by_name("note").is_some();
            counted.fetch_add(usize::from(!is_there), Ordering::SeqCst);
        }
    });
    let (_send, stop) = watch::channel(false);
    assert_eq!(world.run(true, stop).await, Ended::Complete);
    let without = world.entries().await.iter().take_while(|entry| entry.counts.curated == 0).count();
    assert!(lacked.load(Ordering::SeqCst) <= without, "an entry with rows was put before the column was there");
    assert_eq!(world.rows().await, RECORDS as u64);
    assert!(world.columns().await.contains(&"note".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_columns_cannot_be_added_nothing_more_is_read_and_a_stop_drops_what_is_not_stored() {
    let world = World::new().await;
    world.env.lake.ensure_tables().await.unwrap();
    let (tell, mut failures) = mpsc::unbounded_channel();
    world.fail_columns(usize::MAX, tell);
    let (send, stop) = watch::channel(false);
    let watched = async {
        // One second lies between two attempts; a worker that went on would read everything in that time.
        failures.recv().await;
        failures.recv().await;
        let reads = world.stream.reads.load(Ordering::SeqCst);
        failures.recv().await;
        failures.recv().await;
        let later = world.stream.reads.load(Ordering::SeqCst);
        assert_eq!(reads, later, "it reads on");
        assert!(reads < RECORDS / READ, "{reads} reads");
        let leases = world.leases.list().await.unwrap();
        assert!(leases.iter().all(|lease| lease.owner.as_deref() == Some("w1")), "it keeps its lease: {leases:?}");
        send.send_replace(true);
    };
    let (ended, ()) = tokio::join!(world.run(true, stop), watched);
    assert_eq!(ended, Ended::Stopped);
    let leases = world.leases.list().await.unwrap();
    assert!(!leases.is_empty() && leases.iter().all(|lease| lease.owner.is_none()), "given back: {leases:?}");
    assert_eq!(world.entries().await.iter().map(|entry| entry.counts.curated).sum::<u64>(), 0, "nothing was stored");
    assert!(!world.columns().await.contains(&"note".to_owned()));
    // The next worker of the shard reads it again.
    world.catalog.set_faults(Faults::none());
    let (_send, stop) = watch::channel(false);
    assert_eq!(world.run(true, stop).await, Ended::Complete);
    assert_eq!(world.rows().await, RECORDS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_goes_on_by_itself_once_the_catalog_answers() {
    let world = World::new().await;
    world.env.lake.ensure_tables().await.unwrap();
    let (tell, mut failures) = mpsc::unbounded_channel();
    world.fail_columns(2, tell);
    let (_send, stop) = watch::channel(false);
    assert_eq!(world.run(true, stop).await, Ended::Complete);
    assert!(failures.recv().await.is_some() && failures.recv().await.is_some());
    assert_eq!(world.rows().await, RECORDS as u64);
    assert!(world.columns().await.contains(&"note".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_such_values_wait_for_nothing() {
    let world = World::new().await;
    world.env.lake.ensure_tables().await.unwrap();
    world.catalog.set_faults(Faults::new(|step| match step.operation {
        "swap" => Err("nobody answers".to_owned()),
        _ => Ok(()),
    }));
    let (send, stop) = watch::channel(false);
    let stored = async {
        let shard = loop {
            if let Some(shard) = world.env.journal.shards().await.unwrap().pop() {
                break shard;
            }
            tokio::task::yield_now().await;
        };
        let received = |entries: &[Entry]| entries.iter().map(|e| e.counts.received).sum::<u64>();
        while received(&world.lake.entries(shard.as_str()).await) < RECORDS as u64 {
            tokio::task::yield_now().await;
        }
        // The tables cannot follow yet; the run brings them up at its end.
        world.catalog.set_faults(Faults::none());
        send.send_replace(true);
    };
    let (_, ()) = tokio::join!(world.run(false, stop), stored);
    assert_eq!(world.rows().await, RECORDS as u64);
    assert!(!world.columns().await.contains(&"note".to_owned()));
}
