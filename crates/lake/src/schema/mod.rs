//! The tables: names, columns, partitions, sort orders, properties (semantics, section 6).
//!
//! Every column is optional in Iceberg's sense. Athena's DDL can make no other, so a table that was made there and one that
//! was made here have one schema; that only `host_popularity` is ever null is a promise of the writer, checked by `verify`.
//! Field ids count the columns from 1 in order; the element of `risk_flags` comes after the last column. That is how Iceberg
//! numbers a new table, in Java as in Rust.

mod column;

pub use column::{Column, ColumnId, DOC_BYTES_MAX, FileColumn, Group, Kind};

use arrow_schema::SchemaRef as ArrowSchemaRef;
use authpulse_event::{Day, Micros, ShardId};
use iceberg::spec::{
    NestedField, NullOrder, PartitionSpec, Schema, SchemaRef, SortDirection, SortField, SortOrder, Transform,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// A table in Iceberg. Raw records are plain Parquet and no table in this sense: see [`crate::encode::encode_raw`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// One row an accepted event.
    #[serde(rename = "auth_events_curated")]
    Curated,
    /// One row a user and hour.
    #[serde(rename = "user_behavior_hourly")]
    Hourly,
    /// One row a day and computer.
    #[serde(rename = "host_popularity_daily")]
    Daily,
    /// The dead letters.
    #[serde(rename = "auth_events_rejected")]
    Rejected,
}

/// The table property that holds, as one JSON object, the last entry applied of each shard.
pub const APPLIED: &str = "authpulse.applied";

/// The table property that names, separated by commas, what a program must know to commit to the table. It is set before the first
/// entry that needs it and never removed.
pub const REQUIRES: &str = "authpulse.requires";

/// The name of the raw zone, within file names of messages and in Glue.
pub const RAW: &str = "auth_events_raw";

/// How files are divided among partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partitioning {
    Day { column: &'static str, field: &'static str, transform: Transform },
    Month { column: &'static str, field: &'static str },
}

impl Table {
    /// All tables, in the order in which a commit visits them.
    pub const ALL: [Table; 4] = [Table::Curated, Table::Hourly, Table::Daily, Table::Rejected];

