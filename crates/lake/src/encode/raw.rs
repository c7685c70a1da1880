//! The raw zone: every record as received, in plain Parquet under Hive-style partitions.

use super::{EncodeOptions, encode_error, parquet_file};
use crate::error::LakeError;
use crate::lines::{RawLine, RawRecord, RawSource};
use crate::schema::tables::raw::Building;
use crate::schema::{Bounds, RAW, raw_arrow_schema, raw_columns, raw_path};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use authpulse_event::Day;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Rows per Arrow batch. A batch holds payloads, names and numbers in full: one batch for a whole entry would take more than twice the
/// entry's memory.
const BATCH_ROWS: usize = 32_768;

/// An encoded raw file that has no name yet.
#[derive(Clone, Debug)]
pub struct EncodedRaw {
    /// The partition: the day on which its records arrived.
    pub ingest_date: Day,
    /// Rows in it.
    pub rows: u64,
    /// Its content.
    pub bytes: Bytes,
}

impl EncodedRaw {
    /// Its final path; `unique` must not repeat within the lake.
    pub fn path(&self, unique: &str) -> String {
        raw_path(self.ingest_date, unique)
    }
}

/// Encodes raw records: one file or more per day of arrival, in order of arrival.
///
/// # Errors
/// The Parquet writer fails.
pub fn encode_raw(
    source: &RawSource,
    rows: &[RawRecord],
    options: &EncodeOptions,
) -> Result<Vec<EncodedRaw>, LakeError> {
    let mut days: BTreeMap<Day, Vec<&RawRecord>> = BTreeMap::new();
    for row in rows {
        days.entry(Day::of_arrival(row.ingestion_time)).or_default().push(row);
    }
    let mut files = Vec::new();
    let bounds = |name: &str| {
        raw_columns().iter().find(|column| column.name == name).map_or(Bounds::Whole, |column| column.bounds)
    };
    for (ingest_date, rows) in days {
        for part in cut_by_bytes(&rows, options, |row| row.payload.len() + row.partition_key.len()) {
            let batches = part.chunks(BATCH_ROWS).map(|rows| batch(source, rows).map_err(|e| encode_error(RAW, e)));
            let (bytes, _) = parquet_file::write((RAW, raw_arrow_schema()), bounds, batches, options)?;
            files.push(EncodedRaw { ingest_date, rows: part.len() as u64, bytes });
        }
    }
    Ok(files)
}

fn batch(source: &RawSource, rows: &[&RawRecord]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Building::with_capacity(rows.len());
    // Records of one aggregate share a sequence number, so it is converted to digits once.
    let (mut spelled, mut digits) = (None, String::new());
    for row in rows {
        if spelled != Some(row.position.sequence) {
            (spelled, digits) = (Some(row.position.sequence), row.position.sequence.to_string());
        }
        columns.push(&mut RawLine { row, source, sequence: &digits });
    }
    RecordBatch::try_new(raw_arrow_schema().clone(), columns.finish(raw_arrow_schema())?)
}

/// Cuts rows into parts within the limits for rows and payload bytes of a file; a single row may exceed them alone.
pub(super) fn cut_by_bytes<'a, R>(
    rows: &'a [R],
    options: &EncodeOptions,
    size: impl Fn(&R) -> usize,
) -> impl Iterator<Item = &'a [R]> {
    let (most_rows, most_bytes) = (options.max_rows_per_file.max(1), options.max_payload_bytes.min(1 << 30));
    let mut rest = rows;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = rest.iter().take(most_rows).take_while(|row| {
            bytes += size(row);
            bytes <= most_bytes
        });
        let (part, after) = rest.split_at(fits.count().max(1));
        rest = after;
        Some(part)
    })
}
