//! `auth_events_rejected`: dead letters, in order of arrival.

use super::columns::{Text, dates, long, longs, times};
use super::raw::cut_by_bytes;
use super::{EncodeOptions, EncodedFile, encode_error, parquet_file};
use crate::error::LakeError;
use crate::schema::{Partition, Table};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use authpulse_engine::rows::RejectedRecord;
use authpulse_event::{Day, Micros, ShardId};
use std::collections::BTreeMap;

/// Encodes dead letters of one shard: one file or more per day of arrival.
///
/// # Errors
/// The Parquet writer fails.
pub fn encode_rejected(
    rows: &[RejectedRecord],
    shard: &ShardId,
    processing_time: Micros,
    options: &EncodeOptions,
) -> Result<Vec<EncodedFile>, LakeError> {
    let mut days: BTreeMap<Day, Vec<&RejectedRecord>> = BTreeMap::new();
    for row in rows {
        days.entry(Day::of(row.ingestion_time)).or_default().push(row);
    }
    let mut files = Vec::new();
    for (day, rows) in days {
        for part in cut_by_bytes(&rows, options, |row| row.payload.len() + row.detail.len()) {
            let batch = batch(part, day, shard, processing_time).map_err(|e| encode_error(Table::REJECTED.name(), e));
            let partition = Partition::Day(day);
            files.push(parquet_file::table_file(Table::REJECTED, partition, std::iter::once(batch), options)?);
        }
    }
    Ok(files)
}

fn batch(
    rows: &[&RejectedRecord],
    day: Day,
    shard: &ShardId,
    processing_time: Micros,
) -> Result<RecordBatch, ArrowError> {
    let count = rows.len();
    let text = |pick: &dyn Fn(&RejectedRecord) -> String| {
        let mut column = Text::with_capacity(count, count * 16);
        rows.iter().for_each(|row| column.push(pick(row).as_bytes()));
        column.string_column()
    };
    let mut payload = Text::with_capacity(count, rows.iter().map(|row| row.payload.len()).sum());
    rows.iter().for_each(|row| payload.push(&row.payload));
    let columns = vec![
        text(&|row| row.reason.name().to_owned())?,
        text(&|row| row.detail.clone())?,
        payload.binary_column()?,
        longs(rows.iter().map(|row| long(row.payload_bytes)).collect()),
        text(&|_| shard.as_str().to_owned())?,
        text(&|row| row.position.sequence.to_string())?,
        longs(rows.iter().map(|row| long(row.position.sub_sequence)).collect()),
        times(rows.iter().map(|row| row.ingestion_time).collect()),
        times(vec![processing_time; count]),
        dates(vec![day.0; count]),
    ];
    RecordBatch::try_new(Table::REJECTED.arrow_schema().clone(), columns)
}
