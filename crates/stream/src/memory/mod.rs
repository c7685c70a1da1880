//! A stream in a value: the double for simulations and tests.
//!
//! It keeps the contract of [`LocalStream`](crate::LocalStream) to the letter, sequence numbers included, but has no threads, no disk and
//! no clock of its own: the same calls under the same clock give the same answers. [`Faults`] decide what goes wrong.

mod faults;

pub use faults::{Faults, Moment, Operation};

use crate::codec::Budget;
use crate::limits::TRIM_INTERVAL;
use crate::options::{Clock, CreateOptions};
use crate::request::{check_put, closed, start_after};
use crate::shards::{Reshard, Router, Shard, not_found, number_of, plan_merge, plan_split};
use crate::{
    Gap, ProducerProgress, PutReceipt, PutRecord, ReadBatch, ReadFrom, ReadLimit, Record, ShardDescription, Stream,
    StreamDescription, StreamError, StreamWriter,
};
use async_trait::async_trait;
use authpulse_event::{ArrivalTime, Position, ShardId};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A stream in memory.
pub struct MemoryStream {
    clock: Clock,
    faults: Arc<dyn Faults>,
    state: Mutex<State>,
}

struct State {
    description: StreamDescription,
    /// By number.
    shards: Vec<Shard>,
    /// By number, as well.
    contents: Vec<Contents>,
    next_sequence: u64,
    last_arrival: ArrivalTime,
    trimmed_at: ArrivalTime,
    progress: BTreeMap<String, String>,
}

/// The records of a shard.
#[derive(Default)]
struct Contents {
    /// Every sequence number that the shard ever got, so that a gap is simply counted.
    sequences: Vec<u64>,
    /// The records that are kept: the newest ones.
    kept: VecDeque<Record>,
}

impl MemoryStream {
    /// A new stream on which nothing goes wrong.
    ///
    /// # Errors
    /// [`StreamError::Refused`] if the options are out of bounds.
    pub fn new(options: CreateOptions) -> Result<Self, StreamError> {
        options.check()?;
        let created = (options.clock)();
        let shards = Shard::first(options.shards);
        Ok(MemoryStream {
            clock: options.clock,
            faults: Arc::new(|_: &Operation, _: Moment| None),
            state: Mutex::new(State {
                description: StreamDescription {
                    name: options.name,
                    created,
                    retention: options.retention,
                    closed: false,
                },
                contents: shards.iter().map(|_| Contents::default()).collect(),
                shards,
                next_sequence: 1,
                last_arrival: created,
                trimmed_at: created,
                progress: BTreeMap::new(),
            }),
        })
    }

