//! Putting: a stream in Kinesis as a [`StreamWriter`].
//!
//! ```text
//!             by the shard that each will land on        one call in flight a shard
//! records --> queue 0 | queue 1 | queue 2 ------- pack --------> PutRecords
//!               ^                                                    |
//!               '--- refused, or landed elsewhere: again, in order --'
//! ```
//!
//! - **Order.** A user's records are stored in the order of the put: none is sent before an answer says that the one before is
//!   stored. A call that fails without an answer may have stored what it held; it is sent again, so records may be in the stream twice.
//! - **Resharding.** The answer says on which shard an entry landed. If some record of an aggregate does not belong there, all of
//!   it is sent again by a new map, as the KPL does: readers that go by the KCL's rule drop the misplaced one.
//! - **Progress.** Kinesis keeps no note beside records. It is kept in a file, after the records are stored: what was sent by a
//!   process that ended in between is sent again.

use crate::api::{Api, ApiError, Put, Summary};
use crate::cost::Cost;
use crate::limits::{CALLS, PARTITION_KEY_CHARACTERS, PUT_PATIENCE};
use crate::map::ShardMap;
use crate::pace::{Backoff, Rate, cost};
use crate::pack::{Item, Packed, Packing, pack};
use crate::progress::ProgressStore;
use crate::time::{Chance, Time};
use async_trait::async_trait;
use authpulse_event::ring::hash_key;
use authpulse_event::{HashRange, ShardId};
use authpulse_stream::{Progress, PutReceipt, PutRecord, StreamError, StreamWriter};
use futures::future::join_all;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// Rounds of a put, each by a new shard map: more reshards than these during one put are none that AWS does.
const ROUNDS: u32 = 50;

/// See the module.
pub struct KinesisWriter {
    api: Arc<dyn Api>,
    time: Arc<dyn Time>,
    chance: Chance,
    packing: Packing,
    progress: Arc<dyn ProgressStore>,
    /// The stream, for messages.
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
    progress: Option<Progress>,
    left: Vec<Item>,
    receipts: Vec<Option<PutReceipt>>,
}

/// What became of one shard's queue.
struct Drained {
    shard: ShardId,
    rate: Rate,
    cost: Cost,
    receipts: Vec<(usize, PutReceipt)>,
    /// Not stored, in order: what comes first has to be sent first.
    left: Vec<Item>,
    failure: Option<StreamError>,
}

impl KinesisWriter {
    /// A writer into a stream, which `shown` names in messages. `seed` decides about pauses and should differ from process to process.
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

    /// Everything that Kinesis would refuse, before anything is sent.
    fn check(&self, records: &[PutRecord], most: usize) -> Result<(), StreamError> {
        for (index, record) in records.iter().enumerate() {
            let bytes = record.payload.len() + record.partition_key.len();
            if bytes > most {
                return self.refused(
                    format!("record {index} of a put, {bytes} bytes with its key,"),
                    format!(
                        "the stream takes records of {most} bytes: raise that with UpdateMaxRecordSize (10 MiB at most), or take \
                         the line out of the input"
                    ),
                );
            }
            let characters = std::str::from_utf8(&record.partition_key).map(|key| key.chars().count());
            if !characters.is_ok_and(|n| (1..=PARTITION_KEY_CHARACTERS).contains(&n)) {
                return self.refused(
                    format!("record {index} of a put, with a partition key of {} bytes,", record.partition_key.len()),
                    format!(
                        "a key is UTF-8 of 1 to {PARTITION_KEY_CHARACTERS} characters: take the line out of the input"
                    ),
                );
            }
        }
        Ok(())
    }

