//! What is known of a data file without opening it.

use crate::schema::{FileColumn, Partition, Table};
use authpulse_event::Day;
use authpulse_event::time::MICROSECOND;
use serde::{Deserialize, Serialize};

/// The first and last time in a file, in microseconds since 1970, as in the table's time column. The column says which kind of time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// The earliest time.
    pub min: i64,
    /// The latest time, included.
    pub max: i64,
}

impl TimeRange {
    /// A whole day.
    pub fn of_day(day: Day) -> TimeRange {
        TimeRange { min: day.start().micros(), max: (day.end() - MICROSECOND).micros() }
    }
    /// Whether the two ranges have an instant in common.
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.min <= other.max && other.min <= self.max
    }
    /// Whether the range holds this instant.
    pub fn contains(&self, time: i64) -> bool {
        (self.min..=self.max).contains(&time)
    }
}

/// A file of a table, with all that is needed to append it without opening it. Journal entries hold these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFile {
    /// The table it belongs to.
    pub table: Table,
    /// Its path, relative to the lake. The path within `data_file` is empty.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// The partition spec of `partition`.
    pub spec_id: i32,
    /// Its partition: days or months since 1970.
    pub partition: i32,
    /// The range of the table's time column; a day of `host_popularity_daily` counts as its first instant.
    pub times: Option<TimeRange>,
    /// Iceberg's description (counts, bounds, split offsets) as JSON.
    pub data_file: String,
    /// Hexadecimal SHA-256 of its bytes, with which `verify` notices any change; empty if its writer did not record it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The later columns in it. Whoever reads the file because an entry names it finds them by these ids. An entry with such a file is of
    /// format 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<FileColumn>,
}

impl TableFile {
    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.table.partition_from_value(self.partition)
    }
}
