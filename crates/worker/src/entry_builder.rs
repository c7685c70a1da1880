//! The entry in the making: what it will say of its records, kept while their rows are encoded elsewhere.

use authpulse_engine::rows::{DayRow, RejectedRecord, ScoredEvent};
use authpulse_engine::{Counts, Cut};
use authpulse_event::{EventTime, Position, Tick};
use authpulse_lake::RawRecord;
use authpulse_lake::entry::{Backfill, Inherited, StoredGap, WatermarkAdvance};

/// Bytes that the words of a dead letter take up, roughly.
const DETAIL_BYTES: usize = 128;

/// See the module.
pub struct EntryBuilder {
    /// When its first record was admitted.
    pub opened: Option<Tick>,
    /// The position before its first record.
    pub from: Position,
    /// What became of its records so far.
    pub counts: Counts,
    /// Dead letters.
    pub rejected: Vec<RejectedRecord>,
    /// Raw records.
    pub raw: Vec<RawRecord>,
    /// Payload bytes in `rejected` and `raw`.
    pub payload_bytes: u64,
    /// Advances of the watermark decided.
    pub advances: Vec<WatermarkAdvance>,
    /// Gaps found.
    pub gaps: Vec<StoredGap>,
}

impl EntryBuilder {
    /// An entry without records behind `from`, with room for this many raw records.
    pub fn new(from: Position, raw_records: usize) -> EntryBuilder {
        EntryBuilder {
            opened: None,
            from,
            counts: Counts::default(),
            rejected: Vec::new(),
            raw: Vec::with_capacity(raw_records),
            payload_bytes: 0,
            advances: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Whether it says nothing new about records or the watermark.
    pub fn is_empty(&self) -> bool {
        self.counts == Counts::default() && self.advances.is_empty() && self.gaps.is_empty()
    }

    /// Notes that something was decided for it now; its age counts from the first such moment.
    pub fn open(&mut self, now: Tick) {
        self.opened.get_or_insert(now);
    }

    /// Rows that it has so far, dead letters among them.
    pub fn rows(&self) -> u64 {
        self.counts.curated + self.counts.rejected_total()
    }

    /// Bytes of memory that records and rows take up, with the room reserved for raw records. Rows that are encoded already count as well.
    pub fn held_bytes(&self) -> u64 {
        let of = |n: u64, bytes: usize| n * bytes as u64;
        self.payload_bytes
            + of(self.raw.capacity() as u64, size_of::<RawRecord>())
            + of(self.rejected.len() as u64, size_of::<RejectedRecord>() + DETAIL_BYTES)
            + of(self.counts.curated, size_of::<ScoredEvent>())
    }

    /// Keeps a record as it came.
    pub fn add_raw(&mut self, record: RawRecord) {
        self.payload_bytes += (record.payload.len() + record.partition_key.len()) as u64;
        self.raw.push(record);
    }

    /// Moves dead letters into it.
    pub fn add_rejected(&mut self, letters: &mut Vec<RejectedRecord>) {
        self.payload_bytes += letters.iter().map(|r| r.payload.len() as u64).sum::<u64>();
        self.rejected.append(letters);
    }

    /// Notes a gap and returns whether it is a new one. A later gap behind the same record replaces the earlier one.
    pub fn add_gap(&mut self, gap: StoredGap) -> bool {
        match self.gaps.last_mut().filter(|last| last.after == gap.after) {
            Some(last) => {
                *last = gap;
                false
            }
            None => {
                self.gaps.push(gap);
                true
            }
        }
    }
}

/// What is stored with an entry besides the entry in the making and the cut.
pub struct Closing {
    /// The position after its last record.
    pub to: Position,
    /// Rows of `host_popularity_daily`, and the day they reach.
    pub days: (Vec<DayRow>, Option<i32>),
    /// Whether a snapshot of the state is stored with it.
    pub takes_snapshot: bool,
    /// See [`Entry`](authpulse_lake::entry::Entry).
    pub read_to_end: bool,
    /// See [`Entry`](authpulse_lake::entry::Entry).
    pub flushed: bool,
    /// See [`Entry`](authpulse_lake::entry::Entry).
    pub end: bool,
    /// See [`Entry`](authpulse_lake::entry::Entry).
    pub sealed: Option<EventTime>,
    /// See [`Entry`](authpulse_lake::entry::Entry).
    pub backfill: Option<Backfill>,
    /// See [`Entry`](authpulse_lake::entry::Entry).
    pub inherits: Vec<Inherited>,
}

/// An entry to which nothing is added any more.
pub struct Closed {
    /// What it says of its records.
    pub builder: EntryBuilder,
    /// The state at its end.
    pub cut: Cut,
    /// The rest.
    pub closing: Closing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(after: u64, before: u64) -> StoredGap {
        let place = |n: u64| Position { sequence: n.into(), sub_sequence: 0 }.into();
        StoredGap { after: place(after), before: place(before), records: None }
    }

    #[test]
    fn a_gap_behind_the_same_record_grows_and_another_is_added() {
        let mut builder = EntryBuilder::new(Position::START, 0);
        assert!(builder.is_empty());
        assert!(builder.add_gap(gap(7, 9)));
        assert!(!builder.add_gap(gap(7, 12)), "the same one, further");
        assert!(builder.add_gap(gap(20, 22)));
        assert_eq!(builder.gaps, [gap(7, 12), gap(20, 22)]);
        assert!(!builder.is_empty());
    }

    #[test]
    fn an_entry_is_as_old_as_what_was_decided_first() {
        let mut builder = EntryBuilder::new(Position::START, 0);
        builder.open(Tick::from_micros(5));
        builder.open(Tick::from_micros(8));
        assert_eq!(builder.opened, Some(Tick::from_micros(5)));
    }
}
