//! The simulated stream as Kinesis gives it: GetRecords by iterators, and SubscribeToShard, over the stream in memory. The reader on top is
//! the shipped one. What Kinesis may answer (throttles, expired iterators, empty reads, a false end, records that retention took) is drawn
//! here, in addition to what the gate does to each call.

use crate::doors::{ClockDoor, Door};
use async_trait::async_trait;
use authpulse_event::ring::hash_key;
use authpulse_event::{ArrivalTime, Position, SequenceNumber, ShardId, Span};
use authpulse_journal::env::Clock;
use authpulse_kinesis::api::{
    Api, ApiError, Consumer, Entry, Event, Events, IteratorAt, Page, Put, RawRecord, Summary,
};
use authpulse_kinesis::{Chance, KinesisStream, StartAt, Time};
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{
    PutRecord, ReadBatch, ReadFrom, ReadLimit, Record, ShardDescription, Stream, StreamDescription, StreamError,
};
use bytes::Bytes;
use futures::StreamExt;
use kpl_aggregation::{Aggregator, Limits, Payload, UserRecord, parse};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Limits of Kinesis, in microseconds: how long an iterator lives, how long a subscription lasts, and how often a quiet one says that there
/// is nothing.
const ITERATOR_LIVES: i64 = 300_000_000;
const SUBSCRIPTION_LASTS: i64 = 300_000_000;
const HEARTBEAT: i64 = 5_000_000;
/// Another subscription within this time is refused; later, it replaces the first.
const SUBSCRIBED_ANEW: i64 = 5_000_000;
/// The most records of an answer or event.
const PAGE: u64 = 25;
const CONSUMER: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/sim/consumer/app:1";

/// How the stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As an embedded stream.
    Embedded,
    Polling,
    FanOut,
}

/// The stream as all processes see it.
pub struct Kinesis {
    stream: Arc<MemoryStream>,
    chance: Chance,
    /// False once nothing goes wrong any more.
    pub faults: Mutex<bool>,
    /// By shard: records up to here are gone.
    trimmed: Mutex<BTreeMap<ShardId, SequenceNumber>>,
    /// The newest subscription to each shard: its number, and when it began.
    subscribed: Mutex<BTreeMap<ShardId, (u64, i64)>>,
    registered: Mutex<bool>,
    /// Broken on purpose: iterators that go on after a record begin one record too late.
    pub skips: bool,
}

impl Kinesis {
    pub fn new(stream: Arc<MemoryStream>, seed: u64, skips: bool) -> Kinesis {
        Kinesis {
            stream,
            chance: Chance::new(seed),
            faults: Mutex::new(true),
            trimmed: Mutex::default(),
            subscribed: Mutex::default(),
            registered: Mutex::default(),
            skips,
        }
    }

    fn happens(&self, part: f64) -> bool {
        *self.faults.lock().unwrap() && self.chance.next() < part
    }

    fn below(&self, n: u64) -> u64 {
        (self.chance.next() * n as f64) as u64
    }

    /// Lets retention take the records of a shard up to one.
    pub fn trim(&self, shard: &ShardId, through: SequenceNumber) {
        let mut trimmed = self.trimmed.lock().unwrap();
        let at = trimmed.entry(shard.clone()).or_insert(through);
        *at = (*at).max(through);
    }

    /// What is left of a shard after a record.
    async fn read(&self, shard: &ShardId, after: Option<SequenceNumber>, most: u64) -> Result<ReadBatch, ApiError> {
        let trimmed = self.trimmed.lock().unwrap().get(shard).copied();
        let from = match after.max(trimmed) {
            Some(sequence) => ReadFrom::After(Position { sequence, sub_sequence: 0 }),
            None => ReadFrom::Start,
        };
        let limit = ReadLimit { records: most as usize, bytes: usize::MAX };
        self.stream.read(shard, from, limit).await.map_err(|error| ApiError::NotFound(error.to_string()))
    }

