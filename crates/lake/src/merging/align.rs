//! Converts a file's columns to those that its table has now: found by id, in the table's order, with the table's types.
//!
//! A file that an entry names has the ids that the entry states. Its column of some name becomes the table's column of that name, if that
//! one is still ours. Any other file has the table's ids, its own or by the table's name mapping.
//!
//! This is the only place where stored rows get other columns. Files pass through it when they are merged, gathered, or rewritten because
//! the table's ids have changed.

use crate::encode::{FileSchema, is_first};
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::read::{Batches, LiveFile, mapped};
use crate::schema::FileColumn;
use crate::schema::compare::{ColumnMatch, Wanted, find};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, LargeBinaryArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
    new_null_array,
};
use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};
use iceberg::spec::{MappedField, Schema};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How the parts of a column are found in a file.
#[derive(Clone, Copy)]
enum By<'a> {
    /// By the table's ids.
    Id,
    /// By their names, in a file whose ids an entry states.
    Name,
    /// By the table's name mapping.
    Mapping(&'a [Arc<MappedField>]),
}

/// Which column of a file becomes which column of the table.
pub(super) struct Alignment {
    /// For each column of the target, its index in the file.
    from: Vec<Option<usize>>,
    /// Columns that an entry states but the table has no place for: name, and index in the file.
    homeless: Vec<(String, usize)>,
}

/// The columns of a file with the rows of all inputs, and how each input is converted; or the path of an input that cannot be converted,
/// and why.
pub(super) type Aligned = Result<(FileSchema, Vec<Alignment>), (String, String)>;

/// The index of each of the table's columns in a file; and the other columns of the file, by name.
type Roots = (Vec<Option<usize>>, Vec<(String, usize)>);

/// Finds the columns that a file with the rows of all these inputs has, and how each input is converted to them.
///
/// # Errors
/// Iceberg refuses the resulting schema. An input that cannot be converted is not an error: see [`Aligned`].
pub(super) fn align(lake: &Lake, loaded: &LoadedTable, inputs: &[(&LiveFile, &Batches)]) -> Result<Aligned, LakeError> {
    let table = loaded.table;
    let fields = loaded.metadata.current_schema().as_struct().fields();
    let mut present: BTreeSet<i32> = BTreeSet::new();
    let mut found: Vec<Roots> = Vec::new();
    for (file, batches) in inputs {
        let roots = match roots(loaded, file, batches) {
            Ok(roots) => roots,
            Err(why) => return Ok(Err((file.path.clone(), why))),
        };
        let place = |field: &iceberg::spec::NestedFieldRef| {
            roots.iter().position(|root| match root {
                Root::First(id) | Root::Table(id) => *id == field.id,
                Root::Entry(name, true) => *name == field.name && !is_first(table, field.id),
                Root::Entry(_, false) | Root::Gone => false,
            })
        };
        let from: Vec<Option<usize>> = fields.iter().map(place).collect();
        for (field, _) in fields.iter().zip(&from).filter(|(_, from)| from.is_some()) {
            present.insert(field.id);
        }
        let homeless = roots.iter().enumerate().filter_map(|(at, root)| match root {
            Root::Entry(name, _) if !from.contains(&Some(at)) => Some((name.clone(), at)),
            _ => None,
        });
        let homeless = homeless.collect();
        found.push((from, homeless));
    }
    let kept = |id: i32| is_first(table, id) || present.contains(&id);
    let kept_fields: Vec<_> = fields.iter().filter(|field| kept(field.id)).cloned().collect();
    let schema = FileSchema::from_fields(table, kept_fields, &lake.shape.later(table))?;
    let lacking = table.columns().iter().filter(|column| !column.nullable);
    let lacking: BTreeSet<&str> = lacking.map(|column| column.name).collect();
    let mut alignments = Vec::new();
    for ((file, _), (from, homeless)) in inputs.iter().zip(found) {
        let mut kept_from = Vec::new();
        for (field, from) in fields.iter().zip(from).filter(|(field, _)| kept(field.id)) {
            if from.is_none() && is_first(table, field.id) && lacking.contains(field.name.as_str()) {
                return Ok(Err((file.path.clone(), format!("it has no column {}", field.name))));
            }
            kept_from.push(from);
        }
        alignments.push(Alignment { from: kept_from, homeless });
    }
    Ok(Ok((schema, alignments)))
}

/// The meaning of a file's column for its table.
enum Root {
    /// A column with which the table was created.
    First(i32),
    /// The table's column of this id.
    Table(i32),
    /// The column of this name, according to the entry that names the file; and whether the table's column of that name is ours.
    Entry(String, bool),
    /// A column that the table does not have any more: its values are gone with it.
    Gone,
}

fn roots(loaded: &LoadedTable, file: &LiveFile, batches: &Batches) -> Result<Vec<Root>, String> {
    let (table, schema) = (loaded.table, batches.schema());
    let now: &Schema = loaded.metadata.current_schema();
    let is_ours = |column: &FileColumn| matches!(find(now, &Wanted::from(column)), ColumnMatch::Ours(_));
    let has_ids = schema.fields().iter().any(|field| id_of(field).is_some());
    let mut roots = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name();
        let id = match (has_ids, file.ids.mapping()) {
            (true, _) => id_of(field),
            (false, Some(mapping)) => mapped(mapping.fields().iter(), name).and_then(MappedField::field_id),
            (false, None) => table.schema().field_id_by_name(name),
        };
        roots.push(match id {
            Some(id) if is_first(table, id) => Root::First(id),
            Some(id) => match file.ids.later().iter().find(|column| column.id == id) {
                Some(column) if file.ids.is_of_entry() => Root::Entry(column.name.clone(), is_ours(column)),
                Some(_) => Root::Table(id),
                None => Root::Gone,
            },
            // Nobody can tell which column of the table this is, if any. If the file were rewritten, its values would be lost.
            None if has_ids => return Err(format!("its column {name} has no id")),
            None => return Err(format!("it tells no ids, and nothing tells which column {name} is")),
        });
    }
    Ok(roots)
}

