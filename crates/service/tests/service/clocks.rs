//! Clocks that are ahead, and state that an older version has left: what the service does with both.

use crate::small_lake::audit::report;
use crate::small_lake::{SmallLake, edit, options};
use authpulse_event::time::{DAY, DEFAULT_BASE, HOUR, SECOND, format_rfc3339};
use authpulse_event::{ArrivalTime, EventTime, HashRange, Span};
use authpulse_journal::Env;
use authpulse_lake::Table;
use authpulse_lake::entry::Entry;
use authpulse_service::committer::commit_all;
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{CreateOptions, PutRecord, Stream, StreamWriter};
use authpulse_worker::restore::restore;
use authpulse_worker::worker::{StepOutcome, Worker};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A stream of one shard with a clock that the test sets.
struct Live {
    lake: SmallLake,
    stream: Arc<MemoryStream>,
    clock: Arc<AtomicI64>,
}

impl Live {
    /// The clock begins at this event's time.
    fn new(now: EventTime) -> Live {
        let clock = Arc::new(AtomicI64::new(now.micros()));
        let shown = clock.clone();
        let shown = Arc::new(move || ArrivalTime::from_micros(shown.load(Ordering::Relaxed)));
        let stream = MemoryStream::new(CreateOptions { shards: 1, clock: shown, ..CreateOptions::default() }).unwrap();
        Live { lake: SmallLake::new(), stream: Arc::new(stream), clock }
    }

