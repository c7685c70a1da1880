//! A run of whole lines, and the lines in it.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use super::LINE_BYTES_MAX;

/// Whole lines of one source, as they stand in it, line ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineBlock {
    /// The bytes. Every line ends with LF except perhaps the last of a source. For an overlong line: what is kept of it, without line end.
    pub bytes: Bytes,
    /// Which source, counted from 0 in the order given.
    pub source: usize,
    /// The number of the first line, counted from 1 through all sources (and
    /// [`InputOptions::lines_before`](super::InputOptions::lines_before)).
    pub first_line: u64,
    /// The same, counted from 1 in this source: what an editor shows.
    pub first_line_in_source: u64,
    /// Lines in this block, blank ones included. The next block starts at `first_line + line_count`, so a reader
    /// that resumes can pass over a whole block without looking into it.
    pub line_count: u64,
    /// Where `bytes` starts in the unpacked source, in bytes; a byte-order mark counts.
    pub offset: u64,
    /// What the block holds.
    pub kind: BlockKind,
    /// Where its lines stood, if they were sorted.
    pub origins: Option<Origins>,
}

/// Where a sorted line stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Which source, counted from 0 in the order given.
    pub source: u32,
    /// The line's number in it, from 1: what an editor shows.
    pub line: u64,
}

/// Where sorted lines stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    first_line: u64,
    of_lines: Arc<[Origin]>,
}

impl Origins {
    /// The origins of the lines from `first_line` on.
    pub(super) fn new(first_line: u64, of_lines: Arc<[Origin]>) -> Origins {
        Origins { first_line, of_lines }
    }

    /// Where the line of this number stood, if it is one of these.
    pub fn of(&self, line: u64) -> Option<Origin> {
        let at = usize::try_from(line.checked_sub(self.first_line)?).ok()?;
        self.of_lines.get(at).copied()
    }
}

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Lines of at most [`LINE_BYTES_MAX`] bytes.
    Lines,
    /// One line above that.
    Overlong {
        /// Its length without mark and line end, in bytes. Longer than the block's bytes where only a prefix is kept.
        length: u64,
    },
}

/// One line that is a record: without mark and line end, not blank unless overlong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, counted like [`LineBlock::first_line`].
    pub number: u64,
    /// Where it starts in the unpacked source, in bytes.
    pub offset: u64,
    /// Its bytes, or what is kept of them.
    pub bytes: &'a [u8],
    /// Its true length in bytes; more than `bytes` has where only a prefix is kept.
    pub length: u64,
}

impl Line<'_> {
    /// Whether the line is above [`LINE_BYTES_MAX`] and thus invalid, whatever it holds.
    pub fn is_overlong(&self) -> bool {
        self.length > LINE_BYTES_MAX as u64
    }
}

impl LineBlock {
    /// The lines of this block that are records, in order.
    pub fn lines(&self) -> Lines<'_> {
        lines(self)
    }
}

/// The lines of a block that are records, in order.
pub fn lines(block: &LineBlock) -> Lines<'_> {
    let overlong = match block.kind {
        BlockKind::Lines => None,
        BlockKind::Overlong { length } => Some(length),
    };
    Lines { rest: &block.bytes, number: block.first_line, offset: block.offset, overlong }
}

/// Iterator of [`lines`].
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    rest: &'a [u8],
    number: u64,
    offset: u64,
    overlong: Option<u64>,
}

/// Where the lines that are left begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePosition {
    /// The number of the first.
    pub number: u64,
    /// Where it starts in the unpacked source, in bytes.
    pub offset: u64,
}

impl Lines<'_> {
    /// Where the lines not yet taken begin, blank ones before them included. For an overlong line: where it began.
    pub fn position(&self) -> LinePosition {
        LinePosition { number: self.number, offset: self.offset }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        if let Some(length) = self.overlong.take() {
            let bytes = std::mem::take(&mut self.rest);
            return Some(Line { number: self.number, offset: self.offset, bytes, length });
        }
        while !self.rest.is_empty() {
            let end = memchr(b'\n', self.rest);
            let (raw, taken) = match end {
                Some(end) => (&self.rest[..end], end + 1),
                None => (self.rest, self.rest.len()),
            };
            let bytes = without_cr(raw);
            let line = Line { number: self.number, offset: self.offset, bytes, length: bytes.len() as u64 };
            self.rest = &self.rest[taken..];
            self.number += 1;
            self.offset += taken as u64;
            if !is_blank(bytes) {
                return Some(line);
            }
        }
        None
    }
}

/// Drops the one CR that may stand before a line end.
#[inline]
pub(super) fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[inline]
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}
