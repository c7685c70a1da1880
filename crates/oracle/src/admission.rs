//! Section 2: which events are accepted, in which order, and why the others are not.
//!
//! ```text
//!  record -> invalid? -> misrouted? -> future? -> ahead? ---> late? -> duplicate? -> accepted
//!                                                  |            ^                       |
//!                                                  v            |                       |
//!                                                waits ---- goes on <-- no longer ahead +
//!                                                  |
//!                                                  +----> future
//! ```
//!
//! Choices where the page is silent:
//!
//! - "The first event that waits" is the first in order of arrival.
//! - In a shard without a high-water mark a live event is not ahead. Events that wait with a time up to its own go on
//!   before it, as if it lay more than `max_jump` beyond a high-water mark.
//! - Whether an event is live is decided where it arrives: an event of a file that a child inherits never becomes live.
//! - An advance to a time that is not above the watermark does nothing, also to events that wait.
//! - A child admits inherited events one after another, each against those before it that wait again. They keep the
//!   number of acceptances since their arrival, and still count as events that waited. With two parents, order of arrival
//!   is that of the arrival times; where these are equal, of the places in the stream.

use std::collections::BTreeSet;

use crate::edges::{Edge, EdgeCounts};
use crate::model::{DAY, DEAD_LETTER_BYTES, FUTURE_LIMIT, Record, Rejected, SECOND, Settings, Shard, Step};
use crate::parse::{Event, parse, ring_position};

/// A valid event, and how it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The parsed event.
    pub event: Event,
    /// The record's bytes, for a dead letter.
    pub payload: Vec<u8>,
    /// Arrival, in microseconds since 1970.
    pub arrival: i64,
    /// The record's place: [`Record::place`].
    pub place: (u64, u64),
    /// "An event within 300 s of its own arrival on a stream".
    pub live: bool,
}

/// An event that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The event and its record.
    pub arrived: Arrived,
    /// How many events that did not wait have been accepted since its arrival.
    pub accepted_since: usize,
}

/// Everything that has happened to a shard.
#[derive(Debug, Clone)]
pub struct History {
    /// The part of the ring it owns, both ends included.
    pub range: (u128, u128),
    /// The watermark; a new shard has none.
    pub watermark: Option<i64>,
    /// Events that its ancestors accepted, of users that now belong to it, and then those that it accepted itself; in order of
    /// acceptance.
    pub accepted: Vec<Event>,
    /// How many of `accepted` its ancestors accepted.
    pub inherited: usize,
    /// Events that wait now, in order of arrival.
    pub waiting: Vec<Waiting>,
    /// Dead letters, in order of decision.
    pub rejected: Vec<Rejected>,
}

/// Runs every shard through its steps, in the order given. Parents must come before their children.
pub fn admit(settings: &Settings, shards: &[Shard], edge_counts: &mut EdgeCounts) -> Vec<History> {
    let mut histories: Vec<History> = Vec::new();
    for shard in shards {
        let parents: Vec<&History> = shard.parents.iter().map(|&at| &histories[at]).collect();
        let mut admission = Admission::new(settings, shard.range, shard.live, &parents);
        for step in &shard.steps {
            admission.step(step);
        }
        for (edge, times) in admission.edge_counts {
            *edge_counts.entry(edge).or_default() += times;
        }
        histories.push(admission.history);
    }
    histories
}

/// A new shard without parents: "A shard starts empty".
fn empty(range: (u128, u128)) -> History {
    History { range, watermark: None, accepted: Vec::new(), inherited: 0, waiting: Vec::new(), rejected: Vec::new() }
}

/// Whether a user lies in a range of the ring.
pub fn holds(range: (u128, u128), user: &str) -> bool {
    (range.0..=range.1).contains(&ring_position(user))
}

/// One shard while it goes through its steps.
pub struct Admission<'a> {
    settings: &'a Settings,
    live: bool,
    /// What has happened to the shard so far.
    pub history: History,
    /// Whether the watermark got its value from an advance.
    by_advance: bool,
    /// The edges reached so far.
    pub edge_counts: EdgeCounts,
}

