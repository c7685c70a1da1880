//! A year of commits in memory, with regular maintenance. Prints every ten days what a table is made of, and what a query and a run of
//! maintenance cost by then.
//!
//! `cargo run --release -p authpulse-lake --example year_of_commits -- [DAYS [COMMITS_AN_HOUR [HOURS_BETWEEN_MAINTENANCE]]]`

use authpulse_engine::flags::Flags;
use authpulse_engine::names::{ComputerNames, UserNames};
use authpulse_engine::rows::{AcceptedEvent, EventId, ScoredEvent, Windows};
use authpulse_engine::rules::RuleSet;
use authpulse_event::time::{DEFAULT_BASE, HOUR, SECOND};
use authpulse_event::{ArrivalTime, EventTime, HashRange, ProcessingTime, ShardId, TimeForm};
use authpulse_lake::encode::{CuratedRows, encode_curated};
use authpulse_lake::entry::{Entry, FileRef, PieceRef, Source, StoredPosition, StoredTimeRules};
use authpulse_lake::fault::{Faults, Moment};
use authpulse_lake::maintain::{Memory, PlanLimits, inspect};
use authpulse_lake::{
    CommitIds, EncodeOptions, EntryFiles, Journal, Lake, MaintainSettings, MemoryCatalog, MemoryJournal, MemoryStore,
    ObjectStore, Table, maintain,
};
use bytes::Bytes;
use futures::executor::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

struct SimIds {
    ms: AtomicI64,
    next: AtomicU64,
}

impl CommitIds for SimIds {
    fn now_ms(&self) -> i64 {
        self.ms.load(Ordering::Relaxed)
    }
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.next.fetch_add(1, Ordering::Relaxed), 0)
    }
}

/// The allocator that the program uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Days between two printed lines.
const PRINTED_DAYS: u64 = 10;
/// Entries between two snapshots of state.
const SNAPSHOT_EVERY: u64 = 90;

fn stored_entry(
    shard: &ShardId,
    n: u64,
    files: Vec<authpulse_lake::TableFile>,
    snapshot: Vec<PieceRef>,
    watermark: EventTime,
) -> Entry {
    let place = |n: u64| StoredPosition { sequence: n.to_string(), sub_sequence: 0 };
    let time_rules =
        StoredTimeRules { base: DEFAULT_BASE, tolerance: SECOND, lookback_days: 30, settle: SECOND, event_model: 1 };
    Entry {
        n,
        commit_id: format!("c{n}"),
        written_at: processed(watermark),
        from: place(n - 1),
        to: place(n),
        watermark: Some(watermark),
        newest_accepted: Some(watermark),
        last_accepted_live: true,
        hours_through: Some(watermark),
        score_spans: Vec::new(),
        files,
        raw_done: n - 1,
        snapshot,
        last_snapshot: n / SNAPSHOT_EVERY * SNAPSHOT_EVERY,
        ..Entry::zero(shard, Source::File, HashRange::FULL, time_rules, "abc".to_owned())
    }
}