    /// The number before the first record of an iterator.
    async fn before(&self, shard: &ShardId, at: IteratorAt) -> Result<Option<SequenceNumber>, ApiError> {
        Ok(match at {
            IteratorAt::Oldest => None,
            IteratorAt::After(sequence) if self.skips => {
                let next = self.read(shard, Some(sequence), 1).await?;
                Some(next.records.first().map_or(sequence, |record| record.position.sequence))
            }
            IteratorAt::After(sequence) => Some(sequence),
            IteratorAt::At(_) | IteratorAt::Time(_) => {
                let all = self.read(shard, None, u64::MAX).await?;
                let is_before = |record: &&Record| match at {
                    IteratorAt::At(sequence) => record.position.sequence < sequence,
                    IteratorAt::Time(time) => record.arrival < time,
                    IteratorAt::Oldest | IteratorAt::After(_) => false,
                };
                all.records.iter().take_while(is_before).last().map(|record| record.position.sequence)
            }
        })
    }

    async fn has_children(&self, shard: &ShardId) -> bool {
        let shards = self.stream.shards().await.unwrap_or_default();
        shards.iter().any(|other| other.parents.contains(shard))
    }
}

fn raw(record: Record) -> RawRecord {
    RawRecord {
        sequence: record.position.sequence,
        arrival: record.arrival,
        partition_key: record.partition_key,
        data: record.payload,
    }
}

/// Records as an aggregating producer puts them, by a map of shards that may be old.
pub fn aggregated(records: Vec<PutRecord>, map: &[ShardDescription]) -> Vec<PutRecord> {
    let mut groups: Vec<(Option<&ShardDescription>, Bytes, Aggregator)> = Vec::new();
    for record in records {
        let hash = hash_key(&record.partition_key);
        let shard = map.iter().find(|shard| shard.range.contains(hash));
        let at = groups.iter().position(|(of, ..)| of.map(|s| &s.id) == shard.map(|s| &s.id));
        let at = at.unwrap_or_else(|| {
            groups.push((shard, record.partition_key.clone(), Aggregator::new(Limits::default())));
            groups.len() - 1
        });
        assert!(groups[at].2.push(&UserRecord::new(record.partition_key, record.payload)), "a batch fits a record");
    }
    let put = |(_, partition_key, mut aggregator): (_, Bytes, Aggregator)| {
        let payload = aggregator.take().expect("each group has a record").data;
        // In the memory stream, the key alone chooses the shard.
        PutRecord { partition_key, payload }
    };
    groups.into_iter().map(put).collect()
}

/// The user records in a record, each with its position.
pub fn taken_apart(record: Record) -> Vec<Record> {
    match parse(&record.payload) {
        Payload::Aggregate(aggregate) => {
            let inner = aggregate.records().zip(0..);
            let place = |sub_sequence| Position { sub_sequence, ..record.position };
            let one = |(inner, n): (UserRecord, u64)| Record {
                payload: inner.data,
                partition_key: inner.partition_key,
                position: place(n),
                arrival: record.arrival,
            };
            inner.map(one).collect()
        }
        Payload::Plain | Payload::Damaged(_) => vec![record],
    }
}

/// Kinesis as a process sees it.
struct ApiDoor {
    door: Door,
    kinesis: Arc<Kinesis>,
}

fn lost(cause: String) -> ApiError {
    ApiError::Unclear(cause)
}

impl ApiDoor {
    fn now(&self) -> i64 {
        self.door.gate.time.ticks().micros()
    }

    fn throttled(&self) -> Result<(), ApiError> {
        match self.kinesis.happens(0.03) {
            true => Err(ApiError::Throttled("told to slow down".to_owned())),
            false => Ok(()),
        }
    }
}

/// The text of an iterator: where it goes on, and when it was made.
fn iterator(shard: &ShardId, after: Option<SequenceNumber>, made: i64) -> String {
    format!("{shard}|{}|{made}", after.map_or(String::new(), |n| n.to_string()))
}

