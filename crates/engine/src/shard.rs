//! The state of a shard, and how it begins: empty, or as the child of other shards.
//!
//! ```text
//!            admission.rs                 score.rs                 cut.rs
//! record --> accepted / waits / rejected --> scored row --> what one journal entry stores
//!               |                              ^    |
//!               v                              |    v
//!         users, open days            PopularityIndex         open hours, high-risk counts
//!                                     (stored counts)
//! ```

use crate::attribute_sets::AttributeSets;
use crate::names::{ComputerId, ComputerNames, UserId, UserNames};
use crate::popularity::{ComputerCount, DailyCounts};
use crate::resolved::Resolved;
use crate::rows::{AcceptedEvent, EventId, Reason, RejectedRecord, ScoredEvent};
use crate::settings::{Settings, UNSCORED_BYTES_MAX, UNSCORED_MAX};
use crate::user::{Slot, User};
use authpulse_event::attributes::ATTRIBUTES_BYTES_MAX;
use authpulse_event::id::EventIdRef;
use authpulse_event::{ArrivalTime, Attributes, Day, EventTime, HashRange, Position};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// What kind of input a shard reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A backfilled file. Arrival says nothing about event time, so no event is live.
    File,
    /// A stream. Events within 300 s of their arrival are live.
    Stream,
}

/// A record as it lies in its source: all that a dead letter needs.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The record's bytes; if it is overlong, at least the first 64 KiB.
    pub payload: &'a [u8],
    /// The record's whole length, in bytes.
    pub payload_bytes: u64,
    /// Where it lies in its shard.
    pub position: Position,
    /// When it arrived.
    pub arrival: ArrivalTime,
}

/// An event that is held back, with the record it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    /// Event time.
    pub time: EventTime,
    /// The user's name.
    pub user: String,
    /// The computer's name.
    pub computer: String,
    /// Where its `event_id` comes from.
    pub id: EventId,
    /// The attributes that the event carries.
    pub attributes: Attributes,
    /// The first 64 KiB of the record.
    pub payload: Vec<u8>,
    /// The record's whole length, in bytes.
    pub payload_bytes: u64,
    /// Where the record lies in its shard.
    pub position: Position,
    /// When it arrived.
    pub arrival: ArrivalTime,
    /// How many events that did not wait have been accepted since its arrival.
    pub accepted_since: u32,
}

/// An accepted event with names instead of numbers, as entries store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEvent {
    /// Everything but the names; its numbers of names mean nothing.
    pub event: AcceptedEvent,
    /// The user's name.
    pub user: String,
    /// The computer's name.
    pub computer: String,
}

/// An accepted event that waits for its score.
#[derive(Clone, Debug)]
pub(crate) struct Unscored {
    /// What acceptance fixed.
    pub event: AcceptedEvent,
    /// The slot of its computer among the user's pairs.
    pub slot: Slot,
}

/// How many records were received, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records received.
    pub received: u64,
    /// Rows scored.
    pub curated: u64,
    /// Dead letters, by [`Reason`] in the order of [`Reason::ALL`].
    pub rejected: [u64; 6],
    /// Attributes that were left out because their value was not of their form; of all records that are events.
    pub fields_dropped: u64,
}

impl Counts {
    /// Dead letters of all reasons.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }
    /// Adds other counts.
    pub fn add(&mut self, other: &Counts) {
        self.received += other.received;
        self.curated += other.curated;
        for (sum, n) in self.rejected.iter_mut().zip(other.rejected) {
            *sum += n;
        }
        self.fields_dropped += other.fields_dropped;
    }
}

/// Called with the payload of an event that waited, right before it goes on. For tests: a panic in it counts as a failure of the
/// engine.
pub type Inspect = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// State for events that waited and go on.
#[derive(Default)]
pub(crate) struct Released {
    /// The event that is going on at the moment.
    pub at_hand: Option<Position>,
    /// Events that are rejected instead of going on, because the code failed on them.
    pub given_up: BTreeSet<Position>,
    /// Sees each event before it goes on.
    pub inspect: Option<Inspect>,
}

/// What the engine decided since the last cut.
#[derive(Default)]
pub struct Output {
    /// Rows of the curated table, in order of acceptance.
    pub scored: Vec<ScoredEvent>,
    /// Dead letters, in order of decision.
    pub rejected: Vec<RejectedRecord>,
    /// How many there are of each, and how many records were received.
    pub counts: Counts,
}

