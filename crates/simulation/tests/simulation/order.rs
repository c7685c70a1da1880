//! Counts the decisions of a run.

use authpulse_journal::sink::{Decision, DecisionSink};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts decisions.
#[derive(Default)]
pub struct Decisions(pub AtomicU64);

impl DecisionSink for Decisions {
    fn min_score(&self) -> u8 {
        0
    }
    fn decided(&self, _: Decision<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
