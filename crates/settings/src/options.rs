//! How the consumer runs. What decides rows is in [`Settings`]; of the rest only `idle_after` can, through when a shard rises.

use authpulse_engine::Settings;
use authpulse_event::Span;
use authpulse_event::time::SECOND;
use authpulse_lake::{EncodeOptions, MaintainSettings};
use authpulse_lease::LeaseSettings;

/// All options of a consumer.
#[derive(Clone, Debug)]
pub struct Options {
    /// What decides rows.
    pub engine: Settings,
    /// An entry is stored, and its files roll, at this many rows. More make larger files and a longer catch-up after a crash.
    pub entry_rows: u64,
    /// An entry is stored, and its files roll, once in this time, which its oldest record is never older than. Shorter means fresher tables
    /// and more files.
    pub entry_age: Span,
    /// An entry is stored at this many bytes of raw and rejected payload.
    pub entry_bytes: u64,
    /// Rows that are encoded as one piece of work; an entry is encoded by several threads in such pieces.
    pub chunk_rows: usize,
    /// Records taken from a stream in one read.
    pub read_records: usize,
    /// Bytes taken from a stream in one read.
    pub read_bytes: usize,
    /// Bytes of memory for what the shards of this process have read and not stored yet, all together: an entry is stored at its
    /// shard's part.
    pub memory: u64,
    /// How often the tables follow the journal.
    pub commit_interval: Span,
    /// Files below this size, in bytes, that one commit appends are merged by partition; 0 for never.
    pub gather_below: u64,
    /// A state snapshot is taken at the first entry after this many curated rows.
    pub snapshot_rows: u64,
    /// A state snapshot is taken at the first entry after this long, if there were rows.
    pub snapshot_age: Span,
    /// Size of a piece of a snapshot, before compression, in bytes.
    pub snapshot_piece_bytes: usize,
    /// How long a shard accepts nothing, at its tip, before its watermark may rise.
    pub idle_after: Span,
    /// How often a shard at its tip is read again.
    pub poll_interval: Span,
    /// How often this worker looks what others have stored, for counts and seals.
    pub follow_interval: Span,
    /// How shards are shared with other workers.
    pub leases: LeaseSettings,
    /// Whether records are kept in the raw zone.
    pub raw: bool,
    /// How files are cut.
    pub encode: EncodeOptions,
    /// How the tables are kept in shape.
    pub maintain: MaintainSettings,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            engine: Settings::default(),
            entry_rows: 1_000_000,
            entry_age: 10 * SECOND,
            entry_bytes: 64 << 20,
            chunk_rows: 250_000,
            read_records: 10_000,
            read_bytes: 8 << 20,
            memory: 1 << 30,
            commit_interval: 30 * SECOND,
            gather_below: 1 << 20,
            snapshot_rows: 20_000_000,
            snapshot_age: 900 * SECOND,
            snapshot_piece_bytes: 16 << 20,
            idle_after: 60 * SECOND,
            poll_interval: SECOND / 20,
            follow_interval: SECOND,
            leases: LeaseSettings::default(),
            raw: true,
            encode: EncodeOptions::default(),
            maintain: MaintainSettings::default(),
        }
    }
}
