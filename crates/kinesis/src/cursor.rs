//! The position that reading a shard has reached, and the records that were fetched but not read yet. Records are kept as Kinesis returns
//! them; aggregates are taken apart into user records one by one, when they are read.

use crate::api::{IteratorAt, Page, RawRecord};
use crate::limits::{
    GET_RECORDS, KEY_BACKOFF, KEY_BACKOFF_MAX, READ_BACKOFF, READ_BACKOFF_MAX, READ_BYTES, READ_EVERY,
};
use crate::pace::Backoff;
use crate::room::{Reservation, Room};
use crate::subscription::Feed;
use authpulse_event::{ArrivalTime, Position, SequenceNumber, ShardId};
use authpulse_stream::{Gap, ReadFrom, Record};
use kpl_aggregation::{Aggregate, Payload, parse};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Where the shards of a stream are read from at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest records that are kept.
    TrimHorizon,
    /// At the records that arrived at this time or later.
    Time(ArrivalTime),
}

/// The position that reading a shard has reached, and what is at hand.
pub(crate) struct Cursor {
    /// Where the next read goes on, if it follows the last one.
    pub(crate) from: ReadFrom,
    /// The iterator for the next GetRecords; `None` if one has to be made.
    pub(crate) iterator: Option<String>,
    /// The newest Kinesis record taken in since the cursor was moved.
    pub(crate) taken: Option<SequenceNumber>,
    /// The continuation number of a subscription: there are no further records up to it.
    pub(crate) continuation: Option<SequenceNumber>,
    /// Whether the record of `from` still has to be found.
    pub(crate) unchecked: bool,
    /// The last answer: when it came, and how far it was behind the tip.
    contact: Option<(Duration, Duration)>,
    /// The iterator begins at this record, which must still be there. If it is gone, records after it may be gone as well.
    pub(crate) check: Option<SequenceNumber>,
    /// A gap that the next batch reports.
    pub(crate) gap: Option<Gap>,
    /// Records taken in but not taken apart yet: a page of aggregates may hold a hundred times as many user records.
    packed: VecDeque<RawRecord>,
    /// The aggregate that is being taken apart. User records are made one by one: an aggregate of 10 MiB may hold a million.
    opened: Option<OpenAggregate>,
    /// The user record that comes next.
    next: Option<Record>,
    /// The part of the room that the records at hand take up.
    held: Reservation,
    /// Whether nothing was left behind what was taken in.
    pub(crate) at_tip: bool,
    /// Whether the shard is closed and everything was taken in.
    pub(crate) ended: bool,
    /// The newest arrival since the cursor was moved.
    arrival: ArrivalTime,
    /// Nothing is fetched before this time.
    pub(crate) not_before: Duration,
    /// When a caller last wanted to read.
    pub(crate) read_at: Duration,
    /// Makes the first pause longer. Otherwise shards that are opened together would be read at the same moments for ever, and wait for
    /// each other.
    pub(crate) first_pause: Duration,
    /// The most records that are asked for at once.
    pub(crate) limit: usize,
    /// The pauses after failed reads.
    pub(crate) backoff: Backoff,
    /// Its subscription, if fan-out is used.
    pub(crate) feed: Feed,
    /// The pauses while the stream's key cannot be used; they count these failures.
    pub(crate) key: Backoff,
    /// The error of the last such failure.
    pub(crate) key_failed: Option<String>,
}

impl Cursor {
    /// A cursor with nothing at hand, which fetches nothing before `not_before`.
    pub(crate) fn new(from: ReadFrom, not_before: Duration, room: &Arc<Room>) -> Cursor {
        Cursor {
            from,
            iterator: None,
            taken: None,
            continuation: None,
            unchecked: matches!(from, ReadFrom::After(_)),
            contact: None,
            check: None,
            gap: None,
            packed: VecDeque::new(),
            opened: None,
            next: None,
            held: room.hold(),
            at_tip: false,
            ended: false,
            arrival: ArrivalTime::MIN,
            not_before,
            read_at: Duration::ZERO,
            first_pause: Duration::ZERO,
            limit: GET_RECORDS,
            backoff: Backoff::new(READ_BACKOFF, READ_BACKOFF_MAX),
            feed: Feed::default(),
            key: Backoff::new(KEY_BACKOFF, KEY_BACKOFF_MAX),
            key_failed: None,
        }
    }

    /// Moves the cursor within the shard; it has nothing at hand then. The shard's budgets stay as they are.
    pub(crate) fn move_to(&mut self, from: ReadFrom, room: &Arc<Room>) {
        let mut moved = Cursor::new(from, self.not_before, room);
        (moved.feed, moved.read_at) = (self.feed.moved(), self.read_at);
        (moved.key, moved.key_failed) = (self.key, self.key_failed.take());
        *self = moved;
    }

