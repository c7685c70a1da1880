//! Later columns: where a row's values come from, which groups some rows need, and which columns a file carries.

use super::FileSchema;
use crate::cells::{LaterBuilding, Value};
use crate::error::LakeError;
use crate::schema::{Column, ColumnIds, Group, Table};
use arrow_array::ArrayRef;
use arrow_schema::ArrowError;
use iceberg::spec::{NestedFieldRef, Type};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The later columns of one group, and how rows of one kind fill them.
pub struct LaterGroup<R> {
    columns: Arc<[Column]>,
    has: Arc<dyn Fn(&R) -> bool + Send + Sync>,
    value: Arc<Fill<R>>,
}

/// The value that a row has in the nth column of its group.
type Fill<R> = dyn for<'a> Fn(&'a R, usize) -> Option<Value<'a>> + Send + Sync;

impl<R> Clone for LaterGroup<R> {
    fn clone(&self) -> Self {
        LaterGroup { columns: self.columns.clone(), has: self.has.clone(), value: self.value.clone() }
    }
}

impl<R> fmt::Debug for LaterGroup<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.columns.iter().map(|column| column.name)).finish()
    }
}

impl<R> LaterGroup<R> {
    /// Columns of one group, in the order in which a table gains them. `has` tells cheaply whether a row may have a value in one of them;
    /// `value` returns a row's value in the nth column, of the column's type.
    pub fn new(
        columns: Vec<Column>,
        has: impl Fn(&R) -> bool + Send + Sync + 'static,
        value: impl for<'a> Fn(&'a R, usize) -> Option<Value<'a>> + Send + Sync + 'static,
    ) -> LaterGroup<R> {
        LaterGroup { columns: columns.into(), has: Arc::new(has), value: Arc::new(value) }
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How many of these rows have a value in the nth column.
    pub fn count(&self, rows: &[R], nth: usize) -> u64 {
        rows.iter().filter(|row| (self.has)(row) && self.value(row, nth).is_some()).count() as u64
    }

    /// A row's value in the nth column; a count of 0 is no value.
    fn value<'a>(&self, row: &'a R, nth: usize) -> Option<Value<'a>> {
        let value = (self.value)(row, nth)?;
        let is_zero = matches!(value, Value::Long(0) | Value::Int(0));
        (!(is_zero && self.columns[nth].counts)).then_some(value)
    }
}

/// The groups in which some of these rows have a value. Their columns must be in the table before the rows are encoded.
pub fn groups_needed<R>(rows: &[R], groups: &[LaterGroup<R>]) -> BTreeSet<Group> {
    let mut needed = BTreeSet::new();
    for group in groups {
        let has = |row: &R| (group.has)(row);
        // Most often no row has a value: the rows are checked once here, not once per column.
        if !rows.iter().any(has) {
            continue;
        }
        for (nth, column) in group.columns.iter().enumerate() {
            if !needed.contains(&column.group) && rows.iter().any(|row| has(row) && group.value(row, nth).is_some()) {
                needed.insert(column.group);
            }
        }
    }
    needed
}

/// Later columns under the ids that a table gave them.
pub struct Later<R> {
    columns: Vec<Given<R>>,
    left_out: Vec<(&'static str, String)>,
}

/// A later column that the table has.
struct Given<R> {
    group: LaterGroup<R>,
    nth: usize,
    field: NestedFieldRef,
}

impl<R> Default for Later<R> {
    fn default() -> Self {
        Later { columns: Vec::new(), left_out: Vec::new() }
    }
}

impl<R> Later<R> {
    /// Selects the columns of these groups that a table with these ids has. A column that the table lacks, or whose name is taken, is left
    /// out.
    pub fn new(groups: &[LaterGroup<R>], ids: &ColumnIds) -> Later<R> {
        let mut later = Later::default();
        for group in groups {
            for (nth, column) in group.columns.iter().enumerate() {
                let Some(found) = ids.get(column.name) else {
                    let why = ids.taken().find(|(name, _)| *name == column.name).map(|(_, why)| why.to_owned());
                    later.left_out.push((column.name, why.unwrap_or_else(|| "the table does not have it".to_owned())));
                    continue;
                };
                let element = match &found.kind {
                    Type::List(list) => list.element_field.id,
                    _ => 0,
                };
                let field = column.field(found.id, element);
                later.columns.push(Given { group: group.clone(), nth, field });
            }
        }
        later
    }

    /// The columns that are left out, each with the reason: rows' values in them are not written.
    pub fn left_out(&self) -> &[(&'static str, String)] {
        &self.left_out
    }

    /// Selects the columns in which one of these rows has a value.
    ///
    /// # Errors
    /// Those of [`FileSchema::from_fields`].
    pub(super) fn carried<'a>(
        &self,
        table: Table,
        rows: impl Iterator<Item = &'a R> + Clone,
    ) -> Result<Carried<'_, R>, LakeError>
    where
        R: 'a,
    {
        let is_carried = |given: &&Given<R>| {
            rows.clone().any(|row| (given.group.has)(row) && given.group.value(row, given.nth).is_some())
        };
        let columns: Vec<&Given<R>> = self.columns.iter().filter(is_carried).collect();
        let known: Vec<Column> = columns.iter().map(|given| given.group.columns[given.nth]).collect();
        let schema = match columns.is_empty() {
            true => FileSchema::of(table),
            false => FileSchema::with(table, columns.iter().map(|given| given.field.clone()), &known)?,
        };
        Ok(Carried { schema, columns })
    }
}

/// The later columns that a file carries.
pub(super) struct Carried<'a, R> {
    /// All columns of the file.
    pub(super) schema: FileSchema,
    columns: Vec<&'a Given<R>>,
}

impl<R> Carried<'_, R> {
    /// These columns, empty and under construction.
    pub(super) fn building(&self) -> Vec<LaterBuilding> {
        let first = self.schema.arrow().fields().len() - self.columns.len();
        let fields = self.schema.arrow().fields()[first..].iter();
        let kinds = self.columns.iter().map(|given| given.group.columns[given.nth].kind);
        kinds.zip(fields).map(|(kind, field)| LaterBuilding::new(kind, field)).collect()
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A value has another type than its column: a bug of the caller.
    pub(super) fn push(&self, building: &mut [LaterBuilding], row: &R) -> Result<(), ArrowError> {
        for (column, given) in building.iter_mut().zip(&self.columns) {
            let value = if (given.group.has)(row) { given.group.value(row, given.nth) } else { None };
            column.push(value)?;
        }
        Ok(())
    }
}

/// The finished later columns.
pub(super) fn finish(building: Vec<LaterBuilding>) -> impl Iterator<Item = ArrayRef> {
    building.into_iter().map(LaterBuilding::finish)
}
