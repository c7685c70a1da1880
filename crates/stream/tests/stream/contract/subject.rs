//! A stream under test, and the few helpers that know the API.

use async_trait::async_trait;
use authpulse_event::{ArrivalTime, Position, SequenceNumber, ShardId, Span};
use authpulse_stream::{
    Clock, CreateOptions, LocalStream, MemoryStream, ProducerProgress, PutReceipt, PutRecord, ReadBatch, ReadFrom,
    ReadLimit, Record, ShardDescription, Stream, StreamError, StreamWriter,
};
use futures::executor::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// What the clock of every subject shows at first.
pub const NOON: ArrivalTime = ArrivalTime::from_micros(1_700_000_000_000_000);
/// The retention of every subject.
pub const RETENTION: Span = Span::seconds(600);
pub const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

/// Reading, writing and trimming in one trait.
#[async_trait]
pub trait Whole: Stream + StreamWriter {
    async fn trim(&self) -> Result<u64, StreamError>;
}

#[async_trait]
impl Whole for LocalStream {
    async fn trim(&self) -> Result<u64, StreamError> {
        LocalStream::trim(self).await
    }
}

#[async_trait]
impl Whole for MemoryStream {
    async fn trim(&self) -> Result<u64, StreamError> {
        MemoryStream::trim(self).await
    }
}

/// Makes a subject with this many shards.
pub type Make = fn(u32) -> Subject;

pub struct Subject {
    stream: Box<dyn Whole>,
    time: Arc<AtomicI64>,
    dir: Option<TempDir>,
}

fn options(shards: u32) -> (CreateOptions, Arc<AtomicI64>) {
    let time = Arc::new(AtomicI64::new(NOON.micros()));
    (CreateOptions { name: "subject".to_owned(), shards, retention: RETENTION, clock: clock(&time) }, time)
}

fn clock(time: &Arc<AtomicI64>) -> Clock {
    let time = Arc::clone(time);
    Arc::new(move || ArrivalTime::from_micros(time.load(Ordering::SeqCst)))
}

impl Subject {
    pub fn local(shards: u32) -> Subject {
        let dir = tempfile::tempdir().unwrap();
        let (options, time) = options(shards);
        let stream = Box::new(LocalStream::create(dir.path().join("stream"), options).unwrap());
        Subject { stream, time, dir: Some(dir) }
    }

    pub fn memory(shards: u32) -> Subject {
        let (options, time) = options(shards);
        Subject { stream: Box::new(MemoryStream::new(options).unwrap()), time, dir: None }
    }

    /// The same stream, closed and opened again where that means something.
    pub fn reopen(self) -> Subject {
        let Subject { stream, time, dir } = self;
        let Some(dir) = dir else { return Subject { stream, time, dir } };
        drop(stream);
        let stream = Box::new(LocalStream::open(dir.path().join("stream")).unwrap().with_clock(clock(&time)));
        Subject { stream, time, dir: Some(dir) }
    }

    pub fn now(&self) -> ArrivalTime {
        ArrivalTime::from_micros(self.time.load(Ordering::SeqCst))
    }

    pub fn advance(&self, by: Span) {
        self.time.fetch_add(by.micros(), Ordering::SeqCst);
    }

    pub fn stream(&self) -> &dyn Whole {
        &*self.stream
    }

    pub fn put(&self, records: &[(&str, &str)]) -> Vec<PutReceipt> {
        let records = records.iter().map(|(key, payload)| record(key.as_bytes(), payload.as_bytes())).collect();
        self.try_put(records, None).unwrap()
    }

    pub fn try_put(
        &self,
        records: Vec<PutRecord>,
        progress: Option<(&str, &str)>,
    ) -> Result<Vec<PutReceipt>, StreamError> {
        let progress = progress.map(|(job, state)| ProducerProgress { job: job.to_owned(), state: state.to_owned() });
        block_on(self.stream.put(records, progress))
    }

    pub fn progress(&self, job: &str) -> Option<String> {
        block_on(self.stream.progress(job)).unwrap()
    }

    pub fn shards(&self) -> Vec<ShardDescription> {
        block_on(self.stream.shards()).unwrap()
    }

    pub fn open_shards(&self) -> Vec<ShardDescription> {
        self.shards().into_iter().filter(|shard| !shard.closed).collect()
    }

    pub fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> ReadBatch {
        block_on(self.stream.read(shard, from, limit)).unwrap()
    }

    pub fn read_all(&self, shard: &ShardId) -> Vec<Record> {
        self.read(shard, ReadFrom::Start, ALL).records
    }

    pub fn tip(&self, shard: &ShardId) -> Position {
        block_on(self.stream.tip(shard)).unwrap()
    }

    pub fn split(&self, shard: &ShardId, at: u128) -> Result<[ShardId; 2], StreamError> {
        block_on(self.stream.split(shard, at))
    }

    pub fn merge(&self, left: &ShardId, right: &ShardId) -> Result<ShardId, StreamError> {
        block_on(self.stream.merge(left, right))
    }

    pub fn close(&self) {
        block_on(self.stream.close()).unwrap();
    }

    pub fn trim(&self) -> u64 {
        block_on(self.stream.trim()).unwrap()
    }
}

pub fn record(key: &[u8], payload: &[u8]) -> PutRecord {
    PutRecord { payload: payload.to_vec().into(), partition_key: key.to_vec().into() }
}

pub fn after(sequence: SequenceNumber) -> ReadFrom {
    ReadFrom::After(Position { sequence, sub_sequence: 0 })
}

pub fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(&record.payload).unwrap()).collect()
}

pub fn is_refused<T>(result: Result<T, StreamError>) -> bool {
    matches!(result, Err(StreamError::Refused { .. }))
}
