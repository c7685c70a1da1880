//! A lake that a service fills is sound at every moment: over splits, merges, restarts, days whose counts are missing, and until the
//! seal.

use crate::small_lake::{SmallLake, lines, options};
use authpulse_audit::status::{State, status};
use authpulse_audit::verify::{VerifyOptions, verify};
use authpulse_event::time::SECOND;
use authpulse_event::{ArrivalTime, ProcessingTime, Reading, Span, parse_line};
use authpulse_journal::ConsumerError;
use authpulse_lake::entry::{Entry, EntryCounts};
use authpulse_lake::maintain::Memory;
use authpulse_lake::{MaintainSettings, maintain};
use authpulse_service::committer::commit_all;
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{CreateOptions, PutRecord, Stream, StreamWriter};
use authpulse_worker::worker::{StepOutcome, Worker};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a run has met: a test must not pass because there was nothing to see.
#[derive(Default, Debug)]
struct Met {
    waiting: bool,
    unscored: bool,
    waits_for_a_day: bool,
    ended: bool,
    behind: bool,
    audits: u32,
    folded: u64,
    removed: u64,
}

/// One run under a seed.
struct Run {
    lake: SmallLake,
    stream: Arc<MemoryStream>,
    options: Arc<Options>,
    chance: u64,
    met: Met,
}

impl Run {
    /// An empty lake and a stream of this many shards.
    fn new(shards: u32, options: Options, seed: u64) -> Run {
        let lake = SmallLake::new();
        let clock = lake.clock.clone();
        let clock = Arc::new(move || ArrivalTime::from_micros(clock.0.load(Ordering::Relaxed)));
        let stream = MemoryStream::new(CreateOptions { shards, clock, ..CreateOptions::default() });
        let (stream, options) = (Arc::new(stream.unwrap()), Arc::new(options));
        Run { lake, stream, options, chance: seed, met: Met::default() }
    }

    /// The entries of each shard.
    async fn entries(&self) -> Vec<Vec<Entry>> {
        let mut all = Vec::new();
        for shard in self.lake.env.journal.shards().await.unwrap() {
            all.push(self.lake.entries(shard.as_str()).await);
        }
        all
    }

    fn below(&mut self, n: u64) -> u64 {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % n
    }

    /// Folds journals, and merges files, as it goes.
    async fn maintain(&mut self) {
        let settings =
            MaintainSettings { min_files: 2, fold_entries: 3, entry_age: Span::ZERO, ..MaintainSettings::default() };
        let env = &self.lake.env;
        let report = maintain(&env.lake, env.journal.as_ref(), &settings, false, &mut Memory::default()).await;
        assert!(report.is_complete(), "{report:?}");
        self.met.folded += report.folded.entries;
        self.met.removed += report.folded.removed;
    }

    async fn audit(&mut self) {
        let report = verify(&self.lake.env, &VerifyOptions::default()).await.unwrap();
        assert_eq!(report.difference, None, "{report}");
        let totals = report.totals();
        assert!(totals.adds_up(), "{report}");
        self.met.audits += 1;
        self.met.waiting |= totals.waiting > 0;
        self.met.unscored |= totals.unscored > 0;
        self.met.behind |= report.tables.iter().any(|t| t.entries_behind > 0);
        let status = status(&self.lake.env, Some(&*self.stream), None).await.unwrap();
        let text = status.to_string();
        for shard in &status.shards {
            assert!(text.contains(&shard.shard), "{text}");
            self.met.ended |= shard.state == State::Ended;
            if let Some(wait) = &shard.waits_for {
                self.met.waits_for_a_day = true;
                assert!(wait.missing.iter().all(|m| !m.shards.is_empty()), "{text}");
                assert!(text.contains(&wait.day), "{text}");
            }
        }
        let open: u64 = status.shards.iter().map(|s| s.unscored + s.waiting.len() as u64).sum();
        assert_eq!(open, totals.unscored + totals.waiting, "{text}\n{report}");
        serde_json::to_string(&status).unwrap();
    }

    /// Puts a part of the lines, with the clock a little later each time.
    async fn put(&mut self, lines: &[String]) {
        // A clock that runs days ahead: its event waits until ten others have come.
        let ahead = format!("{},U-ahead-{},C1\n", 700_000 + self.met.audits, self.below(20));
        let records = lines.iter().chain([&ahead]).map(|line| record(line.trim()));
        self.stream.put(records.collect(), None).await.unwrap();
        self.lake.clock.0.fetch_add((SECOND / 20).micros(), Ordering::Relaxed);
    }

    async fn reshard(&mut self, split: bool) {
        let shards = self.stream.shards().await.unwrap();
        let mut open: Vec<_> = shards.into_iter().filter(|s| !s.closed).collect();
        open.sort_by_key(|s| s.range);
        if split {
            let range = open[0].range;
            let at = range.first + (range.last - range.first) / 2 + 1;
            self.stream.split(&open[0].id, at).await.unwrap();
        } else {
            self.stream.merge(&open[0].id, &open[1].id).await.unwrap();
        }
    }

