//! Reading: a stream in Kinesis as a [`Stream`], by polling; `fan_out` has subscriptions beside it.
//!
//! Each shard has a cursor that goes on where the last read ended: iterator, records at hand, budget. A read from elsewhere moves
//! it. What a cursor knows can be lost at any time; positions are the caller's.
//!
//! - **Position.** Sequence number and, within an aggregate, the record's place. A read after a position opens its iterator AT that
//!   record and looks whether it is there: what retention took in between is told as a gap.
//! - **Time.** A record's arrival is its ApproximateArrivalTimestamp, raised to that of the records before it in the same read.
//! - **Errors.** Throttles, expired iterators and a key of KMS that cannot be used are dealt with here. What else may pass is an
//!   error that says `retry`: nothing was lost, the same read goes on.

use crate::api::{Api, ApiError, IteratorAt, Summary};
use crate::cursor::Cursor;
use crate::fan_out::FanOut;
use crate::limits::{
    AT_HAND_BYTES, GET_RECORDS, READ_BACKOFF, READ_BYTES, READ_EVERY, READS, UNREAD, UNREAD_IN_THE_WAY, UNREAD_RECORDS,
};
use crate::map::in_order;
use crate::patience::patiently;
use crate::room::Room;
use crate::time::{Chance, Time};
use async_trait::async_trait;
use authpulse_event::{ArrivalTime, Position, ShardId, Span};
use authpulse_stream::{Gap, ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream, StreamDescription, StreamError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// How long what DescribeStreamSummary told is believed: an account may ask 20 times a second, and workers ask every second.
const SUMMARY_LASTS: Duration = Duration::from_secs(60);
/// New iterators for one read, where they keep expiring or being refused.
const ITERATORS: u32 = 3;
/// Kinesis keeps records for at least so long.
const RETENTION_LEAST: Duration = Duration::from_secs(24 * 3_600);
/// The part of the retention from which on records may be gone, as far as clocks and the removal can be trusted.
const RISK: f64 = 0.9;
/// How far back the newest record is looked for, first; each further look goes four times further back. Where one finds something,
/// the time is halved until it is known this exactly, so that little has to be read to find the newest.
const TIP_FIRST: Span = Span::seconds(10);
const TIP_FARTHER: i64 = 4;

/// Where the shards of a stream are read from at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest records that are kept.
    TrimHorizon,
    /// At the records that arrived at this time or later.
    Time(ArrivalTime),
}

/// See the module.
pub struct KinesisStream {
    pub(crate) api: Arc<dyn Api>,
    pub(crate) time: Arc<dyn Time>,
    pub(crate) chance: Chance,
    start: StartAt,
    fan_out: Option<Arc<FanOut>>,
    /// Shards that begin elsewhere.
    begins: BTreeMap<ShardId, Position>,
    left_out: BTreeSet<ShardId>,
    /// Shards that begin at their oldest record, wherever others begin.
    from_oldest: BTreeSet<ShardId>,
    /// The stream, for messages.
    shown: String,
    summary: Mutex<Option<(Summary, Duration)>>,
    pub(crate) cursors: SyncMutex<BTreeMap<ShardId, Arc<Mutex<Cursor>>>>,
    /// When what nobody reads was looked for last.
    swept: SyncMutex<Duration>,
    /// For what the cursors have at hand, all together.
    pub(crate) room: Arc<Room>,
    /// As many as there may be GetRecords under way.
    reads: Semaphore,
}

