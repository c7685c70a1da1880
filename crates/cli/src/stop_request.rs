//! Whether this process was told to end.

use std::sync::OnceLock;
use std::time::Instant;

/// A request that the process end.
#[derive(Clone, Copy, Debug)]
pub struct StopRequest {
    /// When the request came.
    pub since: Instant,
    /// What told it: the name of a signal, or words for the end of the parent.
    pub by: &'static str,
}

static REQUEST: OnceLock<StopRequest> = OnceLock::new();

/// The first request that this process end, if there was one.
pub fn stop_requested() -> Option<StopRequest> {
    REQUEST.get().copied()
}

/// Notes that this process is told to end now. Only the first call counts.
pub fn note(by: &'static str) {
    REQUEST.get_or_init(|| StopRequest { since: Instant::now(), by });
}