/// The time at which an event that happens now is processed.
fn processed(now: EventTime) -> ProcessingTime {
    ProcessingTime::from_micros(now.micros())
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let days = arguments.next().unwrap_or(365);
    let an_hour = arguments.next().unwrap_or(4);
    let every = arguments.next().unwrap_or(1).max(1);
    let (store, catalog) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCatalog::new()));
    let ids = Arc::new(SimIds { ms: AtomicI64::new(DEFAULT_BASE.micros() / 1_000), next: AtomicU64::new(1) });
    let lake = Lake::new(store.clone(), catalog).with_ids(ids.clone());
    let journal = MemoryJournal::new();
    block_on(lake.ensure_tables()).expect("tables are made in memory");
    let reads = Arc::new(AtomicU64::new(0));
    let counter = reads.clone();
    store.set_faults(Faults::new(move |step| {
        if step.moment == Moment::Before {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }));
    let settings = MaintainSettings::default();
    let limits = PlanLimits { target_bytes: settings.target_bytes, min_files: settings.min_files };
    let shard = ShardId::new("a");
    let mut memory = Memory::default();
    let mut n = 0u64;
    let (mut commit_time, mut maintain_time, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut requests = 0;
    println!(
        "day | commits | live files | manifests | snapshots | metadata bytes | stored files | entries kept | entries \
         behind the base | base bytes | requests to plan | requests of a \
         maintenance | commit ms | maintenance ms (mean, slowest)"
    );
    for hour in 0..days * 24 {
        for part in 0..an_hour {
            n += 1;
            let at = DEFAULT_BASE + (hour * an_hour + part) as i64 * HOUR / an_hour as i64;
            ids.ms.store(at.micros() / 1_000, Ordering::Relaxed);
            store.set_clock(processed(at));
            let (mut users, mut computers) = (UserNames::default(), ComputerNames::default());
            let row = ScoredEvent {
                event: AcceptedEvent {
                    event_time: at,
                    ingestion_time: ArrivalTime::from_micros(at.micros()),
                    user: users.intern(&format!("U{}", n % 97)),
                    computer: computers.intern(&format!("C{}", n % 31)),
                    id: EventId::Content(TimeForm::Seconds),
                    windows: Windows::default(),
                    new_device: false,
                    attributes: Default::default(),
                },
                popularity: None,
                flags: Flags::default(),
                score: 0,
            };
            let rows = CuratedRows {
                rows: &[row],
                users: &users.view(),
                computers: &computers.view(),
                base: DEFAULT_BASE,
                rules: &RuleSet::default(),
                rule_set: "abc",
                processing_time: processed(at),
                later: None,
            };
            let mut files = Vec::new();
            for file in encode_curated(&rows, &EncodeOptions::default()).expect("one row can be encoded") {
                let path = file.path(&format!("{n}"));
                let (file, bytes) = file.finish(path);
                block_on(store.put_new(&file.path, bytes)).expect("names are new");
                files.push(file);
            }
            let mut snapshot = Vec::new();
            if n.is_multiple_of(SNAPSHOT_EVERY) {
                let path = format!("state/c{n}-0.apst.zst");
                block_on(store.put_new(&path, Bytes::from_static(b"state"))).expect("names are new");
                let file = FileRef { path, bytes: 5, sha256: String::new() };
                snapshot.push(PieceRef {
                    range: HashRange::FULL.to_string(),
                    users: 0,
                    sections: Default::default(),
                    file,
                });
            }
            let entry = stored_entry(&shard, n, files, snapshot, at);
            block_on(journal.put(&shard, n, entry.encode())).expect("memory does not fail");
            let begun = Instant::now();
            for table in Table::FIRST {
                let view = [EntryFiles { shard: &shard, n, files: &entry.files }];
                block_on(lake.commit(table, &view)).expect("memory does not fail");
            }
            commit_time += begun.elapsed();
        }
        if (hour + 1) % every == 0 {
            let (begun, before) = (Instant::now(), reads.load(Ordering::Relaxed));
            let report = block_on(maintain(&lake, &journal, &settings, false, &mut memory));
            assert!(report.is_complete(), "{report:?}");
            let took = begun.elapsed();
            (maintain_time, slowest) = (maintain_time + took, slowest.max(took));
            requests = requests.max(reads.load(Ordering::Relaxed) - before);
        }
        if (hour + 1) % (24 * PRINTED_DAYS) == 0 || hour + 1 == days * 24 {
            let hours = ((hour % (24 * PRINTED_DAYS)) + 1) as f64;
            let info = block_on(inspect(&lake, Table::CURATED, &limits)).expect("the table can be read");
            let before = reads.load(Ordering::Relaxed);
            let live = block_on(lake.live_files(Table::CURATED)).expect("the table can be read");
            let plan = reads.load(Ordering::Relaxed) - before;
            assert_eq!(live.files.iter().map(|f| f.rows).sum::<u64>(), n);
            let kept = block_on(journal.list(&shard, 1, usize::MAX)).expect("memory does not fail").len();
            let (folded, checkpoint) =
                block_on(journal.checkpoint(&shard)).expect("memory does not fail").unwrap_or_default();
            println!(
                "{} | {n} | {} | {} | {} | {} | {} | {kept} | {} | {} | {plan} | {requests} | {:.2} | {:.1}, {:.1}",
                (hour + 1) / 24,
                info.shape.live.files,
                info.shape.manifests,
                info.shape.snapshots,
                info.shape.metadata_bytes,
                info.shape.stored.files,
                n - folded,
                checkpoint.len(),
                commit_time.as_secs_f64() * 1e3 / (hours * an_hour as f64),
                maintain_time.as_secs_f64() * 1e3 * every as f64 / hours,
                slowest.as_secs_f64() * 1e3,
            );
            (commit_time, maintain_time, slowest, requests) = (Duration::ZERO, Duration::ZERO, Duration::ZERO, 0);
        }
    }
}
