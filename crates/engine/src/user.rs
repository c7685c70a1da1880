//! The state of one user: the events of the last 24 hours, and all computers ever used.
//!
//! ```text
//! ring   | t0 c4 | t1 c9 | ... | tk c4 | ... | newest |      sorted by event time, (newest - 24 h, newest]
//!                                ^ hour_start: first entry within (newest - 1 h, newest]
//! pairs  c4: in_hour, in_day | c9: ... | ...                 one per computer ever used, never removed
//! ```
//!
//! A pair's index in `pairs`, its slot, never changes. So ring entries hold slots, and expiry needs no look-up. The vector of pairs
//! is also the set of all computers ever used. Counts of distinct computers change when a pair's counter leaves or reaches zero.

use crate::names::ComputerId;
use crate::rows::{EventId, Windows};
use crate::settings::LONG_WINDOW;
use authpulse_event::time::HOUR;
use authpulse_event::{Day, EventTime, TimeForm};
use hashbrown::{Equivalent, HashSet, HashTable};
use std::collections::VecDeque;

/// The index of a pair of a user and a computer among that user's pairs.
pub(crate) type Slot = u32;

/// Users with more pairs than this get an index; up to here a scan of the keys is faster.
const INDEX_FROM: usize = 32;

/// Where an event's id comes from: computed, with the time in one of two forms, or the producer's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum IdKind {
    Seconds = 0,
    Rfc3339 = 1,
    Own = 2,
}

impl IdKind {
    /// The kind of an id.
    pub(crate) fn of(id: &EventId) -> IdKind {
        match id {
            EventId::Content(TimeForm::Seconds) => IdKind::Seconds,
            EventId::Content(TimeForm::Rfc3339) => IdKind::Rfc3339,
            EventId::Own(_) => IdKind::Own,
        }
    }
    /// The time's form, if it is a content id.
    pub(crate) fn form(self) -> Option<TimeForm> {
        match self {
            IdKind::Seconds => Some(TimeForm::Seconds),
            IdKind::Rfc3339 => Some(TimeForm::Rfc3339),
            IdKind::Own => None,
        }
    }
}

/// One accepted event of the last 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recent {
    pub time: EventTime,
    pub slot: Slot,
    pub kind: IdKind,
}

/// A user's counters for one computer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    in_hour: u32,
    in_day: u32,
    /// Accepted events of the two days that can be open at once, by the parity of the day's number.
    open_days: [OpenCount; 2],
    /// The latest even and the latest odd hour (since 1970) among whose distinct computers it was counted.
    counted_in: [i32; 2],
}

impl Default for Pair {
    fn default() -> Self {
        Pair { in_hour: 0, in_day: 0, open_days: Default::default(), counted_in: [i32::MIN; 2] }
    }
}

/// An hour as 32 bits: hours of valid times are far smaller.
fn short_hour(hour: i64) -> i32 {
    i32::try_from(hour).expect("hours up to the year 9999 fit 32 bits")
}

#[derive(Clone, Copy, Debug)]
struct OpenCount {
    day: Day,
    logons: u32,
}

impl Default for OpenCount {
    fn default() -> Self {
        OpenCount { day: Day(i32::MIN), logons: 0 }
    }
}

/// A user's hour that is not written yet. It counts scored events only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenHour {
    /// Hours since 1970.
    pub hour: i64,
    pub logons: u64,
    pub anomalies: u64,
    pub total_score: u64,
    pub max_score: u8,
    /// The slots of the distinct computers, in any order.
    pub slots: Vec<Slot>,
}

/// The state of one user.
#[derive(Default)]
pub(crate) struct User {
    /// Where the user lies on the ring: the MD5 of the name.
    pub hash: u128,
    /// Newest accepted event time; meaningless while the ring is empty.
    pub newest: EventTime,
    /// Accepted events of the 24 hours up to `newest`, in order of their times.
    pub ring: VecDeque<Recent>,
    hour_start: usize,
    computers_1h: u32,
    computers_24h: u32,
    keys: Vec<ComputerId>,
    pairs: Vec<Pair>,
    index: Option<Box<HashTable<Slot>>>,
    /// Recently accepted events with own ids. Boxed, because most sources send none.
    pub own_ids: Option<Box<OwnIds>>,
    /// Hours that are not written yet.
    pub hours: Vec<OpenHour>,
}

