//! `auth_events_rejected`: dead letters, in order of arrival.

use super::aggregates::batch;
use super::later::Later;
use super::raw::cut_by_bytes;
use super::{EncodeOptions, EncodedFile, encode_error, parquet_file};
use crate::error::LakeError;
use crate::lines::RejectedLine;
use crate::schema::tables::rejected::Building;
use crate::schema::{Partition, Table};
use authpulse_engine::rows::RejectedRecord;
use authpulse_event::{Day, ProcessingTime, ShardId};
use std::collections::BTreeMap;

/// Encodes dead letters of one shard: one file or more per day of arrival.
///
/// # Errors
/// The Parquet writer fails.
pub fn encode_rejected(
    rows: &[RejectedRecord],
    shard: &ShardId,
    processing_time: ProcessingTime,
    later: Option<&Later<RejectedRecord>>,
    options: &EncodeOptions,
) -> Result<Vec<EncodedFile>, LakeError> {
    let mut days: BTreeMap<Day, Vec<&RejectedRecord>> = BTreeMap::new();
    for row in rows {
        days.entry(Day::of_arrival(row.ingestion_time)).or_default().push(row);
    }
    let mut files = Vec::new();
    let no_later = Later::default();
    for (day, rows) in days {
        for part in cut_by_bytes(&rows, options, |row| row.payload.len() + row.detail.len()) {
            let carried = later.unwrap_or(&no_later).carried(Table::REJECTED, part.iter().copied())?;
            let mut columns = Building::with_capacity(part.len());
            for row in part {
                columns.push(&mut RejectedLine { row, shard, processing_time, day });
            }
            let arrays = columns.finish(Table::REJECTED.arrow_schema());
            let batch = arrays.and_then(|arrays| batch(&carried, part, arrays));
            let batch = batch.map_err(|e| encode_error(Table::REJECTED.name(), e));
            let partition = Partition::Day(day);
            files.push(parquet_file::table_file(&carried.schema, partition, std::iter::once(batch), options)?);
        }
    }
    Ok(files)
}
