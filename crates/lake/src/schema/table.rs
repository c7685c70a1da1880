//! Tables: the list of those that are known, and the handle by which all code names one.

use super::def::{Closing, Order, Partitioning, TableDef};
use super::{Column, Partition};
use arrow_schema::SchemaRef as ArrowSchemaRef;
use authpulse_event::Day;
use authpulse_event::time::OnCalendar;
use iceberg::spec::{NullOrder, PartitionSpec, Schema, SchemaRef, SortDirection, SortField, SortOrder, Transform};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

/// The table property that holds, as one JSON object, the last entry applied of each shard.
pub const APPLIED: &str = "authpulse.applied";

/// The table property that names, separated by commas, what a program must know to commit to the table. A name is added before the first
/// entry that needs it, and never removed.
pub const REQUIRES: &str = "authpulse.requires";

/// How many unknown tables, named by entries of newer versions, one process accepts; beyond that, reading such an entry is an error.
pub const UNKNOWN_TABLES_MAX: usize = 64;

/// Longest name of a table that is read, in bytes: Glue's limit.
const NAME_BYTES_MAX: usize = 255;

/// A table in Iceberg. Raw records are plain Parquet and not a table in this sense: see [`crate::encode::encode_raw`].
///
/// It is stored as its name. The four tables of 0.1 come first in every order, then the others by name.
#[derive(Clone, Copy)]
pub struct Table(Which);

#[derive(Clone, Copy)]
enum Which {
    First(usize),
    Later(&'static Slot),
}

/// The name of a table after the first four. Its definition may become known after its name was read.
struct Slot {
    name: &'static str,
    def: OnceLock<&'static TableDef>,
    facts: OnceLock<Facts>,
}

static FIRST: [&TableDef; 4] =
    [&super::tables::CURATED, &super::tables::HOURLY, &super::tables::DAILY, &super::tables::REJECTED];

/// The definition of tables of which only the name is known; nothing is read or written with it.
static UNKNOWN: TableDef = TableDef {
    name: "",
    columns: &[],
    time_column: "",
    partitioning: Partitioning::Date(""),
    order: Order::Arrival,
    closing: Closing::Events,
    fill: None,
};

/// All names of tables after the first four that this process has met.
static LATER: Mutex<BTreeMap<&'static str, &'static Slot>> = Mutex::new(BTreeMap::new());

impl Table {
    /// One row an accepted event.
    pub const CURATED: Table = Table(Which::First(0));
    /// One row a user and hour.
    pub const HOURLY: Table = Table(Which::First(1));
    /// One row a day and computer.
    pub const DAILY: Table = Table(Which::First(2));
    /// The dead letters.
    pub const REJECTED: Table = Table(Which::First(3));

    /// The tables of 0.1, which every lake has. [`crate::Shape`] says which tables a program works with.
    pub const FIRST: [Table; 4] = [Table::CURATED, Table::HOURLY, Table::DAILY, Table::REJECTED];

    /// A later table.
    ///
    /// # Errors
    /// Text: another table of this name is known, or the name is not valid.
    pub fn new(def: &'static TableDef) -> Result<Table, String> {
        let taken = || format!("there is another table {}", def.name);
        let slot = match slot(def.name, usize::MAX)? {
            Table(Which::Later(slot)) => slot,
            Table(Which::First(_)) => return Err(taken()),
        };
        if std::ptr::eq(*slot.def.get_or_init(|| def), def) { Ok(Table(Which::Later(slot))) } else { Err(taken()) }
    }

    /// The table of a name, known or not: an entry of a newer version may name a table that this program does not know.
    ///
    /// # Errors
    /// Text: this is not a valid name, or this process has already met [`UNKNOWN_TABLES_MAX`] tables that it does not know.
    pub fn named(name: &str) -> Result<Table, String> {
        slot(name, UNKNOWN_TABLES_MAX)
    }

    /// The table of a name, if it is known.
    pub fn known(name: &str) -> Option<Table> {
        if let Some(first) = Table::FIRST.into_iter().find(|table| table.name() == name) {
            return Some(first);
        }
        let later = LATER.lock().unwrap_or_else(PoisonError::into_inner);
        later.get(name).map(|slot| Table(Which::Later(slot))).filter(|table| table.is_known())
    }

    /// Whether it is one of the tables of 0.1, which are created with the lake.
    pub fn is_first(self) -> bool {
        matches!(self.0, Which::First(_))
    }

    /// Whether this process knows more than the table's name. [`crate::Lake::knows`] says whether it is in a lake's own list.
    pub fn is_known(self) -> bool {
        match self.0 {
            Which::First(_) => true,
            Which::Later(slot) => slot.def.get().is_some(),
        }
    }

    /// The table's definition; an empty one if the table is not known.
    pub fn def(self) -> &'static TableDef {
        match self.0 {
            Which::First(at) => FIRST[at],
            Which::Later(slot) => slot.def.get().copied().unwrap_or(&UNKNOWN),
        }
    }