/// The state of one shard.
pub struct Shard {
    pub(crate) settings: Settings,
    pub(crate) source: SourceKind,
    /// The part of the ring whose users live here.
    pub(crate) range: HashRange,
    /// Below it, events are late. `None` before the first acceptance or advance.
    pub(crate) watermark: Option<EventTime>,
    /// Newest accepted event time. The newest of all shards decides how far a seal reaches.
    pub(crate) newest_accepted: Option<EventTime>,
    /// Whether the last accepted event lay within 300 s of its arrival on a stream.
    pub(crate) last_accepted_live: bool,
    /// Events that wait, in order of arrival.
    pub(crate) waiting: Vec<WaitingEvent>,
    pub(crate) released: Released,
    /// Events accepted and not yet scored, in order of acceptance.
    pub(crate) unscored: VecDeque<Unscored>,
    /// Bytes of the attributes of `unscored`, as if no two events shared any.
    pub(crate) unscored_bytes: usize,
    /// The attributes that rows since the last cut share.
    pub(crate) sets: AttributeSets,
    pub(crate) user_names: UserNames,
    /// By the number of the user's name.
    pub(crate) users: Vec<User>,
    pub(crate) computers: ComputerNames,
    /// The days that are still open, at most two, by the parity of the day's number.
    pub(crate) open_days: [OpenDay; 2],
    /// Counts of the days that the watermark has passed since the last cut.
    pub(crate) closed_days: Vec<(Day, Vec<ComputerCount>)>,
    /// The last day whose counts a cut has published.
    pub(crate) counts_through: Option<Day>,
    /// Counts of days that the parents had not published; the first cut publishes them.
    pub(crate) inherited_counts: Vec<DailyCounts>,
    /// Users with an hour that is not written yet, by hour since 1970.
    pub(crate) open_hours: BTreeMap<i64, Vec<UserId>>,
    /// Numbers of scored events of level HIGH or CRITICAL, by day, user and computer, until they are published.
    pub(crate) high_risk: BTreeMap<Day, HashMap<(UserId, ComputerId), u64>>,
    /// The last day whose high-risk counts each part of the range has published.
    pub(crate) score_spans: Vec<(HashRange, Option<Day>)>,
    /// Cached popularities of a few look-backs, the newest made last.
    pub(crate) resolved: Vec<Resolved>,
    /// A buffer for canonical lines, reused.
    pub(crate) scratch: Vec<u8>,
}

/// A day that the watermark has not passed.
#[derive(Clone, Debug)]
pub(crate) struct OpenDay {
    pub day: Day,
    /// The pairs with an accepted event on the day, each once.
    pub touched: Vec<(UserId, Slot)>,
}

impl Default for OpenDay {
    fn default() -> Self {
        OpenDay { day: Day(i32::MIN), touched: Vec::new() }
    }
}

