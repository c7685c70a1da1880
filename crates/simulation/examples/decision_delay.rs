//! How long it takes from receiving a page until a record in it is decided: a stream in Kinesis, read at a steady rate.
//!
//! A stand-in for Kinesis gives pages of aggregates, each with what has arrived since the last read. The service reads and scores them and
//! stores them in a directory, as `consume` does. A record's delay runs from the moment when its page is handed to the reader until its
//! decision is handed to the sink. It does not include the SDK's work before that, which is to decode an answer.
//!
//! `cargo run --release -p authpulse-simulation --example decision_delay -- [EVENTS_A_SECOND [SECONDS [SHARDS]]]`

use async_trait::async_trait;
use authpulse_event::time::{HOUR, format_rfc3339};
use authpulse_event::{EventTime, HashRange, ShardId, Span};
use authpulse_journal::Env;
use authpulse_journal::env::{RandomIds, SystemClock, TokioWork};
use authpulse_journal::sink::{Decision, DecisionSink};
use authpulse_kinesis::api::{Api, ApiError, Consumer, Entry, Events, IteratorAt, Page, Put, RawRecord, Summary};
use authpulse_kinesis::{KinesisStream, StartAt, SystemTimes, Time};
use authpulse_lake::{Lake, LocalStore, SoleCommitter, SqliteCatalog, SqliteJournal};
use authpulse_lease::{Fleet, MemoryLeases};
use authpulse_service::drive::run_service;
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::ShardDescription;
use kpl_aggregation::{Aggregator, Limits, UserRecord, hash_key};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// People of the organisation, and their computers.
const USERS: u64 = 20_000;
const COMPUTERS: u64 = 30_000;
/// The most records of users in a page: some 8 MiB.
const PAGE: u64 = 80_000;
/// The first seconds do not count: shards are opened then, and tables made.
const WARM: Duration = Duration::from_secs(10);

/// The stand-in for Kinesis.
struct Feed {
    time: SystemTimes,
    rate: f64,
    shards: Vec<(ShardDescription, Vec<String>)>,
    /// The time up to which each shard was read.
    read: Mutex<Vec<Duration>>,
    /// The event time of the next record; each record has one of its own.
    next: AtomicI64,
    sequence: AtomicU64,
    /// When pages were received, by the first event time in them.
    received: Mutex<BTreeMap<EventTime, Instant>>,
}

impl Feed {
    fn new(rate: f64, count: u32) -> Feed {
        let time = SystemTimes::new();
        let shards = (0..).zip(HashRange::divide(count)).map(|(n, range): (u32, _)| {
            let users = (0..USERS).map(|user| format!("U{user}"));
            let users = users.filter(|user| range.contains(hash_key(user.as_bytes()))).collect();
            let id = ShardId::new(format!("shardId-{n:012}"));
            (ShardDescription { id, range, parents: Vec::new(), closed: false }, users)
        });
        let shards: Vec<_> = shards.collect();
        Feed {
            rate,
            read: Mutex::new(vec![time.monotonic(); shards.len()]),
            next: AtomicI64::new(time.now().micros()),
            sequence: AtomicU64::new(1),
            received: Mutex::default(),
            shards,
            time,
        }
    }

    /// What has arrived in a shard since its last read.
    fn page(&self, shard: usize) -> Vec<RawRecord> {
        let now = self.time.monotonic();
        let since = std::mem::replace(&mut self.read.lock().expect("no reader panics")[shard], now);
        let count = (now - since).as_secs_f64() * self.rate / self.shards.len() as f64;
        let count = (count as u64).min(PAGE);
        if count == 0 {
            return Vec::new();
        }
        let (now, more) = (self.time.now().micros(), count as i64);
        let take = |next: i64| Some(next.max(now) + more);
        let first = self.next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).map_or(now, |next| next.max(now));
        let users = &self.shards[shard].1;
        let (mut records, mut aggregator) = (Vec::new(), Aggregator::new(Limits::default()));
        for n in 0..count {
            let at = first + n as i64;
            let chance = (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let user = &users[(chance % users.len() as u64) as usize];
            // Mostly the user's own computer.
            let computer = if chance % 10 < 8 { hash_key(user.as_bytes()) as u64 } else { chance >> 8 } % COMPUTERS;
            let time = format_rfc3339(EventTime::from_micros(at));
            let payload = format!("{{\"time\":\"{time}\",\"user\":\"{user}\",\"computer\":\"C{computer}\"}}");
            let record = UserRecord::new(user.clone(), payload);
            if !aggregator.push(&record) {
                records.extend(self.raw(&mut aggregator));
                assert!(aggregator.push(&record), "an empty aggregate takes a record");
            }
        }
        records.extend(self.raw(&mut aggregator));
        self.received.lock().expect("no reader panics").insert(EventTime::from_micros(first), Instant::now());
        records
    }

