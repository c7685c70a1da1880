//! Rebuilding a shard after a crash, from the newest usable snapshot, the rows written since, and the last entry.
//!
//! The state that acceptance leaves (windows, devices, open days) and that scoring leaves (open hours, high-risk counts) consists of
//! sums and sets, so rows may come in any order.

use crate::names::{ComputerId, UserId};
use crate::rows::EventId;
use crate::settings::Settings;
use crate::shard::{NamedEvent, Shard, SourceKind, Unscored, WaitingEvent};
use crate::snapshot::{PieceReader, ReadPiece, SnapshotError, is_published};
use crate::user::Slot;
use crate::written_hours::WrittenHours;
use authpulse_event::id::{TimeForm, canonical_line, content_id};
use authpulse_event::time::{SECOND, Span, hour_of};
use authpulse_event::{Day, EventTime, HashRange, ring};
use std::collections::HashMap;
use std::sync::Arc;

/// The most users for which memory is reserved before they are read: a damaged number may promise any count.
const EXPECTED_MAX: u64 = 1 << 22;

/// What the last entry says of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreFrom {
    /// The watermark.
    pub watermark: Option<EventTime>,
    /// Newest accepted event time.
    pub newest_accepted: Option<EventTime>,
    /// Whether the last accepted event was live.
    pub last_accepted_live: bool,
    /// Events that wait.
    pub waiting: Vec<WaitingEvent>,
    /// Events accepted and not yet scored.
    pub unscored: Vec<NamedEvent>,
    /// Every user's hour that ends here or before is written, except where it holds an unscored event.
    pub hours_through: Option<EventTime>,
    /// The last day whose counts are published.
    pub counts_through: Option<Day>,
    /// The last day whose high-risk counts each part of the range has published.
    pub score_spans: Vec<(HashRange, Option<Day>)>,
}

/// The columns of a curated row from which state follows.
#[derive(Clone, Copy, Debug)]
pub struct StoredRow<'a> {
    /// The column `event_id`.
    pub event_id: &'a str,
    /// Event time.
    pub time: EventTime,
    /// The user's name.
    pub user: &'a str,
    /// The computer's name.
    pub computer: &'a str,
    /// The column `risk_score`, 0 to 100.
    pub score: u8,
}

/// A shard that is being rebuilt.
pub struct Restoring {
    shard: Shard,
    last: RestoreFrom,
    written: Arc<WrittenHours>,
    /// Events that were accepted and not yet scored in the snapshot's entry, by user and time. The snapshot already contains their
    /// acceptance.
    known: HashMap<(String, EventTime), Vec<KnownEvent>>,
}

/// Tells apart events of one user and time.
#[derive(PartialEq, Eq)]
struct KnownEvent {
    id: String,
    computer: String,
}

impl Restoring {
    /// Begins with what the last entry says. `range` may be a part of the shard's own range: the part that a child takes of a parent.
    pub fn begin(settings: Settings, source: SourceKind, range: HashRange, last: RestoreFrom) -> Restoring {
        let mut shard = Shard::new(settings, source, range);
        shard.watermark = last.watermark;
        shard.newest_accepted = last.newest_accepted;
        shard.last_accepted_live = last.last_accepted_live;
        shard.counts_through = last.counts_through;
        shard.score_spans = last
            .score_spans
            .iter()
            .filter_map(|(part, after)| part.intersect(&range).map(|part| (part, *after)))
            .collect();
        Restoring {
            shard,
            written: Arc::new(WrittenHours::of(last.hours_through, &last.unscored)),
            last,
            known: HashMap::new(),
        }
    }

    /// Reserves memory for the users of the pieces to come. Growing step by step would cost about as much as reading them.
    pub fn expect_users(&mut self, users: u64) {
        let users = users.min(EXPECTED_MAX) as usize;
        self.shard.users.reserve_exact(users);
        self.shard.user_names.reserve(users);
    }

    /// A reader of the snapshot's pieces for [`Restoring::piece`]. It may run on other threads.
    pub fn reader(&self) -> PieceReader {
        PieceReader::new(&self.shard, self.written.clone())
    }

    /// Adds a piece of the snapshot. All pieces must come before the first row.
    ///
    /// # Errors
    /// A user of the piece is there already, so the pieces do not fit together. Start again, with an older snapshot or without one.
    pub fn piece(&mut self, piece: ReadPiece) -> Result<(), SnapshotError> {
        self.shard.take_in(piece)
    }

    /// Sets which events were accepted and not yet scored in the snapshot's entry. Call it before the first row.
    pub fn unscored_at_snapshot(&mut self, events: &[NamedEvent]) {
        for named in events {
            let event = KnownEvent { id: self.shard.id_text(named), computer: named.computer.clone() };
            self.known.entry((named.user.clone(), named.event.event_time)).or_default().push(event);
        }
    }

