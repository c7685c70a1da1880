//! What a column of a table is (docs/shape.md, section 2).

use crate::kind::Kind;
use iceberg::spec::{NestedField, NestedFieldRef, Type};
use serde::{Deserialize, Serialize};

/// A column, described once: the schema, the encoder, the readers, `verify` and what Glue is told come out of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, in lower case: catalogs know no other.
    pub name: &'static str,
    /// Where its id comes from.
    pub id: ColumnId,
    /// The type of its values.
    pub kind: Kind,
    /// Whether a row may have no value, by the promise of whoever writes it: in Iceberg's sense every column is optional.
    pub nullable: bool,
    /// What it says, in one line of at most [`DOC_BYTES_MAX`] bytes.
    pub doc: &'static str,
    /// With which others it comes into a table.
    pub group: Group,
    /// What files tell of its values as a whole.
    pub bounds: Bounds,
    /// Whether it counts something: a count that is 0 is null, where the column is a later one.
    pub counts: bool,
}

/// What files tell of a column's values, beside how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// The least and the greatest of each page and of the whole: what analysts look for.
    Pages,
    /// The least and the greatest of the whole.
    Whole,
    /// Neither: they would prune nothing.
    Counts,
    /// Neither, and no dictionary: each value is there once (hashes, payloads).
    Never,
}

/// Longest [`Column::doc`]: Glue takes no longer comment of a column.
pub const DOC_BYTES_MAX: usize = 255;

/// Where a column's field id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnId {
    /// Written out: a column that every table has had from the first version on. A list's element has the second one.
    Fixed(i32, Option<i32>),
    /// The table gave it when the column was added: another engine may have taken any number before.
    Given,
}

/// With which others a column comes into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// It is there from the first row on.
    First,
    /// What events carry beside the three fields.
    Attributes,
    /// The column of the rule of this name.
    Rule(&'static str),
    /// Another, by its name.
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

    /// One that may be null.
    pub const fn nullable(self) -> Column {
        Column { nullable: true, ..self }
    }

    /// One of which files tell this.
    pub const fn bounds(self, bounds: Bounds) -> Column {
        Column { bounds, ..self }
    }

    /// One that counts something.
    pub const fn counting(self) -> Column {
        Column { counts: true, ..self }
    }

    /// Whether Iceberg's description of a file has its least and greatest value.
    pub fn has_bounds(&self) -> bool {
        matches!(self.bounds, Bounds::Pages | Bounds::Whole)
    }

    /// As a field of a schema, under these ids.
    pub fn field(&self, id: i32, element_id: i32) -> NestedFieldRef {
        NestedField::optional(id, self.name, self.kind.iceberg(element_id)).with_doc(self.doc).into()
    }
}

/// A later column as a file has it: what the entry that names the file says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileColumn {
    /// Its name when the file was written.
    pub name: String,
    /// Its field id in the file.
    pub id: i32,
    /// Its type as Iceberg's metadata spell it: `"string"`, or an object for a nested type with the ids of its parts.
    #[serde(rename = "type")]
    pub kind: Type,
}

impl FileColumn {
    /// A column of a schema, as a file of that schema has it.
    pub fn of(field: &NestedFieldRef) -> FileColumn {
        FileColumn { name: field.name.clone(), id: field.id, kind: field.field_type.as_ref().clone() }
    }
}
