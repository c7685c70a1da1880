//! A Kinesis in memory that fails as the real one may: throttles, half-done calls, lost answers, expired iterators, empty reads,
//! reshards at any moment, trimmed records. What happens is drawn from a seed.
#![allow(dead_code, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use authpulse_event::ring::hash_key;
use authpulse_event::{HashRange, Micros, SequenceNumber, ShardId};
use authpulse_kinesis::api::{Api, ApiError, Entry, IteratorAt, Page, Put, RawRecord, Summary};
use authpulse_kinesis::{Chance, Time};
use authpulse_stream::ShardDescription;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const SECOND: Micros = 1_000_000;
/// When the stream was made.
pub const CREATED: Micros = 1_800_000_000 * SECOND;
/// What ARN the stream has.
pub const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/auth";
const ITERATOR_LIVES: Duration = Duration::from_secs(300);

/// A clock that jumps: who sleeps is awake at once, and later.
#[derive(Default)]
pub struct FakeTime(AtomicU64);

impl FakeTime {
    pub fn pass(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as u64, Ordering::SeqCst);
    }
}

#[async_trait]
impl Time for FakeTime {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }
    fn now(&self) -> Micros {
        CREATED + self.0.load(Ordering::SeqCst) as Micros
    }
    async fn sleep(&self, duration: Duration) {
        self.pass(duration);
        tokio::task::yield_now().await;
    }
}

/// How often what goes wrong: parts of one.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub throttle: f64,
    /// An entry, or a call, fails; half of the time it is stored all the same.
    pub unclear: f64,
    pub expire: f64,
    pub empty: f64,
    /// Before a put.
    pub reshard: f64,
    pub reshards_most: usize,
    /// An answer without a next iterator in the middle of a shard.
    pub false_end: f64,
}

struct Shard {
    description: ShardDescription,
    records: Vec<RawRecord>,
    /// How many of them retention took.
    trimmed: usize,
}

#[derive(Default)]
struct State {
    shards: Vec<Shard>,
    sequence: u64,
    iterators: HashMap<String, (usize, usize, Duration)>,
    reshards: usize,
    calls: HashMap<&'static str, usize>,
}

pub struct FakeKinesis {
    pub time: Arc<FakeTime>,
    chance: Chance,
    faults: Faults,
    state: Mutex<State>,
    pub max_record_bytes: usize,
    /// So many calls of put are taken; those after them are refused for good.
    pub takes: Mutex<usize>,
    /// What the next calls of get are answered with instead, one after another.
    pub get_fails: Mutex<Vec<ApiError>>,
    /// When get was called.
    pub got_at: Mutex<Vec<Duration>>,
}

fn id(n: usize) -> ShardId {
    ShardId::new(format!("shardId-{n:012}"))
}

impl FakeKinesis {
    pub fn new(shards: u32, faults: Faults, seed: u64) -> FakeKinesis {
        let new = |(n, range)| Shard {
            description: ShardDescription { id: id(n), range, parents: Vec::new(), closed: false },
            records: Vec::new(),
            trimmed: 0,
        };
        let shards = HashRange::divide(shards).into_iter().enumerate().map(new).collect();
        FakeKinesis {
            time: Arc::default(),
            chance: Chance::new(seed),
            faults,
            state: Mutex::new(State { shards, sequence: 1 << 40, ..State::default() }),
            max_record_bytes: 1 << 20,
            takes: Mutex::new(usize::MAX),
            get_fails: Mutex::default(),
            got_at: Mutex::default(),
        }
    }

    fn happens(&self, part: f64) -> bool {
        self.chance.next() < part
    }

    pub fn calls(&self, of: &str) -> usize {
        self.state.lock().unwrap().calls.get(of).copied().unwrap_or(0)
    }

    /// All records ever stored with their shards, in the order in which they were.
    pub fn stored(&self) -> Vec<(ShardDescription, RawRecord)> {
        let state = self.state.lock().unwrap();
        let of =
            |shard: &Shard| shard.records.iter().map(|r| (shard.description.clone(), r.clone())).collect::<Vec<_>>();
        let mut all: Vec<_> = state.shards.iter().flat_map(of).collect();
        all.sort_by_key(|(_, record)| record.sequence);
        all
    }