    /// Where an iterator or a subscription of this cursor begins. If retention may have removed what comes next (`at_risk`), it begins at
    /// the last record taken in, which must then still be there.
    pub(crate) fn iterator_at(&self, start: StartAt, at_risk: bool) -> IteratorAt {
        if let (Some(taken), true) = (self.taken, at_risk) {
            return IteratorAt::At(taken);
        }
        match (self.taken.max(self.continuation), self.from, start) {
            (Some(taken), _, _) => IteratorAt::After(taken),
            (None, ReadFrom::After(position), _) => IteratorAt::At(position.sequence),
            (None, ReadFrom::Start, StartAt::TrimHorizon) => IteratorAt::Oldest,
            (None, ReadFrom::Start, StartAt::Time(time)) => IteratorAt::Time(time),
        }
    }

    /// Notes an answer that came at `now`, this far behind the tip.
    pub(crate) fn heard(&mut self, now: Duration, behind: Duration) {
        self.contact = Some((now, behind));
    }

    /// The greatest age that the oldest record not taken in may have.
    pub(crate) fn unread_since(&self, now: Duration) -> Duration {
        self.contact.map_or(Duration::ZERO, |(at, behind)| now.saturating_sub(at) + behind)
    }

    /// Takes in a page that came at `now`. The next page is fetched when the shard's budget allows it.
    pub(crate) fn turn(&mut self, page: Page, now: Duration) {
        let bytes: usize = page.records.iter().map(|r| r.data.len() + r.partition_key.len()).sum();
        let pause = READ_EVERY.max(Duration::from_secs_f64(bytes as f64 / READ_BYTES));
        self.not_before = now + pause + std::mem::take(&mut self.first_pause);
        self.at_tip = page.behind.is_zero() && page.records.len() < self.limit;
        self.heard(now, page.behind);
        if let (Some(begun), Some(first)) = (self.check, page.records.first()) {
            self.check = None;
            if first.sequence > begun {
                self.gap = Some(Gap { records: None });
            }
        }
        self.take_in(page.records);
        self.iterator = page.next;
    }

    /// Takes in records, and skips those taken in before: while a subscription begins beside polling, both bring the same records.
    pub(crate) fn take_in(&mut self, records: Vec<RawRecord>) {
        for raw in records {
            if self.taken.is_some_and(|taken| raw.sequence <= taken) {
                continue;
            }
            if let (true, ReadFrom::After(position)) = (self.unchecked, self.from) {
                self.unchecked = false;
                if raw.sequence != position.sequence {
                    // That record was read before, so it is gone now; records after it may have gone with it.
                    self.gap = Some(Gap { records: None });
                }
            }
            self.taken = Some(raw.sequence);
            self.arrival = self.arrival.max(raw.arrival);
            self.held.add(raw.data.len() + raw.partition_key.len());
            self.packed.push_back(RawRecord { arrival: self.arrival, ..raw });
        }
    }

    /// Whether all that was taken in was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_none() && self.opened.is_none() && self.packed.is_empty()
    }

    /// About how many user records are at hand, if all aggregates hold as many as the open one.
    pub(crate) fn expected(&self) -> usize {
        let left = self.opened.as_ref().map_or(0, OpenAggregate::left);
        usize::from(self.next.is_some()) + left + self.packed.len() * left.max(1)
    }

    /// The next user record.
    pub(crate) fn peek(&mut self, shard: &ShardId) -> Option<&Record> {
        while self.next.is_none() {
            self.next = self.opened.as_mut().and_then(OpenAggregate::next);
            if self.next.is_none() {
                self.opened = None;
                let Some(raw) = self.packed.pop_front() else {
                    self.held.release();
                    return None;
                };
                match self.take_apart(shard, raw) {
                    Parts::One(record) => self.next = record,
                    Parts::Many(opened) => self.opened = Some(opened),
                }
            }
        }
        self.next.as_ref()
    }

    /// Takes the user record that [`Cursor::peek`] showed.
    pub(crate) fn take_next(&mut self) -> Option<Record> {
        self.next.take()
    }

    /// Drops everything at hand, and returns the position of its newest user record.
    pub(crate) fn newest(&mut self, shard: &ShardId) -> Option<Position> {
        let mut newest = None;
        while let (None, Some(raw)) = (newest, self.packed.pop_back()) {
            newest = match self.take_apart(shard, raw) {
                Parts::One(record) => record.map(|record| record.position),
                Parts::Many(opened) => opened.newest(),
            };
        }
        self.packed.clear();
        self.held.release();
        newest
    }

    /// The user records of a Kinesis record that were not read yet.
    fn take_apart(&self, shard: &ShardId, raw: RawRecord) -> Parts {
        let sequence = raw.sequence;
        let aggregate = match catch_unwind(AssertUnwindSafe(|| parse(&raw.data))) {
            Ok(Payload::Aggregate(aggregate)) => Some(aggregate),
            Ok(Payload::Damaged(damage)) => {
                tracing::warn!(%shard, %sequence, %damage, "an aggregate is damaged; it is kept whole, as one record");
                None
            }
            Ok(Payload::Plain) => None,
            // A bug in parsing must not stop the shard. The bytes go on as they are.
            Err(_) => {
                tracing::error!(%shard, %sequence, "taking a record apart failed; it is kept whole, as one record");
                None
            }
        };
        let first = match self.from {
            ReadFrom::After(position) if raw.sequence < position.sequence => usize::MAX,
            ReadFrom::After(position) if raw.sequence == position.sequence => {
                usize::try_from(position.sub_sequence).map_or(usize::MAX, |read| read.saturating_add(1))
            }
            ReadFrom::After(_) | ReadFrom::Start => 0,
        };
        let RawRecord { arrival, partition_key, data, .. } = raw;
        match aggregate {
            Some(aggregate) => Parts::Many(OpenAggregate { sequence, arrival, aggregate, at: first }),
            None => {
                let position = Position { sequence, sub_sequence: 0 };
                Parts::One((first == 0).then_some(Record { payload: data, partition_key, position, arrival }))
            }
        }
    }
}

