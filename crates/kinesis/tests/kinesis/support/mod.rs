//! A Kinesis in memory that fails as the real one may: throttles, half-done calls, lost answers, expired iterators, empty reads, reshards
//! at any moment, trimmed records. A seed decides what happens.

pub mod wire;

use async_trait::async_trait;
use authpulse_event::Position;
use authpulse_event::ring::hash_key;
use authpulse_event::{ArrivalTime, HashRange, SequenceNumber, ShardId, Span};
use authpulse_kinesis::api::{
    Api, ApiError, Consumer, Entry, Event, Events, IteratorAt, Page, Put, RawRecord, Summary,
};
use authpulse_kinesis::{Chance, KinesisStream, Time};
use authpulse_stream::{Gap, ReadFrom, ReadLimit, Record, ShardDescription, Stream, StreamError};
use bytes::Bytes;
use futures::StreamExt;
use kpl_aggregation::{Aggregator, Limits, UserRecord};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

/// When the stream was made.
pub const CREATED: ArrivalTime = ArrivalTime::from_micros(1_800_000_000_000_000);
/// The stream's ARN.
pub const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/auth";
const ITERATOR_LIVES: Duration = Duration::from_secs(300);
const SUBSCRIPTION_LASTS: Duration = Duration::from_secs(300);
/// A second subscription within this time is refused; a later one takes over.
const SUBSCRIBED_ANEW: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a new consumer is not active.
const CONSUMER_MADE: Duration = Duration::from_secs(3);

/// A clock that jumps: a sleep ends at once, and the time is later. Or a clock that goes on its own, fast, for real connections.
#[derive(Default)]
pub struct FakeTime {
    passed: AtomicU64,
    /// Since when it goes on its own, and how many times as fast as time.
    goes: Option<(Instant, u32)>,
}

impl FakeTime {
    pub fn pass(&self, duration: Duration) {
        self.passed.fetch_add(duration.as_micros() as u64, Ordering::SeqCst);
    }
}

#[async_trait]
impl Time for FakeTime {
    fn monotonic(&self) -> Duration {
        let gone = self.goes.map_or(Duration::ZERO, |(since, times)| since.elapsed() * times);
        Duration::from_micros(self.passed.load(Ordering::SeqCst)) + gone
    }
    fn now(&self) -> ArrivalTime {
        CREATED + Span::from_micros(self.monotonic().as_micros() as i64)
    }
    async fn sleep(&self, duration: Duration) {
        match self.goes {
            Some((_, times)) => tokio::time::sleep(duration / times).await,
            None => {
                self.pass(duration);
                tokio::task::yield_now().await;
            }
        }
    }
}

/// How often each fault happens: numbers from 0 to 1, unless said otherwise.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub throttle: f64,
    /// An entry, or a call, fails. Half of the time it is stored all the same.
    pub unclear: f64,
    pub expire: f64,
    pub empty: f64,
    /// A reshard before a put.
    pub reshard: f64,
    pub reshards_most: usize,
    /// Answers to puts name the shard that was split or merged meanwhile, not the one that has the record. Wrong on purpose.
    pub conceals: bool,
    /// An answer without a next iterator in the middle of a shard.
    pub false_end: f64,
    /// A subscription is refused, for one of several reasons.
    pub refuse: f64,
    /// An event does not come; the subscription breaks off.
    pub break_off: f64,
    /// An event that looks like half an end of the shard.
    pub half_end: f64,
    /// A subscription takes long to begin, and this much may happen meanwhile, at most.
    pub slow: f64,
    /// Subscribing is not allowed.
    pub forbidden: bool,
    /// Subscriptions begin and never send anything.
    pub mute: bool,
    /// Bytes a second that a shard takes, at least 1,000 for a record, with a second's worth at once; 0 means no limit.
    pub capacity: f64,
    /// This many lists of shards still show the state before a reshard.
    pub stale_listings: usize,
    /// GetRecords and GetShardIterator are always throttled: only subscriptions bring anything.
    pub no_polling: bool,
}

