//! Trimming: deletes records that have outlived their retention, and remembers how many there were.

use super::failure::Failure;
use super::schema;
use crate::limits::{MAX_TRIM_BATCHES, MAX_TRIMMED_SPANS};
use authpulse_event::ArrivalTime;
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::BTreeSet;

/// What one step of trimming did.
#[derive(Debug)]
pub(super) struct Trimmed {
    /// How many records it deleted.
    pub records: u64,
    /// Whether nothing is left to trim.
    pub finished: bool,
}

struct Expired {
    first: u64,
    last: u64,
    shard: u64,
    ordinal: u64,
}

/// Trims at most [`MAX_TRIM_BATCHES`] batches.
///
/// # Errors
/// A batch contradicts itself, or the database cannot be changed.
pub(super) fn trim(tx: &Transaction<'_>, now: ArrivalTime) -> Result<Trimmed, Failure> {
    let head = schema::head(tx)?;
    let now = now.max(head.last_arrival);
    let expired = expired(tx, now.saturating_sub(head.retention))?;
    let mut records = 0;
    for batch in &expired {
        records += remember(tx, batch)?;
    }
    if let Some(last) = expired.last() {
        // Batches expire in the order of their first numbers, so this deletes exactly those remembered.
        tx.prepare_cached("DELETE FROM batch WHERE first_sequence <= ?1")?.execute([last.first])?;
    }
    for shard in expired.iter().map(|batch| batch.shard).collect::<BTreeSet<_>>() {
        forget(tx, shard, MAX_TRIMMED_SPANS)?;
    }
    let finished = expired.len() < MAX_TRIM_BATCHES;
    if finished {
        tx.prepare_cached("UPDATE stream SET trimmed_at = ?1")?.execute([now.micros()])?;
    }
    Ok(Trimmed { records, finished })
}

/// The oldest batches that arrived before `horizon`.
fn expired(tx: &Transaction<'_>, horizon: ArrivalTime) -> Result<Vec<Expired>, Failure> {
    let mut statement = tx.prepare_cached(
        "SELECT first_sequence, last_sequence, shard, ordinal, arrival FROM batch ORDER BY first_sequence LIMIT ?1",
    )?;
    let mut rows = statement.query([MAX_TRIM_BATCHES])?;
    let mut expired = Vec::new();
    while let Some(row) = rows.next()? {
        if ArrivalTime::from_micros(row.get(4)?) >= horizon {
            break;
        }
        expired.push(Expired { first: row.get(0)?, last: row.get(1)?, shard: row.get(2)?, ordinal: row.get(3)? });
    }
    Ok(expired)
}

