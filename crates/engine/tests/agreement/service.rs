//! A service around the engine: as small as possible, but with everything that a real one does. It reads several shards side by
//! side, stores entries now and then, and lets shards see only what is stored. It crashes at any moment and goes on from its entries,
//! hands parents over to children, and seals at the end.
//!
//! ```text
//! case --steps--> Shard --out--> entry --rows--> answer
//!                   ^              |
//!                   |              +--counts, scores--> PopularityIndex --> popularity, days
//!                   +---restore----+
//! ```

use crate::rows;
use crate::schedule::{Chance, Move, Origin, Schedule};
use authpulse_engine::{Cut, Incoming, NamedEvent, Output, Piece, PopularityIndex, RestoreFrom, Restoring};
use authpulse_engine::{Settings, Shard, SourceKind};
use authpulse_event::{ArrivalTime, Day, EventTime, HashRange, Position, SequenceNumber, parse_line, parse_record};
use authpulse_oracle::cases::Case;
use authpulse_oracle::{Curated, Daily, Form, Hourly, Record, Rejected, Step};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::BTreeSet;

/// A result whose error says what is wrong, in words.
pub type Check<T = ()> = Result<T, TestCaseError>;

/// After this many moves the rest is done in one go, because some schedules never reach an end.
const MOVES_MAX: usize = 600;

/// Everything that the service wrote, and what is left.
pub struct Answer {
    pub curated: Vec<Curated>,
    pub rejected: Vec<Rejected>,
    pub hourly: Vec<Hourly>,
    pub daily: Vec<Daily>,
    pub waiting: usize,
    pub watermarks: Vec<Option<i64>>,
    pub deeds: BTreeSet<Deed>,
}

/// What a service did on the way. A suite checks that each of these happened often enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Stored events that wait.
    StoredWaiting,
    /// Stored events not yet scored.
    StoredUnscored,
    /// Stored events not yet scored that have attributes.
    StoredAttributes,
    /// Stored events that wait and have attributes.
    StoredWaitingAttributes,
    /// Rebuilt a shard from a snapshot.
    FromSnapshot,
    /// Rebuilt a shard from a snapshot whose entry had events not yet scored.
    FromSnapshotWithUnscored,
    /// Rebuilt a shard from all rows.
    FromRows,
    /// The popularity index dropped days.
    Forgot,
    /// Rebuilt a child from its parents' ends.
    FromParents,
    /// Rebuilt a child from all rows.
    ChildFromRows,
    /// Took over a parent as it was in memory.
    TookOver,
    /// Took over a part of a parent that had to be rebuilt.
    TookOverRebuiltPart,
}

impl Deed {
    /// What can happen in cases without children.
    pub const ALONE: [Deed; 8] = [
        Deed::StoredWaiting,
        Deed::StoredUnscored,
        Deed::StoredAttributes,
        Deed::StoredWaitingAttributes,
        Deed::FromSnapshot,
        Deed::FromSnapshotWithUnscored,
        Deed::FromRows,
        Deed::Forgot,
    ];
    /// What can happen only in cases with children.
    pub const OF_CHILDREN: [Deed; 4] =
        [Deed::FromParents, Deed::ChildFromRows, Deed::TookOver, Deed::TookOverRebuiltPart];
}

/// Runs a case to its end under a schedule.
pub fn run(case: &Case, schedule: &Schedule) -> Check<Answer> {
    let mut service = Service::new(case, schedule.chance);
    let mut moves = 0;
    while !service.all_read() && moves < MOVES_MAX && !schedule.moves.is_empty() {
        for next in &schedule.moves {
            service.make(*next)?;
        }
        moves += schedule.moves.len();
    }
    service.finish()
}

/// One stored entry.
struct Entry {
    /// How many of the shard's steps are covered by it and the entries before.
    taken: usize,
    cut: Cut,
    curated: Vec<Curated>,
    rejected: Vec<Rejected>,
    hourly: Vec<Hourly>,
    snapshot: Vec<Piece>,
}

