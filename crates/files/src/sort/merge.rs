//! Merges many runs into one, a line at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use super::run::{Head, Key, Run, RunReader};

/// The lines of some runs in order.
pub(super) struct Merge {
    readers: Vec<RunReader>,
    /// The first line left in each run that has one.
    next: BinaryHeap<Reverse<(Key, usize)>>,
}

impl Merge {
    /// Begins at the first line of each run.
    ///
    /// # Errors
    /// A run cannot be read.
    pub(super) fn new(runs: &[Run]) -> io::Result<Merge> {
        let readers: Vec<RunReader> = runs.iter().map(RunReader::new).collect::<io::Result<_>>()?;
        let keys = readers.iter().enumerate().filter_map(|(run, reader)| Some(Reverse((reader.key()?, run))));
        let next = keys.collect();
        Ok(Merge { readers, next })
    }

    /// The next line; its bytes replace what is in `bytes`.
    ///
    /// # Errors
    /// A run cannot be read, or is damaged.
    pub(super) fn next(&mut self, bytes: &mut Vec<u8>) -> io::Result<Option<Head>> {
        let Some(Reverse((_, run))) = self.next.pop() else { return Ok(None) };
        let reader = &mut self.readers[run];
        let head = reader.take(bytes)?;
        if let Some(key) = reader.key() {
            self.next.push(Reverse((key, run)));
        }
        Ok(head)
    }
}