impl Shard {
    /// A shard that starts empty.
    pub fn new(settings: Settings, source: SourceKind, range: HashRange) -> Shard {
        Shard {
            settings,
            source,
            range,
            watermark: None,
            newest_accepted: None,
            last_accepted_live: false,
            waiting: Vec::new(),
            released: Released::default(),
            unscored: VecDeque::new(),
            unscored_bytes: 0,
            sets: AttributeSets::default(),
            user_names: UserNames::default(),
            users: Vec::new(),
            computers: ComputerNames::default(),
            open_days: Default::default(),
            closed_days: Vec::new(),
            counts_through: None,
            inherited_counts: Vec::new(),
            open_hours: BTreeMap::new(),
            high_risk: BTreeMap::new(),
            score_spans: vec![(range, None)],
            resolved: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The child of shards that ended. It takes the state of every user within `range`, their events that wait or are not yet scored,
    /// and the newest watermark. Call [`Shard::admit_inherited`] next, before the first record.
    pub fn inherit(settings: Settings, range: HashRange, parents: Vec<Shard>) -> Shard {
        let mut child = Shard::new(settings, SourceKind::Stream, range);
        child.score_spans.clear();
        child.watermark = parents.iter().filter_map(|p| p.watermark).max();
        child.newest_accepted = parents.iter().filter_map(|p| p.newest_accepted).max();
        // A live stream stays live through a split, even if no event comes after it.
        child.last_accepted_live = parents.iter().any(|p| p.last_accepted_live);
        child.counts_through = child.watermark.map(|w| Day(Day::of(w).0 - 1));
        for parent in parents {
            child.take_over(parent);
        }
        child.waiting.sort_by_key(|w| (w.arrival, w.position));
        child
    }

    fn take_over(&mut self, mut parent: Shard) {
        let Some(part) = self.range.intersect(&parent.range) else { return };
        let hash = |parent: &Shard, user: UserId| parent.users[user.index()].hash;
        // Counts of days that the child's watermark has passed but the parent had not published.
        if let Some(through) = self.counts_through
            && parent.counts_through.is_none_or(|p| p < through)
        {
            let mut days = Vec::new();
            for open in &parent.open_days {
                if open.day <= through {
                    let touched = open.touched.iter().filter(|(u, _)| part.contains(hash(&parent, *u)));
                    days.extend(parent.counts_of_day(open.day, touched.copied()));
                }
            }
            days.sort_by_key(|(day, _)| *day);
            self.inherited_counts.push(DailyCounts { range: part, after: parent.counts_through, through, days });
        }
        for (own, after) in &parent.score_spans {
            if let Some(range) = part.intersect(own) {
                self.score_spans.push((range, *after));
            }
        }
        // The users that move, and their new numbers.
        let mut numbers: Vec<Option<UserId>> = vec![None; parent.users.len()];
        for (id, user) in parent.user_names.ids().zip(std::mem::take(&mut parent.users)) {
            if part.contains(user.hash) {
                let new = self.user_names.intern(parent.user_names.get(id));
                numbers[id.index()] = Some(new);
                let mut user = user;
                let computers = &mut self.computers;
                user.renumber(|computer| computers.intern(parent.computers.get(computer)));
                for hour in &user.hours {
                    self.open_hours.entry(hour.hour).or_default().push(new);
                }
                debug_assert_eq!(self.users.len(), new.index(), "a user belongs to one parent");
                self.users.push(user);
            }
        }
        for open in &parent.open_days {
            if self.counts_through.is_some_and(|through| open.day <= through) {
                continue;
            }
            for (user, slot) in &open.touched {
                if let Some(user) = numbers[user.index()] {
                    self.touch_day(open.day, user, *slot);
                }
            }
        }
        for (day, counts) in &parent.high_risk {
            for ((user, computer), n) in counts {
                if let Some(user) = numbers[user.index()] {
                    let computer = self.computers.intern(parent.computers.get(*computer));
                    *self.high_risk.entry(*day).or_default().entry((user, computer)).or_default() += n;
                }
            }
        }
        for Unscored { mut event, slot } in parent.unscored {
            if let Some(user) = numbers[event.user.index()] {
                event.user = user;
                event.computer = self.computers.intern(parent.computers.get(event.computer));
                self.push_unscored(Unscored { event, slot });
            }
        }
        let waits_here = |w: &WaitingEvent| part.contains(authpulse_event::ring::hash_key(w.user.as_bytes()));
        self.waiting.extend(parent.waiting.into_iter().filter(waits_here));
    }

    /// Appends an accepted event to those that wait for their score.
    #[inline]
    pub(crate) fn push_unscored(&mut self, unscored: Unscored) {
        if !unscored.event.attributes.is_empty() {
            self.unscored_bytes += unscored.event.attributes.bytes();
        }
        self.unscored.push_back(unscored);
    }

    /// The settings by which it decides.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// The part of the ring whose users live here.
    pub fn range(&self) -> HashRange {
        self.range
    }
    /// Below it, events are late. `None` before the first acceptance or advance.
    pub fn watermark(&self) -> Option<EventTime> {
        self.watermark
    }
    /// Watermark + tolerance. Events up to [`ARRIVAL_SLACK`](crate::settings::ARRIVAL_SLACK) beyond it may be accepted.
    pub fn high_water(&self) -> Option<EventTime> {
        self.watermark.map(|w| w + self.settings.time.tolerance)
    }
    /// Newest accepted event time.
    pub fn newest_accepted(&self) -> Option<EventTime> {
        self.newest_accepted
    }
    /// Whether the last accepted event lay within 300 s of its arrival on a stream.
    pub fn last_accepted_live(&self) -> bool {
        self.last_accepted_live
    }
    /// Events that wait.
    pub fn waiting(&self) -> &[WaitingEvent] {
        &self.waiting
    }
    /// How many events are accepted and not yet scored.
    pub fn unscored_len(&self) -> usize {
        self.unscored.len()
    }
    /// Bytes of the attributes of events not yet scored, as if no two events shared any.
    pub fn unscored_bytes(&self) -> usize {
        self.unscored_bytes
    }
    /// How many more events may be accepted before scoring must catch up, even if each carries the most attributes allowed. As long as
    /// no unscored event has attributes, only the number of events counts.
    pub fn unscored_room(&self) -> usize {
        let events = UNSCORED_MAX.saturating_sub(self.unscored.len());
        match self.unscored_bytes {
            0 => events,
            bytes => events.min(UNSCORED_BYTES_MAX.saturating_sub(bytes) / ATTRIBUTES_BYTES_MAX),
        }
    }
    /// Whether unscored events have reached half of what is allowed, in number or in bytes.
    pub fn is_half_unscored(&self) -> bool {
        self.unscored.len() >= UNSCORED_MAX / 2 || self.unscored_bytes >= UNSCORED_BYTES_MAX / 2
    }
    /// Bytes of the attributes of rows since the last cut. Equal ones count once.
    pub fn row_attribute_bytes(&self) -> usize {
        self.sets.bytes()
    }
    /// The names of all users known here.
    pub fn user_names(&self) -> &UserNames {
        &self.user_names
    }
    /// The names of all computers known here.
    pub fn computer_names(&self) -> &ComputerNames {
        &self.computers
    }

    /// Notes that a pair has its first accepted event of an open day.
    pub(crate) fn touch_day(&mut self, day: Day, user: UserId, slot: Slot) {
        let open = &mut self.open_days[(day.0 & 1) as usize];
        if open.day != day {
            debug_assert!(open.touched.is_empty(), "a day is closed before another takes its place");
            open.day = day;
            open.touched.clear();
        }
        open.touched.push((user, slot));
    }

    /// The counts of a day by computer, over some of the pairs touched on it; `None` if there are none.
    pub(crate) fn counts_of_day(
        &self,
        day: Day,
        touched: impl Iterator<Item = (UserId, Slot)>,
    ) -> Option<(Day, Vec<ComputerCount>)> {
        let mut computers: HashMap<ComputerId, (u64, u64)> = HashMap::new();
        for (user, slot) in touched {
            let user = &self.users[user.index()];
            let (logons, users) = computers.entry(user.computers()[slot as usize]).or_default();
            *logons += u64::from(user.day_count(slot, day));
            *users += 1;
        }
        let mut counts: Vec<_> = computers
            .into_iter()
            .map(|(computer, (logons, users))| ComputerCount {
                computer: self.computers.get(computer).to_owned(),
                logons,
                users,
            })
            .collect();
        counts.sort_unstable_by(|a, b| a.computer.cmp(&b.computer));
        (!counts.is_empty()).then_some((day, counts))
    }

    /// Adds a dead letter for a record to `out`.
    pub(crate) fn reject(record: Incoming<'_>, reason: Reason, detail: String, out: &mut Output) {
        let kept = record.payload.len().min(authpulse_event::MAX_DEAD_LETTER_BYTES);
        Self::reject_row(
            RejectedRecord {
                reason,
                detail,
                payload: record.payload[..kept].to_vec(),
                payload_bytes: record.payload_bytes,
                position: record.position,
                ingestion_time: record.arrival,
            },
            out,
        );
    }

    /// Adds a dead letter for an event that waited to `out`.
    pub(crate) fn reject_waiting(waiting: WaitingEvent, reason: Reason, detail: String, out: &mut Output) {
        Self::reject_row(
            RejectedRecord {
                reason,
                detail,
                payload: waiting.payload,
                payload_bytes: waiting.payload_bytes,
                position: waiting.position,
                ingestion_time: waiting.arrival,
            },
            out,
        );
    }

    fn reject_row(row: RejectedRecord, out: &mut Output) {
        out.counts.rejected[row.reason as usize] += 1;
        out.rejected.push(row);
    }
}

impl EventId {
    /// The same id, borrowed.
    pub fn as_ref(&self) -> EventIdRef<'_> {
        match self {
            EventId::Content(form) => EventIdRef::Content(*form),
            EventId::Own(id) => EventIdRef::Own(id),
        }
    }
    /// An owned copy of a borrowed id.
    pub fn from_ref(id: EventIdRef<'_>) -> EventId {
        match id {
            EventIdRef::Content(form) => EventId::Content(form),
            EventIdRef::Own(id) => EventId::Own(id.into()),
        }
    }
}
