//! What a worker counts for what is said at the end, and changes nothing: lines by file, and ids that repeat.

use super::Worker;
use authpulse_event::ParsedEvent;
use authpulse_files::LineBlock;
use authpulse_files::tally::Tally;
use std::sync::{Arc, Mutex, PoisonError};

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::worker::told";

/// Counts that whoever started the worker reads at the end.
pub type SharedTally = Arc<Mutex<Tally>>;

/// From so many events with own ids on a stream's shard tells that most of them repeat; before, at its end.
const IDS_TOLD_FROM: u64 = 1_000;

impl Worker {
    fn with_tally(&self, count: impl FnOnce(&mut Tally)) {
        if let Some(tally) = &self.tally {
            count(&mut tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// So many records of a block are judged next.
    pub(super) fn count_lines_of(&self, block: &LineBlock, records: usize) {
        self.with_tally(|tally| tally.lines(block, records as u64));
    }

    /// Events are judged next.
    pub(super) fn count_events<'a>(&mut self, events: impl Iterator<Item = Option<&'a ParsedEvent<'a>>>) {
        match &self.tally {
            Some(tally) => {
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                events.flatten().for_each(|event| tally.event(event));
            }
            None => events.flatten().for_each(|event| self.own_ids.see(event)),
        }
    }

    /// Dead letters are about to be moved on.
    pub(super) fn count_rejected(&self) {
        self.with_tally(|tally| {
            for record in &self.out.rejected {
                let line = record.position.sequence.as_u64().unwrap_or(0);
                tally.rejected(line, record.reason.name(), &record.detail);
            }
        });
    }

    /// Tells once where most ids of a stream repeat.
    pub(super) fn tell_of_ids(&mut self, at_end: bool) {
        if self.told_of_ids || !(at_end || self.own_ids.events() >= IDS_TOLD_FROM) {
            return;
        }
        if let Some(words) = self.own_ids.warning() {
            tracing::warn!(target: TARGET, shard = %self.key, "{words}");
            self.told_of_ids = true;
        }
    }
}
