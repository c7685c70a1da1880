//! Reads a stream in Kinesis, as a [`Stream`]. `poll` asks for records; `fan_out` has subscriptions beside it.
//!
//! Each shard has a cursor that goes on where the last read ended: iterator, records at hand, budget. A read from elsewhere moves it. The
//! cursor's state can be lost at any time; the caller keeps the positions.
//!
//! - **Position.** The sequence number and, within an aggregate, the record's number.
//! - **Time.** A record's arrival is its ApproximateArrivalTimestamp, but not below that of the records before it in the same read.

use crate::api::{Api, ApiError, Summary};
use crate::cursor::{Cursor, StartAt};
use crate::limits::{AT_HAND_BYTES, READ_EVERY, UNREAD, UNREAD_IN_THE_WAY, UNREAD_RECORDS};
use crate::map::in_order;
use crate::poll::Poll;
use crate::room::Room;
use crate::subscription::FanOut;
use crate::time::Time;
use crate::tip::tip;
use async_trait::async_trait;
use authpulse_event::{Position, ShardId};
use authpulse_stream::{Gap, ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream, StreamDescription, StreamError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// A reader of a stream in Kinesis.
pub struct KinesisStream {
    poll: Poll,
    fan_out: Option<Arc<FanOut>>,
    /// Positions after which shards begin, if another application has read them so far.
    begins: BTreeMap<ShardId, Position>,
    left_out: BTreeSet<ShardId>,
    cursors: SyncMutex<BTreeMap<ShardId, Arc<Mutex<Cursor>>>>,
    /// When cursors that nobody reads were last looked for.
    swept: SyncMutex<Duration>,
    /// The room for the records that all cursors have at hand.
    room: Arc<Room>,
}

impl KinesisStream {
    /// A reader of a stream, which `shown` names in messages. `seed` is that of the chance for pauses.
    pub fn new(api: Arc<dyn Api>, time: Arc<dyn Time>, start: StartAt, shown: &str, seed: u64) -> KinesisStream {
        KinesisStream {
            poll: Poll::new(api, time, start, shown, seed),
            fan_out: None,
            begins: BTreeMap::new(),
            left_out: BTreeSet::new(),
            cursors: SyncMutex::default(),
            swept: SyncMutex::default(),
            room: Room::new(AT_HAND_BYTES),
        }
    }

    /// Sets how many bytes of records of all shards may be at hand before it fetches no more, instead of [`AT_HAND_BYTES`].
    pub fn with_room(mut self, bytes: usize) -> KinesisStream {
        self.room = Room::new(bytes);
        self
    }

    /// Reads by enhanced fan-out, as the registered consumer of this name, which is made if it is missing. While a subscription is
    /// refused, the shard is polled. Positions are the same either way, so readers of both kinds can follow each other.
    pub fn with_fan_out(mut self, consumer: &str) -> KinesisStream {
        self.fan_out = Some(Arc::new(FanOut::new(consumer)));
        self
    }

    /// Registers the consumer of fan-out, so that a refusal is known before anything is read. If the consumer is still being made, or
    /// cannot be made for now, reads look for it again and poll meanwhile.
    ///
    /// # Errors
    /// Registering is not allowed, or the consumer's name is not valid.
    pub async fn register(&self) -> Result<(), StreamError> {
        let Some(fan_out) = &self.fan_out else { return Ok(()) };
        match fan_out.consumer(&*self.poll.api).await {
            Err(error @ (ApiError::Refused(_) | ApiError::InvalidArgument(_))) => {
                Err(self.poll.failed("register", error))
            }
            Err(error) => {
                tracing::info!(%error, "the fan-out consumer is not there yet; polling meanwhile");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Begins a shard after this position: another application has read it so far.
    pub fn begin_after(&mut self, shard: &ShardId, position: Position) {
        self.begins.insert(shard.clone(), position);
    }

    /// Does not list a shard: another application has read it to its end.
    pub fn leave_out(&mut self, shard: &ShardId) {
        self.left_out.insert(shard.clone());
    }

    /// Begins a shard at its oldest record: another application has read its parents to their ends.
    pub fn begin_at_oldest(&mut self, shard: &ShardId) {
        self.poll.from_oldest.insert(shard.clone());
    }

    /// The stream's description, at most a minute old.
    ///
    /// # Errors
    /// The stream cannot be described.
    pub async fn summary(&self) -> Result<Summary, StreamError> {
        self.poll.summary().await
    }

    fn cursor(&self, shard: &ShardId, from: ReadFrom) -> Arc<Mutex<Cursor>> {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let first_pause = READ_EVERY.mul_f64(self.poll.chance.next());
            let mut cursor = Cursor::new(from, Duration::ZERO, &self.room);
            cursor.first_pause = first_pause;
            Arc::new(Mutex::new(cursor))
        };
        cursors.entry(shard.clone()).or_insert_with(new).clone()
    }

    /// Drops subscriptions and records that nobody has read for long, mostly because another worker has the shard by now. A later read
    /// goes on from the same position.
    fn give_up_unread(&self) {
        let patience = if self.room.is_full() { UNREAD_IN_THE_WAY } else { UNREAD_RECORDS };
        let now = self.poll.time.monotonic();
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(*swept) < Duration::from_secs(1) {
            return;
        }
        *swept = now;
        let cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        for cursor in cursors.values() {
            // A locked cursor is being read; so is the one of this caller.
            let Ok(mut cursor) = cursor.try_lock() else { continue };
            let unread = now.saturating_sub(cursor.read_at);
            if unread >= UNREAD {
                cursor.feed.hang_up();
            }
            if unread >= patience && !cursor.is_empty() {
                let from = cursor.from;
                cursor.move_to(from, &self.room);
            }
        }
    }

    /// Waits until there is room for more records: others are read or dropped meanwhile.
    async fn wait_for_room(&self) {
        while self.room.is_full() {
            self.poll.time.sleep(READ_EVERY).await;
            self.give_up_unread();
        }
    }
}

#[async_trait]
impl Stream for KinesisStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        let Summary { arn, created, retention, .. } = self.poll.summary().await?;
        Ok(StreamDescription { name: arn, created, retention, closed: false })
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        let mut shards = self.poll.patiently("listing shards", || self.poll.api.shards()).await?;
        shards.retain(|shard| !self.left_out.contains(&shard.id));
        Ok(in_order(shards))
    }

    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        let from = match (from, self.begins.get(shard)) {
            (ReadFrom::Start, Some(position)) => ReadFrom::After(*position),
            _ => from,
        };
        let cursor = self.cursor(shard, from);
        let mut cursor = cursor.lock().await;
        cursor.read_at = self.poll.time.monotonic();
        self.give_up_unread();
        if cursor.from != from {
            cursor.move_to(from, &self.room);
        }
        let before = self.poll.time.now();
        if cursor.is_empty() && !cursor.ended {
            self.wait_for_room().await;
            match &self.fan_out {
                Some(fan_out) => self.poll.pull(fan_out, shard, &mut cursor).await?,
                None => self.poll.fetch(shard, &mut cursor).await?,
            }
        }
        let mut batch = ReadBatch { gap: cursor.gap, ..ReadBatch::default() };
        if cursor.unchecked && cursor.at_tip {
            // The record after which to read is gone, and so are all others.
            batch.gap = Some(Gap { records: None });
        }
        if cursor.peek(shard).is_some() {
            batch.records.reserve(cursor.expected().min(limit.records));
        }
        let mut bytes = 0;
        while let Some(record) = cursor.peek(shard) {
            let fits = batch.records.len() < limit.records && bytes + record.payload.len() <= limit.bytes;
            if !batch.records.is_empty() && !fits {
                break;
            }
            bytes += record.payload.len();
            batch.records.extend(cursor.take_next());
        }
        if let Some(last) = batch.records.last() {
            cursor.from = ReadFrom::After(last.position);
            cursor.gap = None;
            batch.clock = Some(last.arrival);
        }
        let all = cursor.is_empty();
        (batch.at_tip, batch.at_end) = (all && cursor.at_tip, all && cursor.ended);
        // The clock of Kinesis, as far as known, not that of this host.
        batch.clock = batch.clock.max(Some(before));
        Ok(batch)
    }

    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        tip(&self.poll, &self.room, shard).await
    }
}
