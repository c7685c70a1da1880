//! The columns of one file.

use super::encode_error;
use crate::error::LakeError;
use crate::schema::{Bounds, Column, ColumnId, FileColumn, Table};
use arrow_schema::SchemaRef as ArrowSchemaRef;
use iceberg::spec::{NestedFieldRef, Schema, SchemaRef};
use std::sync::Arc;

/// The columns of one file of a table: those with which the table was made, and later ones, this program's or others'.
pub(crate) struct FileSchema {
    table: Table,
    schema: SchemaRef,
    arrow: ArrowSchemaRef,
    later: Vec<FileColumn>,
    /// Those of the later ones that this program knows.
    known: Vec<Column>,
}

impl FileSchema {
    /// The columns with which a table is made.
    pub(crate) fn of(table: Table) -> FileSchema {
        let (schema, arrow) = (table.schema().clone(), table.arrow_schema().clone());
        FileSchema { table, schema, arrow, later: Vec::new(), known: Vec::new() }
    }

    /// These columns, and later ones behind them.
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
    /// Two have one id or name, or a type does not exist in Arrow.
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

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn arrow(&self) -> &ArrowSchemaRef {
        &self.arrow
    }

    /// The later columns.
    pub(super) fn later(&self) -> &[FileColumn] {
        &self.later
    }

    /// Whether an id is that of a column with which the table is made, or of its element.
    pub(super) fn is_of_first(&self, id: i32) -> bool {
        let is = |column: &Column| matches!(column.id, ColumnId::Fixed(first, element) if first == id || element == Some(id));
        self.table.columns().iter().any(is)
    }

    /// What the file tells of a column's values.
    pub(super) fn bounds(&self, name: &str) -> Bounds {
        if name == self.table.time_column() {
            return Bounds::Pages;
        }
        let mut known = self.table.columns().iter().chain(&self.known);
        known.find(|column| column.name == name).map_or(Bounds::Whole, |column| column.bounds)
    }
}

/// Whether an id is that of a column with which the table is made.
pub(crate) fn is_first(table: Table, id: i32) -> bool {
    table.columns().iter().any(|column| matches!(column.id, ColumnId::Fixed(first, _) if first == id))
}