/// One shard of the case while the service runs.
#[derive(Default)]
struct Lane {
    /// `None` before its parents are read to their ends, and after a child has taken it over.
    shard: Option<Shard>,
    taken: usize,
    /// Rows since the last entry.
    out: Output,
    /// How many events waited, and how many were not scored, when `out` was begun.
    before: (usize, usize),
    journal: Vec<Entry>,
    /// A child has begun, so the last entry is the shard's end.
    ended: bool,
}

struct Service<'a> {
    case: &'a Case,
    settings: Settings,
    chance: Chance,
    index: PopularityIndex,
    lanes: Vec<Lane>,
    daily: Vec<Daily>,
    daily_through: Option<Day>,
    deeds: BTreeSet<Deed>,
}

impl<'a> Service<'a> {
    fn new(case: &'a Case, chance: u64) -> Service<'a> {
        let settings = rows::settings(&case.settings);
        Service {
            index: empty_index(case, &settings),
            settings,
            case,
            chance: Chance(chance),
            lanes: case.shards.iter().map(|_| Lane::default()).collect(),
            daily: Vec::new(),
            daily_through: None,
            deeds: BTreeSet::new(),
        }
    }

    fn did(&mut self, deed: Deed, whether: bool) {
        if whether {
            self.deeds.insert(deed);
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Moves.

    fn make(&mut self, next: Move) -> Check {
        match next {
            Move::Take { shard, steps } => {
                let at = self.pick(shard)?;
                self.take(at, steps.into());
            }
            Move::Score { shard } => {
                let at = self.pick(shard)?;
                self.score(at)?;
            }
            Move::Store { shard, piece_bytes } => {
                let at = self.pick(shard)?;
                self.store(at, piece_bytes)?;
            }
            Move::Crash { shard, from } => {
                let at = self.pick(shard)?;
                self.crash(at, from)?;
            }
            Move::CrashAll { from } => {
                self.rebuild_index();
                for at in 0..self.lanes.len() {
                    if self.lanes[at].ended {
                        self.lanes[at].shard = None;
                    } else if self.lanes[at].shard.is_some() {
                        self.crash(at, from)?;
                    }
                }
            }
            Move::Forget => self.forget(),
        }
        Ok(())
    }

    /// One of the shards that are being read or could be. It is begun if need be.
    fn pick(&mut self, choice: u8) -> Check<usize> {
        let can_be_read = |at: &usize| {
            let parents = &self.case.shards[*at].parents;
            !self.lanes[*at].ended && parents.iter().all(|&parent| self.is_read(parent))
        };
        let open: Vec<usize> = (0..self.lanes.len()).filter(can_be_read).collect();
        let at = open[usize::from(choice) % open.len()];
        if self.lanes[at].shard.is_none() {
            self.begin(at)?;
        }
        Ok(at)
    }

    fn is_read(&self, at: usize) -> bool {
        self.lanes[at].shard.is_some() && self.lanes[at].taken == self.case.shards[at].steps.len()
            || self.lanes[at].ended
    }

    fn all_read(&self) -> bool {
        (0..self.lanes.len()).all(|at| self.is_read(at))
    }

    /// Begins a shard: empty, or as the child of its parents.
    fn begin(&mut self, at: usize) -> Check {
        let range = self.range(at);
        let mut shard = if self.case.shards[at].parents.is_empty() {
            Shard::new(self.settings.clone(), self.source(at), range)
        } else {
            let parents = self.parents_of(at, true)?;
            Shard::inherit(self.settings.clone(), range, parents)
        };
        let lane = &mut self.lanes[at];
        lane.before = (shard.waiting().len(), shard.unscored_len());
        shard.admit_inherited(&mut lane.out);
        lane.shard = Some(shard);
        Ok(())
    }

    /// The parents of a shard at their ends. With `at_hand`, by chance as they are in memory; else rebuilt.
    fn parents_of(&mut self, at: usize, at_hand: bool) -> Check<Vec<Shard>> {
        let mut parents = Vec::new();
        for &parent in &self.case.shards[at].parents {
            if !self.lanes[parent].ended {
                let piece_bytes = [None, Some(1), Some(500)][self.chance.below(3)];
                self.store(parent, piece_bytes)?;
                self.lanes[parent].ended = true;
            }
            if at_hand
                && self.chance.below(2) == 0
                && let Some(shard) = self.lanes[parent].shard.take()
            {
                parents.push(shard);
                self.did(Deed::TookOver, true);
                continue;
            }
            let whole = self.range(parent);
            let part = whole.intersect(&self.range(at)).expect("a parent holds some of its heir's users");
            let range = if self.chance.below(2) == 0 { whole } else { part };
            self.did(Deed::TookOverRebuiltPart, at_hand && range != whole);
            let from = self.chance.origin();
            parents.push(self.restore(parent, range, from)?);
        }
        Ok(parents)
    }

    fn take(&mut self, at: usize, steps: usize) {
        let lane = &mut self.lanes[at];
        let shard = lane.shard.as_mut().expect("a shard that is read");
        let reading = self.settings.reading();
        for (number, step) in self.case.shards[at].steps.iter().enumerate().skip(lane.taken).take(steps) {
            match step {
                Step::Record(record) => {
                    let parsed = match record.form {
                        Form::Line => parse_line(&record.payload, reading),
                        Form::Wire => parse_record(&record.payload, record.partition_key.as_bytes(), reading),
                    };
                    shard.admit(incoming(at, number, record), parsed, &mut lane.out);
                }
                Step::Advance(to) => drop(shard.advance_watermark(EventTime::from_micros(*to), &mut lane.out)),
                Step::Flush => shard.flush_waiting(&mut lane.out),
            }
            lane.taken += 1;
        }
    }

    fn score(&mut self, at: usize) -> Check {
        let lane = &mut self.lanes[at];
        let shard = lane.shard.as_mut().expect("a shard that is read");
        shard.score_ready(&mut self.index, &mut lane.out);
        prop_assert_eq!(shard.waits_for_day(&self.index).is_some(), shard.unscored_len() > 0, "what a shard waits for");
        Ok(())
    }

    /// Stores an entry. From now on its rows are written, and other shards can see its counts.
    fn store(&mut self, at: usize, piece_bytes: Option<u16>) -> Check {
        let lane = &mut self.lanes[at];
        let shard = lane.shard.as_mut().expect("a shard that is read");
        let due = (shard.has_counts_to_publish(), shard.has_rows_to_write());
        let cut = shard.cut();
        let done = (!cut.daily_counts.is_empty(), !(cut.hours.is_empty() && cut.scores.is_empty()));
        prop_assert_eq!(due, done, "what a cut has to publish");
        prop_assert!(!shard.has_counts_to_publish() && !shard.has_rows_to_write(), "a cut publishes all there is");

        let out = std::mem::take(&mut lane.out);
        prop_assert_eq!(out.counts.curated, out.scored.len() as u64);
        prop_assert_eq!(out.counts.rejected_total(), out.rejected.len() as u64);
        let (waiting, unscored) = (cut.waiting.len(), cut.unscored.len());
        let came = out.counts.received as usize + lane.before.0 + lane.before.1;
        prop_assert_eq!(came, out.scored.len() + out.rejected.len() + waiting + unscored, "the counts add up");
        prop_assert!(waiting <= 9, "{waiting} wait");
        let last = lane.journal.last().and_then(|last| last.cut.watermark);
        prop_assert!(cut.watermark >= last, "the watermark falls from {last:?} to {:?}", cut.watermark);

        for counts in &cut.daily_counts {
            self.index.add_counts(counts);
        }
        for scores in &cut.scores {
            self.index.add_scores(scores);
        }
        let unscored_bytes = cut.unscored.iter().map(|named| named.event.attributes.bytes()).sum::<usize>();
        prop_assert_eq!(unscored_bytes, shard.unscored_bytes(), "what is not scored takes up what it takes up");
        prop_assert_eq!(shard.row_attribute_bytes(), 0, "what rows share is given up with their entry");
        let waiting_bytes = cut.waiting.iter().map(|waiting| waiting.attributes.bytes()).sum::<usize>();
        lane.before = (waiting, unscored);
        lane.journal.push(Entry {
            taken: lane.taken,
            curated: out.scored.iter().map(|row| rows::curated(shard, row)).collect(),
            rejected: out.rejected.into_iter().map(rows::rejected).collect(),
            hourly: cut.hours.iter().map(|row| rows::hourly(shard, row)).collect(),
            snapshot: piece_bytes.map_or_else(Vec::new, |bytes| shard.snapshot(bytes.into())),
            cut,
        });
        self.did(Deed::StoredWaiting, waiting > 0);
        self.did(Deed::StoredUnscored, unscored > 0);
        self.did(Deed::StoredAttributes, unscored_bytes > 0);
        self.did(Deed::StoredWaitingAttributes, waiting_bytes > 0);
        self.write_days();
        Ok(())
    }

    /// Writes the rows of complete days, each day once. (In a real service the shard with ring position 0 does it.)
    fn write_days(&mut self) {
        while let Some(day) = self.index.days_after(self.daily_through).next()
            && self.index.day_is_complete(day)
        {
            self.daily.extend(self.index.day_rows(day).into_iter().map(rows::daily));
            self.daily_through = Some(day);
        }
    }

    /// Drops the days that every shard has scored and whose rows are written.
    fn forget(&mut self) {
        let living = (0..self.lanes.len()).filter(|&at| !self.lanes[at].ended);
        let scored = living.map(|at| self.scored_through(at)).min().flatten();
        if let Some(oldest) = scored.min(self.daily_through) {
            self.index.forget_before(oldest);
            self.did(Deed::Forgot, true);
        }
    }

    /// The last day whose events a shard has published and scored. A shard without an entry is as far as its parents.
    fn scored_through(&self, at: usize) -> Option<Day> {
        match self.lanes[at].journal.last() {
            Some(last) => scores_through(&last.cut).min(last.cut.counts_through),
            None => self.case.shards[at].parents.iter().map(|&parent| self.scored_through(parent)).min().flatten(),
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Going on after a crash.

    fn crash(&mut self, at: usize, from: Origin) -> Check {
        let lane = &mut self.lanes[at];
        (lane.shard, lane.out) = (None, Output::default());
        let Some(last) = lane.journal.last() else {
            lane.taken = 0;
            return self.begin(at);
        };
        lane.taken = last.taken;
        lane.before = (last.cut.waiting.len(), last.cut.unscored.len());
        let shard = self.restore(at, self.range(at), from)?;
        let last = &self.lanes[at].journal.last().expect("an entry").cut;
        prop_assert_eq!(shard.watermark(), last.watermark);
        prop_assert_eq!(shard.newest_accepted(), last.newest_accepted);
        prop_assert_eq!(shard.last_accepted_live(), last.last_accepted_live);
        prop_assert_eq!(shard.waiting(), &last.waiting[..]);
        prop_assert_eq!(nameless(shard.named_unscored()), nameless(last.unscored.clone()));
        prop_assert!(!shard.has_counts_to_publish() && !shard.has_rows_to_write(), "what is published stays published");
        self.lanes[at].shard = Some(shard);
        Ok(())
    }

    /// Rebuilds a shard as of its last entry, with the users within `range`: its whole range, or a child's part of it.
    fn restore(&mut self, at: usize, range: HashRange, from: Origin) -> Check<Shard> {
        let parents = match from {
            Origin::Parents if !self.case.shards[at].parents.is_empty() => Some(self.parents_of(at, false)?),
            _ => None,
        };
        let journal = &self.lanes[at].journal;
        let last = restore_from(&journal.last().expect("an entry").cut);
        let mut restoring = Restoring::begin(self.settings.clone(), self.source(at), range, last);
        let snapshots: Vec<usize> = (0..journal.len()).filter(|&n| !journal[n].snapshot.is_empty()).collect();
        let deed;
        let mut since: Vec<&Curated> = match (from, parents) {
            (_, Some(parents)) => {
                let child = Shard::inherit(self.settings.clone(), self.range(at), parents);
                for piece in child.snapshot(usize::MAX) {
                    restoring.piece(restoring.reader().read(&piece.bytes)?)?;
                }
                restoring.unscored_at_snapshot(&child.named_unscored());
                deed = Deed::FromParents;
                journal.iter().flat_map(|entry| &entry.curated).collect()
            }
            (Origin::Snapshot { back }, None) if !snapshots.is_empty() => {
                let n = snapshots[snapshots.len() - 1 - usize::from(back) % snapshots.len()];
                let mut pieces: Vec<&Piece> =
                    journal[n].snapshot.iter().filter(|piece| piece.range.intersect(&range).is_some()).collect();
                self.chance.shuffle(&mut pieces);
                for piece in pieces {
                    restoring.piece(restoring.reader().read(&piece.bytes)?)?;
                }
                restoring.unscored_at_snapshot(&journal[n].cut.unscored);
                let has_unscored = !journal[n].cut.unscored.is_empty();
                deed = if has_unscored { Deed::FromSnapshotWithUnscored } else { Deed::FromSnapshot };
                journal[n + 1..].iter().flat_map(|entry| &entry.curated).collect()
            }
            _ => {
                let is_child = !self.case.shards[at].parents.is_empty();
                deed = if is_child { Deed::ChildFromRows } else { Deed::FromRows };
                // The table as of the shard's last entry, so without rows that its descendants wrote.
                let there = (0..self.lanes.len()).filter(|&other| !self.descends(other, at));
                let entries = there.flat_map(|other| &self.lanes[other].journal);
                entries.flat_map(|entry| &entry.curated).collect()
            }
        };
        self.chance.shuffle(&mut since);
        for row in since {
            restoring.row(&rows::stored(row));
        }
        self.did(deed, true);
        Ok(restoring.finish())
    }

    /// Rebuilds the popularity index from all entries, as a process that has just started does.
    fn rebuild_index(&mut self) {
        let mut cuts: Vec<&Cut> =
            self.lanes.iter().flat_map(|lane| lane.journal.iter().map(|entry| &entry.cut)).collect();
        self.chance.shuffle(&mut cuts);
        self.index = empty_index(self.case, &self.settings);
        for cut in cuts {
            cut.scores.iter().for_each(|scores| self.index.add_scores(scores));
            cut.daily_counts.iter().for_each(|counts| self.index.add_counts(counts));
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // The end.

    fn finish(mut self) -> Check<Answer> {
        for at in 0..self.lanes.len() {
            if self.lanes[at].shard.is_none() && !self.lanes[at].ended {
                self.begin(at)?;
            }
            if !self.lanes[at].ended {
                self.take(at, usize::MAX);
                self.score(at)?;
                self.store(at, None)?;
            }
        }
        let ends: Vec<&Cut> = self.lanes.iter().map(|lane| &lane.journal.last().expect("an end").cut).collect();
        let watermarks = ends.iter().map(|end| end.watermark.map(EventTime::micros)).collect();
        let newest = ends.iter().filter_map(|end| end.newest_accepted).max().map(Day::of);

        let mut leaves: Vec<usize> = (0..self.lanes.len()).filter(|&at| !self.lanes[at].ended).collect();
        let mut waiting = 0;
        for &at in &leaves {
            waiting += self.set_waiting_aside(at)?;
        }
        self.chance.shuffle(&mut leaves);
        if let Some(newest) = newest {
            self.seal(&leaves, newest)?;
        }
        let mut answer = Answer {
            curated: Vec::new(),
            rejected: Vec::new(),
            hourly: Vec::new(),
            daily: self.daily,
            waiting,
            watermarks,
            deeds: self.deeds,
        };
        for entry in self.lanes.into_iter().flat_map(|lane| lane.journal) {
            answer.curated.extend(entry.curated);
            answer.rejected.extend(entry.rejected);
            answer.hourly.extend(entry.hourly);
        }
        Ok(answer)
    }

    /// Removes events that still wait, so that the seal does not let them go on. The oracle only counts them, and closes all hours and
    /// days nevertheless.
    fn set_waiting_aside(&mut self, at: usize) -> Check<usize> {
        let last = self.lanes[at].journal.last_mut().expect("an end");
        let waiting = std::mem::take(&mut last.cut.waiting).len();
        if waiting > 0 {
            let from = self.chance.origin();
            self.crash(at, from)?;
        }
        Ok(waiting)
    }

    /// Advances the watermark of every shard without children to the end of the newest day, so that all is scored and written.
    fn seal(&mut self, leaves: &[usize], newest: Day) -> Check {
        for &at in leaves {
            let lane = &mut self.lanes[at];
            let shard = lane.shard.as_mut().expect("a shard that is read");
            shard.flush_waiting(&mut lane.out);
            shard.advance_watermark(newest.end(), &mut lane.out);
            self.store(at, None)?;
        }
        for &at in leaves {
            self.score(at)?;
            self.store(at, None)?;
            prop_assert_eq!(self.lanes[at].before, (0, 0), "events are left after a seal");
            let cut = &self.lanes[at].journal.last().expect("an end").cut;
            self.index.seal(self.range(at), cut.counts_through, scores_through(cut));
        }
        prop_assert_eq!(self.index.days_after(self.daily_through).next(), None, "a day is left after a seal");
        prop_assert!(self.index.can_use(Day(newest.0 + 100)), "a sealed shard counts as empty for later days");
        Ok(())
    }

    // -----------------------------------------------------------------------------------------------------------------

    fn range(&self, at: usize) -> HashRange {
        rows::range(self.case.shards[at].range)
    }

    fn source(&self, at: usize) -> SourceKind {
        if self.case.shards[at].live { SourceKind::Stream } else { SourceKind::File }
    }

    fn descends(&self, at: usize, from: usize) -> bool {
        let parents = &self.case.shards[at].parents;
        parents.iter().any(|&parent| parent == from || self.descends(parent, from))
    }
}

/// A popularity index without counts. Parts of the ring that no shard of the case owns count as sealed.
fn empty_index(case: &Case, settings: &Settings) -> PopularityIndex {
    let mut index = PopularityIndex::new(settings.time.lookback_days);
    let mut owned: Vec<(u128, u128)> =
        case.shards.iter().filter(|shard| shard.parents.is_empty()).map(|shard| shard.range).collect();
    owned.sort_unstable();
    let mut next = Some(0);
    for (first, last) in owned {
        if let Some(next) = next.filter(|next| *next < first) {
            index.seal(rows::range((next, first - 1)), None, None);
        }
        next = last.checked_add(1);
    }
    if let Some(next) = next {
        index.seal(rows::range((next, u128::MAX)), None, None);
    }
    index
}

fn incoming(shard: usize, number: usize, record: &Record) -> Incoming<'_> {
    // Sequence numbers grow over all shards. So if two events arrive at once, the one of the shard that the case names first comes first.
    let sequence = SequenceNumber::from((shard as u64) << 32 | number as u64);
    Incoming {
        payload: &record.payload,
        payload_bytes: record.payload.len() as u64,
        position: Position { sequence, sub_sequence: 0 },
        arrival: ArrivalTime::from_micros(record.arrival),
    }
}

/// The cut of a shard's last entry, in the form from which a shard is rebuilt.
pub fn restore_from(cut: &Cut) -> RestoreFrom {
    let Cut { watermark, newest_accepted, last_accepted_live, hours_through, counts_through, .. } = *cut;
    RestoreFrom {
        watermark,
        newest_accepted,
        last_accepted_live,
        waiting: cut.waiting.clone(),
        unscored: cut.unscored.clone(),
        hours_through,
        counts_through,
        score_spans: cut.score_spans.clone(),
    }
}

/// The last day whose high-risk counts all parts of the range have published.
fn scores_through(cut: &Cut) -> Option<Day> {
    cut.score_spans.iter().map(|(_, day)| *day).min().flatten()
}

/// Events with the numbers of their names reset, because these differ from process to process.
fn nameless(mut events: Vec<NamedEvent>) -> Vec<NamedEvent> {
    for named in &mut events {
        (named.event.user, named.event.computer) = Default::default();
    }
    events
}