impl User {
    /// A user of whom nothing is known yet.
    pub(crate) fn new(hash: u128) -> User {
        User { hash, ..User::default() }
    }

    /// A user from a snapshot: the computers, all different, and the events of the last 24 hours in order of their times. `None` if
    /// the events are not in order or span 24 hours or more. Call [`User::renumber`] next, which also makes the index.
    pub(crate) fn restore(hash: u128, keys: Vec<ComputerId>, ring: &[Recent]) -> Option<User> {
        let mut user = User { pairs: vec![Pair::default(); keys.len()], keys, ..User::new(hash) };
        let Some(newest) = ring.last() else { return Some(user) };
        user.newest = newest.time;
        if !ring.is_sorted_by_key(|recent| recent.time) || ring[0].time <= user.newest - LONG_WINDOW {
            return None;
        }
        user.hour_start = ring.partition_point(|recent| recent.time <= user.newest - HOUR);
        for (at, recent) in ring.iter().enumerate() {
            user.count(recent.slot, at >= user.hour_start);
        }
        user.ring = ring.iter().copied().collect();
        Some(user)
    }

    /// Replaces each computer's number by the one that it has in another table of names.
    pub(crate) fn renumber(&mut self, mut number: impl FnMut(ComputerId) -> ComputerId) {
        for key in &mut self.keys {
            *key = number(*key);
        }
        self.index_pairs();
    }

    /// Builds the index again, if there are enough pairs for one.
    fn index_pairs(&mut self) {
        let keys = &self.keys;
        self.index = (keys.len() > INDEX_FROM).then(|| {
            let rehash = |slot: &Slot| spread(keys[*slot as usize]);
            let mut index = HashTable::with_capacity(2 * keys.len());
            for slot in 0..keys.len() as Slot {
                index.insert_unique(rehash(&slot), slot, rehash);
            }
            Box::new(index)
        });
    }