fn id_of(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

impl Alignment {
    /// Converts a batch to the table's columns. Counts in `left_out`, by column, the values for which the table has no place.
    ///
    /// # Errors
    /// Text: a column cannot be converted to what the table has.
    pub(super) fn apply(
        &self,
        schema: &FileSchema,
        file: &LiveFile,
        batch: &RecordBatch,
        left_out: &mut BTreeMap<String, u64>,
    ) -> Result<RecordBatch, String> {
        let has_ids = batch.schema().fields().iter().any(|field| id_of(field).is_some());
        for (name, at) in &self.homeless {
            let column = batch.column(*at);
            *left_out.entry(name.clone()).or_default() += (column.len() - column.null_count()) as u64;
        }
        let mut columns = Vec::with_capacity(self.from.len());
        for (to, from) in schema.arrow().fields().iter().zip(&self.from) {
            let Some(from) = from else {
                columns.push(new_null_array(to.data_type(), batch.num_rows()));
                continue;
            };
            let (read, column) = (batch.schema().field(*from).clone(), batch.column(*from));
            let parts = match file.ids.mapping() {
                Some(mapping) => mapped(mapping.fields().iter(), read.name()).map_or(&[][..], MappedField::fields),
                None => &[],
            };
            let by = match (has_ids, file.ids.is_of_entry()) {
                (_, true) => By::Name,
                (true, false) => By::Id,
                (false, false) => By::Mapping(parts),
            };
            columns.push(convert(column, to, by).map_err(|why| format!("column {}: {why}", to.name()))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema.arrow().clone(), columns, &options).map_err(|e| e.to_string())
    }
}

/// Converts an array to the table's field: other names and another order of parts, or a type to which Iceberg promotes; nothing else.
fn convert(array: &ArrayRef, to: &Field, by: By<'_>) -> Result<ArrayRef, String> {
    let wrong = || format!("it has type {}, and the table's is {}", array.data_type(), to.data_type());
    let text = |e: arrow_schema::ArrowError| e.to_string();
    let inner = |name: &str| match by {
        By::Mapping(parts) => By::Mapping(mapped(parts.iter().map(Arc::as_ref), name).map_or(&[], MappedField::fields)),
        other => other,
    };
    Ok(match (array.data_type(), to.data_type()) {
        (DataType::List(_), DataType::List(element)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            let values = convert(&values, element, inner("element"))?;
            Arc::new(ListArray::try_new(element.clone(), offsets, values, nulls).map_err(text)?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let DataType::Struct(parts) = entries.data_type() else { return Err(wrong()) };
            let [key, value] = &parts[..] else { return Err(wrong()) };
            let (_, offsets, pairs, nulls, _) = array.as_map().clone().into_parts();
            let keys = convert(pairs.column(0), key, inner("key"))?;
            let values = convert(pairs.column(1), value, inner("value"))?;
            let pairs = StructArray::try_new(parts.clone(), vec![keys, values], None).map_err(text)?;
            Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, nulls, *sorted).map_err(text)?)
        }
        (DataType::Struct(read), DataType::Struct(parts)) => {
            let structs = array.as_struct();
            let mut columns = Vec::with_capacity(parts.len());
            for part in parts {
                columns.push(match part_of(read, part, by) {
                    Some(at) => convert(structs.column(at), part, inner(read[at].name()))?,
                    None => new_null_array(part.data_type(), array.len()),
                });
            }
            let nulls = structs.nulls().cloned();
            let structs = StructArray::try_new_with_length(parts.clone(), columns, nulls, array.len());
            Arc::new(structs.map_err(text)?)
        }
        (from, to) if from == to => array.clone(),
        // Parquet has one kind of binary; Arrow has two.
        (DataType::Binary, DataType::LargeBinary) => {
            Arc::new(array.as_binary::<i32>().iter().collect::<LargeBinaryArray>())
        }
        // The same time zone under several names.
        (
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)),
        ) => Arc::new(array.as_primitive::<TimestampMicrosecondType>().clone().with_timezone(zone.clone())),
        (DataType::Int32, DataType::Int64) => {
            Arc::new(array.as_primitive::<Int32Type>().unary::<_, Int64Type>(i64::from))
        }
        (DataType::Float32, DataType::Float64) => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float64Type>(f64::from))
        }
        (DataType::Decimal128(narrow, scale), DataType::Decimal128(wide, same)) if narrow <= wide && scale == same => {
            let wider = array.as_primitive::<Decimal128Type>().clone().with_precision_and_scale(*wide, *scale);
            Arc::new(wider.map_err(text)?)
        }
        _ => return Err(wrong()),
    })
}

/// The index of a part of a struct in the file.
fn part_of(read: &Fields, part: &FieldRef, by: By<'_>) -> Option<usize> {
    let id = id_of(part);
    read.iter().position(|field| match by {
        By::Id => id.is_some() && id_of(field) == id,
        By::Name => field.name() == part.name(),
        By::Mapping(parts) => {
            let found = mapped(parts.iter().map(Arc::as_ref), field.name());
            id.is_some() && found.and_then(MappedField::field_id) == id
        }
    })
}