struct Shard {
    description: ShardDescription,
    records: Vec<RawRecord>,
    /// How many of them retention has removed.
    trimmed: usize,
    /// How much it may take now, and the time for which that was computed.
    credit: Option<(f64, Duration)>,
}

#[derive(Default)]
struct State {
    shards: Vec<Shard>,
    sequence: u64,
    iterators: HashMap<String, (usize, usize, Duration)>,
    reshards: usize,
    /// How many lists of shards are still old.
    stale: usize,
    calls: HashMap<&'static str, usize>,
    /// The ARN of each consumer by name, and when it becomes active.
    consumers: HashMap<String, (String, Duration)>,
    /// The newest subscription to each shard, as an index of `subscriptions`.
    subscribed: HashMap<usize, usize>,
    subscriptions: Vec<Subscription>,
}

/// A subscription that was granted.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub shard: ShardId,
    pub at: IteratorAt,
    pub made: Duration,
    /// How many records were pulled out of it.
    pub records: usize,
    /// How many events were pulled out of it.
    pub events: usize,
}

pub struct FakeKinesis {
    pub time: Arc<FakeTime>,
    chance: Arc<Chance>,
    pub faults: Mutex<Faults>,
    state: Arc<Mutex<State>>,
    /// Each open subscription has a clone of it.
    subscribers: Arc<()>,
    pub max_record_bytes: usize,
    /// How many calls of put are answered; later ones are refused for good.
    pub takes: Mutex<usize>,
    /// The answers to the next calls of get, one after another.
    pub get_fails: Mutex<Vec<ApiError>>,
    /// For each record that a reader lacks, it is told to be this far behind the tip.
    pub behind_each: Mutex<Duration>,
    /// The times at which get was called.
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
            credit: None,
        };
        let shards = HashRange::divide(shards).into_iter().enumerate().map(new).collect();
        FakeKinesis {
            time: Arc::default(),
            chance: Arc::new(Chance::new(seed)),
            faults: Mutex::new(faults),
            state: Arc::new(Mutex::new(State { shards, sequence: 1 << 40, ..State::default() })),
            subscribers: Arc::default(),
            max_record_bytes: 1 << 20,
            takes: Mutex::new(usize::MAX),
            get_fails: Mutex::default(),
            behind_each: Mutex::new(Duration::from_secs(1)),
            got_at: Mutex::default(),
        }
    }

    /// With a clock that goes on its own, this many times as fast as time.
    pub fn going(mut self, times: u32) -> FakeKinesis {
        self.time = Arc::new(FakeTime { goes: Some((Instant::now(), times)), ..FakeTime::default() });
        self
    }

    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap()
    }

    /// The subscriptions that were granted so far.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.state.lock().unwrap().subscriptions.clone()
    }

    /// Deregisters a consumer: its subscriptions end.
    pub fn deregister(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.consumers.remove(name).expect("it is registered");
        state.subscribed.clear();
    }

    /// The number of subscriptions that are open now.
    pub fn live(&self) -> usize {
        Arc::strong_count(&self.subscribers) - 1
    }

    /// Merges two neighbouring shards.
    pub fn merge(&self, left: usize, right: usize) {
        self.state.lock().unwrap().merge(left, right);
    }

    fn happens(&self, part: f64) -> bool {
        self.chance.next() < part
    }

    pub fn calls(&self, of: &str) -> usize {
        self.state.lock().unwrap().calls.get(of).copied().unwrap_or(0)
    }

    /// All records ever stored, with their shards, in the order in which they were stored.
    pub fn stored(&self) -> Vec<(ShardDescription, RawRecord)> {
        let state = self.state.lock().unwrap();
        let of =
            |shard: &Shard| shard.records.iter().map(|r| (shard.description.clone(), r.clone())).collect::<Vec<_>>();
        let mut all: Vec<_> = state.shards.iter().flat_map(of).collect();
        all.sort_by_key(|(_, record)| record.sequence);
        all
    }

    pub fn split(&self, n: usize) {
        let mut state = self.state.lock().unwrap();
        state.split(n);
        state.stale = self.faults().stale_listings;
    }

    /// Retention removes the oldest records of a shard.
    pub fn trim(&self, n: usize, records: usize) {
        let mut state = self.state.lock().unwrap();
        let shard = &mut state.shards[n];
        shard.trimmed = (shard.trimmed + records).min(shard.records.len());
    }

    /// Appends to the open shard of a key, regardless of the faults.
    pub fn append(&self, key: &str, explicit_hash_key: Option<u128>, data: impl Into<bytes::Bytes>) -> SequenceNumber {
        let entry = Entry { partition_key: key.to_owned(), explicit_hash_key, data: data.into() };
        self.state.lock().unwrap().append(&entry, self.time.now()).1
    }
}