impl KinesisStream {
    /// A reader of a stream, which `shown` names in messages.
    pub fn new(api: Arc<dyn Api>, time: Arc<dyn Time>, start: StartAt, shown: &str, seed: u64) -> KinesisStream {
        KinesisStream {
            api,
            time,
            chance: Chance::new(seed),
            start,
            fan_out: None,
            begins: BTreeMap::new(),
            left_out: BTreeSet::new(),
            from_oldest: BTreeSet::new(),
            shown: shown.to_owned(),
            summary: Mutex::default(),
            cursors: SyncMutex::default(),
            swept: SyncMutex::default(),
            room: Room::new(AT_HAND_BYTES),
            reads: Semaphore::new(READS),
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
        match fan_out.consumer(&*self.api).await {
            Err(error @ (ApiError::Refused(_) | ApiError::InvalidArgument(_))) => Err(self.failed("register", error)),
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
        self.from_oldest.insert(shard.clone());
    }

    /// Where a shard is read from at first.
    pub(crate) fn start_of(&self, shard: &ShardId) -> StartAt {
        if self.from_oldest.contains(shard) { StartAt::TrimHorizon } else { self.start }
    }

    pub(crate) fn failed(&self, action: &'static str, error: ApiError) -> StreamError {
        crate::stream_error(&self.shown, action, error)
    }

    /// The stream as it was lately.
    ///
    /// # Errors
    /// It cannot be asked for.
    pub async fn summary(&self) -> Result<Summary, StreamError> {
        let mut known = self.summary.lock().await;
        let now = self.time.monotonic();
        if let Some((summary, at)) = &*known
            && now.saturating_sub(*at) < SUMMARY_LASTS
        {
            return Ok(summary.clone());
        }
        let summary = self.patiently("describe", || self.api.summary()).await?;
        *known = Some((summary.clone(), now));
        Ok(summary)
    }

    async fn patiently<T, F>(&self, action: &'static str, ask: impl Fn() -> F) -> Result<T, StreamError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        patiently(&*self.time, &self.chance, action, ask).await.map_err(|error| self.failed(action, error))
    }

    fn cursor(&self, shard: &ShardId, from: ReadFrom) -> Arc<Mutex<Cursor>> {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let first_pause = READ_EVERY.mul_f64(self.chance.next());
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
        let now = self.time.monotonic();
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
            self.time.sleep(READ_EVERY).await;
            self.give_up_unread();
        }
    }

    /// Waits for the shard's budget and asks once, more often only where the iterator has to be made anew.
    pub(crate) async fn fetch(&self, shard: &ShardId, cursor: &mut Cursor) -> Result<(), StreamError> {
        let wait = cursor.not_before.saturating_sub(self.time.monotonic());
        if cursor.key_failed.is_some() && wait > READ_BACKOFF {
            // Whoever reads must be able to stop meanwhile.
            self.time.sleep(READ_BACKOFF).await;
            return Ok(());
        }
        if !wait.is_zero() {
            self.time.sleep(wait).await;
        }
        let mut iterators = 0;
        loop {
            if cursor.iterator.is_none() {
                if iterators == ITERATORS {
                    let error = ApiError::Unclear("shard iterators are refused right after they were made".to_owned());
                    return Err(self.put_off(cursor, "read", error));
                }
                iterators += 1;
                let at_risk = self.is_at_risk(cursor).await?;
                let at = cursor.iterator_at(self.start_of(shard), at_risk);
                cursor.check = if at_risk { cursor.taken } else { None };
                match self.api.iterator(shard, at).await {
                    Ok(iterator) => cursor.iterator = Some(iterator),
                    // A subscription's word is no record's number; without it reading goes on as well.
                    Err(ApiError::InvalidArgument(_)) if cursor.continuation.take().is_some() => continue,
                    // The number is none of this shard's any more: begin with what is left, and say that something is missing.
                    Err(ApiError::InvalidArgument(why)) if cursor.unchecked || cursor.taken.is_some() => {
                        tracing::warn!(%shard, why, "the last record read is not to be found; reading on with the oldest kept");
                        cursor.check = cursor.taken;
                        match self.api.iterator(shard, IteratorAt::Oldest).await {
                            Ok(iterator) => cursor.iterator = Some(iterator),
                            Err(error) => return self.passing(cursor, error),
                        }
                    }
                    // The clock of this machine is ahead of that of Kinesis, for which no such time has been.
                    Err(ApiError::InvalidArgument(why)) if matches!(at, IteratorAt::Time(_)) => {
                        return Err(self.put_off(cursor, "read", ApiError::Unclear(why)));
                    }
                    Err(error) => return self.passing(cursor, error),
                }
            }
            let Some(iterator) = cursor.iterator.clone() else { continue };
            // A page may have 10 MiB, and until it is here nobody knows.
            let turn = self.reads.acquire().await;
            let page = self.api.get(&iterator, cursor.limit).await;
            drop(turn);
            match page {
                Ok(page) => {
                    cursor.backoff.worked();
                    if cursor.key_failed.take().is_some() {
                        tracing::info!(%shard, failures = cursor.key.failures(), "the key of the stream can be used again");
                        cursor.key.worked();
                    }
                    let bytes: usize = page.records.iter().map(|r| r.data.len() + r.partition_key.len()).sum();
                    let pause = READ_EVERY.max(Duration::from_secs_f64(bytes as f64 / READ_BYTES));
                    cursor.not_before = self.time.monotonic() + pause + std::mem::take(&mut cursor.first_pause);
                    cursor.at_tip = page.behind.is_zero() && page.records.len() < cursor.limit;
                    let nothing_left = page.records.is_empty() && page.behind.is_zero();
                    cursor.heard(self.time.monotonic(), page.behind);
                    if let (Some(begun), Some(first)) = (cursor.check, page.records.first()) {
                        cursor.check = None;
                        if first.sequence > begun {
                            cursor.gap = Some(Gap { records: None });
                        }
                    }
                    cursor.take_in(page.records);
                    cursor.iterator = page.next;
                    if cursor.iterator.is_some() && self.is_at_risk(cursor).await? {
                        // Kinesis would go on behind what it has removed, without a word.
                        cursor.iterator = None;
                        return Ok(());
                    }
                    if cursor.iterator.is_some() {
                        return Ok(());
                    }
                    return self.end(shard, cursor, page.has_children, nothing_left).await;
                }
                // Nothing is lost: a new one begins after the last record that was taken in.
                Err(ApiError::ExpiredIterator | ApiError::InvalidArgument(_)) => cursor.iterator = None,
                Err(error) => return self.passing(cursor, error),
            }
        }
    }

    /// Whether retention may have taken records that were not read yet: the last answer was too long ago, or too far behind.
    pub(crate) async fn is_at_risk(&self, cursor: &mut Cursor) -> Result<bool, StreamError> {
        let unread = cursor.unread_since(self.time.monotonic());
        if unread < RETENTION_LEAST.mul_f64(RISK) {
            return Ok(false);
        }
        let retention = Duration::from_micros(self.summary().await?.retention.micros().max(0).cast_unsigned());
        Ok(unread >= retention.mul_f64(RISK))
    }

    /// There is no next iterator. An answer that ends a shard names its children. One that does not is believed only if it holds
    /// nothing, claims to be at the tip, and the listing says that the shard is closed; otherwise a new iterator looks again.
    async fn end(
        &self,
        shard: &ShardId,
        cursor: &mut Cursor,
        has_children: bool,
        nothing_left: bool,
    ) -> Result<(), StreamError> {
        let is_closed = || async {
            let shards = self.patiently("listing shards", || self.api.shards()).await?;
            let has_child = shards.iter().any(|other| other.parents.contains(shard));
            Ok::<bool, StreamError>(has_child || shards.iter().any(|s| s.id == *shard && s.closed))
        };
        cursor.ended = has_children || (nothing_left && is_closed().await?);
        cursor.at_tip = cursor.ended;
        Ok(())
    }

    /// Throttling, and a key that cannot be used, end a read without records; what else may pass is told.
    fn passing(&self, cursor: &mut Cursor, error: ApiError) -> Result<(), StreamError> {
        cursor.at_tip = false;
        match error {
            ApiError::Throttled(_) => {
                let error = self.put_off(cursor, "read", error);
                tracing::debug!(%error, failures = cursor.backoff.failures(), "read throttled");
                Ok(())
            }
            ApiError::Key(why) => {
                // Half of the pause is drawn, so that the readers of many shards do not come back at once.
                let bound = cursor.key.failed(1.0);
                let pause = bound / 2 + (bound / 2).mul_f64(self.chance.next().clamp(0.0, 1.0));
                cursor.not_before = self.time.monotonic() + pause;
                let failures = cursor.key.failures();
                if failures.is_power_of_two() {
                    let stream = &self.shown;
                    tracing::warn!(%stream, failures, ?pause, why, "the key of the stream cannot be used; trying again, nothing is lost");
                }
                cursor.key_failed = Some(why);
                Ok(())
            }
            ApiError::Unclear(_) | ApiError::InUse(_) => Err(self.put_off(cursor, "read", error)),
            error => Err(self.failed("read", error)),
        }
    }

    fn put_off(&self, cursor: &mut Cursor, action: &'static str, error: ApiError) -> StreamError {
        cursor.not_before = self.time.monotonic() + cursor.backoff.failed(self.chance.next());
        self.failed(action, error)
    }

    /// A cursor beside the reader's, which loses nothing by it. Both have the shard's budget to share: one of them may be throttled.
    async fn look(&self, shard: &ShardId, at: IteratorAt, limit: usize) -> Result<Cursor, StreamError> {
        let mut cursor = Cursor::new(ReadFrom::Start, Duration::ZERO, &self.room);
        cursor.limit = limit;
        while cursor.iterator.is_none() {
            match self.api.iterator(shard, at).await {
                Ok(iterator) => cursor.iterator = Some(iterator),
                Err(error) => {
                    self.passing(&mut cursor, error)?;
                    self.time.sleep(cursor.not_before.saturating_sub(self.time.monotonic())).await;
                }
            }
        }
        Ok(cursor)
    }

    /// Fetches for a look. Whoever looks wants an answer, not to wait for somebody who mends a key.
    async fn look_on(&self, shard: &ShardId, cursor: &mut Cursor) -> Result<(), StreamError> {
        self.fetch(shard, cursor).await?;
        match cursor.key_failed.take() {
            Some(why) => Err(self.failed("read", ApiError::Key(why))),
            None => Ok(()),
        }
    }

    /// Whether a shard has a record since a time.
    async fn has_any_since(&self, shard: &ShardId, at: IteratorAt) -> Result<bool, StreamError> {
        let mut cursor = self.look(shard, at, 1).await?;
        while !cursor.at_tip && cursor.is_empty() {
            self.look_on(shard, &mut cursor).await?;
        }
        Ok(!cursor.is_empty())
    }

    /// The newest record since a time, if there is one.
    async fn newest_since(&self, shard: &ShardId, at: IteratorAt) -> Result<Option<Position>, StreamError> {
        let mut cursor = self.look(shard, at, GET_RECORDS).await?;
        let mut newest = None;
        while !cursor.at_tip {
            self.look_on(shard, &mut cursor).await?;
            newest = cursor.newest(shard).or(newest);
        }
        Ok(newest)
    }
}

#[async_trait]
impl Stream for KinesisStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        let Summary { arn, created, retention, .. } = self.summary().await?;
        Ok(StreamDescription { name: arn, created, retention, closed: false })
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        let mut shards = self.patiently("listing shards", || self.api.shards()).await?;
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
        cursor.read_at = self.time.monotonic();
        self.give_up_unread();
        if cursor.from != from {
            cursor.move_to(from, &self.room);
        }
        let before = self.time.now();
        if cursor.is_empty() && !cursor.ended {
            self.wait_for_room().await;
            match &self.fan_out {
                Some(fan_out) => self.pull(fan_out, shard, &mut cursor).await?,
                None => self.fetch(shard, &mut cursor).await?,
            }
        }
        let mut batch = ReadBatch { gap: cursor.gap, ..ReadBatch::default() };
        if cursor.unchecked && cursor.at_tip {
            // The record after which to read is not there, nor is any other.
            batch.gap = Some(Gap { records: None });
        }
        if cursor.front(shard).is_some() {
            batch.records.reserve(cursor.expected().min(limit.records));
        }
        let mut bytes = 0;
        while let Some(record) = cursor.front(shard) {
            let fits = batch.records.len() < limit.records && bytes + record.payload.len() <= limit.bytes;
            if !batch.records.is_empty() && !fits {
                break;
            }
            bytes += record.payload.len();
            batch.records.extend(cursor.take_front());
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

    /// There is no call for it: looks back further and further until there is a record, then closer to that, and reads on to the tip.
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        let Summary { created, retention, .. } = self.summary().await?;
        let now = self.time.now();
        let oldest = (now - created).min(retention);
        let since = |back: Span| if back < oldest { IteratorAt::Time(now - back) } else { IteratorAt::Oldest };
        let mut back = TIP_FIRST;
        if let Some(position) = self.newest_since(shard, since(back)).await? {
            return Ok(position);
        }
        // Nothing arrived within `nothing`; something did within `back`.
        let mut nothing = back;
        while !self.has_any_since(shard, since(back)).await? {
            if back >= oldest {
                return Ok(Position::START);
            }
            (nothing, back) = (back, TIP_FARTHER * back);
        }
        back = back.min(oldest);
        while back - nothing > TIP_FIRST {
            let middle = nothing + (back - nothing) / 2;
            if self.has_any_since(shard, since(middle)).await? {
                back = middle;
            } else {
                nothing = middle;
            }
        }
        Ok(self.newest_since(shard, since(back)).await?.unwrap_or(Position::START))
    }
}