    /// The same stream on which `faults` decides what goes wrong.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = faults;
        self
    }

    /// Deletes all records that have outlived the retention, and returns how many. A put does this by and by.
    ///
    /// # Errors
    /// Never; the signature is that of [`LocalStream::trim`](crate::LocalStream::trim).
    pub async fn trim(&self) -> Result<u64, StreamError> {
        let now = (self.clock)();
        Ok(self.lock().trim(now))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an operation between its two moments.
    fn operate<T>(
        &self,
        operation: Operation,
        run: impl FnOnce(&mut State, ArrivalTime) -> Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        if let Some(error) = self.faults.inject(&operation, Moment::Before) {
            return Err(error);
        }
        let now = (self.clock)();
        let result = run(&mut self.lock(), now)?;
        match self.faults.inject(&operation, Moment::After) {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStream").field("description", &self.lock().description).finish_non_exhaustive()
    }
}

impl State {
    fn index_of(&self, id: &ShardId) -> Result<usize, StreamError> {
        let number = number_of(id)?;
        self.shards.iter().position(|shard| shard.number == number).ok_or_else(|| not_found(id))
    }

    fn check_not_closed(&self) -> Result<(), StreamError> {
        if self.description.closed { Err(closed(&self.description.name)) } else { Ok(()) }
    }

    fn put(
        &mut self,
        now: ArrivalTime,
        records: Vec<PutRecord>,
        progress: Option<ProducerProgress>,
    ) -> Result<Vec<PutReceipt>, StreamError> {
        self.check_not_closed()?;
        if let Some(ProducerProgress { job, state }) = progress {
            self.progress.insert(job, state);
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let arrival = now.max(self.last_arrival);
        if arrival.saturating_since(self.trimmed_at) >= TRIM_INTERVAL {
            self.trim(now);
        }
        self.last_arrival = arrival;
        let mut open: Vec<_> = self.shards.iter().filter(|shard| !shard.closed).cloned().collect();
        let router =
            Router::new(&mut open).expect("an open stream's shards divide the ring, splits and merges keep it so");
        // Numbers are given out shard by shard, as the embedded stream does.
        let routes: Vec<usize> = records.iter().map(|record| router.route(&record.partition_key)).collect();
        let mut next = vec![0; open.len()];
        for (index, next) in next.iter_mut().enumerate() {
            *next = self.next_sequence;
            self.next_sequence += routes.iter().filter(|route| **route == index).count() as u64;
        }
        let mut receipts = Vec::with_capacity(records.len());
        for (PutRecord { payload, partition_key }, route) in records.into_iter().zip(routes) {
            let sequence = next[route];
            next[route] += 1;
            let number = open[route].number as usize;
            let position = Position { sequence: sequence.into(), sub_sequence: 0 };
            self.contents[number].sequences.push(sequence);
            self.contents[number].kept.push_back(Record { payload, partition_key, position, arrival });
            receipts.push(PutReceipt { shard: open[route].id(), sequence: sequence.into() });
        }
        Ok(receipts)
    }

    fn read(&self, now: ArrivalTime, id: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        let index = self.index_of(id)?;
        let after = start_after(id, from, self.next_sequence)?;
        let Contents { sequences, kept } = &self.contents[index];
        let trimmed = sequences.len() - kept.len();
        let seen = sequences.partition_point(|sequence| *sequence <= after);
        let mut budget = Budget::new(limit);
        let rest = kept.iter().skip(seen.saturating_sub(trimmed));
        let records: Vec<_> = rest.take_while(|record| budget.take(record.payload.len())).cloned().collect();
        let at_tip = seen.max(trimmed) + records.len() == sequences.len();
        Ok(ReadBatch {
            records,
            gap: (seen < trimmed).then(|| Gap { records: Some((trimmed - seen) as u64) }),
            at_tip,
            at_end: at_tip && self.shards[index].closed,
            clock: (now >= self.last_arrival).then_some(now),
        })
    }

    fn reshard(&mut self, change: Reshard) -> Vec<ShardId> {
        for shard in self.shards.iter_mut().filter(|shard| change.close.contains(&shard.number)) {
            shard.closed = true;
        }
        let ids = change.open.iter().map(Shard::id).collect();
        self.contents.extend(change.open.iter().map(|_| Contents::default()));
        self.shards.extend(change.open);
        ids
    }

    fn trim(&mut self, now: ArrivalTime) -> u64 {
        let now = now.max(self.last_arrival);
        let horizon = now.saturating_sub(self.description.retention);
        let mut trimmed = 0;
        for Contents { kept, .. } in &mut self.contents {
            let expired = kept.partition_point(|record| record.arrival < horizon);
            kept.drain(..expired);
            trimmed += expired as u64;
        }
        self.trimmed_at = now;
        trimmed
    }
}

#[async_trait]
impl Stream for MemoryStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.operate(Operation::Describe, |state, _| Ok(state.description.clone()))
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        self.operate(Operation::Shards, |state, _| Ok(state.shards.iter().map(Shard::describe).collect()))
    }

    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        let limit = self.faults.shorten(shard, limit);
        self.operate(Operation::Read { shard: shard.clone(), from }, |state, now| state.read(now, shard, from, limit))
    }

    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        self.operate(Operation::Tip { shard: shard.clone() }, |state, _| {
            let newest = state.contents[state.index_of(shard)?].sequences.last();
            Ok(Position { sequence: newest.copied().unwrap_or(0).into(), sub_sequence: 0 })
        })
    }
}

#[async_trait]
impl StreamWriter for MemoryStream {
    async fn put(
        &self,
        records: Vec<PutRecord>,
        progress: Option<ProducerProgress>,
    ) -> Result<Vec<PutReceipt>, StreamError> {
        check_put(&records, progress.as_ref())?;
        let job = progress.as_ref().map(|progress| progress.job.clone());
        self.operate(Operation::Put { records: records.len(), job }, |state, now| state.put(now, records, progress))
    }

    async fn progress(&self, job: &str) -> Result<Option<String>, StreamError> {
        self.operate(Operation::Progress { job: job.to_owned() }, |state, _| Ok(state.progress.get(job).cloned()))
    }

    async fn split(&self, shard: &ShardId, at: u128) -> Result<[ShardId; 2], StreamError> {
        self.operate(Operation::Split { shard: shard.clone() }, |state, _| {
            state.check_not_closed()?;
            let opened = state.reshard(plan_split(&state.shards, shard, at)?);
            Ok(opened.try_into().expect("a split opens two shards"))
        })
    }

    async fn merge(&self, left: &ShardId, right: &ShardId) -> Result<ShardId, StreamError> {
        self.operate(Operation::Merge { left: left.clone(), right: right.clone() }, |state, _| {
            state.check_not_closed()?;
            let mut opened = state.reshard(plan_merge(&state.shards, left, right)?);
            Ok(opened.pop().expect("a merge opens one shard"))
        })
    }

    async fn close(&self) -> Result<(), StreamError> {
        self.operate(Operation::Close, |state, _| {
            state.description.closed = true;
            state.shards.iter_mut().for_each(|shard| shard.closed = true);
            Ok(())
        })
    }
}
