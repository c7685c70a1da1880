//! What the entries of a backfill say of its run: which lines are stored, and where sorted ones stood.

use super::origins::Origins;
use crate::line_digest::LineDigest;
use authpulse_engine::WaitingEvent;
use authpulse_engine::rows::RejectedRecord;
use authpulse_event::Position;
use authpulse_files::LineBlock;
use authpulse_lake::entry::Backfill;

/// See the module. For a shard of a stream it is empty.
pub struct Run {
    /// As the last entry has it.
    pub backfill: Option<Backfill>,
    /// Over the lines of the run that were admitted; absent where they are not read.
    pub digest: Option<LineDigest>,
    /// Where its lines stood, if they were sorted.
    pub origins: Option<Origins>,
}

impl Run {
    /// Notes that the lines of a block are admitted next.
    pub fn begins(&mut self, block: &LineBlock) {
        if let Some(origins) = &mut self.origins {
            origins.at(block);
        }
    }

    /// Notes that the lines of a block before an offset are admitted; without an offset, all of them.
    pub fn admitted(&mut self, block: &LineBlock, before: Option<u64>) {
        let Some(digest) = &mut self.digest else { return };
        match before {
            Some(offset) => digest.add(block, offset),
            None => digest.add_all(block),
        }
    }

    /// Says of dead letters where their lines stood, and keeps what is known of the events that wait.
    pub fn name(&mut self, letters: &mut [RejectedRecord], waiting: &[WaitingEvent]) {
        if let Some(origins) = &mut self.origins {
            origins.name(letters);
            origins.keep(waiting.iter().map(|waiting| waiting.position));
        }
    }

    /// Ends the run: its last line is admitted, or it is given up behind this position.
    pub fn ends(&mut self, given_up: Option<Position>) {
        let Some(backfill) = &mut self.backfill else { return };
        backfill.finished = true;
        if let Some(position) = given_up {
            let lines = position.sequence.as_u64().unwrap_or(0);
            backfill.given_up = Some(lines.saturating_sub(backfill.lines_before));
        }
    }

    /// The backfill as of the lines that are admitted.
    pub fn stored(&self) -> Option<Backfill> {
        let backfill = self.backfill.clone()?;
        Some(match &self.digest {
            Some(digest) => Backfill { digest: Some(digest.hex()), ..backfill },
            None => backfill,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_given_up_says_how_many_of_its_lines_are_stored() {
        let backfill = Backfill { lines_before: 10, ..Backfill::default() };
        let mut run = Run { backfill: Some(backfill), digest: Some(LineDigest::default()), origins: None };
        run.ends(Some(Position { sequence: 17.into(), sub_sequence: 0 }));
        let stored = run.stored().unwrap();
        assert!(stored.finished && stored.digest.is_some());
        assert_eq!(stored.given_up, Some(7));
    }

    #[test]
    fn of_a_streams_shard_nothing_is_said() {
        let mut run = Run { backfill: None, digest: None, origins: None };
        run.ends(None);
        assert_eq!(run.stored(), None);
    }
}
