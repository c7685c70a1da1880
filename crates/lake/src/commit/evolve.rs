//! Adds columns to tables. A writer that has a row with a value for a column asks for it; one commit of the schema alone adds it.
//!
//! Such a commit is like any other: it is written beside the table, then swapped in if the table is still the one that was loaded. Each
//! attempt compares the schema again. So after a conflict or a lost answer the columns are found there, and anyone may repeat the call
//! after any error.

use super::prepare::{Next, Prepared};
use crate::catalog::SwapOutcome;
use crate::error::{LakeError, Remedy};
use crate::lake::{Lake, LoadedTable};
use crate::schema::compare::{ColumnIds, Wanted, with_lacking};
use crate::schema::{Group, Table};
use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, NestedFieldRef, Schema, Type};
use serde_json::{Value, json};
use std::collections::HashMap;

/// How long a table's ids of later columns are trusted, in milliseconds. Others may drop or rename a column at any time; files that are
/// written under old ids in this time are rewritten when they are appended.
pub const COLUMNS_KNOWN_FOR_MS: i64 = 60_000;

impl Lake {
    /// The ids of a table's later columns. Columns of these groups are added if they are missing. The ids are remembered; the table is read
    /// again when a column is missing, and after [`COLUMNS_KNOWN_FOR_MS`]. If reading fails and no column is missing, the remembered ids
    /// are returned.
    ///
    /// # Errors
    /// The store or the catalog fails and no remembered ids have all the columns, or the table needs a newer program. The call can be
    /// repeated.
    pub async fn columns(&self, table: Table, groups: &[Group]) -> Result<ColumnIds, LakeError> {
        let all = self.shape.later(table);
        let asked = || all.iter().filter(|column| groups.contains(&column.group));
        let now = self.ids.now_ms();
        let known = self.known_columns.get(table).filter(|(_, ids)| ids.settles(asked().map(|column| column.name)));
        if let Some((at, ids)) = &known
            && (0..COLUMNS_KNOWN_FOR_MS).contains(&now.saturating_sub(*at))
        {
            return Ok(ids.clone());
        }
        let wanted: Vec<Wanted> = asked().map(Wanted::from).collect();
        let ids = match self.with_columns(table, &wanted).await {
            Ok(loaded) => ColumnIds::in_schema(loaded.metadata.current_schema(), &all),
            Err(error) => match known {
                Some((_, ids)) if !error.is_too_new() => ids,
                _ => return Err(error),
            },
        };
        self.known_columns.set(table, now, ids.clone());
        Ok(ids)
    }

    /// Completes columns of files with this program's descriptions, if it has any, and sorts them in the order of its list.
    pub(super) fn described(&self, table: Table, mut wanted: Vec<Wanted>) -> Vec<Wanted> {
        let later: Vec<Wanted> = self.shape.later(table).iter().map(Wanted::from).collect();
        let place = |column: &Wanted| later.iter().position(|known| known.name == column.name);
        for column in &mut wanted {
            column.doc = place(column).and_then(|at| later[at].doc.clone());
        }
        wanted.sort_by_key(|column| place(column).unwrap_or(usize::MAX));
        wanted
    }

    /// The table as it is, after these columns were added, except those whose names are taken.
    ///
    /// # Errors
    /// The store or the catalog fails, the table needs a newer program, or other commits came first in every attempt.
    pub(super) async fn with_columns(&self, table: Table, wanted: &[Wanted]) -> Result<LoadedTable, LakeError> {
        let mut unclear: Option<LakeError> = None;
        for _ in 0..self.settings.attempts.max(1) {
            let loaded = self.load_to_commit(table).await?;
            let Some(prepared) = self.prepare_columns(&loaded, wanted).await? else { return Ok(loaded) };
            (self.probe)(&format!("columns swap before:{table}"));
            let swap = self.pointers.swap(table.name(), &loaded.location, &prepared.location, &prepared.schema).await;
            unclear = match swap {
                Ok(SwapOutcome::Swapped) => {
                    (self.probe)(&format!("columns swap after:{table}"));
                    self.known_columns.forget(table);
                    self.remove_unreachable(&prepared).await;
                    None
                }
                // What was written for this attempt stays: only a cleaner that knows the whole table may remove it.
                Ok(SwapOutcome::Conflict) => None,
                Err(e) if e.remedy() == Remedy::Look => Some(e.into()),
                Err(e) => return Err(e.into()),
            };
        }
        // The last attempt may have been the one that succeeded.
        let loaded = self.load_to_commit(table).await?;
        if with_lacking(loaded.metadata.current_schema(), loaded.metadata.last_column_id(), wanted).is_none() {
            return Ok(loaded);
        }
        let attempts = self.settings.attempts;
        Err(unclear.unwrap_or(LakeError::Contended { table: table.name().to_owned(), attempts }))
    }

