//! Shared by the tests of the input: a splitter too simple to be wrong, and reading what is in memory.

mod lines;
mod packed;
mod sorting;
mod sources;

use std::io::{self, Read};

use super::block::without_cr;
use super::*;

/// What every way of reading must agree on: number, offset, length, bytes kept.
type FoundLine = (u64, u64, u64, Vec<u8>);

/// The rules, applied to a whole source at once.
fn naive(source: &[u8]) -> Vec<FoundLine> {
    let source = &source[..source.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)];
    let mut offset = if source.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut found = Vec::new();
    let mut number = 0;
    while offset < source.len() {
        let raw = source[offset..].split(|&byte| byte == b'\n').next().expect("split gives at least one part");
        let line = without_cr(raw);
        number += 1;
        let blank = line.iter().all(|byte| b" \t".contains(byte));
        if !blank || line.len() > LINE_BYTES_MAX {
            let whole = line.len() <= OVERLONG_WHOLE_BYTES_MAX;
            let kept = if whole { line } else { &line[..OVERLONG_PREFIX_BYTES] };
            found.push((number, offset as u64, line.len() as u64, kept.to_vec()));
        }
        offset += raw.len() + 1;
    }
    found
}

fn block_bytes(block_bytes: usize) -> InputOptions {
    InputOptions { block_bytes, ..InputOptions::default() }
}

/// Reads in blocks, checks what blocks promise, and gives the lines and the error that ended them.
fn in_blocks(blocks: LineBlocks) -> (Vec<FoundLine>, Option<InputError>) {
    let mut found = Vec::new();
    let mut next_line = None;
    for block in blocks {
        let block = match block {
            Ok(block) => block,
            Err(error) => return (found, Some(error)),
        };
        assert_eq!(*next_line.get_or_insert(block.first_line), block.first_line);
        next_line = Some(block.first_line + block.line_count);
        assert!(block.line_count > 0);
        if let BlockKind::Overlong { length } = block.kind {
            assert_eq!(block.line_count, 1);
            assert!(length > LINE_BYTES_MAX as u64);
        }
        for line in block.lines() {
            assert_eq!(line.is_overlong(), matches!(block.kind, BlockKind::Overlong { .. }));
            found.push((line.number, line.offset, line.length, line.bytes.to_vec()));
        }
    }
    (found, None)
}

fn one_by_one(blocks: LineBlocks) -> Vec<FoundLine> {
    let record = |record: Record| (record.line, record.offset, record.length, record.bytes.to_vec());
    Records::from(blocks).map(|found| record(found.expect("in memory"))).collect()
}

fn from_memory(source: &[u8], options: InputOptions) -> LineBlocks {
    LineBlocks::from_reader("memory", io::Cursor::new(source.to_vec()), options).expect("a thread starts")
}

/// Gives bytes in the portions it is told to, over and over, and fails at the end if told to.
struct Drip {
    bytes: io::Cursor<Vec<u8>>,
    portions: Vec<usize>,
    turn: usize,
    fails: bool,
}

impl Drip {
    fn new(bytes: &[u8], portions: Vec<usize>) -> Drip {
        Drip { bytes: io::Cursor::new(bytes.to_vec()), portions, turn: 0, fails: false }
    }
}

impl Read for Drip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let portion = self.portions[self.turn % self.portions.len()].min(out.len());
        self.turn += 1;
        let read = self.bytes.read(&mut out[..portion])?;
        if read == 0 && self.fails { Err(io::Error::other("the disk is gone")) } else { Ok(read) }
    }
}
