//! Records that were read and are not admitted yet, and the position behind those that are.

use crate::input::{Batch, ReadStatus};
use authpulse_event::Position;
use authpulse_lake::entry::StoredGap;

/// See the module.
pub struct AtHand {
    /// Records that are not admitted yet.
    pub batch: Batch,
    /// What the last read found out besides.
    pub found: ReadStatus,
    /// The position after the last record admitted.
    pub position: Position,
    /// Whether this step has admitted any.
    pub has_admitted: bool,
}

impl AtHand {
    /// Nothing at hand, behind a position.
    pub fn new(position: Position) -> AtHand {
        AtHand { batch: Batch::Empty, found: ReadStatus::default(), position, has_admitted: false }
    }

    /// Whether every record that was read is admitted.
    pub fn is_empty(&self) -> bool {
        matches!(self.batch, Batch::Empty)
    }

    /// Takes what was read.
    pub fn read(&mut self, batch: Batch, found: ReadStatus) {
        (self.batch, self.found) = (batch, found);
    }

    /// The gap before the batch: records that were lost. A gap without a record behind it is left out: the next read reports it again, and
    /// it may have grown.
    pub fn take_gap(&mut self) -> Option<StoredGap> {
        let before = match &self.batch {
            Batch::Records(records) => records.as_slice().first().map(|r| r.position),
            _ => self.found.at_end.then_some(self.position),
        };
        let gap = self.found.gap.take()?;
        Some(StoredGap { after: self.position.into(), before: before?.into(), records: gap.records })
    }

    /// Whether a position is reached. Records that retention removed are never reached, so a tip at which this step admitted nothing counts
    /// as well.
    pub fn has_reached(&self, position: Position) -> bool {
        self.position >= position || (self.found.at_tip && !self.has_admitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_stream::{Gap, Record};
    use bytes::Bytes;

    fn at(sequence: u64) -> Position {
        Position { sequence: sequence.into(), sub_sequence: 0 }
    }

    fn found(at_end: bool) -> ReadStatus {
        ReadStatus { at_tip: true, at_end, gap: Some(Gap { records: Some(3) }), clock: None }
    }

    #[test]
    fn a_gap_lies_between_the_position_and_the_record_behind_it() {
        let mut at_hand = AtHand::new(at(4));
        let record =
            Record { payload: Bytes::new(), partition_key: Bytes::new(), position: at(8), arrival: Default::default() };
        at_hand.read(Batch::Records(vec![record].into_iter()), found(false));
        let gap = StoredGap { after: at(4).into(), before: at(8).into(), records: Some(3) };
        assert_eq!((at_hand.take_gap(), at_hand.take_gap()), (Some(gap), None));
    }

    #[test]
    fn a_gap_without_a_record_behind_it_waits_for_one_unless_the_shard_ends() {
        let mut at_hand = AtHand::new(at(4));
        at_hand.read(Batch::Empty, found(false));
        assert_eq!(at_hand.take_gap(), None);
        at_hand.read(Batch::Empty, found(true));
        let gap = StoredGap { after: at(4).into(), before: at(4).into(), records: Some(3) };
        assert_eq!(at_hand.take_gap(), Some(gap));
    }

    #[test]
    fn a_position_that_retention_removed_is_reached_at_the_tip() {
        let mut at_hand = AtHand::new(at(4));
        assert!(at_hand.has_reached(at(4)) && !at_hand.has_reached(at(5)));
        at_hand.read(Batch::Empty, found(false));
        assert!(at_hand.has_reached(at(5)));
        at_hand.has_admitted = true;
        assert!(!at_hand.has_reached(at(5)), "more may lie behind what was admitted");
    }
}
