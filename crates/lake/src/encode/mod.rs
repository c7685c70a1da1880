//! Encodes rows as Parquet bytes, together with a [`TableFile`] that has all a table needs to know of them. Pure: no I/O, no clock.
//!
//! A file holds rows of one partition. Curated rows are sorted by hour, user and time, and pages end every 10,000 rows. So a query for one
//! hour skips files by their bounds, and one for a user reads a page or two of each file.

mod aggregates;
mod curated;
mod file_schema;
mod later;
mod later_tables;
mod parquet_file;
mod raw;
mod rejected;
mod sources;

pub use crate::lines::{RawRecord, RawSource};
pub use crate::schema::{EntryRows, Fill, LaterRow};
pub use crate::table_file::{TableFile, TimeRange};
pub use aggregates::{encode_daily, encode_hourly};
pub use curated::{CuratedRows, encode_curated};
pub(crate) use file_schema::{FileSchema, is_first};
pub use later::{Later, LaterGroup, groups_needed};
pub use later_tables::encode_later_table;
pub(crate) use parquet_file::table_file;
#[cfg(test)]
pub(crate) use parquet_file::write as write_batches;
pub use raw::{EncodedRaw, encode_raw};
pub use rejected::encode_rejected;
pub use sources::{attributes, rules};

use crate::error::LakeError;
use crate::schema::{Partition, Table};
use bytes::Bytes;

/// Rows per Arrow batch. On batches of 10,000 the Parquet writer is a third slower; with this many, even 256-byte names stay below 2 GiB.
const BATCH_ROWS: usize = 131_072;

/// How files are cut. The defaults suit files that are appended every few seconds to minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most rows in a file. More rows make fewer, larger files, and use more memory while they are built.
    pub max_rows_per_file: usize,
    /// Most rows in a row group. A row group has its own dictionaries: below some 50,000 rows files grow.
    pub row_group_rows: usize,
    /// Most rows in a page, the unit that a selective query reads. With fewer it reads less, but files are larger.
    pub page_rows: usize,
    /// Most bytes of payload in a file of dead letters or raw records, before compression; a larger record gets a file of its own.
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

/// Encodes rows of one partition of a table after the first four. The batches have the table's columns and are sorted in its order.
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
    /// The path under which it is to be stored; `unique` must not repeat within the lake.
    pub fn path(&self, unique: &str) -> String {
        self.file.table.data_path(self.partition(), unique)
    }
    /// Gives the file its path and its checksum; returns it with the bytes to put there.
    pub fn finish(self, path: String) -> (TableFile, Bytes) {
        let sha256 = authpulse_event::id::sha256_hex(&self.bytes);
        (TableFile { path, sha256, ..self.file }, self.bytes)
    }
}

fn encode_error(table: &str, what: impl std::fmt::Display) -> LakeError {
    LakeError::Encode { table: table.to_owned(), what: what.to_string() }
}
