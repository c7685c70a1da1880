//! Files of entries whose later columns the table has under other ids by now, or does not have any more: they are written anew under the
//! table's ids before they are appended. The entries stay as they were stored, and the files that they name stay where they are.
//!
//! Rows, their order and their values are the same, but for a column whose name somebody else has taken: its values are left out.

use super::compare::{Found, Wanted, find};
use crate::encode::{EncodeOptions, TableFile, write_batches};
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::schema::{Bounds, Column, FileColumn};
use crate::store::put_once;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, LargeListArray, ListArray, MapArray, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use authpulse_event::id::sha256_hex;
use bytes::Bytes;
use iceberg::spec::{Schema, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 16_384;

/// What an attempt has made of the files to append; another attempt uses it again where the table is still the same to them.
#[derive(Default)]
pub(super) struct Fitted {
    /// By the path of the file that an entry names.
    rewritten: BTreeMap<String, Rewritten>,
    pub(super) files: Vec<TableFile>,
    /// What was done, for people.
    pub(super) notes: Vec<String>,
}

struct Rewritten {
    columns: Vec<FileColumn>,
    file: TableFile,
    note: String,
}

/// What becomes of a file's later columns.
struct Plan {
    /// Those that stay, as they are in the file and as the table has them.
    stay: Vec<(FileColumn, FileColumn)>,
    /// Those that are left out, with why.
    go: Vec<(FileColumn, String)>,
    /// Whether the table lacks one: it is to be added first.
    is_lacking: bool,
}

/// The later columns of these files that a table's schema lacks: each once, in the order of the files.
pub(super) fn lacking(schema: &Schema, files: &[&TableFile]) -> Vec<Wanted> {
    let mut lacking: Vec<Wanted> = Vec::new();
    for column in files.iter().flat_map(|file| &file.columns) {
        let wanted = Wanted::from(column);
        let is_new = lacking.iter().all(|known| known.name != wanted.name);
        if is_new && find(schema, &wanted) == Found::Lacking {
            lacking.push(wanted);
        }
    }
    lacking
}

/// What is to become of a file; none where it can be appended as it is.
fn plan(schema: &Schema, file: &TableFile) -> Option<Plan> {
    let mut plan = Plan { stay: Vec::new(), go: Vec::new(), is_lacking: false };
    for column in &file.columns {
        match find(schema, &Wanted::from(column)) {
            Found::Ours(found) => plan.stay.push((column.clone(), found)),
            Found::Taken(why) => plan.go.push((column.clone(), why)),
            Found::Lacking => plan.is_lacking = true,
        }
    }
    let fits = !plan.is_lacking && plan.go.is_empty() && plan.stay.iter().all(|(own, theirs)| own == theirs);
    (!fits).then_some(plan)
}

impl Lake {
    /// The files to append in place of `files`.
    pub(super) async fn fit(
        &self,
        loaded: &LoadedTable,
        files: &[&TableFile],
        before: Fitted,
    ) -> Result<Fitted, LakeError> {
        let mut before = before.rewritten;
        let mut fitted = Fitted::default();
        for file in files {
            let Some(plan) = plan(loaded.metadata.current_schema(), file) else {
                fitted.files.push((*file).clone());
                continue;
            };
            if plan.is_lacking {
                // Others drop what is added here, again and again.
                let table = loaded.table.name().to_owned();
                return Err(LakeError::Contended { table, attempts: self.settings.attempts });
            }
            let columns: Vec<FileColumn> = plan.stay.iter().map(|(_, theirs)| theirs.clone()).collect();
            let rewritten = match before.remove(&file.path).filter(|known| known.columns == columns) {
                Some(known) => known,
                None => self.rewrite(file, &plan, columns).await?,
            };
            fitted.files.push(rewritten.file.clone());
            fitted.notes.push(rewritten.note.clone());
            fitted.rewritten.insert(file.path.clone(), rewritten);
        }
        Ok(fitted)
    }

    async fn rewrite(&self, file: &TableFile, plan: &Plan, columns: Vec<FileColumn>) -> Result<Rewritten, LakeError> {
        let table = file.table;
        let body = self.store.get(&file.path).await.map_err(|e| LakeError::from_store(table.name(), e))?;
        if body.len() as u64 != file.bytes {
            let what = format!("it has {} bytes, and its entry says {}; restore it", body.len(), file.bytes);
            return Err(damaged(file, what));
        }
        let later = self.shape.later(table);
        let (bytes, metadata) = rewritten(file, body, plan, &later)?;
        let path = table.data_path(file.partition(), &format!("fit-{}", self.ids.uuid().simple()));
        let note = note(&path, plan, file);
        let file = TableFile {
            path,
            bytes: bytes.len() as u64,
            data_file: description(file, plan, bytes.len(), &metadata)?,
            sha256: sha256_hex(&bytes),
            columns: columns.clone(),
            ..file.clone()
        };
        (self.probe)(&format!("fit file before:{table}"));
        put_once(self.store.as_ref(), &file.path, bytes)
            .await
            .map_err(|source| LakeError::Store { table: table.name().to_owned(), source })?;
        (self.probe)(&format!("fit file after:{table}"));
        Ok(Rewritten { columns, file, note })
    }
}

fn damaged(file: &TableFile, what: impl Into<String>) -> LakeError {
    LakeError::Damaged { table: file.table.name().to_owned(), file: file.path.clone(), what: what.into() }
}

/// What is said of a file that was written anew as `path`.
fn note(path: &str, plan: &Plan, file: &TableFile) -> String {
    let names: Vec<&str> = plan.stay.iter().filter(|(a, b)| a != b).map(|(own, _)| own.name.as_str()).collect();
    let mut words = Vec::new();
    if !names.is_empty() {
        words.push(format!("the table has {} under another id by now", names.join(", ")));
    }
    for (column, why) in &plan.go {
        let values = values(file, column).map_or("its".to_owned(), |n| format!("{n}"));
        words.push(format!("{values} values of {} are left out: {why}", column.name));
    }
    format!("{} was written anew as {path}: {}", file.path, words.join("; "))
}

/// The ids within a column of one type, next to those in the same places of another.
fn add_ids(ids: &mut BTreeMap<i32, i32>, own: &Type, theirs: &Type) {
    match (own, theirs) {
        (Type::List(own), Type::List(theirs)) => {
            ids.insert(own.element_field.id, theirs.element_field.id);
            add_ids(ids, &own.element_field.field_type, &theirs.element_field.field_type);
        }
        (Type::Map(own), Type::Map(theirs)) => {
            for (own, theirs) in [(&own.key_field, &theirs.key_field), (&own.value_field, &theirs.value_field)] {
                ids.insert(own.id, theirs.id);
                add_ids(ids, &own.field_type, &theirs.field_type);
            }
        }
        (Type::Struct(own), Type::Struct(theirs)) => {
            for (own, theirs) in own.fields().iter().zip(theirs.fields()) {
                ids.insert(own.id, theirs.id);
                add_ids(ids, &own.field_type, &theirs.field_type);
            }
        }
        _ => {}
    }
}

impl Plan {
    /// The ids of all that stays, next to the table's.
    fn ids(&self) -> BTreeMap<i32, i32> {
        let mut ids = BTreeMap::new();
        for (own, theirs) in &self.stay {
            ids.insert(own.id, theirs.id);
            add_ids(&mut ids, &own.kind, &theirs.kind);
        }
        ids
    }

    /// The ids of all that goes.
    fn gone(&self) -> BTreeMap<i32, i32> {
        let mut ids = BTreeMap::new();
        for (own, _) in &self.go {
            ids.insert(own.id, own.id);
            add_ids(&mut ids, &own.kind, &own.kind);
        }
        ids
    }
}

/// The file's bytes under the table's ids.
fn rewritten(
    file: &TableFile,
    body: Bytes,
    plan: &Plan,
    later: &[Column],
) -> Result<(Bytes, ParquetMetaData), LakeError> {
    let unreadable = |e: &dyn std::fmt::Display| damaged(file, format!("it cannot be read ({e}); restore it"));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(body, options).map_err(|e| unreadable(&e))?;
    let (ids, gone) = (plan.ids(), plan.gone());
    let (mut fields, mut places) = (Vec::new(), Vec::new());
    for (at, field) in builder.schema().fields().iter().enumerate() {
        if field_id(field).is_none_or(|id| !gone.contains_key(&id)) {
            fields.push(renumbered(field, &ids));
            places.push(at);
        }
    }
    let schema: ArrowSchemaRef = Arc::new(ArrowSchema::new(fields));
    let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|e| unreadable(&e))?;
    let batches = reader.map(|batch| {
        let batch = batch.map_err(|e| unreadable(&e))?;
        let columns: Vec<ArrayRef> =
            places.iter().zip(schema.fields()).map(|(at, field)| typed(batch.column(*at), field.data_type())).collect();
        RecordBatch::try_new(schema.clone(), columns).map_err(|e| unreadable(&e))
    });
    let known = |name: &str| file.table.columns().iter().chain(later).find(|column| column.name == name);
    let bounds = |name: &str| known(name).map_or(Bounds::Whole, |column| column.bounds);
    write_batches((file.table.name(), &schema), bounds, batches, &EncodeOptions::default())
}

fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// A field with other ids; those that are not among them stay.
fn renumbered(field: &FieldRef, ids: &BTreeMap<i32, i32>) -> FieldRef {
    let kind = match field.data_type() {
        DataType::List(part) => DataType::List(renumbered(part, ids)),
        DataType::LargeList(part) => DataType::LargeList(renumbered(part, ids)),
        DataType::Struct(parts) => DataType::Struct(parts.iter().map(|part| renumbered(part, ids)).collect()),
        DataType::Map(entries, sorted) => DataType::Map(renumbered(entries, ids), *sorted),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    if let Some(id) = field_id(field).and_then(|id| ids.get(&id)) {
        metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
    }
    Arc::new(Field::new(field.name(), kind, field.is_nullable()).with_metadata(metadata))
}

/// The same values under a type that differs in nothing but the ids within.
fn typed(array: &ArrayRef, kind: &DataType) -> ArrayRef {
    match kind {
        DataType::List(part) => {
            let list = array.as_list::<i32>();
            let values = typed(list.values(), part.data_type());
            Arc::new(ListArray::new(part.clone(), list.offsets().clone(), values, list.nulls().cloned()))
        }
        DataType::LargeList(part) => {
            let list = array.as_list::<i64>();
            let values = typed(list.values(), part.data_type());
            Arc::new(LargeListArray::new(part.clone(), list.offsets().clone(), values, list.nulls().cloned()))
        }
        DataType::Struct(parts) => {
            let whole = array.as_struct();
            let columns = whole.columns().iter().zip(parts).map(|(column, part)| typed(column, part.data_type()));
            Arc::new(StructArray::new(parts.clone(), columns.collect(), whole.nulls().cloned()))
        }
        DataType::Map(entries, sorted) => {
            let map = array.as_map();
            let inner: ArrayRef = Arc::new(map.entries().clone());
            let inner = typed(&inner, entries.data_type()).as_struct().clone();
            Arc::new(MapArray::new(entries.clone(), map.offsets().clone(), inner, map.nulls().cloned(), *sorted))
        }
        _ => array.clone(),
    }
}

/// Iceberg's description under the table's ids: counts and bounds are those of the same values, sizes and places are new.
fn description(file: &TableFile, plan: &Plan, bytes: usize, metadata: &ParquetMetaData) -> Result<String, LakeError> {
    let mut json: Value = serde_json::from_str(&file.data_file)
        .map_err(|e| damaged(file, format!("its description in the journal cannot be read: {e}")))?;
    let (ids, gone) = (plan.ids(), plan.gone());
    let key = |pair: &Value| pair.get("key").and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok());
    for list in json.as_object_mut().into_iter().flat_map(|o| o.values_mut()).filter_map(Value::as_array_mut) {
        list.retain(|pair| key(pair).is_none_or(|id| !gone.contains_key(&id)));
        for pair in list.iter_mut() {
            if let Some(id) = key(pair).and_then(|id| ids.get(&id)) {
                pair["key"] = json!(id);
            }
        }
        list.sort_by_key(|pair| pair.get("key").and_then(Value::as_i64));
    }
    let mut sizes: BTreeMap<i32, i64> = BTreeMap::new();
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let info = column.column_descr().self_type().get_basic_info();
        if info.has_id() {
            *sizes.entry(info.id()).or_default() += column.compressed_size();
        }
    }
    json["column_sizes"] = sizes.into_iter().map(|(id, size)| json!({ "key": id, "value": size })).collect();
    let begins = metadata.row_groups().iter().filter_map(|group| group.columns().first());
    json["split_offsets"] = begins.map(|column| json!(column.byte_range().0)).collect();
    json["file_size_in_bytes"] = json!(bytes);
    Ok(json.to_string())
}

/// Values of a column that a file has, by its description: what is left out with it.
fn values(file: &TableFile, column: &FileColumn) -> Option<u64> {
    let json: Value = serde_json::from_str(&file.data_file).ok()?;
    let of = |map: &str| {
        let pairs = json.get(map)?.as_array()?.iter();
        pairs.filter(|pair| pair["key"] == json!(column.id)).find_map(|pair| pair["value"].as_u64())
    };
    Some(file.rows - of("null_value_counts")?.min(file.rows))
}

#[cfg(test)]
mod tests;
