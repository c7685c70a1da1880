//! Checks one entry by itself, and against the entry before it.

use super::stop::{Check, RESTORE_JOURNAL, differ};
use authpulse_engine::rows::Reason;
use authpulse_event::time::{format_rfc3339, hour_of, start_of_hour};
use authpulse_event::{EventTime, Position};
use authpulse_lake::entry::{Entry, EntryCounts, Source, Spill};
use authpulse_lake::{Seal, Table};
use std::fmt::Debug;

/// Checks an entry; `before` is the entry before it, `None` for the first.
pub(super) fn check(before: Option<&Entry>, entry: &Entry, spill: &Spill) -> Check<()> {
    let check = EntryCheck { entry };
    check.format(before)?;
    check.places(before)?;
    check.counts(before)?;
    check.lists(spill)?;
    check.times(before)?;
    check.files()?;
    check.owner(before)?;
    check.backfill(before)?;
    match before {
        Some(before) => check.follows(before, spill),
        None => check.first(),
    }
}

/// Names an entry in words.
pub(super) fn place(entry: &Entry) -> String {
    format!("entry {} of shard {}", entry.n, entry.shard)
}

struct EntryCheck<'a> {
    entry: &'a Entry,
}

impl EntryCheck<'_> {
    fn holds(&self, holds: bool, what: &str, expected: impl ToString, found: impl ToString) -> Check<()> {
        if holds {
            return Ok(());
        }
        Err(differ(what, place(self.entry), expected, found, RESTORE_JOURNAL))
    }

    fn equal<T: PartialEq + Debug>(&self, what: &str, expected: &T, found: &T) -> Check<()> {
        self.holds(expected == found, what, format!("{expected:?}"), format!("{found:?}"))
    }

    /// The time neither falls from one entry to the next nor vanishes.
    fn never_falls(&self, what: &str, before: Option<EventTime>, now: Option<EventTime>) -> Check<()> {
        self.holds(now >= before, what, format!("{} or later", moment(before)), moment(now))
    }

    /// The format never goes back: the program that wrote the older format did not understand the entry before.
    fn format(&self, before: Option<&Entry>) -> Check<()> {
        let least = before.map_or(0, |before| before.format);
        let what = "an entry is of an older format than the one before it";
        self.holds(self.entry.format >= least, what, format!("format {least} or newer"), self.entry.format)
    }

    fn places(&self, before: Option<&Entry>) -> Check<()> {
        let e = self.entry;
        let place = |p: &authpulse_lake::entry::StoredPosition| {
            let position = p.position();
            position.map_err(|why| differ("a position cannot be read", place(e), "a position", why, RESTORE_JOURNAL))
        };
        let (from, to) = (place(&e.from)?, place(&e.to)?);
        let start = before.map_or(Ok(Position::START), |before| place(&before.to))?;
        self.holds(from == start, "positions are not contiguous", format!("from {start}"), format!("from {from}"))?;
        self.holds(from <= to, "an entry ends before it begins", format!("to {from} or later"), format!("to {to}"))?;
        if e.counts.received > 0 {
            self.holds(from < to, "an entry holds records and no positions", format!("to beyond {from}"), to)?;
        }
        if let (Source::File, Some(from), Some(to)) = (&e.source, from.sequence.as_u64(), to.sequence.as_u64()) {
            let lines = to - from;
            let received = e.counts.received;
            self.holds(
                received <= lines,
                "an entry holds more records than lines",
                format!("at most {lines}"),
                received,
            )?;
        }
        let mut last = from;
        for advance in &e.advances {
            let after = place(&advance.after)?;
            let words = "a rise lies outside of its entry";
            self.holds((last..=to).contains(&after), words, format!("after {last} to {to}"), format!("after {after}"))?;
            let reached = e.watermark >= Some(advance.to);
            let advance_to = format!("{} or later", moment(Some(advance.to)));
            self.holds(reached, "the watermark lies below a rise", advance_to, moment(e.watermark))?;
            last = after;
        }
        for gap in &e.gaps {
            let (after, before) = (place(&gap.after)?, place(&gap.before)?);
            let within = from <= after && after <= before && after <= to;
            self.holds(
                within,
                "a gap lies outside of its entry",
                format!("within {from} to {to}"),
                format!("{after} to {before}"),
            )?;
        }
        Ok(())
    }

    fn counts(&self, before: Option<&Entry>) -> Check<()> {
        let counts = &self.entry.counts;
        let unknown = counts.rejected.keys().find(|reason| !Reason::ALL.iter().any(|r| r.name() == reason.as_str()));
        self.holds(unknown.is_none(), "an unknown reason", "a documented reason", unknown.map_or("", String::as_str))?;
        let rejected: u128 = counts.rejected.values().copied().map(u128::from).sum();
        let sum = |parts: &[u64]| parts.iter().copied().map(u128::from).sum::<u128>();
        let given = sum(&[counts.received, counts.waiting_before, counts.unscored_before]);
        let accounted = sum(&[counts.curated, counts.waiting, counts.unscored]) + rejected;
        self.holds(
            given == accounted,
            "an entry's counts do not add up",
            format!("received + open before = {given}"),
            format!("curated + rejected + open after = {accounted}"),
        )?;
        let Some(before) = before else { return Ok(()) };
        let open = |c: &EntryCounts| format!("{} waiting, {} not scored", c.waiting, c.unscored);
        self.holds(
            (counts.waiting_before, counts.unscored_before) == (before.counts.waiting, before.counts.unscored),
            "an entry does not go on with what the one before left open",
            open(&before.counts),
            format!("{} waiting, {} not scored", counts.waiting_before, counts.unscored_before),
        )
    }

    /// The lists of waiting and unscored events are as long as the counts say.
    fn lists(&self, spill: &Spill) -> Check<()> {
        let counts = &self.entry.counts;
        self.equal("the list of events that wait", &counts.waiting, &(self.entry.waiting.len() as u64))?;
        self.equal("the list of events not scored", &counts.unscored, &(spill.unscored.len() as u64))?;
        self.entry.restore_from(spill, &[])?;
        Ok(())
    }

    fn times(&self, before: Option<&Entry>) -> Check<()> {
        let e = self.entry;
        let hours = e.watermark.map(|w| start_of_hour(hour_of(w)));
        self.holds(
            hours == e.hours_through,
            "hours are not written as far as the watermark reaches",
            moment(hours),
            moment(e.hours_through),
        )?;
        self.seal()?;
        let Some(before) = before else { return Ok(()) };
        self.never_falls("the watermark falls", before.watermark, e.watermark)?;
        self.never_falls("the newest event accepted falls", before.newest_accepted, e.newest_accepted)?;
        let days = [(before.counts_through, e.counts_through), (before.daily_through, e.daily_through)];
        for (before, now) in days {
            self.holds(
                now >= before,
                "a published day is taken back",
                format!("{before:?} or later"),
                format!("{now:?}"),
            )?;
        }
        Ok(())
    }

    /// A seal is at or below the watermark; and a seal of an input without accepted events is on a shard that has accepted none.
    fn seal(&self) -> Check<()> {
        let e = self.entry;
        match e.seal() {
            None => Ok(()),
            Some(Seal::Nothing) => {
                let what = "an input of which events were accepted is marked as one of which none was";
                self.holds(e.newest_accepted.is_none(), what, "no event accepted", moment(e.newest_accepted))
            }
            Some(Seal::UpTo(end)) => {
                let reached = e.watermark >= Some(end);
                self.holds(reached, "a seal lies beyond the watermark", moment(e.watermark), moment(Some(end)))
            }
        }
    }

    fn files(&self) -> Check<()> {
        let e = self.entry;
        let rows =
            |table: Table| e.files.iter().filter(move |f| f.table == table).map(|f| u128::from(f.rows)).sum::<u128>();
        let rejected: u128 = e.counts.rejected.values().copied().map(u128::from).sum();
        let curated = u128::from(e.counts.curated);
        self.equal("rows in the entry's curated files", &curated, &rows(Table::CURATED))?;
        self.equal("rows in the entry's files of dead letters", &rejected, &rows(Table::REJECTED))?;
        if !e.raw.is_empty() {
            let raw: u128 = e.raw.iter().map(|f| u128::from(f.rows)).sum();
            self.equal("records in the entry's raw files", &u128::from(e.counts.received), &raw)?;
        }
        for file in &e.files {
            let inside = file.path.starts_with(&format!("{}/data/", file.table.location()));
            self.holds(inside, "a file lies outside of its table", file.table.location(), &file.path)?;
            self.holds(file.rows > 0, "a file without rows", "rows", format!("0 rows in {}", file.path))?;
        }
        let first = e.hash_range()?.first == 0;
        let days = e.files.iter().any(|f| f.table == Table::DAILY) || e.daily_through.is_some();
        self.holds(first || !days, "days are written by a shard that does not hold ring position 0", "no day", "days")
    }

    fn owner(&self, before: Option<&Entry>) -> Check<()> {
        let e = self.entry;
        self.holds(!e.commit_id.is_empty(), "an entry has no commit id", "an id", "none")?;
        self.holds(e.raw_done < e.n, "raw files are final before their entry", format!("below {}", e.n), e.raw_done)?;
        self.holds(e.last_snapshot <= e.n, "a snapshot lies ahead", format!("at most {}", e.n), e.last_snapshot)?;
        if !e.snapshot.is_empty() {
            self.equal("the entry of the newest snapshot", &e.n, &e.last_snapshot)?;
        }
        let epoch = before.map_or(1, |before| before.epoch);
        if e.takes_over {
            self.holds(e.epoch > epoch, "a shard is taken over under an old epoch", format!("above {epoch}"), e.epoch)
        } else if before.is_some() && e.epoch != epoch {
            let what = if e.epoch < epoch { "the epoch falls" } else { "the epoch grows without a take-over" };
            self.holds(false, what, epoch, e.epoch)
        } else {
            self.holds(e.epoch >= epoch, "the epoch is below the first", epoch, e.epoch)
        }
    }

    /// A run that was given up ends at the line that it names, without a seal, and reads no more lines.
    fn backfill(&self, before: Option<&Entry>) -> Check<()> {
        let e = self.entry;
        let Some((backfill, line)) = e.backfill.as_ref().and_then(|run| Some((run, run.given_up?))) else {
            return Ok(());
        };
        let to = e.position()?.sequence.as_u64().unwrap_or(0);
        self.equal(
            "the line after which a backfill was given up",
            &to.checked_sub(backfill.lines_before),
            &Some(line),
        )?;
        let ended = backfill.finished && e.sealed.is_none();
        self.holds(ended, "a backfill that was given up goes on", "a run that is finished and not sealed", "another")?;
        let given_up = before.and_then(|before| before.backfill.as_ref()).and_then(|run| run.given_up);
        let went_on = given_up.is_some() && e.from != e.to;
        self.holds(!went_on, "a backfill that was given up goes on", "no line", format!("lines to {to}"))
    }

    fn first(&self) -> Check<()> {
        let (e, counts) = (self.entry, &self.entry.counts);
        self.holds(!e.takes_over, "a journal begins with a take-over", "an entry with records", "a take-over")?;
        if e.inherits.is_empty() {
            self.equal(
                "what a shard without parents had open",
                &(0, 0),
                &(counts.waiting_before, counts.unscored_before),
            )?;
        }
        Ok(())
    }

    fn follows(&self, before: &Entry, spill: &Spill) -> Check<()> {
        let e = self.entry;
        self.equal("what the shard reads", &before.source, &e.source)?;
        self.equal("the shard's range", &before.range, &e.range)?;
        self.equal("the settings that a lake keeps", &before.time_rules, &e.time_rules)?;
        self.holds(e.inherits.is_empty(), "a later entry inherits", "parents in the first entry only", "parents")?;
        self.holds(!before.end, "a shard goes on after its end", "no entry", "an entry")?;
        self.holds(e.raw_done >= before.raw_done, "final raw files are taken back", before.raw_done, e.raw_done)?;
        let snapshot = if e.snapshot.is_empty() { before.last_snapshot } else { e.n };
        self.equal("the entry of the newest snapshot", &snapshot, &e.last_snapshot)?;
        if e.takes_over {
            return self.takes_over(before);
        }
        let through = spill.daily_counts.iter().map(|counts| counts.through).max().or(before.counts_through);
        self.equal("the last day whose logins are published", &through, &e.counts_through)
    }

    /// A take-over repeats what is open, and adds nothing.
    fn takes_over(&self, before: &Entry) -> Check<()> {
        let e = self.entry;
        let lists =
            [e.files.len(), e.raw.len(), e.advances.len(), e.snapshot.len(), e.gaps.len(), e.counts.rejected.len()];
        let counts = [e.counts.received, e.counts.curated];
        let empty = lists.iter().all(|n| *n == 0) && counts.iter().all(|n| *n == 0) && e.from == e.to;
        self.holds(empty, "a take-over adds something", "nothing new", "records, files or rises")?;
        let same = (&before.waiting, &before.spill, &before.spill_file) == (&e.waiting, &e.spill, &e.spill_file)
            && (before.watermark, before.counts_through, before.daily_through)
                == (e.watermark, e.counts_through, e.daily_through)
            && before.score_spans == e.score_spans;
        self.holds(same, "a take-over changes what it repeats", "what the entry before holds", "something else")
    }
}

/// A time for people.
pub(super) fn moment(at: Option<EventTime>) -> String {
    at.map_or("none".to_owned(), format_rfc3339)
}
