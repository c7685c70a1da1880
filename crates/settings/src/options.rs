//! How the consumer runs. [`Settings`] decide the rows. Of the other options only `idle_after` can affect them: it decides when an
//! idle shard's watermark advances.

use authpulse_engine::Settings;
use authpulse_event::Span;
use authpulse_event::time::SECOND;
use authpulse_lake::{EncodeOptions, MaintainSettings};
use authpulse_lease::LeaseSettings;

/// All options of a consumer.
#[derive(Clone, Debug)]
pub struct Options {
    /// The settings that decide the rows.
    pub engine: Settings,
    /// An entry is stored, and its files end, at this many rows. More rows mean larger files and a longer catch-up after a crash.
    pub entry_rows: u64,
    /// An entry is stored, and its files end, before its oldest record has waited longer than this. Shorter means fresher tables and more
    /// files.
    pub entry_age: Span,
    /// An entry is stored at this many bytes of raw and rejected payload.
    pub entry_bytes: u64,
    /// Rows that one thread encodes at a time. Several threads encode an entry, in pieces of this many rows.
    pub chunk_rows: usize,
    /// The most records that one read takes from a stream.
    pub read_records: usize,
    /// The most bytes that one read takes from a stream.
    pub read_bytes: usize,
    /// Bytes of memory for records that the shards of this process, all together, have read and not stored yet. A shard stores an entry
    /// when it has used its part.
    pub memory: u64,
    /// How often the committer brings the tables up to the journals.
    pub commit_interval: Span,
    /// Files below this size, in bytes, that one commit appends are first merged by partition. 0 for never.
    pub gather_below: u64,
    /// A snapshot of state is taken at the first entry after this many curated rows.
    pub snapshot_rows: u64,
    /// A snapshot of state is taken at the first entry after this long, if there were rows.
    pub snapshot_age: Span,
    /// Size of a piece of a snapshot, before compression, in bytes.
    pub snapshot_piece_bytes: usize,
    /// A shard that is at its tip and has accepted nothing for this long is idle: its watermark may advance.
    pub idle_after: Span,
    /// How long to wait before a shard at its tip is read again.
    pub poll_interval: Span,
    /// How often this worker reads what others have stored: daily counts and seals.
    pub follow_interval: Span,
    /// The settings of the leases, by which workers divide the shards among them.
    pub leases: LeaseSettings,
    /// Whether records are kept in the raw zone.
    pub raw: bool,
    /// How rows are divided into files and encoded.
    pub encode: EncodeOptions,
    /// The settings of maintenance.
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
