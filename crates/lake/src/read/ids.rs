//! Finds the columns of a file: by field id. If the file has none, the table's name mapping decides. If there is no mapping either, the
//! name does, but only for columns with which the table was created.

use crate::lake::LoadedTable;
use crate::schema::{ColumnId, FileColumn, Table};
use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, MappedField, NameMapping};
use parquet::schema::types::{SchemaDescriptor, Type as ParquetType};
use std::sync::Arc;

/// The ids of a file's columns, as stated by what names the file: an entry states the file's later columns, a table all that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileIds {
    later: Arc<[FileColumn]>,
    mapping: Option<Arc<NameMapping>>,
    /// Whether an entry states them: the table may have other ids for these columns.
    of_entry: bool,
}

impl FileIds {
    /// The ids for a file that an entry names.
    pub(super) fn of_entry(columns: &[FileColumn]) -> FileIds {
        FileIds { later: columns.into(), mapping: None, of_entry: true }
    }

    /// The ids for the files of a table, by its current schema.
    pub(crate) fn of_table(loaded: &LoadedTable) -> FileIds {
        let fields = loaded.metadata.current_schema().as_struct().fields();
        let later = fields.iter().filter(|field| !crate::encode::is_first(loaded.table, field.id)).map(FileColumn::of);
        let mapping = loaded.metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING);
        // A mapping that cannot be read maps nothing, as in other engines.
        let mapping = mapping.and_then(|text| serde_json::from_str(text).ok()).map(Arc::new);
        FileIds { later: later.collect(), mapping, of_entry: false }
    }

    /// The later columns whose ids are stated.
    pub fn later(&self) -> &[FileColumn] {
        &self.later
    }

    /// Whether an entry states the ids, not the table.
    pub(crate) fn is_of_entry(&self) -> bool {
        self.of_entry
    }

    /// The table's name mapping.
    pub(crate) fn mapping(&self) -> Option<&NameMapping> {
        self.mapping.as_deref()
    }
}

/// A column that is looked for in a file.
pub(super) struct Wanted {
    /// The name under which it is returned.
    pub name: String,
    /// Its id in the file; `None` if what names the file states none.
    pub id: Option<i32>,
    /// Whether it was there from the first version on: then it can be found by its name.
    pub is_first: bool,
    /// Whether a file may lack it.
    pub nullable: bool,
}

impl Wanted {
    /// A column with which a table, or the raw zone, is created.
    pub(super) fn first(column: &crate::schema::Column) -> Wanted {
        let id = match column.id {
            ColumnId::Fixed(id, _) => Some(id),
            ColumnId::Given => None,
        };
        Wanted { name: column.name.to_owned(), id, is_first: true, nullable: column.nullable }
    }

    /// A column of a table's file, by its name.
    pub(super) fn named(table: Table, ids: &FileIds, name: &str) -> Wanted {
        if let Some(column) = table.columns().iter().find(|column| column.name == name) {
            return Wanted::first(column);
        }
        let id = ids.later.iter().find(|column| column.name == name).map(|column| column.id);
        Wanted { name: name.to_owned(), id, is_first: false, nullable: true }
    }

    /// Its index among the top-level columns of a file.
    pub(super) fn root(&self, schema: &SchemaDescriptor, ids: &FileIds) -> Option<usize> {
        let roots = schema.root_schema().get_fields();
        if has_ids(schema) {
            return roots.iter().position(|root| id_of(root).is_some_and(|id| Some(id) == self.id));
        }
        match &ids.mapping {
            Some(mapping) => {
                let mut fields = mapping.fields().iter();
                let names = fields.find(|field| field.field_id().is_some() && field.field_id() == self.id)?.names();
                roots.iter().position(|root| names.iter().any(|name| name == root.name()))
            }
            None if self.is_first => roots.iter().position(|root| root.name() == self.name),
            None => None,
        }
    }
}

/// Whether a file states the ids of its columns.
pub(super) fn has_ids(schema: &SchemaDescriptor) -> bool {
    schema.root_schema().get_fields().iter().any(|root| id_of(root).is_some())
}

fn id_of(field: &ParquetType) -> Option<i32> {
    let info = field.get_basic_info();
    info.has_id().then(|| info.id())
}

/// The field of a mapping that has this name.
pub(crate) fn mapped<'a>(mut fields: impl Iterator<Item = &'a MappedField>, name: &str) -> Option<&'a MappedField> {
    fields.find(|field| field.names().iter().any(|known| known == name))
}
