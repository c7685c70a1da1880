//! What a worker does after its last record: its end as a parent, or a seal in two steps.

use super::Machine;
use super::effects::{Act, Effects, Look, News, Reason, StepOutcome, Want};
use super::life::{Goal, Phase};
use authpulse_engine::Shard;
use authpulse_journal::error::Result;
use authpulse_journal::registry::Registry;
use authpulse_lake::Seal;
use std::collections::BTreeSet;

impl Machine {
    /// Every record is admitted: the files or the shard end as the goal and the shard's children ask.
    ///
    /// # Errors
    /// The engine panicked on an event that was held back.
    pub(super) fn reach_end(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        self.tell_of_ids_at_end(out);
        let gives_up = self.goal == Goal::GiveUp;
        self.run.ends(gives_up.then_some(self.at_hand.position));
        if gives_up {
            self.flush_waiting()?;
        }
        if matches!(self.goal, Goal::EndKeepOpen | Goal::GiveUp) {
            // The last entry says that the files are read, whether it holds anything else or not.
            return Ok(Act::Store(Reason::EndOfFiles));
        }
        let is_parent = !look.others.children(&self.key).is_empty();
        self.phase = if is_parent { Phase::Parent } else { Phase::Ended };
        let ends = is_parent && self.children_can_start(look.others);
        Ok(Act::Store(if ends { Reason::ShardEnd } else { Reason::ReadToEnd }))
    }

    /// Warns if ids repeat, now that no more come.
    pub(super) fn tell_of_ids_at_end(&mut self, out: &mut Effects) {
        if let Some(words) = self.input_tally.ids_repeat(true) {
            out.ids_repeat = Some(words);
        }
    }

    /// Flushes what is held back: nothing more comes that it could wait for.
    fn flush_waiting(&mut self) -> Result<()> {
        self.engine.release(Shard::flush_waiting)?;
        self.collect();
        Ok(())
    }

    /// Whether every parent of every child shard is read to its end; this one is.
    fn children_can_start(&self, others: &Registry) -> bool {
        let children = others.children(&self.key);
        let parents = children.iter().flat_map(|child| others.parents(child));
        parents.into_iter().all(|p| p == self.key || others.view(&p).is_some_and(|view| view.read_to_end))
    }

    /// [`Phase::Parent`]: waits until the other parents of its child shards are read to their ends.
    ///
    /// # Errors
    /// Another owner has taken the shard over, or the engine panicked on an event that was held back.
    pub(super) fn wait_for_other_parents(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        if self.children_can_start(look.others) {
            return Ok(Act::Store(Reason::ShardEnd));
        }
        let mut ancestors = BTreeSet::new();
        for child in look.others.children(&self.key) {
            ancestors.extend(look.others.ancestors(&child));
        }
        ancestors.remove(&self.key);
        self.advance_watermark(look.others.newest_watermark_among(&ancestors), "ancestor", look.now)?;
        self.rest(look, out)
    }

    /// [`Phase::Ended`]: waits until all shards are read to their ends, then flushes what is held back.
    ///
    /// # Errors
    /// Another owner has taken the shard over, or the engine panicked on an event that was held back.
    pub(super) fn wait_for_ends(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        if look.others.all_leaves(|_, view| view.read_to_end) {
            self.flush_waiting()?;
            self.phase = Phase::Flushed;
            return Ok(Act::Store(Reason::Flushed));
        }
        self.advance_watermark(look.others.newest_watermark_of_others(&self.key), "idle", look.now)?;
        self.rest(look, out)
    }

    /// [`Phase::Flushed`]: waits until all shards are flushed, so that all know up to where the seal goes. Then advances the watermark to
    /// it.
    ///
    /// # Errors
    /// Another owner has taken the shard over, or the engine panicked on an event that was held back.
    pub(super) fn wait_for_flushed(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        if !look.others.all_leaves(|_, view| view.flushed) {
            return self.rest(look, out);
        }
        self.advance_watermark(look.others.seals_up_to(), "seal", look.now)?;
        self.phase = Phase::Advanced;
        Ok(Act::Store(Reason::Advanced))
    }

    /// [`Phase::Advanced`]: waits until all is scored, writes hours and days, and says that the shard is sealed.
    ///
    /// # Errors
    /// Another owner has taken the shard over.
    pub(super) fn finish_seal(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        if self.engine.shard.unscored_len() > 0 {
            return self.rest(look, out);
        }
        let seal = look.others.seals_up_to();
        if self.writes_days() && seal.is_some() {
            // Days are complete when every shard has published its scores.
            if self.engine.shard.has_rows_to_write() || !self.engine.out.scored.is_empty() {
                return Ok(Act::Store(Reason::Scored));
            }
            let others_sealed = look.others.all_leaves(|leaf, view| *leaf == self.key || view.sealed.is_some());
            // A shard that was split may have published its last scores with its last entry.
            if !others_sealed || !look.others.knows_last_of_parents() {
                return self.rest(look, out);
            }
        }
        Ok(Act::Store(Reason::Sealed(seal.map_or(Seal::Nothing, Seal::UpTo))))
    }

    /// What follows an entry that is closed for this reason.
    ///
    /// # Errors
    /// The engine panicked on an event that was held back.
    pub(super) fn behind(&mut self, reason: Reason, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        match reason {
            Reason::Due => self.behind_what_was_read(look, out),
            Reason::Inherited | Reason::DueAtRest | Reason::ReadToEnd | Reason::Flushed | Reason::Advanced => {
                Ok(Act::Return(StepOutcome::Worked))
            }
            // Again and again, until nothing more can be scored without other shards.
            Reason::EndOfFiles => Ok(Act::Store(Reason::Ready)),
            Reason::Ready if self.phase != Phase::Done => Ok(Act::Store(Reason::Ready)),
            Reason::Ready => Ok(Act::Return(StepOutcome::Worked)),
            Reason::Scored => Ok(Act::Hear(News::Tick)),
            Reason::ShardEnd | Reason::Sealed(_) => {
                out.want = Some(Want(None));
                Ok(self.done())
            }
            Reason::Stop => Ok(self.done()),
        }
    }

    /// Nothing is left to do.
    pub(super) fn done(&mut self) -> Act {
        self.phase = Phase::Done;
        Act::Return(StepOutcome::Done)
    }
}