    /// The name in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Table::Curated => "auth_events_curated",
            Table::Hourly => "user_behavior_hourly",
            Table::Daily => "host_popularity_daily",
            Table::Rejected => "auth_events_rejected",
        }
    }

    /// The table's directory within the lake.
    pub fn location(self) -> String {
        format!("warehouse/{}", self.name())
    }

    /// The column that holds a row's time: what `times` of a file and a time filter are about.
    pub fn time_column(self) -> &'static str {
        match self {
            Table::Curated => "event_time",
            Table::Hourly => "window_start",
            Table::Daily => "date",
            Table::Rejected => "ingestion_time",
        }
    }

    fn columns(self) -> &'static [(&'static str, Kind)] {
        use Kind::{Binary, Date, Int, Long, Text, Texts, Time};
        match self {
            Table::Curated => &[
                ("event_id", Text),
                ("event_time", Time),
                ("user_id", Text),
                ("computer_id", Text),
                ("ingestion_time", Time),
                ("login_count_1h", Long),
                ("login_count_24h", Long),
                ("unique_computers_1h", Long),
                ("unique_computers_24h", Long),
                ("is_new_device", Int),
                ("is_burst_login", Int),
                ("is_lateral_movement", Int),
                ("is_rare_host", Int),
                ("risk_flags", Texts),
                ("risk_score", Int),
                ("risk_level", Text),
                ("processing_time", Time),
                ("event_date", Date),
                ("host_popularity", Long),
                ("rule_set", Text),
            ],
            Table::Hourly => &[
                ("window_start", Time),
                ("window_end", Time),
                ("user_id", Text),
                ("total_logins", Long),
                ("unique_computers", Long),
                ("anomaly_count", Long),
                ("total_risk_score", Long),
                ("max_risk_score", Int),
            ],
            Table::Daily => &[
                ("date", Date),
                ("computer_id", Text),
                ("unique_users", Long),
                ("total_logins", Long),
                ("high_risk_events", Long),
            ],
            Table::Rejected => &[
                ("reason", Text),
                ("detail", Text),
                ("payload", Binary),
                ("payload_bytes", Long),
                ("shard_id", Text),
                ("sequence_number", Text),
                ("sub_sequence_number", Long),
                ("ingestion_time", Time),
                ("processing_time", Time),
                ("ingest_date", Date),
            ],
        }
    }

    /// The columns that come into the table when a row has a value of them, in the order in which they do.
    pub fn later_columns(self) -> &'static [Column] {
        &[]
    }

    fn partitioning(self) -> Partitioning {
        let date = |column| Partitioning::Day { column, field: column, transform: Transform::Identity };
        match self {
            Table::Curated => date("event_date"),
            Table::Hourly => {
                Partitioning::Day { column: "window_start", field: "window_start_day", transform: Transform::Day }
            }
            Table::Daily => Partitioning::Month { column: "date", field: "date_month" },
            Table::Rejected => date("ingest_date"),
        }
    }

    /// The columns by which each file is sorted; none where rows stay in order of arrival.
    fn sorting(self) -> &'static [(&'static str, Transform)] {
        match self {
            Table::Curated => &[
                ("event_time", Transform::Hour),
                ("user_id", Transform::Identity),
                ("event_time", Transform::Identity),
            ],
            Table::Hourly => &[("window_start", Transform::Identity), ("user_id", Transform::Identity)],
            Table::Daily => &[("date", Transform::Identity), ("computer_id", Transform::Identity)],
            Table::Rejected => &[],
        }
    }

    /// Whether files carry bounds of this column. Bounds of hashes, free text and payloads prune nothing.
    pub(crate) fn has_bounds(self, column: &str) -> bool {
        !matches!(column, "event_id" | "detail" | "payload" | "risk_flags" | "rule_set")
    }

    /// The Iceberg schema.
    pub fn schema(self) -> &'static SchemaRef {
        &self.facts().schema
    }

    /// The Arrow schema, with Iceberg's field ids.
    pub fn arrow_schema(self) -> &'static ArrowSchemaRef {
        &self.facts().arrow
    }

    /// The partition spec that files written here follow.
    pub fn partition_spec(self) -> &'static PartitionSpec {
        &self.facts().spec
    }

    /// The sort order that files written here follow.
    pub fn sort_order(self) -> &'static SortOrder {
        &self.facts().sort
    }

    fn facts(self) -> &'static Facts {
        static ALL: LazyLock<[Facts; 4]> = LazyLock::new(|| Table::ALL.map(Facts::of));
        &ALL[self as usize]
    }

    /// The partition of a row with this time (the start of its day for a column of dates).
    pub fn partition_of(self, time: Micros) -> Partition {
        let day = Day::of(time);
        match self.partitioning() {
            Partitioning::Day { .. } => Partition::Day(day),
            Partitioning::Month { .. } => {
                let (year, month, _) = day.civil();
                Partition::Month((year - 1970) * 12 + month as i32 - 1)
            }
        }
    }

    /// The inverse of [`Partition::value`].
    pub fn partition_from_value(self, value: i32) -> Partition {
        match self.partitioning() {
            Partitioning::Day { .. } => Partition::Day(Day(value)),
            Partitioning::Month { .. } => Partition::Month(value),
        }
    }

    /// Where a file of this partition goes: `warehouse/<table>/data/<partition>/<unique>.parquet`.
    pub fn data_path(self, partition: Partition, unique: &str) -> String {
        let (Partitioning::Day { field, .. } | Partitioning::Month { field, .. }) = self.partitioning();
        format!("{}/data/{field}={partition}/{unique}.parquet", self.location())
    }

    /// The properties of a new table.
    pub fn properties(self) -> HashMap<String, String> {
        let properties = [
            ("write.format.default", "parquet"),
            ("write.parquet.compression-codec", "zstd"),
            ("write.parquet.compression-level", "1"),
            ("write.metadata.delete-after-commit.enabled", "true"),
            ("write.metadata.previous-versions-max", "100"),
            ("write.metadata.metrics.default", "truncate(16)"),
            ("commit.manifest-merge.enabled", "true"),
            (APPLIED, "{}"),
        ];
        let mut properties: HashMap<_, _> =
            properties.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        for (column, _) in self.columns().iter().filter(|(column, _)| !self.has_bounds(column)) {
            properties.insert(format!("write.metadata.metrics.column.{column}"), "counts".to_owned());
        }
        properties
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

/// `2015-01-31` or `2015-01`, as it stands in paths.
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

struct Facts {
    schema: SchemaRef,
    arrow: ArrowSchemaRef,
    spec: PartitionSpec,
    sort: SortOrder,
}

impl Facts {
    fn of(table: Table) -> Facts {
        let schema: SchemaRef = Arc::new(iceberg_schema(table.columns()));
        let arrow = iceberg::arrow::schema_to_arrow_schema(&schema).expect("every column type exists in Arrow");
        let builder = PartitionSpec::builder(schema.clone()).with_spec_id(0);
        let spec = match table.partitioning() {
            Partitioning::Day { column, field, transform } => builder.add_partition_field(column, field, transform),
            Partitioning::Month { column, field } => builder.add_partition_field(column, field, Transform::Month),
        };
        let spec = spec.and_then(|s| s.build()).expect("the partition column exists");
        let sort = sort_order(&schema, table.sorting());
        Facts { schema, arrow: Arc::new(arrow), spec, sort }
    }
}

fn iceberg_schema(columns: &[(&str, Kind)]) -> Schema {
    let last = i32::try_from(columns.len()).expect("a table has few columns");
    let fields = columns.iter().zip(1..).map(|((name, kind), id)| {
        let kind = kind.iceberg(last + 1);
        NestedField::optional(id, *name, kind).into()
    });
    Schema::builder().with_schema_id(0).with_fields(fields).build().expect("ids and names are unique")
}

fn sort_order(schema: &Schema, columns: &[(&str, Transform)]) -> SortOrder {
    if columns.is_empty() {
        return SortOrder::unsorted_order();
    }
    let fields = columns.iter().map(|(name, transform)| SortField {
        source_id: schema.field_id_by_name(name).expect("the sort column exists"),
        transform: *transform,
        direction: SortDirection::Ascending,
        null_order: NullOrder::First,
    });
    let order = SortOrder::builder().with_order_id(1).with_fields(fields.collect()).build(schema);
    order.expect("the sort columns can be sorted")
}

/// The Arrow schema of the raw zone, with field ids as for a table.
pub fn raw_arrow_schema() -> &'static ArrowSchemaRef {
    static SCHEMA: LazyLock<ArrowSchemaRef> = LazyLock::new(|| {
        let schema = iceberg_schema(&[
            ("stream", Kind::Text),
            ("shard_id", Kind::Text),
            ("sequence_number", Kind::Text),
            ("sub_sequence_number", Kind::Long),
            ("partition_key", Kind::Text),
            ("ingestion_time", Kind::Time),
            ("payload", Kind::Binary),
        ]);
        Arc::new(iceberg::arrow::schema_to_arrow_schema(&schema).expect("every column type exists in Arrow"))
    });
    &SCHEMA
}

