//! A small lake on disk, made by the real backfill or by a real service. Tests of the audit and of status use it.

pub mod audit;
pub mod rows;

use async_trait::async_trait;
use authpulse_event::time::{DAY, DEFAULT_BASE, SECOND};
use authpulse_event::{ProcessingTime, ShardId, Span, Tick};
use authpulse_files::Source;
use authpulse_journal::Env;
use authpulse_journal::env::{Clock, Ids, Work};
use authpulse_journal::sink::NoSink;
use authpulse_lake::entry::Entry;
use authpulse_lake::{Journal, Lake, LocalStore, MemoryJournal, Shape, SqliteCatalog, SqliteJournal};
use authpulse_producer::generate::{GenerateOptions, generate};
use authpulse_service::backfill::{BackfillRequest, prepare};
use authpulse_service::committer::commit_all;
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::memory::MemoryStream;
use authpulse_worker::worker::{StepOutcome, Worker};
use futures::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A clock that moves when it is told to, and by a microsecond with each look.
pub struct TestClock(pub AtomicI64);

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> ProcessingTime {
        ProcessingTime::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
    fn ticks(&self) -> Tick {
        Tick::from_micros(self.now().micros())
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

/// Runs work where it is awaited.
struct InPlace;

impl Work for InPlace {
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        work
    }
}

/// A lake in a directory of its own.
pub struct SmallLake {
    pub env: Env,
    pub clock: Arc<TestClock>,
    pub dir: TempDir,
    catalog: Arc<SqliteCatalog>,
}

impl SmallLake {
    /// Runs a service from a stream into the lake, with this `env`, until every shard is done.
    pub async fn serve(&self, env: &Env, stream: &Arc<MemoryStream>, mode: Mode) {
        let mut service = Service::open(env.clone(), options(), stream.clone(), mode).await.unwrap();
        let mut workers: Vec<Worker> = Vec::new();
        for _ in 0..10_000 {
            service.refresh().await.unwrap();
            let wanted = service.wanted_leases();
            while let Some(worker) = service.start_next(&wanted).await.unwrap() {
                workers.push(worker);
            }
            let mut done = true;
            for worker in &mut workers {
                done &= worker.step().await.unwrap() == StepOutcome::Done;
            }
            self.clock.0.fetch_add((SECOND / 10).micros(), Ordering::Relaxed);
            if done && service.is_complete(&Default::default()) {
                return;
            }
        }
        panic!("the service does not end");
    }

    /// An empty lake, ten days after the first event.
    pub fn new() -> SmallLake {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalStore::open(dir.path().join("lake")).unwrap());
        let journal = Arc::new(SqliteJournal::open(dir.path().join("lake/journal.db")).unwrap());
        let catalog = Arc::new(SqliteCatalog::open(dir.path().join("lake/catalog.db")).unwrap());
        let clock = Arc::new(TestClock(AtomicI64::new((DEFAULT_BASE + 10 * DAY).micros())));
        let env = Env {
            lake: Arc::new(Lake::new(store.clone(), catalog.clone())),
            store,
            journal,
            committer: Arc::new(authpulse_lake::SoleCommitter),
            clock: clock.clone(),
            ids: Arc::new(CountingIds(AtomicU64::new(1))),
            work: Arc::new(InPlace),
            sink: Arc::new(NoSink),
            probe: Arc::new(|_, _| {}),
            inspect: None,
        };
        SmallLake { env, clock, dir, catalog }
    }

    /// Three days of logons and some lines that are no events, backfilled in many entries, with raw records. `commit` tells whether the
    /// tables follow.
    pub async fn backfilled(commit: bool) -> SmallLake {
        SmallLake::backfilled_by(Shape::default(), commit).await
    }

    /// The same, by a program that knows other sections and columns.
    pub async fn backfilled_by(shape: Shape, commit: bool) -> SmallLake {
        let mut lake = SmallLake::new();
        lake.env.lake = Arc::new((*lake.env.lake).clone().with_shape(shape));
        // Each file makes at least one entry.
        let lines = lines(6_000);
        let parts = lines.chunks(lines.len() / 12 + 1).enumerate();
        let files: Vec<PathBuf> = parts.map(|(i, part)| lake.write_input(&format!("auth-{i:02}.txt"), part)).collect();
        lake.backfill(&files, &options(), false).await;
        if commit {
            commit_all(&lake.env).await.unwrap();
        }
        lake
    }

    /// Writes a file to load.
    pub fn write_input(&self, name: &str, lines: &[String]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, lines.concat()).unwrap();
        path
    }

    /// Backfills files to the end.
    pub async fn backfill(&self, files: &[PathBuf], options: &Arc<Options>, keep_open: bool) {
        let files = files.iter().cloned().map(Source::File).collect();
        let request = BackfillRequest { keep_open, ..BackfillRequest::new(files) };
        let mut run = prepare(&self.env, options.clone(), &request).await.unwrap();
        while run.worker.step().await.unwrap() != StepOutcome::Done {
            self.clock.0.fetch_add((SECOND / 10).micros(), Ordering::Relaxed);
        }
    }

    /// The path on disk of a file of the lake.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join("lake").join(relative)
    }

    /// The tables' pointers.
    pub fn catalog(&self) -> &SqliteCatalog {
        &self.catalog
    }

    /// All entries of a shard.
    pub async fn entries(&self, shard: &str) -> Vec<Entry> {
        let shard = ShardId::new(shard);
        let stored = self.env.journal.list(&shard, 1, 10_000).await.unwrap();
        stored.into_iter().map(|(n, body)| Entry::decode(&shard, n, &body, self.env.lake.sections()).unwrap()).collect()
    }

    /// The same lake, over a journal in memory that holds other entries of the shard `file`.
    pub async fn with_entries(&self, entries: &[Entry]) -> Env {
        let journal = MemoryJournal::new();
        for entry in entries {
            journal.put(&ShardId::new(&entry.shard), entry.n, entry.encode()).await.unwrap();
        }
        Env { journal: Arc::new(journal), ..self.env.clone() }
    }

    /// Files below a directory of the lake whose names end like this.
    pub async fn files(&self, prefix: &str) -> Vec<String> {
        self.env.store.list(prefix).await.unwrap().into_iter().map(|f| f.path).collect()
    }
}

