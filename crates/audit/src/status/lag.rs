//! How far shards are behind their stream.

use super::{ShardStatus, maybe_time};
use authpulse_event::{ArrivalTime, HashRange, Position, ShardId};
use authpulse_journal::error::Result;
use authpulse_journal::open::journal_key;
use authpulse_lake::entry::Entry;
use authpulse_stream::{ReadFrom, ReadLimit, Stream};
use serde::Serialize;
use std::collections::BTreeMap;

/// Counting stops at this many records; then there are "at least" as many.
const RECORDS_MAX: u64 = 100_000;
/// The limit of one read while counting.
const LIMIT: ReadLimit = ReadLimit { records: 10_000, bytes: 16 << 20 };

/// How far a shard is behind its stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The stream's newest position in this shard.
    pub tip: String,
    /// How many records lie after the shard's position.
    pub records: u64,
    /// Whether there are more, because counting stopped.
    pub or_more: bool,
    /// When the oldest of them arrived, by the stream's clock.
    #[serde(serialize_with = "maybe_time")]
    pub oldest_arrival: Option<ArrivalTime>,
    /// The stream's clock; `None` if the clock of its host is behind the newest arrival.
    #[serde(serialize_with = "maybe_time")]
    pub clock: Option<ArrivalTime>,
}

/// A shard of the stream that has no entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadShard {
    /// The shard's name within the stream.
    pub shard: String,
    /// The shard's part of the ring.
    pub range: String,
    /// How much there is to read.
    pub lag: Lag,
}

/// Fills in the lag of the shards that read this stream, and returns the stream's other shards.
///
/// # Errors
/// The stream cannot be read, or a position in an entry is damaged.
pub(super) async fn measure(
    stream: &dyn Stream,
    tails: &BTreeMap<ShardId, Entry>,
    shards: &mut [ShardStatus],
) -> Result<Vec<UnreadShard>> {
    let description = stream.describe().await?;
    let mut unread = Vec::new();
    for shard in stream.shards().await? {
        let key = journal_key(&description, &shard.id);
        let position = tails.get(&key).map_or(Ok(Position::START), Entry::position)?;
        let lag = lag(stream, &shard.id, position).await?;
        match shards.iter_mut().find(|s| s.shard == key.as_str()) {
            Some(known) => known.lag = Some(lag),
            None => {
                unread.push(UnreadShard { shard: shard.id.to_string(), range: shard.range.to_string(), lag });
                let waits = shards.iter_mut().filter_map(|s| s.waits_for.as_mut());
                for missing in waits.flat_map(|wait| &mut wait.missing) {
                    let range = missing.range.parse::<HashRange>();
                    if range.is_ok_and(|range| range.intersect(&shard.range).is_some()) {
                        missing.shards.push(shard.id.to_string());
                    }
                }
            }
        }
    }
    Ok(unread)
}

async fn lag(stream: &dyn Stream, shard: &ShardId, mut after: Position) -> Result<Lag> {
    let tip = stream.tip(shard).await?;
    let mut lag = Lag { tip: tip.to_string(), records: 0, or_more: false, oldest_arrival: None, clock: None };
    loop {
        let from = if after == Position::START { ReadFrom::Start } else { ReadFrom::After(after) };
        let read = stream.read(shard, from, LIMIT).await?;
        lag.clock = read.clock;
        lag.records += read.records.len() as u64;
        lag.oldest_arrival = lag.oldest_arrival.or(read.records.first().map(|r| r.arrival));
        match read.records.last() {
            Some(last) => after = last.position,
            None => return Ok(lag),
        }
        if read.at_tip || read.at_end || lag.records >= RECORDS_MAX {
            lag.or_more = !read.at_tip && !read.at_end;
            return Ok(lag);
        }
    }
}