    /// Whether the snapshot already contains the acceptance of this event. Answers yes once for each such event.
    fn take_known(&mut self, user: &str, computer: &str, time: EventTime, id: &str) -> bool {
        if self.known.is_empty() {
            return false;
        }
        let key = (user.to_owned(), time);
        let Some(events) = self.known.get_mut(&key) else { return false };
        let at = events.iter().position(|known| known.id == id && known.computer == computer);
        let Some(at) = at else { return false };
        events.swap_remove(at);
        if events.is_empty() {
            self.known.remove(&key);
        }
        true
    }

    /// Adds a row that an entry after the snapshot's wrote. Rows of users outside the range are passed over.
    pub fn row(&mut self, row: &StoredRow<'_>) {
        let hash = ring::hash_key(row.user.as_bytes());
        if !self.shard.range.contains(hash) {
            return;
        }
        let known = self.take_known(row.user, row.computer, row.time, row.event_id);
        let (user, computer) = self.shard.intern(row.user, row.computer, hash);
        if !known {
            let id = self.shard.id_of_row(row);
            self.shard.observe(user, computer, None, row.time, &id);
        }
        // What scoring leaves in the state, as far as it is not published yet.
        if !self.written.contains(row.user, hour_of(row.time)) {
            let slot = self.shard.slot(user, computer);
            self.shard.count_hour(user, slot, row.time, row.score);
        }
        let day = Day::of(row.time);
        if !self.shard.score_is_published(hash, day) {
            self.shard.count_high_risk(user, computer, day, row.score);
        }
    }

    /// Adds the events that the last entry holds as accepted and not yet scored, and those that wait. The shard is then as it was
    /// when that entry was stored.
    pub fn finish(mut self) -> Shard {
        for named in std::mem::take(&mut self.last.unscored) {
            let hash = ring::hash_key(named.user.as_bytes());
            if !self.shard.range.contains(hash) {
                continue;
            }
            let id = self.shard.id_text(&named);
            let known = self.take_known(&named.user, &named.computer, named.event.event_time, &id);
            let (user, computer) = self.shard.intern(&named.user, &named.computer, hash);
            let mut event = named.event;
            if !known {
                self.shard.observe(user, computer, None, event.event_time, &event.id);
            }
            (event.user, event.computer) = (user, computer);
            let slot = self.shard.slot(user, computer);
            self.shard.push_unscored(Unscored { event, slot });
        }
        let range = self.shard.range;
        let here = |w: &WaitingEvent| range.contains(ring::hash_key(w.user.as_bytes()));
        self.shard.waiting = std::mem::take(&mut self.last.waiting).into_iter().filter(here).collect();
        self.shard
    }
}

impl Shard {
    fn intern(&mut self, user: &str, computer: &str, hash: u128) -> (UserId, ComputerId) {
        let id = self.user_names.intern(user);
        if id.index() == self.users.len() {
            self.users.push(crate::user::User::new(hash));
        }
        (id, self.computers.intern(computer))
    }

    /// The slot of a computer on which the user was accepted.
    fn slot(&self, user: UserId, computer: ComputerId) -> Slot {
        self.users[user.index()].slot(computer).expect("an accepted event's computer is a pair of its user")
    }

    fn id_text(&self, named: &NamedEvent) -> String {
        match &named.event.id {
            EventId::Own(id) => id.to_string(),
            EventId::Content(form) => {
                let mut line = Vec::new();
                canonical_line(
                    &mut line,
                    self.settings.time.base,
                    named.event.event_time,
                    *form,
                    &named.user,
                    &named.computer,
                );
                content_id(&line).iter().map(|b| char::from(*b)).collect()
            }
        }
    }

    /// Whether a stored row's id is a content id or the producer's own. Only rows of which a duplicate could still be accepted need the
    /// true answer.
    fn id_of_row(&mut self, row: &StoredRow<'_>) -> EventId {
        let time = &self.settings.time;
        let needed = self.watermark.is_some_and(|w| row.time >= w);
        let seconds = row.time > time.base && (row.time - time.base) % SECOND == Span::ZERO;
        if !needed {
            return EventId::Content(TimeForm::Seconds);
        }
        for form in [TimeForm::Seconds, TimeForm::Rfc3339] {
            if form == TimeForm::Seconds && !seconds {
                continue;
            }
            canonical_line(&mut self.scratch, time.base, row.time, form, row.user, row.computer);
            if content_id(&self.scratch) == row.event_id.as_bytes() {
                return EventId::Content(form);
            }
        }
        EventId::Own(row.event_id.into())
    }

    /// Whether the high-risk counts of a day are published for the user with this hash.
    pub(crate) fn score_is_published(&self, hash: u128, day: Day) -> bool {
        is_published(&self.score_spans, hash, day)
    }
}