#[async_trait]
impl Api for ApiDoor {
    async fn summary(&self) -> Result<Summary, ApiError> {
        let told = async {
            let about = self.kinesis.stream.describe().await.map_err(|e| ApiError::NotFound(e.to_string()))?;
            Ok(Summary {
                arn: about.name,
                created: about.created,
                retention: about.retention,
                status: "ACTIVE".to_owned(),
                max_record_bytes: 1 << 20,
            })
        };
        self.door.go("kinesis summary", "", lost, told).await
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, ApiError> {
        let told = async {
            self.throttled()?;
            self.kinesis.stream.shards().await.map_err(|e| ApiError::NotFound(e.to_string()))
        };
        self.door.go("kinesis shards", "", lost, told).await
    }

    async fn put(&self, _: &[Entry]) -> Result<Vec<Put>, ApiError> {
        unreachable!("consumers put nothing")
    }

    async fn iterator(&self, shard: &ShardId, at: IteratorAt) -> Result<String, ApiError> {
        let told = async {
            self.throttled()?;
            Ok(iterator(shard, self.kinesis.before(shard, at).await?, self.now()))
        };
        self.door.go("kinesis iterator", shard.as_str(), lost, told).await
    }

    async fn get(&self, name: &str, limit: usize) -> Result<Page, ApiError> {
        let told = async {
            self.throttled()?;
            let mut parts = name.split('|');
            let shard = ShardId::new(parts.next().unwrap_or_default());
            let after: Option<SequenceNumber> = parts.next().and_then(|n| n.parse().ok());
            let made: i64 = parts.next().and_then(|n| n.parse().ok()).unwrap_or_default();
            if self.now() - made > ITERATOR_LIVES || self.kinesis.happens(0.01) {
                return Err(ApiError::ExpiredIterator);
            }
            let most = if self.kinesis.happens(0.1) { 0 } else { 1 + self.kinesis.below(PAGE).min(limit as u64 - 1) };
            // A read gives at least one record, an empty answer of Kinesis none.
            let read = self.kinesis.read(&shard, after, most.max(1)).await?;
            let (at_tip, at_end) = (read.at_tip && most > 0, read.at_end && most > 0);
            let records: Vec<RawRecord> = read.records.into_iter().take(most as usize).map(raw).collect();
            let behind = Duration::from_secs(u64::from(!at_tip && !at_end));
            if self.kinesis.happens(0.01) {
                return Ok(Page { records, next: None, behind, has_children: false });
            }
            let next = records.last().map(|record| record.sequence).or(after);
            let has_children = at_end && self.kinesis.has_children(&shard).await;
            let next = (!at_end).then(|| iterator(&shard, next, self.now()));
            Ok(Page { records, next, behind, has_children })
        };
        self.door.go("kinesis get", name.split('|').next().unwrap_or_default(), lost, told).await
    }

    async fn consumer(&self, name: &str) -> Result<Consumer, ApiError> {
        let told = async {
            self.throttled()?;
            match *self.kinesis.registered.lock().unwrap() {
                true => Ok(Consumer { arn: CONSUMER.to_owned(), status: "ACTIVE".to_owned() }),
                false => Err(ApiError::NotFound(format!("no consumer {name}"))),
            }
        };
        self.door.go("kinesis consumer", name, lost, told).await
    }

    async fn register(&self, name: &str) -> Result<Consumer, ApiError> {
        let told = async {
            let mut registered = self.kinesis.registered.lock().unwrap();
            match std::mem::replace(&mut *registered, true) {
                true => Err(ApiError::InUse("it is registered".to_owned())),
                false => Ok(Consumer { arn: CONSUMER.to_owned(), status: "CREATING".to_owned() }),
            }
        };
        self.door.go("kinesis register", name, lost, told).await
    }

    async fn subscribe(&self, _: &str, shard: &ShardId, at: IteratorAt) -> Result<Events, ApiError> {
        let told = async {
            self.throttled()?;
            let after = self.kinesis.before(shard, at).await?;
            let now = self.now();
            let mut subscribed = self.kinesis.subscribed.lock().unwrap();
            let (number, made) = subscribed.get(shard).copied().unwrap_or((0, i64::MIN / 2));
            if now - made < SUBSCRIBED_ANEW || self.kinesis.happens(0.1) {
                return Err(ApiError::InUse("there is another subscription".to_owned()));
            }
            subscribed.insert(shard.clone(), (number + 1, now));
            Ok((after, number + 1, now))
        };
        let (after, number, made) = self.door.go("kinesis subscribe", shard.as_str(), lost, told).await?;
        let line = Line {
            door: self.door.clone(),
            kinesis: self.kinesis.clone(),
            shard: shard.clone(),
            after,
            number,
            made,
            told: i64::MIN / 2,
            over: false,
        };
        Ok(futures::stream::unfold(line, Line::next).boxed())
    }
}

/// A subscription.
struct Line {
    door: Door,
    kinesis: Arc<Kinesis>,
    shard: ShardId,
    after: Option<SequenceNumber>,
    number: u64,
    made: i64,
    /// When it last sent something.
    told: i64,
    over: bool,
}

impl Line {
    async fn next(mut self) -> Option<(Result<Event, ApiError>, Line)> {
        loop {
            let now = self.door.gate.time.ticks().micros();
            if self.over || now - self.made >= SUBSCRIPTION_LASTS {
                return None;
            }
            if self.kinesis.subscribed.lock().unwrap().get(&self.shard).is_none_or(|(number, _)| *number != self.number)
            {
                self.over = true;
                return Some((Err(ApiError::InUse("another subscription took over".to_owned())), self));
            }
            let most = 1 + self.kinesis.below(PAGE);
            let read = match self.kinesis.read(&self.shard, self.after, most).await {
                Ok(read) => read,
                Err(error) => {
                    self.over = true;
                    return Some((Err(error), self));
                }
            };
            if read.records.is_empty() && !read.at_end && now - self.told < HEARTBEAT {
                self.door.gate.pause(self.door.process, Span::millis(500)).await;
                continue;
            }
            let event = self.event(read).await;
            let event = self.door.go("kinesis event", self.shard.as_str(), lost, async { Ok(event) }).await;
            // What is lost with the connection counts as sent: the reader goes on from what it has got.
            self.over |= event.is_err() || self.kinesis.happens(0.03);
            self.told = self.door.gate.time.ticks().micros();
            return Some((event, self));
        }
    }

