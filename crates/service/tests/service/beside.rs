//! What runs beside the workers of a service. If one of its tasks panics, the run ends and says which. If another process hangs in the
//! midst of a write, the run waits.

use crate::small_lake::{SmallLake, options};
use async_trait::async_trait;
use authpulse_event::{ShardId, Span};
use authpulse_files::Source;
use authpulse_journal::Env;
use authpulse_journal::env::SystemClock;
use authpulse_lake::journal::JournalError;
use authpulse_lake::lock::LockError;
use authpulse_lake::{CommitterLock, Followers, Journal, PutOutcome};
use authpulse_lease::{Fleet, MemoryLeases};
use authpulse_service::backfill::{BackfillRequest, prepare};
use authpulse_service::drive::run_service;
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::{CreateOptions, MemoryStream};
use authpulse_worker::worker::StepOutcome;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Far longer than ending takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Panics when it is asked for the third time.
#[derive(Default)]
struct FailingLock(AtomicU32);

#[async_trait]
impl CommitterLock for FailingLock {
    async fn hold(&self) -> Result<bool, LockError> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) != 2, "on purpose");
        Ok(true)
    }
    async fn release(&self) {}
}

/// Runs a service over an open stream, which would go on for ever; returns how it ended.
async fn ended(env: Env, leases: MemoryLeases) -> String {
    let stream = Arc::new(MemoryStream::new(CreateOptions { shards: 2, ..CreateOptions::default() }).unwrap());
    let options = Arc::new(Options { follow_interval: Span::millis(20), ..(*options()).clone() });
    let service = Service::open(env.clone(), options.clone(), stream, Mode::Run).await.unwrap();
    let leases_settings = authpulse_lease::LeaseSettings { duration: 30_000, scan_every: 10_000, ..options.leases };
    let options = Options { leases: leases_settings, ..(*options).clone() };
    let fleet = Fleet::new(Arc::new(leases), "w1", options.leases);
    let (_send, stop) = watch::channel(false);
    let run = run_service(service, &env, &options, fleet, stop);
    tokio::time::timeout(PATIENCE, run).await.expect("it goes on as if nothing were").unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_keeper_of_leases_a_run_ends() {
    let lake = SmallLake::new();
    let env = Env { clock: Arc::new(SystemClock), ..lake.env.clone() };
    let looks = AtomicU32::new(0);
    let faults = move |action: &'static str, _: &str, _: bool| {
        assert!(action != "lease list" || looks.fetch_add(1, Ordering::SeqCst) != 7, "on purpose");
        Ok(())
    };
    let told = ended(env, MemoryLeases::with_faults(Arc::new(faults))).await;
    assert!(told.starts_with("the task that keeps the leases ended by a bug in this program"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_committer_a_run_ends() {
    let lake = SmallLake::new();
    let committer = Arc::new(FailingLock::default());
    let env = Env { clock: Arc::new(SystemClock), committer, ..lake.env.clone() };
    let told = ended(env, MemoryLeases::new()).await;
    assert!(told.starts_with("the task that keeps the committer's lock ended by a bug in this program"), "{told}");
}

/// A journal that another, hanging process keeps locked for this many writes.
struct BusyJournal {
    journal: Arc<dyn Journal>,
    left: AtomicU32,
}

#[async_trait]
impl Journal for BusyJournal {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        let count_down = |left: u32| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count_down) {
            Ok(_) => Err(JournalError::Busy {
                journal: "journal.db".to_owned(),
                action: "storing an entry",
                cause: "process 1 is writing to it".to_owned(),
            }),
            Err(_) => self.journal.put(shard, n, body).await,
        }
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
        self.journal.put_checkpoint(shard, n, body).await
    }
    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        self.journal.remove_through(shard, n).await
    }
    fn followers(&self) -> &dyn Followers {
        self.journal.followers()
    }
}

/// A lake whose journal is busy this many times, and a file to load into it.
fn busy(times: u32) -> (SmallLake, Arc<BusyJournal>, PathBuf) {
    let mut lake = SmallLake::new();
    let journal = Arc::new(BusyJournal { journal: lake.env.journal.clone(), left: AtomicU32::new(times) });
    lake.env.journal = journal.clone();
    let lines: Vec<String> = (0..50).map(|n| format!("{},U{},C1\n", 7000 + n, n % 7)).collect();
    let input = lake.write_input("auth.txt", &lines);
    (lake, journal, input)
}

/// With a journal in SQLite each of these attempts would have waited for 10 s: some five minutes in all.
#[tokio::test]
async fn a_journal_that_another_process_blocks_is_waited_for() {
    let (lake, journal, input) = busy(29);
    lake.backfill(&[input], &options(), false).await;
    assert_eq!(journal.left.load(Ordering::SeqCst), 0);
    let received: u64 = lake.entries("file").await.iter().map(|entry| entry.counts.received).sum();
    assert_eq!(received, 50);
}

#[tokio::test]
async fn a_journal_that_stays_blocked_ends_the_run_and_names_who_blocks_it() {
    let (lake, journal, input) = busy(u32::MAX);
    let request = BackfillRequest::new(vec![Source::File(input)]);
    let mut run = prepare(&lake.env, options(), &request).await.unwrap();
    let error = loop {
        match run.worker.step().await {
            Ok(progress) => assert!(progress != StepOutcome::Done, "nothing could be stored"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("process 1 is writing to it"), "{error}");
    assert_eq!(u32::MAX - journal.left.load(Ordering::SeqCst), 30);
}
