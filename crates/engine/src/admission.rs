//! Accepting, holding back and rejecting records (semantics, section 2).

use crate::look_ahead::Known;
use crate::names::{ComputerId, UserId};
use crate::popularity::newest_closed_day;
use crate::rows::{AcceptedEvent, EventId, Reason, Windows};
use crate::settings::{ARRIVAL_SLACK, WAITING_EVENTS, WAITING_PATIENCE, WAITING_SPAN, WAITING_USERS};
use crate::shard::{Incoming, Inspect, Output, Shard, SourceKind, Unscored, WaitingEvent};
use crate::user::{IdKind, OwnIds, Slot, User};
use authpulse_event::epoch::hint_of_future;
use authpulse_event::id::{EventIdRef, TimeForm, canonical_line, content_id, looks_like_content_id};
use authpulse_event::time::{SECOND, format_rfc3339};
use authpulse_event::{ArrivalTime, Attributes, Day, EventTime, Invalid, ParsedEvent, Position, Span, ring};
use std::collections::BTreeSet;

/// The detail of a dead letter begins with this if its event had waited and was rejected when it went on.
pub const WENT_ON: &str = "waited, then: ";

/// The detail of a dead letter for a record on which the code failed.
const GIVEN_UP: &str = "the engine failed on this record three times";

/// An event on its way through the steps of section 2.
#[derive(Clone, Copy)]
struct Event<'a> {
    time: EventTime,
    user: &'a str,
    computer: &'a str,
    known: Known,
    id: EventIdRef<'a>,
    attributes: &'a Attributes,
    arrival: ArrivalTime,
}

impl<'a> From<&'a WaitingEvent> for Event<'a> {
    fn from(w: &'a WaitingEvent) -> Self {
        let (user, computer, id) = (w.user.as_str(), w.computer.as_str(), w.id.as_ref());
        let (known, attributes) = (Known::default(), &w.attributes);
        Event { time: w.time, user, computer, known, id, attributes, arrival: w.arrival }
    }
}

/// Accepted, or rejected with a reason and the words for the dead letter.
type Verdict = Result<(), (Reason, String)>;

impl Shard {
    /// Admits one record. All decisions that follow, also on events that waited, are added to `out`. Scores come later
    /// ([`Shard::score_ready`]).
    pub fn admit(&mut self, record: Incoming<'_>, parsed: Result<ParsedEvent<'_>, Invalid>, out: &mut Output) {
        self.admit_known(record, parsed, Known::default(), out);
    }