impl State {
    fn append(&mut self, entry: &Entry, arrival: ArrivalTime) -> (ShardId, SequenceNumber) {
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

    /// Whether an entry's shard takes it now, in which case it is charged.
    fn has_room(&mut self, entry: &Entry, capacity: f64, now: Duration) -> bool {
        if capacity == 0.0 {
            return true;
        }
        let hash = entry.explicit_hash_key.unwrap_or_else(|| hash_key(entry.partition_key.as_bytes()));
        let takes = |shard: &&mut Shard| !shard.description.closed && shard.description.range.contains(hash);
        let shard = self.shards.iter_mut().find(takes).expect("the ring is covered");
        let (credit, at) = shard.credit.unwrap_or((capacity, now));
        let credit = (credit + (now - at).as_secs_f64() * capacity).min(capacity);
        let cost = (entry.bytes() as f64).max(1_000.0);
        let takes = credit >= cost;
        shard.credit = Some((if takes { credit - cost } else { credit }, now));
        takes
    }

    /// The shard to which a record would have gone before the last reshard.
    fn forerunner(&self, entry: &Entry, actual_shard: ShardId) -> ShardId {
        let hash = entry.explicit_hash_key.unwrap_or_else(|| hash_key(entry.partition_key.as_bytes()));
        let of = |id: &ShardId| self.shards.iter().find(|shard| shard.description.id == *id);
        let parents = of(&actual_shard).map_or(&[][..], |shard| &shard.description.parents);
        let parent = parents.iter().find(|id| of(id).is_some_and(|shard| shard.description.range.contains(hash)));
        parent.cloned().unwrap_or(actual_shard)
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
            self.shards.push(Shard { description, records: Vec::new(), trimmed: 0, credit: None });
        }
    }

    /// Splits an open shard, or merges two neighbouring ones.
    fn reshard(&mut self, chance: &Chance) {
        let mut open: Vec<usize> = (0..self.shards.len()).filter(|n| !self.shards[*n].description.closed).collect();
        open.sort_by_key(|n| self.shards[*n].description.range.first);
        let at = (chance.next() * open.len() as f64) as usize;
        if chance.next() < 0.5 || at + 1 == open.len() {
            self.split(open[at]);
        } else {
            self.merge(open[at], open[at + 1]);
        }
        self.reshards += 1;
    }

    fn merge(&mut self, left: usize, right: usize) {
        let first = self.shards[left].description.range.first;
        let last = self.shards[right].description.range.last;
        self.close(&[HashRange { first, last }], &[left, right]);
    }

    /// Where a read of a shard begins.
    fn begin(&self, shard: &ShardId, at: IteratorAt) -> Result<(usize, usize), ApiError> {
        let n = self.shards.iter().position(|s| s.description.id == *shard);
        let n = n.ok_or_else(|| ApiError::NotFound(format!("no shard {shard}")))?;
        let records = &self.shards[n].records;
        let index = match at {
            IteratorAt::Oldest => 0,
            IteratorAt::Time(time) => records.partition_point(|r| r.arrival < time),
            IteratorAt::At(sequence) => records.partition_point(|r| r.sequence < sequence),
            IteratorAt::After(sequence) => records.partition_point(|r| r.sequence <= sequence),
        };
        Ok((n, index))
    }

