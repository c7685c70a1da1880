//! Polling a shard: iterators and GetRecords, and what their answers say.
//!
//! - **Position.** A read after a position makes an iterator AT that record and checks that the record is there. If retention has removed
//!   records in between, this is reported as a gap.
//! - **Errors.** Throttles, expired iterators and a KMS key that cannot be used are dealt with here. Other errors that may pass are
//!   returned with `retry`: nothing is lost, and the same read goes on.

use crate::api::{Api, ApiError, IteratorAt, Page, Summary};
use crate::cursor::{Cursor, StartAt};
use crate::limits::{READ_BACKOFF, READS};
use crate::patience::patiently;
use crate::time::{Chance, Time};
use authpulse_event::ShardId;
use authpulse_stream::StreamError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// The target of log lines, by which operators may filter: the code was once part of the module of this name.
const TARGET: &str = "authpulse_kinesis::reader";
/// How long an answer of DescribeStreamSummary is used: an account may ask 20 times a second, and workers ask every second.
const SUMMARY_LASTS: Duration = Duration::from_secs(60);
/// How many iterators a read makes, if they keep expiring or being refused.
const ITERATORS: u32 = 3;
/// Kinesis keeps records for at least this long.
const RETENTION_LEAST: Duration = Duration::from_secs(24 * 3_600);
/// From this part of the retention on, records may be gone: clocks and removal are not exact.
const RISK: f64 = 0.9;

/// Polls the shards of a stream.
pub(crate) struct Poll {
    /// The calls of Kinesis.
    pub(crate) api: Arc<dyn Api>,
    /// The clocks.
    pub(crate) time: Arc<dyn Time>,
    /// Chance for pauses.
    pub(crate) chance: Chance,
    start: StartAt,
    /// Shards that begin at their oldest record, whatever `start` says.
    pub(crate) from_oldest: BTreeSet<ShardId>,
    /// The stream's name in messages.
    shown: String,
    summary: Mutex<Option<(Summary, Duration)>>,
    /// Has a permit for each GetRecords that may be under way.
    reads: Semaphore,
}

impl Poll {
    /// A poller of a stream, which `shown` names in messages. `seed` is that of the chance for pauses.
    pub(crate) fn new(api: Arc<dyn Api>, time: Arc<dyn Time>, start: StartAt, shown: &str, seed: u64) -> Poll {
        Poll {
            api,
            time,
            chance: Chance::new(seed),
            start,
            from_oldest: BTreeSet::new(),
            shown: shown.to_owned(),
            summary: Mutex::default(),
            reads: Semaphore::new(READS),
        }
    }

    /// Where a shard is read from if it has no position yet.
    pub(crate) fn start_of(&self, shard: &ShardId) -> StartAt {
        if self.from_oldest.contains(shard) { StartAt::TrimHorizon } else { self.start }
    }

    /// Turns an error of a call into one of the stream's traits.
    pub(crate) fn failed(&self, action: &'static str, error: ApiError) -> StreamError {
        crate::stream_error(&self.shown, action, error)
    }

    /// The stream's description, at most a minute old.
    ///
    /// # Errors
    /// The stream cannot be described.
    pub(crate) async fn summary(&self) -> Result<Summary, StreamError> {
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

    /// Asks about the stream as a whole, and asks again if Kinesis throttles.
    ///
    /// # Errors
    /// Those of `ask`; throttling only after many attempts.
    pub(crate) async fn patiently<T, F>(&self, action: &'static str, ask: impl Fn() -> F) -> Result<T, StreamError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        patiently(&*self.time, &self.chance, action, ask).await.map_err(|error| self.failed(action, error))
    }

    /// Waits for the shard's budget and fetches one page. It asks again only if the iterator must be replaced.
    ///
    /// # Errors
    /// Kinesis cannot be asked, or refuses; throttling and an unusable key are no errors, but the read has no records.
    pub(crate) async fn fetch(&self, shard: &ShardId, cursor: &mut Cursor) -> Result<(), StreamError> {
        let wait = cursor.not_before.saturating_sub(self.time.monotonic());
        if cursor.key_failed.is_some() && wait > READ_BACKOFF {
            // The caller must be able to stop meanwhile.
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
                if !self.make_iterator(shard, cursor).await? {
                    return Ok(());
                }
            }
            let Some(iterator) = cursor.iterator.clone() else { continue };
            // A page may have 10 MiB, and its size is unknown until it is here: the number of reads bounds the memory.
            let turn = self.reads.acquire().await;
            let page = self.api.get(&iterator, cursor.limit).await;
            drop(turn);
            match page {
                Ok(page) => return self.turn(shard, cursor, page).await,
                // Nothing is lost: the new iterator begins after the last record that was taken in.
                Err(ApiError::ExpiredIterator | ApiError::InvalidArgument(_)) => cursor.iterator = None,
                Err(error) => return self.passing(cursor, error),
            }
        }
    }

