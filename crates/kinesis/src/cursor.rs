//! Where reading a shard has come to, and what was fetched and not read yet: records are taken in as Kinesis gives them, and taken apart
//! into those of users one by one, when they are read.

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

/// Where reading a shard has come to.
pub(crate) struct Cursor {
    /// What the next read will ask for, if it goes on.
    pub(crate) from: ReadFrom,
    pub(crate) iterator: Option<String>,
    /// The newest Kinesis record that was taken in since the cursor was moved.
    pub(crate) taken: Option<SequenceNumber>,
    /// Up to here a subscription has told that there is nothing more.
    pub(crate) continuation: Option<SequenceNumber>,
    /// Whether the record of `from` has to be found first.
    pub(crate) unchecked: bool,
    /// The last answer: when it came, and how far behind the tip it was.
    contact: Option<(Duration, Duration)>,
    /// The iterator begins at this record, which has to be there: if it is gone, so may be what came after it.
    pub(crate) check: Option<SequenceNumber>,
    pub(crate) gap: Option<Gap>,
    /// Taken in, and not taken apart yet: a page of aggregates holds a hundred times as many records of users.
    packed: VecDeque<RawRecord>,
    /// The aggregate that is being taken apart. Its user records are made one by one: of one of 10 MiB there may be a million.
    opened: Option<OpenAggregate>,
    /// The user record that comes next.
    next: Option<Record>,
    /// The memory of what was taken in.
    held: Reservation,
    pub(crate) at_tip: bool,
    pub(crate) ended: bool,
    /// The newest arrival since the cursor was moved.
    arrival: ArrivalTime,
    /// Before then nothing is asked for.
    pub(crate) not_before: Duration,
    /// When somebody last wanted to read.
    pub(crate) read_at: Duration,
    /// How much longer the first pause is: shards that are opened together would else be read together for ever, and wait for each
    /// other.
    pub(crate) first_pause: Duration,
    /// Most records that are asked for at once.
    pub(crate) limit: usize,
    pub(crate) backoff: Backoff,
    /// Its subscription, with fan-out.
    pub(crate) feed: Feed,
    /// Failures in a row to use the stream's key.
    pub(crate) key: Backoff,
    /// What the last of them said.
    pub(crate) key_failed: Option<String>,
}

impl Cursor {
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

    /// Goes elsewhere in the shard, with nothing at hand. The shard's budgets are kept to all the same.
    pub(crate) fn move_to(&mut self, from: ReadFrom, room: &Arc<Room>) {
        let mut moved = Cursor::new(from, self.not_before, room);
        (moved.feed, moved.read_at) = (self.feed.moved(), self.read_at);
        (moved.key, moved.key_failed) = (self.key, self.key_failed.take());
        *self = moved;
    }

    /// Where an iterator or a subscription of this cursor begins. Where retention may have taken what comes next (`at_risk`), at the last
    /// record that was taken in, which has then to be there.
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

    /// There was an answer.
    pub(crate) fn heard(&mut self, now: Duration, behind: Duration) {
        self.contact = Some((now, behind));
    }

    /// How old the oldest record may be that was not taken in.
    pub(crate) fn unread_since(&self, now: Duration) -> Duration {
        self.contact.map_or(Duration::ZERO, |(at, behind)| now.saturating_sub(at) + behind)
    }

    /// Takes in a page, which came at `now`. The next is asked for when the shard's budget allows it.
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

    /// Takes in records. What was taken in before is passed over: where a subscription begins while there is polling, both bring
    /// it.
    pub(crate) fn take_in(&mut self, records: Vec<RawRecord>) {
        for raw in records {
            if self.taken.is_some_and(|taken| raw.sequence <= taken) {
                continue;
            }
            if let (true, ReadFrom::After(position)) = (self.unchecked, self.from) {
                self.unchecked = false;
                if raw.sequence != position.sequence {
                    // The record was read once, so it was there; and all that was kept after it may have gone with it.
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

    /// How many user records there are about, if aggregates hold as many as the one that is open.
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

    /// Drops all that was taken in but the position of the newest user record.
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

    /// What of a Kinesis record was not read yet.
    fn take_apart(&self, shard: &ShardId, raw: RawRecord) -> Parts {
        let sequence = raw.sequence;
        let aggregate = match catch_unwind(AssertUnwindSafe(|| parse(&raw.data))) {
            Ok(Payload::Aggregate(aggregate)) => Some(aggregate),
            Ok(Payload::Damaged(damage)) => {
                tracing::warn!(%shard, %sequence, %damage, "an aggregate is damaged; it is kept whole, as one record");
                None
            }
            Ok(Payload::Plain) => None,
            // A bug must not stop the shard. What comes of the bytes is somebody else's to judge.
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

/// What a Kinesis record holds.
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
