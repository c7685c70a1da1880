//! Sorted lines as blocks, as if they stood in one file.

use std::sync::Arc;

use super::Sorted;
use super::merge::Merge;
use crate::read::{Feed, Stop};
use crate::{BlockKind, InputError, InputOptions, LineBlock, LineBlocks, Origin, Origins};
use bytes::Bytes;

impl LineBlocks {
    /// The lines of sources that were sorted, as those of one source: their numbers are their ranks.
    ///
    /// # Errors
    /// The thread that reads the temporary files cannot be started.
    pub fn sorted(sorted: Arc<Sorted>, options: InputOptions) -> Result<LineBlocks, InputError> {
        let (name, total_bytes) = ("the sorted lines".to_owned(), Some(sorted.stored_bytes()));
        Self::start(vec![name], total_bytes, options, move |feed| deliver(&sorted, feed))
    }
}

/// Hands every line on. Numbers are ranks, and each block knows where its lines stood.
fn deliver(sorted: &Sorted, feed: &mut Feed) -> Result<(), Stop> {
    let mut merge = Merge::new(&sorted.runs).map_err(|error| sorted.failed(error))?;
    let mut making = Making { first_line: feed.lines_before + 1, ..Making::default() };
    // Temporary files are read ahead, so progress goes by lines.
    let (total, mut told) = (sorted.stored_bytes(), 0);
    let mut delivered = 0u64;
    let mut line = Vec::new();
    while let Some(head) = merge.next(&mut line).map_err(|error| sorted.failed(error))? {
        delivered += 1;
        if let Some(length) = head.overlong {
            making.send(feed)?;
            making.bytes.extend_from_slice(&line);
            making.origins.push(head.origin());
            making.send_as(BlockKind::Overlong { length }, feed)?;
            continue;
        }
        if !making.bytes.is_empty() && making.bytes.len() + line.len() >= feed.block_bytes {
            making.send(feed)?;
            let so_far = (u128::from(total) * u128::from(delivered) / u128::from(sorted.records.max(1))) as u64;
            feed.progress.add(so_far.saturating_sub(told));
            told = so_far.max(told);
        }
        making.bytes.extend_from_slice(&line);
        making.bytes.push(b'\n');
        making.origins.push(head.origin());
    }
    making.send(feed)?;
    feed.progress.add(total.saturating_sub(told));
    Ok(())
}

/// A block in the making.
#[derive(Default)]
struct Making {
    bytes: Vec<u8>,
    origins: Vec<Origin>,
    first_line: u64,
    lines_sent: u64,
    offset: u64,
}

impl Making {
    fn send(&mut self, feed: &Feed) -> Result<(), Stop> {
        if self.origins.is_empty() { Ok(()) } else { self.send_as(BlockKind::Lines, feed) }
    }

    fn send_as(&mut self, kind: BlockKind, feed: &Feed) -> Result<(), Stop> {
        let next = Vec::with_capacity(self.bytes.len().min(feed.block_bytes));
        let bytes = Bytes::from(std::mem::replace(&mut self.bytes, next));
        let origins: Arc<[Origin]> = std::mem::take(&mut self.origins).into();
        let (line_count, length) = (origins.len() as u64, bytes.len() as u64);
        feed.send(LineBlock {
            bytes,
            source: 0,
            first_line: self.first_line,
            first_line_in_source: self.lines_sent + 1,
            line_count,
            offset: self.offset,
            kind,
            origins: Some(Origins::new(self.first_line, origins)),
        })?;
        self.first_line += line_count;
        self.lines_sent += line_count;
        self.offset += length;
        Ok(())
    }
}
