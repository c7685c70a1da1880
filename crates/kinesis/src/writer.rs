//! Puts records into a stream in Kinesis, as a [`StreamWriter`].
//!
//! ```text
//!             by the shard that each will land on        one call in flight a shard
//! records --> queue 0 | queue 1 | queue 2 ------- pack --------> PutRecords
//!               ^                                                    |
//!               '--- refused, or landed elsewhere: again, in order --'
//! ```
//!
//! - **Order.** A user's records are stored in the order of the put: each is sent only after an answer says that the one before is
//!   stored. A call that fails without an answer may have stored its records. They are sent again, so records may be in the stream twice.
//! - **Resharding.** The answer names the shard on which an entry was stored. If it is not the predicted one, the shards are listed
//!   again. If some record of an aggregate does not belong to that shard, the whole aggregate is sent again, as the KPL does: readers
//!   that go by the KCL's rule drop the misplaced one.
//! - **Part of a put.** A put that fails leaves some of its records stored, and the writer remembers which. The same put with the same
//!   progress goes on behind them. A put whose future is dropped is forgotten, and its last call may still be stored.
//! - **Progress.** Kinesis stores no note beside records. The note goes to a file after the records are stored. If the process ends in
//!   between, those records are sent again.

use crate::api::{Api, ApiError, Summary};
use crate::cost::Cost;
use crate::draining::{Astray, Draining};
use crate::limits::{CALLS, PARTITION_KEY_CHARACTERS, PUT_PATIENCE};
use crate::map::ShardMap;
use crate::pace::{Backoff, Rate, cost};
use crate::pack::{Item, Packing, pack};
use crate::progress::ProgressStore;
use crate::time::{Chance, Time};
use async_trait::async_trait;
use authpulse_event::ring::hash_key;
use authpulse_event::{SequenceNumber, ShardId};
use authpulse_stream::{ProducerProgress, PutReceipt, PutRecord, StreamError, StreamWriter};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// The most rounds of a put, each with a new shard map: AWS does not reshard more often than this during one put.
const ROUNDS: u32 = 50;

/// A writer into a stream in Kinesis.
pub struct KinesisWriter {
    api: Arc<dyn Api>,
    time: Arc<dyn Time>,
    chance: Chance,
    packing: Packing,
    progress: Arc<dyn ProgressStore>,
    /// The stream's name in messages.
    shown: String,
    calls: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    summary: Option<Summary>,
    map: Option<ShardMap>,
    rates: BTreeMap<ShardId, Rate>,
    cost: Cost,
    /// A put that failed half-way: the same put, made again, goes on where it stopped.
    unfinished: Option<Unfinished>,
}

struct Unfinished {
    progress: Option<ProducerProgress>,
    /// The records as they were put, to tell whether the next put is the same.
    records: Vec<PutRecord>,
    left: Vec<Item>,
    /// Aggregates stored on another shard than predicted, and not decided about. They come before the rest of the same users' records.
    astray: Vec<Astray>,
    receipts: Vec<Option<PutReceipt>>,
}

impl Unfinished {
    fn is_done(&self) -> bool {
        self.left.is_empty() && self.astray.is_empty()
    }

    fn stored(&mut self, items: &[Item], shard: &ShardId, sequence: SequenceNumber) {
        for item in items {
            self.receipts[item.index] = Some(PutReceipt { shard: shard.clone(), sequence });
        }
    }

    /// Decides with a newer map about aggregates that went astray. Those that do not belong where they are stored are sent again, before
    /// what is left.
    fn bring_back(&mut self, map: &ShardMap, cost: &mut Cost) {
        let mut again = Vec::new();
        for one in std::mem::take(&mut self.astray) {
            if one.is_at_home(map) {
                cost.user_records += one.items.len() as u64;
                self.stored(&one.items, &one.actual_shard, one.sequence);
            } else {
                cost.misplaced += one.items.len() as u64;
                again.extend(one.items);
            }
        }
        self.left.splice(..0, again);
    }
}

impl KinesisWriter {
    /// A writer into a stream, which `shown` names in messages. `seed` is that of the chance for pauses, and should differ between
    /// processes.
    pub fn new(
        api: Arc<dyn Api>,
        time: Arc<dyn Time>,
        progress: Arc<dyn ProgressStore>,
        packing: Packing,
        shown: &str,
        seed: u64,
    ) -> KinesisWriter {
        KinesisWriter {
            api,
            time,
            chance: Chance::new(seed),
            packing,
            progress,
            shown: shown.to_owned(),
            calls: Semaphore::new(CALLS),
            state: Mutex::default(),
        }
    }

