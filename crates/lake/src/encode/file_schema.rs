//! The columns of one file.

use super::encode_error;
use crate::error::LakeError;
use crate::schema::{Bounds, Column, ColumnId, FileColumn, Table};
use arrow_schema::SchemaRef as ArrowSchemaRef;
use iceberg::spec::{NestedFieldRef, Schema, SchemaRef};
use std::sync::Arc;

/// The columns of one file of a table: those with which the table was created, and later ones, whether this program knows them or not.
pub(crate) struct FileSchema {
    table: Table,
    schema: SchemaRef,
    arrow: ArrowSchemaRef,
    later: Vec<FileColumn>,
    /// The later ones that this program knows.
    known: Vec<Column>,
}

impl FileSchema {
    /// The columns with which a table is created.
    pub(crate) fn of(table: Table) -> FileSchema {
        let (schema, arrow) = (table.schema().clone(), table.arrow_schema().clone());
        FileSchema { table, schema, arrow, later: Vec::new(), known: Vec::new() }
    }

    /// The columns with which a table is created, followed by later ones.
    ///
    /// # Errors
    /// Those of [`FileSchema::from_fields`].
    pub(super) fn with(
        table: Table,
        later: impl Iterator<Item = NestedFieldRef>,
        known: &[Column],
    ) -> Result<FileSchema, LakeError> {
        let fields = table.schema().as_struct().fields().iter().cloned().chain(later).collect();
        FileSchema::from_fields(table, fields, known)
    }

    /// These columns, in this order.
    ///
    /// # Errors
    /// Two have the same id or name, or a type does not exist in Arrow.
    pub(crate) fn from_fields(
        table: Table,
        fields: Vec<NestedFieldRef>,
        known: &[Column],
    ) -> Result<FileSchema, LakeError> {
        let failed = |e: iceberg::Error| encode_error(table.name(), e);
        let is_later = |field: &&NestedFieldRef| !is_first(table, field.id);
        let later = fields.iter().filter(is_later).map(FileColumn::of).collect();
        let schema = Arc::new(Schema::builder().with_fields(fields).build().map_err(failed)?);
        let arrow = Arc::new(iceberg::arrow::schema_to_arrow_schema(&schema).map_err(failed)?);
        Ok(FileSchema { table, schema, arrow, later, known: known.to_vec() })
    }

    /// The table to which the file belongs.
    pub(crate) fn table(&self) -> Table {
        self.table
    }

    /// The Iceberg schema of the file.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The Arrow schema of the file, with field ids.
    pub(crate) fn arrow(&self) -> &ArrowSchemaRef {
        &self.arrow
    }

    /// The later columns.
    pub(super) fn later(&self) -> &[FileColumn] {
        &self.later
    }

    /// Whether this is the id of a column with which the table is created, or of such a column's element.
    pub(super) fn is_of_first(&self, id: i32) -> bool {
        let is = |column: &Column| matches!(column.id, ColumnId::Fixed(first, element) if first == id || element == Some(id));
        self.table.columns().iter().any(is)
    }

    /// Which bounds of a column's values the file keeps.
    pub(super) fn bounds(&self, name: &str) -> Bounds {
        if name == self.table.time_column() {
            return Bounds::Pages;
        }
        let mut known = self.table.columns().iter().chain(&self.known);
        known.find(|column| column.name == name).map_or(Bounds::Whole, |column| column.bounds)
    }
}

/// Whether this is the id of a column with which the table is created.
pub(crate) fn is_first(table: Table, id: i32) -> bool {
    table.columns().iter().any(|column| matches!(column.id, ColumnId::Fixed(first, _) if first == id))
}
