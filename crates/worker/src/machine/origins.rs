//! Where sorted lines stood in their files, for the words of dead letters. The number of a sorted line is only its rank, by which nobody
//! finds it.

use authpulse_engine::rows::RejectedRecord;
use authpulse_event::Position;
use authpulse_files::{self as input, LineBlock, Origin, Sorted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
pub struct Origins {
    sorted: Arc<Sorted>,
    /// Of the lines at hand.
    current: Option<input::Origins>,
    /// Of the events that wait, whose lines may be long past.
    waiting: BTreeMap<u64, Origin>,
}

impl Origins {
    /// Before the first line; or behind earlier lines, of whose events some wait.
    pub fn new(sorted: Arc<Sorted>, waiting: BTreeMap<u64, Origin>) -> Origins {
        Origins { sorted, current: None, waiting }
    }

    /// Notes the lines that are admitted next.
    pub fn at(&mut self, block: &LineBlock) {
        self.current.clone_from(&block.origins);
    }

    /// Says of each dead letter where its line stood.
    pub fn name(&self, letters: &mut [RejectedRecord]) {
        for letter in letters {
            if let Some(Origin { source, line }) = letter.position.sequence.as_u64().and_then(|rank| self.of(rank)) {
                letter.detail.push_str(&format!(" (line {line} of {})", self.sorted.name(source)));
            }
        }
    }

    /// Keeps what is known of the events that wait, and forgets the others.
    pub fn keep(&mut self, waiting: impl Iterator<Item = Position>) {
        let ranks = waiting.filter_map(|position| position.sequence.as_u64());
        self.waiting = ranks.filter_map(|rank| Some((rank, self.of(rank)?))).collect();
    }

    fn of(&self, rank: u64) -> Option<Origin> {
        let current = self.current.as_ref().and_then(|origins| origins.of(rank));
        current.or_else(|| self.waiting.get(&rank).copied())
    }
}
