//! Reading: a stream in Kinesis as a [`Stream`]. `poll` asks for records; `fan_out` has subscriptions beside it.
//!
//! Each shard has a cursor that goes on where the last read ended: iterator, records at hand, budget. A read from elsewhere moves
//! it. What a cursor knows can be lost at any time; positions are the caller's.
//!
//! - **Position.** Sequence number and, within an aggregate, the record's place.
//! - **Time.** A record's arrival is its ApproximateArrivalTimestamp, raised to that of the records before it in the same read.

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

/// See the module.
pub struct KinesisStream {
    poll: Poll,
    fan_out: Option<Arc<FanOut>>,
    /// Shards that begin elsewhere.
    begins: BTreeMap<ShardId, Position>,
    left_out: BTreeSet<ShardId>,
    cursors: SyncMutex<BTreeMap<ShardId, Arc<Mutex<Cursor>>>>,
    /// When what nobody reads was looked for last.
    swept: SyncMutex<Duration>,
    /// For what the cursors have at hand, all together.
    room: Arc<Room>,
}

impl KinesisStream {
    /// A reader of a stream, which `shown` names in messages.
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

    /// Reads no more while the records at hand of all shards take up this many bytes, instead of [`AT_HAND_BYTES`].
    pub fn with_room(mut self, bytes: usize) -> KinesisStream {
        self.room = Room::new(bytes);
        self
    }

    /// Reads by enhanced fan-out, as the registered consumer of this name, which is made if it is missing. Wherever a subscription
    /// is refused there is polling meanwhile. Positions are those of polling: a reader of either kind goes on for the other.
    pub fn with_fan_out(mut self, consumer: &str) -> KinesisStream {
        self.fan_out = Some(Arc::new(FanOut::new(consumer)));
        self
    }

    /// Registers the consumer of fan-out, so that what cannot be is known before anything is read. One that is still being made,
    /// or that cannot be made for now, is looked for again by reads, which poll meanwhile.
    ///
    /// # Errors
    /// It is not allowed, or its name is none.
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

    /// A shard's beginning lies after this position: another application has read it so far.
    pub fn begin_after(&mut self, shard: &ShardId, position: Position) {
        self.begins.insert(shard.clone(), position);
    }

    /// A shard is not listed: another application has read it to its end.
    pub fn leave_out(&mut self, shard: &ShardId) {
        self.left_out.insert(shard.clone());
    }

    /// A shard begins at its oldest record: another application has read its parents to their ends.
    pub fn begin_at_oldest(&mut self, shard: &ShardId) {
        self.poll.from_oldest.insert(shard.clone());
    }

    /// The stream as it was lately.
    ///
    /// # Errors
    /// It cannot be asked for.
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

    /// Gives up what nobody has read for long: records of a shard that another worker has by now, and subscriptions. Whoever reads again
    /// goes on from the same place.
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
            // One that is locked is being read, as is the one of whoever looks here.
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

    /// Waits until there is room for more: what is in the way is read by somebody, or let go.
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
            // The record after which to read is not there, nor is any other.
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
        // That of Kinesis: what is told of it is none of this host.
        batch.clock = batch.clock.max(Some(before));
        Ok(batch)
    }

    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        tip(&self.poll, &self.room, shard).await
    }
}