    fn raw(&self, aggregator: &mut Aggregator) -> Option<RawRecord> {
        let full = aggregator.take()?;
        Some(RawRecord {
            sequence: self.sequence.fetch_add(1, Ordering::SeqCst).into(),
            arrival: self.time.now(),
            partition_key: full.partition_key,
            data: full.data,
        })
    }
}

#[async_trait]
impl Api for Feed {
    async fn summary(&self) -> Result<Summary, ApiError> {
        Ok(Summary {
            arn: "arn:aws:kinesis:eu-central-1:000000000000:stream/logons".to_owned(),
            created: self.time.now() - HOUR,
            retention: Span::hours(24),
            status: "ACTIVE".to_owned(),
            max_record_bytes: 1 << 20,
        })
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, ApiError> {
        Ok(self.shards.iter().map(|(shard, _)| shard.clone()).collect())
    }
    async fn put(&self, _: &[Entry]) -> Result<Vec<Put>, ApiError> {
        Err(ApiError::Refused("nothing is put here".to_owned()))
    }
    async fn iterator(&self, shard: &ShardId, _: IteratorAt) -> Result<String, ApiError> {
        Ok(shard.to_string())
    }
    async fn get(&self, iterator: &str, _: usize) -> Result<Page, ApiError> {
        let shard = self.shards.iter().position(|(shard, _)| shard.id.as_str() == iterator);
        let shard = shard.ok_or_else(|| ApiError::NotFound(iterator.to_owned()))?;
        Ok(Page { records: self.page(shard), next: Some(iterator.to_owned()), ..Page::default() })
    }
    async fn consumer(&self, _: &str) -> Result<Consumer, ApiError> {
        Err(ApiError::Refused("there is no fan-out here".to_owned()))
    }
    async fn register(&self, name: &str) -> Result<Consumer, ApiError> {
        self.consumer(name).await
    }
    async fn subscribe(&self, _: &str, _: &ShardId, _: IteratorAt) -> Result<Events, ApiError> {
        Err(ApiError::Refused("there is no fan-out here".to_owned()))
    }
}

/// A sink that notes how old a record's page is when the record is decided.
struct Delays {
    feed: Arc<Feed>,
    warm: Instant,
    /// In microseconds.
    delays: Mutex<Vec<u64>>,
}

impl DecisionSink for Delays {
    fn min_score(&self) -> u8 {
        0
    }
    fn decided(&self, decision: Decision<'_>) {
        let now = Instant::now();
        if now < self.warm {
            return;
        }
        let time = decision.scored.event.event_time;
        let received = self.feed.received.lock().expect("no reader panics");
        let (_, at) = received.range(..=time).next_back().expect("a record came with a page");
        self.delays.lock().expect("no sink panics").push(now.duration_since(*at).as_micros() as u64);
    }
}

/// The processor time of this process, in seconds: fields 14 and 15 of its line in `/proc`, which are in hundredths of a second.
fn used() -> f64 {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = line.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut number = |default: f64| args.next().map_or(Ok(default), |text| text.parse::<f64>());
    let (rate, seconds, shards) = (number(100_000.0)?, number(60.0)?, number(4.0)? as u32);
    let feed = Arc::new(Feed::new(rate, shards));
    let stream = KinesisStream::new(feed.clone(), Arc::new(SystemTimes::new()), StartAt::TrimHorizon, "the feed", 1);
    let place = tempfile::tempdir()?;
    let place = place.path();
    let store = Arc::new(LocalStore::open(place)?);
    let catalog = Arc::new(SqliteCatalog::open(place.join("catalog.db"))?);
    let sink = Arc::new(Delays { feed, warm: Instant::now() + WARM, delays: Mutex::default() });
    let env = Env {
        store: store.clone(),
        journal: Arc::new(SqliteJournal::open(place.join("journal.db"))?),
        lake: Arc::new(Lake::new(store, catalog)),
        committer: Arc::new(SoleCommitter),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        work: Arc::new(TokioWork::new()?),
        sink: sink.clone(),
        probe: Arc::new(|_, _| {}),
        inspect: None,
    };
    let options = Arc::new(Options::default());
    let service = Service::open(env.clone(), options.clone(), Arc::new(stream), Mode::Run).await?;
    let fleet = Fleet::new(Arc::new(MemoryLeases::new()), "worker", options.leases);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let begun = (Instant::now(), used());
    tokio::spawn(async move {
        tokio::time::sleep(WARM + Duration::from_secs_f64(seconds)).await;
        stop.send_replace(true);
        stop.closed().await;
    });
    run_service(service, &env, &options, fleet, stopped).await?;
    let (took, used) = (begun.0.elapsed().as_secs_f64(), used() - begun.1);
    let mut delays = std::mem::take(&mut *sink.delays.lock().expect("no sink panics"));
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    println!(
        "{rate:.0} events/s, {shards} shards: {} decisions, received to decision p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, \
         longest {:.1} ms; {:.2} cores used, the making of records among it",
        delays.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        used / took
    );
    Ok(())
}
