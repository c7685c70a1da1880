//! Closing the entry in the making: what it takes from the state, and what it says of the shard.

use super::Machine;
use super::effects::{Act, Effects, Look, Reason, StepOutcome};
use super::life::Phase;
use crate::entry_builder::{Closed, Closing, EntryBuilder};
use authpulse_engine::rows::ScoredEvent;
use authpulse_journal::error::Result;

impl Machine {
    /// Closes the entry in the making, if there is reason to. The entry before it is stored, and the events that this made ready are
    /// scored.
    ///
    /// # Errors
    /// After the entry is closed, the engine panicked on an event that was held back.
    pub(super) fn close(&mut self, reason: Reason, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        match reason {
            Reason::Stop if !self.has_news(look) => return Ok(self.done()),
            Reason::Ready if self.engine.out.scored.is_empty() && !self.has_rows(look) => {
                // A worker that had reached its goal only looked once more.
                let looked = self.phase == Phase::Done;
                return Ok(if looked { Act::Return(StepOutcome::Idle) } else { self.done() });
            }
            _ => {}
        }
        self.collect();
        let bounds = self.bounds(look);
        let is_full = self.is_full(look);
        // One entry is mostly about as large as the one before.
        let raw_expected = bounds.raw_expected(self.builder.raw.len());
        out.rows = self.take_rows(look);
        let builder = std::mem::replace(&mut self.builder, EntryBuilder::new(self.at_hand.position, raw_expected));
        let cut = self.engine.shard.cut();
        let closing = Closing {
            to: self.at_hand.position,
            days: self.take_days(look),
            takes_snapshot: self.snapshots.closed(builder.counts.curated, &self.options, look.now),
            read_to_end: self.phase.is_read_to_end(),
            flushed: self.phase.is_flushed(),
            end: reason == Reason::ShardEnd,
            sealed: match reason {
                Reason::Sealed(seal) => Some(seal.mark()),
                _ => None,
            },
            backfill: self.run.stored(),
            inherits: std::mem::take(&mut self.inherits),
        };
        self.storing.closed(is_full, look.now);
        out.closed = Some(Closed { builder, cut, closing });
        out.awaits_stored = reason.awaits_stored();
        self.behind(reason, look, out)
    }

    /// Moves counts and dead letters into the entry in the making.
    pub(super) fn collect(&mut self) {
        let (shard, decided) = (&self.engine.shard, &mut self.engine.out);
        self.input_tally.rejected(&decided.rejected);
        self.builder.counts.add(&std::mem::take(&mut decided.counts));
        self.run.name(&mut decided.rejected, shard.waiting());
        self.builder.add_rejected(&mut decided.rejected);
    }

    /// Takes the rows scored so far. The next vector has room for as many, so that it need not grow.
    pub(super) fn take_rows(&mut self, look: &Look<'_>) -> Vec<ScoredEvent> {
        let expected = self.bounds(look).rows_expected(self.engine.out.scored.len());
        std::mem::replace(&mut self.engine.out.scored, Vec::with_capacity(expected))
    }

    /// The rows of the days that are complete, where this shard writes them, and the day they reach.
    fn take_days(&mut self, look: &Look<'_>) -> (Vec<authpulse_engine::rows::DayRow>, Option<i32>) {
        if !self.writes_days() {
            return (Vec::new(), None);
        }
        let (rows, through) = look.others.complete_days(self.daily_through);
        self.daily_through = through;
        (rows, through.map(|d| d.0))
    }
}