    async fn event(&mut self, read: ReadBatch) -> Event {
        let records: Vec<RawRecord> = read.records.into_iter().map(raw).collect();
        self.after = records.last().map(|record| record.sequence).or(self.after);
        self.over = read.at_end;
        let has_children = read.at_end && self.kinesis.has_children(&self.shard).await;
        Event {
            records,
            continuation: if read.at_end { None } else { self.after },
            behind: Duration::from_secs(u64::from(!read.at_tip && !read.at_end)),
            has_children,
        }
    }
}

/// A process's clocks, as the reader uses them.
struct Times(ClockDoor);

#[async_trait]
impl Time for Times {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.ticks().micros().unsigned_abs())
    }
    fn now(&self) -> ArrivalTime {
        self.0.now().as_arrival_bound()
    }
    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// The shipped reader. But it cannot know whether the stream is closed: in Kinesis, no stream ever is.
struct Closable {
    reader: KinesisStream,
    kinesis: Arc<Kinesis>,
}

/// The stream as a process sees it.
pub fn reader(door: Door, kinesis: Arc<Kinesis>, reading: Reading, seed: u64) -> Arc<dyn Stream> {
    let api = Arc::new(ApiDoor { door: door.clone(), kinesis: kinesis.clone() });
    let time = Arc::new(Times(ClockDoor(door)));
    let reader = KinesisStream::new(api, time, StartAt::TrimHorizon, "kinesis:sim", seed);
    let reader = if reading == Reading::FanOut { reader.with_fan_out("app") } else { reader };
    Arc::new(Closable { reader, kinesis })
}

#[async_trait]
impl Stream for Closable {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        // Read first: if the stream is closed by then, the listing that follows has all of its shards.
        let closed = self.kinesis.stream.describe().await?.closed;
        Ok(StreamDescription { closed, ..self.reader.describe().await? })
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        self.reader.shards().await
    }
    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        self.reader.read(shard, from, limit).await
    }
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        self.reader.tip(shard).await
    }
}