    /// The logons of each pair on each day from `from` on that it still counts.
    pub(crate) fn open_counts(&self, from: Day) -> impl Iterator<Item = (Slot, Day, u32)> + '_ {
        let pairs = self.pairs.iter().enumerate();
        pairs.flat_map(move |(slot, pair)| {
            let open = pair.open_days.iter().filter(move |open| open.day >= from && open.logons > 0);
            open.map(move |open| (slot as Slot, open.day, open.logons))
        })
    }

    /// The computers ever used, by slot.
    pub(crate) fn computers(&self) -> &[ComputerId] {
        &self.keys
    }

    /// The slot of a computer, if the user was ever accepted on it.
    pub(crate) fn slot(&self, computer: ComputerId) -> Option<Slot> {
        match &self.index {
            Some(index) => index.find(spread(computer), |slot| self.keys[*slot as usize] == computer).copied(),
            None => self.keys.iter().position(|key| *key == computer).map(|slot| slot as Slot),
        }
    }

    /// The slot of a computer, and whether it is new to the user.
    pub(crate) fn slot_or_new(&mut self, computer: ComputerId) -> (Slot, bool) {
        if let Some(slot) = self.slot(computer) {
            return (slot, false);
        }
        let slot = self.keys.len() as Slot;
        self.keys.push(computer);
        self.pairs.push(Pair::default());
        let keys = &self.keys;
        match &mut self.index {
            Some(index) => {
                index.insert_unique(spread(computer), slot, |slot| spread(keys[*slot as usize]));
            }
            None => self.index_pairs(),
        }
        (slot, true)
    }

    /// Adds an accepted event to the windows and returns them, the event included.
    pub(crate) fn observe(&mut self, time: EventTime, slot: Slot, kind: IdKind) -> Windows {
        if self.ring.is_empty() || time > self.newest {
            self.newest = time;
            self.expire();
        }
        if time > self.newest - LONG_WINDOW {
            self.insert(Recent { time, slot, kind });
        }
        self.windows()
    }

    /// Reads from each cache line of this struct, to bring it into the cache. The value means nothing.
    pub(crate) fn touch(&self) -> i64 {
        self.newest.micros()
            ^ (self.ring.len() ^ self.hour_start ^ self.keys.len() ^ self.hours.len()).cast_signed() as i64
    }

    /// Reads where the windows begin and end, the first key and the last open hour, to bring them into the cache. The value means
    /// nothing.
    pub(crate) fn touch_ends(&self) -> i64 {
        let at = |recent: Option<&Recent>| recent.map_or(0, |r| r.time.micros() ^ i64::from(r.slot));
        at(self.ring.front())
            ^ at(self.ring.get(self.hour_start))
            ^ at(self.ring.back())
            ^ self.keys.first().map_or(0, |key| key.index() as i64)
            ^ self.hours.last().map_or(0, |open| open.hour)
    }

    /// Reads a pair, to bring it into the cache. The value means nothing.
    pub(crate) fn touch_pair(&self, slot: Slot) -> i64 {
        i64::from(self.pairs[slot as usize].in_day)
    }

    /// The windows that end at the newest event.
    fn windows(&self) -> Windows {
        Windows {
            logons_1h: (self.ring.len() - self.hour_start) as u32,
            logons_24h: self.ring.len() as u32,
            computers_1h: self.computers_1h,
            computers_24h: self.computers_24h,
        }
    }

    /// Removes events that lie outside the windows that end at `newest`.
    fn expire(&mut self) {
        while let Some(oldest) = self.ring.get(self.hour_start)
            && oldest.time <= self.newest - HOUR
        {
            let pair = &mut self.pairs[oldest.slot as usize];
            pair.in_hour -= 1;
            self.computers_1h -= u32::from(pair.in_hour == 0);
            self.hour_start += 1;
        }
        while let Some(oldest) = self.ring.front()
            && oldest.time <= self.newest - LONG_WINDOW
        {
            let pair = &mut self.pairs[oldest.slot as usize];
            pair.in_day -= 1;
            self.computers_24h -= u32::from(pair.in_day == 0);
            self.ring.pop_front();
            self.hour_start -= 1;
        }
        // A burst must not keep its memory for ever.
        if self.ring.capacity() > 64 && self.ring.len() < self.ring.capacity() / 8 {
            self.ring.shrink_to(2 * self.ring.len());
        }
    }

    /// Inserts an event of the long window in order of time. It is at most the tolerance and 300 s older than the newest, so its place
    /// is near the end.
    fn insert(&mut self, recent: Recent) {
        let mut at = self.ring.len();
        while at > 0 && self.ring[at - 1].time > recent.time {
            at -= 1;
        }
        let in_hour = recent.time > self.newest - HOUR;
        self.hour_start += usize::from(!in_hour);
        self.count(recent.slot, in_hour);
        if at == self.ring.len() { self.ring.push_back(recent) } else { self.ring.insert(at, recent) }
    }

    /// Counts an event of the long window, and of the short one if it is `in_hour`.
    fn count(&mut self, slot: Slot, in_hour: bool) {
        let pair = &mut self.pairs[slot as usize];
        self.computers_24h += u32::from(pair.in_day == 0);
        pair.in_day += 1;
        if in_hour {
            self.computers_1h += u32::from(pair.in_hour == 0);
            pair.in_hour += 1;
        }
    }

    /// The accepted events of exactly this time.
    pub(crate) fn recent_at(&self, time: EventTime) -> impl Iterator<Item = Recent> + '_ {
        self.ring.iter().rev().skip_while(move |r| r.time > time).take_while(move |r| r.time == time).copied()
    }

    /// Counts accepted events in their open day; returns whether they are the pair's first of that day.
    pub(crate) fn count_day(&mut self, slot: Slot, day: Day, logons: u32) -> bool {
        let open = &mut self.pairs[slot as usize].open_days[(day.0 & 1) as usize];
        let first = open.day != day;
        if first {
            *open = OpenCount { day, logons: 0 };
        }
        open.logons += logons;
        first
    }

    /// How many events of a pair were accepted on an open day.
    pub(crate) fn day_count(&self, slot: Slot, day: Day) -> u32 {
        let open = &self.pairs[slot as usize].open_days[(day.0 & 1) as usize];
        if open.day == day { open.logons } else { 0 }
    }

    /// Counts a scored event in its open hour; returns whether it is the user's first of that hour.
    pub(crate) fn count_hour(&mut self, slot: Slot, hour: i64, score: u8) -> bool {
        let found = self.hours.iter().rposition(|open| open.hour == hour);
        let at = found.unwrap_or_else(|| {
            self.hours.push(OpenHour::new(hour));
            self.hours.len() - 1
        });
        let open = &mut self.hours[at];
        open.logons += 1;
        open.anomalies += u64::from(score > 0);
        open.total_score += u64::from(score);
        open.max_score = open.max_score.max(score);
        let hour = short_hour(hour);
        let counted = &mut self.pairs[slot as usize].counted_in[(hour & 1) as usize];
        // With a long tolerance more than two hours are open. Only then may `counted_in` hold a later hour, and `slots` must be asked.
        if *counted < hour || (*counted > hour && !open.slots.contains(&slot)) {
            open.slots.push(slot);
            *counted = hour.max(*counted);
        }
        found.is_none()
    }

    /// Adds an open hour from a snapshot.
    pub(crate) fn restore_hour(&mut self, open: OpenHour) {
        for slot in &open.slots {
            let counted = &mut self.pairs[*slot as usize].counted_in[(open.hour & 1) as usize];
            *counted = short_hour(open.hour).max(*counted);
        }
        self.hours.push(open);
    }
}