/// What of a Kinesis record is to be read.
enum Parts {
    One(Option<Record>),
    Many(OpenAggregate),
}

/// An aggregate that is being taken apart.
struct OpenAggregate {
    sequence: SequenceNumber,
    arrival: ArrivalTime,
    aggregate: Aggregate,
    /// The user record that comes next.
    at: usize,
}

impl OpenAggregate {
    fn left(&self) -> usize {
        self.aggregate.len().saturating_sub(self.at)
    }

    fn next(&mut self) -> Option<Record> {
        let inner = self.aggregate.get(self.at)?;
        let position = Position { sequence: self.sequence, sub_sequence: self.at as u64 };
        self.at += 1;
        Some(Record { payload: inner.data, partition_key: inner.partition_key, position, arrival: self.arrival })
    }

    /// The position of the last user record, if that was not read yet.
    fn newest(&self) -> Option<Position> {
        let last = self.aggregate.len().checked_sub(1).filter(|last| *last >= self.at)?;
        Some(Position { sequence: self.sequence, sub_sequence: last as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn page(sequences: &[u64], bytes: usize, behind: u64) -> Page {
        let record = |sequence: &u64| RawRecord {
            sequence: SequenceNumber::from(*sequence),
            arrival: ArrivalTime::default(),
            partition_key: Bytes::new(),
            data: Bytes::from(vec![b'x'; bytes]),
        };
        let records = sequences.iter().map(record).collect();
        Page { records, next: Some("next".to_owned()), behind: Duration::from_secs(behind), has_children: false }
    }

    #[test]
    fn a_page_that_does_not_begin_where_it_must_tells_of_a_gap() {
        let room = Room::new(1 << 20);
        for (sequences, is_gap) in [(&[7, 8][..], false), (&[8][..], true)] {
            let mut cursor = Cursor::new(ReadFrom::Start, Duration::ZERO, &room);
            cursor.turn(page(&[7], 1, 0), Duration::ZERO);
            cursor.check = cursor.taken;
            cursor.turn(page(&[], 1, 5), Duration::ZERO);
            assert!(cursor.check.is_some() && cursor.gap.is_none(), "an empty page says nothing");
            cursor.turn(page(sequences, 1, 0), Duration::ZERO);
            assert_eq!((cursor.check, cursor.gap.is_some()), (None, is_gap));
        }
    }

    #[test]
    fn the_next_page_waits_for_the_budget_of_the_shard() {
        let (room, now) = (Room::new(1 << 30), Duration::from_secs(100));
        let mut cursor = Cursor::new(ReadFrom::Start, Duration::ZERO, &room);
        cursor.first_pause = Duration::from_secs(1);
        cursor.turn(page(&[1], 10, 0), now);
        assert_eq!((cursor.not_before, cursor.at_tip), (now + Duration::from_secs(1) + READ_EVERY, true));
        cursor.turn(page(&[2], 4_000_000, 3), now);
        assert_eq!((cursor.not_before, cursor.at_tip), (now + Duration::from_secs(2), false), "2 MB a second");
        cursor.limit = 1;
        cursor.turn(page(&[3], 10, 0), now);
        assert!(!cursor.at_tip, "a page that is full says nothing of what follows");
    }
}