    /// As [`Shard::admit`], with what [`Shard::look_ahead`] found for this record.
    pub fn admit_known(
        &mut self,
        record: Incoming<'_>,
        parsed: Result<ParsedEvent<'_>, Invalid>,
        known: Known,
        out: &mut Output,
    ) {
        out.counts.received += 1;
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(invalid) => return Self::reject(record, Reason::Invalid, invalid.to_string(), out),
        };
        let event = Event {
            time: parsed.time,
            user: &parsed.user,
            computer: &parsed.computer,
            known,
            id: parsed.id(),
            attributes: &parsed.attributes,
            arrival: record.arrival,
        };
        out.counts.fields_dropped += u64::from(parsed.fields_dropped);
        if self.known_user(&event).is_none() {
            let hash = ring::hash_key(event.user.as_bytes());
            if !self.range.contains(hash) {
                let detail =
                    format!("the user's place on the ring, {hash:032x}, lies outside the shard's {}", self.range);
                return Self::reject(record, Reason::Misrouted, detail, out);
            }
        }
        let ahead = event.time.ahead_of(event.arrival);
        if ahead > ARRIVAL_SLACK {
            let hint = hint_of_future(self.settings.time.base, event.time, parsed.form, event.arrival + ARRIVAL_SLACK);
            let detail = format!("{} ahead of its arrival; at most 300 s are allowed{hint}", seconds(ahead));
            return Self::reject(record, Reason::Future, detail, out);
        }
        if let Err((reason, detail)) = self.admit_in_time(event, Some(record), out) {
            Self::reject(record, reason, detail, out);
        }
    }

    /// Rejects a record on which the code failed three times; it leaves no trace in the state.
    pub fn reject_failed(&mut self, record: Incoming<'_>, out: &mut Output) {
        out.counts.received += 1;
        Self::reject(record, Reason::Failed, GIVEN_UP.to_owned(), out);
    }

    /// Sets the positions of events on which the code failed. Those of them that wait are rejected when their turn comes to go on.
    pub fn give_up(&mut self, positions: BTreeSet<Position>) {
        self.released.given_up = positions;
    }

    /// Sets a function that sees each event that waited right before it goes on.
    pub fn inspect_released(&mut self, inspect: Option<Inspect>) {
        self.released.inspect = inspect;
    }

    /// The event that waited and was going on when the code failed. That event is to blame, not the record that released it.
    pub fn failed_on(&self) -> Option<Position> {
        self.released.at_hand
    }

    /// Admits again, in a child, the events that waited in its parents. Call it before the child's first record.
    pub fn admit_inherited(&mut self, out: &mut Output) {
        for waiting in std::mem::take(&mut self.waiting) {
            let event = Event::from(&waiting);
            if self.is_out_of_reach(event.time) {
                match self.prepare_to_wait(event, out) {
                    HoldBack::Duplicate(detail) => Self::reject_waiting(waiting, Reason::Duplicate, detail, out),
                    HoldBack::Waits => self.wait(waiting, out),
                    HoldBack::NoLonger => self.go_on(vec![waiting], out),
                }
            } else {
                self.go_on(vec![waiting], out);
            }
        }
    }

    /// Steps 4 to 7. `record` is kept if the event must wait.
    fn admit_in_time(&mut self, event: Event<'_>, record: Option<Incoming<'_>>, out: &mut Output) -> Verdict {
        if self.is_out_of_reach(event.time) {
            if self.is_live(&event) {
                // The first live event after a quiet night: events that wait with a time up to its own go on before it.
                self.release(|w| w.time <= event.time, out);
            } else {
                match self.prepare_to_wait(event, out) {
                    HoldBack::Duplicate(detail) => return Err((Reason::Duplicate, detail)),
                    HoldBack::Waits => {
                        if let Some(record) = record {
                            self.wait(waiting_event(event, record), out);
                        }
                        return Ok(());
                    }
                    HoldBack::NoLonger => {}
                }
            }
        }
        self.decide(event)?;
        self.after_acceptance(out);
        Ok(())
    }

    /// Whether an event at this time is ahead: more than `max_jump` beyond the high-water mark, or there is no such mark yet.
    fn is_out_of_reach(&self, time: EventTime) -> bool {
        self.high_water().is_none_or(|high_water| time > high_water + self.settings.time.max_jump)
    }

    fn is_live(&self, event: &Event<'_>) -> bool {
        self.source == SourceKind::Stream && event.time.ahead_of(event.arrival).abs() <= ARRIVAL_SLACK
    }

    /// The first three cases of step 4, for an event ahead.
    fn prepare_to_wait(&mut self, event: Event<'_>, out: &mut Output) -> HoldBack {
        let mut at_once = self.waiting.iter().filter(|w| w.time == event.time && w.user == event.user);
        let base = self.settings.time.base;
        if at_once.any(|w| w.computer == event.computer && same_id(base, &Event::from(w), &event)) {
            return HoldBack::Duplicate(twice(event.id, "waits"));
        }
        if let Some(first) = self.waiting.first().map(|w| w.time) {
            if event.time < first - WAITING_SPAN {
                for waiting in std::mem::take(&mut self.waiting) {
                    let detail = format!(
                        "waited, and an event {} before the first that waits came",
                        seconds(first - event.time)
                    );
                    Self::reject_waiting(waiting, Reason::Future, detail, out);
                }
            } else if event.time > first + WAITING_SPAN {
                self.flush_waiting(out);
                if !self.is_out_of_reach(event.time) {
                    return HoldBack::NoLonger;
                }
            }
        }
        HoldBack::Waits
    }

    fn wait(&mut self, waiting: WaitingEvent, out: &mut Output) {
        self.waiting.push(waiting);
        let mut users: Vec<&str> = self.waiting.iter().map(|w| w.user.as_str()).collect();
        users.sort_unstable();
        users.dedup();
        if users.len() >= WAITING_USERS || self.waiting.len() >= WAITING_EVENTS {
            self.release(|_| true, out);
        }
    }

    /// Lets the waiting events that fulfil `which` go on, in order of arrival.
    fn release(&mut self, which: impl Fn(&WaitingEvent) -> bool, out: &mut Output) {
        if self.waiting.is_empty() {
            return;
        }
        let (go, stay) = std::mem::take(&mut self.waiting).into_iter().partition(which);
        self.waiting = stay;
        self.go_on(go, out);
    }

    /// Takes events that waited through steps 5, 6 and 7, one after another.
    fn go_on(&mut self, events: Vec<WaitingEvent>, out: &mut Output) {
        for waiting in events {
            if self.released.given_up.contains(&waiting.position) {
                Self::reject_waiting(waiting, Reason::Failed, format!("{WENT_ON}{GIVEN_UP}"), out);
                continue;
            }
            self.released.at_hand = Some(waiting.position);
            if let Some(inspect) = &self.released.inspect {
                inspect(&waiting.payload);
            }
            if let Err((reason, detail)) = self.decide(Event::from(&waiting)) {
                Self::reject_waiting(waiting, reason, format!("{WENT_ON}{detail}"), out);
            }
            self.released.at_hand = None;
        }
    }

    /// Lets waiting events that are no longer ahead go on, in rounds, until none is left.
    fn release_reached(&mut self, out: &mut Output) {
        while let Some(high_water) = self.high_water() {
            let reach = high_water + self.settings.time.max_jump;
            if !self.waiting.iter().any(|w| w.time <= reach) {
                break;
            }
            self.release(|w| w.time <= reach, out);
        }
    }

    /// What the acceptance of an event that did not wait means for those that wait: some go on, some have waited too long.
    fn after_acceptance(&mut self, out: &mut Output) {
        if self.waiting.is_empty() {
            return;
        }
        for waiting in &mut self.waiting {
            waiting.accepted_since += 1;
        }
        self.release_reached(out);
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.accepted_since >= WAITING_PATIENCE {
                let detail =
                    format!("waited while {WAITING_PATIENCE} later events were accepted without coming near it");
                Self::reject_waiting(waiting, Reason::Future, detail, out);
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    /// Flushes waiting events. One goes on if no event that did not wait was accepted since its arrival; the others are rejected.
    pub fn flush_waiting(&mut self, out: &mut Output) {
        let (go, reject): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| w.accepted_since == 0);
        for waiting in reject {
            let detail = "waited, and earlier events were accepted after it until what waits was settled".to_owned();
            Self::reject_waiting(waiting, Reason::Future, detail, out);
        }
        self.go_on(go, out);
    }

    /// Advances the watermark to `to` if that lies above it; returns whether it did.
    pub fn advance_watermark(&mut self, to: EventTime, out: &mut Output) -> bool {
        if self.watermark.is_some_and(|w| w >= to) {
            return false;
        }
        let reach = to + self.settings.time.tolerance + self.settings.time.max_jump;
        self.release(|w| w.time <= reach, out);
        self.release_reached(out);
        self.raise_watermark(to);
        true
    }

    fn known_user(&self, event: &Event<'_>) -> Option<UserId> {
        event.known.user.or_else(|| self.user_names.find(event.user))
    }

    /// Steps 5 to 7: late, duplicate, or accepted.
    fn decide(&mut self, event: Event<'_>) -> Verdict {
        if let Some(watermark) = self.watermark
            && event.time < watermark
        {
            return Err((
                Reason::Late,
                format!("{} below the watermark {}", seconds(watermark - event.time), format_rfc3339(watermark)),
            ));
        }
        let known = self.known_user(&event);
        if let Some(user) = known
            && self.is_duplicate(user, &event)
        {
            return Err((Reason::Duplicate, twice(event.id, "was accepted")));
        }
        let user = known.unwrap_or_else(|| {
            let user = self.user_names.intern(event.user);
            debug_assert_eq!(user.index(), self.users.len());
            self.users.push(User::new(ring::hash_key(event.user.as_bytes())));
            user
        });
        self.accept(user, &event);
        Ok(())
    }

    /// How far the acceptance of an event raises the watermark.
    fn reached_by(&self, event: &Event<'_>) -> EventTime {
        let time = &self.settings.time;
        if event.time.ahead_of(event.arrival) <= Span::ZERO {
            // No day that is closed for the event ends later: `settle` is at least the tolerance.
            return event.time - time.tolerance;
        }
        // An event ahead does not raise it up to its own time: events that arrive on time from now on would be late. But if `settle`
        // is short, its score may need a day that the watermark would not have passed. Scoring goes in order of acceptance, so the
        // shard would wait for itself; hence at least up to the end of that day.
        (event.arrival.as_event_time() - time.tolerance).max(newest_closed_day(event.time, time.settle).end())
    }

    fn accept(&mut self, user_id: UserId, event: &Event<'_>) {
        // The watermark first: it closes days, so never more than two are open.
        self.raise_watermark(self.reached_by(event));
        self.newest_accepted = self.newest_accepted.max(Some(event.time));
        self.last_accepted_live = self.is_live(event);
        let computer = event.known.computer.unwrap_or_else(|| self.computers.intern(event.computer));
        let id = EventId::from_ref(event.id);
        let (slot, windows, new_device) = self.observe(user_id, computer, event.known.slot, event.time, &id);
        let event = AcceptedEvent {
            event_time: event.time,
            ingestion_time: event.arrival,
            user: user_id,
            computer,
            id,
            windows,
            new_device,
            attributes: event.attributes.clone(),
        };
        self.push_unscored(Unscored { event, slot });
    }

    /// Takes an accepted event into the state of its user and its open day. Returns the slot, the windows and whether the computer is
    /// new to the user.
    pub(crate) fn observe(
        &mut self,
        user_id: UserId,
        computer: ComputerId,
        known_slot: Option<Slot>,
        time: EventTime,
        id: &EventId,
    ) -> (Slot, Windows, bool) {
        let keep_from = self.oldest_id_to_keep();
        let user = &mut self.users[user_id.index()];
        let (slot, new_device) = known_slot.map_or_else(|| user.slot_or_new(computer), |slot| (slot, false));
        let windows = user.observe(time, slot, IdKind::of(id));
        if let EventId::Own(own) = id {
            user.own_ids.get_or_insert_with(Box::<OwnIds>::default).insert(own, time, slot, keep_from);
        }
        let day = Day::of(time);
        if self.watermark.is_some_and(|w| day >= Day::of(w)) && user.count_day(slot, day, 1) {
            self.touch_day(day, user_id, slot);
        }
        (slot, windows, new_device)
    }

    /// Ids of events before this time are needed no more: a duplicate of one has the same time and so would be late.
    pub(crate) fn oldest_id_to_keep(&self) -> EventTime {
        self.watermark.unwrap_or(EventTime::MIN)
    }

    /// Moves the watermark up, never down, and closes the days it has passed.
    fn raise_watermark(&mut self, to: EventTime) {
        if self.watermark.is_some_and(|w| w >= to) {
            return;
        }
        let before = self.watermark.replace(to).map(Day::of);
        if before == Some(Day::of(to)) {
            return;
        }
        for parity in 0..2 {
            if self.open_days[parity].day < Day::of(to) && !self.open_days[parity].touched.is_empty() {
                let open = std::mem::take(&mut self.open_days[parity]);
                let counts = self.counts_of_day(open.day, open.touched.iter().copied());
                self.closed_days.extend(counts);
            }
        }
        self.closed_days.sort_by_key(|(day, _)| *day);
    }

    /// Whether an event of the same user with the same id, time and computer was accepted.
    fn is_duplicate(&mut self, user_id: UserId, event: &Event<'_>) -> bool {
        let user = &self.users[user_id.index()];
        if event.time > user.newest {
            return false;
        }
        let slot = event.known.slot.or_else(|| {
            let computer = event.known.computer.or_else(|| self.computers.find(event.computer))?;
            user.slot(computer)
        });
        // The user was never accepted on this computer.
        let Some(slot) = slot else { return false };
        let at_once = || user.recent_at(event.time).filter(|r| r.slot == slot);
        let base = self.settings.time.base;
        match event.id {
            EventIdRef::Content(form) => {
                let kind = IdKind::of(&EventId::Content(form));
                at_once().any(|r| r.kind == kind)
                    || user.own_ids.as_ref().is_some_and(|own| {
                        own.like_content && {
                            canonical_line(&mut self.scratch, base, event.time, form, event.user, event.computer);
                            let id = content_id(&self.scratch);
                            std::str::from_utf8(&id).is_ok_and(|id| own.has(id, event.time, slot))
                        }
                    })
            }
            EventIdRef::Own(id) => {
                user.own_ids.as_ref().is_some_and(|own| own.has(id, event.time, slot))
                    // The same event, sent before without an id: its content id is this one.
                    || looks_like_content_id(id)
                        && at_once().filter_map(|r| r.kind.form()).any(|form| {
                            canonical_line(&mut self.scratch, base, event.time, form, event.user, event.computer);
                            content_id(&self.scratch) == id.as_bytes()
                        })
            }
        }
    }
}

