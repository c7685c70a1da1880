//! Cuts a run of bytes into blocks of whole lines, in bounded memory.

use std::io::{self, Read};

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memrchr};

use super::block::without_cr;
use super::{BlockKind, LINE_BYTES_MAX, LineBlock, OVERLONG_PREFIX_BYTES, OVERLONG_WHOLE_BYTES_MAX};

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// This many bytes without LF prove that a line is overlong, even if the last is a CR that will be dropped.
const SURELY_OVERLONG_BYTES: usize = LINE_BYTES_MAX + 2;

/// How many bytes are asked of the reader at a time. A pipe gives less, and only this much is cleared for it each time.
const READ_BYTES: usize = 256 * 1024;

/// Cuts one source. Its blocks depend on how the reader hands out bytes; the lines in them do not.
pub(super) struct Cutter<R> {
    reader: R,
    block_bytes: usize,
    /// Whether the source may be slow: whole lines then go out as they come, not when a block is full.
    live: bool,
    /// Read and not yet handed out; starts at a line's start.
    buffer: Vec<u8>,
    /// Where `buffer` starts in the unpacked source.
    offset: u64,
    /// Line ends handed out.
    lines: u64,
    started: bool,
    ended: bool,
    /// A failed read, reported after the whole lines before it.
    failure: Option<io::Error>,
}

impl<R: Read> Cutter<R> {
    /// `block_bytes` is the usual size of a block. Above [`LINE_BYTES_MAX`] it would let an overlong line hide
    /// among others, so it is held to that.
    pub(super) fn new(reader: R, block_bytes: usize, live: bool) -> Self {
        Cutter {
            reader,
            block_bytes: block_bytes.clamp(1, LINE_BYTES_MAX),
            live,
            buffer: Vec::new(),
            offset: 0,
            lines: 0,
            started: false,
            ended: false,
            failure: None,
        }
    }

    /// What the bytes are read from.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// Lines handed out so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// The next block, numbered within this source only. After an error there is nothing more to ask for.
    ///
    /// # Errors
    /// The reader fails; the whole lines before the failure have been returned.
    pub(super) fn next(&mut self) -> io::Result<Option<LineBlock>> {
        if !self.started {
            self.skip_mark();
        }
        let mut searched = 0;
        let mut want = self.block_bytes;
        loop {
            self.fill(want, searched);
            if let Some(end) = memrchr(b'\n', &self.buffer[searched..]) {
                return Ok(Some(self.cut(searched + end + 1)));
            }
            searched = self.buffer.len();
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.ended {
                return Ok((searched > 0).then(|| self.cut(searched)));
            }
            if searched >= SURELY_OVERLONG_BYTES {
                return self.overlong().map(Some);
            }
            want = SURELY_OVERLONG_BYTES.min(searched.max(want) * 2);
        }
    }

    /// Skips a byte-order mark. Asks for no more bytes than that takes: the first line of a live pipe may be shorter than a mark.
    fn skip_mark(&mut self) {
        for want in 1..=BYTE_ORDER_MARK.len() {
            if BYTE_ORDER_MARK.starts_with(&self.buffer) {
                self.fill(want, 0);
            }
        }
        if self.buffer.starts_with(&BYTE_ORDER_MARK) {
            self.buffer.drain(..BYTE_ORDER_MARK.len());
            self.offset = BYTE_ORDER_MARK.len() as u64;
        }
        self.started = true;
    }

    /// Reads until the buffer has `want` bytes (never more), the source ends or fails, or a live one has a line.
    fn fill(&mut self, want: usize, searched: usize) {
        while !self.ended && self.failure.is_none() && self.buffer.len() < want {
            if self.live && memchr(b'\n', &self.buffer[searched..]).is_some() {
                break;
            }
            let had = self.buffer.len();
            self.buffer.resize(want.min(had + READ_BYTES), 0);
            let read = self.reader.read(&mut self.buffer[had..]);
            self.buffer.truncate(had + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(bytes) => self.ended = bytes == 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failure = Some(error),
            }
        }
    }

    /// Hands out the first `end` bytes, which end a line or the source.
    fn cut(&mut self, end: usize) -> LineBlock {
        let mut bytes = self.take(end);
        if let Some(length) = overlong_alone(&bytes) {
            bytes.truncate(length);
            return self.block(bytes, BlockKind::Overlong { length: length as u64 }, 1, end as u64);
        }
        let ends = memchr_iter(b'\n', &bytes).count() as u64;
        let line_count = ends + u64::from(bytes.last() != Some(&b'\n'));
        self.block(bytes, BlockKind::Lines, line_count, end as u64)
    }

    /// The first `end` bytes of the buffer, in place if they fill it. A line that came alone is copied instead: it may live long, and must
    /// not hold a whole buffer.
    fn take(&mut self, end: usize) -> Vec<u8> {
        if end < self.buffer.capacity() / 4 {
            return self.buffer.drain(..end).collect();
        }
        let mut rest = Vec::with_capacity(self.block_bytes.max(self.buffer.len() - end));
        rest.extend_from_slice(&self.buffer[end..]);
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(end);
        bytes
    }

    fn block(&mut self, bytes: Vec<u8>, kind: BlockKind, line_count: u64, taken_bytes: u64) -> LineBlock {
        let block = LineBlock {
            bytes: Bytes::from(bytes),
            source: 0,
            first_line: self.lines + 1,
            first_line_in_source: self.lines + 1,
            line_count,
            offset: self.offset,
            kind,
            origins: None,
        };
        self.lines += line_count;
        self.offset += taken_bytes;
        block
    }

    /// Reads on to the end of a line already known to be overlong, keeping what may be kept.
    fn overlong(&mut self) -> io::Result<LineBlock> {
        let mut kept = std::mem::take(&mut self.buffer);
        let mut raw_bytes = kept.len() as u64;
        let mut last = kept.last().copied();
        let mut whole = true;
        let mut chunk = vec![0; READ_BYTES];
        let mut line_end_bytes = 0;
        while line_end_bytes == 0 {
            let read = match self.reader.read(&mut chunk) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => &chunk[..read],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let part = match memchr(b'\n', read) {
                Some(end) => {
                    line_end_bytes = 1;
                    self.buffer.extend_from_slice(&read[end + 1..]);
                    &read[..end]
                }
                None => read,
            };
            raw_bytes += part.len() as u64;
            last = part.last().copied().or(last);
            // One byte more than may be kept: it can still turn out to be the CR.
            whole = whole && kept.len() + part.len() <= OVERLONG_WHOLE_BYTES_MAX + 1;
            if whole {
                kept.extend_from_slice(part);
            } else {
                kept.truncate(OVERLONG_PREFIX_BYTES);
                kept.shrink_to_fit();
            }
        }
        let length = raw_bytes - u64::from(last == Some(b'\r'));
        if length > OVERLONG_WHOLE_BYTES_MAX as u64 {
            kept.truncate(OVERLONG_PREFIX_BYTES);
        } else {
            kept.truncate(length as usize);
        }
        kept.shrink_to_fit();
        Ok(self.block(kept, BlockKind::Overlong { length }, 1, raw_bytes + line_end_bytes))
    }
}

/// The length of the overlong line that these bytes are, if they are one. The buffer never holds more than
/// [`SURELY_OVERLONG_BYTES`], so an overlong line in it leaves no room for another.
fn overlong_alone(bytes: &[u8]) -> Option<usize> {
    if bytes.len() <= LINE_BYTES_MAX {
        return None;
    }
    let line = without_cr(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    (line.len() > LINE_BYTES_MAX && memchr(b'\n', line).is_none()).then_some(line.len())
}
