//! The same check for a pipe, of which only what has come can be looked at.
//!
//! First lines that look foreign are held until one is an event, or until there are enough of them to tell, so that nothing of a foreign
//! input goes on. Any other line goes on as it comes.

use super::{SAMPLE_BYTES, Sample, of_bytes, of_lines};
use crate::{BlockKind, Format, InputError, LineBlock};
use memchr::memchr_iter;

/// This many lines, none of which is an event, are enough.
const LINES: usize = 16;

/// Lets the lines of a source through once it is known to hold lines of events.
pub(crate) struct Gate {
    name: String,
    format: Format,
    sample: Vec<u8>,
    held: Vec<LineBlock>,
    open: bool,
}

impl Gate {
    /// `open` lets everything through: the source was looked into already.
    pub(crate) fn new(name: String, format: Format, open: bool) -> Gate {
        Gate { name, format, sample: Vec::new(), held: Vec::new(), open }
    }

    /// Takes a block, and returns those that may go on.
    ///
    /// # Errors
    /// [`InputError::NoLines`] if the source turns out to hold no lines of events.
    pub(crate) fn pass(&mut self, block: LineBlock) -> Result<Vec<LineBlock>, InputError> {
        if self.open {
            return Ok(vec![block]);
        }
        let room = SAMPLE_BYTES - self.sample.len();
        self.sample.extend_from_slice(&block.bytes[..block.bytes.len().min(room)]);
        if matches!(block.kind, BlockKind::Overlong { .. }) && self.sample.len() < SAMPLE_BYTES {
            self.sample.push(b'\n');
        }
        self.held.push(block);
        self.decide(false)
    }

    /// The source ends, so what is held is all there is. Returns what may go on.
    ///
    /// # Errors
    /// [`InputError::NoLines`] if the source turns out to hold no lines of events.
    pub(crate) fn end(&mut self) -> Result<Vec<LineBlock>, InputError> {
        if self.open { Ok(Vec::new()) } else { self.decide(true) }
    }

    /// Returns what is held, because nothing more can be read.
    pub(crate) fn give_up(&mut self) -> Vec<LineBlock> {
        std::mem::take(&mut self.held)
    }

    fn decide(&mut self, ended: bool) -> Result<Vec<LineBlock>, InputError> {
        let lines = Sample::new(&self.sample);
        let enough = ended || lines.events > 0 || lines.lines.len() >= LINES || self.sample.len() >= SAMPLE_BYTES;
        if let Some(form) = of_bytes(&self.sample) {
            return Err(form.refused(&self.name, self.format));
        }
        let form = of_lines(&self.sample, &lines);
        if !enough && (form.is_some() || may_be_foreign(&lines)) {
            return Ok(Vec::new());
        }
        if let Some(form) = form {
            return Err(form.refused(&self.name, self.format));
        }
        (self.open, self.sample) = (true, Vec::new());
        Ok(std::mem::take(&mut self.held))
    }
}

/// Whether lines that are no events may be the first of a form that shows in more of them.
fn may_be_foreign(lines: &Sample<'_>) -> bool {
    let separated =
        |line: &[u8]| [b';', b'\t', b'|'].iter().any(|separator| memchr_iter(*separator, line).count() >= 2);
    let opens = |line: &[u8]| matches!(line.trim_ascii(), b"[" | b"{") || line.starts_with(b"\"");
    lines.lines.iter().all(|line| separated(line)) || lines.lines.first().is_some_and(|line| opens(line))
}