/// The words for a duplicate: which of its fields are the same.
fn twice(id: EventIdRef<'_>, what: &str) -> String {
    match id {
        EventIdRef::Content(_) => format!("an event of the same time, user and computer {what} already"),
        EventIdRef::Own(_) => format!("an event of the same event_id, time, user and computer {what} already"),
    }
}

/// What becomes of an event that lies ahead.
enum HoldBack {
    /// The same event waits already; the words say so.
    Duplicate(String),
    /// It must wait.
    Waits,
    /// It is no longer ahead: flushing the waiting events moved the high-water mark near enough.
    NoLonger,
}

fn waiting_event(event: Event<'_>, record: Incoming<'_>) -> WaitingEvent {
    let kept = record.payload.len().min(authpulse_event::MAX_DEAD_LETTER_BYTES);
    WaitingEvent {
        time: event.time,
        user: event.user.to_owned(),
        computer: event.computer.to_owned(),
        id: EventId::from_ref(event.id),
        attributes: event.attributes.clone(),
        payload: record.payload[..kept].to_vec(),
        payload_bytes: record.payload_bytes,
        position: record.position,
        arrival: record.arrival,
        accepted_since: 0,
    }
}

/// Whether two events of one user, time and computer have the same id.
fn same_id(base: EventTime, a: &Event<'_>, b: &Event<'_>) -> bool {
    match (a.id, b.id) {
        (EventIdRef::Own(x), EventIdRef::Own(y)) => x == y,
        (EventIdRef::Content(x), EventIdRef::Content(y)) => x == y,
        (EventIdRef::Own(own), EventIdRef::Content(form)) => is_content_id_of(base, own, b, form),
        (EventIdRef::Content(form), EventIdRef::Own(own)) => is_content_id_of(base, own, a, form),
    }
}

fn is_content_id_of(base: EventTime, own: &str, event: &Event<'_>, form: TimeForm) -> bool {
    looks_like_content_id(own) && {
        let mut line = Vec::new();
        canonical_line(&mut line, base, event.time, form, event.user, event.computer);
        content_id(&line) == own.as_bytes()
    }
}

fn seconds(span: Span) -> String {
    if span % SECOND == Span::ZERO { format!("{} s", span / SECOND) } else { format!("{:.6} s", span.as_seconds()) }
}