    fn count(&mut self, what: &'static str) {
        *self.calls.entry(what).or_default() += 1;
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
            retention: Span::hours(24),
            status: "ACTIVE".to_owned(),
            max_record_bytes: self.max_record_bytes,
        })
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, ApiError> {
        tokio::task::yield_now().await;
        if self.happens(self.faults().throttle) {
            return Err(throttled());
        }
        let mut state = self.state.lock().unwrap();
        state.count("shards");
        let all: Vec<ShardDescription> = state.shards.iter().map(|shard| shard.description.clone()).collect();
        if state.stale > 0 {
            state.stale -= 1;
            // The shards as they were at first.
            let first = all.into_iter().filter(|shard| shard.parents.is_empty());
            return Ok(first.map(|shard| ShardDescription { closed: false, ..shard }).collect());
        }
        Ok(all)
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
        if state.reshards < self.faults().reshards_most && self.happens(self.faults().reshard) {
            state.reshard(&self.chance);
        }
        if self.happens(self.faults().throttle / 4.0) {
            return Err(throttled());
        }
        let lost = self.happens(self.faults().unclear / 2.0);
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
            if self.happens(self.faults().throttle)
                || !state.has_room(&entries[n], self.faults().capacity, self.time.monotonic())
            {
                continue;
            }
            let fails = self.happens(self.faults().unclear);
            if fails {
                puts[n] = Put::Failed("InternalFailure".to_owned());
            }
            if !fails || self.happens(0.5) {
                let (shard, sequence) = state.append(&entries[n], self.time.now());
                let shard = if self.faults().conceals { state.forerunner(&entries[n], shard) } else { shard };
                if !fails {
                    puts[n] = Put::Stored { shard, sequence };
                }
            }
        }
        if lost { Err(unclear()) } else { Ok(puts) }
    }

    async fn iterator(&self, shard: &ShardId, at: IteratorAt) -> Result<String, ApiError> {
        if self.faults().no_polling || self.happens(self.faults().throttle) {
            return Err(throttled());
        }
        let mut state = self.state.lock().unwrap();
        let (n, index) = state.begin(shard, at)?;
        let name = format!("iterator-{}", state.iterators.len());
        let made = self.time.monotonic();
        state.iterators.insert(name.clone(), (n, index, made));
        Ok(name)
    }

    async fn get(&self, iterator: &str, limit: usize) -> Result<Page, ApiError> {
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        state.count("get");
        self.got_at.lock().unwrap().push(self.time.monotonic());
        if let Some(error) = self.get_fails.lock().unwrap().pop() {
            return Err(error);
        }
        if self.faults().no_polling || self.happens(self.faults().throttle) {
            return Err(throttled());
        }
        if self.happens(self.faults().unclear) {
            return Err(unclear());
        }
        let (n, index, made) =
            *state.iterators.get(iterator).ok_or(ApiError::InvalidArgument("no iterator".to_owned()))?;
        let now = self.time.monotonic();
        if now - made > ITERATOR_LIVES || self.happens(self.faults().expire) {
            return Err(ApiError::ExpiredIterator);
        }
        let shard = &state.shards[n];
        let from = index.max(shard.trimmed);
        let most = if self.happens(self.faults().empty) { 0 } else { 1 + (self.chance.next() * 20.0) as usize };
        let records: Vec<RawRecord> = shard.records.iter().skip(from).take(most.min(limit)).cloned().collect();
        let next = from + records.len();
        let rest = shard.records.len() - next;
        let ended = shard.description.closed && rest == 0;
        let behind = *self.behind_each.lock().unwrap() * rest as u32;
        if self.happens(self.faults().false_end) {
            return Ok(Page { records, next: None, behind, has_children: false });
        }
        let name = format!("iterator-{}", state.iterators.len());
        state.iterators.insert(name.clone(), (n, next, now));
        Ok(Page { records, next: (!ended).then_some(name), behind, has_children: ended })
    }

    async fn consumer(&self, name: &str) -> Result<Consumer, ApiError> {
        tokio::task::yield_now().await;
        self.state.lock().unwrap().count("consumer");
        if self.happens(self.faults().throttle) {
            return Err(throttled());
        }
        let state = self.state.lock().unwrap();
        let (arn, active) =
            state.consumers.get(name).ok_or_else(|| ApiError::NotFound(format!("no consumer {name}")))?;
        let status = if *active <= self.time.monotonic() { "ACTIVE" } else { "CREATING" };
        Ok(Consumer { arn: arn.clone(), status: status.to_owned() })
    }

    async fn register(&self, name: &str) -> Result<Consumer, ApiError> {
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        state.count("register");
        if state.consumers.contains_key(name) {
            return Err(ApiError::InUse("it is registered".to_owned()));
        }
        let arn = format!("{ARN}/consumer/{name}:{}", state.calls["register"]);
        state.consumers.insert(name.to_owned(), (arn.clone(), self.time.monotonic() + CONSUMER_MADE));
        Ok(Consumer { arn, status: "CREATING".to_owned() })
    }

    async fn subscribe(&self, consumer: &str, shard: &ShardId, at: IteratorAt) -> Result<Events, ApiError> {
        let faults = self.faults();
        for _ in 0..1 + (self.chance.next() * faults.slow) as usize {
            tokio::task::yield_now().await;
        }
        let now = self.time.monotonic();
        let refused = self.happens(faults.refuse);
        let mut all = self.state.lock().unwrap();
        let state = &mut *all;
        state.count("subscribe");
        if faults.forbidden {
            return Err(ApiError::Refused("not allowed: kinesis:SubscribeToShard".to_owned()));
        }
        if !state.consumers.values().any(|(arn, active)| arn == consumer && *active <= now) {
            return Err(ApiError::NotFound(format!("no consumer {consumer}")));
        }
        if refused {
            let why = (self.chance.next() * 4.0) as usize;
            return Err(match why {
                0 => throttled(),
                1 => unclear(),
                2 => ApiError::InUse("not active".to_owned()),
                _ => ApiError::NotFound("nothing of that name".to_owned()),
            });
        }
        let (n, index) = state.begin(shard, at)?;
        let last = state.subscribed.get(&n).map(|last| state.subscriptions[*last].made);
        if last.is_some_and(|made| now - made < SUBSCRIBED_ANEW) {
            state.count("subscribed too soon");
            return Err(ApiError::InUse("there is another subscription".to_owned()));
        }
        let me = state.subscriptions.len();
        state.subscribed.insert(n, me);
        state.subscriptions.push(Subscription { shard: shard.clone(), at, made: now, records: 0, events: 0 });
        let (shared, time, chance) = (self.state.clone(), self.time.clone(), self.chance.clone());
        let (mut index, mut told, mut over) = (index, None::<Duration>, false);
        let holds = self.subscribers.clone();
        let next = move |_: &mut std::task::Context<'_>| {
            let _ = &holds;
            let mut all = shared.lock().unwrap();
            let (state, now) = (&mut *all, time.monotonic());
            if over || now - state.subscriptions[me].made >= SUBSCRIPTION_LASTS {
                return Poll::Ready(None);
            }
            if state.subscribed.get(&n) != Some(&me) {
                over = true;
                return Poll::Ready(Some(Err(ApiError::InUse("another subscription took over".to_owned()))));
            }
            let shard = &state.shards[n];
            index = index.max(shard.trimmed);
            let rest = shard.records.len() - index;
            let ended = shard.description.closed && rest == 0;
            if faults.mute {
                return Poll::Pending;
            }
            if rest == 0 && !ended && told.is_some_and(|told| now - told < HEARTBEAT) {
                return Poll::Pending;
            }
            told = Some(now);
            if chance.next() < faults.break_off {
                over = true;
                return Poll::Ready(Some(Err(unclear())));
            }
            let most = 1 + (chance.next() * 20.0) as usize;
            let records: Vec<RawRecord> = shard.records.iter().skip(index).take(most).cloned().collect();
            index += records.len();
            over = ended;
            // Without records it moves on all the same, up to the newest number ever given.
            let continuation = records.last().map_or(SequenceNumber::from(state.sequence), |last| last.sequence);
            let mut event = Event {
                behind: Duration::from_secs((shard.records.len() - index) as u64),
                continuation: (!ended).then_some(continuation),
                has_children: ended,
                records,
            };
            if chance.next() < faults.half_end {
                (event.continuation, event.has_children) =
                    if chance.next() < 0.5 { (None, false) } else { (Some(continuation), true) };
            }
            let mine = &mut state.subscriptions[me];
            (mine.records, mine.events) = (mine.records + event.records.len(), mine.events + 1);
            Poll::Ready(Some(Ok(event)))
        };
        Ok(futures::stream::poll_fn(next).boxed())
    }
}