    pub fn split(&self, n: usize) {
        self.state.lock().unwrap().split(n);
    }

    /// Retention takes the oldest records of a shard.
    pub fn trim(&self, n: usize, records: usize) {
        let mut state = self.state.lock().unwrap();
        let shard = &mut state.shards[n];
        shard.trimmed = (shard.trimmed + records).min(shard.records.len());
    }

    /// Appends to the open shard of a key, whatever the faults.
    pub fn append(&self, key: &str, explicit_hash_key: Option<u128>, data: impl Into<bytes::Bytes>) -> SequenceNumber {
        let entry = Entry { partition_key: key.to_owned(), explicit_hash_key, data: data.into() };
        self.state.lock().unwrap().append(&entry, self.time.now()).1
    }
}

impl State {
    fn append(&mut self, entry: &Entry, arrival: Micros) -> (ShardId, SequenceNumber) {
        let hash = entry.explicit_hash_key.unwrap_or_else(|| hash_key(entry.partition_key.as_bytes()));
        self.sequence += 3;
        let sequence = SequenceNumber::from(self.sequence);
        let takes = |shard: &&mut Shard| !shard.description.closed && shard.description.range.contains(hash);
        let shard = self.shards.iter_mut().find(takes).expect("the ring is covered");
        shard.records.push(RawRecord {
            sequence,
            arrival,
            partition_key: entry.partition_key.clone().into(),
            data: entry.data.clone(),
        });
        (shard.description.id.clone(), sequence)
    }

    fn split(&mut self, n: usize) {
        let HashRange { first, last } = self.shards[n].description.range;
        let middle = first + (last - first) / 2;
        self.close(&[HashRange { first, last: middle }, HashRange { first: middle + 1, last }], &[n]);
    }

    fn close(&mut self, ranges: &[HashRange], parents: &[usize]) {
        for parent in parents {
            self.shards[*parent].description.closed = true;
        }
        for range in ranges {
            let description = ShardDescription {
                id: id(self.shards.len()),
                range: *range,
                parents: parents.iter().map(|n| id(*n)).collect(),
                closed: false,
            };
            self.shards.push(Shard { description, records: Vec::new(), trimmed: 0 });
        }
    }

    /// Splits an open shard, or merges two neighbours.
    fn reshard(&mut self, chance: &Chance) {
        let mut open: Vec<usize> = (0..self.shards.len()).filter(|n| !self.shards[*n].description.closed).collect();
        open.sort_by_key(|n| self.shards[*n].description.range.first);
        let at = (chance.next() * open.len() as f64) as usize;
        if chance.next() < 0.5 || at + 1 == open.len() {
            self.split(open[at]);
        } else {
            let (left, right) = (open[at], open[at + 1]);
            let first = self.shards[left].description.range.first;
            let last = self.shards[right].description.range.last;
            self.close(&[HashRange { first, last }], &[left, right]);
        }
        self.reshards += 1;
    }
}

fn throttled() -> ApiError {
    ApiError::Throttled("told to slow down".to_owned())
}

fn unclear() -> ApiError {
    ApiError::Unclear("the answer was lost".to_owned())
}

