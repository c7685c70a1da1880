//! The tables: names, columns, partitions, sort orders, properties (semantics, section 6).
//!
//! Every column is optional in Iceberg's sense. Athena's DDL can create no others, so a table created there and one created here have the
//! same schema. Among the columns with which tables are created only `host_popularity` is ever null: that is a promise of the writer, which
//! `verify` checks. The field ids of these columns are written out. They are those that Iceberg gives to a new table, in Java as in Rust:
//! columns from 1 in order, then the element of a list.

pub(crate) mod batch;
mod column;
pub(crate) mod compare;
mod def;
pub(crate) mod describe;
mod fill;
mod promotion;
mod table;
pub(crate) mod tables;

pub use crate::kind::Kind;
pub use column::{Bounds, Column, ColumnId, DOC_BYTES_MAX, FileColumn, Group};
pub use compare::ColumnIds;
pub use def::{Closing, Order, Partitioning, TableDef};
pub use fill::{EntryRows, Fill, LaterRow};
pub use promotion::{becomes, promotes};
pub use table::{APPLIED, REQUIRES, Table, UNKNOWN_TABLES_MAX};

use arrow_schema::SchemaRef as ArrowSchemaRef;
use authpulse_event::{Day, ShardId};
use iceberg::spec::Schema;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The name of the raw zone, in error messages and in Glue.
pub const RAW: &str = "auth_events_raw";

/// A partition, as Iceberg counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// A day.
    Day(Day),
    /// Months since January 1970.
    Month(i32),
}

impl Partition {
    /// Days or months since 1970.
    pub fn value(self) -> i32 {
        match self {
            Partition::Day(day) => day.0,
            Partition::Month(month) => month,
        }
    }
}

/// `2015-01-31` or `2015-01`, as in paths.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Partition::Day(day) => day.fmt(f),
            Partition::Month(month) => {
                write!(f, "{:04}-{:02}", 1970 + month.div_euclid(12), month.rem_euclid(12) + 1)
            }
        }
    }
}

/// The Iceberg schema of columns whose ids are written out.
fn iceberg_schema(columns: &[Column]) -> Schema {
    let fields = columns.iter().map(|column| match column.id {
        ColumnId::Fixed(id, element) => column.field(id, element.unwrap_or(0)),
        ColumnId::Given => {
            panic!("column {} is one with which its table is made: its id is to be written out", column.name)
        }
    });
    Schema::builder().with_schema_id(0).with_fields(fields).build().expect("ids and names are unique")
}

/// The columns of the raw zone.
pub fn raw_columns() -> &'static [Column] {
    tables::raw::COLUMNS
}

/// The Arrow schema of the raw zone, with field ids as in a table.
pub fn raw_arrow_schema() -> &'static ArrowSchemaRef {
    static SCHEMA: LazyLock<ArrowSchemaRef> = LazyLock::new(|| {
        let arrow = iceberg::arrow::schema_to_arrow_schema(&iceberg_schema(raw_columns()));
        Arc::new(arrow.expect("every column type exists in Arrow"))
    });
    &SCHEMA
}

/// Where a raw file goes: `raw/ingest_date=<day>/<unique>.parquet`, the layout that Hive, Athena and DuckDB read.
pub fn raw_path(ingest_date: Day, unique: &str) -> String {
    format!("raw/ingest_date={ingest_date}/{unique}.parquet")
}

/// The name of an entry's `k`th raw file, without folder and suffix. It contains the entry's number, so that a file's name alone tells
/// whether its entry is folded.
pub fn raw_name(shard: &ShardId, n: u64, k: usize) -> String {
    format!("{}-{n:020}-{k}", file_name(shard))
}

/// The shard, as [`file_name`] writes it, and the entry number of a raw file; `None` for a path that [`raw_name`] did not name.
pub fn raw_entry(path: &str) -> Option<(&str, u64)> {
    let name = path.strip_prefix("raw/ingest_date=")?.split_once('/')?.1.strip_suffix(".parquet")?;
    let (entry, k) = name.rsplit_once('-')?;
    let (shard, n) = entry.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if n.len() == 20 && digits(n) && digits(k) { Some((shard, n.parse().ok()?)) } else { None }
}

/// The day of arrival of a raw file's records.
pub fn raw_day(path: &str) -> Option<Day> {
    path.strip_prefix("raw/ingest_date=")?.split_once('/')?.0.parse().ok()
}

/// A shard's name as the name of a file or folder. Letters, digits, `-`, `_` and inner dots stay; every other byte becomes `!` and two
/// hexadecimal digits. (Among the characters that every object store accepts, `!` is the one that no stream uses.)
pub fn file_name(shard: &ShardId) -> String {
    let shard = shard.as_str();
    if shard.is_empty() {
        return "!".to_owned();
    }
    let mut out = String::with_capacity(shard.len() + 4);
    for (at, byte) in shard.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => out.push_str("!2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            other => out.push_str(&format!("!{other:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::time::{END_TIME, EventTime, MICROSECOND, MIN_TIME};

    #[test]
    fn partitions_cover_all_years() {
        let month = |t: EventTime| Table::DAILY.partition_of(t).to_string();
        let before_1970 = EventTime::default() - MICROSECOND;
        assert_eq!(
            (month(MIN_TIME), month(EventTime::default()), month(END_TIME - MICROSECOND)),
            ("0001-01".into(), "1970-01".into(), "9999-12".into())
        );
        assert_eq!(
            Table::CURATED.data_path(Table::CURATED.partition_of(before_1970), "x"),
            "warehouse/auth_events_curated/data/event_date=1969-12-31/x.parquet"
        );
        assert_eq!(Table::DAILY.partition_of(before_1970), Partition::Month(-1));
    }
}