/// Small entries, so that there are many.
pub fn options() -> Arc<Options> {
    Arc::new(Options { entry_age: Span::ZERO, chunk_rows: 300, snapshot_rows: 2_500, raw: true, ..Options::default() })
}

/// Generated events over three days, with lines in between that become dead letters of several reasons.
pub fn lines(events: u64) -> Vec<String> {
    let mut out = Vec::new();
    let options = GenerateOptions { events: Some(events), days: Some(3), seed: 7, attacks: 3 };
    generate(&options, &mut out, None::<std::io::Sink>, |_| {}).unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        lines.push(line.to_owned());
        match i % 400 {
            17 => lines.push("no event at all\n".to_owned()),
            40 => lines.push(line.to_owned()),
            61 => lines.push("1,U1,C1\n".to_owned()),
            90 => lines.push("999999999,U1,C1\n".to_owned()),
            123 => lines.push("\n".to_owned()),
            150 => lines.push(with_own_id(line, i)),
            _ => {}
        }
    }
    lines
}

/// The same event in the wire form, with an id given by its producer.
fn with_own_id(line: &str, i: usize) -> String {
    let fields: Vec<&str> = line.trim().split(',').collect();
    format!(
        "{{\"time\":{},\"user\":\"{}\",\"computer\":\"{}\",\"event_id\":\"own-{i}\"}}\n",
        fields[0], fields[1], fields[2]
    )
}

/// Changes the bytes of a file on disk.
pub fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    // Writing in place would change a hard link's other name as well.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}