    /// What was put by this writer so far.
    pub async fn cost(&self) -> Cost {
        self.state.lock().await.cost
    }

    fn failed(&self, action: &'static str, error: ApiError) -> StreamError {
        crate::stream_error(&self.shown, action, error)
    }

    fn refused<T>(&self, what: String, why: String) -> Result<T, StreamError> {
        Err(StreamError::Refused { what: format!("{what} into {}", self.shown), why })
    }

    /// Refuses, before anything is sent, what Kinesis would refuse.
    fn check(&self, records: &[PutRecord], most: usize) -> Result<(), StreamError> {
        for (index, record) in records.iter().enumerate() {
            let refused =
                |what: String, why: String| Err(StreamError::Record { index, stream: self.shown.clone(), what, why });
            let bytes = record.payload.len() + record.partition_key.len();
            if bytes > most {
                return refused(
                    format!("{bytes} bytes with its key"),
                    format!(
                        "the stream takes records of {most} bytes: raise that with UpdateMaxRecordSize, to 10 MiB at most"
                    ),
                );
            }
            let characters = std::str::from_utf8(&record.partition_key).map(|key| key.chars().count());
            if !characters.is_ok_and(|n| (1..=PARTITION_KEY_CHARACTERS).contains(&n)) {
                return refused(
                    format!("a partition key of {} bytes", record.partition_key.len()),
                    format!("a key is UTF-8 of 1 to {PARTITION_KEY_CHARACTERS} characters"),
                );
            }
        }
        Ok(())
    }

    /// Lists the open shards again. The list may be older than the answers to puts, so this waits until it has every shard on which
    /// something was stored.
    async fn read_map(&self, astray: &[Astray]) -> Result<ShardMap, StreamError> {
        let mut backoff = Backoff::default();
        let begun = self.time.monotonic();
        loop {
            let error = match self.api.shards().await {
                Ok(shards) => match ShardMap::new(&shards) {
                    Some(map) => match astray.iter().find(|one| map.range(&one.actual_shard).is_none()) {
                        None => return Ok(map),
                        Some(one) => {
                            ApiError::InUse(format!("records landed on {}, which is not listed yet", one.actual_shard))
                        }
                    },
                    None => ApiError::InUse("its open shards do not divide the ring: it is being resharded".to_owned()),
                },
                Err(error) => error,
            };
            if !error.may_pass() || self.time.monotonic().saturating_sub(begun) >= PUT_PATIENCE {
                return Err(self.failed("listing shards", error));
            }
            self.time.sleep(backoff.failed(self.chance.next())).await;
        }
    }

    /// Sends a shard's queue until it is empty, something is stored on another shard, or the shard takes nothing for too long. In the
    /// last case it returns why.
    async fn drain(&self, mut draining: Draining, packing: Packing) -> (Draining, Option<StreamError>) {
        while !draining.is_over() {
            let packed = pack(&mut draining.queue, packing, draining.rate.call());
            let entries: Vec<_> = packed.iter().map(|one| one.entry.clone()).collect();
            let spent = cost(entries.len(), entries.iter().map(|entry| entry.bytes()).sum());
            let wait = draining.wait(self.time.monotonic(), spent);
            self.pause(wait).await;
            let permit = self.calls.acquire().await.expect("it is never closed");
            draining.rate.spend(self.time.monotonic(), spent);
            let answer = self.api.put(&entries).await;
            drop(permit);
            let now = self.time.monotonic();
            let Some(error) = draining.answered(packed, spent, answer, now) else { continue };
            if !error.may_pass() || draining.stood_still(now) >= PUT_PATIENCE {
                let failure = self.failed("put", error);
                return (draining, Some(failure));
            }
            tracing::debug!(shard = %draining.shard, %error, failures = draining.backoff.failures(), "put again");
            self.pause(draining.backoff.failed(self.chance.next())).await;
        }
        (draining, None)
    }

    async fn pause(&self, duration: Duration) {
        if !duration.is_zero() {
            self.time.sleep(duration).await;
        }
    }

