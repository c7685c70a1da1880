//! Sends one shard's queue: what each answer changes. Pure: times come in.

use crate::api::{ApiError, Put};
use crate::cost::Cost;
use crate::map::ShardMap;
use crate::pace::{Backoff, Rate, cost};
use crate::pack::{Item, Packed};
use authpulse_event::{SequenceNumber, ShardId};
use authpulse_stream::PutReceipt;
use std::collections::VecDeque;
use std::time::Duration;

/// An aggregate that was stored on another shard than predicted.
pub(crate) struct Astray {
    /// The shard that it was stored on.
    pub(crate) actual_shard: ShardId,
    /// Its sequence number there.
    pub(crate) sequence: SequenceNumber,
    /// The records in it.
    pub(crate) items: Vec<Item>,
}

impl Astray {
    /// Whether all its records belong to the shard that it was stored on.
    pub(crate) fn is_at_home(&self, map: &ShardMap) -> bool {
        map.range(&self.actual_shard).is_some_and(|range| self.items.iter().all(|item| range.contains(item.hash)))
    }
}

/// The queue of one shard while it is sent, and what came of it.
pub(crate) struct Draining {
    /// The shard that the records are predicted to go to.
    pub(crate) shard: ShardId,
    /// How fast the shard is written to.
    pub(crate) rate: Rate,
    /// Records that are not stored, in the order in which they must be sent.
    pub(crate) queue: VecDeque<Item>,
    /// What was put so far.
    pub(crate) cost: Cost,
    /// Receipts, each with the index of its record in the put.
    pub(crate) receipts: Vec<(usize, PutReceipt)>,
    /// Aggregates stored elsewhere. Their records come before those left in the queue.
    pub(crate) astray: Vec<Astray>,
    /// The pauses after failed calls.
    pub(crate) backoff: Backoff,
    /// When something was last stored, moved on by the waits that the rate asks for.
    worked_at: Duration,
    /// Whether something was stored on another shard.
    moved: bool,
}

impl Draining {
    /// A queue of which nothing is sent yet.
    pub(crate) fn new(shard: ShardId, rate: Rate, queue: Vec<Item>, now: Duration) -> Draining {
        Draining {
            shard,
            rate,
            queue: queue.into(),
            cost: Cost::default(),
            receipts: Vec::new(),
            astray: Vec::new(),
            backoff: Backoff::default(),
            worked_at: now,
            moved: false,
        }
    }

