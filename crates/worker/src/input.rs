//! What a worker reads: a shard of a stream, or backfilled files, one batch at a time.

use authpulse_event::{ArrivalTime, Position, SequenceNumber, ShardId};
use authpulse_files::{LineBlock, LineBlocks};
use authpulse_journal::error::Result;
use authpulse_lake::RawSource;
use authpulse_stream::{Gap, ReadFrom, ReadLimit, Record, Stream, StreamError};
use std::sync::Arc;

/// Where a worker's records come from.
pub enum Input {
    /// A shard of a stream.
    Stream {
        /// The stream.
        stream: Arc<dyn Stream>,
        /// Its name.
        name: String,
        /// The shard.
        shard: ShardId,
    },
    /// Files, in order.
    File {
        /// Their lines; absent once they are read to the end.
        blocks: Option<LineBlocks>,
        /// Lines that come before those.
        next: Option<LineBlock>,
        /// Arrival of every line: the start of the run.
        arrival: ArrivalTime,
        /// The name that raw records carry in `stream`.
        name: String,
    },
}

/// Records at hand.
pub enum Batch {
    /// No records.
    Empty,
    /// Records of a stream.
    Records(std::vec::IntoIter<Record>),
    /// Whole lines of a file.
    Lines(LineBlock),
}

/// What a read found out besides records.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadStatus {
    /// Nothing lies beyond the batch now.
    pub at_tip: bool,
    /// Nothing will ever lie beyond the batch.
    pub at_end: bool,
    /// Records lost before the batch.
    pub gap: Option<Gap>,
    /// The stream's clock, where it is known.
    pub clock: Option<ArrivalTime>,
}

impl Input {
    /// Files of which nothing more is read.
    pub fn nothing(arrival: ArrivalTime, name: String) -> Input {
        Input::File { blocks: None, next: None, arrival, name }
    }

    /// The source that raw records name: this input, and a shard of this name.
    pub fn source(&self, shard: &ShardId) -> RawSource {
        let (Input::Stream { name, .. } | Input::File { name, .. }) = self;
        RawSource { stream: name.clone(), shard: shard.clone() }
    }

    /// The next batch after a position.
    ///
    /// # Errors
    /// The stream or its list of shards cannot be read, or a file cannot be read.
    pub async fn read(&mut self, after: Position, limit: ReadLimit) -> Result<(Batch, ReadStatus)> {
        match self {
            Input::Stream { stream, shard, .. } => {
                let from = if after == Position::START { ReadFrom::Start } else { ReadFrom::After(after) };
                let read = match stream.read(shard, from, limit).await {
                    Err(error @ StreamError::NotFound { .. }) => {
                        if stream.shards().await?.iter().any(|listed| listed.id == *shard) {
                            return Err(error.into());
                        }
                        // The stream is there and has forgotten the shard: what was not read of it is gone.
                        let gap = Some(Gap { records: None });
                        return Ok((Batch::Empty, ReadStatus { at_tip: true, at_end: true, gap, clock: None }));
                    }
                    read => read?,
                };
                let found = ReadStatus { at_tip: read.at_tip, at_end: read.at_end, gap: read.gap, clock: read.clock };
                let batch =
                    if read.records.is_empty() { Batch::Empty } else { Batch::Records(read.records.into_iter()) };
                Ok((batch, found))
            }
            Input::File { blocks, next, .. } => {
                if let Some(block) = next.take() {
                    return Ok((Batch::Lines(block), ReadStatus::default()));
                }
                match blocks.as_mut().and_then(Iterator::next) {
                    Some(block) => return Ok((Batch::Lines(block?), ReadStatus::default())),
                    None => *blocks = None,
                }
                Ok((Batch::Empty, ReadStatus { at_tip: true, at_end: true, ..ReadStatus::default() }))
            }
        }
    }
}

/// The rest of a block, from its line `number` on, which begins at `offset`.
pub fn rest_from(block: &LineBlock, number: u64, offset: u64) -> LineBlock {
    let passed = number - block.first_line;
    LineBlock {
        bytes: block.bytes.slice((offset - block.offset) as usize..),
        first_line: number,
        first_line_in_source: block.first_line_in_source + passed,
        line_count: block.line_count - passed,
        offset,
        ..block.clone()
    }
}

/// A line's position in the shard `file`.
pub fn line_position(number: u64) -> Position {
    Position { sequence: SequenceNumber::from(number), sub_sequence: 0 }
}
