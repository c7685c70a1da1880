//! What is stored of one shard, and the part of an entry that other shards use.

use crate::error::Result;
use authpulse_engine::DailyCounts;
use authpulse_event::{Day, EventTime, HashRange, Position, ShardId};
use authpulse_lake::entry::{Entry, EntryError, Inherited, Source, Spill, StoredDailyCounts};

/// What is stored of one shard.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// What it reads.
    pub source: Source,
    /// Its part of the ring.
    pub range: HashRange,
    /// The shards it inherited from.
    pub inherited: Vec<ShardId>,
    /// Number of its last entry.
    pub last: u64,
    /// The position after its last record.
    pub position: Position,
    /// Its watermark.
    pub watermark: Option<EventTime>,
    /// Newest event time accepted.
    pub newest_accepted: Option<EventTime>,
    /// Whether it was read to its end.
    pub read_to_end: bool,
    /// Whether what waited was flushed for a seal.
    pub flushed: bool,
    /// Whether its end is stored, from which children start.
    pub end: bool,
    /// Up to when it is sealed.
    pub sealed: Option<EventTime>,
    /// The last day of which it published logons.
    pub counts_through: Option<Day>,
    /// The last day of which all its parts published high-risk counts.
    pub scores_through: Option<Day>,
    /// The last day whose rows it wrote.
    pub daily_through: Option<Day>,
    /// Events accepted and not scored in its last entry.
    pub unscored: u64,
}

/// The part of a stored entry that other shards use.
pub(super) struct Reported {
    /// The shard's journal.
    pub key: ShardId,
    /// What is stored of the shard with it. Its parents are in here only for the first entry.
    pub view: ShardView,
    /// The parents that the shard inherits from, each with its last entry.
    pub inherits: Vec<(ShardId, u64)>,
    /// The logons that it publishes.
    pub daily_counts: Vec<DailyCounts>,
    /// The high-risk counts that it publishes.
    pub scores: Vec<DailyCounts>,
}

impl Reported {
    /// Reads an entry.
    ///
    /// # Errors
    /// A range, a position or daily counts in it cannot be read.
    pub fn of(entry: &Entry, spill: &Spill) -> Result<Reported> {
        let daily_counts = |stored: &[StoredDailyCounts]| -> std::result::Result<Vec<DailyCounts>, EntryError> {
            // The spill of an entry that takes a shard over is that of the entry before.
            let published = if entry.takes_over { &[] } else { stored };
            published.iter().map(|s| s.to_daily_counts().map_err(|cause| entry.damaged(cause))).collect()
        };
        let (range, position) = (entry.hash_range()?, entry.position()?);
        let inherits: Vec<(ShardId, u64)> =
            entry.inherits.iter().map(|Inherited { shard, n }| (ShardId::new(shard), *n)).collect();
        let view = ShardView {
            source: entry.source.clone(),
            range,
            inherited: inherits.iter().map(|(shard, _)| shard.clone()).collect(),
            last: entry.n,
            position,
            watermark: entry.watermark,
            newest_accepted: entry.newest_accepted,
            read_to_end: entry.read_to_end,
            flushed: entry.flushed,
            end: entry.end,
            sealed: entry.sealed,
            counts_through: entry.counts_through.map(Day),
            scores_through: entry.score_spans.iter().map(|s| s.through).min().flatten().map(Day),
            daily_through: entry.daily_through.map(Day),
            unscored: entry.counts.unscored,
        };
        let (daily_counts, scores) = (daily_counts(&spill.daily_counts)?, daily_counts(&spill.scores)?);
        Ok(Reported { key: ShardId::new(&entry.shard), view, inherits, daily_counts, scores })
    }
}