/// Notes that a batch is gone, as part of the span before it if the numbers go on without a hole. Returns how many records it had.
fn remember(tx: &Transaction<'_>, batch: &Expired) -> Result<u64, Failure> {
    let Expired { first, last, shard, ordinal } = *batch;
    let extended = tx
        .prepare_cached("UPDATE trimmed SET last_sequence = ?1 WHERE shard = ?2 AND last_sequence = ?3")?
        .execute(params![last, shard, first.saturating_sub(1)])?;
    if extended == 0 {
        tx.prepare_cached(
            "INSERT INTO trimmed (shard, last_sequence, first_sequence, ordinal) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![shard, last, first, ordinal])?;
    }
    let records = last
        .checked_sub(first)
        .ok_or_else(|| Failure::Damaged(format!("a batch claims the records {first} to {last}")))?
        + 1;
    tx.prepare_cached(
        "UPDATE shard SET trimmed_records = trimmed_records + ?2, trimmed_sequence = ?3 WHERE number = ?1",
    )?
    .execute(params![shard, records, last])?;
    Ok(records)
}

/// Drops a shard's oldest spans beyond `spans`.
fn forget(tx: &Transaction<'_>, shard: u64, spans: u32) -> Result<(), Failure> {
    let newest_to_drop: Option<u64> = tx
        .prepare_cached(
            "SELECT last_sequence FROM trimmed WHERE shard = ?1 ORDER BY last_sequence DESC LIMIT 1 OFFSET ?2",
        )?
        .query_row(params![shard, spans], |row| row.get(0))
        .optional()?;
    if let Some(last) = newest_to_drop {
        tx.prepare_cached("DELETE FROM trimmed WHERE shard = ?1 AND last_sequence <= ?2")?
            .execute(params![shard, last])?;
        tx.prepare_cached("UPDATE shard SET forgotten = ?2 WHERE number = ?1")?.execute(params![shard, last])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DEFAULT_RETENTION;
    use crate::{CreateOptions, Gap, LocalStream, PutRecord, ReadFrom, ReadLimit, Stream, StreamWriter};
    use authpulse_event::Position;
    use futures::executor::block_on;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn a_gap_before_the_oldest_remembered_span_has_no_number() {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&time);
        let clock = Arc::new(move || ArrivalTime::from_micros(clock.load(Ordering::SeqCst)));
        let stream =
            LocalStream::create(dir.path(), CreateOptions { shards: 2, clock, ..CreateOptions::default() }).unwrap();
        // Two records a put, one for each shard, so that each put leaves a span in each.
        for _ in 0..6 {
            let keys = ["U1", "U2", "U3", "U4", "U5", "U6"];
            let records = keys.map(|key| PutRecord { payload: key.into(), partition_key: key.into() });
            block_on(stream.put(records.to_vec(), None)).unwrap();
        }
        let shard = block_on(stream.shards()).unwrap().remove(0).id;
        let all = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        let records = block_on(stream.read(&shard, ReadFrom::Start, all)).unwrap().records;
        let in_a_put = records.len() / 6;
        assert!(in_a_put > 0 && records.len() < 36);
        time.store(DEFAULT_RETENTION.micros() + 1, Ordering::SeqCst);
        assert_eq!(block_on(stream.trim()).unwrap(), 36);
        block_on(stream.write("trim", |tx| forget(tx, 0, 3))).unwrap();
        let gap = |position: Position| {
            block_on(stream.read(&shard, ReadFrom::After(position), all)).unwrap().gap.map(|gap| gap.records)
        };
        assert_eq!(gap(Position::START), Some(Some(records.len() as u64)), "all of them is still a number");
        for (index, record) in records.iter().enumerate() {
            let lost = (records.len() - index - 1) as u64;
            // The end of the newest forgotten span is where remembering begins.
            let expected = if index + 1 < 3 * in_a_put { Some(None) } else { Some(Some(lost)) };
            assert_eq!(gap(record.position), expected.filter(|gap| *gap != Some(0)), "record {index}");
        }
        let read = block_on(stream.read(&shard, ReadFrom::After(records[0].position), all)).unwrap();
        assert_eq!(read.gap, Some(Gap { records: None }));
    }

    #[test]
    fn trimming_goes_on_over_several_steps() {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&time);
        let clock = Arc::new(move || ArrivalTime::from_micros(clock.load(Ordering::SeqCst)));
        let stream =
            LocalStream::create(dir.path(), CreateOptions { shards: 1, clock, ..CreateOptions::default() }).unwrap();
        let put = || {
            let record = PutRecord { payload: "x".into(), partition_key: "k".into() };
            block_on(stream.put(vec![record], None)).unwrap()
        };
        let kept = || {
            let count =
                |tx: &Transaction<'_>| tx.query_row("SELECT count(*) FROM batch", [], |row| row.get::<_, usize>(0));
            block_on(stream.query("count", |tx| Ok(count(tx)?))).unwrap()
        };
        for _ in 0..MAX_TRIM_BATCHES * 2 + 7 {
            put();
        }
        time.store(DEFAULT_RETENTION.micros() + 1, Ordering::SeqCst);
        put();
        assert_eq!(kept(), MAX_TRIM_BATCHES + 8, "a put trims its share");
        assert_eq!(block_on(stream.trim()).unwrap(), MAX_TRIM_BATCHES as u64 + 7);
        assert_eq!(kept(), 1);
    }
}