impl<'a> Admission<'a> {
    /// A shard before its first step. It has inherited from its parents' ends.
    pub fn new(settings: &'a Settings, range: (u128, u128), live: bool, parents: &[&History]) -> Admission<'a> {
        let mut admission =
            Admission { settings, live, history: empty(range), by_advance: false, edge_counts: EdgeCounts::new() };
        admission.inherit(parents);
        admission
    }

    /// Applies the next step of the shard.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Record(record) => self.receive(record),
            Step::Advance(to) => self.advance(*to),
            Step::Flush => self.flush_waiting(),
        }
    }

    fn count_edge(&mut self, edge: Edge) {
        *self.edge_counts.entry(edge).or_default() += 1;
    }

    fn count_edge_if(&mut self, reached: bool, edge: Edge) {
        if reached {
            self.count_edge(edge);
        }
    }

    fn tolerance(&self) -> i64 {
        self.settings.tolerance * SECOND
    }

    fn max_jump(&self) -> i64 {
        self.settings.max_jump * SECOND
    }

    /// Section 2: the high-water mark ("front" there) is watermark + tolerance.
    pub fn high_water(&self) -> Option<i64> {
        Some(self.history.watermark? + self.tolerance())
    }

    /// Section 2, step 4: the shard has no high-water mark yet, or the time lies more than `max_jump` beyond it.
    fn is_beyond(&self, time: i64) -> bool {
        self.high_water().is_none_or(|high_water| time > high_water + self.max_jump())
    }

    /// Section 2: the children of a split or merge take from their parents' ends, by hash range, every user's state, the
    /// events that wait and those not yet scored, and the newest of the parents' watermarks. Waiting events are admitted
    /// again from step 4 in the child, in order of arrival, before its first record.
    fn inherit(&mut self, parents: &[&History]) {
        let range = self.history.range;
        let mut inherited: Vec<Waiting> = Vec::new();
        for parent in parents {
            let own = |user: &str| holds(range, user);
            self.history.accepted.extend(parent.accepted.iter().filter(|event| own(&event.user)).cloned());
            let waiting = parent.waiting.iter();
            inherited.extend(waiting.filter(|it| own(&it.arrived.event.user)).cloned());
            self.history.watermark = self.history.watermark.max(parent.watermark);
        }
        self.history.inherited = self.history.accepted.len();
        self.count_edge_if(!parents.is_empty(), Edge::Inherited);
        // A stable sort: equal places keep the order of the parents.
        inherited.sort_by_key(|waiting| (waiting.arrived.arrival, waiting.arrived.place));
        for waiting in inherited {
            self.count_edge(Edge::InheritedWaiting);
            self.admit_from_4(waiting, true);
        }
    }

    /// Section 2: each record is checked in this order against the shard's state before it, and the first check that holds
    /// decides: invalid, misrouted, future, then step 4 and on.
    fn receive(&mut self, record: &Record) {
        let Some(event) = parse(self.settings, record) else {
            self.count_edge(Edge::Invalid);
            return self.reject("invalid", &record.payload);
        };
        if !holds(self.history.range, &event.user) {
            self.count_edge(Edge::Misrouted);
            return self.reject("misrouted", &record.payload);
        }
        let lead = event.time - record.arrival;
        self.count_edge_if(lead == FUTURE_LIMIT, Edge::FutureNotQuite);
        if lead > FUTURE_LIMIT {
            self.count_edge(Edge::Future);
            self.count_edge_if(lead <= FUTURE_LIMIT + SECOND, Edge::FutureBarely);
            return self.reject("future", &record.payload);
        }
        let live = self.live && lead.abs() <= FUTURE_LIMIT;
        self.count_edge_if(live && lead == -FUTURE_LIMIT, Edge::LiveBarely);
        let payload = record.payload.clone();
        let arrived = Arrived { event, payload, arrival: record.arrival, place: record.place, live };
        self.admit_from_4(Waiting { arrived, accepted_since: 0 }, false);
    }

    /// Section 2, step 4, and the later steps for an event that is not ahead.
    fn admit_from_4(&mut self, new: Waiting, waited: bool) {
        let time = new.arrived.event.time;
        let beyond_high_water = self.high_water().map(|high_water| time - high_water - self.max_jump());
        self.count_edge_if(beyond_high_water == Some(0), Edge::AheadNotQuite);
        if self.is_beyond(time) && !new.arrived.live {
            let barely = beyond_high_water.is_some_and(|beyond| beyond <= SECOND);
            self.count_edge_if(barely, Edge::AheadBarely);
            return self.admit_ahead(new, waited);
        }
        if self.is_beyond(time) {
            let edge = if self.high_water().is_none() { Edge::LiveFirst } else { Edge::LiveJump };
            self.count_edge(edge);
            // Step 4, a live event more than `max_jump` beyond the high-water mark: those that wait with a time up to its
            // own go on before it.
            let go = self.take_waiting(|it| it.arrived.event.time <= time);
            self.count_edge_if(!go.is_empty(), Edge::WentOnBeforeLive);
            self.go_on(go);
        }
        self.count_edge_if(waited, Edge::InheritedGoesOn);
        if self.decide(new.arrived, waited) && !waited {
            self.after_acceptance();
        }
    }

    /// Section 2, step 4, the list that begins "In this order", for an event ahead.
    fn admit_ahead(&mut self, new: Waiting, waited: bool) {
        let event = &new.arrived.event;
        let time = event.time;
        // "Where the same event (step 6) waits already, the new one is a `duplicate`."
        let same: Vec<&Event> = self
            .history
            .waiting
            .iter()
            .map(|it| &it.arrived.event)
            .filter(|other| other.id == event.id && other.user == event.user)
            .collect();
        if same.iter().any(|other| other.time == time && other.computer == event.computer) {
            self.count_edge(Edge::DuplicateAmongWaiting);
            return self.reject("duplicate", &new.arrived.payload);
        }
        self.count_edge_if(!same.is_empty(), Edge::SameIdWaitsTwice);
        if let Some(first) = self.history.waiting.first().map(|it| it.arrived.event.time) {
            self.count_edge_if(time == first - DAY, Edge::EarlierDayNotQuite);
            self.count_edge_if(time == first + DAY, Edge::LaterDayNotQuite);
            if time < first - DAY {
                // "Where its time lies more than 86400 s before that of the first event that waits, all that wait are
                // rejected as `future`."
                self.count_edge(Edge::RejectedByEarlierDay);
                let all = self.take_waiting(|_| true);
                self.reject_all("future", all);
            } else if time > first + DAY {
                // Where its time lies more than 86400 s after that of the first event that waits, waiting events are
                // flushed, and the new one is admitted again from the start of step 4.
                self.count_edge(Edge::FlushedByLaterDay);
                self.flush_waiting();
                return self.admit_from_4(new, waited);
            }
        }
        // "It waits. As soon as events of three distinct users, or ten events, wait, all of them go on: in order of
        // arrival, one after another, each through 5, 6 and 7 against the state the last one left."
        self.count_edge(Edge::Waited);
        self.count_edge_if(waited, Edge::InheritedWaitsAgain);
        self.history.waiting.push(new);
        let waiting = &self.history.waiting;
        let users: BTreeSet<&str> = waiting.iter().map(|it| it.arrived.event.user.as_str()).collect();
        let (three, ten) = (users.len() >= 3, waiting.len() >= 10);
        if three || ten {
            self.count_edge(if three { Edge::WentOnByThreeUsers } else { Edge::WentOnByTenEvents });
            let all = self.take_waiting(|_| true);
            self.go_on(all);
        }
    }

    /// "After each acceptance of an event that did not wait, first those that wait and are no longer ahead go on, in
    /// rounds; then those since whose arrival ten events that did not wait have been accepted are rejected as
    /// `future`."
    fn after_acceptance(&mut self) {
        for waiting in &mut self.history.waiting {
            waiting.accepted_since += 1;
        }
        let rounds = self.rounds();
        self.count_edge_if(rounds >= 1, Edge::WentOnNoLongerAhead);
        self.count_edge_if(rounds >= 2, Edge::WentOnInASecondRound);
        let overtaken = self.take_waiting(|it| it.accepted_since >= 10);
        self.count_edge_if(!overtaken.is_empty(), Edge::RejectedAfterTenAccepted);
        self.reject_all("future", overtaken);
    }

    /// "in rounds (those that are not ahead now, in order of arrival; then again, until none is left)". Returns how many.
    fn rounds(&mut self) -> usize {
        for round in 0.. {
            let Some(high_water) = self.high_water() else {
                return round;
            };
            let limit = high_water + self.max_jump();
            let go = self.take_waiting(|it| it.arrived.event.time <= limit);
            if go.is_empty() {
                return round;
            }
            self.go_on(go);
        }
        unreachable!("there are rounds without end, and each takes an event that waits")
    }

    /// Section 2, flushing ("to settle" there): waiting events since whose arrival no event that did not wait has been accepted go
    /// on, the others are rejected as `future`. Which is which is found before any of them goes on.
    fn flush_waiting(&mut self) {
        let go = self.take_waiting(|it| it.accepted_since == 0);
        let others = self.take_waiting(|_| true);
        self.count_edge_if(!go.is_empty(), Edge::FlushAccepted);
        self.count_edge_if(!others.is_empty(), Edge::FlushRejected);
        self.reject_all("future", others);
        self.go_on(go);
    }

    /// Section 2, advances ("rises" there): before an advance to W, waiting events with a time up to W + tolerance + `max_jump` go
    /// on, then, in rounds, those no longer ahead. Later ones wait on. The watermark never falls.
    fn advance(&mut self, to: i64) {
        if self.history.watermark.is_some_and(|watermark| watermark >= to) {
            return self.count_edge(Edge::AdvanceToNothing);
        }
        self.count_edge(Edge::Advance);
        let limit = to + self.tolerance() + self.max_jump();
        let go = self.take_waiting(|it| it.arrived.event.time <= limit);
        let barely = go.iter().any(|it| it.arrived.event.time == limit);
        self.count_edge_if(!go.is_empty(), Edge::WentOnBeforeAdvance);
        self.count_edge_if(barely, Edge::WentOnBeforeAdvanceBarely);
        self.go_on(go);
        self.rounds();
        if self.history.watermark.is_none_or(|watermark| watermark < to) {
            self.history.watermark = Some(to);
            self.by_advance = true;
        }
    }

    /// Removes the waiting events that fulfil the condition and returns them, in order of arrival.
    fn take_waiting(&mut self, condition: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let all = std::mem::take(&mut self.history.waiting);
        let (taken, left) = all.into_iter().partition(condition);
        self.history.waiting = left;
        taken
    }

    /// "in order of arrival, one after another, each through 5, 6 and 7 against the state the last one left".
    fn go_on(&mut self, waiting: Vec<Waiting>) {
        for it in waiting {
            self.decide(it.arrived, true);
        }
    }

    /// "5. `late`: below the watermark. 6. `duplicate`: an event of the same user with the same `event_id`, instant and
    /// computer was accepted; the same own id with another instant or computer is another event. 7. Everything else is
    /// **accepted**." Returns whether it was accepted.
    fn decide(&mut self, new: Arrived, waited: bool) -> bool {
        let Arrived { event, payload, arrival, .. } = new;
        if let Some(watermark) = self.history.watermark {
            if event.time < watermark {
                self.count_edge(Edge::Late);
                self.count_edge_if(event.time >= watermark - SECOND, Edge::LateBarely);
                self.count_edge_if(self.by_advance, Edge::LateByAdvance);
                self.count_edge_if(waited, Edge::WaitedThenLate);
                self.reject("late", &payload);
                return false;
            }
            self.count_edge_if(event.time == watermark, Edge::TieAtWatermark);
        }
        let same: Vec<&Event> =
            self.history.accepted.iter().filter(|other| other.id == event.id && other.user == event.user).collect();
        let twice: Vec<&&Event> =
            same.iter().filter(|other| other.time == event.time && other.computer == event.computer).collect();
        if !twice.is_empty() {
            let other_kind = twice.iter().any(|other| other.content_id != event.content_id);
            self.count_edge(Edge::Duplicate);
            self.count_edge_if(other_kind, Edge::OwnIdIsContentId);
            self.reject("duplicate", &payload);
            return false;
        }
        let near = |other: &&Event| (other.time - event.time).abs() <= self.tolerance();
        let other_time = same.iter().any(|other| near(other) && other.time != event.time);
        let other_computer = same.iter().any(|other| near(other) && other.computer != event.computer);
        let of_another = same.iter().any(|other| near(other) && other.content_id != event.content_id);
        self.count_edge_if(other_time, Edge::SameIdOtherTime);
        self.count_edge_if(other_computer, Edge::SameIdOtherComputer);
        self.count_edge_if(of_another, Edge::OwnIdIsContentIdOfAnother);
        self.count_edge_if(event.time > arrival, Edge::AcceptedEarly);
        let beside = self.history.accepted.iter().any(|other| event.time < other.time - self.tolerance());
        self.count_edge_if(beside, Edge::OnTimeBesideEarly);
        self.raise_to_accepted(event.time, arrival);
        self.history.accepted.push(event);
        true
    }

    /// Section 2: the watermark is the highest of `min(event_time, arrival)` over the accepted events (each record's own arrival, also
    /// if it waited or was inherited) less the tolerance, or the end of the newest day closed for an accepted event (section 5), or an
    /// advance where that is higher. It never falls.
    fn raise_to_accepted(&mut self, time: i64, arrival: i64) {
        let by_time = i64::min(time, arrival) - self.tolerance();
        // "A day is closed for an event at its own `event_time` `t` when `t >= end of that day + settle`."
        let by_day = (time - self.settings.settle * SECOND).div_euclid(DAY) * DAY;
        let watermark = i64::max(by_time, by_day);
        if self.history.watermark.is_none_or(|old| old < watermark) {
            self.count_edge_if(by_day > by_time, Edge::EarlyClosesDay);
            self.history.watermark = Some(watermark);
            self.by_advance = false;
        }
    }

    fn reject_all(&mut self, reason: &'static str, waiting: Vec<Waiting>) {
        for it in waiting {
            self.reject(reason, &it.arrived.payload);
        }
    }

    /// "a dead letter the first 64 KiB and the length".
    fn reject(&mut self, reason: &'static str, payload: &[u8]) {
        let kept = &payload[..payload.len().min(DEAD_LETTER_BYTES)];
        self.history.rejected.push(Rejected {
            reason,
            payload: kept.to_vec(),
            payload_bytes: i64::try_from(payload.len()).expect("a length"),
        });
    }
}
