//! Passes over the lines of a run that are stored already. They are read again, so that their digest can be compared.

use authpulse_files::{InputError, LineBlock, LineBlocks, Origin};
use authpulse_journal::error::Result;
use authpulse_lake::entry::{Backfill, Entry};
use authpulse_worker::input::rest_from;
use authpulse_worker::line_digest::LineDigest;
use std::collections::{BTreeMap, BTreeSet};

/// An input of which the stored lines have been read.
pub(super) struct Passed {
    /// The rest of the block in which the stored lines end. It comes before `blocks`.
    pub rest: Option<LineBlock>,
    /// The blocks that were not read yet.
    pub blocks: LineBlocks,
    /// The digest of the lines that were passed.
    pub digest: LineDigest,
    /// How many lines were passed; fewer than asked for if the input ends before.
    pub lines: u64,
    /// If lines are sorted, the file and line of each waiting event, by the number of its sorted line.
    pub waiting: BTreeMap<u64, Origin>,
}

/// Passes over the lines up to `through`, in the numbers of the blocks; `before` is the number before their first line. `go_on` is
/// called for each block.
///
/// # Errors
/// The input cannot be read, or [`InputError::ToldToEnd`] once `go_on` returns false.
pub(super) fn pass_over(
    mut blocks: LineBlocks,
    before: u64,
    through: u64,
    waiting: &BTreeSet<u64>,
    go_on: &dyn Fn() -> bool,
) -> Result<Passed> {
    let mut digest = LineDigest::default();
    let mut origins = BTreeMap::new();
    let mut passed = before;
    let mut rest = None;
    while passed < through
        && let Some(block) = blocks.next()
    {
        let block = block?;
        if !go_on() {
            return Err(InputError::ToldToEnd.into());
        }
        let end = (block.first_line + block.line_count - 1).min(through);
        if let Some(of) = &block.origins {
            let within = waiting.range(block.first_line..=end);
            origins.extend(within.filter_map(|line| Some((*line, of.of(*line)?))));
        }
        let line_count = end + 1 - block.first_line;
        if line_count == block.line_count {
            digest.add_all(&block);
        } else {
            let offset = block.offset + end_of(&block, line_count);
            digest.add(&block, offset);
            rest = Some(rest_from(&block, end + 1, offset));
        }
        passed = end;
    }
    Ok(Passed { rest, blocks, digest, lines: passed - before, waiting: origins })
}

/// How many bytes the first `lines` lines of a block take up, blank lines and line ends included.
fn end_of(block: &LineBlock, lines: u64) -> u64 {
    let mut ends = block.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u64 + 1);
    ends.nth(lines as usize - 1).unwrap_or(block.bytes.len() as u64)
}

/// How many lines of the run are in this entry and those before it.
///
/// # Errors
/// The entry's position is damaged.
pub(super) fn stored_lines(entry: &Entry, backfill: &Backfill) -> Result<u64> {
    Ok(entry.position()?.sequence.as_u64().unwrap_or(0).saturating_sub(backfill.lines_before))
}