    /// The name in the catalog.
    pub fn name(self) -> &'static str {
        match self.0 {
            Which::First(at) => FIRST[at].name,
            Which::Later(slot) => slot.name,
        }
    }

    /// The table's directory within the lake.
    pub fn location(self) -> String {
        format!("warehouse/{}", self.name())
    }

    /// The column that holds a row's time; a file's `times` and time filters refer to it.
    pub fn time_column(self) -> &'static str {
        self.def().time_column
    }

    /// The columns with which it is created.
    pub fn columns(self) -> &'static [Column] {
        self.def().columns
    }

    /// The Iceberg schema with which it is created.
    pub fn schema(self) -> &'static SchemaRef {
        &self.facts().schema
    }

    /// The Arrow schema of these columns, with Iceberg's field ids.
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
        static OF_FIRST: LazyLock<[Facts; 4]> = LazyLock::new(|| FIRST.map(Facts::of));
        static OF_UNKNOWN: LazyLock<Facts> = LazyLock::new(|| Facts::of(&UNKNOWN));
        match self.0 {
            Which::First(at) => &OF_FIRST[at],
            Which::Later(slot) => match slot.def.get() {
                Some(def) => slot.facts.get_or_init(|| Facts::of(def)),
                None => &OF_UNKNOWN,
            },
        }
    }

    /// The partition of a row with this time; for a column of dates, the start of the row's day.
    pub fn partition_of(self, time: impl OnCalendar) -> Partition {
        self.partition_of_day(Day::of_micros(time.in_micros()))
    }

    /// The partition of a row whose time lies in this day.
    pub fn partition_of_day(self, day: Day) -> Partition {
        match self.def().partitioning {
            Partitioning::Date(_) | Partitioning::Day { .. } => Partition::Day(day),
            Partitioning::Month { .. } => {
                let (year, month, _) = day.civil();
                Partition::Month((year - 1970) * 12 + month as i32 - 1)
            }
        }
    }

    /// The inverse of [`Partition::value`].
    pub fn partition_from_value(self, value: i32) -> Partition {
        match self.def().partitioning {
            Partitioning::Date(_) | Partitioning::Day { .. } => Partition::Day(Day(value)),
            Partitioning::Month { .. } => Partition::Month(value),
        }
    }

    /// Where a file of this partition goes: `warehouse/<table>/data/<partition>/<unique>.parquet`.
    pub fn data_path(self, partition: Partition, unique: &str) -> String {
        let field = self.def().partitioning.field();
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
        for column in self.columns().iter().filter(|column| !column.has_bounds()) {
            properties.insert(format!("write.metadata.metrics.column.{}", column.name), "counts".to_owned());
        }
        properties
    }
}

/// The table of a name. Accepts at most `unknown_max` names of tables that are not known.
fn slot(name: &str, unknown_max: usize) -> Result<Table, String> {
    if let Some(first) = Table::FIRST.into_iter().find(|table| table.name() == name) {
        return Ok(first);
    }
    let mut later = LATER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = later.get(name) {
        return Ok(Table(Which::Later(slot)));
    }
    let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
        return Err(format!("{name:?} is no name of a table"));
    }
    if later.values().filter(|slot| slot.def.get().is_none()).count() >= unknown_max {
        return Err(format!(
            "more than {unknown_max} tables are named that this program does not know, {name} among them: run a newer version"
        ));
    }
    // Kept for the life of the process, like the names of known tables. By the bound above there are few.
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let slot: &'static Slot = Box::leak(Box::new(Slot { name, def: OnceLock::new(), facts: OnceLock::new() }));
    later.insert(name, slot);
    Ok(Table(Which::Later(slot)))
}

impl Table {
    fn place(&self) -> (usize, &'static str) {
        match self.0 {
            Which::First(at) => (at, ""),
            Which::Later(slot) => (FIRST.len(), slot.name),
        }
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Table) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Table {}

impl PartialOrd for Table {
    fn partial_cmp(&self, other: &Table) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Table {
    fn cmp(&self, other: &Table) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Table, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Table::named(&name).map_err(serde::de::Error::custom)
    }
}

struct Facts {
    schema: SchemaRef,
    arrow: ArrowSchemaRef,
    spec: PartitionSpec,
    sort: SortOrder,
}

impl Facts {
    fn of(def: &TableDef) -> Facts {
        let schema: SchemaRef = Arc::new(super::iceberg_schema(def.columns));
        let arrow = iceberg::arrow::schema_to_arrow_schema(&schema).expect("every column type exists in Arrow");
        let builder = PartitionSpec::builder(schema.clone()).with_spec_id(0);
        let spec = match def.partitioning {
            _ if def.columns.is_empty() => Ok(builder),
            Partitioning::Date(column) => builder.add_partition_field(column, column, Transform::Identity),
            Partitioning::Day { column, field } => builder.add_partition_field(column, field, Transform::Day),
            Partitioning::Month { column, field } => builder.add_partition_field(column, field, Transform::Month),
        };
        let spec = spec.and_then(|s| s.build()).expect("the partition column exists");
        let sort = sort_order(&schema, def);
        Facts { schema, arrow: Arc::new(arrow), spec, sort }
    }
}

fn sort_order(schema: &Schema, def: &TableDef) -> SortOrder {
    let columns = match def.order {
        Order::Arrival => return SortOrder::unsorted_order(),
        Order::Time(name) => vec![(def.time_column, Transform::Identity), (name, Transform::Identity)],
        Order::Hour(name) => vec![
            (def.time_column, Transform::Hour),
            (name, Transform::Identity),
            (def.time_column, Transform::Identity),
        ],
    };
    let fields = columns.iter().map(|(name, transform)| SortField {
        source_id: schema.field_id_by_name(name).expect("the sort column exists"),
        transform: *transform,
        direction: SortDirection::Ascending,
        null_order: NullOrder::First,
    });
    let order = SortOrder::builder().with_order_id(1).with_fields(fields.collect()).build(schema);
    order.expect("the sort columns can be sorted")
}