#[async_trait]
impl Api for FakeKinesis {
    async fn summary(&self) -> Result<Summary, ApiError> {
        *self.state.lock().unwrap().calls.entry("summary").or_default() += 1;
        Ok(Summary {
            arn: ARN.to_owned(),
            created: CREATED,
            retention: 24 * 3_600 * SECOND,
            status: "ACTIVE".to_owned(),
            max_record_bytes: self.max_record_bytes,
        })
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, ApiError> {
        tokio::task::yield_now().await;
        if self.happens(self.faults.throttle) {
            return Err(throttled());
        }
        Ok(self.state.lock().unwrap().shards.iter().map(|shard| shard.description.clone()).collect())
    }

    async fn put(&self, entries: &[Entry]) -> Result<Vec<Put>, ApiError> {
        tokio::task::yield_now().await;
        assert!(entries.len() <= 500 && entries.iter().map(Entry::bytes).sum::<usize>() <= 10 << 20, "over the limits");
        assert!(entries.iter().all(|entry| entry.bytes() <= self.max_record_bytes), "a record is too large");
        let mut state = self.state.lock().unwrap();
        let calls = state.calls.entry("put").or_default();
        if *calls >= *self.takes.lock().unwrap() {
            return Err(ApiError::Refused("not allowed".to_owned()));
        }
        *calls += 1;
        if state.reshards < self.faults.reshards_most && self.happens(self.faults.reshard) {
            state.reshard(&self.chance);
        }
        if self.happens(self.faults.throttle / 4.0) {
            return Err(throttled());
        }
        let lost = self.happens(self.faults.unclear / 2.0);
        if lost && self.happens(0.5) {
            return Err(unclear());
        }
        // Kinesis keeps no order within a call.
        let mut order: Vec<usize> = (0..entries.len()).collect();
        for n in (1..order.len()).rev() {
            order.swap(n, (self.chance.next() * (n + 1) as f64) as usize);
        }
        let mut puts = vec![Put::Throttled; entries.len()];
        for n in order {
            if self.happens(self.faults.throttle) {
                continue;
            }
            let fails = self.happens(self.faults.unclear);
            if fails {
                puts[n] = Put::Failed("InternalFailure".to_owned());
            }
            if !fails || self.happens(0.5) {
                let (shard, sequence) = state.append(&entries[n], self.time.now());
                if !fails {
                    puts[n] = Put::Stored { shard, sequence };
                }
            }
        }
        if lost { Err(unclear()) } else { Ok(puts) }
    }

    async fn iterator(&self, shard: &ShardId, at: IteratorAt) -> Result<String, ApiError> {
        if self.happens(self.faults.throttle) {
            return Err(throttled());
        }
        let mut state = self.state.lock().unwrap();
        let n = state.shards.iter().position(|s| s.description.id == *shard);
        let n = n.ok_or_else(|| ApiError::NotFound(format!("no shard {shard}")))?;
        let one = &state.shards[n];
        let index = match at {
            IteratorAt::Oldest => 0,
            IteratorAt::Time(time) => one.records.partition_point(|r| r.arrival < time),
            IteratorAt::At(sequence) => one.records.partition_point(|r| r.sequence < sequence),
            IteratorAt::After(sequence) => one.records.partition_point(|r| r.sequence <= sequence),
        };
        let name = format!("iterator-{}", state.iterators.len());
        let made = self.time.monotonic();
        state.iterators.insert(name.clone(), (n, index, made));
        Ok(name)
    }

    async fn get(&self, iterator: &str) -> Result<Page, ApiError> {
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        *state.calls.entry("get").or_default() += 1;
        self.got_at.lock().unwrap().push(self.time.monotonic());
        if let Some(error) = self.get_fails.lock().unwrap().pop() {
            return Err(error);
        }
        if self.happens(self.faults.throttle) {
            return Err(throttled());
        }
        if self.happens(self.faults.unclear) {
            return Err(unclear());
        }
        let (n, index, made) =
            *state.iterators.get(iterator).ok_or(ApiError::InvalidArgument("no iterator".to_owned()))?;
        let now = self.time.monotonic();
        if now - made > ITERATOR_LIVES || self.happens(self.faults.expire) {
            return Err(ApiError::ExpiredIterator);
        }
        let shard = &state.shards[n];
        let from = index.max(shard.trimmed);
        let most = if self.happens(self.faults.empty) { 0 } else { 1 + (self.chance.next() * 20.0) as usize };
        let records: Vec<RawRecord> = shard.records.iter().skip(from).take(most).cloned().collect();
        let next = from + records.len();
        let rest = shard.records.len() - next;
        let ended = shard.description.closed && rest == 0;
        let behind = Duration::from_secs(rest as u64);
        if self.happens(self.faults.false_end) {
            return Ok(Page { records, next: None, behind, has_children: false });
        }
        let name = format!("iterator-{}", state.iterators.len());
        state.iterators.insert(name.clone(), (n, next, now));
        Ok(Page { records, next: (!ended).then_some(name), behind, has_children: ended })
    }
}
