//! Whether this process was told to end.

use std::sync::OnceLock;
use std::time::Instant;

/// That the process was told to end.
#[derive(Clone, Copy, Debug)]
pub struct StopRequest {
    /// When.
    pub since: Instant,
    /// By what.
    pub by: &'static str,
}

static REQUEST: OnceLock<StopRequest> = OnceLock::new();

/// Whether this process was told to end, and by what.
pub fn stop_requested() -> Option<StopRequest> {
    REQUEST.get().copied()
}

/// It is told so now, by the first of those that tell it.
pub fn note(by: &'static str) {
    REQUEST.get_or_init(|| StopRequest { since: Instant::now(), by });
}
