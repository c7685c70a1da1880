//! Whether this process was told to end.

use std::sync::OnceLock;
use std::time::Instant;

/// That the process was told to end.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// When.
    pub since: Instant,
    /// By what.
    pub by: &'static str,
}

static TOLD: OnceLock<Told> = OnceLock::new();

/// Whether this process was told to end, and by what.
pub fn told_to_stop() -> Option<Told> {
    TOLD.get().copied()
}

/// It is told so now, by the first of those that tell it.
pub fn note(by: &'static str) {
    TOLD.get_or_init(|| Told { since: Instant::now(), by });
}
