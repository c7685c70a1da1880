//! How far the input has been read, for a progress bar.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes as they lie on disk, so that rate and remaining time hold for compressed files too.
///
/// The reading thread is ahead of the lines handed out by at most the queue between them, a few MiB.
#[derive(Debug, Default)]
pub struct ReadProgress {
    read_bytes: AtomicU64,
    total_bytes: Option<u64>,
}

impl ReadProgress {
    /// Nothing is read yet of `total_bytes`.
    pub(super) fn new(total_bytes: Option<u64>) -> Self {
        ReadProgress { read_bytes: AtomicU64::new(0), total_bytes }
    }

    /// Counts bytes that were read.
    pub(super) fn add(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes taken in so far, over all sources.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all sources together; `None` where one is standard input or a pipe.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }
}
