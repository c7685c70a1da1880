//! Appending: one put is one transaction.

use super::failure::Failure;
use super::{schema, trim};
use crate::codec::{Encoder, Header, compressor};
use crate::limits::{BATCH_BYTES, TRIM_INTERVAL};
use crate::request::closed;
use crate::shards::{Router, Shard};
use crate::{ProducerProgress, PutReceipt, PutRecord};
use authpulse_event::{ArrivalTime, ShardId};
use rusqlite::{Transaction, params};

/// Appends records and stores the progress; trims if it is time.
///
/// # Errors
/// The stream is closed, its shards or numbers are damaged, or the database cannot be changed.
pub(super) fn append(
    tx: &Transaction<'_>,
    now: ArrivalTime,
    records: &[PutRecord],
    progress: Option<&ProducerProgress>,
) -> Result<Vec<PutReceipt>, Failure> {
    let head = schema::head(tx)?;
    if head.closed {
        return Err(closed(&head.name).into());
    }
    if let Some(progress) = progress {
        tx.prepare_cached("INSERT INTO progress VALUES (?1, ?2) ON CONFLICT DO UPDATE SET state = excluded.state")?
            .execute([&progress.job, &progress.state])?;
    }
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let arrival = now.max(head.last_arrival);
    if arrival.saturating_since(head.trimmed_at) >= TRIM_INTERVAL {
        trim::trim(tx, now)?;
    }
    let mut open = schema::open_shards(tx)?;
    let router =
        Router::new(&mut open).ok_or_else(|| Failure::Damaged("its open shards do not divide the ring".to_owned()))?;
    let routes = router.route_all(records);
    let (mut parts, next_sequence) = give_out(open, &routes, head.next_sequence)
        .ok_or_else(|| Failure::Damaged("its sequence numbers are used up".to_owned()))?;
    let mut compressor = compressor()?;
    let mut receipts = Vec::with_capacity(records.len());
    for (record, route) in records.iter().zip(routes) {
        let part = &mut parts[route];
        receipts.push(PutReceipt { shard: part.id.clone(), sequence: part.next_sequence.into() });
        part.next_sequence += 1;
        part.encoder.push(record);
        if part.encoder.raw_bytes() >= BATCH_BYTES {
            part.store(tx, arrival, &mut compressor)?;
        }
    }
    for part in &mut parts {
        part.store(tx, arrival, &mut compressor)?;
    }
    tx.prepare_cached("UPDATE stream SET next_sequence = ?1, last_arrival = ?2")?
        .execute(params![next_sequence, arrival.micros()])?;
    Ok(receipts)
}

/// What one shard gets of a put.
struct Part {
    shard: Shard,
    id: ShardId,
    /// For the next record.
    next_sequence: u64,
    encoder: Encoder,
}

/// Gives every shard a run of sequence numbers for its records, and returns the number after all of them.
fn give_out(open: Vec<Shard>, routes: &[usize], mut next_sequence: u64) -> Option<(Vec<Part>, u64)> {
    let mut counts = vec![0u64; open.len()];
    for route in routes {
        counts[*route] += 1;
    }
    let mut parts = Vec::with_capacity(open.len());
    for (shard, count) in open.into_iter().zip(counts) {
        parts.push(Part { id: shard.id(), shard, next_sequence, encoder: Encoder::default() });
        next_sequence = next_sequence.checked_add(count).filter(|next| i64::try_from(*next).is_ok())?;
    }
    Some((parts, next_sequence))
}

impl Part {
    /// Stores what the encoder holds as a batch.
    fn store(
        &mut self,
        tx: &Transaction<'_>,
        arrival: ArrivalTime,
        compressor: &mut zstd::bulk::Compressor<'_>,
    ) -> Result<(), Failure> {
        if self.encoder.is_empty() {
            return Ok(());
        }
        let first_sequence = self.next_sequence - u64::from(self.encoder.count());
        let header = self.encoder.header(self.shard.number, first_sequence, self.shard.records, arrival);
        let body = self.encoder.take(compressor)?;
        insert(tx, &header, &body)?;
        self.shard.records += u64::from(header.count);
        tx.prepare_cached("UPDATE shard SET records = ?2, last_sequence = ?3 WHERE number = ?1")?.execute(params![
            self.shard.number,
            self.shard.records,
            header.last_sequence()
        ])?;
        Ok(())
    }
}

fn insert(tx: &Transaction<'_>, header: &Header, body: &[u8]) -> Result<(), Failure> {
    tx.prepare_cached(
        "INSERT INTO batch (first_sequence, last_sequence, shard, ordinal, arrival, raw_bytes, payload_bytes, checksum, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        header.first_sequence,
        header.last_sequence(),
        header.shard,
        header.ordinal,
        header.arrival.micros(),
        header.raw_bytes,
        header.payload_bytes,
        header.checksum(body),
        body,
    ])?;
    Ok(())
}
