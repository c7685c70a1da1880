//! Holds as many lines as fit into memory.

use std::fs::File;
use std::io;

use authpulse_event::EventTime;

use super::run::{self, HEAD_BYTES, Head, Run, stored_length};

/// What stands for a line when lines are put in order: its time, and where it begins.
type Entry = (EventTime, usize);

/// Lines in the order in which they came, and what they are sorted by: time and place, which makes the order stable.
pub(super) struct Filling {
    /// Heads and bytes, as a run holds them.
    stored: Vec<u8>,
    /// One for each line of `stored`.
    order: Vec<Entry>,
    stored_max: usize,
    order_max: usize,
}

impl Filling {
    /// A short line of a log takes up about three quarters of its room in `stored`. Memory is asked for once: a vector that grows
    /// would take up to twice as much.
    pub(super) fn new(memory_bytes: usize) -> Filling {
        let order_max = (memory_bytes / 4 / size_of::<Entry>()).max(1);
        let stored_max = memory_bytes - memory_bytes / 4;
        Filling { stored: Vec::with_capacity(stored_max), order: Vec::with_capacity(order_max), stored_max, order_max }
    }

    /// Whether it holds no line.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether a line of this many bytes fits. The first always does, however long it is.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let stored = self.stored.len() + HEAD_BYTES + size_of::<u64>() + bytes;
        self.is_empty() || (stored <= self.stored_max && self.order.len() < self.order_max)
    }

    /// Adds a line.
    pub(super) fn push(&mut self, head: Head, bytes: &[u8]) {
        self.order.push((head.key().0, self.stored.len()));
        self.stored.reserve(head.stored_bytes(bytes.len()));
        head.write(bytes, &mut self.stored).expect("a vector takes what is written to it");
    }

    /// Writes the lines in order, and is empty again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&mut self, file: File) -> io::Result<Run> {
        self.order.sort_unstable();
        let mut out = run::Writer::new(file)?;
        for &(_, begin) in &self.order {
            let line = &self.stored[begin..];
            out.write_stored(&line[..stored_length(line)])?;
        }
        self.order.clear();
        self.stored.clear();
        out.finish()
    }
}