    /// Puts an event whose time is this many seconds after the clock.
    async fn put(&self, user: &str, computer: &str, ahead: i64) {
        let time = format_rfc3339(EventTime::from_micros(self.clock.load(Ordering::Relaxed)) + ahead * SECOND);
        let payload = format!(r#"{{"time":"{time}","user":"{user}","computer":"{computer}"}}"#).into();
        let record = PutRecord { payload, partition_key: user.to_owned().into() };
        self.stream.put(vec![record], None).await.unwrap();
    }

    async fn worker(&self, mode: Mode) -> Worker {
        let options = Arc::new(Options { entry_age: Span::ZERO, idle_after: 2 * SECOND, ..(*options()).clone() });
        let stream: Arc<dyn Stream> = self.stream.clone();
        let mut service = Service::open(self.lake.env.clone(), options, stream, mode).await.unwrap();
        let wanted = service.wanted_leases();
        service.start_next(&wanted).await.unwrap().expect("a shard to read")
    }
}

/// A pair's first accepted row may lie later than its earliest by the tolerance and 300 s, across midnight as well.
#[tokio::test]
async fn what_is_accepted_below_a_clock_ahead_is_sound() {
    // The newest event of the first pair lies on the next day; of the second, both do.
    for after_midnight in [10, 290] {
        let live = Live::new(DEFAULT_BASE + 3 * DAY + after_midnight * SECOND);
        live.put("U1", "C1", 300).await;
        live.put("U1", "C1", -300).await;
        live.put("U2", "C1", -299).await;
        let mut worker = live.worker(Mode::UntilCaughtUp).await;
        while worker.step().await.unwrap() != StepOutcome::Done {}
        commit_all(&live.lake.env).await.unwrap();
        let report = report(&live.lake.env).await;
        assert_eq!(report.difference, None, "{report}");
        assert_eq!(
            (report.totals().curated + report.totals().unscored, report.totals().rejected.len()),
            (3, 0),
            "{report}"
        );
    }
}

/// 60 logons on 60 computers within a minute, delivered at its end, behind one record whose clock lies 298 s ahead.
#[tokio::test]
async fn one_clock_ahead_hides_nothing() {
    let live = Live::new(DEFAULT_BASE + 3 * DAY + 12 * HOUR);
    for n in 0..3 {
        live.put("U1", "H0", n - 80).await;
    }
    live.put("U2", "C1", 298).await;
    for n in 0..60 {
        live.put("U1", &format!("H{n}"), n - 70).await;
    }
    live.stream.close().await.unwrap();
    let mut worker = live.worker(Mode::Run).await;
    while worker.step().await.unwrap() != StepOutcome::Done {}
    commit_all(&live.lake.env).await.unwrap();
    let report = report(&live.lake.env).await;
    assert_eq!(report.difference, None, "{report}");
    let mut levels = BTreeMap::new();
    for file in live.lake.env.lake.live_files(Table::CURATED).await.unwrap().files {
        for batch in live.lake.env.lake.read_curated(&file, None).await.unwrap() {
            for row in batch.unwrap().iter() {
                *levels.entry(row.risk_level.to_owned()).or_insert(0) += 1;
            }
        }
    }
    let wanted = [("CRITICAL", 13), ("HIGH", 38), ("LOW", 3), ("MEDIUM", 10)];
    assert_eq!(levels, wanted.map(|(level, rows)| (level.to_owned(), rows)).into());
}

/// The watermark of a quiet live shard after its idle time, when the stream's clock was then set forward by this many seconds.
async fn advanced_to(moved: i64) -> i64 {
    let arrival = DEFAULT_BASE + 3 * DAY;
    let live = Live::new(arrival);
    live.put("U1", "C1", -200).await;
    live.clock.fetch_add((moved * SECOND).micros(), Ordering::Relaxed);
    let mut worker = live.worker(Mode::Run).await;
    for _ in 0..100 {
        live.lake.clock.0.fetch_add((SECOND / 4).micros(), Ordering::Relaxed);
        worker.step().await.unwrap();
    }
    (worker.last_entry().watermark.expect("a watermark") - arrival) / SECOND
}

/// Arrivals stand still when the host's clock was ahead and is set back: such arrivals must not make other records late.
#[tokio::test]
async fn a_clock_behind_the_newest_arrival_gives_no_advance() {
    assert_eq!(advanced_to(0).await, -300);
    assert_eq!(advanced_to(100).await, -200);
    assert_eq!(advanced_to(-1).await, -500, "only the event itself");
    assert_eq!(advanced_to(-3_600).await, -500);
}

/// The same lake, with the pieces of its newest snapshot in another version.
async fn with_version(lake: &SmallLake, version: u8) -> (Env, Entry) {
    let mut entries = lake.entries("file").await;
    let at = usize::try_from(entries.last().unwrap().last_snapshot).unwrap() - 1;
    for piece in &mut entries[at].snapshot {
        let path = lake.path(&piece.file.path);
        edit(&path, |bytes| {
            let mut raw = zstd::bulk::decompress(bytes, 1 << 24).unwrap();
            raw[4] = version;
            *bytes = zstd::bulk::compress(&raw, 1).unwrap();
        });
        let bytes = std::fs::read(path).unwrap();
        piece.file.sha256 = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    }
    (lake.with_entries(&entries).await, entries.pop().unwrap())
}

/// A snapshot of an older version is passed over like a damaged one: the state is that of the table.
#[tokio::test]
async fn a_snapshot_of_an_older_version_is_rebuilt_from_the_table() {
    let lake = SmallLake::backfilled(true).await;
    let engine = options().engine.clone();
    let tail = lake.entries("file").await.pop().unwrap();
    assert!(tail.last_snapshot > 1 && tail.last_snapshot < tail.n, "rows follow the snapshot");
    let whole = restore(&lake.env, &engine, &tail, HashRange::FULL).await.unwrap();
    let mut rebuilt = Vec::new();
    for version in [0, 1] {
        let (env, tail) = with_version(&lake, version).await;
        let shard = restore(&env, &engine, &tail, HashRange::FULL).await.unwrap();
        assert_eq!(shard.user_names().len(), whole.user_names().len());
        rebuilt.push(shard.snapshot(usize::MAX));
    }
    assert_eq!(rebuilt[0], rebuilt[1]);
}