pub const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

pub fn seeds() -> u64 {
    std::env::var("AUTHPULSE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

pub fn shard(n: usize) -> ShardId {
    ShardId::new(format!("shardId-{n:012}"))
}

/// Plain records, aggregates and damaged ones. Returns what a reader must find: position and payload.
pub fn fill(api: &FakeKinesis, seed: u64, records: usize) -> Vec<(Position, Bytes)> {
    let chance = Chance::new(seed);
    let mut expected = Vec::new();
    for n in 0..records {
        api.time.pass(Duration::from_millis(700));
        let kind = chance.next();
        if kind < 0.5 {
            let payload = Bytes::from(format!("plain {n}"));
            let sequence = api.append("U1", None, payload.clone());
            expected.push((Position { sequence, sub_sequence: 0 }, payload));
        } else if kind < 0.95 {
            let mut aggregator = Aggregator::new(Limits::default());
            let inner: Vec<Bytes> = (0..2 + n as u64 % 7).map(|i| Bytes::from(format!("inner {n} {i}"))).collect();
            inner.iter().for_each(|data| assert!(aggregator.push(&UserRecord::new("U2", data.clone()))));
            let out = aggregator.take().unwrap();
            let sequence = api.append("a", out.explicit_hash_key, out.data);
            let place = |(sub_sequence, data)| (Position { sequence, sub_sequence }, data);
            expected.extend((0..).zip(inner).map(place));
        } else {
            // A record without its table of keys, with a correct digest.
            let message = b"\x1a\x05\x08\x00\x1a\x01x";
            let data: Bytes =
                [&b"\xf3\x89\x9a\xc2"[..], message, &kpl_aggregation::hash_key(message).to_be_bytes()].concat().into();
            let sequence = api.append("U3", None, data.clone());
            expected.push((Position { sequence, sub_sequence: 0 }, data));
        }
    }
    expected
}

pub fn places(records: &[Record]) -> Vec<(Position, Bytes)> {
    records.iter().map(|r| (r.position, r.payload.clone())).collect()
}

/// A life of a worker: it begins behind this many records of a shard, reads on to the tip or the end, and finds the rest. Returns behind
/// how many records the next life begins.
pub async fn live(
    stream: &KinesisStream,
    expected: &[(Position, Bytes)],
    from: usize,
    ended: bool,
    chance: &Chance,
    what: &str,
) -> usize {
    let at = match from {
        0 => ReadFrom::Start,
        n => ReadFrom::After(expected[n - 1].0),
    };
    let limit = ReadLimit { records: 1 + (chance.next() * 30.0) as usize, bytes: 1 + (chance.next() * 500.0) as usize };
    let (records, gaps, end) = read_on(stream, 0, at, limit).await;
    assert_eq!(places(&records), expected[from..], "{what}, from {from}");
    assert_eq!((gaps.len(), end), (0, ended), "{what}");
    assert!(records.iter().map(|r| r.arrival).is_sorted());
    (chance.next() * expected.len() as f64) as usize
}

/// Reads until the tip or the end; errors that may pass are tried again.
pub async fn read_on(
    stream: &KinesisStream,
    n: usize,
    mut from: ReadFrom,
    limit: ReadLimit,
) -> (Vec<Record>, Vec<Gap>, bool) {
    let (mut records, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let batch = match stream.read(&shard(n), from, limit).await {
            Ok(batch) => batch,
            Err(StreamError::Storage { retry: true, .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        if !batch.records.is_empty() || batch.at_end {
            gaps.extend(batch.gap);
        }
        assert!(batch.records.iter().all(|r| Some(r.arrival) <= batch.clock));
        if let Some(last) = batch.records.last() {
            from = ReadFrom::After(last.position);
        }
        records.extend(batch.records);
        if batch.at_tip || batch.at_end {
            return (records, gaps, batch.at_end);
        }
    }
}