/// Where a raw file goes: `raw/ingest_date=<day>/<unique>.parquet`, the layout that Hive, Athena and DuckDB read.
pub fn raw_path(ingest_date: Day, unique: &str) -> String {
    format!("raw/ingest_date={ingest_date}/{unique}.parquet")
}

/// The name of an entry's `k`th raw file, without folder and ending. It follows from the entry's number alone, so that one can see
/// of a file whether its entry is folded.
pub fn raw_name(shard: &ShardId, n: u64, k: usize) -> String {
    format!("{}-{n:020}-{k}", file_name(shard))
}

/// The shard, as [`file_name`] writes it, and the entry of a raw file; none for what [`raw_name`] did not name.
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

/// A shard's name as a file's or folder's. Letters, digits, `-`, `_` and inner dots stay; every other byte becomes `!` and two
/// hexadecimal digits. (Of the characters that every object store takes as they are, `!` is the one that no stream uses.)
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
    use authpulse_event::time::{END_TIME, MIN_TIME};
    use iceberg::spec::{FormatVersion, TableMetadataBuilder};

    #[test]
    fn a_new_table_keeps_the_field_ids() {
        for table in Table::ALL {
            let built = TableMetadataBuilder::new(
                table.schema().as_ref().clone(),
                table.partition_spec().clone(),
                table.sort_order().clone(),
                "memory:///t".to_owned(),
                FormatVersion::V2,
                table.properties(),
            );
            let metadata = built.and_then(|b| b.build()).unwrap().metadata;
            assert_eq!(metadata.current_schema(), table.schema(), "{table}");
            assert_eq!(metadata.default_partition_spec().as_ref(), table.partition_spec(), "{table}");
            assert_eq!(metadata.default_sort_order().as_ref(), table.sort_order(), "{table}");
        }
    }

    #[test]
    fn partitions_cover_all_years() {
        let month = |t| Table::Daily.partition_of(t).to_string();
        assert_eq!(
            (month(MIN_TIME), month(0), month(END_TIME - 1)),
            ("0001-01".into(), "1970-01".into(), "9999-12".into())
        );
        assert_eq!(
            Table::Curated.data_path(Table::Curated.partition_of(-1), "x"),
            "warehouse/auth_events_curated/data/event_date=1969-12-31/x.parquet"
        );
        assert_eq!(Table::Daily.partition_of(-1), Partition::Month(-1));
    }
}
