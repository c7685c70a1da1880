//! One line at a time, for callers that send rather than count.

use std::sync::Arc;

use bytes::Bytes;

use super::{BlockKind, InputError, InputOptions, LINE_BYTES_MAX, LineBlock, LineBlocks, ReadProgress, Source};

/// One record of an input: a line without mark and line end, not blank unless overlong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which source, counted from 0 in the order given.
    pub source: usize,
    /// The line's number through all sources, from 1.
    pub line: u64,
    /// The line's number in its source, from 1: what an editor shows.
    pub line_in_source: u64,
    /// Where it starts in the unpacked source, in bytes.
    pub offset: u64,
    /// Its bytes, or what is kept of them. Shares the memory of its block (about a MiB); copy what is kept for long.
    pub bytes: Bytes,
    /// Its true length in bytes; more than `bytes` has where only a prefix is kept.
    pub length: u64,
}

impl Record {
    /// Whether the line is above [`LINE_BYTES_MAX`] and thus invalid, whatever it holds.
    pub fn is_overlong(&self) -> bool {
        self.length > LINE_BYTES_MAX as u64
    }

    /// Whether `bytes` is the whole line, fit to be sent on unchanged.
    pub fn is_whole(&self) -> bool {
        self.length == self.bytes.len() as u64
    }
}

/// The records of all sources in order. Ends after an error, as [`LineBlocks`] does.
#[derive(Debug)]
pub struct Records {
    blocks: LineBlocks,
    /// The part of a block not yet handed out.
    current: Option<LineBlock>,
}

impl Records {
    /// Starts to read; see [`LineBlocks::open`].
    ///
    /// # Errors
    /// As for [`LineBlocks::open`].
    pub fn open(sources: Vec<Source>, options: InputOptions) -> Result<Records, InputError> {
        LineBlocks::open(sources, options).map(Records::from)
    }

    /// How far the reading is; may be watched from another thread.
    pub fn progress(&self) -> Arc<ReadProgress> {
        self.blocks.progress()
    }

    /// The name of a source for messages, by [`Record::source`].
    pub fn name(&self, source: usize) -> &str {
        self.blocks.name(source)
    }
}

impl From<LineBlocks> for Records {
    fn from(blocks: LineBlocks) -> Self {
        Records { blocks, current: None }
    }
}

impl Iterator for Records {
    type Item = Result<Record, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.current.as_mut().and_then(pop) {
                return Some(Ok(record));
            }
            match self.blocks.next()? {
                Ok(block) => self.current = Some(block),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Takes the first record off a block, with the blank lines before it.
fn pop(block: &mut LineBlock) -> Option<Record> {
    if block.bytes.is_empty() {
        return None;
    }
    let mut lines = block.lines();
    let Some(line) = lines.next() else {
        block.bytes = Bytes::new();
        return None;
    };
    let passed = line.number - block.first_line;
    let record = Record {
        source: block.source,
        line: line.number,
        line_in_source: block.first_line_in_source + passed,
        offset: line.offset,
        bytes: block.bytes.slice_ref(line.bytes),
        length: line.length,
    };
    let rest = lines.position();
    let taken = match block.kind {
        BlockKind::Lines => (rest.offset - block.offset) as usize,
        BlockKind::Overlong { .. } => block.bytes.len(),
    };
    block.first_line_in_source += rest.number - block.first_line;
    block.first_line = rest.number;
    block.offset = rest.offset;
    let _ = block.bytes.split_to(taken);
    Some(record)
}
