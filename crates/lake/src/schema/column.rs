//! What a column of a table is (docs/shape.md, section 2).

use crate::kind::Kind;
use iceberg::spec::{NestedField, NestedFieldRef, Type};
use serde::{Deserialize, Serialize};

/// A column, described once: schema, encoder, readers, `verify` and the columns in Glue are derived from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, in lower case, because catalogs know no other.
    pub name: &'static str,
    /// Where its id comes from.
    pub id: ColumnId,
    /// The type of its values.
    pub kind: Kind,
    /// Whether a row may have no value. This is the writer's promise: in Iceberg's sense every column is optional.
    pub nullable: bool,
    /// Its description in the table: one line of at most [`DOC_BYTES_MAX`] bytes.
    pub doc: &'static str,
    /// The group with which it is added to a table.
    pub group: Group,
    /// Which bounds of its values files keep.
    pub bounds: Bounds,
    /// Whether it counts something: in a later column, a count of 0 is stored as null.
    pub counts: bool,
}

/// Which bounds of a column's values files keep, besides the number of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// The least and the greatest of each page and of the whole: for columns that analysts search.
    Pages,
    /// The least and the greatest of the whole.
    Whole,
    /// Neither, because they would exclude nothing.
    Counts,
    /// Neither, and no dictionary, because each value occurs once (hashes, payloads).
    Never,
}

/// Longest [`Column::doc`], in bytes: Glue's limit for the comment of a column.
pub const DOC_BYTES_MAX: usize = 255;

/// Where a column's field id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnId {
    /// Written out, for a column that every table has had from the first version on. The second id is that of a list's element.
    Fixed(i32, Option<i32>),
    /// Given by the table when the column was added, because another engine may have used any number before.
    Given,
}

/// The group with which a column is added to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Columns that a table has from its first row on.
    First,
    /// The attributes of events.
    Attributes,
    /// The column of the rule of this name.
    Rule(&'static str),
    /// Another group, by its name.
    Named(&'static str),
}

impl Column {
    /// A column of [`Group::First`] that is never null, with bounds of the whole.
    pub const fn new(id: ColumnId, name: &'static str, kind: Kind, doc: &'static str) -> Column {
        Column { name, id, kind, nullable: false, doc, group: Group::First, bounds: Bounds::Whole, counts: false }
    }

    /// A later column of a group.
    pub const fn later(group: Group, name: &'static str, kind: Kind, doc: &'static str) -> Column {
        Column { group, nullable: true, ..Column::new(ColumnId::Given, name, kind, doc) }
    }

    /// The same column, but nullable.
    pub const fn nullable(self) -> Column {
        Column { nullable: true, ..self }
    }

    /// The same column, but with these bounds.
    pub const fn bounds(self, bounds: Bounds) -> Column {
        Column { bounds, ..self }
    }

    /// The same column, marked as one that counts something.
    pub const fn counting(self) -> Column {
        Column { counts: true, ..self }
    }

    /// Whether Iceberg's description of a file has its least and greatest value.
    pub fn has_bounds(&self) -> bool {
        matches!(self.bounds, Bounds::Pages | Bounds::Whole)
    }

    /// The column as a field of a schema, under these ids.
    pub fn field(&self, id: i32, element_id: i32) -> NestedFieldRef {
        NestedField::optional(id, self.name, self.kind.iceberg(element_id)).with_doc(self.doc).into()
    }
}

/// A later column as a file has it, according to the entry that names the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileColumn {
    /// Its name when the file was written.
    pub name: String,
    /// Its field id in the file.
    pub id: i32,
    /// Its type as Iceberg's metadata writes it: `"string"`, or for a nested type an object with the ids of its parts.
    #[serde(rename = "type")]
    pub kind: Type,
}

impl FileColumn {
    /// A column of a schema, as a file of that schema has it.
    pub fn of(field: &NestedFieldRef) -> FileColumn {
        FileColumn { name: field.name.clone(), id: field.id, kind: field.field_type.as_ref().clone() }
    }
}