    /// Steps a service until it is done or has done this many steps; some workers are stepped more often than others.
    async fn serve(&mut self, mode: Mode, steps: u64) {
        let (env, options) = (self.lake.env.clone(), self.options.clone());
        let mut service = Service::open(env, options, self.stream.clone(), mode).await.unwrap();
        let mut workers: Vec<Worker> = Vec::new();
        for step in 0..steps {
            if step % 8 == 0 {
                service.refresh().await.unwrap();
                let wanted = service.wanted_leases();
                while let Some(worker) = service.start_next(&wanted).await.unwrap() {
                    workers.push(worker);
                }
            }
            if workers.is_empty() {
                return;
            }
            // The first worker is the slowest.
            let count = workers.len() as u64;
            let at = self.below(count * 3).min(self.below(count * 3)).max(self.below(count));
            let at = (count - 1).saturating_sub(at.min(count - 1)) as usize;
            let pace = self.below(3) as i64;
            self.lake.clock.0.fetch_add((pace * SECOND / 4).micros(), Ordering::Relaxed);
            if workers[at].step().await.unwrap() == StepOutcome::Done {
                workers.remove(at);
            }
            match self.below(60) {
                0 => self.audit().await,
                1 => {
                    commit_all(&self.lake.env).await.unwrap();
                }
                2 => self.maintain().await,
                _ => {}
            }
        }
        // What was not stored never happened: the service is gone and says nothing.
    }
}

/// A line in the wire form, by its user.
fn record(line: &str) -> PutRecord {
    let parsed = parse_line(line.as_bytes(), Reading::three_fields(authpulse_event::time::DEFAULT_BASE));
    let key = parsed.as_ref().map_or("?".to_owned(), |e| e.user.to_string());
    let fields: Vec<&str> = line.split(',').collect();
    let payload = match (line.starts_with('{'), fields.as_slice()) {
        (false, [time, user, computer]) => {
            format!("{{\"time\":{time},\"user\":\"{user}\",\"computer\":\"{computer}\"}}")
        }
        _ => line.to_owned(),
    };
    PutRecord { payload: payload.into(), partition_key: Bytes::from(key) }
}

async fn run(seed: u64, history_first: bool) -> Met {
    let options = Options {
        entry_age: SECOND,
        entry_rows: 300,
        snapshot_rows: 150,
        read_records: 40,
        idle_after: 3 * SECOND,
        ..(*options()).clone()
    };
    let mut run = Run::new(2, options, seed);
    let mut lines = lines(3_000);
    if history_first {
        let rest = lines.split_off(lines.len() / 3);
        let file = run.lake.write_input("history.txt", &lines);
        run.lake.backfill(&[file], &run.options, true).await;
        run.audit().await;
        lines = rest;
    }
    let parts: Vec<Vec<String>> = lines.chunks(lines.len() / 12 + 1).map(<[String]>::to_vec).collect();
    for (i, part) in parts.iter().enumerate() {
        run.put(part).await;
        match i {
            3 => run.reshard(true).await,
            7 => run.reshard(false).await,
            _ => {}
        }
        let steps = 20 + run.below(120);
        run.serve(Mode::Run, steps).await;
        run.audit().await;
    }
    run.stream.close().await.unwrap();
    run.serve(Mode::Run, 1_000_000).await;
    run.audit().await;
    commit_all(&run.lake.env).await.unwrap();
    run.audit().await;
    let status = status(&run.lake.env, Some(&*run.stream), None).await.unwrap();
    assert!(status.shards.iter().all(|s| matches!(s.state, State::Sealed | State::Ended)), "{status}");
    assert!(status.tables.iter().all(|t| t.behind == 0), "{status}");
    assert!(status.shards.iter().filter_map(|s| s.lag.as_ref()).all(|lag| lag.records == 0), "{status}");
    run.met
}

/// Shards that are opened together do not encode and store at the same moments. That also holds after events that make all of them store
/// at once: their first entries, which say that they have no counts of the days before, and days that close.
#[tokio::test]
async fn shards_store_one_after_another() {
    const AGE: Span = Span::seconds(8);
    let mut run = Run::new(4, Options { entry_age: AGE, ..(*options()).clone() }, 1);
    let env = run.lake.env.clone();
    let mut service = Service::open(env.clone(), run.options.clone(), run.stream.clone(), Mode::Run).await.unwrap();
    service.refresh().await.unwrap();
    let (wanted, mut workers) = (service.wanted_leases(), Vec::new());
    while let Some(worker) = service.start_next(&wanted).await.unwrap() {
        workers.push(worker);
    }
    for part in lines(30_000).chunks(100) {
        run.put(part).await;
        for _ in 0..3 {
            for worker in &mut workers {
                worker.step().await.unwrap();
            }
        }
        run.lake.clock.0.fetch_add((SECOND / 5).micros(), Ordering::Relaxed);
    }
    let stored = run.entries().await.into_iter().flatten().filter(|entry| entry.counts.received > 0);
    let stored: Vec<(ProcessingTime, String)> = stored.map(|entry| (entry.written_at, entry.shard)).collect();
    let is_crowded = |(at, shard): &&(ProcessingTime, String)| {
        stored.iter().any(|(other_at, other)| other != shard && (*at - *other_at).abs() < SECOND / 2)
    };
    let crowded = stored.iter().filter(is_crowded).count();
    assert!(stored.len() >= 28 && crowded * 3 < stored.len(), "{crowded} of {} entries: {stored:?}", stored.len());
}

