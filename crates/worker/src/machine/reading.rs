//! What a worker does while it reads: what it reads next, and what follows from the records.

use super::Machine;
use super::bounds::unscored_room;
use super::effects::{Act, Effects, Look, Lost, News, Reason, StepOutcome, Want};
use super::life::Goal;
use crate::input::{Batch, ReadStatus};
use authpulse_event::Tick;
use authpulse_journal::error::Result;

impl Machine {
    /// Begins a step: admits what is at hand, or reads, or lets scoring catch up first.
    ///
    /// # Errors
    /// Another owner has taken the shard over.
    pub(super) fn read_on(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        let room = unscored_room(&self.engine.shard);
        if room == 0 {
            return self.catch_up_scoring(look, out);
        }
        if look.waits_for_columns {
            // Nothing more is read: what is at hand can be written nowhere else.
            return Ok(Act::Peek(None));
        }
        if !self.at_hand.is_empty() {
            self.quiet.does_not_read();
            return Ok(Act::Hear(News::AtHand));
        }
        self.quiet.reads(look.others.newest_watermark_of_others(&self.key));
        Ok(Act::Read {
            limit: self.bounds(look).read_limit(room),
            // A stream that does not answer delays neither the next entry nor the end.
            due_in: self.storing.due_at(self.builder.opened).map(|at| at - look.now),
        })
    }

    /// Scoring is too far behind: says what is missing, and reads on only when scoring has caught up. What others may wait for is stored at
    /// once, the rest when it is due: an entry stored now would mean that all those events are stored twice, unscored in this one and
    /// scored in the next.
    fn catch_up_scoring(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        if look.entry_under_way {
            let day = self.waits_for_day(look);
            out.want = Some(Want(day));
            return Ok(Act::AwaitStored);
        }
        self.rest(look, out)
    }

    /// Takes in what was read, and notes a gap before it.
    pub(super) fn has_read(&mut self, batch: Batch, found: ReadStatus, now: Tick, out: &mut Effects) {
        self.quiet.has_read(found.clock);
        self.at_hand.read(batch, found);
        let Some(gap) = self.at_hand.take_gap() else { return };
        let lost = Lost { after: self.at_hand.position, records: gap.records };
        if self.builder.add_gap(gap) {
            out.lost = Some(lost);
        }
        self.builder.open(now);
    }

    /// To be called after `n` records were admitted and scored as far as possible. Goes on with the rest until the entry is full or scoring
    /// is too far behind.
    ///
    /// # Errors
    /// The engine panicked on an event that was held back.
    pub(super) fn has_admitted(&mut self, n: usize, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        self.collect();
        if self.engine.out.scored.len() >= self.options.chunk_rows {
            out.rows = self.take_rows(look);
        }
        if n > 0 && !self.is_full(look) && unscored_room(&self.engine.shard) > 0 {
            return Ok(Act::Hear(News::AtHand));
        }
        if self.is_due(look) {
            return Ok(Act::Store(Reason::Due));
        }
        self.behind_what_was_read(look, out)
    }

    /// Returns what follows when nothing is due and the records at hand are admitted, or as many of them as there is room for.
    ///
    /// # Errors
    /// The engine panicked on an event that was held back.
    pub(super) fn behind_what_was_read(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        if !self.at_hand.is_empty() {
            return Ok(Act::Return(StepOutcome::Worked));
        }
        let sealing = matches!(self.goal, Goal::SealAt(_));
        if self.at_hand.found.at_end && (sealing || look.others.knows_what_follows(&self.key)) {
            return self.reach_end(look, out);
        }
        match self.goal {
            Goal::Until(tip) if self.at_hand.has_reached(tip) => return Ok(Act::Hear(News::Stop)),
            Goal::SealAt(tip) if self.at_hand.has_reached(tip) => return self.reach_end(look, out),
            _ => {}
        }
        if self.at_hand.has_admitted || !self.at_hand.found.at_tip {
            return Ok(Act::Return(StepOutcome::Worked));
        }
        // Does not wait for the entry under way: records that come meanwhile are read at once.
        Ok(Act::Peek(Some(News::AtTip)))
    }
}
