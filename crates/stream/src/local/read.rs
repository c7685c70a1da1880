//! Reading: what is needed is fetched in one short query and decoded after it.

use super::failure::Failure;
use super::schema;
use crate::codec::{Budget, Header, decode};
use crate::request::start_after;
use crate::shards::{id_of, number_of};
use crate::{Gap, ReadBatch, ReadFrom, ReadLimit};
use authpulse_event::{ArrivalTime, Position, ShardId};
use rusqlite::{OptionalExtension, Row, Transaction, params};

/// What a query found for a read.
pub(super) struct QueryResult {
    /// The sequence number after which to read.
    after: u64,
    limit: ReadLimit,
    batches: Vec<Stored>,
    gap: Option<Gap>,
    closed: bool,
    /// Sequence number of the newest record the shard ever had.
    last_sequence: u64,
    last_arrival: ArrivalTime,
}

struct Stored {
    header: Header,
    checksum: u32,
    body: Vec<u8>,
}

/// Fetches at least the batches that fill `limit`.
///
/// # Errors
/// The shard does not exist, the stream has not given out the position, or the database is damaged or cannot be read.
pub(super) fn find(
    tx: &Transaction<'_>,
    shard: &ShardId,
    from: ReadFrom,
    limit: ReadLimit,
) -> Result<QueryResult, Failure> {
    let head = schema::head(tx)?;
    let row = schema::shard(tx, shard)?;
    let after = start_after(shard, from, head.next_sequence)?;
    let gap = lost(tx, shard, after)?;
    let mut batches = Vec::new();
    let (mut records, mut bytes) = (0u64, 0u64);
    let mut statement = tx.prepare_cached(
        "SELECT first_sequence, last_sequence, shard, ordinal, arrival, raw_bytes, payload_bytes, checksum, body
         FROM batch WHERE shard = ?1 AND last_sequence > ?2 ORDER BY last_sequence",
    )?;
    let mut rows = statement.query(params![row.number, after])?;
    while records < limit.records.max(1) as u64
        && bytes < limit.bytes.max(1) as u64
        && let Some(row) = rows.next()?
    {
        let batch = stored(row)?;
        // If the read begins within a batch, it is unknown how many of its bytes lie before: it counts as none.
        if batch.header.first_sequence > after {
            bytes += u64::from(batch.header.payload_bytes);
        }
        records += batch.header.last_sequence() - after.max(batch.header.first_sequence - 1);
        batches.push(batch);
    }
    let (closed, last_sequence, last_arrival) = (row.closed, row.last_sequence, head.last_arrival);
    Ok(QueryResult { after, limit, batches, gap, closed, last_sequence, last_arrival })
}

fn stored(row: &Row<'_>) -> Result<Stored, Failure> {
    let (first_sequence, last_sequence, shard): (u64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let count = last_sequence.checked_sub(first_sequence).and_then(|more| u32::try_from(more + 1).ok());
    let (Some(count), true) = (count, first_sequence > 0) else {
        return Err(Failure::Damaged(format!(
            "a batch of '{}' claims the records {first_sequence} to {last_sequence}",
            id_of(shard)
        )));
    };
    let header = Header {
        shard,
        first_sequence,
        count,
        ordinal: row.get(3)?,
        arrival: ArrivalTime::from_micros(row.get(4)?),
        raw_bytes: row.get(5)?,
        payload_bytes: row.get(6)?,
    };
    Ok(Stored { header, checksum: row.get(7)?, body: row.get(8)? })
}

/// What was trimmed beyond a sequence number.
fn lost(tx: &Transaction<'_>, shard: &ShardId, after: u64) -> Result<Option<Gap>, Failure> {
    let number = number_of(shard)?;
    let (trimmed_records, trimmed_sequence, forgotten): (u64, u64, u64) = tx
        .prepare_cached("SELECT trimmed_records, trimmed_sequence, forgotten FROM shard WHERE number = ?1")?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if after >= trimmed_sequence {
        return Ok(None);
    }
    if after == 0 {
        return Ok(Some(Gap { records: Some(trimmed_records) }));
    }
    if after < forgotten {
        return Ok(Some(Gap { records: None }));
    }
    // The first span that ends beyond the position tells how many records of the shard lay up to it.
    let span: Option<(u64, u64)> = tx
        .prepare_cached(
            "SELECT first_sequence, ordinal FROM trimmed WHERE shard = ?1 AND last_sequence > ?2
             ORDER BY last_sequence LIMIT 1",
        )?
        .query_row(params![number, after], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let records = span.and_then(|(first, ordinal)| {
        let seen = ordinal.checked_add((after + 1).saturating_sub(first))?;
        trimmed_records.checked_sub(seen)
    });
    match records {
        Some(records) => Ok(Some(Gap { records: Some(records) })),
        None => Err(Failure::Damaged(format!("what '{shard}' has trimmed does not add up"))),
    }
}

impl QueryResult {
    /// The answer; the clock showed `now` before the query.
    ///
    /// # Errors
    /// A batch is damaged, or zstd cannot set up a decompressor.
    pub fn decode(self, now: ArrivalTime) -> Result<ReadBatch, Failure> {
        let mut records = Vec::new();
        let mut budget = Budget::new(self.limit);
        // Most reads find nothing, and a decompressor is 160 KB.
        let mut decompressor = None;
        for Stored { header, checksum, body } in &self.batches {
            records.reserve(self.limit.records.min(header.count as usize));
            let decompressor = match &mut decompressor {
                Some(decompressor) => decompressor,
                none => none.insert(zstd::bulk::Decompressor::new()?),
            };
            let whole = decode(header, *checksum, body, self.after, &mut budget, decompressor, &mut records).map_err(
                |what| {
                    Failure::Damaged(format!(
                        "the batch of '{}' with the records {} to {}: {what}",
                        id_of(header.shard),
                        header.first_sequence,
                        header.last_sequence()
                    ))
                },
            )?;
            if !whole {
                break;
            }
        }
        let newest = Position { sequence: self.last_sequence.into(), sub_sequence: 0 };
        // If no record is returned, none is kept beyond the position: a read returns at least one record of a batch.
        let at_tip = records.last().is_none_or(|record| record.position >= newest);
        Ok(ReadBatch {
            records,
            gap: self.gap,
            at_tip,
            at_end: at_tip && self.closed,
            clock: (now >= self.last_arrival).then_some(now),
        })
    }
}