    /// Sends records until they are stored. After an error, `unfinished` has those that are left.
    async fn put_all(
        &self,
        state: &mut State,
        unfinished: &mut Unfinished,
        packing: Packing,
    ) -> Result<(), StreamError> {
        for _ in 0..ROUNDS {
            let map = match state.map.take() {
                Some(map) => map,
                None if unfinished.is_done() => return Ok(()),
                None => self.read_map(&unfinished.astray).await?,
            };
            unfinished.bring_back(&map, &mut state.cost);
            let open: Vec<ShardId> = map.open().cloned().collect();
            let mut queues: Vec<Vec<Item>> = vec![Vec::new(); open.len()];
            for item in std::mem::take(&mut unfinished.left) {
                queues[map.predict(item.hash)].push(item);
            }
            let now = self.time.monotonic();
            let waiting = open.into_iter().zip(queues).filter(|(_, queue)| !queue.is_empty());
            let drains = waiting.map(|(shard, queue)| {
                let rate = state.rates.remove(&shard).unwrap_or_else(|| Rate::new(now));
                self.drain(Draining::new(shard, rate, queue, now), packing)
            });
            let drained = join_all(drains).await;
            let mut failure = None;
            for (one, stopped) in drained {
                state.rates.insert(one.shard, one.rate);
                state.cost.add(&one.cost);
                for (index, receipt) in one.receipts {
                    unfinished.receipts[index] = Some(receipt);
                }
                unfinished.astray.extend(one.astray);
                unfinished.left.extend(one.queue);
                failure = failure.or(stopped);
            }
            // The records left of one user are all of one shard, and in order.
            if let Some(failure) = failure {
                return Err(failure);
            }
            if unfinished.is_done() && unfinished.receipts.iter().flatten().all(|r| map.range(&r.shard).is_some()) {
                state.map = Some(map);
                return Ok(());
            }
            tracing::info!(stream = %self.shown, left = unfinished.left.len(), "the stream was resharded; reading its shards anew");
        }
        if unfinished.is_done() {
            return Ok(());
        }
        let why =
            ApiError::InUse(format!("records landed on other shards than reckoned with, {ROUNDS} times in a row"));
        Err(self.failed("put", why))
    }
}

#[async_trait]
impl StreamWriter for KinesisWriter {
    async fn put(
        &self,
        records: Vec<PutRecord>,
        progress: Option<ProducerProgress>,
    ) -> Result<Vec<PutReceipt>, StreamError> {
        let mut state = self.state.lock().await;
        let summary = match &state.summary {
            Some(summary) => summary.clone(),
            None => self.api.summary().await.map_err(|error| self.failed("describe", error))?,
        };
        self.check(&records, summary.max_record_bytes)?;
        // An aggregate is a record as well, and its own key takes a byte.
        let most = summary.max_record_bytes.saturating_sub(1);
        let packing = Packing { aggregate_bytes: self.packing.aggregate_bytes.min(most), ..self.packing };
        state.summary = Some(summary);
        let same =
            |before: &Unfinished| before.progress.is_some() && before.progress == progress && before.records == records;
        let mut unfinished = match state.unfinished.take().filter(same) {
            Some(before) => before,
            None => Unfinished {
                progress: progress.clone(),
                receipts: vec![None; records.len()],
                left: (0..)
                    .zip(&records)
                    .map(|(index, record)| Item {
                        index,
                        hash: hash_key(&record.partition_key),
                        partition_key: record.partition_key.clone(),
                        data: record.payload.clone(),
                    })
                    .collect(),
                astray: Vec::new(),
                records,
            },
        };
        if let Err(error) = self.put_all(&mut state, &mut unfinished, packing).await {
            state.unfinished = Some(unfinished);
            return Err(error);
        }
        if let Some(progress) = &unfinished.progress
            && let Err(error) = self.progress.store(progress).await
        {
            state.unfinished = Some(unfinished);
            return Err(error);
        }
        Ok(unfinished.receipts.into_iter().map(|receipt| receipt.expect("all are stored")).collect())
    }

    async fn progress(&self, job: &str) -> Result<Option<String>, StreamError> {
        self.progress.read(job).await
    }

    async fn split(&self, _: &ShardId, _: u128) -> Result<[ShardId; 2], StreamError> {
        self.refused(
            "split".to_owned(),
            "a writer of records does not reshard: use `authpulse stream split`".to_owned(),
        )
    }

    async fn merge(&self, _: &ShardId, _: &ShardId) -> Result<ShardId, StreamError> {
        self.refused(
            "merge".to_owned(),
            "a writer of records does not reshard: use `authpulse stream merge`".to_owned(),
        )
    }

    async fn close(&self) -> Result<(), StreamError> {
        self.refused(
            "the end".to_owned(),
            "a stream in Kinesis cannot be closed; seal its lake with `authpulse consume --seal` instead".to_owned(),
        )
    }
}