    /// Whether sending stops: the queue is empty, or the shards have to be listed again.
    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_empty() || self.moved
    }

    /// How long the rate asks to wait before a call that costs `spent` bytes.
    pub(crate) fn wait(&mut self, now: Duration, spent: f64) -> Duration {
        let wait = self.rate.wait(now, spent);
        self.worked_at += wait;
        wait
    }

    /// For how long nothing was stored, without the waits that the rate asked for.
    pub(crate) fn stood_still(&self, now: Duration) -> Duration {
        now.saturating_sub(self.worked_at)
    }

    /// Takes in the answer to a call that cost `spent`. Records that were not stored go back to the front of the queue. Returns why, if
    /// there are any.
    pub(crate) fn answered(
        &mut self,
        packed: Vec<Packed>,
        spent: f64,
        answer: Result<Vec<Put>, ApiError>,
        now: Duration,
    ) -> Option<ApiError> {
        self.cost.calls += 1;
        let (again, why) = match answer {
            Ok(puts) => self.entries_answered(packed, puts, now),
            Err(error) => {
                if matches!(error, ApiError::Throttled(_)) {
                    self.rate.refund(now, spent);
                    self.rate.throttled(now);
                    self.cost.throttled += packed.len() as u64;
                }
                (packed.into_iter().flat_map(|one| one.items).collect(), Some(error))
            }
        };
        again.into_iter().rev().for_each(|item| self.queue.push_front(item));
        why
    }

    /// For a call whose entries were answered one by one: the records to send again, and why.
    fn entries_answered(
        &mut self,
        packed: Vec<Packed>,
        puts: Vec<Put>,
        now: Duration,
    ) -> (Vec<Item>, Option<ApiError>) {
        let (mut again, mut why) = (Vec::new(), None);
        let (mut throttled, mut refund) = (0, 0.0);
        for (one, put) in packed.into_iter().zip(puts) {
            match put {
                Put::Stored { shard, sequence } => self.stored(one, shard, sequence, now),
                Put::Throttled => {
                    throttled += 1;
                    refund += cost(1, one.entry.bytes());
                    again.extend(one.items);
                    why = Some(ApiError::Throttled(format!("shard {} is at its limit", self.shard)));
                }
                Put::Failed(text) => {
                    again.extend(one.items);
                    why = Some(ApiError::Unclear(text));
                }
            }
        }
        self.cost.throttled += throttled;
        if throttled > 0 {
            self.rate.refund(now, refund);
            self.rate.throttled(now);
        } else {
            self.rate.worked(now);
        }
        (again, why)
    }

    fn stored(&mut self, one: Packed, actual_shard: ShardId, sequence: SequenceNumber, now: Duration) {
        self.worked_at = now;
        self.backoff.worked();
        self.cost.stored(one.entry.bytes());
        let is_here = actual_shard == self.shard;
        self.moved |= !is_here;
        // A single record goes to the shard of its own key.
        if is_here || one.items.len() == 1 {
            self.cost.user_records += one.items.len() as u64;
            let receipt = |item: &Item| (item.index, PutReceipt { shard: actual_shard.clone(), sequence });
            self.receipts.extend(one.items.iter().map(receipt));
        } else {
            self.astray.push(Astray { actual_shard, sequence, items: one.items });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Packing, pack};
    use authpulse_event::ring::hash_key;
    use bytes::Bytes;

    const NOW: Duration = Duration::from_secs(100);

    fn of(records: usize) -> Draining {
        let item = |index: usize| {
            let key = format!("U{index}");
            Item { index, hash: hash_key(key.as_bytes()), partition_key: key.into(), data: Bytes::from_static(b"x") }
        };
        Draining::new(ShardId::new("shard-0"), Rate::new(NOW), (0..records).map(item).collect(), NOW)
    }

    fn stored(shard: &str) -> Put {
        Put::Stored { shard: ShardId::new(shard), sequence: SequenceNumber::from(7) }
    }

    fn indices(draining: &Draining) -> Vec<usize> {
        draining.queue.iter().map(|item| item.index).collect()
    }

    #[test]
    fn what_was_not_stored_stands_before_the_rest_again_in_order() {
        let mut draining = of(4);
        let packing = Packing { aggregate: false, ..Packing::default() };
        let packed = pack(&mut draining.queue, packing, f64::INFINITY);
        assert_eq!((packed.len(), indices(&draining)), (4, vec![]));
        let answer = Ok(vec![stored("shard-0"), Put::Throttled, stored("shard-0"), Put::Failed("500".to_owned())]);
        let later = NOW + Duration::from_secs(1);
        let why = draining.answered(packed, 0.0, answer, later);
        assert!(matches!(why, Some(ApiError::Unclear(_))), "{why:?}");
        assert_eq!((indices(&draining), draining.receipts.len()), (vec![1, 3], 2));
        assert_eq!((draining.cost.calls, draining.cost.throttled, draining.cost.records), (1, 1, 2));
        assert_eq!(draining.stood_still(later + Duration::from_secs(3)), Duration::from_secs(3));
        // A call without an answer may have stored what it held; it is sent again.
        let packed = pack(&mut draining.queue, packing, f64::INFINITY);
        let why = draining.answered(packed, 0.0, Err(ApiError::Unclear("no answer".to_owned())), later);
        assert!(why.is_some() && !draining.is_over());
        assert_eq!(indices(&draining), [1, 3]);
    }

    #[test]
    fn an_aggregate_that_was_stored_elsewhere_is_decided_about_by_a_newer_map() {
        let mut draining = of(3);
        let packed = pack(&mut draining.queue, Packing::default(), f64::INFINITY);
        assert!(draining.answered(packed, 0.0, Ok(vec![stored("shard-9")]), NOW).is_none());
        assert!(draining.is_over() && draining.receipts.is_empty());
        assert_eq!(draining.astray.iter().map(|one| one.items.len()).collect::<Vec<_>>(), [3]);
        // A record alone went where its own key says.
        let mut draining = of(1);
        let packed = pack(&mut draining.queue, Packing::default(), f64::INFINITY);
        assert!(draining.answered(packed, 0.0, Ok(vec![stored("shard-9")]), NOW).is_none());
        assert!(draining.is_over() && draining.astray.is_empty() && draining.receipts.len() == 1);
    }
}
