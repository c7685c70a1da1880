//! Rows become Parquet bytes, and a [`TableFile`] that says all a table needs to know of them. Pure: no I/O, no clock.
//!
//! A file holds rows of one partition. Curated rows are sorted by hour, user and time, and pages end every 10,000 rows: a query
//! for one hour skips files by their bounds, one for a user reads a page or two of each file.

mod aggregates;
mod curated;
mod file_schema;
mod later;
mod later_tables;
mod parquet_file;
mod raw;
mod rejected;
mod sources;

pub(crate) use aggregates::HourlyLine;
pub use aggregates::{encode_daily, encode_hourly};
pub(crate) use curated::CuratedLine;
pub use curated::{CuratedRows, encode_curated};
pub(crate) use file_schema::{FileSchema, is_first};
pub use later::{Later, LaterGroup, groups_needed};
pub use later_tables::{EntryRows, Fill, LaterRow, encode_later_table};
pub(crate) use parquet_file::table_file;
#[cfg(test)]
pub(crate) use parquet_file::write as write_batches;
pub(crate) use raw::RawLine;
pub use raw::{EncodedRaw, RawRecord, RawSource, encode_raw};
pub(crate) use rejected::RejectedLine;
pub use rejected::encode_rejected;
pub use sources::{attributes, rules};

use crate::error::LakeError;
use crate::schema::{FileColumn, Partition, Table};
use authpulse_event::Day;
use authpulse_event::time::MICROSECOND;
use bytes::Bytes;
use iceberg::spec::{DataFile, Schema, StructType, deserialize_data_file_from_json};
use serde::{Deserialize, Serialize};

/// Rows of one Arrow batch: the Parquet writer is a third slower on batches of 10,000, and 256-byte names stay below 2 GiB.
const BATCH_ROWS: usize = 131_072;

/// How files are cut. The defaults suit files that are appended every few seconds to minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most rows in a file. More make fewer, larger files and use more memory while they are built.
    pub max_rows_per_file: usize,
    /// Most rows in a row group. A row group has its own dictionaries: below some 50,000 rows files grow.
    pub row_group_rows: usize,
    /// Most rows in a page, the unit that a selective query reads. Fewer make it read less and files larger.
    pub page_rows: usize,
    /// Most bytes of payload in a file of dead letters or raw records, before compression; one record may be above it.
    pub max_payload_bytes: usize,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions {
            max_rows_per_file: 1_000_000,
            row_group_rows: 250_000,
            page_rows: 10_000,
            max_payload_bytes: 64 << 20,
        }
    }
}

/// First and last time in a file, in microseconds since 1970, as the table's time column has them: of what kind they are, the column
/// says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// The earliest.
    pub min: i64,
    /// The latest, included.
    pub max: i64,
}

impl TimeRange {
    /// A whole day.
    pub fn of_day(day: Day) -> TimeRange {
        TimeRange { min: day.start().micros(), max: (day.end() - MICROSECOND).micros() }
    }
    /// Whether the ranges have an instant in common.
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.min <= other.max && other.min <= self.max
    }
    /// Whether the range holds this instant.
    pub fn contains(&self, time: i64) -> bool {
        (self.min..=self.max).contains(&time)
    }
}

/// A file of a table: all that appending it takes, without opening it. Journal entries hold these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFile {
    /// The table it belongs to.
    pub table: Table,
    /// Where it is, relative to the lake. This one counts: the path within `data_file` is empty.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// The partition spec of `partition`.
    pub spec_id: i32,
    /// Its partition: days or months since 1970.
    pub partition: i32,
    /// Range of the table's time column; a day of `host_popularity_daily` counts as its first instant.
    pub times: Option<TimeRange>,
    /// Iceberg's description (counts, bounds, split offsets) as JSON.
    pub data_file: String,
    /// Hexadecimal SHA-256 of its bytes, by which `verify` notices any edit; empty where its writer did not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The later columns in it, by which it is read wherever an entry names it; an entry with such a file is of format 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<FileColumn>,
}

impl TableFile {
    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.table.partition_from_value(self.partition)
    }

    /// Iceberg's description, for a file at this URI. `sorted` tells whether the table knows the sort order by its number.
    pub(crate) fn to_data_file(
        &self,
        uri: &str,
        partition_type: &StructType,
        schema: &Schema,
        sorted: bool,
    ) -> Result<DataFile, LakeError> {
        let unreadable = |what: String| LakeError::Damaged {
            table: self.table.name().to_owned(),
            file: self.path.clone(),
            what: format!("its description in the journal cannot be read: {what}"),
        };
        let mut json: serde_json::Value =
            serde_json::from_str(&self.data_file).map_err(|e| unreadable(e.to_string()))?;
        json["file_path"] = uri.into();
        if !sorted {
            json["sort_order_id"] = serde_json::Value::Null;
        }
        deserialize_data_file_from_json(&json.to_string(), self.spec_id, partition_type, schema)
            .map_err(|e| unreadable(e.to_string()))
    }
}

/// Encodes rows of one partition of a table behind the first four, in its columns and in the order in which it is sorted.
///
/// # Errors
/// The batches have other columns, or the Parquet writer fails.
pub fn encode_batches(
    table: Table,
    partition: Partition,
    batches: Vec<arrow_array::RecordBatch>,
    options: &EncodeOptions,
) -> Result<EncodedFile, LakeError> {
    table_file(&FileSchema::of(table), partition, batches.into_iter().map(Ok), options)
}

/// An encoded file that has no name yet.
#[derive(Clone, Debug)]
pub struct EncodedFile {
    /// Its content.
    pub bytes: Bytes,
    file: TableFile,
}

impl EncodedFile {
    /// The table it belongs to.
    pub fn table(&self) -> Table {
        self.file.table
    }
    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.file.partition()
    }
    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.file.rows
    }
    /// The path under which it is to be put; `unique` must not repeat within the lake.
    pub fn path(&self, unique: &str) -> String {
        self.file.table.data_path(self.partition(), unique)
    }
    /// The file under its path with its checksum, and the bytes to put there.
    pub fn finish(self, path: String) -> (TableFile, Bytes) {
        let sha256 = authpulse_event::id::sha256_hex(&self.bytes);
        (TableFile { path, sha256, ..self.file }, self.bytes)
    }
}

fn encode_error(table: &str, what: impl std::fmt::Display) -> LakeError {
    LakeError::Encode { table: table.to_owned(), what: what.to_string() }
}
