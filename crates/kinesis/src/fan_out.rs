//! Enhanced fan-out: a subscription for each shard that is read, beside the polling of `poll`.
//!
//! ```text
//!            due, not within 5 s of the last                first event
//!   Closed --------------------------------> Opening -------------------> Open
//!     ^  polls                                 | polls                     | pulls; asks by GetRecords for the tip
//!     '----------------------------------------'---------------------------'
//!       refused, broken off, 285 s old, silent for 30 s, not read from for 10 s
//! ```
//!
//! - **Position.** A subscription begins where an iterator would: at the record to be found, or after the later of the last record taken
//!   in and the continuation number. Records that come both by polling and by a subscription are taken in once, so either may begin or
//!   end at any time.
//! - **Back-pressure.** An event is pulled only by a read, and only if nothing of the last event is at hand. What a reader does not pull
//!   stays with the sender, except what fits into the connection's window. A subscription that nobody reads from for long is closed.
//! - **The tip.** A subscription reports records some time after they are there; it cannot say that there are none. But a shard's
//!   watermark may advance only if nothing more is there. So a quiet shard is asked with GetRecords, at most once a second.
//! - **The end** is an event with children and without a continuation number, as for the KCL. If an event has only one of the two signs,
//!   polling finds out.

use crate::api::{ApiError, Event};
use crate::cursor::Cursor;
use crate::limits::{RENEW_AFTER, SILENT, SUBSCRIBE_EVERY};
use crate::poll::Poll;
use crate::subscription::{FanOut, Heard, Line};
use authpulse_event::ShardId;
use authpulse_stream::StreamError;
use std::sync::Arc;
use tokio::task::JoinSet;

impl Poll {
    /// Takes in the next event. Polls if there is no subscription, or if the tip must be asked for.
    ///
    /// # Errors
    /// A subscription is refused for good, or polling fails ([`Poll::fetch`]).
    pub(crate) async fn pull(
        &self,
        fan_out: &Arc<FanOut>,
        shard: &ShardId,
        cursor: &mut Cursor,
    ) -> Result<(), StreamError> {
        cursor.at_tip = false;
        if self.time.monotonic().saturating_sub(cursor.feed.asked) >= RENEW_AFTER {
            cursor.feed.hang_up();
        }
        loop {
            let now = self.time.monotonic();
            if matches!(cursor.feed.line, Line::Closed)
                && now >= cursor.feed.not_before
                && !self.is_at_risk(cursor).await?
            {
                cursor.feed.not_before = now + SUBSCRIBE_EVERY;
                cursor.feed.place = fan_out.places.clone().try_acquire_owned().ok();
                if cursor.feed.place.is_some() {
                    (cursor.feed.line, cursor.feed.asked) = (self.subscribe(fan_out, shard, cursor), now);
                }
            }
            let until = cursor.feed.until(now, cursor.not_before);
            let heard = cursor.feed.listen(&*self.time, until).await;
            let now = self.time.monotonic();
            match heard {
                Heard::Opened(events) => {
                    tracing::info!(%shard, "subscribed");
                    (cursor.feed.line, cursor.feed.caught_up) = (Line::Open(events), false);
                    // It began later than it was requested.
                    (cursor.feed.heard, cursor.feed.not_before) = (now, now + SUBSCRIBE_EVERY);
                }
                Heard::Event(event) => {
                    cursor.feed.heard = now;
                    cursor.heard(now, event.behind);
                    take_event(shard, cursor, event);
                    if self.is_at_risk(cursor).await? {
                        // Polling checks at each read that the last record is still there, which a subscription cannot.
                        cursor.feed.hang_up();
                    }
                    return Ok(());
                }
                Heard::End => cursor.feed.hang_up(),
                Heard::Failed(error) => self.subscription_failed(fan_out, shard, cursor, error)?,
                Heard::Nothing => {
                    let is_open = matches!(cursor.feed.line, Line::Open(_));
                    if is_open && now.saturating_sub(cursor.feed.heard) >= SILENT {
                        let error = ApiError::Unclear("the subscription is silent".to_owned());
                        self.subscription_failed(fan_out, shard, cursor, error)?;
                    } else if is_open && !cursor.feed.caught_up {
                        return Ok(());
                    }
                    cursor.feed.looked = now;
                    return self.fetch(shard, cursor).await;
                }
            }
        }
    }

    fn subscribe(&self, fan_out: &Arc<FanOut>, shard: &ShardId, cursor: &Cursor) -> Line {
        let begin = cursor.iterator_at(self.start_of(shard), false);
        let (api, fan_out, shard) = (self.api.clone(), fan_out.clone(), shard.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let consumer = fan_out.consumer(&*api).await?;
            api.subscribe(&consumer, &shard, begin).await
        });
        Line::Opening(task)
    }

    /// A subscription was refused or broke off. It is tried again after a while, from the same position. Until then polling goes on,
    /// which also finds out what became of the stream and the shard.
    fn subscription_failed(
        &self,
        fan_out: &FanOut,
        shard: &ShardId,
        cursor: &mut Cursor,
        error: ApiError,
    ) -> Result<(), StreamError> {
        cursor.feed.put_off(self.time.monotonic(), self.chance.next());
        match error {
            ApiError::Refused(_) => return Err(self.failed("subscribe", error)),
            // Our own subscription of a moment ago, another worker's that is about to end, or the limit of calls: all of these pass.
            ApiError::InUse(_) | ApiError::Throttled(_) => {
                tracing::info!(%shard, %error, "no subscription for now; polling meanwhile");
                return Ok(());
            }
            ApiError::NotFound(_) => fan_out.forget(),
            ApiError::InvalidArgument(_) => cursor.continuation = None,
            ApiError::Unclear(_) | ApiError::ExpiredIterator | ApiError::Key(_) => {}
        }
        tracing::warn!(%shard, %error, "a subscription failed; polling meanwhile");
        Ok(())
    }
}

fn take_event(shard: &ShardId, cursor: &mut Cursor, event: Event) {
    tracing::debug!(%shard, records = event.records.len(), behind = ?event.behind, "an event of the subscription");
    cursor.feed.backoff.worked();
    cursor.feed.caught_up = event.behind.is_zero();
    let taken = cursor.taken;
    cursor.take_in(event.records);
    if cursor.taken != taken {
        // The old iterator would bring the same records again.
        cursor.iterator = None;
    }
    if !cursor.unchecked {
        // Not before: that number may be the very record that has to be found.
        cursor.continuation = cursor.continuation.max(event.continuation);
    }
    match (event.continuation, event.has_children) {
        (Some(_), false) => {}
        (None, true) => {
            (cursor.ended, cursor.at_tip) = (true, true);
            cursor.feed.hang_up();
        }
        (Some(_), true) | (None, false) => {
            tracing::debug!(%shard, ?event.continuation, event.has_children, "half an end of a shard; polling finds out");
            cursor.feed.hang_up();
        }
    }
}