    /// Makes the cursor's iterator. Returns whether the read goes on, with it or with another attempt; if not, it ends without records.
    async fn make_iterator(&self, shard: &ShardId, cursor: &mut Cursor) -> Result<bool, StreamError> {
        let at_risk = self.is_at_risk(cursor).await?;
        let at = cursor.iterator_at(self.start_of(shard), at_risk);
        cursor.check = if at_risk { cursor.taken } else { None };
        match self.api.iterator(shard, at).await {
            Ok(iterator) => cursor.iterator = Some(iterator),
            // A continuation number need not be a record's number. Reading goes on without it.
            Err(ApiError::InvalidArgument(_)) if cursor.continuation.take().is_some() => {}
            // The shard does not know this number any more: begin with the oldest record left, and report that some are missing.
            Err(ApiError::InvalidArgument(why)) if cursor.unchecked || cursor.taken.is_some() => {
                tracing::warn!(target: TARGET, %shard, why, "the last record read is not to be found; reading on with the oldest kept");
                cursor.check = cursor.taken;
                match self.api.iterator(shard, IteratorAt::Oldest).await {
                    Ok(iterator) => cursor.iterator = Some(iterator),
                    Err(error) => return self.passing(cursor, error).map(|()| false),
                }
            }
            // This host's clock is ahead of that of Kinesis, for which the time has not come yet.
            Err(ApiError::InvalidArgument(why)) if matches!(at, IteratorAt::Time(_)) => {
                return Err(self.put_off(cursor, "read", ApiError::Unclear(why)));
            }
            Err(error) => return self.passing(cursor, error).map(|()| false),
        }
        Ok(true)
    }

    /// Takes in a page, and draws conclusions about the shard from it.
    async fn turn(&self, shard: &ShardId, cursor: &mut Cursor, page: Page) -> Result<(), StreamError> {
        cursor.backoff.worked();
        if cursor.key_failed.take().is_some() {
            tracing::info!(target: TARGET, %shard, failures = cursor.key.failures(), "the key of the stream can be used again");
            cursor.key.worked();
        }
        let (has_children, nothing_left) = (page.has_children, page.records.is_empty() && page.behind.is_zero());
        cursor.turn(page, self.time.monotonic());
        if cursor.iterator.is_none() {
            return self.end(shard, cursor, has_children, nothing_left).await;
        }
        if self.is_at_risk(cursor).await? {
            // Kinesis would silently go on behind the records that it has removed.
            cursor.iterator = None;
        }
        Ok(())
    }

    /// Whether retention may have removed records that were not read yet: the last answer is too old, or was too far behind the tip.
    ///
    /// # Errors
    /// The stream's retention is needed and cannot be asked for.
    pub(crate) async fn is_at_risk(&self, cursor: &mut Cursor) -> Result<bool, StreamError> {
        let unread = cursor.unread_since(self.time.monotonic());
        if unread < RETENTION_LEAST.mul_f64(RISK) {
            return Ok(false);
        }
        let retention = Duration::from_micros(self.summary().await?.retention.micros().max(0).cast_unsigned());
        Ok(unread >= retention.mul_f64(RISK))
    }

    /// The page has no next iterator. If it names children, the shard has ended. If not, the end is believed only if the page is empty
    /// and at the tip, and the list of shards says that the shard is closed. Otherwise a new iterator looks again.
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

    /// Deals with a failed call. Throttling, and a key that cannot be used, only end the read without records.
    ///
    /// # Errors
    /// Every other error; those that may pass put the next read off.
    pub(crate) fn passing(&self, cursor: &mut Cursor, error: ApiError) -> Result<(), StreamError> {
        cursor.at_tip = false;
        match error {
            ApiError::Throttled(_) => {
                let error = self.put_off(cursor, "read", error);
                tracing::debug!(target: TARGET, %error, failures = cursor.backoff.failures(), "read throttled");
                Ok(())
            }
            ApiError::Key(why) => {
                // Half of the pause is random, so that the readers of many shards do not come back at the same moment.
                let bound = cursor.key.failed(1.0);
                let pause = bound / 2 + (bound / 2).mul_f64(self.chance.next().clamp(0.0, 1.0));
                cursor.not_before = self.time.monotonic() + pause;
                let failures = cursor.key.failures();
                if failures.is_power_of_two() {
                    let stream = &self.shown;
                    tracing::warn!(target: TARGET, %stream, failures, ?pause, why, "the key of the stream cannot be used; trying again, nothing is lost");
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
}