/// However much there is to read, an entry takes up only its part of the memory that all shards share, and two of a shard are under way.
#[tokio::test]
async fn entries_are_as_small_as_memory_is() {
    // A quarter of it for each entry: some 7,000 records and their rows, twice as many records whose rows are not scored yet.
    let options = Options { memory: 8 << 20, entry_age: 1_000_000 * SECOND, ..(*options()).clone() };
    let mut run = Run::new(2, options, 1);
    for part in lines(60_000).chunks(10_000) {
        run.put(part).await;
    }
    run.stream.close().await.unwrap();
    run.serve(Mode::Run, 1_000_000).await;
    let mut most = 0;
    for entries in run.entries().await {
        assert!(entries.len() >= 4, "{} entries of {}", entries.len(), entries[0].shard);
        most = entries.iter().map(|entry| entry.counts.received).fold(most, u64::max);
    }
    assert!((3_000..15_000).contains(&most), "the largest entry has {most} records");
}

/// An event waits, and the engine fails on it when it goes on: the event itself is given up, not the records that let it go on.
#[tokio::test]
async fn an_event_that_fails_as_it_goes_on_is_given_up_alone() {
    const MARK: &str = "U-poison";
    for is_stored in [false, true] {
        let mut run = Run::new(1, Options { entry_age: SECOND, ..(*options()).clone() }, 1);
        let looks = AtomicU32::new(0);
        run.lake.env.inspect = Some(Arc::new(move |payload| {
            if payload.windows(MARK.len()).any(|part| part == MARK.as_bytes()) {
                // The engine sees a record first when it is read, then when it goes on. Stored records are not read again.
                let look = looks.fetch_add(1, Ordering::Relaxed);
                assert!(if is_stored { look == 0 } else { look.is_multiple_of(2) }, "failing as a test wants it");
            }
        }));
        let env = run.lake.env.clone();
        let mut service = Service::open(env.clone(), run.options.clone(), run.stream.clone(), Mode::Run).await.unwrap();
        service.refresh().await.unwrap();
        // The events of three users let the waiting one go on.
        let company =
            [format!("100,{MARK},C1"), "101,U1,C1".to_owned(), "102,U2,C2".to_owned(), "103,U3,C3".to_owned()];
        let company = company.map(|line| record(&line));
        let (alone, others) = company.split_at(if is_stored { 1 } else { 4 });
        run.stream.put(alone.to_vec(), None).await.unwrap();
        let (mut worker, mut failures) = (None, 0);
        for step in 0..200 {
            if step == 100 {
                let waiting = run.entries().await.concat().last().map_or(0, |entry| entry.counts.waiting);
                assert_eq!(waiting, u64::from(is_stored));
                run.stream.put(others.to_vec(), None).await.unwrap();
            }
            run.lake.clock.0.fetch_add((SECOND / 10).micros(), Ordering::Relaxed);
            let mut at_work: Worker = match worker.take() {
                Some(worker) => worker,
                None => service.start_next(&service.wanted_leases()).await.unwrap().unwrap(),
            };
            match at_work.step().await {
                Ok(_) => worker = Some(at_work),
                Err(ConsumerError::Panicked { .. }) => {
                    failures += 1;
                    service.restart(at_work.key());
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(failures, 3);
        worker.unwrap().stop().await.unwrap();
        let entries = run.entries().await.concat();
        let sum = |of: fn(&EntryCounts) -> u64| entries.iter().map(|entry| of(&entry.counts)).sum::<u64>();
        let failed = sum(|counts| counts.rejected.get("failed").copied().unwrap_or(0));
        assert_eq!((failed, sum(EntryCounts::rejected_total), sum(|counts| counts.received)), (1, 1, 4));
        let last = entries.last().unwrap().counts.clone();
        assert_eq!((last.waiting, sum(|counts| counts.curated) + last.unscored), (0, 3));
        run.audit().await;
    }
}

#[tokio::test]
async fn a_lake_that_a_service_fills_is_sound_at_every_moment() {
    let mut all = Met::default();
    for seed in 0..6 {
        let met = run(seed, seed % 2 == 1).await;
        all.waiting |= met.waiting;
        all.unscored |= met.unscored;
        all.waits_for_a_day |= met.waits_for_a_day;
        all.ended |= met.ended;
        all.behind |= met.behind;
        all.audits += met.audits;
        all.folded += met.folded;
        all.removed += met.removed;
    }
    assert!(all.folded > 100 && all.removed > 50, "{all:?}");
    assert!(
        all.waiting && all.unscored && all.waits_for_a_day && all.ended && all.behind && all.audits > 100,
        "{all:?}"
    );
}