impl OpenHour {
    fn new(hour: i64) -> OpenHour {
        OpenHour { hour, logons: 0, anomalies: 0, total_score: 0, max_score: 0, slots: Vec::new() }
    }
}

/// One user's events with own ids, kept as long as a duplicate of them could still be accepted.
#[derive(Default)]
pub(crate) struct OwnIds {
    events: HashSet<OwnEvent, foldhash::quality::RandomState>,
    /// Whether any id so far could equal a content id.
    pub like_content: bool,
    /// With more events than this, the next insertion looks for some to forget.
    prune_at: usize,
}

/// All three fields are the key: some senders use one id for all events of a kind.
#[derive(PartialEq, Eq, Hash)]
struct OwnEvent {
    id: Box<str>,
    time: EventTime,
    slot: Slot,
}

/// The borrowed form of [`OwnEvent`] for look-ups; hashes like it.
#[derive(Hash)]
struct OwnKey<'a> {
    id: &'a str,
    time: EventTime,
    slot: Slot,
}

impl Equivalent<OwnEvent> for OwnKey<'_> {
    fn equivalent(&self, event: &OwnEvent) -> bool {
        (self.time, self.slot, self.id) == (event.time, event.slot, &event.id)
    }
}

impl OwnIds {
    /// Whether an event with this id was accepted at this time on this computer.
    pub(crate) fn has(&self, id: &str, time: EventTime, slot: Slot) -> bool {
        self.events.contains(&OwnKey { id, time, slot })
    }

    /// Remembers an event. Now and then forgets those before `keep_from`.
    pub(crate) fn insert(&mut self, id: &str, time: EventTime, slot: Slot, keep_from: EventTime) {
        self.events.insert(OwnEvent { id: id.into(), time, slot });
        if self.events.len() > self.prune_at.max(16) {
            self.events.retain(|event| event.time >= keep_from);
            self.prune_at = 2 * self.events.len();
        }
        self.like_content |= authpulse_event::id::looks_like_content_id(id);
    }

    /// All events kept: id, time and slot, in any order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, EventTime, Slot)> {
        self.events.iter().map(|event| (&*event.id, event.time, event.slot))
    }
}

fn spread(computer: ComputerId) -> u64 {
    // Fibonacci hashing: numbers are dense and not chosen by an attacker.
    (computer.index() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
