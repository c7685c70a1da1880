//! A shard's state and how it begins: empty, or as the child of others.
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
    /// A backfilled file: arrival says nothing about event time, so nothing is live.
    File,
    /// A stream: events within 300 s of their arrival are live.
    Stream,
}

/// A record as it stood in its source; what a dead letter needs.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The record's bytes; of an overlong one at least the first 64 KiB.
    pub payload: &'a [u8],
    /// The record's whole length.
    pub payload_bytes: u64,
    /// Where it stood.
    pub position: Position,
    /// When it arrived.
    pub arrival: ArrivalTime,
}

/// An event that is held back, with the record it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    /// Event time.
    pub time: EventTime,
    /// Who.
    pub user: String,
    /// Where.
    pub computer: String,
    /// Identity.
    pub id: EventId,
    /// What its sender said of it beside these.
    pub attributes: Attributes,
    /// The first 64 KiB of the record.
    pub payload: Vec<u8>,
    /// The record's whole length.
    pub payload_bytes: u64,
    /// Where the record stood.
    pub position: Position,
    /// When it arrived.
    pub arrival: ArrivalTime,
    /// How many events that did not wait have been accepted since.
    pub accepted_since: u32,
}

/// An accepted event by names: the form in which it travels in entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEvent {
    /// Everything but the names; its name numbers mean nothing.
    pub event: AcceptedEvent,
    /// Who.
    pub user: String,
    /// Where.
    pub computer: String,
}

/// An accepted event that waits for its score.
#[derive(Clone, Debug)]
pub(crate) struct Unscored {
    pub event: AcceptedEvent,
    /// Its computer's place in its user.
    pub slot: Slot,
}

/// How many records ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records taken in.
    pub received: u64,
    /// Rows scored.
    pub curated: u64,
    /// Dead letters, by [`Reason`] in the order of [`Reason::ALL`].
    pub rejected: [u64; 6],
    /// Attributes of records that are events which had a value not of their form, and were left out.
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

/// Called with the payload of an event that waited, right before it goes on. For tests: a panic in it is one of the engine.
pub type Inspect = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What is known of events that waited and go on.
#[derive(Default)]
pub(crate) struct Released {
    /// The one at hand.
    pub at_hand: Option<Position>,
    /// Those that are given up.
    pub given_up: BTreeSet<Position>,
    pub inspect: Option<Inspect>,
}

/// What the engine decided: the rows since the last cut.
#[derive(Default)]
pub struct Output {
    /// Rows of the curated table, in order of acceptance.
    pub scored: Vec<ScoredEvent>,
    /// Dead letters, in order of decision.
    pub rejected: Vec<RejectedRecord>,
    /// Their counts, and the records received.
    pub counts: Counts,
}

