//! The ids that a table gave to its columns.

use super::{Column, FileColumn};
use iceberg::spec::{NestedFieldRef, PrimitiveType, Schema, Type};
use std::collections::BTreeMap;

/// The columns of a table as it is: names, ids, types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnIds(BTreeMap<String, NestedFieldRef>);

/// What a later column finds in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Itself: the table's id, and the table's type, which may be one to which Iceberg promotes the column's.
    Has(FileColumn),
    /// Nothing: it is to be added.
    Missing,
    /// Another under its name, and which: its values are left out.
    Taken(String),
}

impl ColumnIds {
    /// Those of a schema.
    pub fn of(schema: &Schema) -> ColumnIds {
        ColumnIds(schema.as_struct().fields().iter().map(|field| (field.name.clone(), field.clone())).collect())
    }

    /// What a later column finds.
    pub fn fit(&self, column: &Column) -> Fit {
        let name = column.name;
        let Some(field) = self.0.get(name) else {
            let other = self.0.keys().find(|theirs| theirs.eq_ignore_ascii_case(name));
            return match other {
                Some(theirs) => Fit::Taken(format!("the table has {theirs}, in other letter case")),
                None => Fit::Missing,
            };
        };
        if field.required {
            return Fit::Taken("the table requires a value in each row".to_owned());
        }
        let ours = column.kind.iceberg(0);
        if !becomes(&ours, &field.field_type) {
            return Fit::Taken(format!(
                "in the table it has type {}, which cannot be read as {ours}",
                field.field_type
            ));
        }
        Fit::Has(FileColumn::of(field))
    }
}

/// Whether a column of this type may be read as that: the same, or one to which Iceberg promotes it, also within a list.
pub fn becomes(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Primitive(from), Type::Primitive(to)) => promotes(from, to),
        (Type::List(from), Type::List(to)) => becomes(&from.element_field.field_type, &to.element_field.field_type),
        _ => false,
    }
}

/// Whether a type is another, or one that Iceberg lets become it.
pub fn promotes(from: &PrimitiveType, to: &PrimitiveType) -> bool {
    match (from, to) {
        (PrimitiveType::Int, PrimitiveType::Long) | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision: narrow, scale },
            PrimitiveType::Decimal { precision: wide, scale: same },
        ) => narrow <= wide && scale == same,
        _ => from == to,
    }
}