    /// Writes metadata with the missing columns; `None` if none is missing.
    async fn prepare_columns(&self, loaded: &LoadedTable, wanted: &[Wanted]) -> Result<Option<Prepared>, LakeError> {
        let (base, old) = (&loaded.metadata, loaded.metadata.current_schema());
        let Some((fields, _)) = with_lacking(old, base.last_column_id(), wanted) else { return Ok(None) };
        let failed = |e: iceberg::Error| LakeError::from_iceberg(loaded.table.name(), &loaded.location, &e);
        let schema = Schema::builder()
            .with_fields(fields)
            .with_identifier_field_ids(old.identifier_field_ids())
            .build()
            .map_err(failed)?;
        let last_id = base.last_column_id().max(old.highest_field_id());
        let mapping = base.properties().get(DEFAULT_SCHEMA_NAME_MAPPING);
        let mapping = mapping.and_then(|mapping| with_names(mapping, schema.as_struct().fields(), last_id));
        let properties: HashMap<_, _> =
            mapping.map(|mapping| (DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), mapping)).into_iter().collect();
        let next = Next { schema: Some(schema), properties, ..Next::default() };
        let now = self.ids.now_ms().max(base.last_updated_ms());
        Ok(Some(self.write_metadata(loaded, next, now).await?))
    }
}

/// A name mapping that also has the fields above `last_id`; `None` if the text is not such a mapping, which then stays as it is.
fn with_names(mapping: &str, fields: &[NestedFieldRef], last_id: i32) -> Option<String> {
    let mut mapping: Value = serde_json::from_str(mapping).ok()?;
    add_names(mapping.as_array_mut()?, fields, last_id);
    Some(mapping.to_string())
}

fn add_names(mapped: &mut Vec<Value>, fields: &[NestedFieldRef], last_id: i32) {
    for field in fields {
        let of_id =
            mapped.iter().position(|entry| entry.get("field-id").and_then(Value::as_i64) == Some(field.id.into()));
        let entry = match of_id {
            Some(at) => Some(&mut mapped[at]),
            None if field.id > last_id => {
                // A renamed column keeps its old names in the mapping; a new column takes its name away from it.
                for names in mapped.iter_mut().filter_map(|entry| entry.get_mut("names")?.as_array_mut()) {
                    names.retain(|name| name.as_str() != Some(field.name.as_str()));
                }
                mapped.push(json!({ "field-id": field.id, "names": [field.name] }));
                mapped.last_mut()
            }
            None => None,
        };
        let parts = parts(&field.field_type);
        if let Some(entry) = entry.and_then(Value::as_object_mut).filter(|_| !parts.is_empty()) {
            let mapped = entry.entry("fields").or_insert(Value::Null);
            if mapped.is_null() {
                *mapped = json!([]);
            }
            if let Some(mapped) = mapped.as_array_mut() {
                add_names(mapped, &parts, last_id);
            }
        }
    }
}

/// The fields directly within a type.
fn parts(kind: &Type) -> Vec<NestedFieldRef> {
    match kind {
        Type::Primitive(_) => Vec::new(),
        Type::List(list) => vec![list.element_field.clone()],
        Type::Map(map) => vec![map.key_field.clone(), map.value_field.clone()],
        Type::Struct(fields) => fields.fields().to_vec(),
    }
}

#[cfg(test)]
mod tests;
