//! How much the entry in the making may take up, and the records on their way into it.

use crate::entry_builder::EntryBuilder;
use authpulse_engine::Shard;
use authpulse_engine::rows::ScoredEvent;
use authpulse_lake::RawRecord;
use authpulse_settings::options::Options;
use authpulse_stream::{ReadLimit, Record};

/// Room left below [`UNSCORED_MAX`](authpulse_engine::settings::UNSCORED_MAX) for events that waited and go on all at once.
const UNSCORED_SLACK: usize = 16;

/// Records that were read and are not admitted yet may take up this part of an entry's memory: one eighth.
const AT_HAND_PART: u64 = 8;
/// The part of an entry's memory for which room is made before there are any raw records: one half.
const RAW_ROOM_PART: u64 = 2;
/// The same for scored rows: one quarter. What is left lets an entry be filled.
const ROWS_ROOM_PART: u64 = 4;
/// What a record takes up besides its payload, from when it is read until it is stored.
const RECORD_BYTES: u64 = (size_of::<Record>() + size_of::<RawRecord>() + size_of::<ScoredEvent>()) as u64;

/// See the module.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    options: &'a Options,
    /// Bytes that one entry of this shard may take up. A worker fills one entry while it stores another; the entries of all workers
    /// together stay within the memory, however many shards there are.
    memory: u64,
}

impl Bounds<'_> {
    /// The bounds for one of `workers` workers.
    pub fn new(options: &Options, workers: usize) -> Bounds<'_> {
        Bounds { options, memory: options.memory / (2 * workers as u64) }
    }

    /// Whether an entry is full. `rows` are those that are not yet sent to be encoded.
    pub fn is_full(&self, builder: &EntryBuilder, rows: &Vec<ScoredEvent>, shard: &Shard) -> bool {
        let held_bytes = builder.held_bytes() + spare_bytes(rows) + shard.row_attribute_bytes() as u64;
        builder.rows() >= self.options.entry_rows
            || builder.payload_bytes >= self.options.entry_bytes
            || held_bytes >= self.memory - self.memory / AT_HAND_PART
    }

    /// How much one read may bring: one record at least. `room` is how many more events may be accepted. Records at hand count towards the
    /// entry that they will go into.
    pub fn read_limit(&self, room: usize) -> ReadLimit {
        // One half for the payloads, one for what each record takes up besides.
        let at_hand = self.memory / AT_HAND_PART / 2;
        let bound = |setting: usize, bytes: u64| setting.min(usize::try_from(bytes).unwrap_or(usize::MAX)).max(1);
        ReadLimit {
            records: bound(self.options.read_records.min(room), at_hand / RECORD_BYTES),
            bytes: bound(self.options.read_bytes, at_hand),
        }
    }

    /// For how many raw records the next entry makes room, if the last one had `records`: its vector then need not grow.
    pub fn raw_expected(&self, records: usize) -> usize {
        self.room_for(records, size_of::<RawRecord>(), RAW_ROOM_PART)
    }

    /// For how many scored rows the next entry makes room, if the last one had `rows`.
    pub fn rows_expected(&self, rows: usize) -> usize {
        self.room_for(rows, size_of::<ScoredEvent>(), ROWS_ROOM_PART)
    }

    /// How many items of `bytes` bytes, `wanted` at most, fit into one of `part` equal parts of an entry's memory.
    fn room_for(&self, wanted: usize, bytes: usize, part: u64) -> usize {
        wanted.min(usize::try_from(self.memory / part).unwrap_or(usize::MAX) / bytes)
    }
}

/// How many more events may be accepted until scoring has caught up.
pub fn unscored_room(shard: &Shard) -> usize {
    shard.unscored_room().saturating_sub(UNSCORED_SLACK)
}

/// Bytes that a vector has reserved and does not use.
fn spare_bytes<T>(vec: &Vec<T>) -> u64 {
    ((vec.capacity() - vec.len()) * size_of::<T>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_engine::{Settings, SourceKind};
    use authpulse_event::{HashRange, Position};

    #[test]
    fn a_read_brings_one_record_at_least_and_no_more_than_fit() {
        let options = Options { memory: 0, ..Options::default() };
        assert_eq!(Bounds::new(&options, 1).read_limit(0), ReadLimit { records: 1, bytes: 1 });
        let options = Options { memory: 1 << 40, read_records: 500, read_bytes: 9_000, ..Options::default() };
        assert_eq!(Bounds::new(&options, 1).read_limit(usize::MAX), ReadLimit { records: 500, bytes: 9_000 });
        assert_eq!(Bounds::new(&options, 1).read_limit(20).records, 20);
    }

    #[test]
    fn all_workers_together_stay_within_the_memory() {
        let options = Options { memory: 1 << 20, ..Options::default() };
        for workers in [1, 3, 100] {
            let bounds = Bounds::new(&options, workers);
            assert!(bounds.memory * 2 * workers as u64 <= options.memory);
            let room = bounds.raw_expected(usize::MAX) * size_of::<RawRecord>()
                + bounds.rows_expected(usize::MAX) * size_of::<ScoredEvent>();
            assert!(room as u64 <= bounds.memory);
        }
    }

    #[test]
    fn an_entry_is_full_by_rows_by_payload_or_by_memory() {
        let shard = Shard::new(Settings::default(), SourceKind::File, HashRange::FULL);
        let is_full =
            |options: &Options, builder: &EntryBuilder| Bounds::new(options, 1).is_full(builder, &Vec::new(), &shard);
        let mut builder = EntryBuilder::new(Position::START, 0);
        (builder.counts.curated, builder.counts.rejected[0], builder.payload_bytes) = (2, 1, 10);
        let large = Options::default();
        assert!(!is_full(&large, &builder));
        assert!(is_full(&Options { entry_rows: 3, ..large.clone() }, &builder));
        assert!(is_full(&Options { entry_bytes: 10, ..large.clone() }, &builder));
        assert!(is_full(&Options { memory: 2 * builder.held_bytes(), ..large }, &builder));
    }
}