/// The state of one shard.
pub struct Shard {
    pub(crate) settings: Settings,
    pub(crate) source: SourceKind,
    pub(crate) range: HashRange,
    pub(crate) watermark: Option<EventTime>,
    /// Newest accepted event time; decides up to when a seal reaches.
    pub(crate) newest_accepted: Option<EventTime>,
    pub(crate) last_accepted_live: bool,
    pub(crate) waiting: Vec<WaitingEvent>,
    pub(crate) released: Released,
    pub(crate) unscored: VecDeque<Unscored>,
    /// What the attributes of `unscored` take up, each event's by itself.
    pub(crate) unscored_bytes: usize,
    /// Those of the rows since the last cut.
    pub(crate) sets: AttributeSets,
    pub(crate) user_names: UserNames,
    pub(crate) users: Vec<User>,
    pub(crate) computers: ComputerNames,
    /// The pairs counted on the days that are still open, by the day number's parity.
    pub(crate) open_days: [OpenDay; 2],
    /// Days that the watermark has passed since the last cut.
    pub(crate) closed_days: Vec<(Day, Vec<ComputerCount>)>,
    /// The last day published by a cut.
    pub(crate) counts_through: Option<Day>,
    /// Counts of days that the parents had not published, waiting for the first cut.
    pub(crate) inherited_counts: Vec<DailyCounts>,
    /// Users with an open hour, by hour.
    pub(crate) open_hours: BTreeMap<i64, Vec<UserId>>,
    /// Scored events of level HIGH or CRITICAL, by day, user and computer, until published.
    pub(crate) high_risk: BTreeMap<Day, HashMap<(UserId, ComputerId), u64>>,
    /// Through which day each part of the range has published its high-risk counts.
    pub(crate) score_spans: Vec<(HashRange, Option<Day>)>,
    /// Popularities at hand, newest use last.
    pub(crate) resolved: Vec<Resolved>,
    pub(crate) scratch: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct OpenDay {
    pub day: Day,
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

    /// The child of shards that ended: takes the state of every user within `range`, what waits, what is not yet scored, and
    /// the newest watermark. Call [`Shard::admit_inherited`] next, before the first record.
    pub fn inherit(settings: Settings, range: HashRange, parents: Vec<Shard>) -> Shard {
        let mut child = Shard::new(settings, SourceKind::Stream, range);
        child.score_spans.clear();
        child.watermark = parents.iter().filter_map(|p| p.watermark).max();
        child.newest_accepted = parents.iter().filter_map(|p| p.newest_accepted).max();
        // A live stream stays live through a split in the evening.
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
        // Days that the child's watermark has passed and the parent had not published.
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
        // Who moves, and under which numbers.
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

    /// Puts an accepted event behind those that wait for their score.
    #[inline]
    pub(crate) fn push_unscored(&mut self, unscored: Unscored) {
        if !unscored.event.attributes.is_empty() {
            self.unscored_bytes += unscored.event.attributes.bytes();
        }
        self.unscored.push_back(unscored);
    }

    /// The settings.
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
    /// What their attributes take up, in bytes, as if no two shared any.
    pub fn unscored_bytes(&self) -> usize {
        self.unscored_bytes
    }
    /// How many more may be accepted until scoring has caught up, however much each of them carries. Where none carries anything, the
    /// number of events is all that counts.
    pub fn unscored_room(&self) -> usize {
        let events = UNSCORED_MAX.saturating_sub(self.unscored.len());
        match self.unscored_bytes {
            0 => events,
            bytes => events.min(UNSCORED_BYTES_MAX.saturating_sub(bytes) / ATTRIBUTES_BYTES_MAX),
        }
    }
    /// Whether half of what may be accepted and not scored is.
    pub fn is_half_unscored(&self) -> bool {
        self.unscored.len() >= UNSCORED_MAX / 2 || self.unscored_bytes >= UNSCORED_BYTES_MAX / 2
    }
    /// What the attributes of the rows since the last cut take up, in bytes; equal ones are there once.
    pub fn row_attribute_bytes(&self) -> usize {
        self.sets.bytes()
    }
    /// Users known.
    pub fn user_names(&self) -> &UserNames {
        &self.user_names
    }
    /// Computers known.
    pub fn computer_names(&self) -> &ComputerNames {
        &self.computers
    }

    pub(crate) fn touch_day(&mut self, day: Day, user: UserId, slot: Slot) {
        let open = &mut self.open_days[(day.0 & 1) as usize];
        if open.day != day {
            debug_assert!(open.touched.is_empty(), "a day is closed before another takes its place");
            open.day = day;
            open.touched.clear();
        }
        open.touched.push((user, slot));
    }

    /// What was counted on a day, per computer, over some of the pairs touched on it; `None` if nothing was.
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

    /// A dead letter.
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
    /// Borrows the id.
    pub fn as_ref(&self) -> EventIdRef<'_> {
        match self {
            EventId::Content(form) => EventIdRef::Content(*form),
            EventId::Own(id) => EventIdRef::Own(id),
        }
    }
    /// Keeps a borrowed id.
    pub fn from_ref(id: EventIdRef<'_>) -> EventId {
        match id {
            EventIdRef::Content(form) => EventId::Content(form),
            EventIdRef::Own(id) => EventId::Own(id.into()),
        }
    }
}
