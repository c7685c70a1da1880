//! What a worker does while it has nothing to read: its watermark advances, and it stores what is due or what others wait for.

use super::Machine;
use super::effects::{Act, Effects, Look, News, Reason, StepOutcome, Want};
use super::storing::PendingEntry;
use authpulse_event::{Day, EventTime, Tick};
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_lake::entry::WatermarkAdvance;

impl Machine {
    /// There is nothing to read for now: advances the watermark if nothing was accepted for long enough.
    ///
    /// # Errors
    /// The engine panicked on an event that was held back.
    pub(super) fn advance_at_tip(&mut self, now: Tick) -> Result<()> {
        let shard = &self.engine.shard;
        let (live, tolerance) = (shard.last_accepted_live(), shard.settings().time.tolerance);
        self.advance_watermark(self.quiet.advances_to(live, tolerance, now), "idle", now)
    }

    /// Advances the watermark to `to`, if that is ahead of it, and notes the advance with its cause (`idle`, `ancestor` or `seal`) in the
    /// entry.
    ///
    /// # Errors
    /// The engine panicked on an event that was held back.
    pub(super) fn advance_watermark(&mut self, to: Option<EventTime>, cause: &str, now: Tick) -> Result<()> {
        let Some(to) = to else { return Ok(()) };
        if self.engine.release(|shard, out| shard.advance_watermark(to, out))? {
            self.builder.open(now);
            self.builder.advances.push(WatermarkAdvance {
                after: self.at_hand.position.into(),
                to,
                cause: cause.to_owned(),
            });
            self.collect();
        }
        Ok(())
    }

    /// Nothing is read: reports which day's counts this shard's scoring waits for, then decides what is stored.
    ///
    /// # Errors
    /// Another owner has taken the shard over.
    pub(super) fn rest(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        // A worker that has nothing to store does not learn by storing that another owner has taken the shard over.
        if !look.entry_under_way
            && let Some(view) = look.others.view(&self.key)
            && view.last > self.last.n
        {
            return Err(ConsumerError::Fenced { shard: self.key.clone(), n: self.last.n + 1 });
        }
        let day = self.waits_for_day(look);
        out.want = Some(Want(day));
        Ok(Act::Hear(News::Waits { for_a_day: day.is_some() }))
    }

    /// Stores when another shard waits, or when there are rows and the last entry is old enough.
    pub(super) fn store_at_rest(&self, waits_for_a_day: bool, look: &Look<'_>) -> Act {
        let publishes = self.engine.shard.has_counts_to_publish();
        let is_waited_for = publishes && (waits_for_a_day || self.is_waited_for(look));
        let has_rows = || self.has_rows(look) || !self.engine.out.scored.is_empty();
        if is_waited_for || self.is_due(look) || (self.storing.is_aged(look.now) && has_rows()) {
            return Act::Store(Reason::DueAtRest);
        }
        Act::Return(StepOutcome::Idle)
    }

    /// Which day's counts scoring waits for, if it does.
    pub(super) fn waits_for_day(&self, look: &Look<'_>) -> Option<Day> {
        look.others.with_popularity(|popularity| self.engine.shard.waits_for_day(popularity))
    }

    /// Whether the entry in the making takes no more.
    pub(super) fn is_full(&self, look: &Look<'_>) -> bool {
        self.bounds(look).is_full(&self.builder, &self.engine.out.scored, &self.engine.shard)
    }

    /// Whether the entry in the making is to be stored now.
    pub(super) fn is_due(&self, look: &Look<'_>) -> bool {
        let pending = PendingEntry {
            opened: self.builder.opened,
            is_full: self.is_full(look),
            publishes: self.engine.shard.has_counts_to_publish(),
            rows: self.builder.counts.curated,
            half_unscored: self.engine.shard.is_half_unscored(),
        };
        self.storing.is_due(&pending, look.now, || self.is_waited_for(look))
    }

    /// Whether another shard's scoring stands still for a day that this one could publish.
    fn is_waited_for(&self, look: &Look<'_>) -> bool {
        let passed = self.engine.shard.watermark().map(|w| Day(Day::of(w).0 - 1));
        look.others.is_waited_for(self.last.counts_through.map(Day), passed)
    }

    /// Whether this shard writes the days' rows and there is a complete one.
    pub(super) fn has_day(&self, look: &Look<'_>) -> bool {
        self.writes_days() && look.others.has_complete_day(self.daily_through)
    }

    /// Whether an entry would publish or write anything that follows from what the last one holds.
    pub(super) fn has_rows(&self, look: &Look<'_>) -> bool {
        let shard = &self.engine.shard;
        shard.has_counts_to_publish() || shard.has_rows_to_write() || self.has_day(look)
    }

    /// Whether an entry would tell anything that the last one does not.
    pub(super) fn has_news(&self, look: &Look<'_>) -> bool {
        let out = &self.engine.out;
        !self.builder.is_empty() || !out.scored.is_empty() || out.counts != Default::default() || self.has_rows(look)
    }
}
