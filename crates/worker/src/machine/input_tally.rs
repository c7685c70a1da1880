//! What a worker counts only to report it, and on which no row depends: lines by file, ids that repeat, attributes that are dropped.

use super::engine::Seen;
use authpulse_engine::rows::RejectedRecord;
use authpulse_event::{Reading, ShardId};
use authpulse_files::LineBlock;
use authpulse_files::own_ids::OwnIds;
use authpulse_files::tally::Tally;
use authpulse_journal::columns_said::Said;
use std::sync::{Arc, Mutex, PoisonError};

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::worker::told";

/// Counts that the caller who started the worker reads at the end.
pub type SharedTally = Arc<Mutex<Tally>>;

/// How many events with own ids a shard of a stream must have before the worker warns that most of them repeat. With fewer, it warns at the
/// shard's end.
const IDS_REPORTED_FROM: u64 = 1_000;

/// See the module.
pub struct InputTally {
    /// Where lines are counted.
    pub tally: Option<SharedTally>,
    /// Ids that a stream's producers sent.
    own_ids: OwnIds,
    /// Whether it has warned that they repeat.
    warned_of_ids: bool,
    /// What the workers of the process have said of columns.
    said: Arc<Said>,
}

impl InputTally {
    /// Nothing is counted yet.
    pub fn new(said: Arc<Said>) -> InputTally {
        InputTally { tally: None, own_ids: OwnIds::default(), warned_of_ids: false, said }
    }

    fn with_tally(&self, count: impl FnOnce(&mut Tally)) {
        if let Some(tally) = &self.tally {
            count(&mut tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Counts the next `records` lines of a block, which are admitted next.
    pub fn lines_of(&self, block: &LineBlock, records: usize) {
        self.with_tally(|tally| tally.lines(block, records as u64));
    }

    /// Counts records that are admitted next.
    pub fn records(&mut self, seen: &[Seen<'_>]) {
        let events = seen.iter().filter_map(|seen| seen.event());
        match &self.tally {
            Some(tally) => {
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                events.for_each(|event| tally.event(event));
            }
            None => events.for_each(|event| self.own_ids.see(event)),
        }
    }

    /// Notes the attributes of a record that were left out, if there are any.
    pub fn drops(&self, key: &ShardId, seen: &Seen<'_>, partition_key: Option<&[u8]>, reading: Reading) {
        if seen.event().is_some_and(|event| event.fields_dropped > 0) {
            self.said.drops(key, seen.incoming.payload, partition_key, reading);
        }
    }

    /// Counts dead letters before they are moved on.
    pub fn rejected(&self, letters: &[RejectedRecord]) {
        self.with_tally(|tally| {
            for record in letters {
                let line = record.position.sequence.as_u64().unwrap_or(0);
                tally.rejected(line, record.reason.name(), &record.detail);
            }
        });
    }

    /// The words that warn that most ids of a stream repeat; returned once.
    pub fn ids_repeat(&mut self, at_end: bool) -> Option<String> {
        if self.warned_of_ids || !(at_end || self.own_ids.events() >= IDS_REPORTED_FROM) {
            return None;
        }
        let words = self.own_ids.warning();
        self.warned_of_ids = words.is_some();
        words
    }
}

/// Logs the warning that ids repeat.
pub fn warn_of_ids(shard: &ShardId, words: &str) {
    tracing::warn!(target: TARGET, %shard, "{words}");
}