    /// The open shards, anew.
    async fn read_map(&self) -> Result<ShardMap, StreamError> {
        let mut backoff = Backoff::default();
        let begun = self.time.monotonic();
        loop {
            let error = match self.api.shards().await {
                Ok(shards) => match ShardMap::new(&shards) {
                    Some(map) => return Ok(map),
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

    /// Sends a shard's queue until it is empty, something landed elsewhere, or the shard takes nothing for too long.
    async fn drain(&self, shard: ShardId, mut rate: Rate, queue: Vec<Item>, map: &ShardMap) -> Drained {
        let mut queue = VecDeque::from(queue);
        let (mut sum, mut receipts, mut backoff) = (Cost::default(), Vec::new(), Backoff::default());
        let mut worked_at = self.time.monotonic();
        let mut failure = None;
        let mut moved = false;
        while !queue.is_empty() && !moved {
            let packed = pack(&mut queue, self.packing);
            let entries: Vec<_> = packed.iter().map(|one| one.entry.clone()).collect();
            let cost = cost(entries.len(), entries.iter().map(|entry| entry.bytes()).sum());
            self.pause(rate.wait(self.time.monotonic(), cost)).await;
            let permit = self.calls.acquire().await.expect("it is never closed");
            rate.spend(self.time.monotonic(), cost);
            let answer = self.api.put(&entries).await;
            drop(permit);
            sum.calls += 1;
            let now = self.time.monotonic();
            let (mut again, mut why) = (Vec::new(), None);
            match answer {
                Ok(puts) => {
                    let mut throttled = 0;
                    for (one, put) in packed.into_iter().zip(puts) {
                        match put {
                            Put::Stored { shard: landed, sequence } => {
                                worked_at = now;
                                sum.stored(one.entry.bytes());
                                moved |= landed != shard;
                                if is_at_home(&one, &landed, &shard, map.range(&landed)) {
                                    sum.user_records += one.items.len() as u64;
                                    let receipt =
                                        |item: &Item| (item.index, PutReceipt { shard: landed.clone(), sequence });
                                    receipts.extend(one.items.iter().map(receipt));
                                } else {
                                    sum.misplaced += one.items.len() as u64;
                                    again.extend(one.items);
                                }
                            }
                            Put::Throttled => {
                                throttled += 1;
                                again.extend(one.items);
                                why = Some(ApiError::Throttled(format!("shard {shard} is at its limit")));
                            }
                            Put::Failed(text) => {
                                again.extend(one.items);
                                why = Some(ApiError::Unclear(text));
                            }
                        }
                    }
                    sum.throttled += throttled;
                    if throttled > 0 { rate.throttled(now) } else { rate.worked(now) }
                }
                Err(error) => {
                    if matches!(error, ApiError::Throttled(_)) {
                        rate.throttled(now);
                        sum.throttled += packed.len() as u64;
                    }
                    again.extend(packed.into_iter().flat_map(|one| one.items));
                    why = Some(error);
                }
            }
            again.into_iter().rev().for_each(|item| queue.push_front(item));
            let Some(error) = why else {
                backoff.worked();
                continue;
            };
            if !error.may_pass() || now.saturating_sub(worked_at) >= PUT_PATIENCE {
                failure = Some(self.failed("put", error));
                break;
            }
            tracing::debug!(%shard, %error, failures = backoff.failures(), "put again");
            self.pause(backoff.failed(self.chance.next())).await;
        }
        Drained { shard, rate, cost: sum, receipts, left: queue.into(), failure }
    }

    async fn pause(&self, duration: Duration) {
        if !duration.is_zero() {
            self.time.sleep(duration).await;
        }
    }

    /// Sends records until they are stored; what is left of them after an error is in `unfinished`.
    async fn put_all(&self, state: &mut State, unfinished: &mut Unfinished) -> Result<(), StreamError> {
        for _ in 0..ROUNDS {
            if unfinished.left.is_empty() {
                return Ok(());
            }
            let map = match state.map.take() {
                Some(map) => map,
                None => self.read_map().await?,
            };
            let open: Vec<ShardId> = map.open().cloned().collect();
            let mut queues: Vec<Vec<Item>> = vec![Vec::new(); open.len()];
            for item in std::mem::take(&mut unfinished.left) {
                queues[map.predict(item.hash)].push(item);
            }
            let now = self.time.monotonic();
            let waiting = open.into_iter().zip(queues).filter(|(_, queue)| !queue.is_empty());
            let drains = waiting.map(|(shard, queue)| {
                let rate = state.rates.remove(&shard).unwrap_or_else(|| Rate::new(now));
                self.drain(shard, rate, queue, &map)
            });
            let drained = join_all(drains).await;
            let mut failure = None;
            for one in drained {
                state.rates.insert(one.shard, one.rate);
                state.cost.add(&one.cost);
                for (index, receipt) in one.receipts {
                    unfinished.receipts[index] = Some(receipt);
                }
                unfinished.left.extend(one.left);
                failure = failure.or(one.failure);
            }
            // Of one user only records of one shard are left, and those in order.
            if let Some(failure) = failure {
                return Err(failure);
            }
            if unfinished.left.is_empty() && unfinished.receipts.iter().flatten().all(|r| map.range(&r.shard).is_some())
            {
                state.map = Some(map);
            } else {
                tracing::info!(stream = %self.shown, left = unfinished.left.len(), "the stream was resharded; reading its shards anew");
            }
        }
        if unfinished.left.is_empty() {
            return Ok(());
        }
        let why =
            ApiError::InUse(format!("records landed on other shards than reckoned with, {ROUNDS} times in a row"));
        Err(self.failed("put", why))
    }
}

/// Whether all records of an entry belong into the shard it landed on. A shard that the map does not know is no such.
fn is_at_home(one: &Packed, landed: &ShardId, reckoned: &ShardId, range: Option<HashRange>) -> bool {
    // A single record goes where its own key says.
    let alone = one.items.len() == 1;
    alone || landed == reckoned || range.is_some_and(|range| one.items.iter().all(|item| range.contains(item.hash)))
}

#[async_trait]
impl StreamWriter for KinesisWriter {
    async fn put(&self, records: Vec<PutRecord>, progress: Option<Progress>) -> Result<Vec<PutReceipt>, StreamError> {
        let mut state = self.state.lock().await;
        let summary = match &state.summary {
            Some(summary) => summary.clone(),
            None => self.api.summary().await.map_err(|error| self.failed("describe", error))?,
        };
        self.check(&records, summary.max_record_bytes)?;
        state.summary = Some(summary);
        let same = |before: &Unfinished| {
            before.progress.is_some() && before.progress == progress && before.receipts.len() == records.len()
        };
        let mut unfinished = match state.unfinished.take().filter(same) {
            Some(before) => before,
            None => Unfinished {
                progress: progress.clone(),
                receipts: vec![None; records.len()],
                left: (0..)
                    .zip(records)
                    .map(|(index, record)| Item {
                        index,
                        hash: hash_key(&record.partition_key),
                        partition_key: record.partition_key,
                        data: record.payload,
                    })
                    .collect(),
            },
        };
        if let Err(error) = self.put_all(&mut state, &mut unfinished).await {
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
